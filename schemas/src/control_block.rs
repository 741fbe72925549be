//! `control.blocks`: block rules and their lifts; compacted.
//!
//! One writer per key: nobody touches another author's record. Undo is a record of its own, written by the lifter under
//! `<lifter>/<block id>`. Every block ends by itself, and every one about numbers names one trunk.

use std::collections::BTreeMap;

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
    name: "control.blocks",
    partitions: 3,
    retention: Retention::Forever,
    compacted: true,
    version: 1,
    schema_id: 0x5452_000A,
    schema: include_str!("../control.blocks/v1.avsc"),
    retired: &[],
    class: Class::Control,
};

/// Every value of `event_type`.
pub const EVENT_TYPES: &[&str] = &["block", "lift"];

impl Event for ControlBlock {
    const TOPIC: &'static TopicSpec = &TOPIC;

    fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    fn envelope_mut(&mut self) -> &mut Envelope {
        &mut self.envelope
    }

    fn key(&self) -> String {
        format!("{}/{}", self.author, self.block_id)
    }

    fn event_type(&self) -> &str {
        &self.event_type
    }

    fn logical_id(&self) -> [u8; 16] {
        logical::of_content(self)
    }

    fn check(&self) -> Result<(), Invalid> {
        check::known("event_type", &self.event_type, EVENT_TYPES)?;
        check::author("author", &self.author, &["fraud", "operator"])?;
        check::uuid("block_id", &self.block_id)?;
        check::known("mode", &self.mode, &["shadow", "enforce"])?;
        self.scope.check()?;
        check::that("expires_us", self.expires_us > self.made_us, || {
            "every block expires after it was made".to_owned()
        })?;
        let lift = self.event_type == "lift";
        check::that("lifts_author", lift == self.lifts_author.is_some(), || {
            "a lift, and only a lift, names the author of its block".to_owned()
        })
    }
}

/// A block rule, or the lift of one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ControlBlock {
    /// What publishing added.
    pub envelope: Envelope,
    /// block or lift (name).
    pub event_type: String,
    /// Who wrote this record: fraud, operator or `edge/<instance>`; of a lift the lifter (name).
    pub author: String,
    /// The block; in a lift the block that is lifted (UUIDv7).
    pub block_id: String,
    /// In a lift, the author of the block that is lifted (name).
    pub lifts_author: Option<String>,
    /// enforce or shadow (name).
    pub mode: String,
    /// What it covers.
    pub scope: BlockScope,
    /// Rule that made it (id).
    pub rule: Option<String>,
    /// Why, for people; numbers masked (text).
    pub reason: Option<String>,
    /// Alert that it follows from (UUIDv7).
    pub alert_id: Option<String>,
    /// Call ids that it rests on, at most 20 (UUIDv7, 36 characters).
    pub evidence: Vec<String>,
    /// Inputs of the rule (name to text).
    pub inputs: BTreeMap<String, String>,
    /// What a covered INVITE is answered with; 403 when absent (SIP status code).
    pub status: Option<u16>,
    /// Person or program on whose behalf the author wrote it (name).
    pub actor: Option<String>,
    /// When the attempt happened that triggered it (µs since 1970 UTC).
    pub triggered_us: Option<i64>,
    /// When it was made (µs since 1970 UTC).
    pub made_us: i64,
    /// When it ends by itself; a lift carries that of its block (µs since 1970 UTC).
    pub expires_us: i64,
}

/// What a block covers: the calls that match every field that is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlockScope {
    /// Trunk (id); needed with every field about numbers.
    pub trunk: Option<String>,
    /// Account (id).
    pub account: Option<String>,
    /// Source addresses (CIDR).
    pub source_cidr: Option<String>,
    /// Caller, normalised when it can be (E.164 with +, else as on the wire).
    pub caller: Option<String>,
    /// Beginning of the caller's normalised number (E.164 with +).
    pub caller_prefix: Option<String>,
    /// Callee, normalised when it can be (E.164 with +, else as on the wire).
    pub callee: Option<String>,
    /// Beginning of the callee's normalised number (E.164 with +).
    pub callee_prefix: Option<String>,
}

impl BlockScope {
    /// A scope names something, and a number always together with one trunk: a number alone would reach every customer.
    pub fn check(&self) -> Result<(), Invalid> {
        let numbers = [&self.caller, &self.caller_prefix, &self.callee, &self.callee_prefix];
        let names_number = numbers.iter().any(|n| n.is_some());
        let names_any = names_number || self.trunk.is_some() || self.account.is_some() || self.source_cidr.is_some();
        check::that("scope", names_any, || "names nothing and would cover every call".to_owned())?;
        check::that("scope.trunk", !names_number || self.trunk.is_some(), || "a number needs its trunk".to_owned())
    }
}
