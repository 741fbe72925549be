//! `fraud.alerts`: what a fraud rule found, and what it led to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    check::{self, Invalid},
    control_block::BlockScope,
    envelope::Envelope,
    event::Event,
    logical,
    topic::{Class, Retention, TopicSpec},
};

/// The topic.
pub static TOPIC: TopicSpec = TopicSpec {
    name: "fraud.alerts",
    partitions: 3,
    retention: Retention::Days(30),
    compacted: false,
    version: 1,
    schema_id: 0x5452_0009,
    schema: include_str!("../fraud.alerts/v1.avsc"),
    retired: &[],
    class: Class::Control,
};

/// Every value of `event_type`.
pub const EVENT_TYPES: &[&str] = &["alert"];

impl Event for FraudAlert {
    const TOPIC: &'static TopicSpec = &TOPIC;

    fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    fn envelope_mut(&mut self) -> &mut Envelope {
        &mut self.envelope
    }

    fn key(&self) -> String {
        self.subject.clone()
    }

    fn event_type(&self) -> &str {
        &self.event_type
    }

    fn logical_id(&self) -> [u8; 16] {
        logical::of_content(self)
    }

    fn check(&self) -> Result<(), Invalid> {
        check::known("event_type", &self.event_type, EVENT_TYPES)?;
        check::not_empty("subject", &self.subject)?;
        check::uuid("alert_id", &self.alert_id)?;
        check::not_empty("rule", &self.rule)?;
        check::known("mode", &self.mode, &["shadow", "enforce"])?;
        check::share("score", self.score)?;
        self.scope.as_ref().map_or(Ok(()), BlockScope::check)
    }
}

/// A fraud rule found something.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FraudAlert {
    /// What publishing added.
    pub envelope: Envelope,
    /// alert (name).
    pub event_type: String,
    /// Whom the alert is about: `trunk/<id>`, or `trunk/<id>/<kind>/<value>` (text).
    pub subject: String,
    /// Alert (UUIDv7).
    pub alert_id: String,
    /// Rule (id).
    pub rule: String,
    /// Version of the rule (text).
    pub rule_version: Option<String>,
    /// shadow or enforce (name).
    pub mode: String,
    /// info, warning or critical (name).
    pub severity: Option<String>,
    /// Score (0 to 1).
    pub score: f64,
    /// When it was made (µs since 1970 UTC).
    pub made_us: i64,
    /// When the attempt happened that triggered it (µs since 1970 UTC).
    pub triggered_us: Option<i64>,
    /// Call that triggered it (UUIDv7, 36 characters).
    pub trigger_call_root_id: Option<String>,
    /// Window that the rule looked at (µs).
    pub window_us: Option<i64>,
    /// What was measured in the window (unit of the rule).
    pub observed: Option<f64>,
    /// What is allowed in the window (unit of the rule).
    pub threshold: Option<f64>,
    /// What a block would cover.
    pub scope: Option<BlockScope>,
    /// Block that was published for it (UUIDv7).
    pub block_id: Option<String>,
    /// Why no block was published: shadow, trusted, emergency, cap, already_blocked (name).
    pub suppressed: Option<String>,
    /// Why, for people; numbers masked (text).
    pub reason: Option<String>,
    /// Inputs of the rule (name to text).
    pub inputs: BTreeMap<String, String>,
    /// Call ids that the alert rests on, at most 20 (UUIDv7, 36 characters).
    pub evidence: Vec<String>,
}
