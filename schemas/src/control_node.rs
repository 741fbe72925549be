//! `control.nodes`: nodes as data; compacted.
//!
//! As `control.routes`: a record replaces what the settings files say about the node of that id. Weight and state while it runs
//! are in `control.weights`.

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
    name: "control.nodes",
    partitions: 3,
    retention: Retention::Forever,
    compacted: true,
    version: 1,
    schema_id: 0x5452_0013,
    schema: include_str!("../control.nodes/v1.avsc"),
    retired: &[],
    class: Class::Control,
};

/// Every value of `event_type`.
pub const EVENT_TYPES: &[&str] = &["set", "removed"];

/// Every value of `kind`.
pub const KINDS: &[&str] = &["node"];

impl Event for ControlNode {
    const TOPIC: &'static TopicSpec = &TOPIC;

    fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    fn envelope_mut(&mut self) -> &mut Envelope {
        &mut self.envelope
    }

    fn key(&self) -> String {
        format!("{}/{}", self.kind, self.id)
    }

    fn event_type(&self) -> &str {
        &self.event_type
    }

    fn logical_id(&self) -> [u8; 16] {
        logical::of_content(self)
    }

    fn check(&self) -> Result<(), Invalid> {
        check::known("event_type", &self.event_type, EVENT_TYPES)?;
        check::known("kind", &self.kind, KINDS)?;
        check::not_empty("id", &self.id)?;
        check::author("author", &self.author, &["operator"])?;
        check::settings("settings", &self.settings, self.event_type == "removed")?;
        check::positive("made_us", self.made_us)
    }
}

/// A node, as an operator wants it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ControlNode {
    /// What publishing added.
    pub envelope: Envelope,
    /// set or removed (name).
    pub event_type: String,
    /// node (name).
    pub kind: String,
    /// Node (id).
    pub id: String,
    /// Who wrote this record: operator or `edge/<instance>` (name).
    pub author: String,
    /// Its settings under the names of the settings file, all of them; empty when it is removed (JSON object).
    pub settings: String,
    /// Why, for people (text).
    pub reason: Option<String>,
    /// Person or program on whose behalf the author wrote it (name).
    pub actor: Option<String>,
    /// When it was made (µs since 1970 UTC).
    pub made_us: i64,
}
