//! Trunks: who may call, how much, and under which policies; and which of them calls from nodes go to.

use serde::{Deserialize, Serialize};

use super::node::is_zero;
use super::{NextHop, Source, TlsPeerConfig, Transport, policy};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrunkConfig {
    pub id: String,
    /// `192.0.2.0/24`, `192.0.2.7` or `192.0.2.7:5060`; the most specific of all trunks wins.
    pub sources: Vec<Source>,
    /// Where calls to this trunk are sent: an address, or a name that DNS knows. Without it none are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<NextHop>,
    /// How it is spoken to: the first one. A request above 1,300 bytes that would go over UDP goes over TCP when TCP is in
    /// the list.
    #[serde(default = "default_transports")]
    pub transports: Vec<Transport>,
    /// The listener that requests to it leave by; without it the first that fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// How its certificate is checked and which one is shown to it, when it is called over TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsPeerConfig>,
    /// Seconds between the OPTIONS that ask whether it is there, 0 = none. While no answer comes, whatever it would say, calls go to
    /// the others of their route first.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub probe_s: u32,
    /// Pool of nodes that its calls go to.
    #[serde(default = "default_pool")]
    pub pool: String,
    /// New calls per second from it; 0 = no limit.
    #[serde(default)]
    pub cps: f64,
    /// New calls per second to it; 0 = no limit. A call that finds it at its limit goes to the next carrier of its route.
    #[serde(default, skip_serializing_if = "is_no_limit")]
    pub cps_out: f64,
    /// Calls at once, from it and to it; 0 = no limit.
    #[serde(default)]
    pub calls: u32,
    /// What a call above these is answered with. Without Retry-After: a carrier would turn all its traffic away.
    #[serde(default = "default_limit_status")]
    pub limit_status: u16,
    /// What it may send; empty: everything. What a call needs for its own working always passes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// By what it may send, like `["tls"]`; empty: by anything. What comes by another transport is a stranger's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_transports: Vec<Transport>,
    /// Who its certificate must name (TLS and WSS with `tls.client_ca`); of several trunks at one address it tells which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_subject: Option<String>,
    /// Never blocked by any rule.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Instead of the common list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<Vec<String>>,
    /// The numbers of that country (ISO 3166, like `DE`) instead of the common list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency_country: Option<String>,
    /// Emergency calls per second and at once that are kept for it beside its limits.
    #[serde(default = "default_emergency_cps")]
    pub emergency_cps: f64,
    #[serde(default = "default_emergency_calls")]
    pub emergency_calls: u32,
    /// What is changed in its messages, and refused.
    #[serde(default)]
    pub policy: policy::PolicyConfig,
    /// What becomes of a further 2xx when one went upstream already.
    #[serde(default)]
    pub late_2xx: Late2xx,
}

/// A caller may be answered by two phones at once (RFC 3261 §16.7 step 4). Not every caller copes with that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Late2xx {
    /// Each goes upstream; the caller ends what it does not want.
    #[default]
    Relay,
    /// Only the first does; the edge acknowledges and ends the others.
    EdgeBye,
}

impl Default for TrunkConfig {
    fn default() -> TrunkConfig {
        TrunkConfig {
            id: String::new(),
            sources: Vec::new(),
            address: None,
            transports: default_transports(),
            listener: None,
            tls: None,
            probe_s: 0,
            pool: default_pool(),
            cps: 0.0,
            cps_out: 0.0,
            calls: 0,
            limit_status: default_limit_status(),
            methods: Vec::new(),
            source_transports: Vec::new(),
            source_subject: None,
            pinned: false,
            account: None,
            emergency: None,
            emergency_country: None,
            emergency_cps: default_emergency_cps(),
            emergency_calls: default_emergency_calls(),
            policy: policy::PolicyConfig::default(),
            late_2xx: Late2xx::Relay,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_no_limit(rate: &f64) -> bool {
    *rate == 0.0
}

fn default_limit_status() -> u16 {
    503
}

fn default_emergency_cps() -> f64 {
    5.0
}

fn default_emergency_calls() -> u32 {
    10
}

pub(super) fn default_transports() -> Vec<Transport> {
    vec![Transport::Udp]
}

pub(super) fn default_pool() -> String {
    "inbound".to_owned()
}

/// Calls from nodes: the longest prefix of the dialled user part wins.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    #[serde(default)]
    pub prefix: String,
    /// Tried in this order.
    pub trunks: Vec<String>,
    /// How much of the calls each of these trunks gets first, in their order; whoever is left follows in the order of the trunks.
    /// Empty: all calls go to the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<u16>,
}

impl RouteConfig {
    /// What it is called in control records.
    #[must_use]
    pub fn id(&self) -> &str {
        if self.prefix.is_empty() { "default" } else { &self.prefix }
    }

    /// The start of a dialled number, or all of it, without the plus that it may be written with.
    #[must_use]
    pub fn bare(number: &str) -> &str {
        number.strip_prefix('+').unwrap_or(number)
    }
}
