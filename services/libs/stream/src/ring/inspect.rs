//! Looking into ring files from outside, without a lock and without changing them.
//!
//! A ring whose process lives is moving: what is told of it may be a moment old. A dead one is told exactly.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use super::{
    buffer::{Buffer, LineEntry},
    file::{self, RingError},
    layout,
    losses::Loss,
    memory::{self, Memory},
};

/// What one ring file holds.
#[derive(Debug, Clone)]
pub struct RingReport {
    pub path: PathBuf,
    pub producer: String,
    pub epoch: i64,
    /// Events that wait in it, and their bytes.
    pub events: u64,
    pub bytes: u64,
    pub capacity: u64,
    pub lines: Vec<RingLine>,
    pub losses: Vec<Loss>,
    /// A process has it open now.
    pub in_use: bool,
    /// Its epoch ended in good order.
    pub closed: bool,
    /// Bytes in it cannot be read as events.
    pub damaged: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingLine {
    pub topic: String,
    pub partition: i32,
    /// Every number below was given.
    pub next_seq: i64,
}

/// All ring files of a folder. An error names a file that is not a ring of this build.
pub fn inspect(dir: impl AsRef<Path>) -> Result<Vec<RingReport>, RingError> {
    file::files_in(dir.as_ref())?.iter().map(|path| inspect_file(path)).collect()
}

fn inspect_file(path: &Path) -> Result<RingReport, RingError> {
    let failed = |source| RingError::Io { what: "read", path: path.to_owned(), source };
    let bytes = std::fs::read(path).map_err(failed)?;
    let in_use = File::open(path).map_err(failed)?.try_lock_shared().is_err();
    let buffer = of_bytes(path, bytes)?;
    let mut lines = buffer.lines();
    let (mut at, mut events, mut damaged) = (buffer.head(), 0, false);
    while at < buffer.tail() && !damaged {
        let taken = buffer.take(at, 1 << 20);
        for frame in &taken.frames {
            events += 1;
            if let (Some(seq), Some(line)) = (frame.meta.seq, lines.get_mut(usize::from(frame.meta.line))) {
                line.next_seq = line.next_seq.max(seq + 1);
            }
        }
        (at, damaged) = (taken.end, taken.damaged);
    }
    let line = |l: LineEntry| RingLine { topic: l.topic, partition: l.partition, next_seq: l.next_seq };
    Ok(RingReport {
        path: path.to_owned(),
        producer: buffer.producer(),
        epoch: buffer.epoch(),
        events,
        bytes: buffer.used(),
        capacity: buffer.capacity(),
        lines: lines.into_iter().map(line).collect(),
        losses: buffer.losses(),
        in_use,
        closed: buffer.is_closed(),
        damaged: damaged && !in_use,
    })
}

/// A copy of a ring file as a ring of our own.
pub(super) fn of_bytes(path: &Path, bytes: Vec<u8>) -> Result<Buffer, RingError> {
    let not_a_ring = || RingError::NotARing { path: path.to_owned() };
    if bytes.len() < layout::file_bytes(0) || !bytes.len().is_multiple_of(memory::WORD) {
        return Err(not_a_ring());
    }
    let word = |at: usize| {
        let bytes = bytes[at * 8..at * 8 + 8].try_into();
        bytes.map_or(0, u64::from_ne_bytes)
    };
    if word(layout::AT_MAGIC) != layout::MAGIC {
        return Err(not_a_ring());
    }
    if word(layout::AT_VERSION) != layout::VERSION {
        return Err(RingError::Version { path: path.to_owned(), found: word(layout::AT_VERSION) });
    }
    if bytes.len() as u64 != layout::file_bytes(0) as u64 + word(layout::AT_CAPACITY) {
        return Err(not_a_ring());
    }
    let memory = Memory::private(bytes.len()).map_err(|source| RingError::Io {
        what: "map a copy of",
        path: path.to_owned(),
        source,
    })?;
    memory::store(memory.words(), &bytes);
    Ok(Buffer::new(memory, None))
}
