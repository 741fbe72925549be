//! Dead letters put back where they came from.
//!
//! The raw bytes go to their topic and partition again, with their key, headers and time, and a header `redriven-from` that names the
//! letter. Then a mark is written into `dead.letters` itself (error class `redriven`), so that a second redrive leaves out what was put
//! back and says so. A crash between the two can put a record back twice, never not at all: consumers recognise copies anyway.

mod letters;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use domain::Clock;
use schemas::{DeadHeader, DeadLetter, Event, TopicSpec};
use serde::{Deserialize, Serialize};

pub use self::letters::{Letter, letters};
use crate::{
    Assigned, EventLog, Headers, LogError, Outgoing, PositionError, Publisher, PublisherConfig, PublisherError, Room,
    pump::dead_letter::CUT_OF,
};

/// Header of a record that was put back: `dead.letters/<partition>/<offset>`.
pub const REDRIVEN_FROM: &str = "redriven-from";
/// Error class of a mark.
pub const REDRIVEN: &str = "redriven";
const BATCH: usize = 200;
/// Bytes that are put back in one append.
const BATCH_BYTES: usize = 4 << 20;
const FLUSH: Duration = Duration::from_secs(30);
/// How many reasons a report keeps; more are only counted.
const MAX_REASONS: usize = 20;

/// Which letters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Choice {
    /// Only of this source topic.
    pub topic: Option<String>,
    /// Only of this error class.
    pub class: Option<String>,
    /// Offsets of `dead.letters` to begin at, as [`crate::Position`] writes them.
    pub from: Option<String>,
}

