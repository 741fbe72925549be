//! Calls that were asked to come again: a repeated INVITE after a challenge continues its call (DESIGN §4).

use std::collections::VecDeque;

use domain::CallId;

use crate::core::journal::Place;
use crate::core::proof::hash::KeyedMap;
use crate::core::topology::Peer;

/// How long the caller may take to come again.
const WINDOW_US: u64 = 32_000_000;
/// A trunk that is challenged for every call at 2,000 calls/s fits; the oldest goes first.
const CAPACITY: usize = 65_536;

/// What the repeated INVITE takes over.
#[derive(Clone, Debug)]
pub struct Continuation {
    pub call: CallId,
    pub parent: Option<String>,
    pub cseq: u32,
    pub status: u16,
    /// After 401 and 407 the credentials are worth something at this next hop only.
    pub next_hop: Option<Peer>,
    /// Its record in the journal.
    pub kept: Option<Place>,
}

#[derive(Debug, Default)]
pub struct Challenges {
    by_key: KeyedMap<u128, (Continuation, u64)>,
    order: VecDeque<(u64, u128)>,
    /// Records of forgotten ones.
    pub dropped: Vec<Place>,
}

impl Challenges {
    /// Until when one that comes now may be continued.
    #[must_use]
    pub fn until(now: u64) -> u64 {
        now + WINDOW_US
    }

    pub fn remember(&mut self, now: u64, until: u64, key: u128, continuation: Continuation) {
        self.forget_old(now);
        if self.by_key.len() >= CAPACITY
            && let Some((_, oldest)) = self.order.pop_front()
        {
            let forgotten = self.by_key.remove(&oldest);
            self.dropped.extend(forgotten.and_then(|(c, _)| c.kept));
        }
        let before = self.by_key.insert(key, (continuation, until));
        self.dropped.extend(before.and_then(|(c, _)| c.kept));
        self.order.push_back((until, key));
    }

    /// Takes the call that this INVITE continues: same key, a later CSeq, in time.
    pub fn take(&mut self, now: u64, key: u128, cseq: u32) -> Option<Continuation> {
        self.forget_old(now);
        let (found, _) = self.by_key.get(&key)?;
        if cseq <= found.cseq {
            return None;
        }
        self.by_key.remove(&key).map(|(found, _)| found)
    }

    fn forget_old(&mut self, now: u64) {
        while let Some(&(until, key)) = self.order.front() {
            if until > now {
                break;
            }
            self.order.pop_front();
            if self.by_key.get(&key).is_some_and(|&(_, live_until)| live_until <= now) {
                let forgotten = self.by_key.remove(&key);
                self.dropped.extend(forgotten.and_then(|(c, _)| c.kept));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenged(cseq: u32) -> Continuation {
        Continuation {
            call: CallId::new(1, [1; 10]),
            parent: None,
            cseq,
            status: 407,
            next_hop: Some(Peer::Node(1)),
            kept: None,
        }
    }

    #[test]
    fn only_a_later_cseq_within_32_seconds_continues() {
        let mut table = Challenges::default();
        table.remember(0, Challenges::until(0), 7, challenged(1));
        assert!(table.take(1, 7, 1).is_none());
        assert!(table.take(1, 8, 2).is_none());
        assert_eq!(table.take(31_999_999, 7, 2).unwrap().cseq, 1);
        assert!(table.take(31_999_999, 7, 3).is_none(), "taken once");
        table.remember(0, Challenges::until(0), 7, challenged(1));
        assert!(table.take(32_000_000, 7, 2).is_none());
    }

    #[test]
    fn a_second_challenge_lives_its_own_32_seconds() {
        let mut table = Challenges::default();
        table.remember(0, Challenges::until(0), 7, challenged(1));
        table.remember(20_000_000, Challenges::until(20_000_000), 7, challenged(2));
        assert!(table.take(40_000_000, 7, 3).is_some());
        assert!(table.order.len() <= 1 && table.by_key.is_empty());
    }
}
