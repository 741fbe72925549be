//! Numbers that were given and will never arrive, as ranges: pure. The declaration of every loss is built from it.
//!
//! The table is as long as the one in the ring file. When it is full, ranges of the same kind are joined: such a range also covers
//! numbers that did arrive, and `events` says how many of it did not.

use schemas::Class;

use super::layout;

/// Why an event that had a number is not in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Ring, or ring and spool, were too full for its class.
    Shed,
    /// The event could not be encoded or is too large: a bug on our side.
    Unfit,
    /// The log refused it for good.
    Refused,
    /// The publisher was dropped while the log did not take events, and its ring was its own memory.
    Abandoned,
    /// Its bytes in the ring or the spool could not be read any more.
    Damaged,
}

impl Reason {
    pub const ALL: [Self; 5] = [Self::Shed, Self::Unfit, Self::Refused, Self::Abandoned, Self::Damaged];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shed => "shed",
            Self::Unfit => "unfit",
            Self::Refused => "refused",
            Self::Abandoned => "abandoned",
            Self::Damaged => "damaged",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    pub line: u16,
    pub class: Class,
    pub reason: Reason,
    /// Both inclusive.
    pub first: i64,
    pub last: i64,
    /// How many numbers of the range are lost.
    pub events: u64,
}

impl Loss {
    fn is_like(&self, other: &Self) -> bool {
        (self.line, self.class, self.reason) == (other.line, other.class, other.reason)
    }

    fn join(&mut self, other: &Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.events += other.events;
    }
}

/// A loss can continue a range only if that is one of the newest: one per partition that is losing now.
const OPEN: usize = 64;

#[derive(Default)]
pub struct Losses {
    ranges: Vec<Loss>,
    total: u64,
}

/// Entries of the table that are new or different now, in the order in which they must be written.
pub type Changed = [Option<usize>; 2];

impl Losses {
    /// Those that a ring file holds.
    pub fn of(ranges: Vec<Loss>) -> Self {
        let total = ranges.iter().map(|r| r.events).sum();
        Self { ranges, total }
    }

    pub fn add(&mut self, loss: Loss) -> Changed {
        self.total += loss.events;
        let from = self.ranges.len().saturating_sub(OPEN);
        for (at, range) in self.ranges.iter_mut().enumerate().skip(from).rev() {
            if range.is_like(&loss) && range.last + 1 == loss.first {
                range.join(&loss);
                return [Some(at), None];
            }
        }
        if self.ranges.len() < layout::LOSSES {
            self.ranges.push(loss);
            return [Some(self.ranges.len() - 1), None];
        }
        if let Some(at) = self.ranges.iter().rposition(|range| range.is_like(&loss)) {
            self.ranges[at].join(&loss);
            return [Some(at), None];
        }
        // Full, and the first of its kind: two that are alike become one and leave their place. There are fewer kinds than places.
        for at in (1..self.ranges.len()).rev() {
            if let Some(before) = self.ranges[..at].iter().rposition(|r| r.is_like(&self.ranges[at])) {
                let joined = self.ranges[at];
                self.ranges[before].join(&joined);
                self.ranges[at] = loss;
                return [Some(before), Some(at)];
            }
        }
        [None, None]
    }

    pub fn ranges(&self) -> &[Loss] {
        &self.ranges
    }

    /// Events lost so far.
    pub fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn loss(line: u16, seq: i64) -> Loss {
        Loss { line, class: Class::Life, reason: Reason::Shed, first: seq, last: seq, events: 1 }
    }

    #[test]
    fn neighbours_become_one_range_even_when_partitions_alternate() {
        let mut losses = Losses::default();
        for seq in 0..10 {
            losses.add(loss(0, seq));
            losses.add(loss(1, seq + 100));
        }
        losses.add(loss(0, 20));
        let ranges: Vec<_> = losses.ranges().iter().map(|r| (r.line, r.first, r.last, r.events)).collect();
        assert_eq!(ranges, [(0, 0, 9, 10), (1, 100, 109, 10), (0, 20, 20, 1)]);
        assert_eq!(losses.total(), 21);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn however_full_the_table_every_lost_number_is_covered_and_counted(
            steps in proptest::collection::vec((0_u16..6, 1_i64..4), 9000..12_000)
        ) {
            let mut losses = Losses::default();
            let mut next = [0_i64; 6];
            let mut lost = Vec::new();
            for (line, gap) in steps {
                next[usize::from(line)] += gap;
                lost.push((line, next[usize::from(line)]));
                losses.add(loss(line, next[usize::from(line)]));
            }
            prop_assert!(losses.ranges().len() <= layout::LOSSES);
            prop_assert_eq!(losses.ranges().iter().map(|r| r.events).sum::<u64>(), lost.len() as u64);
            for (line, seq) in lost {
                prop_assert!(losses.ranges().iter().any(|r| r.line == line && r.first <= seq && seq <= r.last));
            }
        }
    }
}