impl Choice {
    pub fn takes(&self, letter: &DeadLetter) -> bool {
        self.topic.as_ref().is_none_or(|topic| *topic == letter.source_topic)
            && self.class.as_ref().is_none_or(|class| *class == letter.error_class)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Letters that were looked at.
    pub letters: u64,
    /// Of these, chosen.
    pub chosen: u64,
    /// Put back now (or would be, in a dry run).
    pub redriven: u64,
    /// Put back by an earlier redrive.
    pub already: u64,
    /// Chosen, but cannot be put back.
    pub refused: u64,
    pub reasons: Vec<String>,
    /// `redriven` by source topic and error class.
    pub by: BTreeMap<String, u64>,
    pub dry_run: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum RedriveError {
    #[error("--from: {0}")]
    Position(#[from] PositionError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Publisher(#[from] PublisherError),
    /// The records are in their topics; a second redrive would put them back again.
    #[error("{records} records were put back, but their marks are not in the log: {why}")]
    Marks { records: usize, why: String },
}

/// Puts back what `choice` takes of what stands in `dead.letters` now. `progress` is told after every batch.
pub async fn redrive(
    log: &Arc<dyn EventLog>,
    clock: Arc<dyn Clock>,
    choice: &Choice,
    dry_run: bool,
    progress: impl Fn(&Report) + Send,
) -> Result<Report, RedriveError> {
    let mut report = Report { dry_run, ..Report::default() };
    let mut reader = letters(log, choice).await?;
    let producer = format!("redrive/{}", uuid::Uuid::now_v7());
    let publisher = Publisher::start(log.clone(), PublisherConfig::new(producer, 1, clock.clone()))?;
    let mut batch: Vec<(Letter, Outgoing)> = Vec::new();
    let mut bytes = 0;
    while let Some(found) = reader.next().await? {
        for letter in found {
            report.letters += 1;
            if !choice.takes(&letter.letter) {
                continue;
            }
            report.chosen += 1;
            if letter.redriven {
                report.already += 1;
                continue;
            }
            match record(log, &letter).await? {
                Ok(record) => {
                    bytes += record.size_bytes();
                    batch.push((letter, record));
                }
                Err(reason) => report.refuse(&letter, &reason),
            }
            if bytes >= BATCH_BYTES || batch.len() >= BATCH {
                put_back(log, &publisher, &clock, &mut batch, &mut report).await?;
                bytes = 0;
                progress(&report);
            }
        }
    }
    put_back(log, &publisher, &clock, &mut batch, &mut report).await?;
    Ok(report)
}

impl Report {
    fn refuse(&mut self, letter: &Letter, reason: &str) {
        self.refused += 1;
        if self.reasons.len() < MAX_REASONS {
            self.reasons.push(format!("{}: {reason}", letter.name()));
        }
    }
}

async fn put_back(
    log: &Arc<dyn EventLog>,
    publisher: &Publisher,
    clock: &Arc<dyn Clock>,
    batch: &mut Vec<(Letter, Outgoing)>,
    report: &mut Report,
) -> Result<(), RedriveError> {
    if batch.is_empty() {
        return Ok(());
    }
    let (letters, records): (Vec<Letter>, Vec<Outgoing>) = batch.drain(..).unzip();
    for letter in &letters {
        let by = format!("{} {}", letter.letter.source_topic, letter.letter.error_class);
        *report.by.entry(by).or_default() += 1;
    }
    report.redriven += letters.len() as u64;
    if report.dry_run {
        return Ok(());
    }
    log.append(records).await?;
    for letter in &letters {
        publisher.publish(mark(letter, clock.now().wall_us));
    }
    publisher
        .flush(FLUSH)
        .await
        .map_err(|error| RedriveError::Marks { records: letters.len(), why: error.to_string() })?;
    Ok(())
}

/// The record as it was, or why it cannot be.
async fn record(log: &Arc<dyn EventLog>, letter: &Letter) -> Result<Result<Outgoing, String>, LogError> {
    let dead = &letter.letter;
    let Some(topic) = schemas::by_name(&dead.source_topic) else {
        return Ok(Err(format!("no topic is called {}", dead.source_topic)));
    };
    if dead.source_partition < 0 || dead.source_partition >= topic.partitions {
        return Ok(Err(format!("{} has no partition {}", topic.name, dead.source_partition)));
    }
    let value = match cut_of(dead) {
        None => dead.value.as_ref().map(|value| Bytes::copy_from_slice(value.as_ref())),
        Some(_) => match whole(log, topic, dead).await? {
            Some(value) => Some(value),
            None => return Ok(Err("its value was cut, and the whole is no longer in its topic".to_owned())),
        },
    };
    let ours = |name: &str| name == REDRIVEN_FROM || name == CUT_OF;
    let mut headers: Headers = dead
        .headers
        .iter()
        .filter(|header| !ours(&header.name))
        .map(|header| (header.name.clone().into(), Bytes::copy_from_slice(header.value.as_ref())))
        .collect();
    headers.push((REDRIVEN_FROM.into(), Bytes::from(letter.name())));
    Ok(Ok(Outgoing {
        topic,
        partition: dead.source_partition,
        timestamp_us: dead.source_timestamp_us.unwrap_or(dead.died_us),
        key: Bytes::copy_from_slice(dead.key.as_ref()),
        value,
        headers,
    }))
}

fn cut_of(dead: &DeadLetter) -> Option<&DeadHeader> {
    dead.headers.iter().find(|header| header.name == CUT_OF)
}

/// A value that was too large for a letter, from where it still stands.
async fn whole(
    log: &Arc<dyn EventLog>,
    topic: &'static TopicSpec,
    dead: &DeadLetter,
) -> Result<Option<Bytes>, LogError> {
    let at = Assigned { topic, partition: dead.source_partition, next_offset: Some(dead.source_offset) };
    let mut source = log.assign(vec![at]).await?;
    let found = source.poll_within(Room { events: 1, bytes: 1 }, Duration::from_secs(5)).await?;
    Ok(found.into_iter().find(|r| r.offset == dead.source_offset).and_then(|r| r.value))
}

/// Says in `dead.letters` that this letter was put back.
fn mark(letter: &Letter, now_us: i64) -> DeadLetter {
    let dead = &letter.letter;
    DeadLetter {
        event_type: "dead".to_owned(),
        source_topic: dead.source_topic.clone(),
        source_partition: dead.source_partition,
        source_offset: dead.source_offset,
        source_timestamp_us: dead.source_timestamp_us,
        key: dead.key.clone(),
        headers: vec![DeadHeader { name: REDRIVEN_FROM.to_owned(), value: letter.name().as_bytes().into() }],
        schema_id: dead.schema_id,
        consumer: "redrive".to_owned(),
        error_class: REDRIVEN.to_owned(),
        error: Some(format!("{} was put back", letter.name())),
        attempts: 1,
        died_us: now_us,
        ..DeadLetter::default()
    }
}

/// The topic of letters and marks.
pub fn topic() -> &'static TopicSpec {
    DeadLetter::TOPIC
}
