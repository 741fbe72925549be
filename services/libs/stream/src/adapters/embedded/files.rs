//! What the log asks of the disk when it changes something. Tests put a faulty layer here: full, read-only, broken, slow.
//!
//! Every method does the real thing unless a layer says otherwise, so a layer names only its faults. Reading goes past this seam:
//! damaged bytes are made by writing them.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io,
    os::{fd::AsRawFd, unix::fs::FileExt},
    path::Path,
};

pub trait Files: fmt::Debug + Send + Sync + 'static {
    /// An empty file to read and write, whatever was there before.
    fn make(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<File> {
        OpenOptions::new().read(true).write(write).open(path)
    }

    /// All of `bytes`, or an error; then any part of them may stand there.
    fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        file.write_all_at(bytes, at)
    }

    /// Contents and length are on the disk afterwards.
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    /// The names in the folder are on the disk afterwards.
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    /// Takes the room for `len` bytes, all or an error.
    fn preallocate(&self, file: &File, len: u64) -> io::Result<()> {
        let len = libc::off_t::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        #[expect(unsafe_code, reason = "posix_fallocate has no safe wrapper among our dependencies")]
        // SAFETY: a plain call on a descriptor that `file` holds open meanwhile; it touches no memory of ours.
        let error = unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, len) };
        if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
    }
}

/// The disk as it is.
#[derive(Debug, Default, Clone, Copy)]
pub struct RealFiles;

impl Files for RealFiles {}
