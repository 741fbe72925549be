//! `control.acks`: which version of the control topics an edge or engine has in force, and since when.

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
    name: "control.acks",
    partitions: 3,
    retention: Retention::Days(30),
    compacted: false,
    version: 1,
    schema_id: 0x5452_000C,
    schema: include_str!("../control.acks/v1.avsc"),
    retired: &[],
    class: Class::Control,
};

/// Every value of `event_type`.
pub const EVENT_TYPES: &[&str] = &["applied"];

impl Event for ControlAck {
    const TOPIC: &'static TopicSpec = &TOPIC;

    fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    fn envelope_mut(&mut self) -> &mut Envelope {
        &mut self.envelope
    }

    fn key(&self) -> String {
        self.applier_id.clone()
    }

    fn event_type(&self) -> &str {
        &self.event_type
    }

    fn logical_id(&self) -> [u8; 16] {
        logical::of_content(self)
    }

    fn check(&self) -> Result<(), Invalid> {
        check::known("event_type", &self.event_type, EVENT_TYPES)?;
        check::not_empty("applier_id", &self.applier_id)?;
        check::known("applier_kind", &self.applier_kind, &["edge", "engine"])?;
        check::known("source", &self.source, &["topic", "last_known_good", "override"])?;
        check::positive("since_us", self.since_us)
    }
}

/// What an edge or engine has applied, and since when.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ControlAck {
    /// What publishing added.
    pub envelope: Envelope,
    /// applied (name).
    pub event_type: String,
    /// Edge or engine that applied it (id).
    pub applier_id: String,
    /// edge or engine (name).
    pub applier_kind: String,
    /// Where it came from: topic, last_known_good or override (name).
    pub source: String,
    /// Version that is in force.
    pub applied: Vec<AppliedOffset>,
    /// Keys that this version added, changed or removed, at most 100 (record keys).
    pub changed: Vec<String>,
    /// Block rules in force (rules).
    pub blocks_enforced: i32,
    /// Block rules that only count (rules).
    pub blocks_shadow: i32,
    /// Nodes with a weight other than the configured one (nodes).
    pub weights_active: i32,
    /// Digest of everything in force (16 hex digits of SHA-256).
    pub digest: Option<String>,
    /// When the newest applied record was made (µs since 1970 UTC).
    pub made_us: Option<i64>,
    /// Since when this version is in force (µs since 1970 UTC).
    pub since_us: i64,
}

/// How far a control topic was applied.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AppliedOffset {
    /// Topic (name).
    pub topic: String,
    /// Partition (number).
    pub partition: i32,
    /// Offset of the last record applied (offset).
    pub offset: i64,
}
