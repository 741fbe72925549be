//! Which offsets are finished: pure. Work may finish in any order; only the contiguous prefix may be committed, because a commit says
//! "everything below is done".
//!
//! Offsets of a partition are started in rising order. They need not be neighbours: compaction and damage leave holes, and a hole is
//! nothing to wait for.

use std::collections::{BTreeMap, VecDeque};

/// A record that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    pub offset: i64,
    /// The record's own time.
    pub at_us: i64,
    pub bytes: usize,
}

/// One partition's offsets in work.
#[derive(Debug, Default)]
struct Line {
    /// Started offsets that are not yet behind the prefix, rising, and whether each is finished. The first is never finished.
    open: VecDeque<(Taken, bool)>,
    /// Everything below is done.
    next: Option<i64>,
    /// `next` at the last `take_committable`.
    reported: Option<i64>,
}

/// The offsets in work of all partitions. `P` names a partition.
#[derive(Debug)]
pub struct Ledger<P> {
    lines: BTreeMap<P, Line>,
    /// Started and not finished.
    events: usize,
    bytes: usize,
}

impl<P: Ord + Copy> Default for Ledger<P> {
    fn default() -> Self {
        Self { lines: BTreeMap::new(), events: 0, bytes: 0 }
    }
}

impl<P: Ord + Copy> Ledger<P> {
    /// A record was taken. An offset at or below one that is known is a repetition and changes nothing: `false`.
    pub fn start(&mut self, partition: P, taken: Taken) -> bool {
        let line = self.lines.entry(partition).or_default();
        let newest = line.open.back().map(|(t, _)| t.offset).or(line.next.map(|n| n - 1));
        if newest.is_some_and(|n| taken.offset <= n) {
            return false;
        }
        line.open.push_back((taken, false));
        self.events += 1;
        self.bytes += taken.bytes;
        true
    }

    /// The record's effect is done and will survive us. Unknown offsets are ignored.
    pub fn finish(&mut self, partition: P, offset: i64) {
        let Some(line) = self.lines.get_mut(&partition) else { return };
        if let Ok(at) = line.open.binary_search_by_key(&offset, |(t, _)| t.offset) {
            let (taken, done) = &mut line.open[at];
            if !std::mem::replace(done, true) {
                self.events -= 1;
                self.bytes -= taken.bytes;
            }
        }
        while let Some((taken, true)) = line.open.front().copied() {
            line.next = Some(taken.offset + 1);
            line.open.pop_front();
        }
    }

    /// Events and bytes that were started and are not finished.
    pub fn in_flight(&self) -> (usize, usize) {
        (self.events, self.bytes)
    }

    /// The first record that is not finished.
    pub fn oldest(&self, partition: P) -> Option<Taken> {
        self.lines.get(&partition)?.open.front().map(|(taken, _)| *taken)
    }

    /// Everything below is done, as far as is known here.
    pub fn next(&self, partition: P) -> Option<i64> {
        self.lines.get(&partition)?.next
    }

    pub fn partitions(&self) -> impl Iterator<Item = P> {
        self.lines.keys().copied()
    }

    /// Partitions whose finished prefix grew since the last call, with the offset to commit.
    pub fn take_committable(&mut self) -> Vec<(P, i64)> {
        let mut out = Vec::new();
        for (partition, line) in &mut self.lines {
            if let Some(next) = line.next.filter(|_| line.next != line.reported) {
                line.reported = line.next;
                out.push((*partition, next));
            }
        }
        out
    }

    /// There is something to commit.
    pub fn has_committable(&self) -> bool {
        self.lines.values().any(|line| line.next != line.reported)
    }

    /// What was taken for a commit that then failed is due again.
    pub fn give_back(&mut self, commits: &[(P, i64)]) {
        for (partition, _) in commits {
            if let Some(line) = self.lines.get_mut(partition) {
                line.reported = None;
            }
        }
    }

    /// Started and not yet behind the prefix.
    pub fn open(&self) -> usize {
        self.lines.values().map(|l| l.open.len()).sum()
    }

