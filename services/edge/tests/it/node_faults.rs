//! Nodes that fail half of their calls, hang, die and return, on real sockets: what a caller notices of it.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use edge::{Config, NodeConfig, TrunkConfig};

use super::service::{LONG, Service};
use super::text::{Dialog, Msg, invite};

const WELL: u8 = 0;
const HANGS: u8 = 1;
/// Answers probes, and three of five INVITEs with 503.
const FAILS: u8 = 2;
const DIES: u8 = 3;

struct Node {
    at: SocketAddr,
    mood: Arc<AtomicU8>,
    thread: Option<JoinHandle<()>>,
}

impl Node {
    fn start(at: SocketAddr) -> Node {
        let deadline = Instant::now() + LONG;
        let socket = loop {
            match UdpSocket::bind(at) {
                Ok(socket) => break socket,
                // Its port was lent to somebody for a moment.
                Err(_) if Instant::now() < deadline => std::thread::yield_now(),
                Err(e) => panic!("{at}: {e}"),
            }
        };
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let (at, mood) = (socket.local_addr().unwrap(), Arc::new(AtomicU8::new(WELL)));
        let seen = Arc::clone(&mood);
        let thread = std::thread::spawn(move || answer(&socket, &seen));
        Node { at, mood, thread: Some(thread) }
    }

    fn set(&self, mood: u8) {
        self.mood.store(mood, Ordering::SeqCst);
    }

    /// Its port is closed from now on.
    fn kill(&mut self) {
        self.set(DIES);
        self.thread.take().into_iter().for_each(|thread| thread.join().unwrap());
    }

