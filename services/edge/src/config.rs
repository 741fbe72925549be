//! Settings of the edge, section `[edge]`. Everything that a call needs is in here or in the control topics; nothing is
//! looked up while a call is set up: next hops that are names are looked up beside the calls.

mod admission;
mod as_text;
mod bounds;
mod dial;
mod hot_state;
mod listener;
mod next_hop;
mod node;
mod operate;
pub mod policy;
mod pools;
mod source;
mod tls;
mod trunk;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use kit::admin::AdminConfig;
use kit::settings::{Check, Problem, join};
use serde::{Deserialize, Serialize};

pub use admission::AdmissionConfig;
pub(crate) use as_text::as_text;
pub use bounds::{DnsConfig, LimitConfig, StreamConfig, TimerConfig};
pub use dial::{DialConfig, DialRule, RangesFile};
pub use hot_state::{HotAdapter, HotStateConfig};
pub use listener::{Admit, ListenerConfig, Side, Transport};
pub use next_hop::{NextHop, SipName};
pub use node::{NodeConfig, ProbeConfig};
pub use operate::{DialledNumber, FirewallConfig, Ports};
pub use pools::{BreakerConfig, JoinConfig, JoinRule, NodeState, PoolConfig};
pub use source::Source;
pub use tls::{TlsConfig, TlsPeerConfig};
pub use trunk::{Late2xx, RouteConfig, TrunkConfig};

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
            if trunk.probe_s > 0 && trunk.address.is_none() {
                out.push(Problem::new(join(&at, "probe_s"), trunk.probe_s, "0, or an address that can be asked"));
            }
            if (1..5).contains(&trunk.probe_s) {
                out.push(Problem::new(join(&at, "probe_s"), trunk.probe_s, "0 (none) or 5 and more"));
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
        let mut prefixes = BTreeSet::new();
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
            if !prefixes.insert(RouteConfig::bare(&route.prefix)) {
                let key = join(at, &format!("routes[{i}].prefix"));
                out.push(Problem::new(
                    key,
                    &route.prefix,
                    "a prefix that no other route has, with or without its plus",
                ));
            }
            let named_twice = |at: usize| route.trunks[..at].contains(&route.trunks[at]);
            if let Some(at) = (0..route.trunks.len()).find(|&at| named_twice(at)) {
                out.push(Problem::new(&key, &route.trunks[at], "each trunk once"));
            }
            let shares = &route.shares;
            if !shares.is_empty() && (shares.len() != route.trunks.len() || shares.iter().all(|share| *share == 0)) {
                let key = join(at, &format!("routes[{i}].shares"));
                let one_each = format!("one number for each of the {} trunks, not all 0", route.trunks.len());
                out.push(Problem::new(key, format!("{shares:?}"), &one_each));
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
        config.routes.push(RouteConfig { trunks: vec!["nobody".into()], shares: vec![0], ..RouteConfig::default() });
        config.routes.push(RouteConfig { prefix: "+".into(), ..config.routes[0].clone() });
        config.probe.timeout_ms = 5_000;
        let mut out = Vec::new();
        config.check("edge", &mut out);
        let keys: Vec<&str> = out.iter().map(|p| p.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "edge.listeners[0].advertise",
                "edge.nodes[0].weight",
                "edge.routes[0].trunks",
                "edge.routes[0].shares",
                "edge.routes[1].trunks",
                "edge.routes[1].prefix",
                "edge.routes[1].shares",
                "edge.probe"
            ]
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
