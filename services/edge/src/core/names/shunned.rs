//! Addresses of carriers that failed a call a moment ago: others are tried before them, of the same name and of the same route, so that
//! not each call waits for the same silence again. They are never left out: where all failed, the order is the usual one.

use std::collections::HashMap;
use std::net::SocketAddr;

/// How long an address comes last after it failed. Long against a call's set-up, short against a repair.
const SHUNNED_US: u64 = 30_000_000;
/// Carriers are few, and a name has 32 addresses at most.
const MOST: usize = 1_024;

#[derive(Debug, Default)]
pub struct Shunned {
    until: HashMap<SocketAddr, u64>,
}

impl Shunned {
    pub fn note(&mut self, now_us: u64, address: SocketAddr) {
        if self.until.len() >= MOST {
            self.until.retain(|_, until| *until > now_us);
        }
        if self.until.len() < MOST {
            self.until.insert(address, now_us + SHUNNED_US);
        }
    }

    /// It answered.
    pub fn forgive(&mut self, address: SocketAddr) {
        if !self.until.is_empty() {
            self.until.remove(&address);
        }
    }

    #[must_use]
    pub fn is_shunned(&self, now_us: u64, address: SocketAddr) -> bool {
        !self.until.is_empty() && self.until.get(&address).is_some_and(|until| *until > now_us)
    }
}
