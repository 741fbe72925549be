//! The thread that owns the proxy: its sockets, its timer and its mailboxes. No runtime, only a loop around `ppoll`.
//!
//! One turn: sleep until packets, mail or the next timer; take a batch of packets and let the machine answer each; then send what
//! it wants sent, one batch per socket. A packet's events are published before anything that follows from it is sent, and the
//! packets of one socket leave in the order in which the machine wanted them. A batch is small, so that one caller's answer waits
//! for the work on few others. Nothing in here waits for anything but the sockets and the clock.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use domain::{Clock, Now};
use stream::Publisher;
use tokio::sync::{mpsc, watch};

use super::bell::Bell;
use super::datagrams::{BATCH, Inbox, Outbox};
use super::decisions::Notes;
use super::icmp;
use super::mail::{NodeWord, Update};
use super::streams::Port;
use super::wait::Waiting;
use crate::core::control::Control;
use crate::core::names::Names;
use crate::core::{Action, Hop, Input, Proxy, Snapshot};

/// Messages of connections that are taken before the packets and the clock get their turn.
const BURST: usize = 64;
/// Batches taken from one socket before the others and the clock get their turn.
const TURN: usize = 4;
/// A deadline may be missed by so much. The shortest timer of SIP is 500 ms; at 1,000 calls/s thousands of transactions end each second.
const SLICE_US: u64 = 5_000;
/// How often the outside sees a new picture, and the thread shows that it lives. It also looks for mail and for the end then.
const REFRESH_US: u64 = 100_000;

pub struct Shard {
    pub proxy: Proxy,
    /// By place in the settings; none for the listeners of streams.
    pub sockets: Vec<Option<UdpSocket>>,
    /// The connections, when a listener has any.
    pub streams: Option<Port>,
    pub publisher: Publisher,
    /// Where decisions are remembered.
    pub notes: Notes,
    /// Who takes nodes that came by themselves into the settings.
    pub desk: mpsc::Sender<NodeWord>,
    pub clock: Arc<dyn Clock>,
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// What is in force, for the admin pages.
    pub in_force: Arc<ArcSwap<Control>>,
    pub updates: mpsc::Receiver<Update>,
    /// What DNS says about next hops that are names. Nobody rings for it: it is looked at when the picture for the outside is
    /// drawn.
    pub names: watch::Receiver<Arc<Names>>,
    /// Rung by whoever puts something into a mailbox.
    pub bell: Bell,
    pub drain: Duration,
}

impl Shard {
    /// Runs until shutdown and the drain after it.
    pub fn run(self, task: &kit::Task) -> anyhow::Result<()> {
        let ways = Ways {
            outboxes: self.sockets.iter().map(|_| Outbox::new()).collect(),
            sockets: self.sockets,
            streams: self.streams,
            publisher: self.publisher,
            notes: self.notes,
            desk: self.desk,
        };
        Loop {
            proxy: self.proxy,
            ways,
            clock: self.clock,
            snapshot: self.snapshot,
            in_force: self.in_force,
            updates: self.updates,
            names: self.names,
            inbox: Inbox::new(),
            refused: Vec::new(),
            standing_since: None,
        }
        .work(task, &self.bell, self.drain)
        .context("waiting for packets")
    }
}

/// Where the machine's actions go.
struct Ways {
    sockets: Vec<Option<UdpSocket>>,
    outboxes: Vec<Outbox>,
    streams: Option<Port>,
    publisher: Publisher,
    notes: Notes,
    desk: mpsc::Sender<NodeWord>,
}

struct Loop {
    proxy: Proxy,
    ways: Ways,
    clock: Arc<dyn Clock>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    in_force: Arc<ArcSwap<Control>>,
    updates: mpsc::Receiver<Update>,
    names: watch::Receiver<Arc<Names>>,
    inbox: Inbox,
    refused: Vec<SocketAddr>,
    /// Since when the sockets were not seen empty.
    standing_since: Option<u64>,
}

