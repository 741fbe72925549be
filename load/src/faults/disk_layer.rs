//! A disk that fails on command, between the spool (or the log) and the real one.

use std::{
    fs::File,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use stream::Files;

/// What the disk does from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// No room: ENOSPC for whatever takes some.
    Full,
    /// EROFS for every change.
    ReadOnly,
    /// Each sync takes 5 s.
    SlowSync,
}

impl Fault {
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "none" => Self::None,
            "full" => Self::Full,
            "read-only" => Self::ReadOnly,
            "slow-sync" => Self::SlowSync,
            _ => return None,
        })
    }
}

const SLOW: Duration = Duration::from_secs(5);

/// Cheap to clone; all clones are one disk.
#[derive(Debug, Clone, Default)]
pub struct FaultyDisk(Arc<AtomicU8>);

impl FaultyDisk {
    pub fn set(&self, fault: Fault) {
        self.0.store(fault as u8, Ordering::SeqCst);
    }

    fn is(&self, fault: Fault) -> bool {
        self.0.load(Ordering::SeqCst) == fault as u8
    }

    fn change(&self) -> io::Result<()> {
        if self.is(Fault::ReadOnly) { Err(io::Error::from_raw_os_error(30)) } else { Ok(()) }
    }

    fn grow(&self) -> io::Result<()> {
        if self.is(Fault::Full) { Err(io::Error::from_raw_os_error(28)) } else { self.change() }
    }

    fn wait(&self) {
        if self.is(Fault::SlowSync) {
            std::thread::sleep(SLOW);
        }
    }
}

impl Files for FaultyDisk {
    fn make(&self, path: &Path) -> io::Result<File> {
        self.grow()?;
        File::options().read(true).write(true).create(true).truncate(true).open(path)
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<File> {
        if write {
            self.change()?;
        }
        File::options().read(true).write(write).open(path)
    }

    fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        self.grow()?;
        std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.wait();
        self.change()?;
        file.sync_data()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.wait();
        self.change()?;
        File::open(dir)?.sync_all()
    }

    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        self.change()?;
        file.set_len(len)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change()?;
        std::fs::remove_file(path)
    }
}
