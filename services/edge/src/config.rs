//! Settings of the edge, section `[edge]`. Everything that a call needs is in here or in the control topics; nothing is
//! looked up while a call is set up: next hops that are names are looked up beside the calls.

mod admission;
mod dial;
mod hot_state;
mod next_hop;
mod operate;
pub mod policy;
mod pools;
mod tls;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use kit::admin::AdminConfig;
use kit::settings::{Check, Problem, join};
use serde::{Deserialize, Serialize};

pub use admission::AdmissionConfig;
pub use dial::{DialConfig, DialRule, RangesFile};
pub use hot_state::{HotAdapter, HotStateConfig};
pub use next_hop::{NextHop, SipName};
pub use operate::{DialledNumber, FirewallConfig, Ports};
pub use pools::{BreakerConfig, JoinConfig, JoinRule, NodeState, PoolConfig};
pub use tls::{TlsConfig, TlsPeerConfig};

/// Headers of the operator's own in events.
const MOST_EVENT_HEADERS: usize = 16;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Name of this edge in events and acknowledgements.
    pub id: String,
    pub listeners: Vec<ListenerConfig>,
    pub trunks: Vec<TrunkConfig>,
    pub nodes: Vec<NodeConfig>,
    /// How pools of nodes choose.
    pub pools: Vec<PoolConfig>,
    /// Dialled numbers that do not go to the pool of their trunk.
    pub numbers: Vec<DialledNumber>,
    pub routes: Vec<RouteConfig>,
    pub probe: ProbeConfig,
    pub breaker: BreakerConfig,
    pub join: JoinConfig,
    pub dns: DnsConfig,
    pub timers: TimerConfig,
    pub limits: LimitConfig,
    pub admission: AdmissionConfig,
    pub dial: DialConfig,
    pub hot_state: HotStateConfig,
    pub streams: StreamConfig,
    /// For `trunkline edge firewall`.
    pub firewall: FirewallConfig,
    /// How long open INVITEs may take to finish after a stop was asked for (ms). Established calls stay on their nodes.
    pub drain_ms: u64,
    /// When a node is lost, send a BYE to the other party of each of its calls.
    pub orphan_bye: bool,
    /// Size of the journal in `run_dir` (bytes); 0 = none, then a restart forgets calls in set-up.
    pub journal_bytes: usize,
    /// Receive buffer of each socket (bytes); the kernel may give less.
    pub receive_buffer_bytes: usize,
    /// Headers of the operator's own (`X-…`) that events tell of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub event_headers: Vec<String>,
    /// Numbers that no block and no limit touches, for trunks without a list of their own. The whole dialled user part.
    pub emergency: Vec<String>,
    /// An admin server of its own. Without it the edge's routes are those of the process's admin server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<AdminConfig>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    Trunk,
    Node,
}

impl Side {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Side::Trunk => "trunk",
            Side::Node => "node",
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    #[default]
    Udp,
    Tcp,
    Tls,
    Ws,
    Wss,
}

impl Transport {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Ws => "ws",
            Transport::Wss => "wss",
        }
    }

    /// As a Via says it.
    #[must_use]
    pub fn as_via(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
            Transport::Ws => "WS",
            Transport::Wss => "WSS",
        }
    }

    /// As a SIP URI says it; UDP is what is meant without it.
    #[must_use]
    pub fn as_uri_param(self) -> &'static str {
        match self {
            Transport::Udp => "",
            Transport::Tcp => ";transport=tcp",
            Transport::Tls => ";transport=tls",
            Transport::Ws | Transport::Wss => ";transport=ws",
        }
    }

    /// Bytes in order over connections; nothing is sent twice on it.
    #[must_use]
    pub fn is_stream(self) -> bool {
        self != Transport::Udp
    }
}

/// By what a listener tells whom it hears.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Admit {
    /// The source address, as the trunks list it.
    #[default]
    Address,
    /// Any address with a certificate that the listener's authority signed; its subject is the account.
    Certificate,
    /// Any address, but only REGISTER until the registrar said yes; the registered user is the account.
    Registrar,
}

