//! Reads the manifests, then the topics, and lets the account judge.
//!
//! Manifests come first: what they count is then in the topics, or lost. A loss in a process that runs is declared up to a second later,
//! so before anything is called lost without a word the new manifests and records are read once more.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use schemas::{DecodeError, Event as _, StreamManifest, TopicSpec};
use stream::completeness::{Account, Line, Remains};
use stream::{EventLog, LogError, Record, Walk};

/// A manifest is published at the latest a second after a loss, and has to travel.
const SECOND_LOOK_AFTER: Duration = Duration::from_secs(3);
const SECOND_LOOKS: usize = 2;
const SAY_EVERY: Duration = Duration::from_secs(5);

/// What was found in one topic, beside its numbers.
#[derive(Debug, Clone)]
pub struct TopicFindings {
    pub topic: &'static TopicSpec,
    pub records: u64,
    pub tombstones: u64,
    /// No frame, or a schema that nobody knows: whose number it was cannot be told.
    pub unreadable: u64,
    /// Records that stand in another partition than their envelope says.
    pub misplaced: u64,
    /// Records that retention or compaction deleted from the beginnings of the partitions.
    pub deleted: i64,
    /// Offsets between the records that gave none, where nothing is compacted: the disk lost them.
    pub holes: i64,
}

#[derive(Debug)]
pub struct Findings {
    pub topics: Vec<TopicFindings>,
    pub lines: Vec<Line>,
    pub manifests: u64,
    /// Numbers and manifests that no publisher gives.
    pub strange: u64,
}

impl Findings {
    pub fn lost(&self) -> i64 {
        self.lines.iter().map(|line| line.findings.lost).sum()
    }
}

pub async fn read(
    log: &Arc<dyn EventLog>,
    mut topics: Vec<&'static TopicSpec>,
    producer: Option<&str>,
) -> Result<Findings, LogError> {
    topics.retain(|topic| *topic != StreamManifest::TOPIC);
    let mut reading = Reading::new(log, &topics);
    let mut manifests = Walk::through(log, &[StreamManifest::TOPIC]).await?;
    while let Some(records) = manifests.next().await? {
        records.iter().filter_map(manifest).for_each(|manifest| {
            reading.manifests += 1;
            reading.account.hear(manifest);
        });
    }
    let mut walk = Walk::through(log, &topics).await?;
    reading.take(&mut walk).await?;
    for _ in 0..SECOND_LOOKS {
        if reading.judge(&walk, producer).iter().all(|line| line.findings.lost == 0) {
            break;
        }
        tokio::time::sleep(SECOND_LOOK_AFTER).await;
        let mut news = Walk::on_from(log, &manifests).await?;
        while let Some(records) = news.next().await? {
            records.iter().filter_map(manifest).for_each(|manifest| reading.account.learn_losses(&manifest));
        }
        manifests = news;
        let mut more = Walk::on_from(log, &walk).await?;
        reading.take(&mut more).await?;
        walk = more;
    }
    let lines = reading.judge(&walk, producer);
    Ok(reading.findings(lines))
}

fn manifest(record: &Record) -> Option<StreamManifest> {
    schemas::decode(record.value.as_deref()?).ok()
}

/// One partition while it is read.
#[derive(Debug, Default)]
struct Part {
    begin: Option<i64>,
    first_timestamp_us: Option<i64>,
    next: i64,
    holes: i64,
}

struct Reading<'a> {
    log: &'a Arc<dyn EventLog>,
    account: Account,
    manifests: u64,
    topics: Vec<TopicFindings>,
    parts: HashMap<(&'static str, i32), Part>,
    /// Ids that were looked up: whether they can be read now.
    looked_up: HashMap<u32, bool>,
    progress: Progress,
}

