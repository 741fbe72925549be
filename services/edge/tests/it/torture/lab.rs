//! One proxy that bytes are thrown at, over a datagram or over a stream, and everything that it says in return, as bytes.
//!
//! Checked on every input, whatever it was: nothing goes anywhere but back to the sender and to the nodes, what goes to a node is
//! read alike by three readers, and no request has two different final answers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::Duration;

use domain::Now;
use edge::core::{Action, Flow, Hop, Input, Proxy};
use edge::{ListenerConfig, Side, Transport};
use sip::framing::{Frame, Framer, FramerConfig, Input as Chunk};
use sip::{Index, Message};

use super::reread;
use crate::world::{NODE_SIDE, TRUNK_SIDE, World, config, edge_node, edge_trunk, n1, n2, t1};

const TRUNK_STREAM: u16 = 2;

fn edge_trunk_stream() -> SocketAddr {
    "192.0.2.1:5062".parse().unwrap()
}

/// Node inboxes: which node, and the bytes.
type ToNode = (SocketAddr, Vec<u8>);

pub struct Lab {
    pub proxy: Proxy,
    pub now: Now,
    pub to_node: Vec<ToNode>,
    pub to_sender: Vec<Vec<u8>>,
    /// The stream was to be closed, without an answer or behind it.
    pub is_closed: bool,
    flow: u64,
    finals: HashMap<String, u16>,
}

/// What the sender of one message sees at once, and later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It went to one node; the sender has a 100.
    Node,
    Final(u16),
    FinalAndClose(u16),
    Silence,
    /// Nothing, until the stream is closed for want of the rest.
    WaitAndClose,
    Close,
}

impl Lab {
    pub fn new() -> Lab {
        Lab::with(config())
    }

    pub fn with(mut config: edge::Config) -> Lab {
        config.listeners.push(ListenerConfig {
            id: "trunks-tcp".into(),
            side: Side::Trunk,
            transport: Transport::Tcp,
            bind: edge_trunk_stream(),
            ..ListenerConfig::default()
        });
        let world = World::bound(config, vec![edge_trunk(), edge_node(), edge_trunk_stream()]);
        Lab {
            proxy: world.proxy,
            now: world.now,
            to_node: Vec::new(),
            to_sender: Vec::new(),
            is_closed: false,
            flow: 0,
            finals: HashMap::new(),
        }
    }

    pub fn give(&mut self, input: Input<'_>) {
        self.proxy.handle(self.now, input);
        while let Some(action) = self.proxy.poll() {
            let (hop, bytes) = match action {
                Action::Send { hop, bytes } => (hop, bytes.to_vec()),
                Action::CloseFlow { .. } => {
                    self.is_closed = true;
                    continue;
                }
                _ => continue,
            };
            // Without rport an answer goes to the port that the Via names (RFC 3261 §18.2.2).
            if hop.addr.ip() == t1().ip() {
                self.note_answer(&bytes);
                self.to_sender.push(bytes);
            } else {
                assert!([n1(), n2()].contains(&hop.addr), "{} gets {}", hop.addr, bytes.escape_ascii());
                assert_eq!(hop.listener, NODE_SIDE);
                check_forwarded(&bytes);
                self.to_node.push((hop.addr, bytes));
            }
        }
    }

    /// At most one final status per transaction, however often it is sent.
    fn note_answer(&mut self, bytes: &[u8]) {
        if !bytes.starts_with(b"SIP/2.0 ") {
            return;
        }
        let status = status(bytes);
        let head = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(bytes.len());
        // Everything below the start line but tag and received is the request's own.
        let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
        let lines: Vec<&str> = text.split("\r\n").skip(1).filter(|line| !is_to(line)).collect();
        if status >= 200 {
            let first = *self.finals.entry(lines.join("\n")).or_insert(status);
            assert_eq!(first, status, "a second final answer: {text}");
        }
    }

    pub fn datagram(&mut self, bytes: &[u8]) {
        self.give(Input::Datagram { hop: Hop::to(TRUNK_SIDE, t1()), bytes });
    }