impl Admit {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Admit::Address => "address",
            Admit::Certificate => "certificate",
            Admit::Registrar => "registrar",
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    fn is_address(&self) -> bool {
        *self == Admit::Address
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerConfig {
    pub id: String,
    pub side: Side,
    #[serde(default)]
    pub transport: Transport,
    pub bind: SocketAddr,
    /// Who is heard: a TLS or WSS listener may go by certificate or by registrar instead of by address.
    #[serde(default, skip_serializing_if = "Admit::is_address")]
    pub admit: Admit,
    /// The trunk that the clients of a listener with another `admit` than `address` belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trunk: Option<String>,
    /// What Via and Record-Route say; needed when `bind` is a wildcard address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertise: Option<SocketAddr>,
    /// Balancers whose connections begin with a PROXY header (version 2); the client that it names is then the source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub balancers: Vec<Source>,
    /// With `transport = "tls"` or `"wss"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// Pages that may connect to a WebSocket listener, as browsers name them (`https://phone.example.com`); empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<String>,
}

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
    /// Pool of nodes that its calls go to.
    #[serde(default = "default_pool")]
    pub pool: String,
    /// New calls per second from it; 0 = no limit.
    #[serde(default)]
    pub cps: f64,
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

/// Calls from nodes: the longest prefix of the dialled user part wins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    #[serde(default)]
    pub prefix: String,
    /// Tried in this order.
    pub trunks: Vec<String>,
}

impl RouteConfig {
    /// What it is called in control records.
    #[must_use]
    pub fn id(&self) -> &str {
        if self.prefix.is_empty() { "default" } else { &self.prefix }
    }
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

fn default_limit_status() -> u16 {
    503
}

fn default_emergency_cps() -> f64 {
    5.0
}

fn default_emergency_calls() -> u32 {
    10
}

fn default_pool() -> String {
    "inbound".to_owned()
}

fn default_transports() -> Vec<Transport> {
    vec![Transport::Udp]
}

fn default_weight() -> f64 {
    1.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero_u8(n: &u8) -> bool {
    *n == 0
}

impl Default for Config {
    fn default() -> Config {
        let listener = |id: &str, side, port| ListenerConfig {
            id: id.to_owned(),
            side,
            bind: SocketAddr::from(([127, 0, 0, 1], port)),
            ..ListenerConfig::default()
        };
        Config {
            id: "edge-1".to_owned(),
            listeners: vec![listener("trunks", Side::Trunk, 5060), listener("nodes", Side::Node, 5070)],
            trunks: Vec::new(),
            nodes: Vec::new(),
            pools: Vec::new(),
            numbers: Vec::new(),
            routes: Vec::new(),
            probe: ProbeConfig::default(),
            breaker: BreakerConfig::default(),
            join: JoinConfig::default(),
            dns: DnsConfig::default(),
            timers: TimerConfig::default(),
            limits: LimitConfig::default(),
            admission: AdmissionConfig::default(),
            dial: DialConfig::default(),
            hot_state: HotStateConfig::default(),
            streams: StreamConfig::default(),
            firewall: FirewallConfig::default(),
            drain_ms: 5_000,
            orphan_bye: false,
            journal_bytes: 32 * 1024 * 1024,
            receive_buffer_bytes: 4 * 1024 * 1024,
            event_headers: Vec::new(),
            emergency: ["112", "911", "999"].map(str::to_owned).to_vec(),
            admin: None,
        }
    }
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

impl Default for ListenerConfig {
    fn default() -> ListenerConfig {
        ListenerConfig {
            id: String::new(),
            side: Side::Trunk,
            transport: Transport::Udp,
            bind: SocketAddr::from(([127, 0, 0, 1], 5060)),
            admit: Admit::Address,
            trunk: None,
            advertise: None,
            balancers: Vec::new(),
            tls: None,
            origins: Vec::new(),
        }
    }
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
            pool: default_pool(),
            cps: 0.0,
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

/// A part of the address space: a network, or one address with one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    Net { ip: IpAddr, bits: u8 },
    Port(SocketAddr),
}

impl Source {
    #[must_use]
    pub fn contains(self, addr: SocketAddr) -> bool {
        let ip = addr.ip().to_canonical();
        match self {
            Source::Port(exact) => exact.port() == addr.port() && exact.ip().to_canonical() == ip,
            Source::Net { ip: net, bits } => match (net, ip) {
                (IpAddr::V4(a), IpAddr::V4(b)) => {
                    same_prefix(u128::from(a.to_bits()), u128::from(b.to_bits()), 32, bits)
                }
                (IpAddr::V6(a), IpAddr::V6(b)) => same_prefix(a.to_bits(), b.to_bits(), 128, bits),
                _ => false,
            },
        }
    }

    /// Of a network: the length of its prefix.
    #[must_use]
    pub fn bits(self) -> Option<u8> {
        match self {
            Source::Port(_) => None,
            Source::Net { bits, .. } => Some(bits),
        }
    }

    /// The greater the more specific, over both families.
    #[must_use]
    pub fn rank(self) -> u16 {
        match self {
            Source::Port(_) => 1_000,
            Source::Net { ip: IpAddr::V4(_), bits } => u16::from(bits) + 96,
            Source::Net { bits, .. } => u16::from(bits),
        }
    }
}

fn same_prefix(a: u128, b: u128, width: u32, bits: u8) -> bool {
    let drop = width - u32::from(bits).min(width);
    drop >= 128 || (a >> drop) == (b >> drop)
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Source, String> {
        if let Ok(addr) = text.parse::<SocketAddr>() {
            return Ok(Source::Port(addr));
        }
        let (ip, bits) = match text.split_once('/') {
            Some((ip, bits)) => (ip, Some(bits)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| {
            format!("{text:?} is no address, network or address with port; who may speak is not left to DNS, so names stand in `address` only")
        })?;
        let width = if ip.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => width,
            Some(bits) => {
                bits.parse().ok().filter(|&b| b <= width).ok_or(format!("{text:?}: a prefix has 0 to {width} bits"))?
            }
        };
        Ok(Source::Net { ip, bits })
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Port(addr) => write!(f, "{addr}"),
            Source::Net { ip, bits } => write!(f, "{ip}/{bits}"),
        }
    }
}

impl Serialize for Source {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Source, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Check for Config {
    fn check(&self, at: &str, out: &mut Vec<Problem>) {
        self.check_listeners(at, out);
        self.check_ids(at, out);
        self.check_peers_security(at, out);
        for (i, trunk) in self.trunks.iter().enumerate() {
            let at = join(at, &format!("trunks[{i}]"));
            let has_clients = self.listeners.iter().any(|l| l.trunk.as_ref() == Some(&trunk.id));
            if trunk.sources.is_empty() && trunk.address.is_none() && !has_clients {
                out.push(Problem::new(
                    join(&at, "sources"),
                    "[]",
                    "a trunk needs a source, an address, or a listener that names it",
                ));
            }
            trunk.policy.check(&join(&at, "policy"), out);
            self.check_name(trunk.address.as_ref(), &trunk.transports, &at, out);
            self.check_trunk_limits(trunk, &at, out);
            if !self.nodes.is_empty() && !self.has_members(&trunk.pool) {
                out.push(Problem::new(join(&at, "pool"), &trunk.pool, "the pool of at least one node"));
            }
        }
        for (i, node) in self.nodes.iter().enumerate() {
            if node.address.name().is_some() && node.sources.is_empty() {
                let key = join(at, &format!("nodes[{i}].sources"));
                let why = "the networks that the node sends from, since its address is a name: who may speak is not left to DNS";
                out.push(Problem::new(key, "[]", why));
            }
            self.check_name(Some(&node.address), &node.transports, &join(at, &format!("nodes[{i}]")), out);
            if !(node.weight > 0.0 && node.weight.is_finite()) {
                let key = join(at, &format!("nodes[{i}].weight"));
                out.push(Problem::new(key, node.weight, "more than 0"));
            }
        }
        for (i, node) in self.nodes.iter().enumerate() {
            if let Some(other) = node.recovers_to.as_ref().filter(|id| !self.nodes.iter().any(|n| &n.id == *id)) {
                let key = join(at, &format!("nodes[{i}].recovers_to"));
                out.push(Problem::new(key, other, "the id of a node"));
            }
        }
        let is_own = |name: &str| {
            let starts = |with: &str| name.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
            let is_token = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b));
            starts("X-") && !starts("X-Trunkline-") && is_token
        };
        for name in self.event_headers.iter().filter(|name| !is_own(name)) {
            let why = "a header of your own that begins with X- and not with X-Trunkline-";
            out.push(Problem::new(join(at, "event_headers"), name, why));
        }
        if self.event_headers.len() > MOST_EVENT_HEADERS {
            let why = format!("at most {MOST_EVENT_HEADERS} names: each event carries them");
            out.push(Problem::new(join(at, "event_headers"), self.event_headers.len(), why));
        }
        for (i, route) in self.routes.iter().enumerate() {
            let key = join(at, &format!("routes[{i}].trunks"));
            for id in &route.trunks {
                match self.trunks.iter().find(|t| &t.id == id) {
                    None => out.push(Problem::new(&key, id, "ids of trunks")),
                    Some(t) if t.address.is_none() => out.push(Problem::new(&key, id, "trunks that have an address")),
                    Some(_) => {}
                }
            }
            if route.trunks.is_empty() {
                out.push(Problem::new(&key, "[]", "at least one trunk"));
            }
        }
        self.admission.check(&join(at, "admission"), out);
        self.hot_state.check(&join(at, "hot_state"), out);
        let trunks: Vec<&str> = self.trunks.iter().map(|t| t.id.as_str()).collect();
        self.dial.check_with(&join(at, "dial"), &trunks, out);
        let probe = &self.probe;
        if !(probe.resend_ms < probe.timeout_ms && probe.timeout_ms < probe.interval_ms) {
            let value = format!("{} / {} / {}", probe.resend_ms, probe.timeout_ms, probe.interval_ms);
            out.push(Problem::new(join(at, "probe"), value, "resend_ms < timeout_ms < interval_ms"));
        }
        for (key, value) in [
            ("timers.t1_ms", self.timers.t1_ms),
            ("timers.first_response_node_ms", self.timers.first_response_node_ms),
            ("timers.first_response_trunk_ms", self.timers.first_response_trunk_ms),
            ("timers.timer_c_s", self.timers.timer_c_s),
            ("timers.max_call_s", self.timers.max_call_s),
            ("limits.dialogs", self.limits.dialogs as u64),
            ("limits.open_invites", self.limits.open_invites as u64),
            ("limits.attempts", u64::from(self.limits.attempts)),
            ("dns.timeout_ms", self.dns.timeout_ms),
            ("dns.retry_s", self.dns.retry_s),
            ("dns.min_ttl_s", self.dns.min_ttl_s),
            ("streams.connections", self.streams.connections as u64),
            ("streams.connections_per_source", self.streams.connections_per_source as u64),
            ("streams.handshakes", self.streams.handshakes as u64),
            ("streams.handshakes_per_source", self.streams.handshakes_per_source.into()),
            ("streams.handshake_rate", self.streams.handshake_rate.into()),
            ("streams.handshake_rate_per_source", self.streams.handshake_rate_per_source.into()),
            ("streams.handshake_ms", self.streams.handshake_ms),
            ("streams.upgrade_ms", self.streams.upgrade_ms),
            ("streams.idle_s", self.streams.idle_s),
            ("streams.message_ms", self.streams.message_ms),
            ("streams.connect_ms", self.streams.connect_ms),
        ] {
            if value == 0 {
                out.push(Problem::new(join(at, key), value, "1 or more"));
            }
        }
        self.check_pools(at, out);
        self.check_operation(at, out);
        if self.dns.max_ttl_s < self.dns.min_ttl_s {
            out.push(Problem::new(join(at, "dns.max_ttl_s"), self.dns.max_ttl_s, "min_ttl_s or more"));
        }
        if let Some(admin) = &self.admin {
            admin.check(&join(at, "admin"), out);
        }
    }
}

impl Config {
    fn check_listeners(&self, at: &str, out: &mut Vec<Problem>) {
        for (i, listener) in self.listeners.iter().enumerate() {
            if listener.bind.ip().is_unspecified() && listener.advertise.is_none() {
                let key = join(at, &format!("listeners[{i}].advertise"));
                out.push(Problem::new(key, "", "an address that peers can reach, since bind is a wildcard"));
            }
        }
        for (i, listener) in self.listeners.iter().enumerate() {
            listener.check_security(&join(at, &format!("listeners[{i}]")), out);
            if listener.transport == Transport::Udp && !listener.balancers.is_empty() {
                let key = join(at, &format!("listeners[{i}].balancers"));
                out.push(Problem::new(key, listener.balancers.len(), "none: over UDP there is no PROXY header"));
            }
        }
        if self.streams.line_bytes < sip::MAX_MESSAGE {
            let why = format!("{} or more: one message", sip::MAX_MESSAGE);
            out.push(Problem::new(join(at, "streams.line_bytes"), self.streams.line_bytes, why));
        }
        let trunks =
            self.trunks.iter().map(|t| (Side::Trunk, "trunks", &t.transports, &t.listener, t.address.is_some()));
        let nodes = self.nodes.iter().map(|n| (Side::Node, "nodes", &n.transports, &n.listener, true));
        for (i, (side, list, transports, listener, is_called)) in trunks.enumerate().chain(nodes.enumerate()) {
            let fits = |id: &String| {
                self.listeners.iter().any(|l| &l.id == id && l.side == side && transports.contains(&l.transport))
            };
            if let Some(id) = listener.as_ref().filter(|id| !fits(id)) {
                let why = format!("a listener with side = \"{}\" that speaks one of its transports", side.as_str());
                out.push(Problem::new(join(at, &format!("{list}[{i}].listener")), id, why));
            }
            let key = || join(at, &format!("{list}[{i}].transports"));
            if transports.is_empty() {
                out.push(Problem::new(key(), "[]", "at least one, like [\"udp\"]"));
            }
            for transport in transports.iter().filter(|_| is_called) {
                if matches!(transport, Transport::Ws | Transport::Wss) {
                    out.push(Problem::new(key(), transport.as_str(), "one that we can connect by: udp, tcp or tls"));
                } else if !self.listeners.iter().any(|l| l.side == side && l.transport == *transport) {
                    let why = format!("a transport that a listener with side = \"{}\" has", side.as_str());
                    out.push(Problem::new(key(), transport.as_str(), why));
                }
            }
        }
        for (i, listener) in self.listeners.iter().enumerate() {
            self.check_admission(listener, &join(at, &format!("listeners[{i}]")), out);
        }
        for side in [Side::Trunk, Side::Node] {
            if !self.listeners.iter().any(|l| l.side == side) {
                let why = format!("at least one listener with side = \"{}\"", side.as_str());
                out.push(Problem::new(join(at, "listeners"), "", why));
            }
        }
    }

