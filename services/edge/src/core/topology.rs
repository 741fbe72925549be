//! The settings as tables: who is allowed to speak, who may be spoken to, over which listener.

mod routes;
mod succession;
mod whose;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use sha2::{Digest, Sha256};

use super::Hop;
use super::admission::{Limits, Methods, Sources};
use super::control::Wanted;
use super::dispatch::{Algorithm, Failover, HashBy};
use super::names::heard::Heard;
use super::names::{Names, Target};
use super::policy::TrunkPolicy;
use crate::config::{Admit, Config, Late2xx, ListenerConfig, ProbeConfig, Side, SipName, Source, Transport};

pub use routes::{Carried, Route, Routes};

/// A trunk or a node, by its place in the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Peer {
    Trunk(usize),
    Node(usize),
}

impl Peer {
    #[must_use]
    pub fn side(self) -> Side {
        match self {
            Peer::Trunk(_) => Side::Trunk,
            Peer::Node(_) => Side::Node,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Listener {
    pub id: String,
    pub side: Side,
    pub transport: Transport,
    pub admit: Admit,
    /// Whose clients it has, when it does not go by addresses.
    pub trunk: Option<usize>,
    /// Of its id, for flow tokens.
    pub hash: u32,
    /// What peers know it by.
    pub address: SocketAddr,
    /// The same as text, for Via and Record-Route.
    pub host: String,
}

#[derive(Clone, Debug)]
pub struct Trunk {
    pub id: String,
    pub hash: u32,
    /// Of a name the best one at the moment.
    pub address: Option<SocketAddr>,
    /// By which it is reached, when not by an address.
    pub name: Option<SipName>,
    /// What the name stands for at the moment, as far as a listener speaks to it; best first.
    pub targets: Vec<Target>,
    pub transports: Vec<Transport>,
    /// The one that requests to it leave by, where its transport and family allow.
    pub listener: Option<usize>,
    pub pool: String,
    /// The place of that pool.
    pub pool_at: usize,
    pub limits: Limits,
    /// What a call above its limits is answered with.
    pub limit_status: u16,
    pub methods: Methods,
    /// By what it may send; empty: by anything.
    pub source_transports: Vec<Transport>,
    /// Who its certificate names; none: nobody in particular.
    pub source_subject: Option<String>,
    /// No rule blocks anything of it.
    pub pinned: bool,
    pub account: Option<String>,
    pub emergency: Vec<String>,
    pub policy: TrunkPolicy,
    pub late_2xx: Late2xx,
    /// Whether and how it is asked if it is there.
    pub probes: ProbeConfig,
    /// No longer in the settings since then: its open dialogs go on, nothing new does.
    pub gone: Option<u64>,
}

impl Trunk {
    #[must_use]
    pub fn is_known_by(&self, transport: Transport, subject: Option<&str>) -> bool {
        (self.source_transports.is_empty() || self.source_transports.contains(&transport))
            && self.source_subject.as_deref().is_none_or(|own| subject == Some(own))
    }
}

#[derive(Clone, Debug)]
pub struct Node {
    pub id: String,
    pub hash: u32,
    /// Unspecified while its name is not looked up, see [`Node::is_known`].
    pub address: SocketAddr,
    /// By which it is reached, when not by an address.
    pub name: Option<SipName>,
    pub transports: Vec<Transport>,
    pub listener: Option<usize>,
    pub pool: String,
    /// The place of that pool.
    pub pool_at: usize,
    pub weight: f64,
    pub priority: u8,
    /// Calls; 0 = not known.
    pub capacity: u32,
    pub state: Wanted,
    /// Hash of its id, for pools that choose by a key.
    pub key: u64,
    pub registrar: bool,
    /// Who goes on with its dialogs when it is lost.
    pub recovers_to: Option<usize>,
    /// No longer in the settings since then.
    pub gone: Option<u64>,
}

impl Node {
    /// Where it is, is known.
    #[must_use]
    pub fn is_known(&self) -> bool {
        !self.address.ip().is_unspecified()
    }

    #[must_use]
    pub fn is_in(&self, pool: &str) -> bool {
        self.gone.is_none() && (self.pool == pool || (self.registrar && pool == super::REGISTRAR))
    }
}

/// A pool of nodes and how it chooses.
#[derive(Clone, Debug)]
pub struct PoolSpec {
    pub id: String,
    pub algorithm: Algorithm,
    pub hash_by: HashBy,
    pub failover: Failover,
    pub slow_start_us: u64,
    pub panic_percent: u8,
    /// Places of its nodes, ascending.
    pub members: Vec<usize>,
}

#[derive(Clone, Debug)]
pub struct Topology {
    pub edge_id: String,
    pub listeners: Vec<Listener>,
    pub trunks: Vec<Trunk>,
    pub nodes: Vec<Node>,
    /// Every pool that a node, a trunk or a section names. Like trunks and nodes they keep their places.
    pub pools: Vec<PoolSpec>,
    pub routes: Routes,
    /// Pools of dialled numbers, by number and the trunk that it holds for.
    numbers: HashMap<String, Vec<(Option<String>, usize)>>,
    /// Digest of the settings, for events.
    pub digest: String,
    /// Whose an address is.
    allowed: Sources,
    /// The same as a list, for the question whether an address belongs to a peer.
    sources: Vec<(Source, Peer)>,
    /// What earlier settings had and these have not, since when: heard inside dialogs and as an answer only.
    left: Vec<(Source, Peer, u64)>,
    /// Where nodes may announce themselves from.
    joins: Vec<Source>,
    /// What the names stand for: whom we hear from the beginning is not left to DNS.
    heard: Heard,
}

/// A place is given away when its peer has been gone for so much longer than a call may last (s).
const GONE_S: u64 = 300;

const UNKNOWN: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

impl Topology {
    /// `bound` are the addresses that the listeners got, in the order of the settings.
    #[must_use]
    pub fn new(config: &Config, bound: &[SocketAddr]) -> Topology {
        let listener = |(l, &bound): (&ListenerConfig, &SocketAddr)| {
            let address = l.advertise.unwrap_or(bound);
            Listener {
                id: l.id.clone(),
                side: l.side,
                transport: l.transport,
                admit: l.admit,
                trunk: None,
                hash: domain::hash32(&l.id),
                address,
                host: address.to_string(),
            }
        };
        let empty = Topology {
            edge_id: config.id.clone(),
            listeners: config.listeners.iter().zip(bound).map(listener).collect(),
            trunks: Vec::new(),
            nodes: Vec::new(),
            pools: Vec::new(),
            routes: Routes::default(),
            numbers: HashMap::new(),
            digest: String::new(),
            allowed: Sources::default(),
            sources: Vec::new(),
            left: Vec::new(),
            joins: Vec::new(),
            heard: Heard::default(),
        };
        empty.succeed(config, 0)
    }

    /// No longer in the settings: heard inside dialogs and as an answer only.
    #[must_use]
    pub fn is_gone(&self, peer: Peer) -> bool {
        match peer {
            Peer::Trunk(t) => self.trunks[t].gone.is_some(),
            Peer::Node(n) => self.nodes[n].gone.is_some(),
        }
    }

    /// The pool of the nodes that keep registrations.
    #[must_use]
    pub fn registrar_pool(&self) -> usize {
        self.pools.iter().position(|p| p.id == super::REGISTRAR).expect("every topology has this pool")
    }

    fn admit(&mut self, source: Source, peer: Peer) {
        self.sources.push((source, peer));
        self.allowed.insert(source, peer);
    }

    /// Other addresses behind the names. Those of before are heard until `keep_until`.
    pub fn take_names(&mut self, now_us: u64, keep_until: u64, names: &Names) {
        let mut found: Vec<(Peer, Vec<Target>)> = Vec::with_capacity(names.entries.len());
        for entry in &names.entries {
            let peer = match entry.side {
                Side::Trunk => self.trunks.iter().position(|t| t.id == entry.id && t.name.is_some()).map(Peer::Trunk),
                Side::Node => self.nodes.iter().position(|n| n.id == entry.id && n.name.is_some()).map(Peer::Node),
            };
            let Some(peer) = peer else { continue };
            let speaks = |t: &&Target| self.hop_by(peer, t.address, t.transport).is_some();
            found.push((peer, entry.targets.iter().filter(speaks).copied().collect()));
        }
        self.heard.take(now_us, keep_until, found.iter().flat_map(|(peer, all)| all.iter().map(|t| (*peer, t))));
        for (peer, targets) in found {
            let best = targets.first().map(|target| target.address);
            match peer {
                Peer::Trunk(t) => {
                    self.trunks[t].address = best;
                    self.trunks[t].targets = targets;
                }
                // A node is one process: of several addresses it has the best one.
                Peer::Node(n) => self.nodes[n].address = best.unwrap_or(UNKNOWN),
            }
        }
    }

    /// The way to a peer's address: over its own listener, else the first of its side that speaks its transport and family.
    #[must_use]
    pub fn hop_to(&self, peer: Peer, to: SocketAddr) -> Hop {
        // What DNS says about an address holds for that address.
        let by_name = self.heard.transport(peer, to);
        let transport = by_name.or_else(|| self.transports_of(peer).first().copied()).unwrap_or_default();
        self.hop_by(peer, to, transport).unwrap_or_else(|| {
            // `check` refuses such settings; without it, better by something than by nothing.
            let place = self.listeners.iter().position(|l| l.side == peer.side()).unwrap_or(0);
            Hop::to(place as u16, to)
        })
    }

    /// The same by that transport, if a listener speaks it.
    #[must_use]
    pub fn hop_by(&self, peer: Peer, to: SocketAddr, transport: Transport) -> Option<Hop> {
        let own = match peer {
            Peer::Trunk(i) => self.trunks[i].listener,
            Peer::Node(i) => self.nodes[i].listener,
        };
        let fits = |&place: &usize| self.fits(place, peer.side(), to, transport);
        let place = own.filter(fits).or_else(|| (0..self.listeners.len()).find(fits))?;
        Some(Hop::to(place as u16, to))
    }

    /// Whether a listener can speak to that address of a peer of that side by that transport.
    #[must_use]
    pub fn fits(&self, place: usize, side: Side, to: SocketAddr, transport: Transport) -> bool {
        self.listeners.get(place).is_some_and(|l| {
            let is_v4 = |ip: IpAddr| ip.to_canonical().is_ipv4();
            l.side == side && l.transport == transport && is_v4(l.address.ip()) == is_v4(to.ip())
        })
    }

    /// What a peer is spoken to by, the preferred one first.
    #[must_use]
    pub fn transports_of(&self, peer: Peer) -> &[Transport] {
        match peer {
            Peer::Trunk(i) => &self.trunks[i].transports,
            Peer::Node(i) => &self.nodes[i].transports,
        }
    }

    #[must_use]
    pub fn listener(&self, hop: Hop) -> &Listener {
        &self.listeners[hop.place()]
    }

    /// The value of our Via in a message that takes that way.
    #[must_use]
    pub fn via(&self, hop: Hop, branch: &str) -> String {
        let listener = self.listener(hop);
        format!("SIP/2.0/{} {};branch={branch}", listener.transport.as_via(), listener.host)
    }

    /// Whether an address is of the node side: a node's, or one of ours that trunks have no business with.
    #[must_use]
    pub fn is_inner(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let own = |side| self.listeners.iter().filter(move |l: &&Listener| l.side == side);
        let is_nodes = || {
            self.nodes.iter().any(|n| n.address.ip().to_canonical() == ip)
                || own(Side::Node).any(|l| l.address.ip().to_canonical() == ip)
        };
        !own(Side::Trunk).any(|l| l.address == address) && is_nodes()
    }

    /// A URI that leads to us over that listener, for a node or client on its side.
    #[must_use]
    pub fn uri_at(&self, hop: Hop, user: &str) -> String {
        let listener = self.listener(hop);
        format!("sip:{user}@{}{};lr", listener.host, listener.transport.as_uri_param())
    }

    /// Whether any node keeps registrations.
    #[must_use]
    pub fn has_registrar(&self) -> bool {
        self.nodes.iter().any(|n| n.is_in(super::REGISTRAR))
    }

    /// Whether a host and port in a Route are one of our own.
    #[must_use]
    pub fn is_own(&self, address: SocketAddr) -> bool {
        self.listeners.iter().any(|l| l.address == address)
    }

    #[must_use]
    pub fn id_of(&self, peer: Peer) -> &str {
        match peer {
            Peer::Trunk(i) => &self.trunks[i].id,
            Peer::Node(i) => &self.nodes[i].id,
        }
    }

    #[must_use]
    pub fn hash_of(&self, peer: Peer) -> u32 {
        match peer {
            Peer::Trunk(i) => self.trunks[i].hash,
            Peer::Node(i) => self.nodes[i].hash,
        }
    }

    #[must_use]
    pub fn trunk_by_hash(&self, hash: u32) -> Option<usize> {
        self.trunks.iter().position(|t| t.hash == hash)
    }

    #[must_use]
    pub fn node_by_hash(&self, hash: u32) -> Option<usize> {
        self.nodes.iter().position(|n| n.hash == hash)
    }

    /// The pool for a call of a trunk: that of the dialled number, else the trunk's.
    #[must_use]
    pub fn pool(&self, trunk: usize, dialled: &str, e164: Option<&str>) -> usize {
        let trunk = &self.trunks[trunk];
        if self.numbers.is_empty() {
            return trunk.pool_at;
        }
        let of = |number: &str| {
            let pools = self.numbers.get(number)?;
            let own = pools.iter().find(|(of, _)| of.as_ref() == Some(&trunk.id));
            own.or_else(|| pools.iter().find(|(of, _)| of.is_none())).map(|(_, pool)| *pool)
        };
        e164.and_then(of).or_else(|| of(dialled)).unwrap_or(trunk.pool_at)
    }

    /// Whether no rule may touch a call of that trunk to what was dialled.
    #[must_use]
    pub fn spares(&self, trunk: &str, dialled: &str) -> bool {
        self.trunks.iter().any(|t| {
            t.id == trunk && t.gone.is_none() && (t.pinned || t.emergency.iter().any(|number| number == dialled))
        })
    }
}

fn numbers(config: &Config, pool: impl Fn(&String) -> usize) -> HashMap<String, Vec<(Option<String>, usize)>> {
    let mut numbers: HashMap<String, Vec<(Option<String>, usize)>> = HashMap::new();
    for n in &config.numbers {
        numbers.entry(n.number.clone()).or_default().push((n.trunk.clone(), pool(&n.pool)));
    }
    numbers
}

fn digest(config: &Config) -> String {
    let text = serde_json::to_vec(config).unwrap_or_default();
    domain::hex(&Sha256::digest(text)[..4])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{NodeConfig, RouteConfig, TrunkConfig};

    fn config() -> Config {
        let trunk = |id: &str, sources: &[&str]| TrunkConfig {
            id: id.into(),
            sources: sources.iter().map(|s| s.parse().unwrap()).collect(),
            address: "192.0.2.1:5060".parse().ok(),
            ..TrunkConfig::default()
        };
        Config {
            trunks: vec![
                trunk("wide", &["192.0.0.0/16"]),
                trunk("narrow", &["192.0.2.0/24"]),
                trunk("port", &["192.0.2.7:6000"]),
            ],
            nodes: vec![NodeConfig {
                id: "n1".into(),
                address: "10.0.0.1:5080".parse().unwrap(),
                ..NodeConfig::default()
            }],
            routes: vec![
                RouteConfig { trunks: vec!["wide".into()], ..RouteConfig::default() },
                RouteConfig { prefix: "+49".into(), trunks: vec!["narrow".into()], ..RouteConfig::default() },
            ],
            ..Config::default()
        }
    }

    #[test]
    fn the_most_specific_source_names_the_trunk_and_sides_do_not_mix() {
        let t = Topology::new(&config(), &["127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap()]);
        let who = |side, addr: &str| t.classify(side, addr.parse().unwrap()).map(|p| t.id_of(p).to_owned());
        assert_eq!(who(Side::Trunk, "192.0.9.9:5060").as_deref(), Some("wide"));
        assert_eq!(who(Side::Trunk, "192.0.2.7:5060").as_deref(), Some("narrow"));
        assert_eq!(who(Side::Trunk, "192.0.2.7:6000").as_deref(), Some("port"));
        assert_eq!(who(Side::Trunk, "10.0.0.1:5080"), None, "a node does not speak on the trunk side");
        assert_eq!(who(Side::Node, "10.0.0.1:5080").as_deref(), Some("n1"));
        assert_eq!(who(Side::Node, "10.0.0.1:5081"), None);
        assert_eq!(who(Side::Trunk, "203.0.113.1:5060"), None);
    }

    #[test]
    fn a_dialled_number_goes_to_its_own_pool_and_a_trunk_may_have_its_own_word() {
        let mut config = config();
        let number = |number: &str, trunk: Option<&str>, pool: &str| crate::config::DialledNumber {
            number: number.into(),
            trunk: trunk.map(str::to_owned),
            pool: pool.into(),
        };
        for (i, pool) in ["sales", "vip", "lab"].into_iter().enumerate() {
            let address = format!("10.0.1.{i}:5080").parse().unwrap();
            config.nodes.push(NodeConfig { id: pool.into(), address, pool: pool.into(), ..NodeConfig::default() });
        }
        config.numbers =
            vec![number("+49301", None, "sales"), number("+49301", Some("narrow"), "vip"), number("42", None, "lab")];
        let t = Topology::new(&config, &["127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap()]);
        let pool = |trunk, dialled, e164| t.pools[t.pool(trunk, dialled, e164)].id.as_str();
        assert_eq!(pool(0, "030 1", Some("+49301")), "sales");
        assert_eq!(pool(1, "+49301", None), "vip");
        assert_eq!((pool(0, "42", Some("+4942")), pool(0, "43", None)), ("lab", "inbound"));
    }

    #[test]
    fn the_longest_prefix_routes_with_or_without_the_plus() {
        let t = Topology::new(&config(), &["127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap()]);
        let prefix = |number| &t.routes[t.routes.of(number).unwrap()].prefix;
        assert_eq!(prefix("+49301234"), "+49");
        assert_eq!(prefix("49301234"), "+49");
        assert_eq!(prefix("00331234"), "");
    }

    fn succeeded(before: &Topology, change: impl FnOnce(&mut Config), now: u64) -> Topology {
        let mut config = config();
        change(&mut config);
        before.succeed(&config, now)
    }

    #[test]
    fn who_stays_keeps_its_place_and_who_left_is_heard_to_the_end() {
        let first = Topology::new(&config(), &["127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap()]);
        let node = |id: &str, address: &str| NodeConfig {
            id: id.into(),
            address: address.parse().unwrap(),
            ..NodeConfig::default()
        };
        let second = succeeded(
            &first,
            |c| {
                c.trunks.remove(1);
                c.routes.pop();
                c.nodes = vec![node("n2", "10.0.0.2:5080"), node("n1", "10.0.0.1:5080")];
            },
            5_000_000,
        );
        let ids: Vec<&str> = second.nodes.iter().map(|n| n.id.as_str()).collect();
        assert_eq!(ids, ["n1", "n2"]);
        assert_eq!(second.trunks[1].gone, Some(5_000_000));
        let who = |t: &Topology, from: &str| t.classify(Side::Trunk, from.parse().unwrap());
        assert_eq!(who(&second, "192.0.2.7:5060"), Some(Peer::Trunk(0)), "the wider one has it now");
        assert!(second.owns(Peer::Trunk(1), "192.0.2.9:5060".parse().unwrap()), "but its dialogs go on");
        assert_eq!(second.pools[second.trunks[0].pool_at].members, [0, 1]);
        let third = succeeded(&second, |c| c.trunks[0].sources.clear(), 6_000_000);
        assert!(third.trunks[1].gone.is_none() && third.nodes[1].gone == Some(6_000_000));
        assert_eq!(third.classify(Side::Node, "10.0.0.2:5080".parse().unwrap()), Some(Peer::Node(1)));
        assert!(third.is_gone(Peer::Node(1)) && !third.pools.iter().any(|p| p.members.contains(&1)));
        // Long after its last call another node gets its place; not before.
        for (later, places) in [(4 * 3_600 * 1_000_000, 3), (5 * 3_600 * 1_000_000, 2)] {
            let next = succeeded(&third, |c| c.nodes.push(node("n3", "10.0.0.3:5080")), later);
            assert_eq!(next.nodes.len(), places);
            assert!(next.nodes.iter().any(|n| n.id == "n3" && n.gone.is_none()));
        }
    }
}
