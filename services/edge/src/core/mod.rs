//! The proxy as a pure machine: one shard that owns all its state by value.
//!
//! `handle(now, input)`, then `poll()` until it gives nothing, then `handle(now, Timer)` at `deadline()`. It reads no clock
//! and touches no socket; everything that it wants done comes out as an [`Action`], in the order in which it must happen.
//!
//! Invariants: at most one final response per server transaction; per initial INVITE either one `refused`, or `attempt`s
//! followed by exactly one `answered` or `final`; after `answered` exactly one `ended` or `lost`; nothing is ever sent in
//! answer to a source that is neither trunk nor node.

pub mod admission;
pub mod book;
pub mod control;
mod dialog;
pub mod dispatch;
mod flow;
mod house;
pub mod journal;
pub mod names;
mod nodes;
mod passing;
pub mod policy;
mod proof;
mod receive;
mod reload;
mod requests;
mod resume;
mod set_up;
mod slab;
pub mod telling;
mod timers;
mod topology;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use domain::Now;
use domain::identity::Keyring;
use schemas::{NodeHealth, SipRejections, SipTransaction};
use sip::transaction::Timers as SipTimers;
use sip::{Index, Reject};

pub use admission::Knock;
pub use dialog::list::{DialogFilter, DialogPage, DialogView};
pub use flow::hop::{Flow, FlowIdentity, Hop};
pub use nodes::announce::Newcomer;
pub use nodes::lost::NodeNews;
pub use nodes::watch::News;
pub use reload::Fresh;
pub use requests::register::POOL as REGISTRAR;
pub use telling::snapshot::{BlockSnapshot, Counters, NodeSnapshot, Snapshot, TrunkSnapshot, blocks};
pub use topology::{Peer, Topology};

use crate::config::Config;
use admission::{Admission, Knocked, TrunkState};
use control::Control;
use dialog::dialogs::Dialogs;
use dispatch::{Carrier, Health, Pool, Sharing, Standing};
use flow::flows::Flows;
use flow::registered::Registered;
use flow::users::{User, Users, Way};
use journal::Journal;
use names::Names;
use names::shunned::Shunned;
use nodes::lost::Losing;
use nodes::watch::Watch;
use policy::KeepAlives;
use proof::branch::BranchKey;
use proof::hash::{KeyedMap, Random, Seed};
use requests::relay::Relay;
use set_up::challenge::Challenges;
use set_up::invite::Invite;
use slab::{Slab, Slot};
use telling::facts::Digests;
use timers::{Armed, Owner, Timers};

#[derive(Debug)]
pub enum Input<'a> {
    Datagram {
        hop: Hop,
        bytes: &'a [u8],
    },
    /// One whole message of a stream.
    Message {
        hop: Hop,
        identity: Option<&'a FlowIdentity>,
        bytes: &'a [u8],
    },
    /// The head of a message that left it uncertain where on its stream the next one begins ([`sip::framing::Frame::Broken`]).
    /// It gets its answer, and behind that the connection is closed.
    Broken {
        hop: Hop,
        identity: Option<&'a FlowIdentity>,
        head: &'a [u8],
        reject: Reject,
    },
    /// That connection is gone; its number never comes back.
    FlowClosed {
        flow: Flow,
    },
    /// A connection of ours to that address could not be made, or (`stood`) ended: what was sent by it and not answered is lost.
    NoConnection {
        hop: Hop,
        stood: bool,
    },
    /// Nothing came or went by that connection for the idle time: may it go?
    FlowIdle {
        flow: Flow,
    },
    /// A connection that was closed before one byte was read.
    Refused {
        hop: Hop,
        reason: &'static str,
    },
    /// The system says that nobody listens there.
    Unreachable {
        to: SocketAddr,
    },
    Timer,
    Control(Arc<Control>),
    /// Other settings, checked and with their tables.
    Settings(Box<Fresh>),
    /// What an engine says about a node.
    Node(NodeNews),
    /// What DNS says about the next hops that are names.
    Names(Arc<Names>),
    /// What the edges that share the limits of trunks use of them.
    Shared(Arc<admission::Told>),
    /// Take no new calls.
    Drain,
    /// Take them again.
    Undrain,
}

#[derive(Debug)]
pub enum Action {
    Send {
        hop: Hop,
        bytes: Bytes,
    },
    /// Nobody needs that connection.
    CloseFlow {
        flow: Flow,
    },
    Transaction(Box<SipTransaction>),
    Rejections(Box<SipRejections>),
    Health(Box<NodeHealth>),
    /// Somebody on the node side wants to be a node. Whoever keeps the settings puts it in, at once when its rule took it.
    Announced(Box<Newcomer>),
    /// A node that came that way is silent, down and without calls: it may leave the settings.
    Departed(String),
    /// Somebody should read this.
    Notice(Box<Notice>),
}

