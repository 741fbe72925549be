//! `stream.manifests`: how far each epoch of a producer has numbered its events, and which of them it declares lost.
//!
//! A manifest is about every topic but its own. It is cumulative: the newest of an epoch (the greatest `made_us`; of two
//! equal ones the closed) replaces the others. Numbers below `next_seq` that are neither in the topic nor declared are
//! lost without a word, which is what `trunkline stream verify` looks for. Only a closed one proves an end.

use serde::{Deserialize, Serialize};

use crate::{
    check::{self, Invalid},
    envelope::Envelope,
    event::Event,
    logical,
    topic::{Class, Retention, TopicSpec},
};

/// The topic.
pub static TOPIC: TopicSpec = TopicSpec {
    name: "stream.manifests",
    partitions: 3,
    retention: Retention::Days(400),
    compacted: false,
    version: 1,
    schema_id: 0x5452_000F,
    schema: include_str!("../stream.manifests/v1.avsc"),
    retired: &[],
    // The account of what was lost goes last of all, or a loss could stay undeclared.
    class: Class::Life,
};

/// More may come.
pub const OPEN: &str = "open";
/// Final: the epoch gives no more numbers.
pub const CLOSED: &str = "closed";

/// Every value of `event_type`.
pub const EVENT_TYPES: &[&str] = &[OPEN, CLOSED];

/// `closed_by` of a process that ended in order.
pub const BY_ITSELF: &str = "itself";
/// `closed_by` of a process that died: its next start emptied the ring and closed for it.
pub const BY_NEXT_START: &str = "next start";

impl Event for StreamManifest {
    const TOPIC: &'static TopicSpec = &TOPIC;

    fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    fn envelope_mut(&mut self) -> &mut Envelope {
        &mut self.envelope
    }

    fn key(&self) -> String {
        self.producer.clone()
    }

    fn event_type(&self) -> &str {
        &self.event_type
    }

    fn logical_id(&self) -> [u8; 16] {
        logical::of_content(self)
    }

    fn check(&self) -> Result<(), Invalid> {
        check::known("event_type", &self.event_type, EVENT_TYPES)?;
        check::not_empty("producer", &self.producer)?;
        check::positive("epoch", self.epoch)?;
        check::positive("made_us", self.made_us)?;
        check::that("closed_by", self.is_closed() == self.closed_by.is_some(), || {
            format!("{:?} does not belong to {}", self.closed_by, self.event_type)
        })?;
        self.lines.iter().try_for_each(ManifestLine::check)
    }
}

/// How far one epoch of a producer has numbered its events, and which numbers it declares lost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamManifest {
    /// What publishing added.
    pub envelope: Envelope,
    /// open or closed: a closed one is final (name).
    pub event_type: String,
    /// Whose numbers these are: service/instance (id).
    pub producer: String,
    /// Start of that producer's process, whose numbers these are (µs since 1970 UTC).
    pub epoch: i64,
    /// Who closed it: itself, or next start after a death (name).
    pub closed_by: Option<String>,
    /// When this account was made (µs since 1970 UTC).
    pub made_us: i64,
    /// Every topic and partition that it published to, but for manifests.
    pub lines: Vec<ManifestLine>,
}

impl StreamManifest {
    pub fn is_closed(&self) -> bool {
        self.event_type == CLOSED
    }
}

/// One partition that this epoch has published to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ManifestLine {
    /// Topic (name).
    pub topic: String,
    /// Partition (number).
    pub partition: i32,
    /// Numbers given so far: 0 up to here, this one not included (number).
    pub next_seq: i64,
    /// What was lost, in order of the numbers.
    pub losses: Vec<ManifestLoss>,
}

impl ManifestLine {
    fn check(&self) -> Result<(), Invalid> {
        check::that("lines", !self.topic.is_empty() && self.topic != TOPIC.name, || {
            format!("{:?} is no topic that a manifest accounts for", self.topic)
        })?;
        check::that("lines", self.partition >= 0 && self.next_seq >= 0, || {
            format!("partition {} up to {} is below zero", self.partition, self.next_seq)
        })?;
        let mut from = 0;
        for loss in &self.losses {
            let fits = (from..self.next_seq).contains(&loss.first) && (loss.first..self.next_seq).contains(&loss.last);
            check::that("losses", fits, || {
                format!("{} to {} is not within {from} to {}", loss.first, loss.last, self.next_seq)
            })?;
            check::that("losses", (1..=loss.last - loss.first + 1).contains(&loss.events), || {
                format!("{} events from {} to {}", loss.events, loss.first, loss.last)
            })?;
            check::not_empty("losses", &loss.reason)?;
            from = loss.last + 1;
        }
        Ok(())
    }
}

/// Numbers whose events will never be in the topic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ManifestLoss {
    /// First number lost (number).
    pub first: i64,
    /// Last number lost (number).
    pub last: i64,
    /// Events lost from first to last; fewer than the range is wide when ranges had to be joined (events).
    pub events: i64,
    /// Why: shed, unfit, refused or another (name).
    pub reason: String,
    /// Class of the events: life, control, detail, health or metrics (name).
    pub class: String,
}