    fn again(&mut self) {
        self.kill();
        *self = Node::start(self.at);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

fn answer(socket: &UdpSocket, mood: &AtomicU8) {
    let (mut buffer, mut invites) = ([0; 65_536], 0u64);
    loop {
        let heard = socket.recv_from(&mut buffer);
        let mood = mood.load(Ordering::SeqCst);
        if mood == DIES {
            return;
        }
        let Ok((length, edge)) = heard else { continue };
        let m = Msg::parse(&buffer[..length]);
        if mood == HANGS || m.status() > 0 || m.is("ACK", 0) {
            continue;
        }
        let fails = m.is("INVITE", 0) && mood == FAILS && {
            invites += 1;
            invites % 5 < 3
        };
        let contact = format!("<sip:n@{}>", socket.local_addr().unwrap());
        let reply = match fails {
            true => m.reply(503, "Service Unavailable", "n"),
            false => m.reply(200, "OK", "n").with("Contact", &contact),
        };
        // The edge may be gone at the end of the test.
        let _ = socket.send_to(&reply.bytes(), edge);
    }
}

struct Caller {
    socket: UdpSocket,
    edge: SocketAddr,
    calls: usize,
}

impl Caller {
    fn hear(&self, method: &str, call: &str) -> u16 {
        self.message(method, call).status()
    }

    /// The final answer.
    fn message(&self, method: &str, call: &str) -> Msg {
        let mut buffer = [0; 65_536];
        loop {
            let (length, _) = self.socket.recv_from(&mut buffer).unwrap();
            let m = Msg::parse(&buffer[..length]);
            if m.method() == method && m.call_id() == call && m.status() >= 200 {
                return m;
            }
        }
    }

    /// One whole call: its status, and how long that took.
    fn call(&mut self) -> (u16, Duration) {
        self.calls += 1;
        let (id, at) = (format!("call{}", self.calls), self.socket.local_addr().unwrap());
        let m = invite(at, self.edge, &id, "+4930123456", 1);
        let start = Instant::now();
        self.socket.send_to(&m.bytes(), self.edge).unwrap();
        let end = self.message("INVITE", &id);
        let took = start.elapsed();
        if end.status() >= 300 {
            self.socket.send_to(&m.ack_failure(&end).bytes(), self.edge).unwrap();
        } else {
            let mut dialog = Dialog::caller(at, &end);
            self.socket.send_to(&dialog.request("ACK").bytes(), self.edge).unwrap();
            self.socket.send_to(&dialog.request("BYE").bytes(), self.edge).unwrap();
        }
        (end.status(), took)
    }

    fn calls(&mut self, count: usize) -> Vec<(u16, Duration)> {
        (0..count).map(|_| self.call()).collect()
    }

    fn options(&mut self) -> u16 {
        self.calls += 1;
        let (id, at) = (format!("call{}", self.calls), self.socket.local_addr().unwrap());
        let m = invite(at, self.edge, &id, "edge", 1);
        let m = Msg { start: m.start.replace("INVITE", "OPTIONS"), ..m.set("CSeq", "1 OPTIONS") };
        self.socket.send_to(&m.bytes(), self.edge).unwrap();
        self.hear("OPTIONS", &id)
    }
}

fn all_well(calls: &[(u16, Duration)], limit: Duration) {
    assert!(calls.iter().all(|(status, _)| *status == 200), "{calls:?}");
    let slowest = calls.iter().map(|(_, took)| *took).max().unwrap();
    assert!(slowest <= limit, "{slowest:?}");
}

async fn three_nodes() -> (Service, Vec<Node>, Caller) {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let nodes: Vec<Node> = (0..3).map(|_| Node::start(loopback)).collect();
    let socket = UdpSocket::bind(loopback).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let node =
        |(i, n): (usize, &Node)| NodeConfig { id: format!("n{i}"), address: n.at.into(), ..NodeConfig::default() };
    let mut config = Config {
        trunks: vec![TrunkConfig {
            id: "t".into(),
            sources: vec![edge::Source::Port(socket.local_addr().unwrap())],
            ..TrunkConfig::default()
        }],
        nodes: nodes.iter().enumerate().map(node).collect(),
        ..Config::default()
    };
    config.listeners.iter_mut().for_each(|l| l.bind = loopback);
    let service = Service::start(config).await;
    let caller = Caller { socket, edge: service.edge.trunk_addr, calls: 0 };
    (service, nodes, caller)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_get_through_while_nodes_fail_hang_die_and_hear_so_at_once_when_none_is_left() {
    let (service, mut nodes, mut caller) = three_nodes().await;
    let state = |n: usize| service.edge.snapshot().nodes[n].state;
    tokio::task::block_in_place(|| {
        all_well(&caller.calls(30), Duration::from_secs(1));
        // Fails three of five: every caller gets through, and it soon gets no calls.
        nodes[2].set(FAILS);
        let deadline = Instant::now() + LONG;
        while service.metric("edge_breakers_opened_total") == 0 {
            assert!(Instant::now() < deadline, "it went on for ever");
            all_well(&caller.calls(10), Duration::from_secs(1));
        }
        nodes[2].set(WELL);
        // Dead: its port refuses, and that is known at once.
        nodes[0].kill();
        all_well(&caller.calls(30), Duration::from_secs(1));
    });
    service.until("the dead node is known to be down", || state(0) == "down").await;
    tokio::task::block_in_place(|| {
        // Hung: whoever was sent there goes elsewhere after 1.5 s.
        nodes[0].again();
        nodes[1].set(HANGS);
        all_well(&caller.calls(10), Duration::from_secs(3));
    });
    service.until("the hung node is down and the dead one up", || state(1) == "down" && state(0) == "up").await;
    nodes.iter_mut().for_each(Node::kill);
    service.until("none is up", || (0..3).all(|n| state(n) == "down")).await;
    tokio::task::block_in_place(|| {
        let calls = caller.calls(20);
        assert!(calls.iter().all(|(status, _)| *status == 503), "{calls:?}");
        // A busy machine may hold one of them up.
        let late = calls.iter().filter(|(_, took)| *took > Duration::from_millis(100)).count();
        assert!(late <= 1, "{calls:?}");
        assert_eq!(caller.options(), 503);
        nodes.iter_mut().for_each(Node::again);
    });
    service.until("all are back", || (0..3).all(|n| state(n) == "up")).await;
    tokio::task::block_in_place(|| {
        assert_eq!(caller.options(), 200);
        all_well(&caller.calls(20), Duration::from_secs(1));
    });
    service.stop().await;
}

/// E-08: two seconds silent, two seconds well, again and again. Over ten minutes it may change its state once in ten seconds, and cost no
/// more than every tenth call a second attempt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flapping_node_is_damped_and_no_caller_is_refused() {
    let (service, nodes, mut caller) = three_nodes().await;
    let span = Duration::from_millis(super::dispatch::seconds(40, 600));
    let (mut changes, mut calls) = (Vec::new(), Vec::new());
    tokio::task::block_in_place(|| {
        let (start, mut before) = (Instant::now(), "up");
        while start.elapsed() < span {
            let is_silent = start.elapsed().as_secs() % 4 < 2;
            nodes[2].set(if is_silent { HANGS } else { WELL });
            calls.push(caller.call());
            std::thread::sleep(Duration::from_millis(50));
            let state = service.edge.snapshot().nodes[2].state;
            if state != before {
                changes.push((start.elapsed(), state));
                before = state;
            }
        }
    });
    all_well(&calls, Duration::from_secs(4));
    // In the first minute it is not held for long yet.
    assert!(!changes.is_empty() && changes.len() as u64 <= (span.as_secs() / 10).max(8), "{changes:?}");
    let retried = calls.iter().filter(|(_, took)| *took > Duration::from_secs(1)).count();
    assert!(retried * 10 <= calls.len(), "{retried} of {}", calls.len());
    service.stop().await;
}
