//! Next hops that are names: the machine with a picture of them, and the service with a name server of its own.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use edge::core::names::{Entry, Names, Target};
use edge::core::{Hop, Input};
use edge::{
    Config, DnsConfig, ListenerConfig, NodeConfig, ProbeConfig, RouteConfig, Side, TlsConfig, TlsPeerConfig, Transport,
    TrunkConfig,
};
use testkit::pki::{self, Authority};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::dns::{Dns, Record, host, naptr, srv};
use super::service::{LONG, Service};
use super::text::{Dialog, Msg, invite};
use super::world::*;

const UDP: &str = "_sip._udp.carrier.example";

/// The carrier `c1` has a name; what it stands for is nobody's source.
fn named() -> Config {
    let mut config = config();
    config.trunks[2].address = Some("sip:carrier.example".parse().unwrap());
    config.trunks[2].sources = vec!["203.0.113.1".parse().unwrap()];
    config.limits.attempts = 4;
    config
}

fn target(address: SocketAddr, priority: u16) -> Target {
    Target { address, transport: Transport::Udp, rank: 0, priority, weight: 1 }
}

fn picture(targets: &[Target]) -> Input<'static> {
    let entry =
        Entry { targets: targets.to_vec(), ..Entry::new(Side::Trunk, "c1".into(), "sip:carrier.example".into()) };
    Input::Names(Arc::new(Names { entries: vec![entry] }))
}

fn a() -> SocketAddr {
    addr("198.51.100.71:5060")
}

fn b() -> SocketAddr {
    addr("198.51.100.72:5080")
}

#[test]
fn a_failover_walks_the_addresses_of_a_name_before_the_next_trunk() {
    let mut w = World::with(named());
    w.give(picture(&[target(a(), 10), target(b(), 20)]));
    w.send(n1(), &invite(n1(), edge_node(), "x", "+4930123456", 1));
    w.expect(n1(), "INVITE", 100);
    let first = w.expect(a(), "INVITE", 0);
    w.send(a(), &first.reply(503, "Busy", "1"));
    w.expect(a(), "ACK", 0);
    let second = w.expect(b(), "INVITE", 0);
    assert!(second.uri().ends_with("@198.51.100.72:5080"), "{}", second.uri());
    w.give(Input::Unreachable { to: b() });
    let third = w.expect(c2(), "INVITE", 0);
    w.wire.clear();
    w.send(c2(), &third.reply(486, "Busy Here", "3"));
    w.expect(c2(), "ACK", 0);
    w.expect(n1(), "INVITE", 486);
    let told = w.event("final");
    let hops: Vec<_> = told.branches.iter().map(|b| (b.target_id.as_str(), b.address.clone())).collect();
    assert_eq!(hops, [("c1", a().to_string()), ("c1", b().to_string()), ("c2", c2().to_string())]);
    w.drained();
}

#[test]
fn before_the_first_answer_of_dns_a_call_is_refused_and_a_new_picture_counts_at_once() {
    let mut config = named();
    config.routes[0].trunks.pop();
    let mut w = World::with(config);
    w.send(n1(), &invite(n1(), edge_node(), "early", "+4930123456", 1));
    w.expect(n1(), "INVITE", 503);
    assert_eq!(w.event("refused").decision.as_ref().unwrap().reason.as_deref(), Some("no_address"));
    w.give(picture(&[target(b(), 0)]));
    w.send(n1(), &invite(n1(), edge_node(), "later", "+4930123456", 1));
    w.expect(n1(), "INVITE", 100);
    w.expect(b(), "INVITE", 0);
}

#[test]
fn an_address_that_only_dns_knows_is_heard_inside_a_dialog_and_with_no_new_call() {
    let mut w = World::with(named());
    w.give(picture(&[target(a(), 0)]));
    w.send(a(), &invite(a(), edge_trunk(), "knock", "+4930123456", 1));
    w.quiet();
    w.send(n1(), &invite(n1(), edge_node(), "x", "+4930123456", 1));
    w.expect(n1(), "INVITE", 100);
    let offered = w.expect(a(), "INVITE", 0);
    let ok = offered.reply(200, "OK", "c").with("Contact", &format!("<sip:c@{}>", a()));
    w.send(a(), &ok);
    w.expect(n1(), "INVITE", 200);
    let mut callee = Dialog::callee(a(), &offered, &ok);
    let bye = callee.request("BYE");
    w.send(a(), &bye);
    let seen = w.expect(n1(), "BYE", 0);
    w.send(n1(), &seen.reply(200, "OK", ""));
    w.expect(a(), "BYE", 200);
    w.drained();
}

