//! `control.weights`: how much traffic a node should get; compacted.
//!
//! One record per node and author. `operator` and `edge/…` beat `capacity`; between these two the later `made_us` wins.

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
    name: "control.weights",
    partitions: 3,
    retention: Retention::Forever,
    compacted: true,
    version: 1,
    schema_id: 0x5452_000B,
    schema: include_str!("../control.weights/v1.avsc"),
    retired: &[],
    class: Class::Control,
};

/// Every value of `event_type`.
pub const EVENT_TYPES: &[&str] = &["weight"];

impl Event for ControlWeight {
    const TOPIC: &'static TopicSpec = &TOPIC;

    fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    fn envelope_mut(&mut self) -> &mut Envelope {
        &mut self.envelope
    }

    fn key(&self) -> String {
        format!("{}/{}", self.node_id, self.author)
    }

    fn event_type(&self) -> &str {
        &self.event_type
    }

    fn logical_id(&self) -> [u8; 16] {
        logical::of_content(self)
    }

    fn check(&self) -> Result<(), Invalid> {
        check::known("event_type", &self.event_type, EVENT_TYPES)?;
        check::not_empty("node_id", &self.node_id)?;
        check::author("author", &self.author, &["capacity", "operator"])?;
        check::share("weight", self.weight)?;
        check::known("state", &self.state, &["active", "draining", "disabled"])?;
        check::positive("made_us", self.made_us)
    }
}

/// Weight and state of a node, as one author wants them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ControlWeight {
    /// What publishing added.
    pub envelope: Envelope,
    /// weight (name).
    pub event_type: String,
    /// Node (id).
    pub node_id: String,
    /// Who wrote this record: capacity, operator or `edge/<instance>` (name).
    pub author: String,
    /// Pool (id).
    pub pool: Option<String>,
    /// Factor of the configured weight (0 to 1).
    pub weight: f64,
    /// active, draining or disabled (name).
    pub state: String,
    /// What the weight was computed from.
    pub inputs: Option<WeightInputs>,
    /// What decided most: pressure, freshness, ramp, damping, dead, panic, override (name).
    pub rule: Option<String>,
    /// Why, for people (text).
    pub reason: Option<String>,
    /// Person or program on whose behalf the author wrote it (name).
    pub actor: Option<String>,
    /// When it was made (µs since 1970 UTC).
    pub made_us: i64,
    /// When it ends by itself; absent means until it is replaced (µs since 1970 UTC).
    pub until_us: Option<i64>,
}

/// What a weight was computed from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WeightInputs {
    /// Weight in the settings (number).
    pub configured_weight: Option<f64>,
    /// Factor before this one (0 to 1).
    pub previous_weight: Option<f64>,
    /// Age of the last heartbeat (µs).
    pub heartbeat_age_us: Option<i64>,
    /// Sessions in the last heartbeat (sessions).
    pub sessions: Option<i32>,
    /// Sessions allowed (sessions).
    pub max_sessions: Option<i32>,
    /// Calls accepted minus ended since that heartbeat (calls).
    pub own_since_heartbeat: Option<i32>,
    /// The same, of the other edges (calls).
    pub other_edges_since_heartbeat: Option<i32>,
    /// Use of channels (0 to 1).
    pub u_channels: Option<f64>,
    /// Use of CPU (0 to 1).
    pub u_cpu: Option<f64>,
    /// Use of RTP ports (0 to 1).
    pub u_rtp: Option<f64>,
    /// Use of memory (0 to 1).
    pub u_memory: Option<f64>,
    /// Use of file descriptors (0 to 1).
    pub u_fds: Option<f64>,
    /// Quality term (0 to 1).
    pub quality: Option<f64>,
    /// Greatest of these (0 to 1).
    pub pressure: Option<f64>,
    /// Trust in the heartbeat (0.2 to 1).
    pub freshness: Option<f64>,
    /// Slow start (0.1 to 1).
    pub ramp: Option<f64>,
    /// Factor before damping (0 to 1).
    pub target_weight: Option<f64>,
}
