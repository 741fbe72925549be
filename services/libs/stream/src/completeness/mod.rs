//! What arrived, held against what the producers say: which numbers are proven, which are lost, and which nobody can tell yet. Pure.
//!
//! What must hold:
//! * numbers of a (producer, epoch, topic, partition) count from 0 without gaps and arrive in their order, so a number that is missing
//!   below one that was seen is lost;
//! * only a closed manifest proves an end: what an open one names beyond the last number seen may still be on its way;
//! * a number is called expired only where retention has taken the beginning of its partition and its epoch is older than what is left;
//! * in a compacted topic a missing number may have been replaced, so there nothing is called lost without a word.
//!
//! Manifests are read before the topics: what a manifest counts is then in the topics, or lost. What is declared later is added with
//! [`Account::learn_losses`].

mod judge;
mod ranges;

use std::collections::{BTreeSet, HashMap};

use schemas::{Event, Identity, ManifestLine, StreamManifest};
use serde::Serialize;

pub use self::judge::{Declared, Findings, Verdict};
use self::{judge::Evidence, ranges::Ranges};

/// What is left of a partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Remains {
    /// Retention took the beginning.
    pub cut: bool,
    /// Timestamp of the first record that is left; `None` when none is.
    pub first_timestamp_us: Option<i64>,
    pub compacted: bool,
}

/// What is known about the numbers of one epoch of a producer in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    pub producer: String,
    pub epoch: i64,
    pub topic: &'static str,
    pub partition: i32,
    /// The newest manifest of the epoch.
    pub account: Option<Statement>,
    /// Records whose number was seen before: copies, nothing is lost by them.
    pub doubled: u64,
    #[serde(flatten)]
    pub findings: Findings,
}

