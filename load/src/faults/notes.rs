//! What was accepted, noted where a `kill -9` of the publishing process cannot take it back: files on a tmpfs that the parent made and
//! owns. A note is written after `publish` returned, in one write of 32 bytes within a page, so it is there whole or not at all.
//!
//! An event may be accepted and not noted, when the kill falls between the two; it is then neither owed nor wrong.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;

const BYTES: usize = 32;

/// One accepted event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Note {
    pub epoch: i64,
    pub partition: i32,
    pub seq: i64,
    /// Which event it was, by a count of the child's own that also makes its key.
    pub n: i64,
}

impl Note {
    fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        let words = [self.epoch, i64::from(self.partition), self.seq, self.n];
        bytes.chunks_exact_mut(8).zip(words).for_each(|(chunk, word)| chunk.copy_from_slice(&word.to_le_bytes()));
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at * 8..at * 8 + 8]);
            i64::from_le_bytes(word)
        };
        Self { epoch: word(0), partition: word(1) as i32, seq: word(2), n: word(3) }
    }
}

/// The writing end, in the child; one per thread.
pub struct Pen(File);

impl Pen {
    /// The parent has made the folder.
    pub fn open(folder: &Path, life: u64, thread: usize) -> anyhow::Result<Self> {
        let path = folder.join(format!("{life}-{thread}"));
        let file = OpenOptions::new().create(true).append(true).open(&path);
        Ok(Self(file.with_context(|| format!("the notes {}", path.display()))?))
    }

    pub fn note(&mut self, note: Note) -> io::Result<()> {
        self.0.write_all(&note.to_bytes())
    }
}

/// The parent's end.
pub struct Notes {
    pub folder: PathBuf,
}

impl Notes {
    pub fn new(folder: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// How many events of that life were accepted so far.
    pub fn count(&self, life: u64) -> u64 {
        let prefix = format!("{life}-");
        let files = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let own = files.filter(|f| f.file_name().to_string_lossy().starts_with(&prefix));
        own.filter_map(|f| f.metadata().ok()).map(|m| m.len() / BYTES as u64).sum()
    }

    pub fn all(&self) -> anyhow::Result<Vec<Note>> {
        let mut all = Vec::new();
        for file in fs::read_dir(&self.folder)? {
            all.extend(fs::read(file?.path())?.chunks_exact(BYTES).map(Note::from_bytes));
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_of_all_lives_and_threads_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let notes = Notes::new(folder.path().to_owned()).unwrap();
        let note = |n| Note { epoch: 1_700_000_000_000_000 + n, partition: 11, seq: n, n: n << 40 };
        for (life, thread) in [(1, 0), (1, 1), (12, 0)] {
            let mut pen = Pen::open(folder.path(), life, thread).unwrap();
            pen.note(note(life as i64)).unwrap();
        }
        assert_eq!((notes.count(1), notes.count(12), notes.count(2)), (2, 1, 0));
        let mut all: Vec<i64> = notes.all().unwrap().iter().map(|n| n.seq).collect();
        all.sort_unstable();
        assert_eq!(all, [1, 1, 12]);
        assert!(notes.all().unwrap().contains(&note(12)));
    }
}
