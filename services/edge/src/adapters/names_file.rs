//! The last good answers of DNS, kept over a restart: an edge that starts while no name server answers knows where its
//! carriers were, and goes on with the calls that stand there.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::core::names::{Entry, Names};

#[derive(Clone, Debug)]
pub struct NamesFile {
    path: PathBuf,
}

impl NamesFile {
    #[must_use]
    pub fn in_dir(dir: &Path) -> NamesFile {
        NamesFile { path: dir.join("names.json") }
    }

    /// Puts in what the file knows about names that the settings still have. Calls go by it until DNS answers.
    pub fn recall(&self, names: &mut Names) {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => {
                return tracing::warn!(path = %self.path.display(), %error, "the last answers of DNS cannot be read");
            }
        };
        let known: Vec<Entry> = match serde_json::from_slice(&text) {
            Ok(known) => known,
            Err(error) => {
                return tracing::warn!(path = %self.path.display(), %error, "the last answers of DNS cannot be read");
            }
        };
        for entry in &mut names.entries {
            let same = |k: &&Entry| (k.side, &k.id, &k.name) == (entry.side, &entry.id, &entry.name);
            if let Some(known) = known.iter().find(same) {
                entry.targets.clone_from(&known.targets);
                entry.answered_us = known.answered_us;
                entry.stale = true;
            }
        }
    }

    /// Whole or not at all.
    pub fn keep(&self, names: &Names) -> std::io::Result<()> {
        let part = self.path.with_extension("part");
        let mut file = fs::File::create(&part)?;
        file.write_all(&serde_json::to_vec_pretty(&names.entries)?)?;
        file.sync_all()?;
        fs::rename(part, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Side, Transport};
    use crate::core::names::Target;

    fn entry(id: &str, name: &str) -> Entry {
        Entry::new(Side::Trunk, id.into(), name.into())
    }

    #[test]
    fn a_name_that_changed_in_the_settings_is_not_recalled() {
        let dir = tempfile::tempdir().unwrap();
        let file = NamesFile::in_dir(dir.path());
        let mut empty = Names::default();
        file.recall(&mut empty);
        let target = Target {
            address: "192.0.2.1:5060".parse().unwrap(),
            transport: Transport::Tls,
            rank: 1,
            priority: 2,
            weight: 3,
        };
        let known = Entry { targets: vec![target], answered_us: Some(7), ..entry("a", "sip:a.example") };
        file.keep(&Names { entries: vec![known, entry("b", "sip:b.example")] }).unwrap();
        let mut names = Names { entries: vec![entry("a", "sip:a.example"), entry("b", "sip:other.example")] };
        file.recall(&mut names);
        assert_eq!((names.entries[0].targets.as_slice(), names.entries[0].answered_us), (&[target][..], Some(7)));
        assert!(names.entries[0].stale && names.entries[1].targets.is_empty());
        fs::write(dir.path().join("names.json"), b"{").unwrap();
        file.recall(&mut names);
    }
}
