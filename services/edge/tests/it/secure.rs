//! TLS and WebSocket on real sockets: a user agent with other people's TLS and WebSocket calls through the edge, certificates
//! decide who enters and who is called, and they change while calls are up.

use std::net::SocketAddr;
use std::time::Duration;

use edge::{
    Config, ListenerConfig, NodeConfig, ProbeConfig, RouteConfig, Side, TlsConfig, TlsPeerConfig, Transport,
    TrunkConfig,
};
use schemas::grammar;
use testkit::agent::{Account, Agent, Target};
use testkit::pki::{self, Authority, Pair};
use testkit::text::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::service::{LONG, Service};

const HOST: &str = "edge.example.com";

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn tls(pair: &Pair) -> TlsConfig {
    TlsConfig { cert: pair.cert.clone(), key: pair.key.clone(), client_ca: None, client_crl: None }
}

fn config(node: SocketAddr, pair: &Pair) -> Config {
    let listener = |transport: Transport| ListenerConfig {
        id: transport.as_str().to_owned(),
        transport,
        bind: loopback(),
        tls: matches!(transport, Transport::Tls | Transport::Wss).then(|| tls(pair)),
        ..ListenerConfig::default()
    };
    let mut listeners: Vec<ListenerConfig> =
        [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss].map(listener).to_vec();
    listeners.push(ListenerConfig {
        id: "nodes".into(),
        side: Side::Node,
        bind: loopback(),
        ..ListenerConfig::default()
    });
    Config {
        listeners,
        trunks: vec![TrunkConfig {
            id: "clients".into(),
            sources: vec!["127.0.0.1".parse().unwrap()],
            ..TrunkConfig::default()
        }],
        nodes: vec![NodeConfig { id: "n".into(), address: node.into(), ..NodeConfig::default() }],
        probe: ProbeConfig { enabled: false, ..ProbeConfig::default() },
        ..Config::default()
    }
}

fn account(user: &str) -> Account {
    Account { user: user.into(), password: "secret".into(), domain: "example.com".into() }
}

/// A node that answers every call and every BYE, for as long as it is polled.
async fn answering(node: &UdpSocket) {
    let own = node.local_addr().unwrap();
    let mut bytes = vec![0; 65_536];
    loop {
        let (length, from) = node.recv_from(&mut bytes).await.unwrap();
        let Some(m) = Message::parse(&bytes[..length]) else { continue };
        let reply = match m.method() {
            "INVITE" | "BYE" if m.status() == 0 => {
                m.reply(200, "OK", "node").with("Contact", format!("<sip:node@{own}>"))
            }
            _ => continue,
        };
        node.send_to(&reply.bytes(), from).await.unwrap();
    }
}

