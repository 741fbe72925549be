//! Ring files: making one, finding those of dead epochs, and refusing what is not ours to touch.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::Ordering::{Acquire, Relaxed, Release},
    time::{Duration, Instant},
};

use super::{
    buffer::Buffer,
    layout::{
        AT_BOOT, AT_CAPACITY, AT_EPOCH, AT_LINES, AT_LOSSES, AT_MAGIC, AT_PRODUCER, AT_VERSION, BOOT_WORDS, LINES,
        LOSSES, MAGIC, PRODUCER_WORDS, VERSION, capacity, file_bytes, text, text_words,
    },
    memory::Memory,
};

/// Longer than any look at a ring takes, on a machine that is busy.
pub(super) const A_LOOK: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum RingError {
    #[error("cannot {what} {path}: {source}", path = .path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "run_dir {path} is not on a tmpfs: a ring on a disk would make callers wait for write-back. Set run_dir to a folder on \
         a tmpfs, such as /dev/shm/trunkline or a mounted one that outlives the container's process",
        path = .path.display()
    )]
    NotTmpfs { path: PathBuf },
    #[error("{path} is used by another process or publisher", path = .path.display())]
    InUse { path: PathBuf },
    #[error(
        "{path} is a ring of version {found}, this build knows {VERSION}: let the build that made it drain it, or move the file \
         away if its events may be lost",
        path = .path.display()
    )]
    Version { path: PathBuf, found: u64 },
    #[error("{path} is no ring: move it away", path = .path.display())]
    NotARing { path: PathBuf },
    #[error(
        "{path} was made before the machine's last boot, so run_dir is no tmpfs of this machine: move the file away, its events \
         may be incomplete",
        path = .path.display()
    )]
    OtherBoot { path: PathBuf },
}

/// A ring file that is ours while this lives: nobody else drains or takes it.
pub struct Held {
    pub path: PathBuf,
    lock: File,
}

impl Drop for Held {
    fn drop(&mut self) {
        // Closing would not do: the mapping keeps the open file, and with it the lock.
        let _not_locked = self.lock.unlock();
    }
}

/// Name of the living ring in its folder; a dead one is `ring.<epoch>.dead`.
pub(super) const LIVE: &str = "ring";

fn failed<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> RingError + 'a {
    move |source| RingError::Io { what, path: path.to_owned(), source }
}

pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

fn fill_header(memory: &Memory, producer: &str, epoch: i64, capacity: usize) {
    let words = memory.words();
    words[AT_VERSION].store(VERSION, Relaxed);
    words[AT_EPOCH].store(epoch.cast_unsigned(), Relaxed);
    words[AT_CAPACITY].store(capacity as u64, Relaxed);
    words[AT_LINES].store(LINES as u64, Relaxed);
    words[AT_LOSSES].store(LOSSES as u64, Relaxed);
    for (at, word) in text_words::<BOOT_WORDS>(&boot_id()).into_iter().enumerate() {
        words[AT_BOOT + at].store(word, Relaxed);
    }
    for (at, word) in text_words::<PRODUCER_WORDS>(producer).into_iter().enumerate() {
        words[AT_PRODUCER + at].store(word, Relaxed);
    }
    words[AT_MAGIC].store(MAGIC, Release);
}

/// A ring in memory of this process only.
pub fn private(producer: &str, epoch: i64, bytes: usize) -> Result<Buffer, RingError> {
    let capacity = capacity(bytes);
    let memory = Memory::private(file_bytes(capacity)).map_err(failed("map", Path::new("memory")))?;
    fill_header(&memory, producer, epoch, capacity);
    Ok(Buffer::new(memory, None))
}

/// The ring of a new epoch, and those of the dead ones before it, oldest first.
pub struct Opened {
    pub live: Buffer,
    pub dead: Vec<Buffer>,
}

/// Opens the folder for a new epoch. The caller holds the instance's lock.
pub fn open(dir: &Path, producer: &str, epoch: i64, bytes: usize) -> Result<Opened, RingError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("make the folder", dir))?;
    require_tmpfs(dir)?;
    let live = dir.join(LIVE);
    let mut dead = Vec::new();
    for path in files_in(dir)? {
        // A ring that was never finished (killed while it was made) holds nothing.
        if is_blank(&path)? {
            fs::remove_file(&path).map_err(failed("remove", &path))?;
            continue;
        }
        let buffer = reopen(&path)?;
        if path == live {
            let name = dir.join(format!("{LIVE}.{}.dead", buffer.epoch()));
            fs::rename(&path, &name).map_err(failed("rename", &path))?;
            if let Some(held) = &mut *buffer.held.lock() {
                held.path = name;
            }
        }
        dead.push(buffer);
    }
    dead.sort_by_key(Buffer::epoch);
    Ok(Opened { live: make(&live, producer, epoch, bytes)?, dead })
}

