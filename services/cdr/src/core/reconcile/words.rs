//! What the reconciler is told, and what it says.

use domain::CallId;

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A node is silent after this, or after 2.5 of its heartbeats when that is longer.
    pub silence_us: u64,
    /// How long an "up" from the edge's probes counts; its summaries come every 5 s.
    pub probe_trust_us: u64,
    /// Used while the heartbeat's period is not known yet.
    pub unknown_silence_us: u64,
    pub orphan_after_us: u64,
    pub challenge_after_us: u64,
    /// An INVITE that is not answered cannot live longer than Timer C and its transaction.
    pub setup_after_us: u64,
    pub longest_call_us: u64,
}

impl Default for Limits {
    fn default() -> Self {
        const S: u64 = 1_000_000;
        Limits {
            silence_us: 3 * S,
            probe_trust_us: 6 * S,
            unknown_silence_us: 8 * S,
            orphan_after_us: 60 * S,
            challenge_after_us: 40 * S,
            setup_after_us: 240 * S,
            longest_call_us: 24 * 3600 * S,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenLeg {
    pub leg: String,
    pub node: Option<String>,
    pub core_uuid: Option<String>,
    /// An engine sees a channel of this leg.
    pub channel: bool,
    pub answered: bool,
}

/// What the fold knows of a call that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenCall {
    pub started_us: i64,
    pub last_fact_us: i64,
    pub legs: Vec<OpenLeg>,
    /// All that happened was a challenge: the caller may come back with credentials.
    pub challenged_only: bool,
    /// Channels were seen and all of them have ended.
    pub channels_ended: bool,
    /// The call is over: its node did not answer the BYE, and whether it was dead by then shows soon or never.
    pub settling: bool,
    /// The reconciler has spoken about these nodes (and boots) already.
    pub reconciled: Vec<(String, Option<String>)>,
}

#[derive(Debug, Clone)]
pub enum Input {
    /// A call is open in this form.
    Open(CallId, OpenCall),
    /// A call has ended.
    Ended(CallId),
    Heartbeat {
        node: String,
        core_uuid: Option<String>,
        at_us: i64,
        /// Time since the beat before, as the engine measured it.
        every_us: Option<u64>,
    },
    /// The engine's link to the node.
    Link { node: String, up: bool, at_us: i64 },
    /// The edge's opinion of the node.
    Probe { node: String, up: bool, at_us: i64 },
    /// Any event of a channel on the node.
    Channel { node: String, core_uuid: Option<String>, at_us: i64 },
    /// Look at the clock. `fresh`: the consumer has caught up with the log.
    Tick { fresh: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    NodeLost,
    OrphanClosed,
}

impl Kind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::NodeLost => "node_lost",
            Kind::OrphanClosed => "orphan_closed",
        }
    }
}

/// One event to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub call: CallId,
    pub kind: Kind,
    pub node: Option<String>,
    pub core_uuid: Option<String>,
    /// Legs that this closes.
    pub legs: Vec<String>,
    /// The call ended between these two: the last proof of life, and now.
    pub from_us: i64,
    pub to_us: i64,
    pub reason: &'static str,
}