    /// A listener that does not go by addresses: what it needs to know its clients by.
    fn check_admission(&self, listener: &ListenerConfig, at: &str, out: &mut Vec<Problem>) {
        if listener.admit == Admit::Address {
            if let Some(trunk) = &listener.trunk {
                let why = "only with admit = \"certificate\" or \"registrar\"; by address the trunks' sources say whose it is";
                out.push(Problem::new(join(at, "trunk"), trunk, why));
            }
            return;
        }
        let key = join(at, "admit");
        if !matches!(listener.transport, Transport::Tls | Transport::Wss) {
            let why = "needs transport = \"tls\" or \"wss\": without a handshake a source address proves nothing";
            out.push(Problem::new(&key, listener.admit.as_str(), why));
        }
        if listener.side != Side::Trunk {
            out.push(Problem::new(
                &key,
                listener.admit.as_str(),
                "is for side = \"trunk\"; nodes are known by their address",
            ));
        }
        let has_registrar = self.has_members(crate::core::REGISTRAR);
        if listener.admit == Admit::Registrar && !has_registrar {
            let why = "needs a node that keeps registrations: registrar = true, or pool = \"registrar\"";
            out.push(Problem::new(&key, listener.admit.as_str(), why));
        }
        let trunk = listener.trunk.as_deref().unwrap_or_default();
        if !self.trunks.iter().any(|t| t.id == trunk) {
            out.push(Problem::new(join(at, "trunk"), trunk, "the id of the trunk that its clients belong to"));
        }
    }