impl Line {
    fn place(&self) -> (&str, i64, &str, i32) {
        (&self.producer, self.epoch, self.topic, self.partition)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Statement {
    /// `None`: still open, or never closed.
    pub closed_by: Option<String>,
    pub made_us: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    producer: u32,
    epoch: i64,
    topic: &'static str,
    partition: i32,
}

#[derive(Debug, Default)]
struct Seen {
    numbers: Ranges,
    doubled: u64,
}

#[derive(Debug)]
struct Manifest {
    closed: bool,
    closed_by: Option<String>,
    made_us: i64,
    lines: Vec<ManifestLine>,
}

/// Everything that was seen and said, small: what arrived in order takes one range per line, however long it is.
#[derive(Debug, Default)]
pub struct Account {
    producers: Vec<String>,
    ids: HashMap<String, u32>,
    seen: HashMap<Key, Seen>,
    manifests: HashMap<(u32, i64), Manifest>,
    strange: u64,
}

/// More than a million events a second for ten thousand years.
const NUMBERS: std::ops::Range<i64> = 0..1 << 60;

impl Account {
    /// A record of `topic` with this identity is in the log.
    pub fn see(&mut self, topic: &'static str, identity: &Identity<'_>) {
        if !NUMBERS.contains(&identity.seq) {
            self.strange += 1;
            return;
        }
        let producer = self.id(&identity.producer);
        let key = Key { producer, epoch: identity.epoch, topic, partition: identity.partition };
        let seen = self.seen.entry(key).or_default();
        if !seen.numbers.insert(identity.seq) {
            seen.doubled += 1;
        }
    }

    /// The newest manifest of an epoch counts; of a closed one no newer can come.
    pub fn hear(&mut self, manifest: StreamManifest) {
        if !self.makes_sense(&manifest) {
            return;
        }
        let key = (self.id(&manifest.producer), manifest.epoch);
        let rank = (manifest.is_closed(), manifest.made_us);
        if self.manifests.get(&key).is_none_or(|known| (known.closed, known.made_us) <= rank) {
            let closed = manifest.is_closed();
            let StreamManifest { closed_by, made_us, lines, .. } = manifest;
            self.manifests.insert(key, Manifest { closed, closed_by, made_us, lines });
        }
    }

    /// A manifest that came while the topics were read: what it declares lost is lost, what it counts may not have been read.
    pub fn learn_losses(&mut self, manifest: &StreamManifest) {
        if !self.makes_sense(manifest) {
            return;
        }
        let key = (self.id(&manifest.producer), manifest.epoch);
        let Some(known) = self.manifests.get_mut(&key) else {
            // Whoever has no manifest yet is open, and only its declared losses are taken over.
            let lines = manifest.lines.iter().map(|line| ManifestLine { next_seq: 0, ..line.clone() }).collect();
            let new = Manifest { closed: false, closed_by: None, made_us: manifest.made_us, lines };
            self.manifests.insert(key, new);
            return;
        };
        if known.made_us > manifest.made_us {
            return;
        }
        known.made_us = manifest.made_us;
        for newer in &manifest.lines {
            let same = |line: &&mut ManifestLine| line.topic == newer.topic && line.partition == newer.partition;
            match known.lines.iter_mut().find(same) {
                Some(line) => line.losses.clone_from(&newer.losses),
                None => known.lines.push(ManifestLine { next_seq: 0, ..newer.clone() }),
            }
        }
    }

    /// One line per producer, epoch, topic and partition, in this order. `remains` knows the partitions that were read; what manifests
    /// say about others is left out.
    pub fn judge(&self, remains: &HashMap<(&'static str, i32), Remains>) -> Vec<Line> {
        let mut keys: BTreeSet<Key> = self.seen.keys().cloned().collect();
        for ((producer, epoch), manifest) in &self.manifests {
            keys.extend(manifest.lines.iter().filter_map(|line| {
                let topic = schemas::by_name(&line.topic)?.name;
                Some(Key { producer: *producer, epoch: *epoch, topic, partition: line.partition })
            }));
        }
        keys.retain(|key| key.topic != StreamManifest::TOPIC.name && remains.contains_key(&(key.topic, key.partition)));
        let mut lines: Vec<Line> = keys.iter().map(|key| self.line(key, remains)).collect();
        lines.sort_by(|a, b| a.place().cmp(&b.place()));
        lines
    }

    fn line(&self, key: &Key, remains: &HashMap<(&'static str, i32), Remains>) -> Line {
        let nothing = Seen::default();
        let seen = self.seen.get(key).unwrap_or(&nothing);
        let remains = remains.get(&(key.topic, key.partition)).copied().unwrap_or_default();
        let manifest = self.manifests.get(&(key.producer, key.epoch));
        let line = manifest.and_then(|manifest| {
            manifest.lines.iter().find(|line| line.topic == key.topic && line.partition == key.partition)
        });
        let findings = Evidence {
            seen: &seen.numbers,
            next_seq: line.map_or(0, |line| line.next_seq),
            losses: line.map_or(&[], |line| &line.losses),
            closed: manifest.map(|manifest| manifest.closed),
            may_have_expired: remains.cut && remains.first_timestamp_us.is_none_or(|first| key.epoch <= first),
            compacted: remains.compacted,
        }
        .judge();
        Line {
            producer: self.producers[key.producer as usize].clone(),
            epoch: key.epoch,
            topic: key.topic,
            partition: key.partition,
            account: manifest
                .map(|manifest| Statement { closed_by: manifest.closed_by.clone(), made_us: manifest.made_us }),
            doubled: seen.doubled,
            findings,
        }
    }

    /// Records and manifests with numbers that no publisher gives; they count for nothing.
    pub fn strange(&self) -> u64 {
        self.strange
    }

    fn makes_sense(&mut self, manifest: &StreamManifest) -> bool {
        let sound = manifest.check().is_ok() && manifest.lines.iter().all(|line| NUMBERS.contains(&line.next_seq));
        self.strange += u64::from(!sound);
        sound
    }

    fn id(&mut self, producer: &str) -> u32 {
        if let Some(id) = self.ids.get(producer) {
            return *id;
        }
        let id = u32::try_from(self.producers.len()).expect("nobody has four billion producers");
        self.producers.push(producer.to_owned());
        self.ids.insert(producer.to_owned(), id);
        id
    }
}
