//! User agents for fault tests: real sockets, the retransmissions of RFC 3261, no help from the product. One thread per agent.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::super::text::{Dialog, Msg, SDP, invite};

const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
/// 64 × T1.
const GIVE_UP: Duration = Duration::from_secs(32);

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A packet that is repeated until somebody says stop.
struct Repeat {
    bytes: Arc<[u8]>,
    to: SocketAddr,
    interval: Duration,
    longest: Duration,
    until: Instant,
}

/// A socket, what it repeats, and what it will do later.
struct Wire<J> {
    socket: UdpSocket,
    repeats: HashMap<String, Repeat>,
    later: BTreeMap<(Instant, u64), Due<J>>,
    serial: u64,
}

enum Due<J> {
    Resend(String),
    Job(J),
}

impl<J> Wire<J> {
    fn new(socket: UdpSocket) -> Wire<J> {
        Wire { socket, repeats: HashMap::new(), later: BTreeMap::new(), serial: 0 }
    }

    fn at(&mut self, at: Instant, due: Due<J>) {
        self.serial += 1;
        self.later.insert((at, self.serial), due);
    }

    fn after(&mut self, wait: Duration, job: J) {
        self.at(Instant::now() + wait, Due::Job(job));
    }

    fn send(&self, to: SocketAddr, m: &Msg) {
        self.send_raw(to, &m.bytes());
    }

    fn send_raw(&self, to: SocketAddr, bytes: &[u8]) {
        // The other end may be dead just now; that is what this is about.
        for _ in 0..2 {
            if self.socket.send_to(bytes, to).is_ok() {
                return;
            }
        }
    }

    fn repeat(&mut self, key: String, to: SocketAddr, m: &Msg, longest: Duration) {
        let bytes: Arc<[u8]> = m.bytes().into();
        self.send_raw(to, &bytes);
        let now = Instant::now();
        self.repeats.insert(key.clone(), Repeat { bytes, to, interval: T1, longest, until: now + GIVE_UP });
        self.at(now + T1, Due::Resend(key));
    }

    fn stop(&mut self, key: &str) {
        self.repeats.remove(key);
    }

    fn resend(&mut self, key: String) {
        let now = Instant::now();
        let Some(repeat) = self.repeats.get_mut(&key) else { return };
        if now >= repeat.until {
            self.repeats.remove(&key);
            return;
        }
        repeat.interval = (repeat.interval * 2).min(repeat.longest);
        let (bytes, to, next) = (Arc::clone(&repeat.bytes), repeat.to, now + repeat.interval);
        self.send_raw(to, &bytes);
        self.at(next, Due::Resend(key));
    }

    /// What is due, else what came within a moment.
    fn next(&mut self, buffer: &mut [u8]) -> Next<J> {
        let now = Instant::now();
        while let Some((&(at, serial), _)) = self.later.first_key_value() {
            if at > now {
                break;
            }
            match self.later.remove(&(at, serial)) {
                Some(Due::Job(job)) => return Next::Job(job),
                Some(Due::Resend(key)) => self.resend(key),
                None => {}
            }
        }
        match self.socket.recv_from(buffer) {
            Ok((length, from)) => Next::Message(from, Msg::parse(&buffer[..length])),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Next::Nothing,
            // An unreachable port, told late.
            Err(_) => Next::Nothing,
        }
    }
}

enum Next<J> {
    Job(J),
    Message(SocketAddr, Msg),
    Nothing,
}

pub fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(ms(2))).unwrap();
    let _as_large_as_it_goes = socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20);
    socket
}

/// How an agent's calls go.
#[derive(Clone, Copy, Debug, Default)]
pub struct Script {
    /// The node says nothing for so long.
    pub silent: Duration,
    pub ring: Duration,
    /// From ringing to the answer.
    pub answer: Duration,
    /// The caller acknowledges that much after the first 200.
    pub ack: Duration,
    /// The caller cancels that much after the first provisional answer.
    pub cancel: Option<Duration>,
    /// The caller hangs up by itself that much after its ACK; else when it is told to.
    pub hold: Option<Duration>,
}

