//! The last-known-good file: what control topics and operators said last, for a start at which the stream is down.
//!
//! It is read before a socket opens, so that the first call already meets the blocks, weights, trunks and routes that were in
//! force. It is written whole, beside the old one, synced and renamed over it: a crash leaves the old or the new one. A file that is
//! damaged is set aside and the edge starts with its settings alone, loudly; nothing in it is half believed.

use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use schemas::{AppliedOffset, ControlBlock, ControlWeight};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::core::book::Record;

const NAME: &str = "last-known-good.json";
const MAGIC: &str = "trunkline-edge last-known-good 1";
/// Far more than the bounded tables can hold.
const MOST_BYTES: u64 = 256 * 1024 * 1024;

/// Everything that is in force besides the settings files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// When it was written (µs since 1970 UTC).
    pub written_us: i64,
    /// How far the topics were read.
    #[serde(default)]
    pub applied: Vec<AppliedOffset>,
    /// Blocks and lifts by their keys.
    #[serde(default)]
    pub blocks: Vec<(String, ControlBlock)>,
    #[serde(default)]
    pub weights: Vec<(String, ControlWeight)>,
    #[serde(default)]
    pub records: Vec<(String, Record)>,
}

/// What a start found.
#[derive(Debug, PartialEq)]
pub enum Found {
    Good(Box<Kept>),
    /// The first start.
    Missing,
    /// Why it cannot be used, and where it is now.
    Damaged {
        why: String,
        aside: PathBuf,
    },
}

impl Found {
    #[must_use]
    pub fn into_kept(self) -> Kept {
        match self {
            Found::Good(kept) => *kept,
            Found::Missing | Found::Damaged { .. } => Kept::default(),
        }
    }
}

#[must_use]
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(NAME)
}

/// Reads the file in the service's folder. A damaged one is moved aside, so that the next write does not destroy the evidence.
#[must_use]
pub fn read(data_dir: &Path) -> Found {
    let path = path(data_dir);
    let why = match peek(data_dir) {
        Ok(Some(kept)) => return Found::Good(Box::new(kept)),
        Ok(None) => return Found::Missing,
        Err(why) => why,
    };
    let aside = path.with_extension("damaged");
    if let Err(error) = std::fs::rename(&path, &aside) {
        return Found::Damaged { why: format!("{why}; it cannot be moved aside either: {error}"), aside: path };
    }
    Found::Damaged { why, aside }
}

/// The same without a hand on it: `None` when there is none, else why it cannot be used.
pub fn peek(data_dir: &Path) -> Result<Option<Kept>, String> {
    let path = path(data_dir);
    match std::fs::metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Ok(meta) if meta.len() > MOST_BYTES => {
            return Err("it is longer than anything that was ever written".to_owned());
        }
        _ => {}
    }
    let bytes = std::fs::read(&path).map_err(|error| format!("it cannot be read: {error}"))?;
    parse(&bytes).map(Some)
}

fn parse(bytes: &[u8]) -> Result<Kept, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is no text".to_owned())?;
    let (head, body) = text.split_once('\n').ok_or("it has no first line")?;
    let digest =
        head.strip_prefix(MAGIC).and_then(|rest| rest.strip_prefix(" sha256=")).ok_or("its first line is unknown")?;
    if digest != sha256(body.as_bytes()) {
        return Err("its digest is not that of its content".to_owned());
    }
    serde_json::from_str(body).map_err(|error| format!("line {} cannot be read: {error}", error.line() + 1))
}

/// Writes and syncs: not for a thread that carries calls.
pub fn write(data_dir: &Path, kept: &Kept) -> std::io::Result<()> {
    let body = serde_json::to_string(kept).map_err(std::io::Error::other)?;
    let path = path(data_dir);
    let fresh = path.with_extension("new");
    // It names customers' numbers: for this user alone.
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(format!("{MAGIC} sha256={}\n{body}", sha256(body.as_bytes())).as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, &path)?;
    std::fs::File::open(data_dir)?.sync_all()
}

fn sha256(bytes: &[u8]) -> String {
    domain::hex(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Kept {
        let block = ControlBlock {
            event_type: "block".into(),
            author: "fraud".into(),
            block_id: "b".into(),
            expires_us: 9,
            ..ControlBlock::default()
        };
        let record = Record {
            id: "a".into(),
            settings: Some("{}".into()),
            author: "operator".into(),
            made_us: 3,
            reason: None,
            actor: None,
            announced: false,
        };
        Kept {
            written_us: 7,
            applied: vec![AppliedOffset { topic: "control.blocks".into(), partition: 1, offset: 5 }],
            blocks: vec![("fraud/b".into(), block)],
            weights: Vec::new(),
            records: vec![("trunk/a".into(), record)],
        }
    }

    #[test]
    fn what_was_written_is_read_and_an_older_one_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), Found::Missing);
        write(dir.path(), &Kept::default()).unwrap();
        write(dir.path(), &kept()).unwrap();
        assert_eq!(read(dir.path()), Found::Good(Box::new(kept())));
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(path(dir.path())).unwrap());
        assert_eq!(mode & 0o077, 0);
    }

    #[test]
    fn no_damage_of_any_byte_is_believed_and_the_file_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &kept()).unwrap();
        let good = std::fs::read(path(dir.path())).unwrap();
        let mut images: Vec<Vec<u8>> = (0..good.len()).step_by(3).map(|cut| good[..cut].to_vec()).collect();
        images.extend((0..good.len()).map(|at| {
            let mut image = good.clone();
            image[at] ^= 0x11;
            image
        }));
        images.extend([vec![0; 4_096], b"{}".to_vec(), good.iter().chain(b" ").copied().collect()]);
        for image in images {
            std::fs::write(path(dir.path()), &image).unwrap();
            let Found::Damaged { why, aside } = read(dir.path()) else { panic!("believed: {image:?}") };
            assert!(!why.is_empty());
            assert_eq!(std::fs::read(aside).unwrap(), image);
            assert_eq!(read(dir.path()), Found::Missing, "the next start is not troubled by it");
        }
    }
}