/// Both together; the first one ends it.
async fn beside<T>(node: &UdpSocket, script: impl Future<Output = T>) -> T {
    tokio::select! {
        () = answering(node) => unreachable!("a node answers for ever"),
        done = timeout(LONG, script) => done.expect("in time"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_agent_calls_over_every_transport_and_the_story_says_which() {
    let authority = Authority::new("ca");
    let node = UdpSocket::bind(loopback()).await.unwrap();
    let service = Service::start(config(node.local_addr().unwrap(), &authority.sign("edge", HOST))).await;
    let trust = pki::trusting(authority.ca(), None);
    let targets = [
        ("udp", Target::Udp(service.listener("udp"))),
        ("tcp", Target::Tcp(service.listener("tcp"))),
        ("tls", Target::Tls(service.listener("tls"), HOST.into(), trust.clone())),
        ("ws", Target::Ws(service.listener("ws"))),
        ("wss", Target::Wss(service.listener("wss"), HOST.into(), trust)),
    ];
    for (_, target) in &targets {
        beside(&node, async {
            let mut agent = Agent::connect(account("alice"), target.clone()).await.unwrap();
            let call = agent.call("+4930123456").await.unwrap();
            let mut call = agent.answered(&call).await.unwrap();
            agent.hang_up(&mut call).await.unwrap();
        })
        .await;
    }
    service.until("ended", || service.edge.snapshot().counters.ended == 5).await;
    let events = service.stories().await;
    grammar::check(&events).unwrap();
    let attempts: Vec<_> = events.iter().filter(|e| e.event_type == "attempt").collect();
    for ((name, _), attempt) in targets.iter().zip(attempts) {
        let transport = attempt.transport.clone().unwrap();
        assert_eq!(transport.transport.as_deref(), Some(*name));
        let version = ["tls", "wss"].contains(name).then_some("TLSv1_3");
        assert_eq!(transport.tls_version.as_deref(), version, "{name}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_an_authority_of_clients_the_certificate_is_asked_for_and_told() {
    let (authority, clients) = (Authority::new("ca"), Authority::new("clients"));
    let node = UdpSocket::bind(loopback()).await.unwrap();
    let mut config = config(node.local_addr().unwrap(), &authority.sign("edge", HOST));
    for listener in &mut config.listeners {
        if let Some(tls) = &mut listener.tls {
            tls.client_ca = Some(clients.ca().to_owned());
        }
    }
    let service = Service::start(config).await;
    let own = clients.sign("carrier", "sbc.carrier.example");
    let trust = pki::trusting(authority.ca(), Some(&own));
    let wss = service.listener("wss");
    beside(&node, async {
        let mut agent = Agent::connect(account("alice"), Target::Wss(wss, HOST.into(), trust)).await.unwrap();
        let call = agent.call("+4930123456").await.unwrap();
        let mut call = agent.answered(&call).await.unwrap();
        agent.hang_up(&mut call).await.unwrap();
        let stranger = pki::trusting(authority.ca(), None);
        assert!(Agent::connect(account("eve"), Target::Wss(wss, HOST.into(), stranger)).await.is_err());
    })
    .await;
    service.until("refused", || service.metric("edge_connections_unopened_total") == 1).await;
    let events = service.stories().await;
    let transport = events[0].transport.clone().unwrap();
    assert_eq!(transport.tls_peer_subject.as_deref(), Some("sbc.carrier.example"));
    service.stop().await;
}

/// One answered request for the admin routes.
async fn admin(service: &Service, request: &str) -> String {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let routes = service.edge.routes();
    let ask = async {
        let text = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        reply
    };
    tokio::select! {
        served = axum::serve(listener, routes).into_future() => panic!("{served:?}"),
        reply = ask => reply,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_is_shown_to_new_connections_while_a_call_stays_up() {
    let authority = Authority::new("ca");
    let node = UdpSocket::bind(loopback()).await.unwrap();
    let service = Service::start(config(node.local_addr().unwrap(), &authority.sign("edge", HOST))).await;
    let trust = pki::trusting(authority.ca(), None);
    let target = |name: &str| Target::Tls(service.listener("tls"), name.into(), trust.clone());
    beside(&node, async {
        let mut old = Agent::connect(account("old"), target(HOST)).await.unwrap();
        let call = old.call("+4930123456").await.unwrap();
        let mut call = old.answered(&call).await.unwrap();

        let _ = authority.sign("edge", "new.example.com");
        let reply = admin(&service, "POST /v1/certificates/reload").await;
        assert!(reply.starts_with("HTTP/1.1 200") && reply.contains("\"renewed\":true"), "{reply}");
        let shown = admin(&service, "GET /v1/certificates").await;
        assert!(shown.contains("new.example.com") && !shown.contains(HOST), "{shown}");
        assert!(service.metrics.encode().contains("edge_certificate_expires_seconds{kind=\"listener\",id=\"tls\"}"));

        assert!(Agent::connect(account("late"), target(HOST)).await.is_err(), "the old name is not shown any more");
        let mut new = Agent::connect(account("new"), target("new.example.com")).await.unwrap();
        let second = new.call("+4930123457").await.unwrap();
        let mut second = new.answered(&second).await.unwrap();
        new.hang_up(&mut second).await.unwrap();
        old.hang_up(&mut call).await.unwrap();
    })
    .await;
    service.until("ended", || service.edge.snapshot().counters.ended == 2).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_carrier_is_called_over_tls_when_its_certificate_has_its_name_and_else_not_at_all() {
    let (authority, carrier_ca) = (Authority::new("ca"), Authority::new("carrier"));
    let door = TcpListener::bind(loopback()).await.unwrap();
    let acceptor = TlsAcceptor::from(pki::server(&carrier_ca.sign("sbc", "sbc.carrier.example")));
    for (name, fits) in [("sbc.carrier.example", true), ("other.example", false)] {
        let node = UdpSocket::bind(loopback()).await.unwrap();
        let mut config = config(node.local_addr().unwrap(), &authority.sign("edge", HOST));
        config.trunks.push(TrunkConfig {
            id: "carrier".into(),
            address: Some(door.local_addr().unwrap().into()),
            transports: vec![Transport::Tls],
            tls: Some(TlsPeerConfig {
                ca: Some(carrier_ca.ca().to_owned()),
                server_name: Some(name.to_owned()),
                ..TlsPeerConfig::default()
            }),
            ..TrunkConfig::default()
        });
        config.routes = vec![RouteConfig { trunks: vec!["carrier".into()], ..RouteConfig::default() }];
        let service = Service::start(config).await;
        let own = node.local_addr().unwrap();
        let invite = Message::request("INVITE", "sip:+4930123456@example.com")
            .with("Via", format!("SIP/2.0/UDP {own};branch=z9hG4bKout;rport"))
            .with("Max-Forwards", "70")
            .with("From", "<sip:node@example.com>;tag=n")
            .with("To", "<sip:+4930123456@example.com>")
            .with("Call-ID", format!("out-{name}"))
            .with("CSeq", "1 INVITE")
            .with("Contact", format!("<sip:node@{own}>"));
        node.send_to(&invite.bytes(), service.listener("nodes")).await.unwrap();
        let accepted = timeout(LONG, async { acceptor.accept(door.accept().await.unwrap().0).await }).await.unwrap();
        let mut bytes = vec![0; 65_536];
        if fits {
            let mut stream = accepted.unwrap();
            let length = timeout(LONG, stream.read(&mut bytes)).await.unwrap().unwrap();
            let got = Message::parse(&bytes[..length]).unwrap();
            assert!(got.is("INVITE", 0) && got.get("Via").starts_with("SIP/2.0/TLS "), "{got:#?}");
            assert!(got.get("Record-Route").contains(";transport=tls"), "{got:#?}");
            stream.write_all(&got.reply(486, "Busy Here", "c").bytes()).await.unwrap();
        }
        let wanted = if fits { 486 } else { 503 };
        loop {
            let (length, _) = timeout(LONG, node.recv_from(&mut bytes)).await.expect("an answer").unwrap();
            let got = Message::parse(&bytes[..length]).unwrap();
            if got.status() >= 200 {
                assert_eq!(got.status(), wanted, "{name}");
                break;
            }
        }
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_do_not_end_are_given_up_while_calls_go_on() {
    let authority = Authority::new("ca");
    let node = UdpSocket::bind(loopback()).await.unwrap();
    let mut config = config(node.local_addr().unwrap(), &authority.sign("edge", HOST));
    config.streams.connections_per_source = 200;
    let service = Service::start(config).await;
    let mut silent = Vec::new();
    for id in ["tls", "wss", "ws"] {
        for _ in 0..20 {
            silent.push(TcpStream::connect(service.listener(id)).await.unwrap());
        }
    }
    let trust = pki::trusting(authority.ca(), None);
    beside(&node, async {
        let target = Target::Wss(service.listener("wss"), HOST.into(), trust);
        let mut agent = Agent::connect(account("alice"), target).await.unwrap();
        let call = agent.call("+4930123456").await.unwrap();
        let mut call = agent.answered(&call).await.unwrap();
        agent.hang_up(&mut call).await.unwrap();
    })
    .await;
    let closed = async {
        for stream in &mut silent {
            assert_eq!(stream.read(&mut [0; 64]).await.unwrap_or(0), 0, "not a byte for whoever says nothing");
        }
    };
    timeout(Duration::from_secs(6), closed).await.expect("closed within six seconds");
    service.stop().await;
}