impl Loop {
    fn work(mut self, task: &kit::Task, bell: &Bell, drain: Duration) -> io::Result<()> {
        let shutdown = task.shutdown();
        let listeners: Vec<usize> = (0..self.ways.sockets.len()).filter(|&l| self.ways.sockets[l].is_some()).collect();
        let mut waiting = Waiting::new();
        // The bell stands before the sockets.
        waiting.add(bell);
        self.ways.sockets.iter().flatten().for_each(|socket| waiting.add(socket));
        let (mut refresh_at, mut stop_by) = (0, None);
        loop {
            task.beat();
            let now = self.clock.now();
            if stop_by.is_none() && shutdown.is_cancelled() {
                stop_by = Some(now.mono_us + u64::try_from(drain.as_micros()).unwrap_or(u64::MAX));
                self.give(now, Input::Drain);
            }
            let ended = stop_by.is_some_and(|at| now.mono_us >= at || self.proxy.is_idle());
            if now.mono_us >= refresh_at || ended {
                refresh_at = now.mono_us + REFRESH_US;
                self.snapshot.store(Arc::new(self.proxy.snapshot(now.wall_us)));
                self.look_for_mail(bell);
            }
            if ended {
                return Ok(());
            }
            let wake_at = self.proxy.deadline().map_or(u64::MAX, later).min(refresh_at);
            waiting.wait(Duration::from_micros(wake_at.saturating_sub(now.mono_us)))?;
            let mut stands = false;
            for (at, &listener) in listeners.iter().enumerate() {
                let told = waiting.told(at + 1);
                if told.error {
                    self.take_refusals(listener);
                }
                if told.readable {
                    stands |= self.read(listener);
                }
            }
            if waiting.told(0).readable {
                self.look_for_mail(bell);
            }
            let now = self.clock.now();
            self.note_standing(now, stands);
            if self.proxy.deadline().is_some_and(|at| at <= now.mono_us) {
                self.give(now, Input::Timer);
            }
        }
    }

    fn give(&mut self, now: Now, input: Input<'_>) {
        self.proxy.handle(now, input);
        self.ways.perform(&mut self.proxy);
        self.ways.send(&mut self.proxy);
    }

    fn look_for_mail(&mut self, bell: &Bell) {
        bell.quiet();
        self.take_streams(bell);
        while let Ok(update) = self.updates.try_recv() {
            let (control, ack) = match update {
                Update::Control { control, ack } => (control, ack),
                Update::Shared(told) => {
                    self.give(self.clock.now(), Input::Shared(told));
                    continue;
                }
                Update::Nodes(news) => {
                    for told in news {
                        self.give(self.clock.now(), Input::Node(told));
                    }
                    continue;
                }
                Update::Settings(fresh) => {
                    self.give(self.clock.now(), Input::Settings(fresh));
                    continue;
                }
                Update::Drain(on) => {
                    self.give(self.clock.now(), if on { Input::Drain } else { Input::Undrain });
                    continue;
                }
                Update::Look(look) => {
                    look(&self.proxy);
                    continue;
                }
            };
            self.give(self.clock.now(), Input::Control(Arc::clone(&control)));
            if let Some(mut ack) = ack {
                ack.since_us = self.clock.now().wall_us;
                self.ways.publisher.publish(*ack);
            }
            self.in_force.store(control);
        }
        // When the task that looks names up has ended, what it said last stays.
        if self.names.has_changed().unwrap_or(false) {
            let names = Arc::clone(&self.names.borrow_and_update());
            self.give(self.clock.now(), Input::Names(names));
        }
    }

    /// What the connections handed over, as much as one burst.
    fn take_streams(&mut self, bell: &Bell) {
        for _ in 0..BURST {
            let Some(incoming) = self.ways.streams.as_mut().and_then(Port::try_recv) else { return };
            self.give(self.clock.now(), incoming.input());
        }
        // The rest is for the next turn.
        bell.ring();
    }

