//! Connections on real sockets: calls by TCP in both directions, who may connect, and peers that are slow on purpose.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use edge::{Config, ListenerConfig, NodeConfig, ProbeConfig, Side, StreamConfig, Transport, TrunkConfig};
use schemas::grammar;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::time::timeout;

use super::service::{LONG, Service};
use super::text::{Dialog, Msg, invite};

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn listener(id: &str, side: Side, transport: Transport) -> ListenerConfig {
    ListenerConfig { id: id.into(), side, transport, bind: loopback(0), ..ListenerConfig::default() }
}

/// One trunk on the loopback network, one node, both sides by UDP and TCP.
fn config(node: SocketAddr, transport: Transport) -> Config {
    Config {
        listeners: vec![
            listener("trunks", Side::Trunk, Transport::Udp),
            listener("nodes", Side::Node, Transport::Udp),
            listener("trunks-tcp", Side::Trunk, Transport::Tcp),
            listener("nodes-tcp", Side::Node, Transport::Tcp),
        ],
        trunks: vec![TrunkConfig {
            id: "t".into(),
            sources: vec!["127.0.0.1".parse().unwrap(), "127.1.0.0/16".parse().unwrap()],
            ..TrunkConfig::default()
        }],
        nodes: vec![NodeConfig {
            id: "n".into(),
            address: node.into(),
            transports: vec![transport],
            ..NodeConfig::default()
        }],
        probe: ProbeConfig { enabled: false, ..ProbeConfig::default() },
        // They ask more often than any peer does.
        admission: edge::AdmissionConfig { options_per_s: 0.0, ..edge::AdmissionConfig::default() },
        ..Config::default()
    }
}

/// A peer at the end of a connection.
struct Line {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Line {
    async fn connect(to: SocketAddr) -> Line {
        Line::of(TcpStream::connect(to).await.unwrap())
    }

    async fn from(ip: [u8; 4], to: SocketAddr) -> Line {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((ip, 0))).unwrap();
        Line::of(socket.connect(to).await.unwrap())
    }

    fn of(stream: TcpStream) -> Line {
        Line { stream, bytes: Vec::new() }
    }

