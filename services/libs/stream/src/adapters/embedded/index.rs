//! Where the records of each partition stand in one segment. Sparse: the first record of a partition in each block of 1 MiB.
//!
//! All partitions share one file, so a reader goes through it in file order and uses the index to jump over blocks that hold nothing
//! for it. With 100 busy partitions the index is about 0.1 % of the data.

use std::collections::HashMap;

pub const BLOCK: u64 = 1 << 20;

/// Topic id and partition.
pub type Part = (u16, u16);

#[derive(Debug, Default, Clone)]
pub struct SegmentIndex {
    parts: HashMap<Part, PartIndex>,
    /// The youngest record's timestamp; decides retention by age.
    pub newest_us: i64,
    pub records: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartIndex {
    /// First offset here, and the one after the last.
    pub first: i64,
    pub next: i64,
    /// (offset − first, position), one per block, rising.
    entries: Vec<(u32, u32)>,
}

impl SegmentIndex {
    pub fn note(&mut self, part: Part, offset: i64, pos: u64, timestamp_us: i64) {
        self.newest_us = self.newest_us.max(timestamp_us);
        self.records += 1;
        let pos32 = u32::try_from(pos).unwrap_or(u32::MAX);
        let index =
            self.parts.entry(part).or_insert_with(|| PartIndex { first: offset, next: offset, entries: Vec::new() });
        let fresh_block = index.entries.last().is_none_or(|(_, last)| u64::from(*last) / BLOCK != pos / BLOCK);
        if fresh_block {
            index.entries.push((u32::try_from(offset - index.first).unwrap_or(u32::MAX), pos32));
        }
        index.next = index.next.max(offset + 1);
    }

    pub fn put(&mut self, part: Part, index: PartIndex) {
        self.parts.insert(part, index);
    }

    pub fn parts(&self) -> impl Iterator<Item = (Part, &PartIndex)> {
        self.parts.iter().map(|(part, index)| (*part, index))
    }

    pub fn part(&self, part: Part) -> Option<&PartIndex> {
        self.parts.get(&part)
    }

    /// The first position at or after `pos` where one of the partitions may have a record.
    pub fn next_wanted(&self, parts: impl Iterator<Item = Part>, pos: u64) -> Option<u64> {
        let mut best: Option<u64> = None;
        for part in parts {
            let Some(index) = self.parts.get(&part) else { continue };
            let Some(at) = index.at_or_after(pos) else { continue };
            if at == pos {
                return Some(pos);
            }
            best = Some(best.map_or(at, |b| b.min(at)));
        }
        best
    }
}

impl PartIndex {
    pub fn new(first: i64, next: i64, entries: Vec<(u32, u32)>) -> Self {
        Self { first, next, entries }
    }

    pub fn entries(&self) -> &[(u32, u32)] {
        &self.entries
    }

    /// A position at or before the record with this offset, as near as the index knows; `None` when it is not here.
    pub fn seek(&self, offset: i64) -> Option<u64> {
        if offset >= self.next {
            return None;
        }
        let delta = u32::try_from((offset - self.first).max(0)).unwrap_or(u32::MAX);
        let at = self.entries.partition_point(|(d, _)| *d <= delta);
        self.entries.get(at.saturating_sub(1)).map(|(_, pos)| u64::from(*pos))
    }

    fn at_or_after(&self, pos: u64) -> Option<u64> {
        let at = self.entries.partition_point(|(_, p)| u64::from(*p) < pos);
        // The entry before may stand in the block of `pos`: then more of its records can follow `pos` in that block.
        let same_block = at > 0 && u64::from(self.entries[at - 1].1) / BLOCK == pos / BLOCK;
        if same_block {
            return Some(pos);
        }
        self.entries.get(at).map(|(_, p)| u64::from(*p))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seek_lands_at_or_before_the_record() {
        let mut index = SegmentIndex::default();
        for n in 0..1000_u64 {
            index.note((1, 0), 500 + n as i64, n * 10_000, 0);
        }
        let part = index.part((1, 0)).expect("noted");
        for n in 0..1000_u64 {
            let pos = part.seek(500 + n as i64).expect("present");
            assert!(pos <= n * 10_000 && n * 10_000 - pos < BLOCK, "{n}: {pos}");
        }
        assert_eq!(part.seek(1500), None);
    }

    #[test]
    fn blocks_without_wanted_records_are_jumped_over() {
        let mut index = SegmentIndex::default();
        index.note((1, 0), 0, 100, 0);
        index.note((2, 0), 0, 5 * BLOCK, 0);
        index.note((1, 0), 1, 9 * BLOCK + 7, 0);
        let wanted = |pos| index.next_wanted([(1, 0)].into_iter(), pos);
        assert_eq!(wanted(8), Some(100));
        assert_eq!(wanted(200), Some(200));
        assert_eq!(wanted(BLOCK), Some(9 * BLOCK + 7));
        assert_eq!(wanted(10 * BLOCK), None);
    }
}