    /// The partition went to somebody else.
    pub fn forget(&mut self, partition: P) {
        self.rewind(partition);
        self.lines.remove(&partition);
    }

    /// What is not behind the finished prefix will be read again.
    pub fn rewind(&mut self, partition: P) {
        let Some(line) = self.lines.get_mut(&partition) else { return };
        for (taken, done) in line.open.drain(..) {
            if !done {
                self.events -= 1;
                self.bytes -= taken.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn at(offset: i64) -> Taken {
        Taken { offset, at_us: offset * 10, bytes: 7 }
    }

    #[test]
    fn nothing_behind_a_gap_is_committed() {
        let mut ledger = Ledger::default();
        for offset in 10..15 {
            ledger.start(0, at(offset));
        }
        ledger.finish(0, 11);
        ledger.finish(0, 12);
        assert_eq!(ledger.take_committable(), []);
        ledger.finish(0, 10);
        assert_eq!(ledger.take_committable(), [(0, 13)]);
        assert_eq!(ledger.take_committable(), []);
    }

    #[test]
    fn a_hole_in_the_offsets_is_nothing_to_wait_for() {
        let mut ledger = Ledger::default();
        ledger.start((), at(3));
        ledger.start((), at(9));
        ledger.finish((), 3);
        ledger.finish((), 9);
        assert_eq!(ledger.take_committable(), [((), 10)]);
    }

    #[test]
    fn a_failed_commit_is_due_again() {
        let mut ledger = Ledger::default();
        ledger.start(1, at(0));
        ledger.finish(1, 0);
        let taken = ledger.take_committable();
        ledger.give_back(&taken);
        assert_eq!(ledger.take_committable(), [(1, 1)]);
    }

    #[test]
    fn what_is_in_flight_is_counted_and_a_partition_that_goes_takes_its_part_along() {
        let mut ledger = Ledger::default();
        for offset in 0..5 {
            assert!(ledger.start('a', at(offset)));
            ledger.start('b', at(offset));
        }
        assert!(!ledger.start('a', at(4)), "a repetition");
        assert_eq!(ledger.in_flight(), (10, 70));
        ledger.finish('a', 0);
        ledger.finish('a', 3);
        ledger.finish('a', 3);
        assert_eq!((ledger.in_flight(), ledger.oldest('a')), ((8, 56), Some(at(1))));
        ledger.rewind('a');
        assert_eq!((ledger.in_flight(), ledger.next('a')), ((5, 35), Some(1)));
        assert!(ledger.start('a', at(1)), "it is read again");
        ledger.forget('a');
        ledger.forget('b');
        assert_eq!((ledger.in_flight(), ledger.next('a')), ((0, 0), None));
    }

    proptest! {
        /// Against the definition: the commit is one behind the last offset of the longest finished prefix of what was started.
        #[test]
        fn a_commit_is_always_the_finished_prefix(
            gaps in proptest::collection::vec(1_i64..4, 1..60),
            order in proptest::collection::vec(any::<prop::sample::Index>(), 0..200),
        ) {
            let offsets: Vec<i64> = gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
            let mut ledger = Ledger::default();
            for offset in &offsets {
                ledger.start(7, at(*offset));
            }
            let mut finished = BTreeSet::new();
            let mut committed = None;
            for pick in order {
                let offset = *pick.get(&offsets);
                finished.insert(offset);
                ledger.finish(7, offset);
                if let Some((_, next)) = ledger.take_committable().first() {
                    prop_assert!(committed.is_none_or(|c| *next > c));
                    committed = Some(*next);
                }
                let prefix = offsets.iter().take_while(|o| finished.contains(o)).last().map(|o| o + 1);
                prop_assert_eq!(committed, prefix);
                let behind = offsets.iter().take_while(|o| finished.contains(o)).count();
                prop_assert_eq!(ledger.open(), offsets.len() - behind);
                prop_assert_eq!(ledger.in_flight(), (offsets.len() - finished.len(), (offsets.len() - finished.len()) * 7));
            }
        }
    }
}
