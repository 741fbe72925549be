//! `call.reconciled`: time-outs as events.
//!
//! The call log never looks at a clock. Whatever had to be decided because nothing more arrived is decided once, by the
//! reconciler, and told here with the rule and the evidence, so that a replay gives the same rows.

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
    name: "call.reconciled",
    partitions: 12,
    retention: Retention::Days(30),
    compacted: false,
    version: 1,
    schema_id: 0x5452_0006,
    schema: include_str!("../call.reconciled/v1.avsc"),
    retired: &[],
    class: Class::Life,
};

/// Every value of `event_type`.
pub const EVENT_TYPES: &[&str] = &["node_lost", "orphan_closed", "merged", "late_witness"];

impl Event for CallReconciled {
    const TOPIC: &'static TopicSpec = &TOPIC;

    fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    fn envelope_mut(&mut self) -> &mut Envelope {
        &mut self.envelope
    }

    fn key(&self) -> String {
        self.call_root_id.clone()
    }

    fn event_type(&self) -> &str {
        &self.event_type
    }

    fn logical_id(&self) -> [u8; 16] {
        logical::of_content(self)
    }

    fn check(&self) -> Result<(), Invalid> {
        check::known("event_type", &self.event_type, EVENT_TYPES)?;
        check::uuid("call_root_id", &self.call_root_id)?;
        check::not_empty("rule", &self.rule)?;
        match self.event_type.as_str() {
            "node_lost" => check::present("node_id", self.node_id.as_ref()).map(drop),
            "merged" => check::that("merged_into", self.merged_into.is_some() != self.merged_from.is_some(), || {
                "a merge names the other call, once".to_owned()
            }),
            _ => Ok(()),
        }
    }
}

/// A time-out or a merge, decided once and told as an event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CallReconciled {
    /// What publishing added.
    pub envelope: Envelope,
    /// node_lost, orphan_closed, merged or late_witness (name).
    pub event_type: String,
    /// Call id of the platform (UUIDv7, 36 characters).
    pub call_root_id: String,
    /// Leg that it is about; absent for the whole call (16 hex digits or channel UUID).
    pub leg_id: Option<String>,
    /// Instance that decided (id).
    pub reconciler_id: String,
    /// Generation of the shard's lease, which fences a former owner (number).
    pub generation: i64,
    /// When it was decided (µs since 1970 UTC).
    pub decided_us: i64,
    /// Node that was lost (id).
    pub node_id: Option<String>,
    /// Epoch of the node that was lost (UUID).
    pub core_uuid: Option<String>,
    /// Witness that was missing or late: edge or engine (name).
    pub witness: Option<String>,
    /// Rule that decided (id).
    pub rule: String,
    /// Why, for people (text).
    pub reason: Option<String>,
    /// Last sign of life of the call (µs since 1970 UTC).
    pub last_seen_us: Option<i64>,
    /// End that the record shall show, an estimate (µs since 1970 UTC).
    pub end_us: Option<i64>,
    /// Disposition that the record shall show (name).
    pub disposition: Option<String>,
    /// Cause that the record shall show (name).
    pub hangup_cause: Option<String>,
    /// Call id that this call continues in (UUIDv7, 36 characters).
    pub merged_into: Option<String>,
    /// Call id that was merged into this call (UUIDv7, 36 characters).
    pub merged_from: Option<String>,
    /// Event ids that the decision rests on (producer/epoch/topic/partition/seq).
    pub evidence: Vec<String>,
}
