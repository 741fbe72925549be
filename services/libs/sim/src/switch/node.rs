//! The task that owns a switch: its channels, timers and listeners, and the order in which things happen to them.
//!
//! Work that one channel causes for another (a hangup that ends the other leg, a command that wakes a parked call) goes through
//! `ready`: the other channel is worked on when this one is done, never in the middle. So no function has to expect that its channel
//! vanished under it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::bus::{Bus, ConnId, Event};
use super::channel::{CallState, Channel, ChannelId, State};
use super::control::Conn;
use super::esl::{Input, Sockets};
use super::event::{Kind, place};
use super::inbound::Nonces;
use super::pulse::Pulse;
use super::schedule::Schedule;
use super::{Books, Order, Overload, SwitchConfig};
use crate::clock::Stamp;
use crate::rng::Rng;
use crate::sip::{ClientTx, Endpoint, Incoming, Message, ServerTx};
use crate::timers::Timers;

#[derive(Debug)]
pub(super) enum Timer {
    /// The wait `wait` of this channel is over.
    Channel {
        id: ChannelId,
        wait: u64,
    },
    /// The channel's next media frame: commands held back and ACKs not yet read are looked at.
    Frame {
        id: ChannelId,
    },
    /// The far end has rung long enough.
    RingTimeout {
        id: ChannelId,
    },
    /// RTP turned out to have another packet time.
    Ptime {
        id: ChannelId,
    },
    Heartbeat,
    Task {
        task: u64,
    },
    Linger {
        conn: ConnId,
    },
    /// An INVITE that an overloaded switch puts off; it may have been given up meanwhile.
    LateInvite {
        invite: Box<(ServerTx, Message, SocketAddr)>,
    },
}

pub(super) struct Node {
    pub config: SwitchConfig,
    pub books: Arc<Mutex<Books>>,
    pub sip: Endpoint,
    pub sockets: Sockets,
    pub bus: Bus,
    pub rng: Rng,
    pub timers: Timers<Timer>,
    pub channels: HashMap<ChannelId, Box<Channel>>,
    pub by_uuid: HashMap<Box<str>, ChannelId>,
    /// Our tags are random: one names its dialog.
    pub by_tag: HashMap<Box<str>, ChannelId>,
    pub by_server: HashMap<ServerTx, ChannelId>,
    pub by_client: HashMap<ClientTx, ChannelId>,
    /// INVITEs given up whose final answer has not come: a late 2xx must be acknowledged and ended.
    pub orphans: HashMap<ClientTx, Box<Message>>,
    /// INVITEs put off that nobody has given up.
    pub late: HashSet<ServerTx>,
    pub ready: VecDeque<ChannelId>,
    pub conns: HashMap<ConnId, Conn>,
    pub schedule: Schedule,
    pub pulse: Pulse,
    pub nonces: Nonces,
    pub originates: super::originate::Originates,
    pub globals: Vec<(String, String)>,
    pub overload: Overload,
    pub draining: bool,
    pub next_id: ChannelId,
    pub started: Instant,
    next_port: u16,
    hanging: bool,
}

impl Node {
    pub fn new(config: SwitchConfig, seed: u64, sip: Endpoint, sockets: Sockets, books: Arc<Mutex<Books>>) -> Self {
        let mut rng = Rng::new(seed).fork("switch");
        let core_uuid = uuid(&mut rng);
        books.lock().stats.core_uuid.clone_from(&core_uuid);
        let ip = sip.local().ip().to_string();
        let globals = vec![
            ("hostname".to_owned(), config.id.clone()),
            ("local_ip_v4".to_owned(), ip.clone()),
            ("switch_serial".to_owned(), "5254001a1b1f".to_owned()),
            ("core_uuid".to_owned(), core_uuid.clone()),
        ];
        Self {
            bus: Bus::new(core_uuid, &config.id, ip),
            books,
            sip,
            sockets,
            rng,
            timers: Timers::default(),
            channels: HashMap::new(),
            by_uuid: HashMap::new(),
            by_tag: HashMap::new(),
            by_server: HashMap::new(),
            by_client: HashMap::new(),
            orphans: HashMap::new(),
            late: HashSet::new(),
            ready: VecDeque::new(),
            conns: HashMap::new(),
            schedule: Schedule::default(),
            pulse: Pulse::default(),
            nonces: Nonces::default(),
            originates: HashMap::new(),
            globals,
            overload: Overload::Off,
            draining: false,
            next_id: 0,
            started: Instant::now(),
            next_port: 20_000,
            hanging: false,
            config,
        }
    }

