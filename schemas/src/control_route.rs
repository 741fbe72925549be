//! `control.routes`: trunks, numbers and routes as data; compacted.
//!
//! A record replaces what the settings files say about the same trunk, number or route; `removed` takes it away although a file
//! has it. A tombstone gives the word back to the files. `settings` has the names of the settings file, so that a new setting is
//! no new schema.

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
    name: "control.routes",
    partitions: 3,
    retention: Retention::Forever,
    compacted: true,
    version: 1,
    schema_id: 0x5452_0012,
    schema: include_str!("../control.routes/v1.avsc"),
    retired: &[],
    class: Class::Control,
};

/// Every value of `event_type`.
pub const EVENT_TYPES: &[&str] = &["set", "removed"];

/// Every value of `kind`.
pub const KINDS: &[&str] = &["trunk", "number", "route"];

impl Event for ControlRoute {
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

/// A trunk, a number or a route, as an operator wants it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ControlRoute {
    /// What publishing added.
    pub envelope: Envelope,
    /// set or removed (name).
    pub event_type: String,
    /// trunk, number or route (name).
    pub kind: String,
    /// Of a trunk its id, of a number the number, of a route its prefix or default (id).
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