/// For the log.
#[derive(Debug)]
pub enum Notice {
    /// A source that is neither trunk nor node.
    Knock(Knocked),
    /// More calls come by UDP from a trunk's address than it may make, and come twice like its own.
    Flood { trunk: String },
    /// A carrier is better or worse than it was.
    Carrier { trunk: String, before: &'static str, state: &'static str, reason: &'static str },
}

/// Where in a table a server transaction lives.
#[derive(Clone, Copy, Debug)]
enum ServerRef {
    Invite(Slot),
    Relay(Slot),
    /// Answered in an earlier life: its copies are absorbed.
    Absorbed,
}

/// Whose branch it is.
#[derive(Clone, Copy, Debug)]
enum ClientRef {
    Invite(Slot, usize),
    Relay(Slot),
    Probe(Peer),
}

/// A request's circumstances.
#[derive(Clone, Copy, Debug)]
struct Cx {
    now: Now,
    hop: Hop,
    /// Where its answers go.
    back: Hop,
    peer: Peer,
}

/// Times of the settings in microseconds.
#[derive(Clone, Copy, Debug)]
struct Times {
    sip: SipTimers,
    first_response_node: u64,
    first_response_trunk: u64,
    timer_c: u64,
    max_call: u64,
    weight_max_age: i64,
}

impl Times {
    fn new(config: &Config) -> Times {
        let timers = &config.timers;
        Times {
            sip: SipTimers { t1: timers.t1_ms * 1_000, ..SipTimers::STANDARD },
            first_response_node: timers.first_response_node_ms * 1_000,
            first_response_trunk: timers.first_response_trunk_ms * 1_000,
            timer_c: timers.timer_c_s * 1_000_000,
            max_call: timers.max_call_s * 1_000_000,
            weight_max_age: i64::try_from(timers.weight_max_age_s).unwrap_or(i64::MAX).saturating_mul(1_000_000),
        }
    }
}

/// What the machine is built from.
#[derive(Debug)]
pub struct Setup {
    pub config: Config,
    /// Addresses of the listeners as bound, in the order of the settings.
    pub bound: Vec<SocketAddr>,
    pub keys: Arc<Keyring>,
    /// From the system's random source; makes ids unique and table keys unguessable.
    pub entropy: [u8; 32],
    pub now: Now,
    /// What the life before left, and where this one writes for the next.
    pub journal: Journal,
    /// What the next hops that are names stood for then.
    pub names: Arc<Names>,
}

pub struct Proxy {
    topology: Topology,
    config: Config,
    times: Times,
    keys: Arc<Keyring>,
    seed: Seed,
    random: Random,
    /// Taken out while a message is worked on.
    index: Option<Box<Index>>,
    scratch: Option<Box<Index>>,
    invites: Slab<Box<Invite>>,
    relays: Slab<Box<Relay>>,
    servers: KeyedMap<u128, ServerRef>,
    clients: KeyedMap<BranchKey, ClientRef>,
    /// Initial INVITEs by (Call-ID, From-tag, CSeq): the same one by another way is a loop or a merged request.
    merged: KeyedMap<u128, Slot>,
    /// INVITEs without a final response.
    setting_up: usize,
    dialogs: Dialogs,
    flows: Flows,
    users: Users,
    challenges: Challenges,
    journal: Journal,
    watch: Watch,
    losing: Losing,
    /// Copies of INVITEs that were answered before the restart are absorbed until then.
    absorbed: VecDeque<(u64, u128)>,
    keep_alives: KeepAlives,
    registered: Registered,
    announced: dispatch::Announced,
    /// Of this process, in flow tokens: a connection's number is worth nothing in another one.
    epoch: u32,
    timers: Timers,
    house: Armed,
    next_second: u64,
    next_summary: u64,
    control: Arc<Control>,
    pools: Vec<Pool>,
    names: Arc<Names>,
    shunned: Shunned,
    health: Vec<Health>,
    nodes: Vec<Standing>,
    /// By place, as the trunks: those that calls go to.
    carriers: Vec<Carrier>,
    /// By place of the route.
    sharing: Vec<Sharing>,
    trunks: Vec<TrunkState>,
    admission: Admission,
    digests: Digests,
    counters: Counters,
    draining: bool,
    started: u64,
    /// When it was last given anything.
    last: Now,
    out: VecDeque<Action>,
}

impl Proxy {
    #[must_use]
    pub fn new(setup: Setup) -> Proxy {
        let Setup { config, bound, keys, entropy, now, journal, names } = setup;
        let topology = Topology::new(&config, &bound);
        // Keys of transactions and our own To-tags stay what they were.
        let seed = Seed::new(journal.seed().unwrap_or(entropy));
        let mut half = [0; 16];
        half.copy_from_slice(&entropy[..16]);
        let trunk = |t: &topology::Trunk| TrunkState::new(&config.admission, t);
        let mut proxy = Proxy {
            times: Times::new(&config),
            keys,
            seed,
            random: Random::new(half),
            index: Some(Box::default()),
            scratch: Some(Box::default()),
            invites: Slab::default(),
            relays: Slab::default(),
            servers: KeyedMap::default(),
            clients: KeyedMap::default(),
            merged: KeyedMap::default(),
            setting_up: 0,
            dialogs: Dialogs::new(seed),
            flows: Flows::default(),
            users: Users::default(),
            challenges: Challenges::default(),
            journal,
            watch: Watch::new(topology.nodes.len()),
            losing: Losing::default(),
            absorbed: VecDeque::new(),
            keep_alives: flow::keep_alive::fixed(&topology, now),
            registered: Registered::default(),
            announced: dispatch::Announced::default(),
            epoch: seed.key(&[b"epoch", &now.wall_us.to_be_bytes(), &now.mono_us.to_be_bytes()]) as u32,
            timers: Timers::default(),
            house: Armed::default(),
            next_second: now.mono_us + 1_000_000,
            next_summary: now.mono_us + 5_000_000,
            control: Arc::new(Control::default()),
            pools: Vec::new(),
            names: Arc::clone(&names),
            shunned: Shunned::default(),
            health: topology.nodes.iter().map(|_| Health::new(now.mono_us, &config.probe)).collect(),
            nodes: topology.nodes.iter().map(|_| Standing::default()).collect(),
            carriers: topology.trunks.iter().map(|t| Carrier::new(now.mono_us, &t.probes)).collect(),
            sharing: topology.routes.iter().map(|_| Sharing::default()).collect(),
            trunks: topology.trunks.iter().map(trunk).collect(),
            admission: Admission::new(seed, &config),
            digests: Digests::default(),
            counters: Counters::default(),
            draining: false,
            started: now.mono_us,
            last: now,
            out: VecDeque::with_capacity(64),
            topology,
            config,
        };
        proxy.take_names(now, names);
        proxy.pools = proxy.topology.pools.iter().map(|spec| Pool::new(spec, proxy.random.next())).collect();
        proxy.refresh_wanted(now);
        for node in 0..proxy.nodes.len() {
            proxy.nodes[node].told = proxy.nodes[node].state(&proxy.health[node]);
        }
        proxy.watch_shares(now);
        proxy.resume(now);
        proxy.arm_house();
        proxy
    }

    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        self.last = now;
        match input {
            Input::Datagram { hop, bytes } => self.receive(now, hop, bytes, None),
            Input::Message { hop, identity, bytes } => {
                self.meet(hop, identity);
                self.receive(now, hop, bytes, None);
            }
            Input::Broken { hop, identity, head, reject } => {
                self.meet(hop, identity);
                self.receive(now, hop, head, Some(reject));
                self.out.extend(hop.flow.map(|flow| Action::CloseFlow { flow }));
            }
            Input::FlowClosed { flow } => {
                self.registered.close(flow);
                self.flow_closed(now, flow);
            }
            Input::NoConnection { hop, stood } => self.no_connection(now, hop, stood),
            Input::FlowIdle { flow } => self.flow_idle(flow),
            Input::Refused { hop, reason } => self.refused_unread(now, hop, 0, reason),
            Input::Unreachable { to } => self.unreachable(now, to),
            Input::Timer => {}
            Input::Control(control) => {
                self.control = control;
                self.refresh_wanted(now);
            }
            Input::Settings(fresh) => self.take_settings(now, *fresh),
            Input::Node(told) => self.node_news(now, told),
            Input::Names(names) => self.take_names(now, names),
            Input::Shared(told) => self.take_shares(now, &told),
            Input::Drain => self.draining = true,
            Input::Undrain => self.draining = false,
        }
        self.run_timers(now);
    }

