//! Sequence numbers that were given and will never arrive, as ranges: pure. The declaration of every loss is built from it.

use std::collections::VecDeque;

use schemas::Class;

/// Why an event that had a number is not in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The queue was full.
    Shed,
    /// The event could not be encoded or is too large: a bug on our side.
    Unfit,
    /// The log refused it for good.
    Refused,
    /// The publisher was dropped while the log did not take events.
    Abandoned,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LossRange {
    pub topic: &'static str,
    pub partition: i32,
    pub class: Class,
    pub reason: Reason,
    /// Both inclusive.
    pub first: i64,
    pub last: i64,
}

/// Kept for `declared()`; older ones were logged and stay in the counters.
const KEPT: usize = 4096;
/// A loss can continue a range only if that is one of the newest: one per partition that is losing now.
const OPEN: usize = 64;

#[derive(Default)]
pub struct Losses {
    ranges: VecDeque<LossRange>,
    /// New since the last `take_news`.
    news: u64,
}

impl Losses {
    pub fn add(&mut self, topic: &'static str, partition: i32, class: Class, reason: Reason, seq: i64) {
        self.news += 1;
        let open = self.ranges.iter_mut().rev().take(OPEN);
        for range in open {
            let same =
                range.topic == topic && range.partition == partition && range.class == class && range.reason == reason;
            if same && range.last + 1 == seq {
                range.last = seq;
                return;
            }
        }
        if self.ranges.len() == KEPT {
            self.ranges.pop_front();
        }
        self.ranges.push_back(LossRange { topic, partition, class, reason, first: seq, last: seq });
    }

    pub fn ranges(&self) -> Vec<LossRange> {
        self.ranges.iter().cloned().collect()
    }

    /// Losses since the last call.
    pub fn take_news(&mut self) -> u64 {
        std::mem::take(&mut self.news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_become_one_range_even_when_partitions_alternate() {
        let mut losses = Losses::default();
        for seq in 0..10 {
            losses.add("a", 0, Class::Life, Reason::Shed, seq);
            losses.add("a", 1, Class::Life, Reason::Shed, seq + 100);
        }
        losses.add("a", 0, Class::Life, Reason::Shed, 20);
        let ranges: Vec<_> = losses.ranges().iter().map(|r| (r.partition, r.first, r.last)).collect();
        assert_eq!(ranges, [(0, 0, 9), (1, 100, 109), (0, 20, 20)]);
        assert_eq!(losses.take_news(), 21);
        assert_eq!(losses.take_news(), 0);
    }
}