    pub async fn run(mut self, mut orders: mpsc::Receiver<Order>, mut inbox: mpsc::Receiver<Input>) {
        self.timers.arm(Instant::now() + self.config.heartbeat, Timer::Heartbeat);
        loop {
            let deadline = self.timers.deadline().unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.order(order),
                    None => std::future::pending().await,
                },
                () = tokio::time::sleep_until(deadline.into()), if !self.hanging => {}
                event = self.sip.next(), if !self.hanging => self.sip_event(event),
                Some(input) = inbox.recv(), if !self.hanging => {
                    self.input(input);
                    // A burst of commands is worked off without a trip through the scheduler for each.
                    for _ in 0..64 {
                        self.work();
                        match inbox.try_recv() {
                            Ok(input) => self.input(input),
                            Err(_) => break,
                        }
                    }
                }
            }
            if !self.hanging {
                let now = Instant::now();
                while let Some(timer) = self.timers.due(now) {
                    self.timer(timer);
                    self.work();
                }
                self.work();
            }
        }
    }

    /// Works on every channel that something happened to, until all of them wait again.
    pub fn work(&mut self) {
        while let Some(id) = self.ready.pop_front() {
            self.advance(id);
        }
        while let Some(conn) = self.bus.overrun.pop() {
            self.close_overrun(conn);
        }
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Hang(on, done) => {
                self.hanging = on;
                // The one who asked may have stopped waiting.
                let _ = done.send(());
            }
            Order::Overload(mode) => self.overload = mode,
            Order::Drain(on) => self.draining = on,
            Order::Gateway(edge) => self.config.gateway_edge = Some(edge),
            Order::OutboundEsl(hosts) => {
                for (app, data) in self.config.dialplan.extensions.iter_mut().flat_map(|e| &mut e.actions) {
                    if *app == "socket" {
                        *data = format!("{hosts} async full");
                    }
                }
            }
            Order::IdleCpu(percent) => self.pulse.idle_override = percent,
            Order::HangupAll(cause) => {
                let cause = super::cause::parse(&cause).unwrap_or("MANAGER_REQUEST");
                self.hangup_where(cause, |_| true);
            }
        }
    }

    fn sip_event(&mut self, event: Incoming) {
        match event {
            Incoming::Request { tx, message, from } => self.request(tx, message, from),
            Incoming::Ack { tx, message, .. } => self.acknowledged(tx, &message),
            Incoming::Cancelled { tx, .. } => self.cancelled(tx),
            Incoming::AckTimeout { tx } => self.ack_timeout(tx),
            Incoming::Response { tx, message, from } => self.response(tx, message, from),
            Incoming::Timeout { tx, .. } => self.no_response(tx),
        }
    }

    fn timer(&mut self, timer: Timer) {
        match timer {
            Timer::Channel { id, wait } => {
                if self.channels.get(&id).is_some_and(|channel| channel.wait == wait) {
                    self.wait_over(id);
                }
            }
            Timer::Frame { id } => self.frame(id),
            Timer::RingTimeout { id } => self.ring_timeout(id),
            Timer::Ptime { id } => self.other_ptime(id),
            Timer::Heartbeat => self.heartbeat(),
            Timer::Task { task } => self.run_task(task),
            Timer::Linger { conn } => self.linger_over(conn),
            Timer::LateInvite { invite } => {
                let (tx, message, from) = *invite;
                if self.late.remove(&tx) {
                    self.new_call(tx, message, from);
                } else {
                    self.respond(tx, &message, 487);
                }
            }
        }
    }

    /// Arms the end of a new wait of this channel; earlier ones become stale.
    pub fn wait(&mut self, id: ChannelId, delay: Duration) {
        if let Some(channel) = self.channels.get_mut(&id) {
            let wait = channel.next_wait();
            // A prompt that loops for ever has no end to wait for.
            if delay < Duration::from_secs(86_400 * 365) {
                self.timers.arm(Instant::now() + delay, Timer::Channel { id, wait });
            }
        }
    }

    pub fn uuid(&mut self) -> String {
        uuid(&mut self.rng)
    }

    pub fn channel_by_uuid(&self, uuid: &str) -> Option<ChannelId> {
        self.by_uuid.get(uuid).copied()
    }

    pub fn is_up(&self, id: ChannelId) -> bool {
        self.channels.get(&id).is_some_and(|channel| channel.is_up())
    }

    /// Even ports of a range that nobody listens on: there is no media.
    pub fn rtp_port(&mut self) -> u16 {
        self.next_port = if self.next_port >= 32_000 { 20_000 } else { self.next_port + 2 };
        self.next_port
    }

    pub fn insert(&mut self, channel: Channel) -> ChannelId {
        let id = channel.id;
        self.by_uuid.insert(channel.uuid.clone(), id);
        self.channels.insert(id, Box::new(channel));
        self.pulse.session(self.channels.len());
        let stats = &mut self.books.lock().stats;
        stats.channels = self.channels.len() as u64;
        stats.peak_channels = stats.peak_channels.max(stats.channels);
        id
    }

    pub fn remove(&mut self, id: ChannelId) {
        if let Some(channel) = self.channels.remove(&id) {
            self.by_uuid.remove(&channel.uuid);
            self.by_tag.remove(&channel.sip.local_tag);
            if let Some(tx) = channel.sip.server {
                self.by_server.remove(&tx);
            }
            if let Some(tx) = channel.sip.client {
                self.by_client.remove(&tx);
            }
        }
        let stats = &mut self.books.lock().stats;
        stats.channels = self.channels.len() as u64;
        stats.events_lost = self.bus.lost;
    }

    /// Fires an event about a channel, without further headers.
    pub fn fire(&mut self, id: ChannelId, kind: Kind, place: super::event::Place) {
        if let Some(channel) = self.channels.get(&id) {
            self.bus.fire(Event::of(kind, place, channel));
        }
    }

    /// Enters a state and says so.
    pub fn enter(&mut self, id: ChannelId, state: State) {
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.state = state;
            channel.next_state = state;
            self.bus.fire(Event::of(Kind::ChannelState, place::STATE, channel));
        }
    }

    /// Changes the call state and says so, unless it is that already.
    pub fn call_state(&mut self, id: ChannelId, to: CallState) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        if channel.call_state == to {
            return;
        }
        let from = std::mem::replace(&mut channel.call_state, to);
        self.bus.fire(Event {
            head: &[("Original-Channel-Call-State", from.name()), ("Channel-Call-State-Number", to.number())],
            ..Event::of(Kind::ChannelCallstate, place::CALLSTATE, channel)
        });
    }

    pub fn wall_us(&self) -> i64 {
        Stamp::now().wall_us
    }
}

/// A random (version 4) UUID of this switch's own stream.
pub(super) fn uuid(rng: &mut Rng) -> String {
    let mut bytes = [0_u8; 16];
    bytes[..8].copy_from_slice(&rng.next_u64().to_be_bytes());
    bytes[8..].copy_from_slice(&rng.next_u64().to_be_bytes());
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

/// Tags as FreeSWITCH makes them: 13 letters and digits.
pub(super) fn tag(rng: &mut Rng) -> String {
    const LETTERS: &[u8; 54] = b"0123456789abcdefghjkmnpqrstvwxyzABCDEFGHJKLMNPQRSTUXYZ";
    (0..13).map(|_| char::from(LETTERS[usize::try_from(rng.below(LETTERS.len() as u64)).unwrap_or(0)])).collect()
}
