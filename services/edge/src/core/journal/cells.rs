//! Records of any length in cells of one size, in memory that outlives the process.
//!
//! ```text
//! header   128 words   magic, version, number of cells, instance, boot id, seed
//! cells    n × 16      head: word 0 mark, kind, length · 1 checksum, next cell · 2 serial · 3–10 marks · 11–15 bytes
//!                      more: word 0 mark, next cell · 1–15 bytes
//! ```
//!
//! What a kill at any instruction leaves behind can be read: a record counts from the store of its first word, which comes last,
//! and until the store of a zero there. Its bytes never change while it counts and have a checksum; its eight *marks* change by one
//! store each, every one meaningful by itself. Which cells are free is not written down: all that no record reaches are.
//!
//! A change of any of this, or of what records say, is a new [`VERSION`]; another one is set aside, never guessed at.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Words that the next life of this process will find as they are.
pub trait Memory: Send {
    fn words(&self) -> &[AtomicU64];
}

impl Memory for Box<dyn Memory> {
    fn words(&self) -> &[AtomicU64] {
        (**self).words()
    }
}

impl Memory for std::sync::Arc<[AtomicU64]> {
    fn words(&self) -> &[AtomicU64] {
        self
    }
}

pub const VERSION: u64 = 4;
const MAGIC: u64 = u64::from_le_bytes(*b"TRKLJRNL");

const AT_MAGIC: usize = 0;
const AT_VERSION: usize = 1;
const AT_CELLS: usize = 2;
const AT_INSTANCE: usize = 8;
const AT_BOOT: usize = 16;
const TEXT_WORDS: usize = 8;
const AT_SEED: usize = 24;
const HEADER_WORDS: usize = 128;

const CELL_WORDS: usize = 16;
const CELL_BYTES: usize = CELL_WORDS * 8;
pub const MARKS: usize = 8;
const AT_MARKS: usize = 3;
const HEAD_FIRST: usize = AT_MARKS + MARKS;
const HEAD_BYTES: usize = (CELL_WORDS - HEAD_FIRST) * 8;
const MORE_BYTES: usize = (CELL_WORDS - 1) * 8;

const HEAD: u64 = 0xA7C3 << 48;
const MORE: u64 = 0x5B19 << 48;
const TAG: u64 = 0xFFFF << 48;
const NONE: u32 = u32::MAX;
/// No record is longer: a few messages of the largest size.
const LONGEST: usize = 1 << 20;

/// A record's first cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place(u32);

/// A record as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub place: Place,
    pub kind: u8,
    /// Grows with every record written.
    pub serial: u64,
    pub marks: [u64; MARKS],
    pub bytes: Vec<u8>,
}

/// Why a file is of no use to this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("it is no journal")]
    NotAJournal,
    #[error("it is a journal of version {0}, this build knows {VERSION}")]
    Version(u64),
    #[error("it belongs to another instance")]
    OtherInstance,
    #[error("it was written before the machine's last boot")]
    OtherBoot,
}

/// Whose memory it is.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    pub instance: &'a str,
    /// Times in records compare only within one boot.
    pub boot: &'a str,
}

/// Words for about so many bytes.
#[must_use]
pub fn words_for(bytes: usize) -> usize {
    HEADER_WORDS + (bytes / CELL_BYTES).clamp(16, NONE as usize - 1) * CELL_WORDS
}

/// Whether these words are a journal of this version without a record.
#[must_use]
pub fn holds_nothing(words: &[AtomicU64]) -> bool {
    let Some((header, cells)) = words.split_at_checked(HEADER_WORDS) else { return false };
    let is_ours = header[AT_MAGIC].load(Acquire) == MAGIC && header[AT_VERSION].load(Relaxed) == VERSION;
    is_ours && cells.iter().step_by(CELL_WORDS).all(|first| first.load(Relaxed) & TAG != HEAD)
}

/// What anybody can tell of a journal, also of one that this build cannot read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    pub version: u64,
    /// Id of the instance that it belongs to.
    pub instance: String,
    pub records: usize,
}