#[test]
fn an_address_that_was_silent_comes_last_until_it_answers() {
    let mut w = World::with(named());
    w.give(picture(&[target(a(), 10), target(b(), 20)]));
    let call = |w: &mut World, name: &str| {
        w.send(n1(), &invite(n1(), edge_node(), name, "+4930123456", 1));
        w.expect(n1(), "INVITE", 100);
        w.chosen()
    };
    assert_eq!(call(&mut w, "one"), a());
    w.wire.clear();
    w.pass(Duration::from_secs(5));
    assert!(w.wire.iter().any(|(hop, m)| hop.addr == b() && m.is("INVITE", 0)));
    w.wire.clear();
    assert_eq!(call(&mut w, "two"), b(), "not the same silence again");
    w.wire.clear();
    w.pass(Duration::from_secs(60));
    w.wire.clear();
    assert_eq!(call(&mut w, "three"), a());
}

#[test]
fn a_party_at_an_address_that_dns_took_back_ends_its_call() {
    let mut w = World::with(named());
    w.give(picture(&[target(a(), 0)]));
    w.send(n1(), &invite(n1(), edge_node(), "x", "+4930123456", 1));
    w.expect(n1(), "INVITE", 100);
    let offered = w.expect(a(), "INVITE", 0);
    let ok = offered.reply(200, "OK", "c").with("Contact", &format!("<sip:c@{}>", a()));
    w.send(a(), &ok);
    let answer = w.expect(n1(), "INVITE", 200);
    w.give(picture(&[target(b(), 0)]));
    let mut caller = Dialog::caller(n1(), &answer);
    let ack = caller.request("ACK");
    w.send(n1(), &ack);
    w.expect(a(), "ACK", 0);
    let bye = Dialog::callee(a(), &offered, &ok).request("BYE");
    w.send(a(), &bye);
    let seen = w.expect(n1(), "BYE", 0);
    w.send(n1(), &seen.reply(200, "OK", ""));
    w.expect(a(), "BYE", 200);
    w.send(n1(), &invite(n1(), edge_node(), "y", "+4930123456", 1));
    w.expect(n1(), "INVITE", 100);
    assert_eq!(w.chosen(), b());
}

#[test]
fn other_settings_keep_what_dns_said() {
    let mut w = World::with(named());
    w.give(picture(&[target(a(), 0)]));
    w.settings(|c| c.timers.timer_c_s = 100);
    w.send(n1(), &invite(n1(), edge_node(), "x", "+4930123456", 1));
    w.expect(n1(), "INVITE", 100);
    let offered = w.expect(a(), "INVITE", 0);
    w.settings(|c| c.timers.timer_c_s = 120);
    w.send(a(), &offered.reply(486, "Busy Here", "c"));
    w.expect(a(), "ACK", 0);
    w.expect(n1(), "INVITE", 486);
}

#[test]
fn a_refused_packet_of_one_address_leaves_calls_at_the_others_alone() {
    let mut w = World::with(named());
    w.give(picture(&[target(a(), 0), target(b(), 10)]));
    w.send(n1(), &invite(n1(), edge_node(), "x", "+4930123456", 1));
    w.expect(n1(), "INVITE", 100);
    let offered = w.expect(a(), "INVITE", 0);
    w.send(a(), &offered.reply(180, "Ringing", "c"));
    w.expect(n1(), "INVITE", 180);
    w.give(Input::Unreachable { to: b() });
    w.quiet();
}

#[test]
fn a_node_whose_name_is_not_looked_up_takes_no_call_and_gets_no_packet() {
    let mut config = config();
    config.nodes[0].address = "sip:fs.example".parse().unwrap();
    config.nodes[0].sources = vec!["10.0.0.11".parse().unwrap()];
    config.probe = ProbeConfig::default();
    let mut w = World::with(config);
    w.pass(Duration::from_secs(6));
    assert!(w.wire.iter().all(|(hop, _)| hop.addr == n2()), "{:?}", w.wire);
    w.wire.clear();
    let entry =
        Entry { targets: vec![target(n1(), 0)], ..Entry::new(Side::Node, "n1".into(), "sip:fs.example".into()) };
    w.give(Input::Names(Arc::new(Names { entries: vec![entry] })));
    w.pass_ms(1_100);
    assert!(w.wire.iter().any(|(hop, m)| hop.addr == n1() && m.is("OPTIONS", 0)));
}

