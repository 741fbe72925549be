//! Room that is taken in good times, so that what must not be lost still fits when the disk is full.

use std::{io, path::PathBuf, sync::Arc};

use super::files::Files;
use crate::LogError;

pub struct Reserve {
    path: PathBuf,
    bytes: u64,
    files: Arc<dyn Files>,
}

impl Reserve {
    pub fn new(dir: &std::path::Path, bytes: u64, files: Arc<dyn Files>) -> Self {
        Self { path: dir.join("reserve"), bytes, files }
    }

    pub fn is_held(&self) -> bool {
        self.bytes > 0 && std::fs::metadata(&self.path).is_ok_and(|file| file.len() >= self.bytes)
    }

    /// Frees the room. False: there was none to free.
    pub fn give_up(&self) -> Result<bool, LogError> {
        match self.files.remove(&self.path) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(LogError::io(format!("cannot give up {}", self.path.display()), &e)),
        }
    }

    /// Takes the room, unless it is held. An error leaves nothing behind: half a reserve would only fill the disk.
    pub fn restore(&self) -> Result<(), LogError> {
        if self.bytes == 0 || self.is_held() {
            return Ok(());
        }
        let made = self.files.make(&self.path).and_then(|file| self.files.preallocate(&file, self.bytes));
        made.map_err(|e| {
            let _best_effort = self.files.remove(&self.path);
            LogError::io(format!("cannot take {} bytes for {}", self.bytes, self.path.display()), &e)
        })
    }
}
