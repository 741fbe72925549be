//! What the next life of this process needs to go on with its calls: each open INVITE and each dialog, in memory that outlives a
//! `kill -9` (DESIGN §4).
//!
//! | module | what |
//! |---|---|
//! | `cells` | records of any length in memory, readable after a kill at any instruction |
//! | `codec` | the bytes of a record |
//! | `records` | what a record says |
//!
//! The machine writes while it decides, before anything of it is told or sent. What depends on having been told (a mark, a
//! removal) waits for [`Journal::settle`], which runs when `poll` has nothing left: then all before it was performed. So after a
//! kill an event may be told a second time, with the same logical id, but none is missing.
//!
//! Bounded: when there is no room a record is not written, which is counted, and its call goes on without.

pub mod cells;
mod codec;
pub mod records;

pub use cells::{
    Description, Found, MARKS, Memory, Owner, Place, Unusable, VERSION, describe, holds_nothing, words_for,
};

use cells::{Cells, Resumed};
use codec::{Reader, Writer};

/// What waits for its turn to be performed.
#[derive(Debug)]
enum Later {
    Mark(Place, usize, u64),
    Remove(Place),
}

/// The journal of one machine, or none: then everything is a no-op.
#[derive(Default)]
pub struct Journal {
    cells: Option<Cells<Box<dyn Memory>>>,
    found: Vec<Found>,
    later: Vec<Later>,
    buffer: Vec<u8>,
    /// Records that could not be read, and those that had no room.
    pub damaged: u64,
    pub full: u64,
    seed: Option<[u8; 32]>,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("bytes", &self.usage()).field("full", &self.full).finish_non_exhaustive()
    }
}

impl Journal {
    /// A process that forgets.
    #[must_use]
    pub fn none() -> Journal {
        Journal::default()
    }

    /// Blank memory; `seed` goes to the next life, so that it finds the same keys and tags.
    #[must_use]
    pub fn fresh(memory: Box<dyn Memory>, owner: Owner<'_>, seed: [u8; 32]) -> Journal {
        Journal { cells: Some(Cells::fresh(memory, owner, seed)), seed: Some(seed), ..Journal::default() }
    }

    /// What an earlier life left.
    pub fn resume(memory: Box<dyn Memory>, owner: Owner<'_>) -> Result<Journal, Unusable> {
        let Resumed { cells, seed, found, damaged } = Cells::resume(memory, owner)?;
        Ok(Journal { cells: Some(cells), found, damaged, seed: Some(seed), ..Journal::default() })
    }

    /// The same records in other memory: for a journal whose size was changed.
    #[must_use]
    pub fn moved_to(self, memory: Box<dyn Memory>, owner: Owner<'_>) -> Journal {
        let mut to = Journal::fresh(memory, owner, self.seed.unwrap_or_default());
        to.damaged = self.damaged;
        for record in self.found {
            match to.cells.as_mut().and_then(|cells| cells.put(record.kind, record.marks, &record.bytes)) {
                Some(place) => to.found.push(Found { place, ..record }),
                None => to.full += 1,
            }
        }
        to
    }

    #[must_use]
    pub fn seed(&self) -> Option<[u8; 32]> {
        self.seed
    }

    /// Records that were found at start, once.
    pub fn take_found(&mut self) -> Vec<Found> {
        std::mem::take(&mut self.found)
    }

    #[must_use]
    pub fn is_on(&self) -> bool {
        self.cells.is_some()
    }

    /// No record is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.as_ref().is_none_or(|cells| cells.free_cells() == cells.cells())
    }

    /// Bytes in use, and all there are.
    #[must_use]
    pub fn usage(&self) -> (usize, usize) {
        self.cells.as_ref().map_or((0, 0), |c| ((c.cells() - c.free_cells()) * 128, c.cells() * 128))
    }

    fn put(&mut self, kind: u8, marks: [u64; MARKS], write: impl FnOnce(&mut Writer<'_>)) -> Option<Place> {
        let cells = self.cells.as_mut()?;
        self.buffer.clear();
        write(&mut Writer(&mut self.buffer));
        let place = cells.put(kind, marks, &self.buffer);
        self.full += u64::from(place.is_none());
        place
    }

    pub fn mark(&self, place: Place, which: usize, value: u64) {
        if let Some(cells) = &self.cells {
            cells.mark(place, which, value);
        }
    }

    /// Once all that was decided so far is performed.
    pub fn mark_later(&mut self, place: Place, which: usize, value: u64) {
        self.later.push(Later::Mark(place, which, value));
    }

    pub fn remove_later(&mut self, place: Option<Place>) {
        if let Some(place) = place {
            self.later.push(Later::Remove(place));
        }
    }

    /// All that was decided so far is performed.
    pub fn settle(&mut self) {
        let Some(cells) = &mut self.cells else { return self.later.clear() };
        for later in self.later.drain(..) {
            match later {
                Later::Mark(place, which, value) => cells.mark(place, which, value),
                Later::Remove(place) => cells.remove(place),
            }
        }
    }
}