#[test]
fn hops_of_names_leave_by_a_listener_of_their_transport() {
    let mut config = named();
    config.trunks[2].transports = vec![Transport::Udp, Transport::Tcp];
    let tcp =
        ListenerConfig { id: "tcp".into(), side: Side::Trunk, transport: Transport::Tcp, ..ListenerConfig::default() };
    config.listeners.push(tcp);
    let mut w = World::bound(config, vec![edge_trunk(), edge_node(), edge_trunk()]);
    w.give(picture(&[Target { transport: Transport::Tcp, ..target(a(), 0) }]));
    w.send(n1(), &invite(n1(), edge_node(), "x", "+4930123456", 1));
    assert!(w.wire.iter().any(|(hop, m)| *hop == Hop::to(2, a()) && m.is("INVITE", 0)), "{:?}", w.wire);
}

/// A SIP socket of the test.
fn peer() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    socket
}

fn receive(socket: &UdpSocket, method: &str, status: u16) -> Msg {
    let mut buffer = [0; 4_096];
    loop {
        let (length, _) = socket.recv_from(&mut buffer).unwrap();
        let m = Msg::parse(&buffer[..length]);
        if m.is(method, status) {
            return m;
        }
    }
}

/// Calls from the node; the call must come to `callee`, which is busy.
fn call(edge: SocketAddr, node: &UdpSocket, callee: &UdpSocket, id: &str) {
    let from = node.local_addr().unwrap();
    node.send_to(&invite(from, edge, id, "+4930123456", 1).bytes(), edge).unwrap();
    let offered = receive(callee, "INVITE", 0);
    assert_eq!(offered.call_id(), id);
    let trunk_side: SocketAddr = offered.header("Via").split([' ', ';']).nth(1).unwrap().parse().unwrap();
    callee.send_to(&offered.reply(486, "Busy Here", "c").bytes(), trunk_side).unwrap();
    let busy = receive(node, "INVITE", 486);
    node.send_to(&invite(from, edge, id, "+4930123456", 1).ack_failure(&busy).bytes(), edge).unwrap();
    receive(callee, "ACK", 0);
}

/// An edge between a node and the carrier `far`, whose name that server knows.
fn far(node: &UdpSocket, dns: SocketAddr, far: TrunkConfig) -> Config {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = |id: &str, side| ListenerConfig { id: id.into(), side, bind: loopback, ..ListenerConfig::default() };
    Config {
        listeners: vec![listener("trunks", Side::Trunk), listener("nodes", Side::Node)],
        trunks: vec![TrunkConfig { id: "far".into(), ..far }],
        nodes: vec![NodeConfig { id: "n".into(), address: node.local_addr().unwrap().into(), ..NodeConfig::default() }],
        routes: vec![RouteConfig { trunks: vec!["far".into()], ..RouteConfig::default() }],
        probe: ProbeConfig { enabled: false, ..ProbeConfig::default() },
        dns: DnsConfig { servers: vec![dns], min_ttl_s: 1, max_ttl_s: 1, retry_s: 1, timeout_ms: 500 },
        ..Config::default()
    }
}