impl<'a> Reading<'a> {
    fn new(log: &'a Arc<dyn EventLog>, topics: &[&'static TopicSpec]) -> Self {
        let nothing = |topic: &&'static TopicSpec| TopicFindings {
            topic,
            records: 0,
            tombstones: 0,
            unreadable: 0,
            misplaced: 0,
            deleted: 0,
            holes: 0,
        };
        Reading {
            log,
            account: Account::default(),
            manifests: 0,
            topics: topics.iter().map(nothing).collect(),
            parts: HashMap::new(),
            looked_up: HashMap::new(),
            progress: Progress::default(),
        }
    }

    async fn take(&mut self, walk: &mut Walk) -> Result<(), LogError> {
        for stretch in walk.stretches() {
            let part = self.parts.entry((stretch.topic.name, stretch.partition)).or_default();
            if part.begin.is_none() {
                part.begin = Some(stretch.bounds.begin);
                part.next = stretch.bounds.begin;
            }
            self.progress.wanted += u64::try_from(stretch.bounds.end - stretch.next).unwrap_or(0);
        }
        while let Some(records) = walk.next().await? {
            for record in &records {
                self.record(record).await?;
            }
            self.progress.read(records.len());
        }
        for stretch in walk.stretches().iter().filter(|stretch| !stretch.topic.compacted) {
            if let Some(part) = self.parts.get_mut(&(stretch.topic.name, stretch.partition)) {
                part.holes += (stretch.next - part.next).max(0);
                part.next = part.next.max(stretch.next);
            }
        }
        Ok(())
    }

    async fn record(&mut self, record: &Record) -> Result<(), LogError> {
        let Some(at) = self.topics.iter().position(|known| known.topic == record.topic) else { return Ok(()) };
        let part = self.parts.entry((record.topic.name, record.partition)).or_default();
        part.first_timestamp_us.get_or_insert(record.timestamp_us);
        if !record.topic.compacted {
            part.holes += (record.offset - part.next).max(0);
        }
        part.next = record.offset + 1;
        self.topics[at].records += 1;
        let Some(value) = record.value.as_deref() else {
            self.topics[at].tombstones += 1;
            return Ok(());
        };
        let mut identity = schemas::identity(value);
        if let Err(DecodeError::UnknownSchema(id)) = identity
            && self.can_be_learned(id).await?
        {
            identity = schemas::identity(value);
        }
        match identity {
            Ok(identity) => {
                self.topics[at].misplaced += u64::from(identity.partition != record.partition);
                self.account.see(record.topic.name, &identity);
            }
            Err(_) => self.topics[at].unreadable += 1,
        }
        Ok(())
    }

    async fn can_be_learned(&mut self, id: u32) -> Result<bool, LogError> {
        if let Entry::Vacant(place) = self.looked_up.entry(id) {
            let learned = match stream::schema_topic::learn(self.log, id).await {
                Ok(learned) => learned,
                Err(stream::schema_topic::SchemaTopicError::Log(error)) => return Err(error),
                Err(error) => {
                    eprintln!("schema {id:#010x} of stream.schemas is of no use: {error}");
                    false
                }
            };
            place.insert(learned);
        }
        Ok(self.looked_up[&id])
    }

    fn judge(&self, walk: &Walk, producer: Option<&str>) -> Vec<Line> {
        let remains = walk.stretches().iter().map(|stretch| {
            let part = self.parts.get(&(stretch.topic.name, stretch.partition));
            let left = Remains {
                cut: stretch.bounds.begin > 0,
                first_timestamp_us: part.and_then(|part| part.first_timestamp_us),
                compacted: stretch.topic.compacted,
            };
            ((stretch.topic.name, stretch.partition), left)
        });
        let mut lines = self.account.judge(&remains.collect());
        lines.retain(|line| producer.is_none_or(|wanted| is_of(&line.producer, wanted)));
        lines
    }

    fn findings(self, lines: Vec<Line>) -> Findings {
        let mut topics = self.topics;
        for ((name, _), part) in &self.parts {
            for found in topics.iter_mut().filter(|found| found.topic.name == *name) {
                found.deleted += part.begin.unwrap_or(0);
                found.holes += part.holes;
            }
        }
        Findings { topics, lines, manifests: self.manifests, strange: self.account.strange() }
    }
}

/// A producer's whole name, or its service.
fn is_of(producer: &str, wanted: &str) -> bool {
    producer == wanted || producer.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('/'))
}

/// Says on standard error how far a long reading has come.
#[derive(Debug, Default)]
struct Progress {
    wanted: u64,
    done: u64,
    said: Option<Instant>,
}

impl Progress {
    fn read(&mut self, records: usize) {
        self.done += records as u64;
        let now = Instant::now();
        let due = *self.said.get_or_insert(now) + SAY_EVERY;
        if now >= due {
            self.said = Some(now);
            eprintln!("{} of {} records read", self.done, self.wanted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producer_is_asked_for_by_its_name_or_its_service() {
        assert!(is_of("edge/fra1-a", "edge") && is_of("edge/fra1-a", "edge/fra1-a"));
        assert!(!is_of("edge/fra1-a", "edge/fra1") && !is_of("edge/fra1-a", "ed"));
    }
}