/// Header and cells have had these places in all versions.
#[must_use]
pub fn describe(words: &[AtomicU64]) -> Option<Description> {
    let (header, cells) = words.split_at_checked(HEADER_WORDS)?;
    (header[AT_MAGIC].load(Acquire) == MAGIC).then_some(())?;
    let mut instance = [0; TEXT_WORDS * 8];
    get_bytes(&header[AT_INSTANCE..][..TEXT_WORDS], &mut instance);
    // As `put_text` wrote it: the length in front.
    let length = usize::from(instance[0]).min(instance.len() - 1);
    Some(Description {
        version: header[AT_VERSION].load(Relaxed),
        instance: String::from_utf8_lossy(&instance[1..=length]).into_owned(),
        records: cells.iter().step_by(CELL_WORDS).filter(|first| first.load(Relaxed) & TAG == HEAD).count(),
    })
}

pub struct Cells<M> {
    memory: M,
    free: Vec<u32>,
    cells: u32,
    serial: u64,
}

/// What an earlier life left: its seed, its records, oldest first, and how many could not be read.
pub struct Resumed<M> {
    pub cells: Cells<M>,
    pub seed: [u8; 32],
    pub found: Vec<Found>,
    pub damaged: u64,
}

impl<M: Memory> Cells<M> {
    /// Takes blank memory into use.
    #[must_use]
    pub fn fresh(memory: M, owner: Owner<'_>, seed: [u8; 32]) -> Cells<M> {
        let words = memory.words();
        let cells = (words.len().saturating_sub(HEADER_WORDS) / CELL_WORDS) as u32;
        words[AT_VERSION].store(VERSION, Relaxed);
        words[AT_CELLS].store(u64::from(cells), Relaxed);
        put_text(&words[AT_INSTANCE..][..TEXT_WORDS], owner.instance);
        put_text(&words[AT_BOOT..][..TEXT_WORDS], owner.boot);
        put_bytes(&words[AT_SEED..][..4], &seed);
        words[AT_MAGIC].store(MAGIC, Release);
        // The lowest cells are used again first: few pages stay warm.
        Cells { memory, free: (0..cells).rev().collect(), cells, serial: 0 }
    }

    /// Reads what an earlier life left.
    pub fn resume(memory: M, owner: Owner<'_>) -> Result<Resumed<M>, Unusable> {
        let words = memory.words();
        if words.len() < HEADER_WORDS || words[AT_MAGIC].load(Acquire) != MAGIC {
            return Err(Unusable::NotAJournal);
        }
        let version = words[AT_VERSION].load(Relaxed);
        if version != VERSION {
            return Err(Unusable::Version(version));
        }
        let room = ((words.len() - HEADER_WORDS) / CELL_WORDS) as u64;
        if words[AT_CELLS].load(Relaxed) != room {
            return Err(Unusable::NotAJournal);
        }
        let same = |at: usize, text: &str| {
            let expected: [AtomicU64; TEXT_WORDS] = Default::default();
            put_text(&expected, text);
            expected.iter().zip(&words[at..]).all(|(a, b)| a.load(Relaxed) == b.load(Relaxed))
        };
        if !same(AT_INSTANCE, owner.instance) {
            return Err(Unusable::OtherInstance);
        }
        if !same(AT_BOOT, owner.boot) {
            return Err(Unusable::OtherBoot);
        }
        let mut seed = [0; 32];
        get_bytes(&words[AT_SEED..][..4], &mut seed);
        let cells = room as u32;
        let mut this = Cells { memory, free: Vec::new(), cells, serial: 0 };
        let (found, damaged) = this.scan();
        Ok(Resumed { cells: this, seed, found, damaged })
    }

    fn cell(&self, at: u32) -> &[AtomicU64] {
        &self.memory.words()[HEADER_WORDS + at as usize * CELL_WORDS..][..CELL_WORDS]
    }

