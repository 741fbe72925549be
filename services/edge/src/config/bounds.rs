//! How long things may take and how many of them there may be.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimerConfig {
    /// T1 of RFC 3261 (ms).
    pub t1_ms: u64,
    /// How long a node may take to its first response before the next one is tried (ms).
    pub first_response_node_ms: u64,
    /// The same for a trunk (ms).
    pub first_response_trunk_ms: u64,
    /// Longest ringing (s): timer C.
    pub timer_c_s: u64,
    /// A dialog older than this is given up (s).
    pub max_call_s: u64,
    /// A weight of capacity older than this is ignored (s).
    pub weight_max_age_s: u64,
}

impl Default for TimerConfig {
    fn default() -> TimerConfig {
        TimerConfig {
            t1_ms: 500,
            first_response_node_ms: 1_500,
            first_response_trunk_ms: 4_000,
            timer_c_s: 180,
            max_call_s: 4 * 3600,
            weight_max_age_s: 60,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitConfig {
    /// Dialogs kept; at the limit the oldest is given up.
    pub dialogs: usize,
    /// INVITEs in set-up at once; above it new ones are answered 503.
    pub open_invites: usize,
    /// `refused` events per second and trunk; above it they are counted in `sip.rejections`.
    pub refused_events: u32,
    /// Next hops tried for one INVITE.
    pub attempts: u32,
    /// Block rules held; above it new ones are not applied, loudly.
    pub blocks: usize,
    /// Decisions kept in memory for `/v1/explain` and dry runs.
    pub decisions: usize,
}

impl Default for LimitConfig {
    fn default() -> LimitConfig {
        LimitConfig {
            dialogs: 100_000,
            open_invites: 20_000,
            refused_events: 100,
            attempts: 3,
            blocks: 10_000,
            decisions: 100_000,
        }
    }
}

/// Connections: TCP and what stands on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StreamConfig {
    /// Open at once; further ones are closed unread.
    pub connections: usize,
    /// The same for one address.
    pub connections_per_source: usize,
    /// A connection that no call needs is closed after so much silence (s).
    pub idle_s: u64,
    /// From the first byte of a message to its last, and from the connection to its first byte (ms).
    pub message_ms: u64,
    /// Bytes that may wait for one connection; whoever does not read them is cut off.
    pub line_bytes: usize,
    /// How long a peer may take to accept a connection of ours (ms).
    pub connect_ms: u64,
    /// TLS handshakes under way; three quarters of it for addresses that are not in the settings.
    pub handshakes: usize,
    /// The same of one address that is not in the settings.
    pub handshakes_per_source: u32,
    /// Begun per second by addresses that are not in the settings; twice as many at once.
    pub handshake_rate: u32,
    /// The same by one of them.
    pub handshake_rate_per_source: u32,
    /// From its beginning to its end (ms), ours and theirs.
    pub handshake_ms: u64,
    /// From the connection, or from the end of its handshake, to the whole request that opens a WebSocket (ms).
    pub upgrade_ms: u64,
}

impl Default for StreamConfig {
    fn default() -> StreamConfig {
        StreamConfig {
            connections: 10_000,
            connections_per_source: 256,
            idle_s: 120,
            message_ms: 5_000,
            line_bytes: 256 * 1024,
            connect_ms: 2_000,
            handshakes: 512,
            handshakes_per_source: 8,
            handshake_rate: 500,
            handshake_rate_per_source: 10,
            handshake_ms: 3_000,
            upgrade_ms: 2_000,
        }
    }
}

/// How next hops that are names are looked up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DnsConfig {
    /// Empty: those of the system.
    pub servers: Vec<SocketAddr>,
    /// For one question to one server (ms).
    pub timeout_ms: u64,
    /// After a look-up that failed (s).
    pub retry_s: u64,
    /// An answer is asked for again after its own life, but within these bounds (s).
    pub min_ttl_s: u64,
    pub max_ttl_s: u64,
}

impl Default for DnsConfig {
    fn default() -> DnsConfig {
        DnsConfig { servers: Vec::new(), timeout_ms: 2_000, retry_s: 5, min_ttl_s: 5, max_ttl_s: 3_600 }
    }
}
