//! Phones and pages: they register through the edge over TLS and secure WebSocket, call, are called over the connection that they
//! made, and nobody who did not register does anything.

use std::net::SocketAddr;

use edge::{Admit, Config, ListenerConfig, NodeConfig, Side, TlsConfig, Transport, TrunkConfig};
use schemas::grammar;
use testkit::agent::{Account, Agent, Target, converse};
use testkit::node::Node;
use testkit::pki::{self, Authority};
use tokio::time::timeout;

use super::service::{LONG, Service};

const HOST: &str = "edge.example.com";

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn account(user: &str, password: &str) -> Account {
    Account { user: user.into(), password: password.into(), domain: "example.com".into() }
}

fn config(node: SocketAddr, authority: &Authority, clients: Option<&Authority>) -> Config {
    let pair = authority.sign("edge", HOST);
    let listener = |transport: Transport| ListenerConfig {
        id: transport.as_str().to_owned(),
        transport,
        bind: loopback(),
        admit: if clients.is_some() { Admit::Certificate } else { Admit::Registrar },
        trunk: Some("phones".to_owned()),
        tls: Some(TlsConfig {
            cert: pair.cert.clone(),
            key: pair.key.clone(),
            client_ca: clients.map(|ca| ca.ca().to_owned()),
            client_crl: None,
        }),
        ..ListenerConfig::default()
    };
    let nodes = ListenerConfig { id: "nodes".into(), side: Side::Node, bind: loopback(), ..ListenerConfig::default() };
    Config {
        listeners: vec![listener(Transport::Tls), listener(Transport::Wss), nodes],
        trunks: vec![TrunkConfig { id: "phones".into(), pool: "registrar".into(), ..TrunkConfig::default() }],
        nodes: vec![NodeConfig {
            id: "n".into(),
            address: node.into(),
            pool: "registrar".into(),
            ..NodeConfig::default()
        }],
        ..Config::default()
    }
}

/// The script beside a node that serves; the first one ends it.
async fn beside(node: Node, script: impl Future<Output = ()>) {
    tokio::select! {
        error = node.run() => panic!("the node ended: {error}"),
        done = timeout(LONG, script) => done.expect("in time"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn phones_register_over_tls_and_wss_call_and_are_called() {
    let authority = Authority::new("ca");
    let node = Node::bind(&[("alice", "a"), ("bob", "b")]).await.unwrap();
    let service = Service::start(config(node.addr(), &authority, None)).await;
    let trust = pki::trusting(authority.ca(), None);
    let tls = Target::Tls(service.listener("tls"), HOST.into(), trust.clone());
    let wss = Target::Wss(service.listener("wss"), HOST.into(), trust);
    beside(node, async {
        let mut alice = Agent::connect(account("alice", "a"), tls.clone()).await.unwrap();
        let mut bob = Agent::connect(account("bob", "b"), wss).await.unwrap();
        let early = alice.call("bob").await.unwrap();
        assert_eq!(alice.finished(&early).await.unwrap().0, 403, "nobody calls who is not registered");
        let mut eve = Agent::connect(account("alice", "guess"), tls).await.unwrap();
        assert_eq!(eve.register(600).await.unwrap().status(), 401);
        let early = eve.call("bob").await.unwrap();
        assert_eq!(eve.finished(&early).await.unwrap().0, 403, "a wrong password opens nothing");
        for agent in [&mut alice, &mut bob] {
            let answer = agent.register(600).await.unwrap();
            assert_eq!(answer.status(), 200, "{answer:#?}");
        }
        converse(&mut alice, &mut bob, true).await.unwrap();
        converse(&mut bob, &mut alice, false).await.unwrap();
    })
    .await;
    service.until("ended", || service.edge.snapshot().counters.ended == 4).await;
    let events = service.stories().await;
    grammar::check(&events).unwrap();
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_certificates_a_client_from_any_address_is_known_by_its_name() {
    let (authority, clients) = (Authority::new("ca"), Authority::new("clients"));
    let node = Node::bind(&[("alice", "a"), ("bob", "b")]).await.unwrap();
    let service = Service::start(config(node.addr(), &authority, Some(&clients))).await;
    let trust = |name: &str| pki::trusting(authority.ca(), Some(&clients.sign(name, name)));
    let tls = Target::Tls(service.listener("tls"), HOST.into(), trust("alice.example.com"));
    let wss = Target::Wss(service.listener("wss"), HOST.into(), trust("bob.example.com"));
    beside(node, async {
        let mut alice = Agent::connect(account("alice", "a"), tls).await.unwrap();
        let mut bob = Agent::connect(account("bob", "b"), wss).await.unwrap();
        assert_eq!(bob.register(600).await.unwrap().status(), 200);
        converse(&mut alice, &mut bob, false).await.unwrap();
    })
    .await;
    service.until("ended", || service.edge.snapshot().counters.ended == 2).await;
    let events = service.stories().await;
    grammar::check(&events).unwrap();
    let first = events.iter().find(|e| e.event_type == "attempt").unwrap();
    let transport = first.transport.clone().unwrap();
    assert_eq!(transport.tls_peer_subject.as_deref(), Some("alice.example.com"));
    service.stop().await;
}
