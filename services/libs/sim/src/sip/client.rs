//! Client transactions (RFC 3261 §17.1, RFC 6026): what we sent and what may still come back.
//!
//! The id of a transaction stands in its branch, so that a response finds it without a table of strings. A CANCEL shares the branch
//! of its INVITE and lives in a table of its own under the same id. What a finished transaction no longer needs is dropped at once;
//! only the few bytes that a repetition asks for stay until it is forgotten.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::agent::{ClientTx, Incoming, Shared, Timer};
use super::message::Message;

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum State {
    Calling,
    Proceeding,
    /// INVITE: a failure came and was acknowledged. Others: the final came.
    Completed,
    /// INVITE: a 2xx came; its repetitions are acknowledged again.
    Accepted,
}

#[derive(Debug)]
struct Client {
    invite: bool,
    state: State,
    /// Kept while an ACK or CANCEL may have to be built from it.
    request: Option<Message>,
    bytes: Bytes,
    to: SocketAddr,
    interval: Duration,
    cancel_wanted: bool,
    /// To-tags that were reported with a 2xx, and their ACK once the owner made it.
    acks: Vec<(String, Option<(Bytes, SocketAddr)>)>,
}

#[derive(Debug)]
struct Cancel {
    bytes: Bytes,
    to: SocketAddr,
    interval: Duration,
}

#[derive(Debug)]
pub(super) struct Clients {
    /// Branch without the id: tells our transactions from those of another process that had our port before.
    prefix: String,
    next: u64,
    open: HashMap<u64, Client>,
    cancels: HashMap<u64, Cancel>,
}

impl Clients {
    pub fn new(seed: &str) -> Self {
        Self { prefix: format!("z9hG4bK{seed}-"), next: 0, open: HashMap::new(), cancels: HashMap::new() }
    }

    pub fn len(&self) -> usize {
        self.open.len() + self.cancels.len()
    }

    pub fn start(&mut self, shared: &mut Shared, now: Instant, mut message: Message, to: SocketAddr) -> ClientTx {
        let id = self.next_id();
        let invite = message.method() == Some("INVITE");
        message.add_first("Via", self.via(shared.local, id));
        let bytes = Bytes::from(message.to_bytes());
        shared.send(to, bytes.clone());
        let t1 = shared.timing.t1;
        shared.timers.arm(now + t1, Timer::ClientRetransmit(id));
        shared.timers.arm(now + shared.timing.patience(), Timer::ClientTimeout(id));
        let client = Client {
            invite,
            state: State::Calling,
            request: Some(message),
            bytes,
            to,
            interval: t1,
            cancel_wanted: false,
            acks: Vec::new(),
        };
        self.open.insert(id, client);
        ClientTx(id)
    }

    pub fn ack(&mut self, shared: &mut Shared, tx: ClientTx, mut message: Message, to: SocketAddr) {
        // The ACK of a 2xx is a transaction of its own: a new branch, no state of its own.
        let id = self.next_id();
        message.add_first("Via", self.via(shared.local, id));
        let bytes = Bytes::from(message.to_bytes());
        shared.send(to, bytes.clone());
        let Some(client) = self.open.get_mut(&tx.0) else { return };
        let tag = message.to_tag().unwrap_or_default();
        match client.acks.iter_mut().find(|(known, _)| known == tag) {
            Some((_, ack)) => *ack = Some((bytes, to)),
            None => client.acks.push((tag.to_owned(), Some((bytes, to)))),
        }
    }

    pub fn cancel(&mut self, shared: &mut Shared, now: Instant, tx: ClientTx) -> bool {
        let Some(client) = self.open.get_mut(&tx.0) else { return false };
        match client.state {
            State::Calling => client.cancel_wanted = true,
            State::Proceeding => {
                if !client.cancel_wanted {
                    client.cancel_wanted = true;
                    self.send_cancel(shared, now, tx.0);
                }
            }
            State::Completed | State::Accepted => return false,
        }
        true
    }