    /// A name that asks for a transport which the peer's own list does not have could never be used.
    fn check_name(&self, address: Option<&NextHop>, transports: &[Transport], at: &str, out: &mut Vec<Problem>) {
        let Some(name) = address.and_then(NextHop::name) else { return };
        let wanted = name.transport.or(name.secure.then_some(Transport::Tls));
        if let Some(wanted) = wanted.filter(|t| !transports.contains(t)) {
            let why = format!("a list with {:?}, which the name asks for", wanted.as_str());
            let have: Vec<&str> = transports.iter().map(|t| t.as_str()).collect();
            out.push(Problem::new(join(at, "transports"), have.join(", "), why));
        }
    }

    fn check_ids(&self, at: &str, out: &mut Vec<Problem>) {
        if self.id.is_empty() || self.id.contains(['/', ' ']) {
            out.push(Problem::new(join(at, "id"), &self.id, "a word without '/' and spaces"));
        }
        let lists = [
            ("listeners", self.listeners.iter().map(|l| &l.id).collect::<Vec<_>>()),
            ("trunks", self.trunks.iter().map(|t| &t.id).collect()),
            ("nodes", self.nodes.iter().map(|n| &n.id).collect()),
        ];
        for (list, ids) in lists {
            let mut seen = BTreeSet::new();
            let mut hashes = BTreeSet::new();
            for (i, id) in ids.into_iter().enumerate() {
                let key = join(at, &format!("{list}[{i}].id"));
                if id.is_empty() || id.contains(['/', ' ']) {
                    out.push(Problem::new(&key, id, "a word without '/' and spaces"));
                } else if !seen.insert(id) {
                    out.push(Problem::new(&key, id, "an id that stands once"));
                } else if !hashes.insert(domain::hash32(id)) {
                    out.push(Problem::new(&key, id, "another id: its hash in cookies equals that of an id before it"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_and_ranked() {
        let s = |t: &str| t.parse::<Source>().unwrap();
        let addr = |t: &str| t.parse::<SocketAddr>().unwrap();
        assert!(s("192.0.2.0/24").contains(addr("192.0.2.9:5060")));
        assert!(!s("192.0.2.0/24").contains(addr("192.0.3.9:5060")));
        assert!(s("0.0.0.0/0").contains(addr("203.0.113.1:1")));
        assert!(s("192.0.2.9:15060").contains(addr("192.0.2.9:15060")));
        assert!(!s("192.0.2.9:15060").contains(addr("192.0.2.9:15061")));
        assert!(s("192.0.2.9").contains(addr("[::ffff:192.0.2.9]:7")));
        assert!(s("2001:db8::/32").contains(addr("[2001:db8::7]:5060")));
        assert!(s("192.0.2.9:1").rank() > s("192.0.2.9").rank() && s("192.0.2.9").rank() > s("192.0.0.0/16").rank());
        assert!("192.0.2.0/33".parse::<Source>().is_err() && "host".parse::<Source>().is_err());
    }

    fn problems(config: &Config) -> Vec<(String, String)> {
        let mut out = Vec::new();
        config.check("edge", &mut out);
        out.into_iter().map(|p| (p.key.clone(), p.to_string())).collect()
    }

    #[test]
    fn a_listener_that_goes_by_something_else_than_addresses_says_what_it_lacks() {
        let mut config = Config::default();
        config.trunks.push(TrunkConfig { id: "phones".into(), ..TrunkConfig::default() });
        let door = |id: &str, admit, trunk: Option<&str>| ListenerConfig {
            id: id.into(),
            admit,
            trunk: trunk.map(str::to_owned),
            ..ListenerConfig::default()
        };
        config.listeners.extend([
            door("a", Admit::Registrar, Some("phones")),
            door("b", Admit::Certificate, None),
            door("c", Admit::Address, Some("phones")),
        ]);
        let keys: Vec<String> = problems(&config).into_iter().map(|(key, _)| key).collect();
        assert_eq!(
            keys,
            [
                "edge.listeners[2].admit",
                "edge.listeners[2].admit",
                "edge.listeners[3].admit",
                "edge.listeners[3].trunk",
                "edge.listeners[4].trunk"
            ]
        );
    }

    #[test]
    fn names_are_for_next_hops_and_need_a_transport_that_can_be_spoken() {
        let mut config = Config::default();
        let sips = Some("sips:carrier.example".parse().unwrap());
        config.trunks.push(TrunkConfig { id: "t".into(), address: sips, ..TrunkConfig::default() });
        let tcp = Some("sip:carrier.example;transport=tcp".parse().unwrap());
        config.trunks.push(TrunkConfig { id: "u".into(), address: tcp, ..TrunkConfig::default() });
        let address = "sip:fs.example".parse().unwrap();
        config.nodes.push(NodeConfig { id: "n".into(), address, ..NodeConfig::default() });
        let found = problems(&config);
        let keys: Vec<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["edge.trunks[0].transports", "edge.trunks[1].transports", "edge.nodes[0].sources"]);
        let error = "carrier.example".parse::<Source>().unwrap_err();
        assert!(error.contains("not left to DNS"), "{error}");
    }

    #[test]
    fn all_mistakes_are_named_at_once() {
        let mut config = Config::default();
        config.listeners[0].bind = "0.0.0.0:5060".parse().unwrap();
        config.nodes.push(NodeConfig { id: "n".into(), weight: 0.0, ..NodeConfig::default() });
        config.routes.push(RouteConfig { prefix: String::new(), trunks: vec!["nobody".into()] });
        config.probe.timeout_ms = 5_000;
        let mut out = Vec::new();
        config.check("edge", &mut out);
        let keys: Vec<&str> = out.iter().map(|p| p.key.as_str()).collect();
        assert_eq!(
            keys,
            ["edge.listeners[0].advertise", "edge.nodes[0].weight", "edge.routes[0].trunks", "edge.probe"]
        );
        let mut out = Vec::new();
        Config::default().check("edge", &mut out);
        assert!(out.is_empty(), "{out:?}");
    }

    #[test]
    fn a_transport_that_no_listener_speaks_and_a_listener_that_does_not_fit_are_named() {
        let mut config = Config::default();
        config.nodes.push(NodeConfig { id: "n".into(), transports: vec![Transport::Tcp], ..NodeConfig::default() });
        config.nodes.push(NodeConfig { id: "m".into(), listener: Some("trunks".into()), ..NodeConfig::default() });
        config.nodes.push(NodeConfig { id: "o".into(), transports: vec![], ..NodeConfig::default() });
        // Only ever spoken to by connections of its own.
        let trunk = TrunkConfig { id: "t".into(), transports: vec![Transport::Tcp], ..TrunkConfig::default() };
        config.trunks.push(TrunkConfig { sources: vec!["192.0.2.1".parse().unwrap()], ..trunk });
        config.listeners[0].balancers = vec!["192.0.2.9".parse().unwrap()];
        config.streams.line_bytes = 1;
        let mut out = Vec::new();
        config.check("edge", &mut out);
        let mut keys: Vec<&str> = out.iter().map(|p| p.key.as_str()).collect();
        keys.sort_unstable();
        assert_eq!(
            keys,
            [
                "edge.listeners[0].balancers",
                "edge.nodes[0].transports",
                "edge.nodes[1].listener",
                "edge.nodes[2].transports",
                "edge.streams.line_bytes"
            ]
        );
    }
}