    fn addr(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    async fn send(&mut self, m: &Msg) {
        let text = String::from_utf8(m.bytes()).unwrap().replace("SIP/2.0/UDP", "SIP/2.0/TCP");
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// More bytes; false at the end of the stream.
    async fn more(&mut self) -> bool {
        let got = timeout(LONG, self.stream.read_buf(&mut self.bytes)).await.expect("bytes in time");
        got.is_ok_and(|n| n > 0)
    }

    async fn next(&mut self) -> Msg {
        loop {
            let head = self.bytes.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4);
            if let Some(head) = head {
                let text = String::from_utf8_lossy(&self.bytes[..head]).into_owned();
                let length = text.lines().find_map(|l| l.strip_prefix("Content-Length: ")).unwrap().parse::<usize>();
                let whole = head + length.unwrap();
                if self.bytes.len() >= whole {
                    let message: Vec<u8> = self.bytes.drain(..whole).collect();
                    return Msg::parse(&message);
                }
            }
            assert!(self.more().await, "closed; have {:?}", String::from_utf8_lossy(&self.bytes));
        }
    }

    async fn expect(&mut self, method: &str, status: u16) -> Msg {
        let m = self.next().await;
        assert!(m.is(method, status), "expected {method} {status}, got {m:#?}");
        m
    }

    /// The stream ends, and not one byte came by it.
    async fn is_closed_in_silence(&mut self) {
        while self.more().await {}
        assert!(self.bytes.is_empty(), "{:?}", String::from_utf8_lossy(&self.bytes));
    }
}

async fn receive(socket: &UdpSocket, method: &str, status: u16) -> (Msg, SocketAddr) {
    let mut buffer = [0; 4_096];
    let (length, from) = timeout(LONG, socket.recv_from(&mut buffer)).await.expect("a packet").unwrap();
    let m = Msg::parse(&buffer[..length]);
    assert!(m.is(method, status), "expected {method} {status}, got {m:#?}");
    (m, from)
}

async fn udp() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(loopback(0)).await.unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

fn options(from: SocketAddr, edge: SocketAddr, call: &str) -> Msg {
    let m = invite(from, edge, call, "", 1);
    let mut m = Msg { start: format!("OPTIONS sip:{edge} SIP/2.0"), ..m }.set("CSeq", "1 OPTIONS");
    m.body.clear();
    m.without("Content-Type")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_by_tcp_passes_to_a_udp_node_and_is_told() {
    let (node, node_addr) = udp().await;
    let service = Service::start(config(node_addr, Transport::Udp)).await;
    let edge = service.listener("trunks-tcp");
    let mut trunk = Line::connect(edge).await;
    let own = trunk.addr();
    trunk.stream.write_all(b"\r\n\r\n").await.unwrap();
    while trunk.bytes.len() < 2 {
        assert!(trunk.more().await);
    }
    assert_eq!(trunk.bytes, b"\r\n", "a ping is answered (RFC 5626)");
    trunk.bytes.clear();
    // Two messages in one segment, and one in pieces.
    let call = invite(own, edge, "tcp-1", "+4930123456", 1);
    let text = String::from_utf8(call.bytes()).unwrap().replace("SIP/2.0/UDP", "SIP/2.0/TCP");
    let (one, two) = text.split_at(200);
    trunk.stream.write_all(one.as_bytes()).await.unwrap();
    trunk.stream.write_all(two.as_bytes()).await.unwrap();
    trunk.expect("INVITE", 100).await;
    let (offered, edge_node) = receive(&node, "INVITE", 0).await;
    let ok = offered.reply(200, "OK", "b").with("Contact", &format!("<sip:node@{node_addr}>"));
    node.send_to(&ok.bytes(), edge_node).await.unwrap();
    let answer = trunk.expect("INVITE", 200).await;
    let mut caller = Dialog::caller(own, &answer);
    let ack = caller.request("ACK");
    trunk.send(&ack).await;
    receive(&node, "ACK", 0).await;
    let mut callee = Dialog::callee(node_addr, &offered, &ok);
    node.send_to(&callee.request("BYE").bytes(), edge_node).await.unwrap();
    let bye = trunk.expect("BYE", 0).await;
    assert!(bye.header("Via").starts_with(&format!("SIP/2.0/TCP {edge};")));
    trunk.send(&bye.reply(200, "OK", "")).await;
    receive(&node, "BYE", 200).await;
    service.until("ended", || service.edge.snapshot().counters.ended == 1).await;
    let events = service.stories().await;
    let types: Vec<&str> = events.iter().map(|e| e.event_type.as_str()).collect();
    assert_eq!(types, ["attempt", "answered", "ended"]);
    let transport = events[0].transport.clone().unwrap();
    assert_eq!(transport.transport.as_deref(), Some("tcp"));
    assert_eq!((transport.source_port, transport.destination_port), (Some(own.port()), Some(edge.port())));
    grammar::check(&events).unwrap();
    assert_eq!(service.metric("edge_connections_accepted_total"), 1);
    service.stop().await;
    assert!(!trunk.more().await, "a stopped edge closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_udp_trunk_reaches_a_tcp_node_over_one_connection_that_is_made_again_when_it_broke() {
    let door = TcpListener::bind(loopback(0)).await.unwrap();
    let node_addr = door.local_addr().unwrap();
    let (trunk, own) = udp().await;
    let service = Service::start(config(node_addr, Transport::Tcp)).await;
    let edge = service.listener("trunks");
    let mut node = None;
    for (call, made) in [("udp-1", 1), ("udp-2", 1), ("udp-3", 2)] {
        if call == "udp-3" {
            // The node restarts.
            node = None;
            service.until("forgotten", || service.metric("edge_connections_open") == 0).await;
        }
        trunk.send_to(&invite(own, edge, call, "+4930123456", 1).bytes(), edge).await.unwrap();
        receive(&trunk, "INVITE", 100).await;
        if node.is_none() {
            node = Some(Line::of(timeout(LONG, door.accept()).await.unwrap().unwrap().0));
        }
        let node = node.as_mut().unwrap();
        let offered = node.expect("INVITE", 0).await;
        assert!(offered.header("Via").starts_with(&format!("SIP/2.0/TCP {};", service.listener("nodes-tcp"))));
        let ok = offered.reply(200, "OK", "b").with("Contact", &format!("<sip:node@{node_addr};transport=tcp>"));
        node.stream.write_all(&ok.bytes()).await.unwrap();
        let (answer, _) = receive(&trunk, "INVITE", 200).await;
        let mut caller = Dialog::caller(own, &answer);
        trunk.send_to(&caller.request("ACK").bytes(), edge).await.unwrap();
        node.expect("ACK", 0).await;
        trunk.send_to(&caller.request("BYE").bytes(), edge).await.unwrap();
        let bye = node.expect("BYE", 0).await;
        node.stream.write_all(&bye.reply(200, "OK", "").bytes()).await.unwrap();
        receive(&trunk, "BYE", 200).await;
        assert_eq!(service.metric("edge_connections_made_total"), made);
    }
    service.until("ended", || service.edge.snapshot().counters.ended == 3).await;
    grammar::check(&service.stories().await).unwrap();
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tcp_node_that_nobody_is_at_costs_the_caller_one_moment() {
    let gone = TcpListener::bind(loopback(0)).await.unwrap().local_addr().unwrap();
    let (trunk, own) = udp().await;
    let service = Service::start(config(gone, Transport::Tcp)).await;
    let edge = service.listener("trunks");
    let begun = Instant::now();
    trunk.send_to(&invite(own, edge, "nobody", "+4930123456", 1).bytes(), edge).await.unwrap();
    receive(&trunk, "INVITE", 100).await;
    receive(&trunk, "INVITE", 503).await;
    assert!(begun.elapsed() < Duration::from_millis(1_400), "{:?}", begun.elapsed());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_and_those_beyond_the_caps_are_closed_without_a_byte() {
    let (_node, node_addr) = udp().await;
    let mut config = config(node_addr, Transport::Udp);
    config.streams = StreamConfig { connections: 3, connections_per_source: 2, ..StreamConfig::default() };
    let service = Service::start(config).await;
    let edge = service.listener("trunks-tcp");
    Line::from([127, 0, 0, 2], edge).await.is_closed_in_silence().await;
    // A trunk is nobody on the node side.
    let mut lost = Line::from([127, 1, 0, 1], service.listener("nodes-tcp")).await;
    lost.is_closed_in_silence().await;
    let mut held = Vec::new();
    for ip in [[127, 1, 0, 1], [127, 1, 0, 1], [127, 1, 0, 2]] {
        let mut line = Line::from(ip, edge).await;
        let own = line.addr();
        line.send(&options(own, edge, &format!("held-{}", own.port()))).await;
        line.expect("OPTIONS", 200).await;
        held.push(line);
        if held.len() == 2 {
            Line::from([127, 1, 0, 1], edge).await.is_closed_in_silence().await;
        }
    }
    Line::from([127, 1, 0, 3], edge).await.is_closed_in_silence().await;
    assert_eq!(service.metric("edge_connections_denied_total"), 2);
    assert_eq!(service.metric("edge_connections_over_cap_total"), 2);
    held.clear();
    service.until("places are given back", || service.metric("edge_connections_open") == 0).await;
    let mut line = Line::from([127, 1, 0, 3], edge).await;
    let own = line.addr();
    line.send(&options(own, edge, "again")).await;
    line.expect("OPTIONS", 200).await;
    service.until("told", || service.edge.snapshot().counters.denied_packets >= 4).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_read_is_cut_off_and_nobody_else_waits() {
    let (_node, node_addr) = udp().await;
    let mut config = config(node_addr, Transport::Udp);
    config.streams.line_bytes = 64 * 1024;
    let service = Service::start(config).await;
    let edge = service.listener("trunks-tcp");
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut deaf = Line::of(socket.connect(edge).await.unwrap());
    let own = deaf.addr();
    let mut sent = 0;
    let flood = async {
        // It asks and asks and never reads an answer.
        for i in 0..20_000 {
            let text = String::from_utf8(options(own, edge, &format!("deaf-{i}")).bytes()).unwrap();
            if deaf.stream.write_all(text.replace("SIP/2.0/UDP", "SIP/2.0/TCP").as_bytes()).await.is_err() {
                break;
            }
            sent = i;
        }
    };
    timeout(LONG, flood).await.expect("cut off in time");
    service.until("shed", || service.metric("edge_connections_shed_total") == 1).await;
    println!("cut off after {sent} requests");
    let mut polite = Line::connect(edge).await;
    let own = polite.addr();
    polite.send(&options(own, edge, "polite")).await;
    polite.expect("OPTIONS", 200).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_trickles_ends_its_connection_and_a_silent_one_ends_when_no_call_needs_it() {
    let (node, node_addr) = udp().await;
    let mut config = config(node_addr, Transport::Udp);
    config.streams = StreamConfig { message_ms: 400, idle_s: 1, ..StreamConfig::default() };
    let service = Service::start(config).await;
    let edge = service.listener("trunks-tcp");
    let mut mute = Line::connect(edge).await;
    mute.is_closed_in_silence().await;
    let mut slow = Line::connect(edge).await;
    let begun = Instant::now();
    for byte in b"INVITE sip:1@x SIP/2.0\r\nVia: ".iter().cycle() {
        if slow.stream.write_all(&[*byte]).await.is_err() || begun.elapsed() > LONG {
            break;
        }
        let _ = timeout(Duration::from_millis(20), slow.more()).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let mut idle = Line::connect(edge).await;
    let own = idle.addr();
    idle.send(&options(own, edge, "idle")).await;
    idle.expect("OPTIONS", 200).await;
    let mut busy = Line::connect(edge).await;
    let own = busy.addr();
    busy.send(&invite(own, edge, "busy", "+4930123456", 1)).await;
    busy.expect("INVITE", 100).await;
    let (offered, edge_node) = receive(&node, "INVITE", 0).await;
    assert!(!idle.more().await);
    service.until("counted", || service.metric("edge_connections_idle_total") == 1).await;
    node.send_to(&offered.reply(486, "Busy Here", "b").bytes(), edge_node).await.unwrap();
    busy.expect("INVITE", 486).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balancer_says_who_the_client_is_and_nobody_else_may() {
    let (node, node_addr) = udp().await;
    let mut config = config(node_addr, Transport::Udp);
    config.listeners[2].balancers = vec!["127.0.0.9".parse().unwrap()];
    config.trunks[0].sources = vec!["198.51.100.0/24".parse().unwrap()];
    config.trunks.push(TrunkConfig {
        id: "direct".into(),
        sources: vec!["127.0.0.1".parse().unwrap()],
        ..TrunkConfig::default()
    });
    let service = Service::start(config).await;
    let edge = service.listener("trunks-tcp");
    let header = |client: [u8; 4]| {
        let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
        bytes.extend(client);
        bytes.extend([127, 0, 0, 1, 0xa0, 0x00, 0x13, 0xc4]);
        bytes
    };
    let mut client = Line::from([127, 0, 0, 9], edge).await;
    client.stream.write_all(&header([198, 51, 100, 7])).await.unwrap();
    let claimed: SocketAddr = "198.51.100.7:40960".parse().unwrap();
    client.send(&invite(claimed, edge, "proxied", "+4930123456", 1)).await;
    client.expect("INVITE", 100).await;
    let (offered, edge_node) = receive(&node, "INVITE", 0).await;
    node.send_to(&offered.reply(486, "Busy Here", "b").bytes(), edge_node).await.unwrap();
    client.expect("INVITE", 486).await;
    let stranger = header([203, 0, 113, 7]);
    for (ip, first) in [([127, 0, 0, 9], &stranger[..]), ([127, 0, 0, 9], b"OPTIONS sip:x SIP/2.0\r\n")] {
        let mut line = Line::from(ip, edge).await;
        line.stream.write_all(first).await.unwrap();
        line.is_closed_in_silence().await;
    }
    // A trunk that is no balancer does not become somebody else by it.
    let mut direct = Line::connect(edge).await;
    direct.stream.write_all(&header([198, 51, 100, 7])).await.unwrap();
    while direct.more().await {}
    let events = service.stories().await;
    assert_eq!(events[0].source_id, "t");
    let transport = events[0].transport.clone().unwrap();
    assert_eq!(transport.source_ip.as_deref(), Some("198.51.100.7"));
    assert_eq!((transport.client_ip.as_deref(), transport.client_port), (Some("198.51.100.7"), Some(40960)));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listeners_of_ipv6_carry_calls_by_udp_and_tcp() {
    if UdpSocket::bind("[::1]:0").await.is_err() {
        return println!("skipped: this machine has no IPv6");
    }
    let (node, node_addr) = udp().await;
    let mut config = config(node_addr, Transport::Udp);
    let six: SocketAddr = "[::1]:0".parse().unwrap();
    config.listeners.push(ListenerConfig { bind: six, ..listener("six", Side::Trunk, Transport::Udp) });
    config.listeners.push(ListenerConfig { bind: six, ..listener("six-tcp", Side::Trunk, Transport::Tcp) });
    config.trunks[0].sources.push("::1".parse().unwrap());
    let service = Service::start(config).await;
    let (edge_udp, edge_tcp) = (service.listener("six"), service.listener("six-tcp"));
    let trunk = UdpSocket::bind(six).await.unwrap();
    let own = trunk.local_addr().unwrap();
    trunk.send_to(&invite(own, edge_udp, "six-udp", "+4930123456", 1).bytes(), edge_udp).await.unwrap();
    receive(&trunk, "INVITE", 100).await;
    let (offered, edge_node) = receive(&node, "INVITE", 0).await;
    assert!(offered.all("Record-Route")[1].contains(&format!("@{edge_udp};lr")));
    node.send_to(&offered.reply(486, "Busy Here", "b").bytes(), edge_node).await.unwrap();
    receive(&node, "ACK", 0).await;
    receive(&trunk, "INVITE", 486).await;
    let mut line = Line::connect(edge_tcp).await;
    let own = line.addr();
    line.send(&invite(own, edge_tcp, "six-tcp", "+4930123456", 1)).await;
    line.expect("INVITE", 100).await;
    let (offered, _) = receive(&node, "INVITE", 0).await;
    assert!(offered.all("Record-Route")[1].contains(&format!("@{edge_tcp};transport=tcp;lr")));
    node.send_to(&offered.reply(486, "Busy Here", "b").bytes(), edge_node).await.unwrap();
    line.expect("INVITE", 486).await;
    service.stop().await;
}

/// Five thousand clients hold a half-sent message each while calls go on; then all of them are gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_slow_connections_do_not_delay_a_call() {
    // Both ends live in this process.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let clients = 5_000.min(limit.saturating_sub(1_000) / 2);
    if clients < 5_000 {
        println!("only {clients}: this process may open {limit} files");
    }
    let (_node, node_addr) = udp().await;
    let mut config = config(node_addr, Transport::Udp);
    config.streams.message_ms = 8_000;
    config.streams.connections = 12_000;
    let service = Service::start(config).await;
    let edge = service.listener("trunks-tcp");
    let begun = Instant::now();
    let mut held = Vec::new();
    for i in 0..clients {
        // 250 from each address: the cap per source is 256.
        let mut line = Line::from([127, 1, 1, (i / 250) as u8], edge).await;
        line.stream.write_all(b"INVITE sip:+4930123456@edge SIP/2.0\r\nVia: SIP/2.0/TCP 127").await.unwrap();
        held.push(line);
    }
    service.until("all open", || service.metric("edge_connections_open") >= clients).await;
    let opened = begun.elapsed();
    let (trunk, own) = udp().await;
    let edge_udp = service.listener("trunks");
    let mut times = Vec::new();
    for i in 0..500 {
        let sent = Instant::now();
        trunk.send_to(&options(own, edge_udp, &format!("o-{i}")).bytes(), edge_udp).await.unwrap();
        receive(&trunk, "OPTIONS", 200).await;
        times.push(sent.elapsed());
        // They trickle on meanwhile.
        let at = i * 10 % held.len();
        let _ = held[at].stream.write_all(b".").await;
    }
    let mut busy = Line::connect(edge).await;
    let own = busy.addr();
    let mut by_tcp = Vec::new();
    for i in 0..500 {
        let sent = Instant::now();
        busy.send(&options(own, edge, &format!("t-{i}"))).await;
        busy.expect("OPTIONS", 200).await;
        by_tcp.push(sent.elapsed());
    }
    println!("{clients} slow connections opened in {opened:.1?}; beside them OPTIONS takes");
    for (name, mut times) in [("UDP", times), ("TCP", by_tcp)] {
        times.sort();
        let (half, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        println!("  by {name} {half:.1?}, p99 {p99:.1?}");
        assert!(p99 < Duration::from_millis(100), "{p99:?}");
    }
    drop(busy);
    service.until("all cut off", || service.metric("edge_connections_slow_total") == clients).await;
    service.until("none left", || service.metric("edge_connections_open") == 0).await;
    service.stop().await;
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// SIPp, whose TCP is not ours, where it is installed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipp_calls_by_tcp_pass_to_a_sipp_node_by_tcp_and_by_udp() {
    if Command::new("sipp").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        return println!("skipped: sipp is not installed");
    }
    for (transport, mode) in [(Transport::Tcp, "t1"), (Transport::Udp, "u1")] {
        let port = std::net::TcpListener::bind(loopback(0)).unwrap().local_addr().unwrap().port();
        let own = std::net::TcpListener::bind(loopback(0)).unwrap().local_addr().unwrap().port();
        let service = Service::start(config(loopback(port), transport)).await;
        let scenarios = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/sipp");
        let sipp = |scenario: &str, mode: &str, port: u16| {
            let mut command = Command::new("sipp");
            let scenario = format!("{scenarios}/{scenario}");
            command.args(["-sf", &scenario, "-i", "127.0.0.1", "-t", mode, "-p", &port.to_string(), "-nostdin"]);
            command.stdout(Stdio::null()).stderr(Stdio::piped());
            command
        };
        let node = Killed(sipp("node.xml", mode, port).spawn().unwrap());
        let ready = || {
            // Its socket is bound: nobody else can have the port.
            match transport {
                Transport::Tcp => std::net::TcpListener::bind(loopback(port)).is_err(),
                _ => std::net::UdpSocket::bind(loopback(port)).is_err(),
            }
        };
        service.until("the node listens", ready).await;
        let edge = service.listener("trunks-tcp").to_string();
        let mut caller = sipp("caller.xml", "t1", own);
        caller.args(["-s", "+4930123456", "-m", "50", "-r", "50", "-d", "100", "-timeout", "25", &edge]);
        let output = tokio::task::spawn_blocking(move || caller.output()).await.unwrap().unwrap();
        assert!(output.status.success(), "{mode}: {}", String::from_utf8_lossy(&output.stderr));
        drop(node);
        service.until("ended", || service.edge.snapshot().counters.ended == 50).await;
        let events = service.stories().await;
        assert_eq!(events.len(), 150, "{mode}");
        grammar::check(&events).unwrap();
        assert!(events.iter().filter_map(|e| e.transport.as_ref()).all(|t| t.transport.as_deref() == Some("tcp")));
        assert_eq!(service.metric("edge_connections_unsent_total"), 0);
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_breaks_its_stream_is_answered_and_then_the_connection_ends() {
    let (_node, node_addr) = udp().await;
    let service = Service::start(config(node_addr, Transport::Udp)).await;
    let edge = service.listener("trunks-tcp");
    for (i, (from, to)) in [
        ("Content-Length: ", "Content-Length: -"),
        ("Content-Length: ", "X-Length: "),
        ("Max-Forwards: 70", "Max-Forwards: 70\nX: bare"),
        (" SIP/2.0\r\nVia", "  SIP/2.0\r\nVia"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut line = Line::connect(edge).await;
        let text = String::from_utf8(options(line.addr(), edge, "broken").bytes()).unwrap();
        let text = text.replace("SIP/2.0/UDP", "SIP/2.0/TCP").replacen(from, to, 1);
        // What stands behind it is not read.
        line.stream.write_all(format!("{text}{text}").as_bytes()).await.unwrap();
        let answer = line.next().await;
        assert_eq!(answer.status(), 400, "{from:?} to {to:?}");
        assert!(!line.more().await && line.bytes.is_empty(), "{from:?} to {to:?}");
        let counted = || service.metric("edge_connections_broken_total") == i as u64 + 1;
        service.until("counted", counted).await;
    }
    service.stop().await;
}
