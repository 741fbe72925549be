//! A small internet in virtual time: the machine in the middle, packets that are delivered at once, addresses that tests
//! speak for.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::Now;
use domain::identity::Keyring;
use edge::core::control::Control;
use edge::core::journal::{Journal, Memory, Owner, words_for};
use edge::core::{Action, Flow, Fresh, Hop, Input, Newcomer, Notice, Proxy, Setup};
use edge::{Config, NodeConfig, ProbeConfig, RouteConfig, TrunkConfig};
use schemas::{Event, NodeHealth, SipRejections, SipTransaction, grammar};

use super::text::{Dialog, Msg, SDP, invite};

pub const TRUNK_SIDE: u16 = 0;
pub const NODE_SIDE: u16 = 1;

pub fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub fn edge_trunk() -> SocketAddr {
    addr("192.0.2.1:5060")
}

pub fn edge_node() -> SocketAddr {
    addr("10.0.0.1:5070")
}

/// The trunk that calls.
pub fn t1() -> SocketAddr {
    addr("192.0.2.10:5060")
}

pub fn n1() -> SocketAddr {
    addr("10.0.0.11:5080")
}

pub fn n2() -> SocketAddr {
    addr("10.0.0.12:5080")
}

/// Carriers for calls from nodes.
pub fn c1() -> SocketAddr {
    addr("198.51.100.1:5060")
}

pub fn c2() -> SocketAddr {
    addr("198.51.100.2:5060")
}

pub fn keys() -> Keyring {
    Keyring::new(vec![("k1".into(), b"a-key-of-the-test-with-32-bytes-!!".to_vec())]).unwrap()
}

pub fn config() -> Config {
    let trunk = |id: &str, address: SocketAddr| TrunkConfig {
        id: id.into(),
        sources: vec![address.ip().to_string().parse().unwrap()],
        address: Some(address.into()),
        account: Some(format!("account-{id}")),
        ..TrunkConfig::default()
    };
    let node =
        |id: &str, address: SocketAddr| NodeConfig { id: id.into(), address: address.into(), ..NodeConfig::default() };
    Config {
        trunks: vec![trunk("t1", t1()), trunk("t2", addr("192.0.2.20:5060")), trunk("c1", c1()), trunk("c2", c2())],
        nodes: vec![node("n1", n1()), node("n2", n2())],
        routes: vec![RouteConfig { trunks: vec!["c1".into(), "c2".into()], ..RouteConfig::default() }],
        probe: ProbeConfig { enabled: false, ..ProbeConfig::default() },
        ..Config::default()
    }
}

pub struct World {
    pub proxy: Proxy,
    pub now: Now,
    pub events: Vec<SipTransaction>,
    pub health: Vec<NodeHealth>,
    pub rejections: Vec<SipRejections>,
    /// What left the edge and was not looked at yet.
    pub wire: VecDeque<(Hop, Msg)>,
    pub sent: usize,
    /// The first packets that left, byte for byte.
    pub raw: Vec<(SocketAddr, Vec<u8>)>,
    /// Connections that the edge let go.
    pub closed: Vec<Flow>,
    /// Nodes that announced themselves, and that went again.
    pub newcomers: Vec<Newcomer>,
    pub departed: Vec<String>,
    /// What it wants somebody to read.
    pub notices: Vec<Notice>,
    memory: Option<Arc<[AtomicU64]>>,
    config: Config,
    bound: Vec<SocketAddr>,
    lives: u8,
}

const OWNER: Owner<'static> = Owner { instance: "test", boot: "boot" };

fn setup(config: &Config, bound: &[SocketAddr], now: Now, journal: Journal, lives: u8) -> Setup {
    let mut entropy = *b"not random at all, for the tests";
    entropy[0] ^= lives;
    Setup {
        config: config.clone(),
        bound: bound.to_vec(),
        keys: Arc::new(keys()),
        entropy,
        now,
        journal,
        names: Arc::default(),
    }
}

impl World {
    pub fn new() -> World {
        World::with(config())
    }

    pub fn with(config: Config) -> World {
        World::bound(config, vec![edge_trunk(), edge_node()])
    }

    /// With the addresses of its listeners.
    pub fn bound(config: Config, bound: Vec<SocketAddr>) -> World {
        World::started_at(Now { wall_us: 1_764_000_000_000_000, mono_us: 5_000_000 }, config, bound)
    }