    fn scan(&mut self) -> (Vec<Found>, u64) {
        let (mut found, mut damaged) = (Vec::new(), 0);
        let mut used = vec![false; self.cells as usize];
        for at in 0..self.cells {
            if self.cell(at)[0].load(Acquire) & TAG != HEAD {
                continue;
            }
            match self.read(at, &used) {
                Some((record, chain)) => {
                    chain.iter().for_each(|&cell| used[cell as usize] = true);
                    self.serial = self.serial.max(record.serial);
                    found.push(record);
                }
                None => {
                    damaged += 1;
                    self.cell(at)[0].store(0, Release);
                }
            }
        }
        self.free = (0..self.cells).rev().filter(|&at| !used[at as usize]).collect();
        found.sort_by_key(|record| record.serial);
        (found, damaged)
    }

    /// A record whose chain is whole, belongs to no other, and whose bytes are those that were written.
    fn read(&self, at: u32, used: &[bool]) -> Option<(Found, Vec<u32>)> {
        let head = self.cell(at);
        let first = head[0].load(Relaxed);
        let (kind, length) = ((first >> 40) as u8, first as u32 as usize);
        if length > LONGEST {
            return None;
        }
        let second = head[1].load(Relaxed);
        let (checksum, mut next) = ((second >> 32) as u32, second as u32);
        let serial = head[2].load(Relaxed);
        let mut bytes = vec![0; length];
        let here = length.min(HEAD_BYTES);
        get_bytes(&head[HEAD_FIRST..], &mut bytes[..here]);
        let mut chain = vec![at];
        for part in bytes[here..].chunks_mut(MORE_BYTES) {
            let taken = |cell: u32| used.get(cell as usize).is_none_or(|&taken| taken) || chain.contains(&cell);
            if taken(next) {
                return None;
            }
            let more = self.cell(next);
            let link = more[0].load(Relaxed);
            if link & TAG != MORE {
                return None;
            }
            get_bytes(&more[1..], part);
            chain.push(next);
            next = link as u32;
        }
        if checksum != sum(kind, serial, &bytes) {
            return None;
        }
        let marks = std::array::from_fn(|i| head[AT_MARKS + i].load(Relaxed));
        Some((Found { place: Place(at), kind, serial, marks, bytes }, chain))
    }

    /// Writes a record; `None` when there is no room for it.
    pub fn put(&mut self, kind: u8, marks: [u64; MARKS], bytes: &[u8]) -> Option<Place> {
        let more = bytes.len().saturating_sub(HEAD_BYTES).div_ceil(MORE_BYTES);
        if self.free.len() < 1 + more || bytes.len() > LONGEST {
            return None;
        }
        let at = self.free.pop()?;
        let (here, rest) = bytes.split_at(bytes.len().min(HEAD_BYTES));
        let mut next = NONE;
        // From the last part to the first, so that each knows the one behind it.
        for part in rest.chunks(MORE_BYTES).rev() {
            let cell = self.free.pop()?;
            let words = self.cell(cell);
            put_bytes(&words[1..], part);
            words[0].store(MORE | u64::from(next), Relaxed);
            next = cell;
        }
        self.serial += 1;
        let head = self.cell(at);
        put_bytes(&head[HEAD_FIRST..], here);
        for (word, mark) in head[AT_MARKS..].iter().zip(marks) {
            word.store(mark, Relaxed);
        }
        head[2].store(self.serial, Relaxed);
        head[1].store(u64::from(sum(kind, self.serial, bytes)) << 32 | u64::from(next), Relaxed);
        head[0].store(HEAD | u64::from(kind) << 40 | bytes.len() as u64, Release);
        Some(Place(at))
    }

    pub fn mark(&self, place: Place, which: usize, value: u64) {
        debug_assert!(which < MARKS, "a record has {MARKS} marks");
        self.cell(place.0)[AT_MARKS + which].store(value, Release);
    }

    #[must_use]
    pub fn marked(&self, place: Place, which: usize) -> u64 {
        self.cell(place.0)[AT_MARKS + which].load(Relaxed)
    }