fn make(path: &Path, producer: &str, epoch: i64, bytes: usize) -> Result<Buffer, RingError> {
    let capacity = capacity(bytes);
    let total = file_bytes(capacity);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed("make", path))?;
    lock(&file, path)?;
    // Allocated whole now: a page that is missing later would be a signal that kills the process.
    let allocated = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, total as u64);
    if let Err(error) = allocated {
        let _left_for_the_next_start = fs::remove_file(path);
        return Err(failed("allocate the ring (is the tmpfs of run_dir large enough?)", path)(error.into()));
    }
    let memory = Memory::shared(&file, total).map_err(failed("map", path))?;
    fill_header(&memory, producer, epoch, capacity);
    Ok(Buffer::new(memory, Some(Held { path: path.to_owned(), lock: file })))
}

/// A ring that somebody else filled.
pub fn reopen(path: &Path) -> Result<Buffer, RingError> {
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(failed("open", path))?;
    lock(&file, path)?;
    let length = file.metadata().map_err(failed("look at", path))?.len();
    let not_a_ring = || RingError::NotARing { path: path.to_owned() };
    if length < file_bytes(0) as u64 || !length.is_multiple_of(8) {
        return Err(not_a_ring());
    }
    let memory = Memory::shared(&file, length as usize).map_err(failed("map", path))?;
    let words = memory.words();
    if words[AT_MAGIC].load(Acquire) != MAGIC {
        return Err(not_a_ring());
    }
    let found = words[AT_VERSION].load(Relaxed);
    if found != VERSION {
        return Err(RingError::Version { path: path.to_owned(), found });
    }
    let capacity = words[AT_CAPACITY].load(Relaxed);
    let tables = (words[AT_LINES].load(Relaxed), words[AT_LOSSES].load(Relaxed));
    if tables != (LINES as u64, LOSSES as u64) || length != file_bytes(0) as u64 + capacity || capacity == 0 {
        return Err(not_a_ring());
    }
    let boot: Vec<u64> = (0..BOOT_WORDS).map(|at| words[AT_BOOT + at].load(Relaxed)).collect();
    if text(&boot) != boot_id() {
        return Err(RingError::OtherBoot { path: path.to_owned() });
    }
    Ok(Buffer::new(memory, Some(Held { path: path.to_owned(), lock: file })))
}

fn is_blank(path: &Path) -> Result<bool, RingError> {
    use std::io::Read;
    let mut file = File::open(path).map_err(failed("open", path))?;
    let mut first = [0; 8];
    match file.read_exact(&mut first) {
        Ok(()) => Ok(first == [0; 8]),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(true),
        Err(source) => Err(failed("read", path)(source)),
    }
}

/// For the life of the process. Whoever only looks at a ring (`trunkline check`) holds it for some microseconds, to see whether
/// somebody else does, and must not keep a service from starting.
fn lock(file: &File, path: &Path) -> Result<(), RingError> {
    let give_up = Instant::now() + A_LOOK;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() < give_up => std::thread::sleep(A_LOOK / 100),
            Err(TryLockError::WouldBlock) => return Err(RingError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(failed("lock", path)(source)),
        }
    }
}

/// Ring files of a folder, in the order of their names.
pub fn files_in(dir: &Path) -> Result<Vec<PathBuf>, RingError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed("list", dir))? {
        let path = entry.map_err(failed("list", dir))?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if name == LIVE || (name.starts_with("ring.") && name.ends_with(".dead")) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Refuses a folder on a disk.
pub fn require_tmpfs(dir: &Path) -> Result<(), RingError> {
    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58f6;
    let status = rustix::fs::statfs(dir).map_err(|e| failed("look at", dir)(e.into()))?;
    let kind = u64::from(status.f_type as u32);
    if kind == TMPFS || kind == RAMFS { Ok(()) } else { Err(RingError::NotTmpfs { path: dir.to_owned() }) }
}

impl Buffer {
    /// Removes the file, which must be of no use any more, and its folder when that is empty then. Frees the lock.
    pub fn remove(&self) {
        let Some(held) = self.held.lock().take() else { return };
        if let Err(error) = fs::remove_file(&held.path) {
            tracing::warn!(path = %held.path.display(), %error, "an empty ring cannot be removed; the next start does");
        }
        if let Some(dir) = held.path.parent() {
            // Only an empty one goes; the journal may live there too.
            let _not_empty = fs::remove_dir(dir);
        }
    }

    /// Leaves the file to the next start.
    pub fn release(&self) {
        self.held.lock().take();
    }

    pub fn path(&self) -> Option<PathBuf> {
        self.held.lock().as_ref().map(|held| held.path.clone())
    }
}
