//! `dead.letters`: what a consumer could not handle, byte for byte, so that it can be put back after a fix.

use serde::{Deserialize, Serialize};

use crate::{
    blob::Blob,
    check::{self, Invalid},
    envelope::Envelope,
    event::Event,
    logical,
    topic::{Class, Retention, TopicSpec},
};

/// The topic.
pub static TOPIC: TopicSpec = TopicSpec {
    name: "dead.letters",
    partitions: 3,
    retention: Retention::Days(30),
    compacted: false,
    version: 1,
    schema_id: 0x5452_000E,
    schema: include_str!("../dead.letters/v1.avsc"),
    retired: &[],
    class: Class::Life,
};

/// Every value of `event_type`.
pub const EVENT_TYPES: &[&str] = &["dead"];

impl Event for DeadLetter {
    const TOPIC: &'static TopicSpec = &TOPIC;

    fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    fn envelope_mut(&mut self) -> &mut Envelope {
        &mut self.envelope
    }

    fn key(&self) -> String {
        self.source_topic.clone()
    }

    fn event_type(&self) -> &str {
        &self.event_type
    }

    fn logical_id(&self) -> [u8; 16] {
        logical::of_content(self)
    }

    fn check(&self) -> Result<(), Invalid> {
        check::known("event_type", &self.event_type, EVENT_TYPES)?;
        check::not_empty("source_topic", &self.source_topic)?;
        check::not_empty("consumer", &self.consumer)?;
        check::not_empty("error_class", &self.error_class)?;
        check::positive("attempts", i64::from(self.attempts))
    }
}

/// A record that a consumer could not handle, with its raw bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeadLetter {
    /// What publishing added.
    pub envelope: Envelope,
    /// dead (name).
    pub event_type: String,
    /// Topic that it came from (name).
    pub source_topic: String,
    /// Partition that it came from (number).
    pub source_partition: i32,
    /// Offset that it came from (offset).
    pub source_offset: i64,
    /// Timestamp of the record (µs since 1970 UTC).
    pub source_timestamp_us: Option<i64>,
    /// Key of the record (bytes).
    pub key: Blob,
    /// Value of the record, absent for a tombstone (bytes).
    pub value: Option<Blob>,
    /// Headers of the record.
    pub headers: Vec<DeadHeader>,
    /// Schema id in its frame, if it has one (id).
    pub schema_id: Option<u32>,
    /// Consumer that gave up (name).
    pub consumer: String,
    /// Consumer group (name).
    pub group: Option<String>,
    /// Kind of the error (name).
    pub error_class: String,
    /// The error (text).
    pub error: Option<String>,
    /// How often it was tried (number).
    pub attempts: i32,
    /// When the consumer gave up (µs since 1970 UTC).
    pub died_us: i64,
}

/// A header of the record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeadHeader {
    /// Header (name).
    pub name: String,
    /// Value (bytes).
    pub value: Blob,
}
