//! `node.health`: what engines, edges and agents know about a FreeSWITCH node.
//!
//! One topic and three kinds of observers, so that a consumer reads one stream per node: an engine reports heartbeats,
//! its link and new epochs; an edge its probes and what it saw of its own calls; an agent the machine.

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
    name: "node.health",
    partitions: 3,
    retention: Retention::Days(30),
    compacted: false,
    version: 1,
    schema_id: 0x5452_0005,
    schema: include_str!("../node.health/v1.avsc"),
    retired: &[],
    class: Class::Health,
};

/// Every value of `event_type`.
pub const EVENT_TYPES: &[&str] = &["heartbeat", "link_up", "link_down", "epoch", "probe"];

impl Event for NodeHealth {
    const TOPIC: &'static TopicSpec = &TOPIC;

    fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    fn envelope_mut(&mut self) -> &mut Envelope {
        &mut self.envelope
    }

    fn key(&self) -> String {
        self.node_id.clone()
    }

    fn event_type(&self) -> &str {
        &self.event_type
    }

    fn logical_id(&self) -> [u8; 16] {
        match (&self.heartbeat, &self.core_uuid) {
            (Some(beat), Some(core)) => logical::of(&[core.as_bytes(), &beat.event_sequence.to_be_bytes()]),
            _ => logical::of_content(self),
        }
    }

    fn check(&self) -> Result<(), Invalid> {
        check::known("event_type", &self.event_type, EVENT_TYPES)?;
        check::not_empty("node_id", &self.node_id)?;
        check::known("observer_kind", &self.observer_kind, &["engine", "edge", "agent"])?;
        check::not_empty("observer_id", &self.observer_id)?;
        match self.event_type.as_str() {
            "heartbeat" => check::present("heartbeat", self.heartbeat.as_ref())
                .and(check::present("core_uuid", self.core_uuid.as_ref()).map(drop)),
            "link_up" | "link_down" => check::present("link", self.link.as_ref()).map(drop),
            "epoch" => check::present("epoch", self.epoch.as_ref()).map(drop),
            _ => {
                check::that("probe", self.probe.is_some() || self.passive.is_some() || self.resources.is_some(), || {
                    "a probe carries probes, passive counters or resources".to_owned()
                })
            }
        }
    }
}

/// What somebody knows about the health of a FreeSWITCH node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeHealth {
    /// What publishing added.
    pub envelope: Envelope,
    /// heartbeat, link_up, link_down, epoch or probe (name).
    pub event_type: String,
    /// Node (id).
    pub node_id: String,
    /// Who observed: engine, edge or agent (name).
    pub observer_kind: String,
    /// Which engine, edge or agent (id).
    pub observer_id: String,
    /// Epoch of the node as far as known (UUID).
    pub core_uuid: Option<String>,
    /// When it was observed, for people (µs since 1970 UTC).
    pub observed_us: i64,
    /// When it was observed, on the observer's boot-time clock (µs since boot).
    pub observed_mono_us: i64,
    /// State of the node for the observer from now on: up, suspect, down, draining, unknown (name).
    pub state: Option<String>,
    /// State of the node for the observer until now (name).
    pub state_before: Option<String>,
    /// Why the state is what it is (text).
    pub reason: Option<String>,
    /// HEARTBEAT of FreeSWITCH.
    pub heartbeat: Option<NodeHeartbeat>,
    /// The ESL connection of an engine.
    pub link: Option<NodeLink>,
    /// A restart of the node that was noticed.
    pub epoch: Option<NodeEpoch>,
    /// OPTIONS probes of an edge.
    pub probe: Option<NodeProbe>,
    /// What an edge saw of the calls that it sent.
    pub passive: Option<NodePassive>,
    /// What an agent measured on the machine.
    pub resources: Option<NodeResources>,
}

/// HEARTBEAT of FreeSWITCH.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeHeartbeat {
    /// Event-Sequence (number).
    pub event_sequence: i64,
    /// Event-Date-Timestamp (µs since 1970 UTC, the node's clock).
    pub event_us: Option<i64>,
    /// Event-Info (text).
    pub info: Option<String>,
    /// FreeSWITCH-Version (text).
    pub version: Option<String>,
    /// FreeSWITCH-Hostname (name).
    pub hostname: Option<String>,
    /// FreeSWITCH-IPv4 (IP address).
    pub ipv4: Option<String>,
    /// Uptime-msec (ms).
    pub uptime_ms: Option<i64>,
    /// Session-Count (sessions).
    pub sessions: Option<i32>,
    /// Max-Sessions (sessions).
    pub max_sessions: Option<i32>,
    /// Session-Per-Sec: the limit (sessions/s).
    pub sps_limit: Option<i32>,
    /// Session-Per-Sec-Last (sessions/s).
    pub sps_last: Option<i32>,
    /// Session-Per-Sec-Max (sessions/s).
    pub sps_max: Option<i32>,
    /// Session-Per-Sec-FiveMin (sessions/s).
    pub sps_five_min: Option<i32>,
    /// Session-Since-Startup (sessions).
    pub sessions_since_startup: Option<i64>,
    /// Session-Peak-Max (sessions).
    pub peak_sessions: Option<i32>,
    /// Session-Peak-FiveMin (sessions).
    pub peak_sessions_five_min: Option<i32>,
    /// Idle-CPU; inside a container that of the host (percent).
    pub idle_cpu_percent: Option<f64>,
    /// Time since the heartbeat before (µs, the engine's monotonic clock).
    pub interval_us: Option<i64>,
}