    /// True when its turn ended before the socket was empty.
    fn read(&mut self, listener: usize) -> bool {
        for _ in 0..TURN {
            let Some(socket) = &self.ways.sockets[listener] else { return false };
            match self.inbox.take(socket) {
                Ok(taken) => {
                    let now = self.clock.now();
                    for at in 0..taken {
                        let Some((from, bytes)) = self.inbox.get(at) else { continue };
                        let hop = Hop::to(listener as u16, from);
                        self.proxy.handle(now, Input::Datagram { hop, bytes });
                        self.ways.perform(&mut self.proxy);
                    }
                    self.ways.send(&mut self.proxy);
                    if taken < BATCH {
                        return false;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => self.take_refusals(listener),
            }
        }
        true
    }

    /// How long packets have been waiting is the machine's sign that it has too much to do.
    fn note_standing(&mut self, now: Now, stands: bool) {
        let since = stands.then(|| self.standing_since.unwrap_or(now.mono_us));
        self.standing_since = since;
        self.proxy.note_standing(now, since.map_or(0, |at| now.mono_us - at));
    }

    fn take_refusals(&mut self, listener: usize) {
        let mut refused = std::mem::take(&mut self.refused);
        if let Some(socket) = &self.ways.sockets[listener] {
            icmp::drain(socket, |address| refused.push(address));
        }
        for to in refused.drain(..) {
            self.give(self.clock.now(), Input::Unreachable { to });
        }
        self.refused = refused;
    }
}

/// The end of the slice in which a deadline lies: deadlines that follow each other closely share a wake-up, and a packet that comes
/// before sees to them as well.
fn later(deadline: u64) -> u64 {
    deadline.div_ceil(SLICE_US).saturating_mul(SLICE_US)
}

impl Ways {
    /// Publishes at once; what is to be sent waits for the rest of its batch.
    fn perform(&mut self, proxy: &mut Proxy) {
        while let Some(action) = proxy.poll() {
            match action {
                Action::Send { hop, bytes } if self.sockets[hop.place()].is_some() => {
                    if self.outboxes[hop.place()].push(hop.addr, bytes) {
                        self.send_from(hop.place(), proxy);
                    }
                }
                Action::Send { hop, bytes } => {
                    if !self.streams.as_ref().is_some_and(|port| port.send(hop, bytes)) {
                        proxy.note_send_error();
                    }
                }
                Action::CloseFlow { flow } => drop(self.streams.as_ref().map(|port| port.close(flow))),
                Action::Transaction(event) => {
                    self.notes.note(&event);
                    self.publisher.publish(*event);
                }
                Action::Rejections(event) => drop(self.publisher.publish(*event)),
                Action::Health(event) => drop(self.publisher.publish(*event)),
                Action::Announced(newcomer) => {
                    let (node, taken) = (&newcomer.node, newcomer.taken);
                    tracing::info!(node.id = node.id, address = %node.address, node.pool = node.pool, taken, "a node has announced itself");
                    if taken {
                        self.tell_desk(NodeWord::Came(Box::new(newcomer.node)));
                    }
                }
                Action::Departed(id) => {
                    tracing::info!(node.id = id, "a node that had announced itself is gone");
                    self.tell_desk(NodeWord::Left(id));
                }
                Action::Notice(notice) => super::notices::log(&notice),
            }
        }
    }

    fn tell_desk(&self, word: NodeWord) {
        if self.desk.try_send(word).is_err() {
            tracing::error!("more nodes come and go than can be taken in");
        }
    }

    fn send(&mut self, proxy: &mut Proxy) {
        (0..self.outboxes.len()).for_each(|listener| self.send_from(listener, proxy));
    }

    fn send_from(&mut self, listener: usize, proxy: &mut Proxy) {
        let Some(socket) = &self.sockets[listener] else { return };
        let failed = self.outboxes[listener].send(socket);
        (0..failed).for_each(|_| proxy.note_send_error());
    }
}