/// How a call of the caller stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stand {
    Calling,
    Ringing,
    Up,
    HangingUp,
    /// With the status of the BYE or of the failure.
    Ended(u16),
    Failed(u16),
}

enum Order {
    Place(String),
    HangUpAll,
    Show(SyncSender<CallerView>),
    Stop,
}

#[derive(Clone, Debug, Default)]
pub struct CallerView {
    pub calls: BTreeMap<String, Stand>,
    /// BYEs that came from the edge.
    pub byes: usize,
    /// How long each BYE waited for its answer.
    pub bye_waits: Vec<Duration>,
}

/// The trunk's side.
pub struct Caller {
    orders: SyncSender<Order>,
    thread: Option<JoinHandle<()>>,
}

impl Caller {
    pub fn start(socket: UdpSocket, edge: SocketAddr, script: Script) -> Caller {
        let addr = socket.local_addr().unwrap();
        let (orders, mailbox) = sync_channel(4_096);
        let thread = std::thread::spawn(move || {
            let wire = Wire::new(socket);
            CallerLoop { wire, addr, edge, script, calls: HashMap::new(), view: CallerView::default() }.run(&mailbox);
        });
        Caller { orders, thread: Some(thread) }
    }

    pub fn place(&self, call: &str) {
        self.orders.send(Order::Place(call.to_owned())).unwrap();
    }

    pub fn hang_up_all(&self) {
        self.orders.send(Order::HangUpAll).unwrap();
    }

    pub fn view(&self) -> CallerView {
        let (reply, view) = sync_channel(1);
        self.orders.send(Order::Show(reply)).unwrap();
        view.recv().unwrap()
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        let _gone = self.orders.send(Order::Stop);
        let _panicked = self.thread.take().map(JoinHandle::join);
    }
}

struct Out {
    invite: Msg,
    dialog: Option<Dialog>,
    ack: Option<Msg>,
    provisional: bool,
    bye_at: Option<Instant>,
}

enum CallerJob {
    Ack(String),
    Cancel(String),
    HangUp(String),
}

struct CallerLoop {
    wire: Wire<CallerJob>,
    addr: SocketAddr,
    edge: SocketAddr,
    script: Script,
    calls: HashMap<String, Out>,
    view: CallerView,
}

impl CallerLoop {
    fn run(mut self, mailbox: &Receiver<Order>) {
        let mut buffer = vec![0; 65_536];
        loop {
            match mailbox.try_recv() {
                Ok(Order::Place(call)) => self.place(call),
                Ok(Order::HangUpAll) => {
                    let up: Vec<String> =
                        self.view.calls.iter().filter(|(_, s)| **s == Stand::Up).map(|(c, _)| c.clone()).collect();
                    for (i, call) in up.into_iter().enumerate() {
                        self.wire.after(ms(4 * i as u64), CallerJob::HangUp(call));
                    }
                }
                Ok(Order::Show(reply)) => drop(reply.send(self.view.clone())),
                Ok(Order::Stop) | Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => {}
            }
            match self.wire.next(&mut buffer) {
                Next::Job(CallerJob::Ack(call)) => self.ack(&call),
                Next::Job(CallerJob::Cancel(call)) => self.cancel(&call),
                Next::Job(CallerJob::HangUp(call)) => self.hang_up(&call),
                Next::Message(from, m) => self.message(from, &m),
                Next::Nothing => {}
            }
        }
    }

    fn place(&mut self, call: String) {
        let invite = invite(self.addr, self.edge, &call, "+4930123456", 1);
        self.wire.repeat(format!("I/{call}"), self.edge, &invite, GIVE_UP);
        self.view.calls.insert(call.clone(), Stand::Calling);
        self.calls.insert(call, Out { invite, dialog: None, ack: None, provisional: false, bye_at: None });
    }