/// The ESL connection between an engine and a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeLink {
    /// up or down (name).
    pub state: String,
    /// Where the node listens (IP address:port).
    pub address: Option<String>,
    /// Since when it is in this state (µs since 1970 UTC).
    pub since_us: Option<i64>,
    /// How long it was down before it came up (µs, the engine's monotonic clock).
    pub down_us: Option<i64>,
    /// Connections since the engine started (number).
    pub reconnects: Option<i64>,
    /// From Event-Date-Timestamp to being read, latest (µs).
    pub event_lag_us: Option<i64>,
    /// Why it went down (text).
    pub error: Option<String>,
}

/// A restart of the node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeEpoch {
    /// Epoch that ended (UUID).
    pub core_uuid_before: Option<String>,
    /// Epoch that began (UUID).
    pub core_uuid: String,
    /// Channels of the old epoch that were open for the observer (channels).
    pub channels_lost: Option<i32>,
    /// Last sign of life of the old epoch (µs since 1970 UTC).
    pub last_seen_us: Option<i64>,
}

/// OPTIONS probes in a window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeProbe {
    /// Where they were sent (IP address:port).
    pub address: Option<String>,
    /// udp, tcp or tls (name).
    pub transport: Option<String>,
    /// Window of the counts (µs).
    pub window_us: Option<i64>,
    /// Probes sent (number).
    pub sent: i32,
    /// Probes answered (number).
    pub answered: i32,
    /// Probes without an answer (number).
    pub lost: i32,
    /// Last status (SIP status code).
    pub last_status: Option<u16>,
    /// Last round trip (µs).
    pub rtt_us: Option<i64>,
    /// Longest round trip in the window (µs).
    pub rtt_max_us: Option<i64>,
    /// Failures in a row (number).
    pub consecutive_failures: i32,
    /// Answers in a row (number).
    pub consecutive_successes: i32,
}

/// Calls of one edge on one node; counters run since the edge started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodePassive {
    /// Dialogs and open INVITEs on the node (calls).
    pub calls_open: i32,
    /// INVITEs forwarded to it (calls).
    pub calls_started_total: i64,
    /// INVITEs and dialogs that ended (calls).
    pub calls_ended_total: i64,
    /// INVITEs answered by it (calls).
    pub answered_total: i64,
    /// INVITEs that it answered with 5xx (calls).
    pub failed_5xx_total: i64,
    /// INVITEs without any answer (calls).
    pub timeouts_total: i64,
    /// Requests repeated towards it (requests).
    pub retransmits_total: i64,
    /// INVITE to first response, 95th percentile of the window (µs).
    pub first_response_p95_us: Option<i64>,
    /// Effective weight in force (number).
    pub weight: Option<f64>,
}

/// What an agent measured on the node's machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeResources {
    /// CPU in use (cores).
    pub cpu_used_cores: Option<f64>,
    /// CPU allowed (cores).
    pub cpu_quota_cores: Option<f64>,
    /// Time throttled since start (ms).
    pub cpu_throttled_ms: Option<i64>,
    /// Tasks ready to run (number).
    pub run_queue: Option<f64>,
    /// CPU stolen by the host (percent).
    pub steal_percent: Option<f64>,
    /// Resident memory of the node's process (bytes).
    pub rss_bytes: Option<i64>,
    /// Memory allowed (bytes).
    pub memory_limit_bytes: Option<i64>,
    /// File descriptors in use (number).
    pub fds_used: Option<i64>,
    /// File descriptors allowed (number).
    pub fds_limit: Option<i64>,
    /// RTP ports in use (ports).
    pub rtp_ports_used: Option<i32>,
    /// RTP ports in the range (ports).
    pub rtp_ports_total: Option<i32>,
    /// UDP datagrams dropped since boot (datagrams).
    pub udp_receive_errors: Option<i64>,
    /// Free space of recordings and logs (bytes).
    pub disk_free_bytes: Option<i64>,
}
