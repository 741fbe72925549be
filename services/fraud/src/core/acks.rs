//! From "the block was published" to "an edge says that it is in force".
//!
//! An edge acknowledges versions (topic, partition, offset), not ids; the offset of our own block is known once it comes back
//! from the topic. The two may arrive in any order.

use std::collections::HashMap;

/// A block that an edge has put in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmed {
    pub block_id: String,
    pub applier: String,
    /// From the attempt that triggered the rule to the edge's own "in force since".
    pub latency_us: i64,
}

/// Blocks that wait for their first acknowledgement, and how far each edge has come.
#[derive(Debug, Default)]
pub struct Acks {
    waiting: HashMap<String, Waiting>,
    applied: HashMap<(String, i32), (i64, i64)>,
}

#[derive(Debug)]
struct Waiting {
    partition: i32,
    offset: i64,
    triggered_us: i64,
    expires_us: i64,
}

/// More than this would mean that no edge acknowledges anything; the oldest go.
const LIMIT: usize = 10_000;

impl Acks {
    /// Our block stands in the topic at this place.
    pub fn placed(
        &mut self,
        block_id: &str,
        partition: i32,
        offset: i64,
        triggered_us: i64,
        expires_us: i64,
    ) -> Vec<Confirmed> {
        if self.waiting.len() < LIMIT {
            let waiting = Waiting { partition, offset, triggered_us, expires_us };
            self.waiting.insert(block_id.to_owned(), waiting);
        }
        self.confirm()
    }

    /// An edge has applied the block topic up to and including `offset` of `partition`.
    pub fn applied(&mut self, applier: &str, partition: i32, offset: i64, since_us: i64) -> Vec<Confirmed> {
        let entry = self.applied.entry((applier.to_owned(), partition)).or_insert((-1, 0));
        if offset > entry.0 {
            *entry = (offset, since_us);
        }
        self.confirm()
    }

    /// Blocks that ended before anybody acknowledged them.
    pub fn expire(&mut self, now_us: i64) -> usize {
        let before = self.waiting.len();
        self.waiting.retain(|_, w| w.expires_us > now_us);
        before - self.waiting.len()
    }

    fn confirm(&mut self) -> Vec<Confirmed> {
        let mut confirmed = Vec::new();
        for ((applier, partition), (offset, since_us)) in &self.applied {
            for (block_id, w) in &self.waiting {
                if w.partition == *partition && w.offset <= *offset {
                    confirmed.push(Confirmed {
                        block_id: block_id.clone(),
                        applier: applier.clone(),
                        latency_us: (since_us - w.triggered_us).max(0),
                    });
                }
            }
        }
        for done in &confirmed {
            self.waiting.remove(&done.block_id);
        }
        confirmed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_confirmed_once_its_offset_is_applied_in_either_order() {
        let mut acks = Acks::default();
        assert!(acks.placed("b1", 1, 7, 1_000, 99_000).is_empty());
        assert!(acks.applied("edge-1", 0, 50, 1_500).is_empty(), "another partition says nothing");
        assert!(acks.applied("edge-1", 1, 6, 1_500).is_empty(), "not that far yet");
        let confirmed = acks.applied("edge-1", 1, 7, 1_800);
        assert_eq!(confirmed.len(), 1);
        assert_eq!(confirmed[0].latency_us, 800);
        assert!(acks.applied("edge-1", 1, 9, 2_000).is_empty(), "only the first counts");
        assert_eq!(acks.placed("b2", 1, 8, 1_900, 99_000).len(), 1, "the edge was faster than we");
    }

    #[test]
    fn a_block_that_nobody_applied_is_counted_when_it_ends() {
        let mut acks = Acks::default();
        acks.placed("b1", 1, 7, 1_000, 99_000);
        assert_eq!(acks.expire(98_999), 0);
        assert_eq!(acks.expire(99_000), 1);
    }
}
