//! What the core is told, free of wire formats.

/// Somebody observed something about a node.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    pub node: String,
    pub observer: String,
    /// When, on the observer's wall clock (µs since 1970 UTC).
    pub at_us: i64,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq)]
pub enum What {
    Beat(Beat),
    LinkUp,
    LinkDown,
    /// The node runs under this Core-UUID now.
    Epoch(String),
    /// It answered somebody: a probe, a call.
    Sign,
    Resources(Resources),
}

/// A heartbeat as FreeSWITCH sends it. Nothing in it is trusted to be in range.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Beat {
    pub core: String,
    /// Grows within an epoch; 0 when the heartbeat carried none.
    pub sequence: i64,
    pub sessions: Option<i32>,
    pub max_sessions: Option<i32>,
    pub idle_cpu_percent: Option<f64>,
    pub uptime_ms: Option<i64>,
    pub interval_us: Option<i64>,
}

/// What an agent measured on the node's machine, as shares of what is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Resources {
    pub cpu: Option<f64>,
    pub memory: Option<f64>,
    pub rtp: Option<f64>,
    pub fds: Option<f64>,
}

/// A step in the life of a leg that an edge put on a node. The end names no node: it is remembered from the start.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Started { leg: u64, node: String, at_us: i64 },
    Ended { leg: u64, at_us: i64 },
}
