//! `stream.schemas`: every schema that records may be written with, by its id; compacted.
//!
//! A reader that meets an id which its build lacks looks it up here (`DecodeError::UnknownSchema`).

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
    name: "stream.schemas",
    partitions: 3,
    retention: Retention::Forever,
    compacted: true,
    version: 1,
    schema_id: 0x5452_0010,
    schema: include_str!("../stream.schemas/v1.avsc"),
    retired: &[],
    class: Class::Control,
};

/// Every value of `event_type`.
pub const EVENT_TYPES: &[&str] = &["schema"];

impl Event for StreamSchema {
    const TOPIC: &'static TopicSpec = &TOPIC;

    fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    fn envelope_mut(&mut self) -> &mut Envelope {
        &mut self.envelope
    }

    fn key(&self) -> String {
        key_of(self.schema_id)
    }

    fn event_type(&self) -> &str {
        &self.event_type
    }

    fn logical_id(&self) -> [u8; 16] {
        logical::of_content(self)
    }

    fn check(&self) -> Result<(), Invalid> {
        check::known("event_type", &self.event_type, EVENT_TYPES)?;
        check::positive("schema_id", i64::from(self.schema_id))?;
        check::not_empty("topic", &self.topic)?;
        check::equals("subject", &self.subject, &subject_of(&self.topic))?;
        check::positive("version", i64::from(self.version))?;
        check::not_empty("schema", &self.schema)
    }
}

/// The key that a schema id stands under.
pub fn key_of(schema_id: u32) -> String {
    format!("{schema_id:#010x}")
}

/// The subject of a topic's values in a registry.
pub fn subject_of(topic: &str) -> String {
    format!("{topic}-value")
}

/// A schema that records may be written with, for readers whose build does not have it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamSchema {
    /// What publishing added.
    pub envelope: Envelope,
    /// schema (name).
    pub event_type: String,
    /// Id in the frame of a record (id).
    pub schema_id: u32,
    /// Subject in a registry: the topic and -value (name).
    pub subject: String,
    /// Topic whose records are written with it (name).
    pub topic: String,
    /// Which of the topic's schemas it is, counted from 1 in the order of their ids (number).
    pub version: i32,
    /// The schema itself (Avro schema as JSON).
    pub schema: String,
}