fn carrier(address: &str) -> TrunkConfig {
    TrunkConfig { address: Some(address.parse().unwrap()), ..TrunkConfig::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_without_dns_goes_by_the_answers_of_the_life_before() {
    let (node, live) = (peer(), peer());
    let port = live.local_addr().unwrap().port();
    let dns = Dns::start(vec![srv(UDP, 10, port, "a.carrier.example"), host("a.carrier.example")]);
    let config = far(&node, dns.address, carrier("sip:carrier.example"));
    let service = Service::start(config.clone()).await;
    service.until("kept", || service.data_dir().join("names.json").exists()).await;
    let kept = std::fs::read(service.data_dir().join("names.json")).unwrap();
    service.stop().await;
    dns.die(true);
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("edge")).unwrap();
    std::fs::write(dir.path().join("edge/names.json"), kept).unwrap();
    let service = Service::start_at(config, dir).await;
    tokio::task::block_in_place(|| call(service.edge.node_addr, &node, &live, "without"));
    assert!(service.edge.snapshot().names[0].stale);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_the_certificate_must_have_the_name_of_the_settings_and_not_that_of_the_host() {
    let authority = Authority::new("carriers");
    let node = peer();
    let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = door.local_addr().unwrap().port();
    let dns =
        Dns::start(vec![srv("_sips._tcp.carrier.example", 1, port, "sbc.host.example"), host("sbc.host.example")]);
    for (shown, fits) in [("carrier.example", true), ("sbc.host.example", false)] {
        let acceptor = TlsAcceptor::from(pki::server(&authority.sign("sbc", shown)));
        let mut config = far(
            &node,
            dns.address,
            TrunkConfig {
                transports: vec![Transport::Tls],
                tls: Some(TlsPeerConfig { ca: Some(authority.ca().to_owned()), ..TlsPeerConfig::default() }),
                ..carrier("sips:carrier.example")
            },
        );
        let own = authority.sign("edge", "edge.example");
        config.listeners[0].transport = Transport::Tls;
        config.listeners[0].tls = Some(TlsConfig { cert: own.cert, key: own.key, client_ca: None, client_crl: None });
        let service = Service::start(config).await;
        service.until("looked up", || service.edge.snapshot().names[0].targets.len() == 1).await;
        // What DNS says is with the thread of the calls a tenth of a second later at most.
        let (from, edge) = (node.local_addr().unwrap(), service.edge.node_addr);
        node.send_to(&invite(from, edge, shown, "+4930123456", 1).bytes(), edge).unwrap();
        let accepted = tokio::time::timeout(LONG, async { acceptor.accept(door.accept().await.unwrap().0).await });
        let accepted = accepted.await.unwrap();
        if fits {
            let mut stream = accepted.unwrap();
            let mut bytes = vec![0; 65_536];
            let length = stream.read(&mut bytes).await.unwrap();
            let offered = Msg::parse(&bytes[..length]);
            assert!(offered.header("Via").starts_with("SIP/2.0/TLS "), "{offered:#?}");
            stream.write_all(&offered.reply(486, "Busy Here", "c").bytes()).await.unwrap();
        }
        let wanted = if fits { 486 } else { 503 };
        tokio::task::block_in_place(|| receive(&node, "INVITE", wanted));
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_follow_the_service_records_and_go_on_when_dns_is_dead() {
    let (node, live, other) = (peer(), peer(), peer());
    let port = |s: &UdpSocket| s.local_addr().unwrap().port();
    let closed = port(&UdpSocket::bind("127.0.0.1:0").unwrap());
    let hosts = [host("a.carrier.example"), host("b.carrier.example"), naptr("carrier.example", UDP)];
    let zone = |more: &[Record]| hosts.iter().chain(more).cloned().collect::<Vec<_>>();
    // The first one refuses; the second is there.
    let dns =
        Dns::start(zone(&[srv(UDP, 10, closed, "a.carrier.example"), srv(UDP, 20, port(&live), "b.carrier.example")]));
    let config = far(&node, dns.address, carrier("sip:carrier.example"));
    let service = Service::start(config).await;
    let targets = || service.edge.snapshot().names.first().map(|n| n.targets.clone()).unwrap_or_default();
    service.until("the name is looked up", || targets().len() == 2).await;
    assert_eq!(targets(), [format!("127.0.0.1:{closed};udp"), format!("127.0.0.1:{};udp", port(&live))]);
    let edge = service.edge.node_addr;
    tokio::task::block_in_place(|| call(edge, &node, &live, "walks"));

    dns.die(true);
    service.until("stale", || service.metric("edge_names_stale") == 1).await;
    tokio::task::block_in_place(|| call(edge, &node, &live, "stale"));
    assert!(service.edge.snapshot().names[0].error.is_some());

    dns.serve(zone(&[srv(UDP, 10, port(&other), "a.carrier.example")]));
    dns.die(false);
    service.until("the new address", || targets() == [format!("127.0.0.1:{};udp", port(&other))]).await;
    tokio::task::block_in_place(|| call(edge, &node, &other, "moved"));

    // More than fits a packet is asked for by TCP.
    let many = (0..40).map(|i| srv(UDP, 20 + i, 9, "b.carrier.example"));
    let first = srv(UDP, 10, port(&other), "a.carrier.example");
    dns.serve(zone(&many.chain([first]).collect::<Vec<_>>()));
    service.until("asked by TCP", || dns.by_tcp() > 0).await;
    service.until("many addresses", || targets().len() == 2).await;
    assert_eq!(targets()[0], format!("127.0.0.1:{};udp", port(&other)));

    // A name that stands for nothing any more changes nothing either.
    dns.serve(Vec::new());
    service.until("stale again", || service.metric("edge_names_stale") == 1).await;
    tokio::task::block_in_place(|| call(edge, &node, &other, "kept"));
    let stories = service.stories().await;
    let walked = stories.iter().find(|e| e.event_type == "final" && e.identity.call_id == "walks").unwrap();
    assert_eq!(walked.branches.len(), 2);
    assert_eq!(service.life.stop().await.abandoned, Vec::<String>::new());
}
