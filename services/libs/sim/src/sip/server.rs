//! Server transactions (RFC 3261 §17.2, RFC 6026): what we received and what the far end may still repeat.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::agent::{Incoming, ServerTx, Shared, Timer};
use super::message::Message;
use super::uri;
use crate::rng::Rng;

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum State {
    /// No final answer yet.
    Proceeding,
    /// INVITE: a failure waits for its ACK. Others: answered.
    Completed,
    /// INVITE: the ACK of the failure came.
    Confirmed,
    /// INVITE: a 2xx waits for its ACK.
    Accepted,
    /// INVITE: the ACK of the 2xx came.
    Acknowledged,
}

#[derive(Debug)]
struct Server {
    key: Key,
    /// Of a 2xx: by what its ACK is found, which is a transaction of its own.
    ack_key: Option<AckKey>,
    invite: bool,
    state: State,
    /// The last response: sent again when the request comes again.
    last: Option<Bytes>,
    to: SocketAddr,
    interval: Duration,
}

/// Branch, sent-by, method (RFC 3261 §17.2.3); the ACK of a failure is looked up as INVITE.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    branch: String,
    sent_by: String,
    method: String,
}

/// Call-ID, our tag, sequence number of the INVITE.
type AckKey = (String, String, u32);

#[derive(Debug)]
pub(super) struct Servers {
    trying: bool,
    rng: Rng,
    next: u64,
    open: HashMap<u64, Server>,
    by_key: HashMap<Key, u64>,
    by_ack: HashMap<AckKey, u64>,
}

impl Servers {
    pub fn new(trying: bool, rng: Rng) -> Self {
        Self { trying, rng, next: 0, open: HashMap::new(), by_key: HashMap::new(), by_ack: HashMap::new() }
    }

    pub fn len(&self) -> usize {
        self.open.len()
    }

    pub fn request(&mut self, shared: &mut Shared, now: Instant, mut message: Message, from: SocketAddr) {
        let to = reply_address(&mut message, from);
        let (Some(key), Some(method)) = (key_of(&message), message.method().map(str::to_owned)) else {
            shared.stats.malformed += 1;
            return;
        };
        if method == "ACK" {
            self.acknowledged(shared, now, key, message, from);
            return;
        }
        if let Some(server) = self.by_key.get(&key).and_then(|id| self.open.get(id)) {
            shared.stats.absorbed += 1;
            // An answered INVITE repeats its 2xx by its own timer, an acknowledged one says nothing more.
            let answers = !server.invite || matches!(server.state, State::Proceeding | State::Completed);
            if let (true, Some(bytes)) = (answers, &server.last) {
                shared.send_again(server.to, bytes.clone());
            }
            return;
        }
        let id = self.open_transaction(shared, key.clone(), method == "INVITE", to);
        match method.as_str() {
            "CANCEL" => self.cancelled(shared, now, id, key, message),
            "INVITE" => {
                if self.trying {
                    self.respond(shared, now, ServerTx(id), &Message::response_to(&message, 100, "Trying", None));
                }
                shared.events.push_back(Incoming::Request { tx: ServerTx(id), message, from });
            }
            _ => shared.events.push_back(Incoming::Request { tx: ServerTx(id), message, from }),
        }
    }

    fn open_transaction(&mut self, shared: &Shared, key: Key, invite: bool, to: SocketAddr) -> u64 {
        self.next += 1;
        let id = self.next;
        self.by_key.insert(key.clone(), id);
        let server =
            Server { key, ack_key: None, invite, state: State::Proceeding, last: None, to, interval: shared.timing.t1 };
        self.open.insert(id, server);
        id
    }

    fn cancelled(&mut self, shared: &mut Shared, now: Instant, id: u64, key: Key, message: Message) {
        let invite = self.by_key.get(&Key { method: "INVITE".to_owned(), ..key }).copied();
        let pending = invite.and_then(|id| self.open.get(&id)).map(|server| matches!(server.state, State::Proceeding));
        let (code, reason) = if pending.is_some() { (200, "OK") } else { (481, "Call/Transaction Does Not Exist") };
        let tag = self.rng.hex();
        self.respond(shared, now, ServerTx(id), &Message::response_to(&message, code, reason, Some(&tag)));
        if let (Some(true), Some(invite)) = (pending, invite) {
            shared.events.push_back(Incoming::Cancelled { tx: ServerTx(invite), message });
        }
    }

