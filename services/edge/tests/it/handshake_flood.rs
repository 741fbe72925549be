//! Floods of TLS handshakes, and thousands of clients that begin something over TLS or WebSocket and never end it: calls go on
//! meanwhile, a carrier of the settings gets in, and afterwards nothing of them is left.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use edge::{Admit, Config, ListenerConfig, NodeConfig, ProbeConfig, Side, TlsConfig, Transport, TrunkConfig};
use testkit::agent::{Account, Agent, Target};
use testkit::pki::{self, Authority};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection};

use super::service::{LONG, Service};
use super::text::{Msg, invite};

const HOST: &str = "edge.example.com";

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A carrier and customers by address over everything, and a door for whoever has a certificate of `clients`.
fn config(node: SocketAddr, authority: &Authority, clients: &Authority) -> Config {
    let pair = authority.sign("edge", HOST);
    let listener = |id: &str, side, transport: Transport| ListenerConfig {
        id: id.into(),
        side,
        transport,
        bind: loopback(),
        tls: transport.is_tls().then(|| TlsConfig {
            cert: pair.cert.clone(),
            key: pair.key.clone(),
            client_ca: None,
            client_crl: None,
        }),
        ..ListenerConfig::default()
    };
    let mut door = listener("door", Side::Trunk, Transport::Tls);
    door.admit = Admit::Certificate;
    door.trunk = Some("t".into());
    if let Some(tls) = &mut door.tls {
        tls.client_ca = Some(clients.ca().to_owned());
    }
    let mut config = Config {
        // One address plays everybody here.
        admission: edge::AdmissionConfig { options_per_s: 0.0, registers_per_10s: 0.0, ..Default::default() },
        listeners: vec![
            listener("udp", Side::Trunk, Transport::Udp),
            listener("tls", Side::Trunk, Transport::Tls),
            listener("ws", Side::Trunk, Transport::Ws),
            door,
            listener("nodes", Side::Node, Transport::Udp),
        ],
        trunks: vec![TrunkConfig {
            id: "t".into(),
            sources: vec!["127.0.0.1".parse().unwrap(), "127.1.0.0/16".parse().unwrap()],
            ..TrunkConfig::default()
        }],
        nodes: vec![NodeConfig { id: "n".into(), address: node.into(), ..NodeConfig::default() }],
        probe: ProbeConfig { enabled: false, ..ProbeConfig::default() },
        ..Config::default()
    };
    config.streams.connections = 12_000;
    config
}

async fn connect(ip: [u8; 4], to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((ip, 0)))?;
    socket.connect(to).await
}

fn options(from: SocketAddr, edge: SocketAddr, call: &str) -> Msg {
    let m = invite(from, edge, call, "", 1);
    let mut m = Msg { start: format!("OPTIONS sip:{edge} SIP/2.0"), ..m }.set("CSeq", "1 OPTIONS");
    m.body.clear();
    m.without("Content-Type")
}

/// How long OPTIONS takes by UDP, a few hundred times.
async fn by_udp(service: &Service, name: &str) -> Vec<Duration> {
    let socket = UdpSocket::bind(loopback()).await.unwrap();
    let (own, edge) = (socket.local_addr().unwrap(), service.listener("udp"));
    let (mut times, mut buffer) = (Vec::new(), [0; 4_096]);
    for i in 0..300 {
        let sent = Instant::now();
        socket.send_to(&options(own, edge, &format!("{name}-{i}")).bytes(), edge).await.unwrap();
        let (length, _) = timeout(LONG, socket.recv_from(&mut buffer)).await.expect("an answer").unwrap();
        assert!(Msg::parse(&buffer[..length]).is("OPTIONS", 200) || Msg::parse(&buffer[..length]).is("OPTIONS", 503));
        times.push(sent.elapsed());
    }
    times
}

