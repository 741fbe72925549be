//! `control.audit`: who changed what, and who tried.

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
    name: "control.audit",
    partitions: 3,
    retention: Retention::Days(30),
    compacted: false,
    version: 1,
    schema_id: 0x5452_000D,
    schema: include_str!("../control.audit/v1.avsc"),
    retired: &[],
    class: Class::Control,
};

/// Every value of `event_type`.
pub const EVENT_TYPES: &[&str] = &["change"];

impl Event for ControlAudit {
    const TOPIC: &'static TopicSpec = &TOPIC;

    fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    fn envelope_mut(&mut self) -> &mut Envelope {
        &mut self.envelope
    }

    fn key(&self) -> String {
        self.actor.clone()
    }

    fn event_type(&self) -> &str {
        &self.event_type
    }

    fn logical_id(&self) -> [u8; 16] {
        logical::of_content(self)
    }

    fn check(&self) -> Result<(), Invalid> {
        check::known("event_type", &self.event_type, EVENT_TYPES)?;
        check::not_empty("actor", &self.actor)?;
        check::not_empty("action", &self.action)?;
        check::not_empty("target_kind", &self.target_kind)?;
        check::known("result", &self.result, &["accepted", "refused"])
    }
}

/// Who changed what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ControlAudit {
    /// What publishing added.
    pub envelope: Envelope,
    /// change (name).
    pub event_type: String,
    /// Person or program that changed it (name).
    pub actor: String,
    /// Change (UUIDv7).
    pub change_id: String,
    /// create, update, delete, block, lift, weight, override … (name).
    pub action: String,
    /// Kind of the thing changed: block, weight, node, trunk, route, menu … (name).
    pub target_kind: String,
    /// The thing changed (id).
    pub target_id: String,
    /// Control topic that was written (name).
    pub topic: Option<String>,
    /// Key of the record that was written (text).
    pub record_key: Option<String>,
    /// What it was (JSON, secrets masked).
    pub before: Option<String>,
    /// What it is (JSON, secrets masked).
    pub after: Option<String>,
    /// Reason that the actor gave (text).
    pub reason: Option<String>,
    /// accepted or refused (name).
    pub result: String,
    /// Why it was refused (text).
    pub error: Option<String>,
    /// Where the request came from (IP address).
    pub source_ip: Option<String>,
    /// Request (id).
    pub request_id: Option<String>,
    /// api, edge_admin or cli (name).
    pub via: Option<String>,
    /// When (µs since 1970 UTC).
    pub made_us: i64,
}