    pub fn remove(&mut self, place: Place) {
        let head = self.cell(place.0);
        let first = head[0].load(Relaxed);
        debug_assert_eq!(first & TAG, HEAD, "a record is removed once");
        if first & TAG != HEAD {
            return;
        }
        head[0].store(0, Release);
        let mut next = head[1].load(Relaxed) as u32;
        self.free.push(place.0);
        while next != NONE {
            self.free.push(next);
            next = self.cell(next)[0].load(Relaxed) as u32;
        }
    }

    #[must_use]
    pub fn cells(&self) -> usize {
        self.cells as usize
    }

    #[must_use]
    pub fn free_cells(&self) -> usize {
        self.free.len()
    }
}

fn sum(kind: u8, serial: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(serial as u32 ^ u32::from(kind) << 24);
    hasher.update(bytes);
    hasher.finalize()
}

/// Bytes into words; the last word is filled up with zeros.
fn put_bytes(words: &[AtomicU64], bytes: &[u8]) {
    let (whole, rest) = bytes.as_chunks::<8>();
    for (word, bytes) in words.iter().zip(whole) {
        word.store(u64::from_ne_bytes(*bytes), Relaxed);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        words[whole.len()].store(u64::from_ne_bytes(last), Relaxed);
    }
}

fn get_bytes(words: &[AtomicU64], bytes: &mut [u8]) {
    for (word, part) in words.iter().zip(bytes.chunks_mut(8)) {
        let whole = word.load(Relaxed).to_ne_bytes();
        part.copy_from_slice(&whole[..part.len()]);
    }
}

