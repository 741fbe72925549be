//! `cdr.calls`: the record of a call for billing and CRM.
//!
//! A revision replaces the one before it; the number counts the distinct facts joined, so it only grows.

use serde::{Deserialize, Serialize};

use crate::{
    cdr_leg::{CdrDurations, CdrOutcome, CdrParties, CdrQuality, CdrTimes},
    channel_event::CampaignRef,
    check::{self, Invalid},
    envelope::Envelope,
    event::Event,
    logical,
    topic::{Class, Retention, TopicSpec},
};

/// The topic.
pub static TOPIC: TopicSpec = TopicSpec {
    name: "cdr.calls",
    partitions: 12,
    retention: Retention::Days(30),
    compacted: false,
    version: 1,
    schema_id: 0x5452_0008,
    schema: include_str!("../cdr.calls/v1.avsc"),
    retired: &[],
    class: Class::Life,
};

/// Every value of `event_type`.
pub const EVENT_TYPES: &[&str] = &["call"];

impl Event for CdrCall {
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
        check::positive("revision", i64::from(self.revision))?;
        self.outcome.as_ref().map_or(Ok(()), CdrOutcome::check)
    }
}

/// The finished record of one call, in one revision.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CdrCall {
    /// What publishing added.
    pub envelope: Envelope,
    /// call (name).
    pub event_type: String,
    /// Call id of the platform (UUIDv7, 36 characters).
    pub call_root_id: String,
    /// Distinct facts that were joined (number).
    pub revision: i32,
    /// SIP Call-ID of the first leg (text as on the wire).
    pub sip_call_id: Option<String>,
    /// From tag of the first leg (text as on the wire).
    pub from_tag: Option<String>,
    /// CSeq number of the first leg's last INVITE (number).
    pub cseq: Option<u32>,
    /// First leg (16 hex digits or channel UUID).
    pub first_leg_id: Option<String>,
    /// All legs (16 hex digits or channel UUID).
    pub legs: Vec<String>,
    /// How the legs belong together.
    pub edges: Vec<CallEdge>,
    /// Edge (id).
    pub edge_id: Option<String>,
    /// Node that carried the call last (id).
    pub node_id: Option<String>,
    /// Engine (id).
    pub engine_id: Option<String>,
    /// inbound, outbound or internal (name).
    pub direction: Option<String>,
    /// Trunk that the call came from (id).
    pub trunk_in: Option<String>,
    /// Trunk that the call went to (id).
    pub trunk_out: Option<String>,
    /// Account (id).
    pub account: Option<String>,
    /// Number of ours that was called (E.164 with +).
    pub did: Option<String>,
    /// Campaign that the call was dialled for.
    pub campaign: Option<CampaignRef>,
    /// Menu nodes in order (menu/node).
    pub ivr_path: Vec<String>,
    /// How the caller left the menus (name).
    pub ivr_exit: Option<String>,
    /// Queue (id).
    pub queue: Option<String>,
    /// Time waited for an agent (ms).
    pub wait_ms: Option<i64>,
    /// Agent (id).
    pub agent: Option<String>,
    /// Transfers (number).
    pub transfers: Option<i32>,
    /// First leg that was answered (16 hex digits or channel UUID).
    pub first_answered_leg: Option<String>,
    /// Last leg that was answered (16 hex digits or channel UUID).
    pub last_answered_leg: Option<String>,
    /// Who called whom.
    pub parties: Option<CdrParties>,
    /// When what happened.
    pub times: Option<CdrTimes>,
    /// How long it lasted.
    pub durations: Option<CdrDurations>,
    /// INVITE to answer as the caller saw it (ms).
    pub setup_to_answer_ms: Option<i64>,
    /// How the call ended for the caller.
    pub outcome: Option<CdrOutcome>,
    /// Price, from a billing consumer.
    pub charge: Option<Charge>,
    /// Highest fraud score (0 to 1).
    pub fraud_score: Option<f64>,
    /// Fraud alerts (ids).
    pub alert_ids: Vec<String>,
    /// Decisions that shaped the call: blocks, limits, weights (ids).
    pub decision_ids: Vec<String>,
    /// Consistency flags: leg_missing, witness_missing, clock_skew … (names).
    pub flags: Vec<String>,
    /// How well the record is founded.
    pub quality: Option<CdrQuality>,
}

/// How two legs belong together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CallEdge {
    /// parent, bridged_with, forked_from, transferred_from or retried_as (name).
    pub kind: String,
    /// Leg that it starts from (16 hex digits or channel UUID).
    pub from: String,
    /// Leg that it leads to (16 hex digits or channel UUID).
    pub to: String,
}

/// Price of a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Charge {
    /// Amount (decimal text).
    pub amount: String,
    /// Currency (ISO 4217).
    pub currency: String,
    /// When it was rated (µs since 1970 UTC).
    pub rated_us: Option<i64>,
}
