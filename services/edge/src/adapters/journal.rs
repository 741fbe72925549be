//! The journal's file: `<run_dir>/<instance id>/journal`, on a tmpfs, allocated whole at start, mapped.
//!
//! Whoever starts holds the instance's lock, so nobody else has the file open. A file that is not ours to read (another version,
//! instance or boot, or no journal at all) is set aside as `journal.aside`, one at most, and a new one begun: calls in set-up are
//! worth less than an edge that does not start. For the same reason a run_dir without room costs the journal, not the start.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use stream::ring::{Mapped, require_tmpfs};

use crate::core::journal::{self, Description, Journal, Memory, Owner, words_for};

const LIVE: &str = "journal";
const NEW: &str = "journal.new";
const ASIDE: &str = "journal.aside";

struct JournalFile {
    map: Mapped,
    path: PathBuf,
}

impl Memory for JournalFile {
    fn words(&self) -> &[AtomicU64] {
        self.map.words()
    }
}

impl Drop for JournalFile {
    fn drop(&mut self) {
        if journal::holds_nothing(self.words()) && self.path.ends_with(LIVE) {
            let _may_be_gone = fs::remove_file(&self.path);
            if let Some(dir) = self.path.parent() {
                // Only an empty one goes; the ring lives there too.
                let _not_empty = fs::remove_dir(dir);
            }
        }
    }
}

/// What was opened, and whether an older file was set aside.
pub struct Opened {
    pub journal: Journal,
    pub set_aside: bool,
}

/// Opens or makes the journal in `dir`, or says why the edge has to do without one.
pub fn open(dir: &Path, instance: &str, boot: &str, bytes: usize, seed: [u8; 32]) -> Opened {
    if bytes == 0 {
        return Opened { journal: Journal::none(), set_aside: false };
    }
    try_open(dir, Owner { instance, boot }, bytes, seed).unwrap_or_else(|error| {
        tracing::error!(
            dir = %dir.display(),
            %error,
            "no journal: a restart of this edge will forget its calls in set-up (is run_dir a tmpfs with room for edge.journal_bytes?)"
        );
        Opened { journal: Journal::none(), set_aside: false }
    })
}

/// A journal's file in a folder of `run_dir`, looked at from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalReport {
    pub path: PathBuf,
    /// It was set aside by a start that could not use it.
    pub is_aside: bool,
    /// None when it is no journal.
    pub found: Option<Description>,
}

/// The journals in a folder. Only reads, so it may look at one that is in use.
pub fn inspect(dir: &Path) -> Vec<JournalReport> {
    let report = |(name, is_aside): (&str, bool)| {
        let path = dir.join(name);
        let bytes = fs::read(&path).ok()?;
        let word = |b: &[u8]| AtomicU64::new(u64::from_ne_bytes(b.try_into().expect("chunks of eight")));
        let words: Vec<AtomicU64> = bytes.chunks_exact(8).map(word).collect();
        Some(JournalReport { path, is_aside, found: journal::describe(&words) })
    };
    [(LIVE, false), (ASIDE, true)].into_iter().filter_map(report).collect()
}

fn try_open(dir: &Path, owner: Owner<'_>, bytes: usize, seed: [u8; 32]) -> io::Result<Opened> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    require_tmpfs(dir).map_err(io::Error::other)?;
    let (live, new) = (dir.join(LIVE), dir.join(NEW));
    let total = words_for(bytes) * 8;
    let _left_by_a_kill = fs::remove_file(&new);
    if !live.exists() {
        let journal = Journal::fresh(Box::new(make(&new, &live, total)?), owner, seed);
        fs::rename(&new, &live)?;
        return Ok(Opened { journal, set_aside: false });
    }
    let file = OpenOptions::new().read(true).write(true).open(&live)?;
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    let map = Mapped::shared(&file, length.max(8));
    let resumed = map.map_err(|e| e.to_string()).and_then(|map| {
        Journal::resume(Box::new(JournalFile { map, path: live.clone() }), owner).map_err(|e| e.to_string())
    });
    match resumed {
        Ok(journal) if length == total => Ok(Opened { journal, set_aside: false }),
        Ok(journal) => {
            // The size in the settings is another one now.
            let journal = journal.moved_to(Box::new(make(&new, &live, total)?), owner);
            fs::rename(&new, &live)?;
            Ok(Opened { journal, set_aside: false })
        }
        Err(why) => {
            let aside = dir.join(ASIDE);
            match fs::rename(&live, &aside) {
                // One that held nothing is gone already.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            tracing::warn!(file = %aside.display(), why, "the journal cannot be used and was set aside: calls in set-up are forgotten");
            let journal = Journal::fresh(Box::new(make(&new, &live, total)?), owner, seed);
            fs::rename(&new, &live)?;
            Ok(Opened { journal, set_aside: true })
        }
    }
}

/// A blank file of that length, every page there: one that is missing later would be a signal that kills the process.
fn make(path: &Path, lives_at: &Path, bytes: usize) -> io::Result<JournalFile> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    let allocated = allocate(&file, bytes);
    if allocated.is_err() {
        let _left_for_the_next_start = fs::remove_file(path);
    }
    allocated?;
    Ok(JournalFile { map: Mapped::shared(&file, bytes)?, path: lives_at.to_owned() })
}

fn allocate(file: &File, bytes: usize) -> io::Result<()> {
    rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes as u64).map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 64 * 1024;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir_in("/dev/shm").expect("a tmpfs")
    }

    fn opened(dir: &Path, bytes: usize) -> Opened {
        open(dir, "0123456789ab", "boot-1", bytes, [7; 32])
    }

    #[test]
    fn a_journal_keeps_its_seed_and_an_empty_one_leaves_no_file() {
        let tmp = folder();
        let dir = tmp.path().join("i");
        let first = opened(&dir, SIZE);
        assert!(first.journal.is_on() && dir.join(LIVE).exists());
        drop(first);
        assert!(!dir.exists(), "nothing to remember");
    }

    #[test]
    fn a_file_of_another_kind_is_set_aside_and_a_new_one_begun() {
        let tmp = folder();
        for old in [vec![], b"not a journal".to_vec(), vec![0; 4_096], vec![0xFF; 100_001]] {
            fs::write(tmp.path().join(LIVE), &old).unwrap();
            let found = opened(tmp.path(), SIZE);
            assert!(found.set_aside && found.journal.is_on());
            assert_eq!(fs::read(tmp.path().join(ASIDE)).unwrap(), old);
        }
    }

    #[test]
    fn what_lies_in_a_folder_can_be_told_while_it_is_in_use() {
        let tmp = folder();
        fs::write(tmp.path().join(LIVE), b"not a journal").unwrap();
        let _held = opened(tmp.path(), SIZE);
        let reports = inspect(tmp.path());
        let found = |aside| reports.iter().find(|r| r.is_aside == aside).unwrap().found.clone();
        assert_eq!(found(true), None);
        let live = found(false).unwrap();
        assert_eq!((live.instance.as_str(), live.records), ("0123456789ab", 0));
        assert_eq!(live.version, journal::VERSION);
    }

    #[test]
    fn a_folder_that_is_no_tmpfs_or_has_no_room_costs_the_journal_and_not_the_start() {
        assert!(!opened(Path::new("/proc/nowhere"), SIZE).journal.is_on());
        assert!(!opened(folder().path(), 1 << 50).journal.is_on());
        assert!(!opened(folder().path(), 0).journal.is_on());
    }
}