/// A text of at most 63 bytes, with its length in front; what does not fit is cut.
fn put_text(words: &[AtomicU64], text: &str) {
    let text = &text.as_bytes()[..text.len().min(words.len() * 8 - 1)];
    let mut bytes = [0; TEXT_WORDS * 8];
    bytes[0] = text.len() as u8;
    bytes[1..=text.len()].copy_from_slice(text);
    put_bytes(words, &bytes[..words.len() * 8]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const OWNER: Owner<'static> = Owner { instance: "0123456789ab", boot: "5d4f-boot" };

    fn memory(bytes: usize) -> Arc<[AtomicU64]> {
        (0..words_for(bytes)).map(|_| AtomicU64::new(0)).collect()
    }

    fn text(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i * 7 + length) as u8).collect()
    }

    #[test]
    fn records_of_any_length_come_back_with_their_marks_oldest_first() {
        let memory = memory(64 * 1024);
        let mut cells = Cells::fresh(Arc::clone(&memory), OWNER, [9; 32]);
        let lengths = [0, 1, 55, 56, 57, 175, 176, 177, 1_300, 9_000];
        let places: Vec<Place> = lengths.iter().map(|&n| cells.put(3, [n as u64; MARKS], &text(n)).unwrap()).collect();
        cells.mark(places[4], 2, 77);
        cells.remove(places[6]);
        let Resumed { cells: again, seed, found, damaged } = Cells::resume(memory, OWNER).unwrap();
        assert_eq!((seed, damaged, found.len()), ([9; 32], 0, 9));
        let kept: Vec<usize> = found.iter().map(|f| f.bytes.len()).collect();
        assert_eq!(kept, [0, 1, 55, 56, 57, 175, 177, 1_300, 9_000]);
        assert!(found.iter().all(|f| f.bytes == text(f.bytes.len()) && f.kind == 3));
        assert_eq!(found[4].marks, [57, 57, 77, 57, 57, 57, 57, 57]);
        assert_eq!(again.free_cells(), cells.free_cells());
    }

    #[test]
    fn what_is_full_takes_nothing_and_what_is_removed_makes_room() {
        let mut cells = Cells::fresh(memory(2_048), OWNER, [0; 32]);
        let free = cells.free_cells();
        let mut places: Vec<Place> = std::iter::from_fn(|| cells.put(1, [0; MARKS], &text(200))).collect();
        assert_eq!(places.len(), free / 3);
        assert_eq!(cells.put(1, [0; MARKS], &text(200)), None);
        cells.remove(places.pop().unwrap());
        assert!(cells.put(1, [0; MARKS], &text(200)).is_some());
        assert_eq!(cells.put(1, [0; MARKS], &text(LONGEST + 1)), None);
    }

    #[test]
    fn a_kill_at_any_word_of_a_write_leaves_the_old_records_and_no_half_one() {
        // Every prefix of the stores of one put, made visible by copying words in the order in which they are stored.
        let before = memory(4_096);
        let mut cells = Cells::fresh(Arc::clone(&before), OWNER, [1; 32]);
        cells.put(1, [0; MARKS], &text(300)).unwrap();
        let old: Vec<u64> = before.iter().map(|w| w.load(Relaxed)).collect();
        cells.put(2, [5; MARKS], &text(500)).unwrap();
        let new: Vec<u64> = before.iter().map(|w| w.load(Relaxed)).collect();
        let mut changed: Vec<usize> = (0..old.len()).filter(|&i| old[i] != new[i]).collect();
        let head = changed.iter().position(|&i| new[i] & TAG == HEAD).unwrap();
        let head = changed.remove(head);
        changed.push(head);
        for cut in 0..=changed.len() {
            let torn: Arc<[AtomicU64]> = old.iter().map(|&w| AtomicU64::new(w)).collect();
            changed[..cut].iter().for_each(|&i| torn[i].store(new[i], Relaxed));
            let Resumed { found, damaged, .. } = Cells::resume(torn, OWNER).unwrap();
            assert_eq!((found.len(), damaged), (1 + usize::from(cut == changed.len()), 0), "after {cut} stores");
        }
    }

    #[test]
    fn damage_costs_the_damaged_record_only_and_a_foreign_memory_is_refused() {
        let memory = memory(8_192);
        let mut cells = Cells::fresh(Arc::clone(&memory), OWNER, [1; 32]);
        let places: Vec<Place> = (0..5).map(|i| cells.put(1, [0; MARKS], &text(380 + i)).unwrap()).collect();
        cells.cell(places[2].0)[HEAD_FIRST].fetch_xor(1, Relaxed);
        // A chain that runs in a circle.
        let next = cells.cell(places[3].0)[1].load(Relaxed) as u32;
        cells.cell(next)[0].store(MORE | u64::from(next), Relaxed);
        let Resumed { cells: again, found, damaged, .. } = Cells::resume(Arc::clone(&memory), OWNER).unwrap();
        assert_eq!((found.len(), damaged), (3, 2));
        assert_eq!(again.free_cells() + 12, again.cells());
        let refused = |owner| Cells::resume(Arc::clone(&memory), owner).map(drop).unwrap_err();
        assert_eq!(refused(Owner { instance: "other", ..OWNER }), Unusable::OtherInstance);
        assert_eq!(refused(Owner { boot: "later", ..OWNER }), Unusable::OtherBoot);
        memory[AT_VERSION].store(VERSION + 1, Relaxed);
        assert_eq!(refused(OWNER), Unusable::Version(VERSION + 1));
        memory[AT_MAGIC].store(0, Relaxed);
        assert_eq!(refused(OWNER), Unusable::NotAJournal);
    }

    #[test]
    fn random_words_are_never_more_than_damaged() {
        let mut random = crate::core::proof::hash::Random::new([3; 16]);
        for _ in 0..200 {
            let memory = memory(4_096);
            drop(Cells::fresh(Arc::clone(&memory), OWNER, [1; 32]));
            for word in memory[HEADER_WORDS..].iter() {
                let noise = random.next();
                let tag = if noise.is_multiple_of(3) { HEAD } else { MORE };
                word.store(if noise.is_multiple_of(2) { tag | (noise % 40) } else { noise }, Relaxed);
            }
            let Resumed { cells, found, .. } = Cells::resume(memory, OWNER).unwrap();
            assert!(found.len() <= cells.cells());
        }
    }
}