    fn acknowledged(&mut self, shared: &mut Shared, now: Instant, key: Key, message: Message, from: SocketAddr) {
        let id = self.by_key.get(&Key { method: "INVITE".to_owned(), ..key }).copied().or_else(|| {
            let ack_key = (message.call_id()?.to_owned(), message.to_tag()?.to_owned(), message.cseq()?.0);
            self.by_ack.get(&ack_key).copied()
        });
        let Some((id, server)) = id.and_then(|id| Some((id, self.open.get_mut(&id)?))) else {
            shared.stats.stray += 1;
            return;
        };
        match server.state {
            State::Completed => {
                server.state = State::Confirmed;
                server.last = None;
                shared.timers.arm(now + shared.timing.t4, Timer::ServerForget(id));
            }
            State::Accepted => {
                server.state = State::Acknowledged;
                server.last = None;
                shared.events.push_back(Incoming::Ack { tx: ServerTx(id), message, from });
            }
            State::Confirmed | State::Acknowledged => shared.stats.absorbed += 1,
            State::Proceeding => shared.stats.stray += 1,
        }
    }

    pub fn respond(&mut self, shared: &mut Shared, now: Instant, tx: ServerTx, response: &Message) -> bool {
        let id = tx.0;
        let Some(server) = self.open.get_mut(&id) else { return false };
        if server.state != State::Proceeding {
            return false;
        }
        let bytes = Bytes::from(response.to_bytes());
        shared.send(server.to, bytes.clone());
        server.last = Some(bytes);
        match (server.invite, response.code()) {
            (_, 100..=199) => {}
            (false, _) => {
                server.state = State::Completed;
                shared.timers.arm(now + shared.timing.patience(), Timer::ServerForget(id));
            }
            (true, code) => {
                shared.timers.arm(now + shared.timing.t1, Timer::ServerRetransmit(id));
                shared.timers.arm(now + shared.timing.patience(), Timer::ServerNoAck(id));
                server.state = State::Completed;
                if code < 300 {
                    server.state = State::Accepted;
                    let ack_key = (
                        response.call_id().unwrap_or_default().to_owned(),
                        response.to_tag().unwrap_or_default().to_owned(),
                        response.cseq().map_or(0, |(number, _)| number),
                    );
                    server.ack_key = Some(ack_key.clone());
                    self.by_ack.insert(ack_key, id);
                }
            }
        }
        true
    }

    pub fn retransmit(&mut self, shared: &mut Shared, now: Instant, id: u64) {
        let Some(server) = self.open.get_mut(&id) else { return };
        if !matches!(server.state, State::Completed | State::Accepted) {
            return;
        }
        if let Some(bytes) = &server.last {
            shared.send_again(server.to, bytes.clone());
        }
        server.interval = (server.interval * 2).min(shared.timing.t2);
        shared.timers.arm(now + server.interval, Timer::ServerRetransmit(id));
    }

    /// 64·T1 after a final answer: the end of waiting for an ACK, and of absorbing repetitions of an answered INVITE.
    pub fn no_ack(&mut self, shared: &mut Shared, id: u64) {
        let state = self.open.get(&id).map(|server| server.state);
        if state == Some(State::Accepted) {
            shared.events.push_back(Incoming::AckTimeout { tx: ServerTx(id) });
        }
        self.forget(id);
    }

    pub fn forget(&mut self, id: u64) {
        let Some(server) = self.open.remove(&id) else { return };
        self.by_key.remove(&server.key);
        if let Some(ack_key) = server.ack_key {
            self.by_ack.remove(&ack_key);
        }
    }
}

fn key_of(message: &Message) -> Option<Key> {
    let via = message.top_via()?;
    Some(Key { branch: via.branch.to_owned(), sent_by: via.sent_by.to_owned(), method: message.method()?.to_owned() })
}

/// RFC 3261 §18.2 and RFC 3581: notes in the top Via where the request really came from, and says where responses go.
fn reply_address(message: &mut Message, from: SocketAddr) -> SocketAddr {
    let Some(via) = message.top_via() else { return from };
    let sent_by = uri::parse_host_port(via.sent_by);
    let (to, note) = if via.rport {
        (from, format!(";received={};rport={}", from.ip(), from.port()))
    } else {
        let port = sent_by.map_or(5060, |address| address.port());
        let note = match sent_by {
            Some(address) if address.ip() == from.ip() => String::new(),
            _ => format!(";received={}", from.ip()),
        };
        (SocketAddr::new(from.ip(), port), note)
    };
    if let Some(header) = message.headers.iter_mut().find(|header| header.name == "Via") {
        let kept: Vec<&str> =
            header.value.split(';').filter(|part| part.split('=').next().map(str::trim) != Some("rport")).collect();
        header.value = kept.join(";") + &note;
    }
    to
}
