//! All SIP transactions of one UDP socket, as a pure machine.
//!
//! The owner gives it datagrams and requests with `now`, takes out datagrams to send ([`Agent::poll_transmit`]) and events
//! ([`Agent::poll_event`]), and calls [`Agent::tick`] at [`Agent::deadline`]. So one task can own thousands of calls, and tests can
//! lose, repeat and reorder datagrams with a virtual clock.
//!
//! What it takes off the owner: retransmission of requests, of 2xx until their ACK and of other finals until theirs; absorbing the
//! far end's retransmissions; the ACK of a failed INVITE; the 200 to a CANCEL; holding back a CANCEL until a provisional came.
//! What stays with the owner: every final answer to a request it was handed. A request never answered is remembered forever.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::client::Clients;
use super::message::Message;
use super::server::Servers;
use crate::rng::Rng;
use crate::timers::Timers;

/// Base timers of RFC 3261; the others follow from them.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub t1: Duration,
    pub t2: Duration,
    pub t4: Duration,
}

impl Timing {
    /// Timers B, F, H, J, L, M and (for UDP) D.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.t1 * 64
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) }
    }
}

#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Stands in Via: where responses come back to.
    pub local: SocketAddr,
    /// Branches derive from it; two agents of one run need different seeds.
    pub seed: u64,
    /// Answer each new INVITE with 100 at once.
    pub trying: bool,
    pub timing: Timing,
}

/// Handle of a request that we sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientTx(pub(super) u64);

/// Handle of a request that we received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerTx(pub(super) u64);

/// What the owner hears about.
#[derive(Clone, Debug)]
pub enum Incoming {
    /// A new request (never ACK, CANCEL or a retransmission). Must be answered through [`Agent::respond`].
    Request { tx: ServerTx, message: Message, from: SocketAddr },
    /// The first ACK of our 2xx.
    Ack { tx: ServerTx, message: Message, from: SocketAddr },
    /// The far end gave up an INVITE that has no final answer yet; CANCEL is answered already, the owner sends 487.
    Cancelled { tx: ServerTx, message: Message },
    /// Our 2xx was never acknowledged: the dialog should be ended.
    AckTimeout { tx: ServerTx },
    /// A response; retransmissions of a final are absorbed. A second 2xx with another To-tag, and a 2xx after a failure, are reported.
    Response { tx: ClientTx, message: Message, from: SocketAddr },
    /// No (final) response in time.
    Timeout { tx: ClientTx, method: String },
}

/// Counters of what happened below the owner's eyes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentStats {
    /// Datagrams that are not SIP.
    pub malformed: u64,
    /// Responses and ACKs that belong to nothing we know.
    pub stray: u64,
    /// Repeated requests and responses that were absorbed.
    pub absorbed: u64,
    /// Datagrams that we sent again.
    pub retransmitted: u64,
}

#[derive(Debug)]
pub struct Datagram {
    pub to: SocketAddr,
    pub bytes: Bytes,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Timer {
    ClientRetransmit(u64),
    /// Timer B for an INVITE, F for the others.
    ClientTimeout(u64),
    /// A cancelled INVITE has this long to get its final answer.
    ClientCancelled(u64),
    ClientForget(u64),
    CancelRetransmit(u64),
    CancelForget(u64),
    ServerRetransmit(u64),
    /// Timer H, and its counterpart for 2xx.
    ServerNoAck(u64),
    ServerForget(u64),
}

/// What the transaction tables share: outputs, timers, counters.
#[derive(Debug)]
pub(super) struct Shared {
    pub local: SocketAddr,
    pub timing: Timing,
    pub timers: Timers<Timer>,
    pub out: VecDeque<Datagram>,
    pub events: VecDeque<Incoming>,
    pub stats: AgentStats,
}

impl Shared {
    pub fn send(&mut self, to: SocketAddr, bytes: Bytes) {
        self.out.push_back(Datagram { to, bytes });
    }

