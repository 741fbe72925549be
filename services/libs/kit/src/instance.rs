//! Who this process is, from one start to the next.
//!
//! `<data_dir>/<service>/instance` keeps the instance id and the last epoch; `instance.lock` is held while the process
//! lives. Two processes can therefore never publish under one name, and an epoch never repeats or goes back, even when the
//! clock does.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use domain::Clock;

use crate::clock::SystemClock;

#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    #[error("{dir} is in use by process {owner}: one data_dir serves one {service} at a time", dir = .dir.display())]
    InUse { dir: PathBuf, owner: String, service: String },
    #[error("cannot use {path} (setting data_dir): {source}", path = .path.display())]
    Io { path: PathBuf, source: std::io::Error },
}

#[derive(Debug)]
pub struct Instance {
    /// 12 hex digits, made at the first start in this folder.
    pub id: String,
    /// Start time in UTC microseconds, strictly greater than that of every earlier start.
    pub epoch: i64,
    /// `<data_dir>/<service>`.
    pub dir: PathBuf,
    service: String,
    /// Released by the kernel when this is dropped, also after `kill -9`.
    _lock: File,
}

impl Instance {
    pub fn open(data_dir: &Path, service: &str) -> Result<Instance, InstanceError> {
        let dir = data_dir.join(service);
        DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(at(&dir))?;
        let lock = lock(&dir, service)?;
        let file = dir.join("instance");
        let known = match std::fs::read_to_string(&file) {
            Ok(text) => parse(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(source) => return Err(InstanceError::Io { path: file, source }),
        };
        let now = SystemClock.now().wall_us;
        let (id, epoch) = match known {
            Some((id, last)) => (id, now.max(last + 1)),
            None => (uuid::Uuid::new_v4().simple().to_string()[..12].to_owned(), now),
        };
        write_synced(&file, &format!("{id} {epoch}\n")).map_err(at(&file))?;
        Ok(Instance { id, epoch, dir, service: service.to_owned(), _lock: lock })
    }

    /// `<service>/<instance>`: the name under which this process numbers its events.
    #[must_use]
    pub fn producer(&self) -> String {
        format!("{}/{}", self.service, self.id)
    }
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> InstanceError {
    move |source| InstanceError::Io { path: path.to_owned(), source }
}

fn lock(dir: &Path, service: &str) -> Result<File, InstanceError> {
    let path = dir.join("instance.lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(at(&path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            let _ = file.read_to_string(&mut owner);
            let owner = if owner.trim().is_empty() { "unknown".into() } else { owner.trim().to_owned() };
            return Err(InstanceError::InUse { dir: dir.to_owned(), owner, service: service.to_owned() });
        }
        Err(TryLockError::Error(source)) => return Err(InstanceError::Io { path, source }),
    }
    // For the message above only; the lock itself is the kernel's.
    let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(at(&path))?;
    Ok(file)
}

fn parse(text: &str) -> Option<(String, i64)> {
    let (id, epoch) = text.trim().split_once(' ')?;
    let good = id.len() == 12 && id.bytes().all(|b| b.is_ascii_hexdigit());
    Some((id.to_owned(), epoch.parse().ok()?)).filter(|_| good)
}

/// New content under the same name, whole or not at all.
fn write_synced(path: &Path, text: &str) -> std::io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
