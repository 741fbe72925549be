//! Which offsets are finished: pure. Work may finish in any order; only the contiguous prefix may be committed, because a commit says
//! "everything below is done".
//!
//! Offsets of a partition are started in rising order. They need not be neighbours: compaction and damage leave holes, and a hole is
//! nothing to wait for.

use std::collections::{BTreeMap, VecDeque};

/// One partition's offsets in work.
#[derive(Debug, Default)]
struct Line {
    /// Started offsets that are not yet behind the prefix, rising, and whether each is finished.
    open: VecDeque<(i64, bool)>,
    /// Everything below is done.
    next: Option<i64>,
    /// `next` at the last `take_committable`.
    reported: Option<i64>,
}

/// The offsets in work of all partitions. `P` names a partition.
#[derive(Debug)]
pub struct Ledger<P> {
    lines: BTreeMap<P, Line>,
}

impl<P: Ord + Copy> Default for Ledger<P> {
    fn default() -> Self {
        Self { lines: BTreeMap::new() }
    }
}

impl<P: Ord + Copy> Ledger<P> {
    /// A record was taken. An offset at or below one that is known is a repetition and changes nothing.
    pub fn start(&mut self, partition: P, offset: i64) {
        let line = self.lines.entry(partition).or_default();
        let newest = line.open.back().map(|(o, _)| *o).or(line.next.map(|n| n - 1));
        if newest.is_none_or(|n| offset > n) {
            line.open.push_back((offset, false));
        }
    }

    /// The record's effect is done and will survive us. Unknown offsets are ignored.
    pub fn finish(&mut self, partition: P, offset: i64) {
        let Some(line) = self.lines.get_mut(&partition) else { return };
        if let Ok(at) = line.open.binary_search_by_key(&offset, |(o, _)| *o) {
            line.open[at].1 = true;
        }
        while let Some((offset, true)) = line.open.front().copied() {
            line.next = Some(offset + 1);
            line.open.pop_front();
        }
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
        self.lines.remove(&partition);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_behind_a_gap_is_committed() {
        let mut ledger = Ledger::default();
        for offset in 10..15 {
            ledger.start(0, offset);
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
        ledger.start((), 3);
        ledger.start((), 9);
        ledger.finish((), 3);
        ledger.finish((), 9);
        assert_eq!(ledger.take_committable(), [((), 10)]);
    }

    #[test]
    fn a_failed_commit_is_due_again() {
        let mut ledger = Ledger::default();
        ledger.start(1, 0);
        ledger.finish(1, 0);
        let taken = ledger.take_committable();
        ledger.give_back(&taken);
        assert_eq!(ledger.take_committable(), [(1, 1)]);
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
                ledger.start(7, *offset);
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
                prop_assert_eq!(ledger.open(), offsets.len() - offsets.iter().take_while(|o| finished.contains(o)).count());
            }
        }
    }
}
