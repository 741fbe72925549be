//! Where measurements put their files: data on the disk that the build is on, rings in memory.

use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::TempDir;

/// A folder on a disk, removed when it is dropped.
pub fn on_disk() -> anyhow::Result<TempDir> {
    let place = if Path::new("target").is_dir() { PathBuf::from("target") } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("load-").tempdir_in(std::path::absolute(place)?).context("a folder for the data")
}

/// A folder on a tmpfs, removed when it is dropped.
pub fn in_memory() -> anyhow::Result<TempDir> {
    tempfile::Builder::new().prefix("load-").tempdir_in("/dev/shm").context("a folder in /dev/shm")
}