    fn send_cancel(&mut self, shared: &mut Shared, now: Instant, id: u64) {
        let Some(client) = self.open.get(&id) else { return };
        let Some(request) = &client.request else { return };
        let mut cancel = derived(request, "CANCEL", request.get("To").unwrap_or_default());
        cancel.add("Max-Forwards", "70");
        let bytes = Bytes::from(cancel.to_bytes());
        shared.send(client.to, bytes.clone());
        shared.timers.arm(now + shared.timing.t1, Timer::CancelRetransmit(id));
        shared.timers.arm(now + shared.timing.patience(), Timer::CancelForget(id));
        shared.timers.arm(now + shared.timing.patience(), Timer::ClientCancelled(id));
        self.cancels.insert(id, Cancel { bytes, to: client.to, interval: shared.timing.t1 });
    }

    pub fn response(&mut self, shared: &mut Shared, now: Instant, message: Message, from: SocketAddr) {
        let Some(id) = self.id_of(&message) else {
            shared.stats.stray += 1;
            return;
        };
        if message.cseq().is_some_and(|(_, method)| method == "CANCEL") {
            // Whatever it says, the INVITE's own final answer decides.
            if message.code() >= 200 && self.cancels.remove(&id).is_none() {
                shared.stats.absorbed += 1;
            }
            return;
        }
        let Some(client) = self.open.get_mut(&id) else {
            shared.stats.stray += 1;
            return;
        };
        match (client.invite, message.code()) {
            (_, 100..=199) => self.provisional(shared, now, id, message, from),
            (true, 200..=299) => client.accepted(shared, now, id, message, from),
            (true, _) => client.rejected(shared, now, id, message, from),
            (false, _) => client.finished(shared, now, id, message, from),
        }
    }

    fn provisional(&mut self, shared: &mut Shared, now: Instant, id: u64, message: Message, from: SocketAddr) {
        let Some(client) = self.open.get_mut(&id) else { return };
        match client.state {
            State::Calling => {
                client.state = State::Proceeding;
                let cancel_held_back = client.invite && client.cancel_wanted;
                shared.events.push_back(Incoming::Response { tx: ClientTx(id), message, from });
                if cancel_held_back {
                    self.send_cancel(shared, now, id);
                }
            }
            State::Proceeding => shared.events.push_back(Incoming::Response { tx: ClientTx(id), message, from }),
            State::Completed | State::Accepted => shared.stats.absorbed += 1,
        }
    }

    pub fn retransmit(&mut self, shared: &mut Shared, now: Instant, id: u64) {
        let Some(client) = self.open.get_mut(&id) else { return };
        match (client.invite, client.state) {
            (true, State::Calling) => client.interval *= 2,
            (false, State::Calling) => client.interval = (client.interval * 2).min(shared.timing.t2),
            (false, State::Proceeding) => client.interval = shared.timing.t2,
            _ => return,
        }
        shared.send_again(client.to, client.bytes.clone());
        shared.timers.arm(now + client.interval, Timer::ClientRetransmit(id));
    }

    pub fn timeout(&mut self, shared: &mut Shared, id: u64, cancelled: bool) {
        let Some(client) = self.open.get(&id) else { return };
        let expired = match client.state {
            State::Calling => true,
            // An INVITE may ring as long as its owner likes, unless it was given up.
            State::Proceeding => !client.invite || cancelled,
            State::Completed | State::Accepted => false,
        };
        if expired {
            let method = client.request.as_ref().and_then(Message::method).unwrap_or_default().to_owned();
            self.open.remove(&id);
            shared.events.push_back(Incoming::Timeout { tx: ClientTx(id), method });
        }
    }

    pub fn forget(&mut self, id: u64) {
        self.open.remove(&id);
    }

