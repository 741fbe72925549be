//! `sip.rejections`: what the edge refused without a call record, by source and window.
//!
//! Under a flood the rows stay bounded: the 256 heaviest sources of a second, one row for all others with an estimate
//! of how many they are, and one row per trunk and window for refusals above 100 a second.

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
    name: "sip.rejections",
    partitions: 3,
    retention: Retention::Days(30),
    compacted: false,
    version: 1,
    schema_id: 0x5452_0002,
    schema: include_str!("../sip.rejections/v1.avsc"),
    retired: &[],
    class: Class::Metrics,
};

/// Every value of `event_type`.
pub const EVENT_TYPES: &[&str] = &["source", "others", "trunk"];

impl Event for SipRejections {
    const TOPIC: &'static TopicSpec = &TOPIC;

    fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    fn envelope_mut(&mut self) -> &mut Envelope {
        &mut self.envelope
    }

    fn key(&self) -> String {
        self.source.clone()
    }

    fn event_type(&self) -> &str {
        &self.event_type
    }

    fn logical_id(&self) -> [u8; 16] {
        logical::of_content(self)
    }

    fn check(&self) -> Result<(), Invalid> {
        check::known("event_type", &self.event_type, EVENT_TYPES)?;
        check::not_empty("source", &self.source)?;
        check::not_empty("edge_id", &self.edge_id)?;
        check::positive("window_us", self.window_us)?;
        let by_reason: i64 = self.reasons.iter().map(|r| r.count).sum();
        check::that("reasons", by_reason == self.messages, || {
            format!("reasons add up to {by_reason}, messages are {}", self.messages)
        })
    }
}

/// Refused and malformed traffic of one source in one window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SipRejections {
    /// What publishing added.
    pub envelope: Envelope,
    /// source, others or trunk (name).
    pub event_type: String,
    /// Source address; "others" for the row of all other sources; `trunk/<id>` for refusals counted per trunk (text).
    pub source: String,
    /// Edge that reports (id).
    pub edge_id: String,
    /// Start of the window (µs since 1970 UTC).
    pub window_start_us: i64,
    /// Length of the window (µs).
    pub window_us: i64,
    /// Listener that most of it arrived at (id).
    pub listener_id: Option<String>,
    /// Transport that most of it came by (name).
    pub transport: Option<String>,
    /// Trunk, when the source is a known one (id).
    pub trunk_id: Option<String>,
    /// Messages refused (number).
    pub messages: i64,
    /// Bytes of these messages (bytes).
    pub bytes: i64,
    /// Estimate of the different sources in the row "others" (number).
    pub distinct_sources: Option<i64>,
    /// Standard error of that estimate (percent).
    pub distinct_error_percent: Option<f64>,
    /// Messages that got an answer (number).
    pub answered: i64,
    /// Messages by reason: unknown_source, malformed, limit, block, too_large … (name, number).
    pub reasons: Vec<RejectionCount>,
    /// Messages by method (name, number).
    pub methods: Vec<RejectionCount>,
    /// One of the messages.
    pub sample: Option<RejectionSample>,
}

/// How many messages share a name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RejectionCount {
    /// What is counted (name).
    pub name: String,
    /// Messages (number).
    pub count: i64,
}

/// A refused message, in outline.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RejectionSample {
    /// Method (name).
    pub method: Option<String>,
    /// User part of the request URI (text as on the wire).
    pub request_user: Option<String>,
    /// User part of From (text as on the wire).
    pub from_user: Option<String>,
    /// User part of To (text as on the wire).
    pub to_user: Option<String>,
    /// Call-ID (text as on the wire).
    pub call_id: Option<String>,
    /// User-Agent (text as on the wire).
    pub user_agent: Option<String>,
    /// What was wrong with it (text).
    pub error: Option<String>,
    /// What it was answered with (SIP status code).
    pub status: Option<u16>,
}