    fn message(&mut self, from: SocketAddr, m: &Msg) {
        let call = m.call_id().to_owned();
        if m.status() == 0 {
            if m.method() == "BYE" {
                self.view.byes += 1;
                self.wire.send(from, &m.reply(200, "OK", ""));
            }
            return;
        }
        match (m.method(), m.status()) {
            ("INVITE", status) => {
                self.wire.stop(&format!("I/{call}"));
                self.invited(&call, status, m);
            }
            ("CANCEL", _) => self.wire.stop(&format!("C/{call}")),
            ("BYE", status) if status >= 200 => {
                self.wire.stop(&format!("B/{call}"));
                if let Some(at) = self.calls.get_mut(&call).and_then(|c| c.bye_at.take()) {
                    self.view.bye_waits.push(at.elapsed());
                    self.view.calls.insert(call, Stand::Ended(status));
                }
            }
            _ => {}
        }
    }

    fn invited(&mut self, call: &str, status: u16, m: &Msg) {
        let Some(out) = self.calls.get_mut(call) else { return };
        match status {
            100..200 => {
                if self.view.calls[call] == Stand::Calling && status == 180 {
                    self.view.calls.insert(call.to_owned(), Stand::Ringing);
                }
                if let Some(wait) = self.script.cancel.filter(|_| !out.provisional) {
                    self.wire.after(wait, CallerJob::Cancel(call.to_owned()));
                }
                out.provisional = true;
            }
            200..300 => match &out.ack {
                Some(ack) => self.wire.send(self.edge, ack),
                None if out.dialog.is_none() => {
                    out.dialog = Some(Dialog::caller(self.addr, m));
                    self.wire.after(self.script.ack, CallerJob::Ack(call.to_owned()));
                }
                None => {}
            },
            300.. => {
                self.wire.send(self.edge, &out.invite.ack_failure(m));
                self.view.calls.insert(call.to_owned(), Stand::Failed(status));
            }
            _ => {}
        }
    }

    fn ack(&mut self, call: &str) {
        let Some(out) = self.calls.get_mut(call) else { return };
        let Some(dialog) = &mut out.dialog else { return };
        let ack = dialog.request("ACK");
        self.wire.send(self.edge, &ack);
        out.ack = Some(ack);
        self.view.calls.insert(call.to_owned(), Stand::Up);
        if let Some(hold) = self.script.hold {
            self.wire.after(hold, CallerJob::HangUp(call.to_owned()));
        }
    }

    fn cancel(&mut self, call: &str) {
        let Some(out) = self.calls.get_mut(call) else { return };
        let cancel = out.invite.cancel();
        self.wire.repeat(format!("C/{call}"), self.edge, &cancel, T2);
    }

    fn hang_up(&mut self, call: &str) {
        let Some(out) = self.calls.get_mut(call) else { return };
        let Some(dialog) = &mut out.dialog else { return };
        let bye = dialog.request("BYE");
        out.bye_at = Some(Instant::now());
        self.wire.repeat(format!("B/{call}"), self.edge, &bye, T2);
        self.view.calls.insert(call.to_owned(), Stand::HangingUp);
    }
}

/// What a node saw.
#[derive(Clone, Debug, Default)]
pub struct NodeView {
    /// Per SIP Call-ID: branches of its INVITEs, and call ids in their headers.
    pub branches: BTreeMap<String, Vec<String>>,
    pub call_ids: BTreeMap<String, Vec<String>>,
    pub byes: usize,
}

/// A node: answers what comes.
pub struct Node {
    pub addr: SocketAddr,
    asks: SyncSender<Option<SyncSender<NodeView>>>,
    thread: Option<JoinHandle<()>>,
}

impl Node {
    pub fn start(socket: UdpSocket, script: Script) -> Node {
        let addr = socket.local_addr().unwrap();
        let (asks, mailbox) = sync_channel(16);
        let thread = std::thread::spawn(move || node(socket, script, &mailbox));
        Node { addr, asks, thread: Some(thread) }
    }

    pub fn view(&self) -> NodeView {
        let (reply, view) = sync_channel(1);
        self.asks.send(Some(reply)).unwrap();
        view.recv().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _gone = self.asks.send(None);
        let _panicked = self.thread.take().map(JoinHandle::join);
    }
}

enum NodeJob {
    Trying(String),
    Ring(String),
    Answer(String),
    Terminated(String),
}

struct In {
    from: SocketAddr,
    invite: Msg,
    last: Option<Msg>,
    over: bool,
}