    pub fn retransmit_cancel(&mut self, shared: &mut Shared, now: Instant, id: u64) {
        let Some(cancel) = self.cancels.get_mut(&id) else { return };
        cancel.interval = (cancel.interval * 2).min(shared.timing.t2);
        shared.send_again(cancel.to, cancel.bytes.clone());
        shared.timers.arm(now + cancel.interval, Timer::CancelRetransmit(id));
    }

    pub fn forget_cancel(&mut self, id: u64) {
        self.cancels.remove(&id);
    }

    fn next_id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn via(&self, local: SocketAddr, id: u64) -> String {
        format!("SIP/2.0/UDP {local};branch={}{id:x};rport", self.prefix)
    }

    fn id_of(&self, response: &Message) -> Option<u64> {
        let branch = response.top_via()?.branch;
        u64::from_str_radix(branch.strip_prefix(&self.prefix)?, 16).ok()
    }
}

impl Client {
    fn accepted(&mut self, shared: &mut Shared, now: Instant, id: u64, message: Message, from: SocketAddr) {
        let tag = message.to_tag().unwrap_or_default();
        match self.acks.iter().find(|(known, _)| known == tag) {
            Some((_, ack)) => {
                shared.stats.absorbed += 1;
                if let Some((bytes, to)) = ack.clone() {
                    shared.send_again(to, bytes);
                }
                return;
            }
            None => self.acks.push((tag.to_owned(), None)),
        }
        if matches!(self.state, State::Calling | State::Proceeding) {
            self.done(State::Accepted);
            shared.timers.arm(now + shared.timing.patience(), Timer::ClientForget(id));
        }
        shared.events.push_back(Incoming::Response { tx: ClientTx(id), message, from });
    }

    fn rejected(&mut self, shared: &mut Shared, now: Instant, id: u64, message: Message, from: SocketAddr) {
        match self.state {
            State::Calling | State::Proceeding => {
                if let Some(request) = &self.request {
                    let mut ack = derived(request, "ACK", message.get("To").unwrap_or_default());
                    ack.add("Max-Forwards", "70");
                    let bytes = Bytes::from(ack.to_bytes());
                    self.done(State::Completed);
                    // From here on `bytes` is what answers a repetition.
                    self.bytes = bytes.clone();
                    shared.send(self.to, bytes);
                }
                shared.timers.arm(now + shared.timing.patience(), Timer::ClientForget(id));
                shared.events.push_back(Incoming::Response { tx: ClientTx(id), message, from });
            }
            State::Completed => {
                shared.stats.absorbed += 1;
                shared.send_again(self.to, self.bytes.clone());
            }
            State::Accepted => shared.stats.stray += 1,
        }
    }

    fn finished(&mut self, shared: &mut Shared, now: Instant, id: u64, message: Message, from: SocketAddr) {
        if self.state == State::Completed {
            shared.stats.absorbed += 1;
            return;
        }
        self.done(State::Completed);
        shared.timers.arm(now + shared.timing.t4, Timer::ClientForget(id));
        shared.events.push_back(Incoming::Response { tx: ClientTx(id), message, from });
    }

    fn done(&mut self, state: State) {
        self.state = state;
        self.request = None;
        self.bytes = Bytes::new();
    }
}

/// ACK of a failure or CANCEL: same top Via, Request-URI, From, Call-ID, sequence number and Route as the INVITE.
fn derived(invite: &Message, method: &str, to: &str) -> Message {
    let mut message = Message::request(method, invite.request_uri().unwrap_or_default());
    message.add("Via", invite.get("Via").unwrap_or_default());
    for route in invite.all("Route") {
        message.add("Route", route);
    }
    message.add("From", invite.get("From").unwrap_or_default());
    message.add("To", to);
    message.add("Call-ID", invite.call_id().unwrap_or_default());
    message.add("CSeq", format!("{} {method}", invite.cseq().map_or(1, |(number, _)| number)));
    message
}