    fn take_names(&mut self, now: Now, names: Arc<Names>) {
        self.topology.take_names(now.mono_us, now.mono_us + self.times.max_call, &names);
        self.keep_alives_of_names(now);
        self.names = names;
    }

    fn meet(&mut self, hop: Hop, identity: Option<&FlowIdentity>) {
        if let Some(flow) = hop.flow {
            self.flows.meet(flow, identity);
        }
    }

    /// What is to be done next, in order.
    pub fn poll(&mut self) -> Option<Action> {
        let action = self.out.pop_front();
        if action.is_none() {
            // Everything before was performed.
            self.journal.settle();
        }
        action
    }

    /// When [`Input::Timer`] is wanted.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        self.timers.next()
    }

    /// Nothing is left that a caller or callee waits for: no INVITE without a final response, no request on its way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.setting_up == 0 && !self.relays.slots().any(|s| self.relays.get(s).is_some_and(|r| r.finished.is_none()))
    }

    /// Ways over streams whose end some transaction waits to hear of.
    #[must_use]
    pub fn ways_in_use(&self) -> usize {
        self.users.len()
    }

    fn send(&mut self, hop: Hop, bytes: Bytes) {
        self.counters.packets_out += 1;
        self.out.push_back(Action::Send { hop, bytes });
    }

    fn run_timers(&mut self, now: Now) {
        // At most what is queued now: a wake-up that asks for itself again waits for the next turn.
        for _ in 0..self.timers.len() {
            let Some((owner, at)) = self.timers.pop(now.mono_us) else { return };
            match owner {
                Owner::House => {
                    if Timers::fired(&mut self.house, at) {
                        self.keep_house(now);
                        self.arm_house();
                    }
                }
                Owner::Invite(slot) => {
                    let Some(mut invite) = self.invites.take(slot) else { continue };
                    if Timers::fired(&mut invite.armed, at) {
                        self.tick_invite(now, slot, &mut invite);
                    }
                    self.put_invite(slot, invite);
                }
                Owner::Relay(slot) => {
                    let Some(mut relay) = self.relays.take(slot) else { continue };
                    if Timers::fired(&mut relay.armed, at) {
                        self.tick_relay(now, slot, &mut relay);
                    }
                    self.put_relay(slot, relay);
                }
            }
        }
    }

    /// Puts an INVITE back with its next wake-up, or forgets it when everything about it is over.
    fn put_invite(&mut self, slot: Slot, mut invite: Box<Invite>) {
        if invite.is_over() {
            self.journal.forget(&mut invite);
            self.invites.remove(slot);
            self.servers.remove(&invite.server_key);
            if let Some(key) = invite.merged_key
                && self.merged.get(&key) == Some(&slot)
            {
                self.merged.remove(&key);
            }
            for branch in &invite.branches {
                self.clients.remove(&branch.key);
            }
            self.users.forget(User::Invite(slot), &invite.ways);
            return;
        }
        self.journal.follow(&mut invite);
        self.note_ways(slot, &mut invite);
        let deadline = invite.deadline();
        self.timers.arm(&mut invite.armed, Owner::Invite(slot), deadline);
        self.invites.put(slot, invite);
    }

    /// The connections whose end it must hear of.
    fn note_ways(&mut self, slot: Slot, invite: &mut Invite) {
        let user = User::Invite(slot);
        if invite.hop.flow.is_some() {
            self.users.note(user, Way::of(invite.hop), &mut invite.ways);
        }
        for branch in &invite.branches {
            if self.topology.listener(branch.hop).transport.is_stream() {
                self.users.note(user, Way::of(branch.hop), &mut invite.ways);
            }
        }
    }

    fn is_stream(&self, hop: Hop) -> bool {
        self.topology.listener(hop).transport.is_stream()
    }

    fn put_relay(&mut self, slot: Slot, mut relay: Box<Relay>) {
        if relay.is_over() {
            self.relays.remove(slot);
            if let Some(server) = &relay.server {
                self.servers.remove(&server.key);
            }
            if let Some(client) = &relay.client {
                self.clients.remove(&client.key);
            }
            self.users.forget(User::Relay(slot), &relay.ways);
            return;
        }
        if let Some(hop) = relay.client.as_ref().map(|c| c.hop).filter(|&hop| self.is_stream(hop)) {
            self.users.note(User::Relay(slot), Way::of(hop), &mut relay.ways);
        }
        let deadline = relay.deadline();
        self.timers.arm(&mut relay.armed, Owner::Relay(slot), deadline);
        relay.rest();
        self.relays.put(slot, relay);
    }
}
