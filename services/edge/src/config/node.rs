//! Nodes: where calls go, and how the edge sees that one is there.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::trunk::{default_pool, default_transports};
use super::{NextHop, NodeState, Source, TlsPeerConfig, Transport};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    pub id: String,
    /// Where its SIP profile listens and sends from; a name needs `sources` too.
    pub address: NextHop,
    /// As of a trunk.
    #[serde(default = "default_transports")]
    pub transports: Vec<Transport>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// As of a trunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsPeerConfig>,
    #[serde(default = "default_pool")]
    pub pool: String,
    #[serde(default = "default_weight")]
    pub weight: f64,
    /// The nodes of a pool with the smallest number are asked first, the others when none of these is up.
    #[serde(default, skip_serializing_if = "is_zero_u8")]
    pub priority: u8,
    /// Calls that it can hold; 0 = what it says of itself, else not known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub capacity: u32,
    #[serde(default, skip_serializing_if = "NodeState::is_active")]
    pub state: NodeState,
    /// Other addresses that it sends from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Source>,
    /// Keeps registrations too: it is in the pool `registrar` beside its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub registrar: bool,
    /// The node that recovers its calls when it is lost; may be itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovers_to: Option<String>,
}

impl Default for NodeConfig {
    fn default() -> NodeConfig {
        NodeConfig {
            id: String::new(),
            address: SocketAddr::from(([127, 0, 0, 1], 5080)).into(),
            transports: default_transports(),
            listener: None,
            tls: None,
            pool: default_pool(),
            weight: default_weight(),
            priority: 0,
            capacity: 0,
            state: NodeState::Active,
            sources: Vec::new(),
            registrar: false,
            recovers_to: None,
        }
    }
}

pub(super) fn default_weight() -> f64 {
    1.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
pub(super) fn is_zero(n: &u32) -> bool {
    *n == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero_u8(n: &u8) -> bool {
    *n == 0
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProbeConfig {
    /// Off only for nodes that do not answer OPTIONS (load generators).
    pub enabled: bool,
    pub interval_ms: u64,
    pub timeout_ms: u64,
    pub resend_ms: u64,
    /// Misses in a row that make a node suspect.
    pub suspect_misses: u32,
    /// Misses among the last four that make it down.
    pub down_misses: u32,
    /// Answers in a row that make it good again.
    pub up_answers: u32,
}

impl ProbeConfig {
    /// For a carrier: seldom, patiently, and with a conclusion after few. 0 seconds: not at all.
    #[must_use]
    pub fn of_carrier(every_s: u32) -> ProbeConfig {
        ProbeConfig {
            enabled: every_s > 0,
            interval_ms: u64::from(every_s) * 1_000,
            timeout_ms: 2_000,
            resend_ms: 500,
            suspect_misses: 1,
            down_misses: 2,
            up_answers: 1,
        }
    }
}

impl Default for ProbeConfig {
    fn default() -> ProbeConfig {
        ProbeConfig {
            enabled: true,
            interval_ms: 1_000,
            timeout_ms: 500,
            resend_ms: 250,
            suspect_misses: 2,
            down_misses: 3,
            up_answers: 3,
        }
    }
}