    pub fn started_at(now: Now, config: Config, bound: Vec<SocketAddr>) -> World {
        World::start(config, bound, now, Journal::none(), None)
    }

    /// With a journal of that size, for `restart`.
    pub fn journaled(config: Config, bytes: usize) -> World {
        World::journaled_at(config, vec![edge_trunk(), edge_node()], bytes)
    }

    pub fn journaled_at(config: Config, bound: Vec<SocketAddr>, bytes: usize) -> World {
        let now = Now { wall_us: 1_764_000_000_000_000, mono_us: 5_000_000 };
        let memory: Arc<[AtomicU64]> = (0..words_for(bytes)).map(|_| AtomicU64::new(0)).collect();
        let journal = Journal::fresh(Box::new(Arc::clone(&memory)), OWNER, [7; 32]);
        World::start(config, bound, now, journal, Some(memory))
    }

    fn start(
        config: Config,
        bound: Vec<SocketAddr>,
        now: Now,
        journal: Journal,
        memory: Option<Arc<[AtomicU64]>>,
    ) -> World {
        let mut world = World {
            proxy: Proxy::new(setup(&config, &bound, now, journal, 0)),
            memory,
            config,
            bound,
            lives: 1,
            now,
            events: Vec::new(),
            health: Vec::new(),
            rejections: Vec::new(),
            wire: VecDeque::new(),
            sent: 0,
            raw: Vec::new(),
            closed: Vec::new(),
            newcomers: Vec::new(),
            departed: Vec::new(),
            notices: Vec::new(),
        };
        world.collect();
        world
    }

    /// `kill -9` and a new life, that much later. Whatever the dead one decided and did not hand out is gone.
    pub fn restart(&mut self, away: Duration) {
        self.now = self.now.plus(away);
        let memory = Arc::clone(self.memory.as_ref().expect("a world with a journal"));
        // What the dead one would still write must not reach the memory: the new life works on a copy.
        let copy: Arc<[AtomicU64]> = memory.words().iter().map(|w| AtomicU64::new(w.load(Ordering::Relaxed))).collect();
        let journal = Journal::resume(Box::new(Arc::clone(&copy)), OWNER).unwrap();
        self.memory = Some(copy);
        self.proxy = Proxy::new(setup(&self.config, &self.bound, self.now, journal, self.lives));
        self.lives += 1;
        self.collect();
        self.give(Input::Timer);
    }

    /// Handles a packet and dies before anything of it was performed.
    pub fn decide_and_die(&mut self, from: SocketAddr, m: &Msg) {
        let listener = if from.ip().to_string().starts_with("10.") { NODE_SIDE } else { TRUNK_SIDE };
        let bytes = m.bytes();
        self.proxy.handle(self.now, Input::Datagram { hop: Hop::to(listener, from), bytes: &bytes });
        self.restart(Duration::from_millis(300));
    }

    fn collect(&mut self) {
        while let Some(action) = self.proxy.poll() {
            match action {
                Action::Send { hop, bytes } => {
                    self.sent += 1;
                    if self.raw.len() < 1_024 {
                        self.raw.push((hop.addr, bytes.to_vec()));
                    }
                    if bytes.as_ref() != b"\r\n\r\n" {
                        self.wire.push_back((hop, Msg::parse(&bytes)));
                    }
                }
                Action::CloseFlow { flow } => self.closed.push(flow),
                Action::Transaction(event) => {
                    event.check().unwrap_or_else(|e| panic!("{e}: {event:#?}"));
                    let _ = schemas::Encoder::<SipTransaction>::new().encode(&event).expect("fits its schema");
                    self.events.push(*event);
                }
                Action::Rejections(event) => {
                    event.check().unwrap();
                    self.rejections.push(*event);
                }
                Action::Notice(notice) => self.notices.push(*notice),
                Action::Health(event) => {
                    event.check().unwrap();
                    self.health.push(*event);
                }
                Action::Announced(newcomer) => self.newcomers.push(*newcomer),
                Action::Departed(id) => self.departed.push(id),
            }
        }
    }

    pub fn give(&mut self, input: Input<'_>) {
        self.proxy.handle(self.now, input);
        self.collect();
    }