    /// A connection of its own that carries these bytes in pieces and then stays silent.
    pub fn stream(&mut self, bytes: &[u8], piece: usize) {
        self.flow += 1;
        let flow = Flow::new(NonZeroU64::new(self.flow).unwrap());
        let mut framer = Framer::new(self.now.mono_us, FramerConfig::default());
        for part in bytes.chunks(piece.max(1)) {
            framer.handle(self.now.mono_us, Chunk::Bytes(part));
            self.take_frames(&mut framer, flow);
        }
        let at = framer.deadline().filter(|_| framer.buffered() > 0);
        if let Some(at) = at {
            self.pass(Duration::from_micros(at - self.now.mono_us));
            framer.handle(at, Chunk::Tick);
            self.take_frames(&mut framer, flow);
        }
        self.give(Input::FlowClosed { flow });
    }

    fn take_frames(&mut self, framer: &mut Framer, flow: Flow) {
        let hop = Hop::on(TRUNK_STREAM, t1(), flow);
        while let Some(frame) = framer.poll() {
            match frame {
                Frame::Message(message) => self.give(Input::Message { hop, identity: None, bytes: &message }),
                Frame::Broken { head, reject } => {
                    self.give(Input::Broken { hop, identity: None, head: &head, reject });
                    assert!(self.is_closed, "a broken stream is closed");
                }
                Frame::Close(_) => self.is_closed = true,
                Frame::Ping => {}
            }
        }
    }

    pub fn pass(&mut self, span: Duration) {
        let end = self.now.plus(span);
        while let Some(at) = self.proxy.deadline().filter(|&at| at <= end.mono_us) {
            self.now = self.now.plus_us(at.saturating_sub(self.now.mono_us));
            self.give(Input::Timer);
        }
        self.now = end;
    }

    /// What became of what was just given, before any time has passed.
    pub fn outcome(&self, waited: bool) -> Outcome {
        let answers: Vec<u16> = self.to_sender.iter().map(|bytes| status(bytes)).collect();
        match (&self.to_node[..], &answers[..], self.is_closed) {
            ([_], [100], false) => Outcome::Node,
            ([], [], true) if waited => Outcome::WaitAndClose,
            ([], [], true) => Outcome::Close,
            ([], [], false) => Outcome::Silence,
            ([], &[status], false) if status >= 200 => Outcome::Final(status),
            ([], &[status], true) if status >= 200 => Outcome::FinalAndClose(status),
            other => panic!("{other:?}"),
        }
    }

    pub fn forget(&mut self) {
        self.to_node.clear();
        self.to_sender.clear();
        self.finals.clear();
        self.is_closed = false;
    }

    /// Lets every timer run out and looks that nothing is left.
    pub fn settle(&mut self) {
        self.pass(Duration::from_secs(240));
        let s = self.proxy.snapshot(self.now.wall_us);
        assert_eq!((s.transactions, s.setting_up, s.dialogs), (0, 0, 0), "something is kept for ever");
        self.forget();
    }
}

fn status(answer: &[u8]) -> u16 {
    std::str::from_utf8(&answer[8..11]).unwrap().parse().unwrap()
}

fn is_to(line: &str) -> bool {
    let name = line.split(':').next().unwrap_or_default().trim();
    name.eq_ignore_ascii_case("to") || name.eq_ignore_ascii_case("t")
}

/// Our parser, a strict reader of a few lines and rsip read the same in what a node gets.
fn check_forwarded(bytes: &[u8]) {
    let mut index = Index::new();
    let m = index.parse(bytes).unwrap_or_else(|e| panic!("we send what we refuse: {e}: {}", bytes.escape_ascii()));
    reread::strictly(&m, bytes);
    reread::by_rsip(&m, bytes);
}

/// What must reach the node as the sender wrote it.
pub fn check_same_call(sent: &Message<'_>, received: &[u8]) {
    let mut index = Index::new();
    let m = index.parse(received).unwrap();
    assert_eq!(m.method_token(), sent.method_token());
    assert_eq!((m.call_id(), m.cseq()), (sent.call_id(), sent.cseq()));
    assert_eq!((m.from_tag(), m.to_tag()), (sent.from_tag(), sent.to_tag()));
    assert_eq!(m.body(), sent.body());
    let user = |m: &Message<'_>| sip::Uri::parse(m.uri()).unwrap().user.unwrap_or_default().to_vec();
    assert_eq!(user(&m), user(sent));
    assert_eq!(m.values(sip::Name::Via).count(), sent.values(sip::Name::Via).count() + 1);
    let left = sent.max_forwards().map_or(70, |n| n - 1);
    assert_eq!(m.max_forwards(), Some(left));
}