/// Runs until told to stop, or for ever.
pub fn node(socket: UdpSocket, script: Script, mailbox: &Receiver<Option<SyncSender<NodeView>>>) {
    let addr = socket.local_addr().unwrap();
    let mut wire: Wire<NodeJob> = Wire::new(socket);
    let mut calls: HashMap<String, In> = HashMap::new();
    let mut view = NodeView::default();
    let mut buffer = vec![0; 65_536];
    loop {
        match mailbox.try_recv() {
            Ok(Some(reply)) => drop(reply.send(view.clone())),
            Ok(None) | Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) => {}
        }
        match wire.next(&mut buffer) {
            Next::Nothing => {}
            Next::Job(job) => work(&mut wire, &mut calls, script, addr, job),
            Next::Message(from, m) if m.status() == 0 => {
                let call = m.call_id().to_owned();
                match m.method() {
                    "INVITE" => note_invite(&mut wire, &mut calls, &mut view, script, from, m),
                    "ACK" => {
                        wire.stop(&format!("A/{call}"));
                        wire.stop(&format!("F/{call}"));
                    }
                    "CANCEL" => {
                        wire.send(from, &m.reply(200, "OK", "node"));
                        wire.after(ms(300), NodeJob::Terminated(call));
                    }
                    "BYE" => {
                        view.byes += 1;
                        wire.send(from, &m.reply(200, "OK", ""));
                    }
                    _ => wire.send(from, &m.reply(200, "OK", "node")),
                }
            }
            Next::Message(..) => {}
        }
    }
}

fn note_invite(
    wire: &mut Wire<NodeJob>,
    calls: &mut HashMap<String, In>,
    view: &mut NodeView,
    script: Script,
    from: SocketAddr,
    m: Msg,
) {
    let call = m.call_id().to_owned();
    let push = |list: &mut Vec<String>, value: String| {
        if !list.contains(&value) {
            list.push(value);
        }
    };
    push(view.branches.entry(call.clone()).or_default(), m.branch().to_owned());
    let id = m.header("X-Trunkline-Call").split(';').next().unwrap_or_default().to_owned();
    push(view.call_ids.entry(call.clone()).or_default(), id);
    match calls.get(&call) {
        Some(known) => {
            if let Some(last) = &known.last {
                wire.send(from, last);
            }
        }
        None => {
            calls.insert(call.clone(), In { from, invite: m, last: None, over: false });
            wire.after(script.silent, NodeJob::Trying(call));
        }
    }
}

fn work(wire: &mut Wire<NodeJob>, calls: &mut HashMap<String, In>, script: Script, addr: SocketAddr, job: NodeJob) {
    let (NodeJob::Trying(call) | NodeJob::Ring(call) | NodeJob::Answer(call) | NodeJob::Terminated(call)) = &job;
    let Some(known) = calls.get_mut(call).filter(|known| !known.over) else { return };
    let call = call.clone();
    let mut say = |wire: &Wire<NodeJob>, m: Msg| {
        wire.send(known.from, &m);
        known.last = Some(m);
    };
    match job {
        NodeJob::Trying(_) => {
            say(wire, known.invite.reply(100, "Trying", "node"));
            wire.after(script.ring, NodeJob::Ring(call));
        }
        NodeJob::Ring(_) => {
            say(wire, known.invite.reply(180, "Ringing", "node"));
            wire.after(script.answer, NodeJob::Answer(call));
        }
        NodeJob::Answer(_) => {
            let mut ok = known.invite.reply(200, "OK", "node").with("Contact", &format!("<sip:node@{addr}>"));
            ok = ok.with("Content-Type", "application/sdp");
            ok.body = SDP.to_owned();
            known.over = true;
            wire.repeat(format!("A/{call}"), known.from, &ok, T2);
            known.last = Some(ok);
        }
        NodeJob::Terminated(_) => {
            let gone = known.invite.reply(487, "Request Terminated", "node");
            known.over = true;
            wire.repeat(format!("F/{call}"), known.from, &gone, T2);
            known.last = Some(gone);
        }
    }
}