    /// A packet from an address to the listener of its side.
    pub fn send(&mut self, from: SocketAddr, m: &Msg) {
        self.send_raw(from, &m.bytes());
    }

    pub fn send_raw(&mut self, from: SocketAddr, bytes: &[u8]) {
        let listener = if from.ip().to_string().starts_with("10.") { NODE_SIDE } else { TRUNK_SIDE };
        self.give(Input::Datagram { hop: Hop::to(listener, from), bytes });
    }

    /// Lets time pass, timer by timer.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now.plus(span);
        while let Some(at) = self.proxy.deadline().filter(|&at| at <= end.mono_us) {
            let step = at.saturating_sub(self.now.mono_us);
            self.now = self.now.plus_us(step);
            self.give(Input::Timer);
        }
        self.now = end;
    }

    pub fn pass_ms(&mut self, ms: u64) {
        self.pass(Duration::from_millis(ms));
    }

    /// The next packet for an address; panics when there is none.
    pub fn take(&mut self, to: SocketAddr) -> Msg {
        let at = self.wire.iter().position(|(hop, _)| hop.addr == to);
        let at = at.unwrap_or_else(|| panic!("nothing for {to}; on the wire: {:#?}", self.wire));
        self.wire.remove(at).unwrap().1
    }

    /// The same, and it must be this.
    pub fn expect(&mut self, to: SocketAddr, method: &str, status: u16) -> Msg {
        let m = self.take(to);
        assert!(m.is(method, status), "expected {method} {status} for {to}, got {m:#?}");
        m
    }

    #[track_caller]
    pub fn quiet(&self) {
        assert!(self.wire.is_empty(), "nothing more was expected: {:#?}", self.wire);
    }

    pub fn control(&mut self, control: Control) {
        self.give(Input::Control(Arc::new(control)));
    }

    /// Other settings, as a reload brings them.
    pub fn settings(&mut self, change: impl FnOnce(&mut Config)) {
        change(&mut self.config);
        let fresh = Fresh::after(self.proxy.topology(), self.config.clone(), self.now.mono_us);
        self.give(Input::Settings(Box::new(fresh)));
    }

    /// Which node got the INVITE that is on the wire.
    pub fn chosen(&self) -> SocketAddr {
        self.wire.iter().find(|(_, m)| m.is("INVITE", 0)).expect("an INVITE on the wire").0.addr
    }

    pub fn types(&self) -> Vec<&str> {
        self.events.iter().map(|e| e.event_type.as_str()).collect()
    }

    pub fn event(&self, event_type: &str) -> &SipTransaction {
        let found = self.events.iter().find(|e| e.event_type == event_type);
        found.unwrap_or_else(|| panic!("no {event_type} in {:?}", self.types()))
    }

    /// All stories are told to their end.
    #[track_caller]
    pub fn books(&self) {
        if let Err(fault) = grammar::check(&self.events) {
            panic!("{fault}\n{:#?}", self.types());
        }
    }

    /// Everything is forgotten again.
    pub fn drained(&mut self) {
        self.pass(Duration::from_secs(200));
        let s = self.proxy.snapshot(self.now.wall_us);
        assert_eq!((s.transactions, s.setting_up), (0, 0));
        assert!(s.nodes.iter().all(|n| n.calls_now == s.dialogs as i64 || s.dialogs > 0), "{s:#?}");
        self.books();
    }

    /// A call from the trunk, answered by a node: caller's and callee's dialogs, and the node.
    pub fn answered(&mut self, call: &str) -> (Dialog, Dialog, SocketAddr) {
        self.send(t1(), &invite(t1(), edge_trunk(), call, "+4930123456", 1));
        self.expect(t1(), "INVITE", 100);
        let node = self.chosen();
        let offered = self.take(node);
        let mut ok = offered.reply(200, "OK", &format!("b{call}")).with("Contact", &format!("<sip:node@{node}>"));
        ok = ok.with("Content-Type", "application/sdp");
        ok.body = SDP.to_owned();
        self.send(node, &ok);
        let answer = self.expect(t1(), "INVITE", 200);
        let mut caller = Dialog::caller(t1(), &answer);
        let callee = Dialog::callee(node, &offered, &ok);
        let ack = caller.request("ACK");
        self.send(t1(), &ack);
        self.expect(node, "ACK", 0);
        self.quiet();
        (caller, callee, node)
    }
}
