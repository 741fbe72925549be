//! Next hops that are names: what DNS last said about each, as the machine uses it.
//!
//! The machine never asks. A task beside it does and hands over a whole picture at a time ([`Names`]); between two pictures
//! every call sees the same addresses. A name that cannot be looked up keeps its last good answer and is called stale.

pub mod heard;
pub mod rfc3263;
pub mod shunned;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::config::{Side, Transport};
use crate::core::proof::hash::Random;

/// One address behind a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub address: SocketAddr,
    pub transport: Transport,
    /// Place of the service among those of the domain (NAPTR), smallest first.
    pub rank: u16,
    /// Of the SRV record, smallest first.
    pub priority: u16,
    /// Share of the calls among targets of one priority.
    pub weight: u16,
}

/// What is known of the name of one peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub side: Side,
    /// Of the trunk or node.
    pub id: String,
    pub name: String,
    /// Best first; empty until the first answer.
    pub targets: Vec<Target>,
    /// The last look-up failed, so this is older than DNS meant it to be.
    pub stale: bool,
    /// When DNS last answered (µs since 1970 UTC).
    pub answered_us: Option<i64>,
    pub lookups: u64,
    pub failures: u64,
    /// Of the last look-up.
    pub error: Option<String>,
}

impl Entry {
    /// Not looked up yet.
    #[must_use]
    pub fn new(side: Side, id: String, name: String) -> Entry {
        Entry {
            side,
            id,
            name,
            targets: Vec::new(),
            stale: false,
            answered_us: None,
            lookups: 0,
            failures: 0,
            error: None,
        }
    }
}

/// All names at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Names {
    pub entries: Vec<Entry>,
}

/// The targets of a name in the order in which one call tries them (RFC 2782): by priority, and inside a priority drawn by
/// weight, so that a weight of zero comes last but is not left out.
#[must_use]
pub fn order(targets: &[Target], random: &mut Random) -> Vec<Target> {
    let mut left = targets.to_vec();
    let mut out = Vec::with_capacity(left.len());
    while let Some(first) = left.first().copied() {
        let same = left.iter().take_while(|t| (t.rank, t.priority) == (first.rank, first.priority)).count();
        let total: u64 = left[..same].iter().map(|t| u64::from(t.weight)).sum();
        let mut draw = if total == 0 { random.next() % same as u64 } else { random.next() % total };
        let share = |t: &Target| if total == 0 { 1 } else { u64::from(t.weight) };
        let at = left[..same].iter().position(|t| {
            let hit = draw < share(t);
            draw = draw.saturating_sub(share(t));
            hit
        });
        out.push(left.remove(at.unwrap_or(0)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(port: u16, priority: u16, weight: u16) -> Target {
        let address = SocketAddr::from(([192, 0, 2, 1], port));
        Target { address, transport: Transport::Udp, rank: 0, priority, weight }
    }

    #[test]
    fn weights_share_the_calls_and_priorities_keep_their_order() {
        let targets = [target(1, 10, 30), target(2, 10, 10), target(3, 10, 0), target(4, 20, 1_000)];
        let mut random = Random::new([7; 16]);
        let mut first = [0u32; 4];
        for _ in 0..8_000 {
            let order = order(&targets, &mut random);
            assert_eq!(order.len(), 4);
            assert_eq!(order[3].address.port(), 4);
            first[usize::from(order[0].address.port() - 1)] += 1;
        }
        assert!((5_700..6_300).contains(&first[0]), "{first:?}");
        assert!((1_700..2_300).contains(&first[1]), "{first:?}");
        assert_eq!(first[2], 0, "a weight of zero while there are others");
    }

    #[test]
    fn equal_weights_of_zero_are_drawn_evenly() {
        let targets = [target(1, 0, 0), target(2, 0, 0)];
        let mut random = Random::new([9; 16]);
        let ones = (0..2_000).filter(|_| order(&targets, &mut random)[0].address.port() == 1).count();
        assert!((850..1_150).contains(&ones), "{ones}");
    }
}