fn p99(what: &str, mut times: Vec<Duration>) -> Duration {
    times.sort();
    let (half, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    println!("  {what}: {half:.1?}, p99 {p99:.1?}");
    p99
}

/// What a client says first, as bytes.
fn hello(trust: &Arc<ClientConfig>) -> Vec<u8> {
    let name = ServerName::try_from(HOST).unwrap();
    let mut bytes = Vec::new();
    ClientConnection::new(Arc::clone(trust), name).unwrap().write_tls(&mut bytes).unwrap();
    bytes
}

fn upgrade() -> String {
    format!(
        "GET / HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: sip\r\n\r\n"
    )
}

/// Five thousand clients: handshakes half done, messages half sent over TLS, upgrades half asked for, frames half sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_slow_clients_over_tls_and_websocket_do_not_delay_a_call() {
    // Both ends live in this process.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let each = (5_000.min(limit.saturating_sub(1_000) / 2) / 10) as usize;
    let (authority, clients) = (Authority::new("ca"), Authority::new("clients"));
    let node = UdpSocket::bind(loopback()).await.unwrap();
    let mut config = config(node.local_addr().unwrap(), &authority, &clients);
    config.streams.handshakes = 4_000;
    (config.streams.handshake_ms, config.streams.upgrade_ms, config.streams.message_ms) = (60_000, 60_000, 60_000);
    let service = Service::start(config).await;
    let (tls, ws) = (service.listener("tls"), service.listener("ws"));
    let trust = pki::trusting(authority.ca(), None);
    let hello = hello(&trust);
    let begun = Instant::now();
    let mut sources = (0u32..).map(|i| [127, 1, (i / 50_000) as u8, (i / 200) as u8]);
    let mut source = || sources.next().unwrap();
    let (mut plain, mut secure) = (Vec::new(), Vec::new());
    for _ in 0..2 * each {
        for (edge, bytes) in [(tls, &hello[..hello.len() / 2]), (ws, &upgrade().as_bytes()[..60])] {
            let mut stream = connect(source(), edge).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            plain.push(stream);
        }
    }
    for _ in 0..3 * each {
        let stream = connect(source(), tls).await.unwrap();
        let name = ServerName::try_from(HOST).unwrap();
        let mut stream = TlsConnector::from(Arc::clone(&trust)).connect(name, stream).await.unwrap();
        stream.write_all(b"INVITE sip:+4930123456@edge SIP/2.0\r\nVia: SIP/2.0/TLS 127").await.unwrap();
        secure.push(stream);
        let mut stream = connect(source(), ws).await.unwrap();
        stream.write_all(upgrade().as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 101");
        // The head of a masked frame of 500 bytes, and ten of them.
        stream.write_all(&[0x82, 0xFE, 0x01, 0xF4, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await.unwrap();
        plain.push(stream);
    }
    let all = (10 * each) as u64;
    service.until("all in", || service.metric("edge_connections_open") >= all).await;
    println!("{all} slow clients in {:.1?}; beside them OPTIONS takes", begun.elapsed());
    let udp = p99("by UDP", by_udp(&service, "slow").await);
    let mut by_tls = Vec::new();
    let mut agent = {
        let account = Account { user: "alice".into(), password: "a".into(), domain: "example.com".into() };
        Agent::connect(account, Target::Tls(tls, HOST.into(), trust.clone())).await.unwrap()
    };
    for _ in 0..50 {
        let sent = Instant::now();
        // Nobody keeps registrations here: the edge says so itself.
        assert_eq!(agent.register(60).await.unwrap().status(), 405);
        by_tls.push(sent.elapsed());
    }
    let tls = p99("REGISTER by TLS", by_tls);
    assert!(udp < Duration::from_millis(100) && tls < Duration::from_millis(200), "{udp:?} {tls:?}");
    assert!(service.metric("edge_connections_open") > all, "all of them were there until now");
    drop((plain, secure, agent));
    service.until("none left", || service.metric("edge_connections_open") == 0).await;
    service.stop().await;
}

/// Strangers from hundreds of addresses begin handshakes as fast as they can and end none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_handshakes_keeps_no_carrier_out_and_delays_no_call() {
    let (authority, clients) = (Authority::new("ca"), Authority::new("clients"));
    let node = UdpSocket::bind(loopback()).await.unwrap();
    let mut config = config(node.local_addr().unwrap(), &authority, &clients);
    config.streams.handshakes = 64;
    config.streams.handshake_rate = 100;
    let service = Service::start(config).await;
    let (door, tls) = (service.listener("door"), service.listener("tls"));
    let trust = pki::trusting(authority.ca(), None);
    let (stop, tried) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut floods = Vec::new();
    for which in 0..4u8 {
        let (hello, stop, tried) = (hello(&trust), Arc::clone(&stop), Arc::clone(&tried));
        floods.push(crate::spawn(async move {
            let mut held = std::collections::VecDeque::new();
            for i in 0u32.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let ip = [127, 2, which, (i % 250) as u8 + 1];
                if let Ok(mut stream) = connect(ip, door).await {
                    let _may_be_closed = stream.write_all(&hello).await;
                    held.push_back(stream);
                    tried.fetch_add(1, Ordering::Relaxed);
                }
                if held.len() > 200 {
                    held.pop_front();
                }
            }
        }));
    }
    service.until("the flood is on", || service.metric("edge_connections_unopened_total") > 500).await;
    println!("a flood of handshakes; beside it");
    let udp = p99("OPTIONS by UDP", by_udp(&service, "flood").await);
    let mut carrier = Vec::new();
    for i in 0..20 {
        let sent = Instant::now();
        let account = Account { user: format!("c{i}"), password: "a".into(), domain: "example.com".into() };
        let connected = timeout(LONG, Agent::connect(account, Target::Tls(tls, HOST.into(), trust.clone())));
        let mut agent = connected.await.expect("in time").unwrap();
        assert_eq!(agent.register(60).await.unwrap().status(), 405);
        carrier.push(sent.elapsed());
    }
    let carrier = p99("handshake and REGISTER of a carrier", carrier);
    stop.store(true, Ordering::Relaxed);
    for flood in floods {
        flood.await.unwrap();
    }
    let (tried, refused) = (tried.load(Ordering::Relaxed), service.metric("edge_connections_unopened_total"));
    println!("  {tried} connections of strangers, {refused} closed without an end of their handshake");
    assert!(udp < Duration::from_millis(100) && carrier < Duration::from_secs(1), "{udp:?} {carrier:?}");
    service.until("none left", || service.metric("edge_connections_open") == 0).await;
    service.stop().await;
}
