//! One writer per log folder: a lock that the kernel takes back when its holder dies, however it dies.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Write},
    path::Path,
};

use crate::LogError;

#[derive(Debug)]
pub struct WriterLock {
    file: File,
}

impl Drop for WriterLock {
    /// Closing alone would do, but for a child that was forked and has not reached its `exec`: it holds the same open file.
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            tracing::warn!(%error, "the lock of a log folder is freed when the file closes");
        }
    }
}

impl WriterLock {
    pub fn take(dir: &Path) -> Result<Self, LogError> {
        let path = dir.join("lock");
        let failed = |e: &std::io::Error| LogError::io(format!("cannot lock {}", path.display()), e);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| failed(&e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                let _unreadable_is_unknown = file.read_to_string(&mut owner);
                let owner =
                    if owner.trim().is_empty() { "another process".to_owned() } else { owner.trim().to_owned() };
                return Err(LogError::Locked { dir: dir.display().to_string(), owner });
            }
            Err(TryLockError::Error(e)) => return Err(failed(&e)),
        }
        // For people only; a full disk must not keep us from opening.
        let _note = file.set_len(0).and_then(|()| write!(file, "process {}", std::process::id()));
        Ok(Self { file })
    }
}
