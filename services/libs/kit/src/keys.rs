//! The keys that sign the call header: a folder with one file per key id, `<kid>` or `<kid>.key`, at least 32 bytes, readable
//! by the owner only. Key ids sort by age and the greatest signs, so name them by date: `20261121`.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use domain::identity::{KeyError, Keyring};

/// The id of the key that [`ensure`] makes. Any id with a digit of a year sorts after it.
const FIRST_KID: &str = "0";

#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error(
        "no keys in {dir} (setting identity.keys_dir): every edge and engine needs the same ones; make one with: \
         mkdir -p -m 700 {dir} && (umask 077; head -c 32 /dev/urandom > {dir}/$(date +%Y%m%d))", dir = .dir.display()
    )]
    None { dir: PathBuf },
    #[error("{file} is readable by others (mode {mode:o}): chmod 600 {file}", file = .file.display())]
    Open { file: PathBuf, mode: u32 },
    #[error("in {dir} (setting identity.keys_dir): {source}", dir = .dir.display())]
    Bad { dir: PathBuf, source: KeyError },
    #[error("cannot use {path} (setting identity.keys_dir): {source}", path = .path.display())]
    Io { path: PathBuf, source: std::io::Error },
}

/// All keys of the folder.
pub fn load(dir: &Path) -> Result<Keyring, KeysError> {
    let keys = read(dir)?;
    if keys.is_empty() {
        return Err(KeysError::None { dir: dir.to_owned() });
    }
    Keyring::new(keys).map_err(|source| KeysError::Bad { dir: dir.to_owned(), source })
}

/// As [`load`], but makes a first key where there is none. For `standalone` and `demo` only: separate processes that each
/// made their own would not believe one another.
pub fn ensure(dir: &Path) -> Result<Keyring, KeysError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at(dir))?;
    if read(dir)?.is_empty() {
        let path = dir.join(FIRST_KID);
        let mut secret = [0_u8; 32];
        let made =
            std::fs::File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut secret)).and_then(|()| {
                let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
                file.write_all(&secret)?;
                file.sync_all()
            });
        match made {
            Ok(()) => tracing::info!(file = %path.display(), "made the first identity key"),
            // Somebody else was first; theirs is as good.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(KeysError::Io { path, source }),
        }
    }
    load(dir)
}

fn read(dir: &Path) -> Result<Vec<(String, Vec<u8>)>, KeysError> {
    let mut keys = Vec::new();
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(keys),
        Err(source) => return Err(KeysError::Io { path: dir.to_owned(), source }),
    };
    for entry in entries {
        let path = entry.map_err(at(dir))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // Kubernetes mounts secrets through dot-named folders and links.
        if name.starts_with('.') {
            continue;
        }
        let meta = std::fs::metadata(&path).map_err(at(&path))?;
        if !meta.is_file() {
            continue;
        }
        if meta.mode() & 0o077 != 0 {
            return Err(KeysError::Open { file: path, mode: meta.mode() & 0o777 });
        }
        let kid = name.strip_suffix(".key").unwrap_or(&name).to_owned();
        keys.push((kid, std::fs::read(&path).map_err(at(&path))?));
    }
    Ok(keys)
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> KeysError {
    move |source| KeysError::Io { path: path.to_owned(), source }
}
