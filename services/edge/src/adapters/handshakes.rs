//! How many handshakes may be under way, and how fast new ones may begin: in all, and for one source.
//!
//! A handshake is the one thing that a stranger can make the edge pay for: some hundred microseconds of arithmetic each. So
//! they are few at once and few per second for a source that is not in the settings; whoever is over its share is closed
//! without a word. Sources of the settings share the bound in all only. Pure: time and addresses come from the caller.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeLimits {
    /// Under way, in all.
    pub open: usize,
    /// Under way, of one source.
    pub open_per_source: u32,
    /// Begun per second, of one source; twice as many at once.
    pub rate_per_source: u32,
    /// Sources remembered. One that is as it was before its first handshake is forgotten; when all others are busy, a new
    /// one is refused.
    pub sources: usize,
}

impl Default for HandshakeLimits {
    fn default() -> HandshakeLimits {
        HandshakeLimits { open: 512, open_per_source: 8, rate_per_source: 10, sources: 8_192 }
    }
}

/// Why a connection is closed before its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    All,
    Source,
    Rate,
}

#[derive(Debug)]
struct Share {
    open: u32,
    tokens: f64,
    at: u64,
}

#[derive(Debug, Default)]
struct State {
    open: usize,
    sources: HashMap<IpAddr, Share>,
}

#[derive(Debug, Clone)]
pub struct Handshakes {
    limits: HandshakeLimits,
    state: Arc<Mutex<State>>,
}

/// A handshake under way; over when it is dropped.
#[derive(Debug)]
pub struct Permit {
    state: Arc<Mutex<State>>,
    source: Option<IpAddr>,
}

impl Handshakes {
    #[must_use]
    pub fn new(limits: HandshakeLimits) -> Handshakes {
        Handshakes { limits, state: Arc::default() }
    }

    /// Whether a handshake with that address may begin. `is_known`: the address is one of the settings.
    pub fn begin(&self, now_us: u64, from: IpAddr, is_known: bool) -> Result<Permit, Busy> {
        let limits = &self.limits;
        let mut state = self.state.lock();
        if state.open >= limits.open {
            return Err(Busy::All);
        }
        let source = (!is_known).then(|| source(from));
        if let Some(source) = source {
            let rate = f64::from(limits.rate_per_source);
            let full = 2.0 * rate;
            if state.sources.len() >= limits.sources && !state.sources.contains_key(&source) {
                state.sources.retain(|_, share| share.open > 0 || refilled(share, now_us, rate, full) < full);
                if state.sources.len() >= limits.sources {
                    return Err(Busy::All);
                }
            }
            let share = state.sources.entry(source).or_insert(Share { open: 0, tokens: full, at: now_us });
            share.tokens = refilled(share, now_us, rate, full);
            share.at = now_us;
            if share.open >= limits.open_per_source {
                return Err(Busy::Source);
            }
            if share.tokens < 1.0 {
                return Err(Busy::Rate);
            }
            share.tokens -= 1.0;
            share.open += 1;
        }
        state.open += 1;
        Ok(Permit { state: Arc::clone(&self.state), source })
    }

    /// Under way now.
    #[cfg(test)]
    fn open(&self) -> usize {
        self.state.lock().open
    }
}

fn refilled(share: &Share, now_us: u64, rate: f64, full: f64) -> f64 {
    let seconds = now_us.saturating_sub(share.at) as f64 / 1_000_000.0;
    (share.tokens + seconds * rate).min(full)
}

/// Whoever has one IPv6 address has a /64 of them.
fn source(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        state.open -= 1;
        if let Some(share) = self.source.and_then(|source| state.sources.get_mut(&source)) {
            share.open -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn gate() -> Handshakes {
        Handshakes::new(HandshakeLimits { open: 6, open_per_source: 2, rate_per_source: 2, sources: 3 })
    }

    #[test]
    fn a_source_has_its_share_at_once_and_per_second_and_gets_it_back() {
        let gate = gate();
        let begin = |now| gate.begin(now, ip("198.51.100.1"), false);
        let one = begin(0).unwrap();
        let two = begin(0).unwrap();
        assert_eq!(begin(0).unwrap_err(), Busy::Source);
        drop((one, two));
        drop((begin(0).unwrap(), begin(0).unwrap()));
        assert_eq!(begin(0).unwrap_err(), Busy::Rate);
        assert_eq!(begin(499_999).unwrap_err(), Busy::Rate);
        drop(begin(500_000).unwrap());
        assert_eq!(gate.open(), 0);
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_source() {
        let gate = gate();
        let _one = gate.begin(0, ip("2001:db8::1"), false).unwrap();
        let _two = gate.begin(0, ip("2001:db8::2"), false).unwrap();
        assert_eq!(gate.begin(0, ip("2001:db8::3"), false).unwrap_err(), Busy::Source);
        assert!(gate.begin(0, ip("2001:db8:0:1::3"), false).is_ok());
    }

    #[test]
    fn strangers_fill_the_table_but_not_the_place_of_the_settings_sources() {
        let gate = gate();
        let held: Vec<Permit> =
            (1..=3).map(|i| gate.begin(0, ip(&format!("198.51.100.{i}")), false).unwrap()).collect();
        assert_eq!(gate.begin(0, ip("198.51.100.9"), false).unwrap_err(), Busy::All, "the table is full");
        let known: Vec<Permit> = (0..3).map(|_| gate.begin(0, ip("192.0.2.1"), true).unwrap()).collect();
        assert_eq!(gate.begin(0, ip("192.0.2.1"), true).unwrap_err(), Busy::All, "six in all");
        drop((held, known));
        assert!(gate.begin(2_000_000, ip("198.51.100.9"), false).is_ok(), "the idle ones are forgotten");
    }
}