    pub fn send_again(&mut self, to: SocketAddr, bytes: Bytes) {
        self.stats.retransmitted += 1;
        self.send(to, bytes);
    }
}

#[derive(Debug)]
pub struct Agent {
    shared: Shared,
    clients: Clients,
    servers: Servers,
}

impl Agent {
    #[must_use]
    pub fn new(config: AgentConfig) -> Self {
        let mut rng = Rng::new(config.seed).fork("agent");
        Self {
            clients: Clients::new(&rng.hex()),
            servers: Servers::new(config.trying, rng),
            shared: Shared {
                local: config.local,
                timing: config.timing,
                timers: Timers::default(),
                out: VecDeque::new(),
                events: VecDeque::new(),
                stats: AgentStats::default(),
            },
        }
    }

    pub fn handle_datagram(&mut self, now: Instant, bytes: &[u8], from: SocketAddr) {
        // Keep-alives are single line ends; they are no mistake.
        if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return;
        }
        match Message::parse(bytes) {
            Err(_) => self.shared.stats.malformed += 1,
            Ok(message) if message.is_request() => self.servers.request(&mut self.shared, now, message, from),
            Ok(message) => self.clients.response(&mut self.shared, now, message, from),
        }
    }

    /// Sends a request; puts our Via on top. `message` must not be ACK or CANCEL: see [`Agent::ack`] and [`Agent::cancel`].
    pub fn send_request(&mut self, now: Instant, message: Message, to: SocketAddr) -> ClientTx {
        self.clients.start(&mut self.shared, now, message, to)
    }

    /// Sends the ACK of a 2xx to the INVITE `tx`, and again for each repetition of that 2xx.
    pub fn ack(&mut self, tx: ClientTx, message: Message, to: SocketAddr) {
        self.clients.ack(&mut self.shared, tx, message, to);
    }

    /// Gives up an INVITE: CANCEL goes out now, or after the first provisional. False when a final came already (glare).
    pub fn cancel(&mut self, now: Instant, tx: ClientTx) -> bool {
        self.clients.cancel(&mut self.shared, now, tx)
    }

    /// Answers a request. False when it has a final answer already or is unknown.
    pub fn respond(&mut self, now: Instant, tx: ServerTx, response: &Message) -> bool {
        self.servers.respond(&mut self.shared, now, tx, response)
    }

    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.shared.timers.deadline()
    }

    /// Does what is due at `now`.
    pub fn tick(&mut self, now: Instant) {
        while let Some(timer) = self.shared.timers.due(now) {
            match timer {
                Timer::ClientRetransmit(id) => self.clients.retransmit(&mut self.shared, now, id),
                Timer::ClientTimeout(id) => self.clients.timeout(&mut self.shared, id, false),
                Timer::ClientCancelled(id) => self.clients.timeout(&mut self.shared, id, true),
                Timer::ClientForget(id) => self.clients.forget(id),
                Timer::CancelRetransmit(id) => self.clients.retransmit_cancel(&mut self.shared, now, id),
                Timer::CancelForget(id) => self.clients.forget_cancel(id),
                Timer::ServerRetransmit(id) => self.servers.retransmit(&mut self.shared, now, id),
                Timer::ServerNoAck(id) => self.servers.no_ack(&mut self.shared, id),
                Timer::ServerForget(id) => self.servers.forget(id),
            }
        }
    }

    pub fn poll_transmit(&mut self) -> Option<Datagram> {
        self.shared.out.pop_front()
    }

    pub fn poll_event(&mut self) -> Option<Incoming> {
        self.shared.events.pop_front()
    }

    #[must_use]
    pub fn stats(&self) -> AgentStats {
        self.shared.stats
    }

    /// Transactions that are remembered now (client, server): both return to zero when traffic stops.
    #[must_use]
    pub fn open(&self) -> (usize, usize) {
        (self.clients.len(), self.servers.len())
    }
}
