//! Clients that register: the Path that leads back to them, calls down their flow, and who may do what over a connection.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::Duration;

use edge::core::{Flow, FlowIdentity, Hop, Input};
use edge::{Admit, Config, ListenerConfig, NodeConfig, Side, Transport, TrunkConfig};
use proptest::prelude::*;
use testkit::agent::{Account, Agent, Target, converse};
use testkit::node::Node;

use super::service::{LONG, Service};
use super::text::{Dialog, Msg, SDP, invite};
use super::world::*;

const CLIENTS: u16 = 2;
const MEMBERS: u16 = 3;

fn with_registrar() -> Config {
    let mut config = config();
    config.nodes.iter_mut().for_each(|n| n.registrar = true);
    config
}

/// Beside the usual listeners one where the registrar decides and one that goes by certificate, both of the trunk `t2`.
fn with_doors_config() -> (Config, Vec<SocketAddr>) {
    let mut config = with_registrar();
    let door = |id: &str, admit| ListenerConfig {
        id: id.into(),
        side: Side::Trunk,
        transport: Transport::Tls,
        admit,
        trunk: Some("t2".into()),
        ..ListenerConfig::default()
    };
    config.listeners.extend([door("clients", Admit::Registrar), door("members", Admit::Certificate)]);
    let bound = [edge_trunk(), edge_node(), addr("192.0.2.1:5061"), addr("192.0.2.1:5062")];
    (config, bound.to_vec())
}

fn with_doors() -> World {
    let (config, bound) = with_doors_config();
    World::bound(config, bound)
}

fn register(via: &str, from: SocketAddr, user: &str, cseq: u32) -> Msg {
    Msg {
        start: "REGISTER sip:edge.example SIP/2.0".into(),
        headers: vec![
            ("Via".into(), format!("SIP/2.0/{via} {from};rport;branch=z9hG4bK-r-{user}-{cseq}")),
            ("Max-Forwards".into(), "70".into()),
            ("From".into(), format!("<sip:{user}@edge.example>;tag=r{user}")),
            ("To".into(), format!("<sip:{user}@edge.example>")),
            ("Call-ID".into(), format!("reg-{user}")),
            ("CSeq".into(), format!("{cseq} REGISTER")),
            ("Contact".into(), format!("<sip:{user}@10.99.0.1:5060>")),
            ("Expires".into(), "600".into()),
        ],
        body: String::new(),
    }
}

fn uri_of(path: &str) -> String {
    path.trim_start_matches('<').split('>').next().unwrap().to_owned()
}

/// The node that got the REGISTER, what it got, and the Path in it.
fn registrar(w: &mut World) -> (SocketAddr, Msg, String) {
    let at = w.wire.iter().position(|(_, m)| m.is("REGISTER", 0)).expect("a REGISTER for a node");
    let (hop, seen) = w.wire.remove(at).unwrap();
    let paths = seen.all("Path");
    assert_eq!(paths.len(), 1);
    let path = paths[0].to_owned();
    (hop.addr, seen, path)
}

/// Registers `user` over UDP and gives the Path that the node keeps.
fn registered(w: &mut World, from: SocketAddr, user: &str) -> (SocketAddr, String) {
    w.send(from, &register("UDP", from, user, 1));
    let (node, seen, path) = registrar(w);
    w.send(node, &seen.reply(200, "OK", "n").with("Path", &path).with("Contact", seen.header("Contact")));
    w.expect(from, "REGISTER", 200);
    (node, path)
}

fn call_down(node: SocketAddr, path: &str, call: &str) -> Msg {
    let mut m = invite(node, edge_node(), call, "alice", 1).with("Route", path);
    m.start = "INVITE sip:alice@10.99.0.1:5060 SIP/2.0".into();
    m
}

#[test]
fn without_a_registrar_it_is_405_and_a_nodes_own_is_a_sign_of_life() {
    let mut w = World::new();
    w.send(t1(), &register("UDP", t1(), "alice", 1));
    assert!(w.expect(t1(), "REGISTER", 405).header("Allow").contains("INVITE"));
    let mut w = World::with(with_registrar());
    w.send(n1(), &register("UDP", n1(), "alice", 1));
    assert_eq!(w.expect(n1(), "REGISTER", 200).header("Expires"), "600");
    w.quiet();
    assert_eq!(w.event("transaction").outcome.as_ref().unwrap().status, Some(200));
    w.send(addr("203.0.113.66:5060"), &register("UDP", t1(), "alice", 1));
    w.quiet();
}

#[test]
fn a_register_gets_our_path_and_its_event_tells_the_outcome_but_not_the_user() {
    let mut w = World::with(with_registrar());
    let m = register("UDP", t1(), "alice", 1).with("Path", "<sip:203.0.113.66;lr>").with("Route", "<sip:192.0.2.1;lr>");
    w.send(t1(), &m);
    let (node, seen, path) = registrar(&mut w);
    assert!(path.starts_with("<sip:") && path.ends_with("@10.0.0.1:5070;lr>") && path.len() < 64, "{path}");
    assert_eq!((seen.header("Supported"), seen.all("Route").len()), ("path", 0));
    assert_eq!(seen.all("Record-Route").len(), 0);
    let challenge =
        seen.reply(401, "Unauthorized", "n").with("WWW-Authenticate", "Digest realm=\"edge.example\", nonce=\"1\"");
    w.send(node, &challenge);
    assert!(!w.expect(t1(), "REGISTER", 401).header("WWW-Authenticate").is_empty());
    let first = w.events.pop().unwrap();
    let outcome = first.outcome.as_ref().unwrap();
    let auth = outcome.auth.as_ref().unwrap();
    assert!(auth.challenged && !auth.credentials_present && auth.result.is_none());
    assert_eq!((auth.realm.as_deref(), outcome.status), (Some("edge.example"), Some(401)));
    let decision = first.decision.as_ref().unwrap();
    assert_eq!((decision.pool.as_deref(), decision.chosen_id.is_some()), (Some("registrar"), true));
    let again = register("UDP", t1(), "alice", 2).with(
        "Authorization",
        "Digest username=\"alice\", realm=\"edge.example\", nonce=\"1\", uri=\"sip:edge.example\", response=\"0\"",
    );
    w.send(t1(), &again);
    let (second_node, seen, second_path) = registrar(&mut w);
    assert_eq!((second_node, &second_path), (node, &path), "the same user, the same node, the same flow");
    w.send(node, &seen.reply(200, "OK", "n").with("Path", &path));
    assert_eq!(w.expect(t1(), "REGISTER", 200).all("Path").len(), 0, "the client did not ask for it");
    let second = w.events.pop().unwrap();
    let told = second.outcome.as_ref().unwrap().auth.as_ref().unwrap();
    assert!(told.credentials_present && !told.challenged);
    assert_eq!(told.result.as_deref(), Some("accepted"));
    assert_eq!(told.username_hash, auth.username_hash);
    let hash = told.username_hash.as_deref().unwrap();
    // SHA-256 of the bare name, which anybody could try out.
    assert!(hash.len() == 16 && hash != "2bd806c97f0e00af", "{hash}");
    let m = register("UDP", t1(), "alice", 3).with("Supported", "outbound, path");
    w.send(t1(), &m);
    let (node, seen, path) = registrar(&mut w);
    assert_eq!(seen.all("Supported"), ["outbound, path"]);
    w.send(node, &seen.reply(200, "OK", "n").with("Path", &path));
    assert_eq!(w.expect(t1(), "REGISTER", 200).header("Path"), path);
    w.drained();
}

#[test]
fn a_route_in_a_register_may_be_our_own_address_only() {
    let mut w = World::with(with_registrar());
    for route in ["<sip:203.0.113.66;lr>", "<sip:x@192.0.2.1;lr>", "<sip:192.0.2.1;lr>, <sip:203.0.113.66;lr>"] {
        let user = format!("u{}", route.len());
        w.send(t1(), &register("UDP", t1(), &user, 1).with("Route", route));
        w.expect(t1(), "REGISTER", 403);
    }
    w.quiet();
}

#[test]
fn another_registrar_is_asked_when_one_is_silent_or_refuses_and_a_503_never_comes_out() {
    let mut w = World::with(with_registrar());
    w.send(t1(), &register("UDP", t1(), "alice", 1));
    let (first, _, _) = registrar(&mut w);
    w.pass_ms(1_600);
    w.wire.retain(|(hop, m)| hop.addr != first || !m.is("REGISTER", 0));
    let (second, seen, _) = registrar(&mut w);
    assert_ne!(first, second);
    w.send(second, &seen.reply(200, "OK", "n"));
    w.expect(t1(), "REGISTER", 200);
    assert_eq!(w.event("transaction").attempt, 2);
    w.send(t1(), &register("UDP", t1(), "alice", 2));
    let (first, seen, _) = registrar(&mut w);
    w.send(first, &seen.reply(503, "Busy", "n").with("Retry-After", "99"));
    let (second, seen, _) = registrar(&mut w);
    assert_ne!(first, second);
    w.send(second, &seen.reply(503, "Busy", "n").with("Retry-After", "99"));
    let last = w.take(t1());
    assert_eq!((last.status(), last.header("Retry-After")), (500, ""));
    w.drained();
}

#[test]
fn users_are_spread_over_the_nodes_and_stay_where_they_are() {
    let mut config = with_registrar();
    config.admission.registers_per_10s = 0.0;
    let mut w = World::with(config);
    let mut counts = std::collections::HashMap::new();
    for i in 0..40 {
        let (node, _) = registered(&mut w, t1(), &format!("user{i}"));
        *counts.entry(node).or_insert(0) += 1;
    }
    assert!(counts.len() == 2 && counts.values().all(|&n| n > 8), "{counts:?}");
}

#[test]
fn a_call_from_a_node_goes_down_the_flow_and_its_dialog_stays_on_it() {
    let mut w = World::with(with_registrar());
    // Behind a NAT: neither the Via nor the Contact says where it is.
    let client = addr("192.0.2.10:34567");
    let (node, path) = registered(&mut w, client, "alice");
    w.send(node, &call_down(node, &path, "down"));
    w.expect(node, "INVITE", 100);
    let rung = w.expect(client, "INVITE", 0);
    assert_eq!(rung.uri(), "sip:alice@10.99.0.1:5060", "the client's own contact");
    assert_eq!((rung.all("Route").len(), rung.all("Record-Route").len()), (0, 2));
    let ok = rung.reply(200, "OK", "c").with("Contact", "<sip:alice@192.0.2.10:5060>");
    w.send(client, &ok);
    let answer = w.expect(node, "INVITE", 200);
    let mut caller = Dialog::caller(node, &answer);
    let mut callee = Dialog::callee(client, &rung, &ok);
    for method in ["ACK", "INFO"] {
        // The Contact names another port of an allowed address: it is the flow that counts.
        let m = caller.request(method);
        w.send(node, &m);
        let seen = w.expect(client, method, 0);
        if method == "INFO" {
            w.send(client, &seen.reply(200, "OK", ""));
            w.expect(node, "INFO", 200);
        }
    }
    let bye = callee.request("BYE");
    w.send(client, &bye);
    let seen = w.expect(node, "BYE", 0);
    w.send(node, &seen.reply(200, "OK", ""));
    w.expect(client, "BYE", 200);
    let attempt = w.event("attempt");
    let decision = attempt.decision.as_ref().unwrap();
    assert_eq!((decision.algorithm.as_deref(), decision.chosen_id.as_deref()), (Some("flow"), Some("t1")));
    assert_eq!(attempt.parties.as_ref().unwrap().account.as_deref(), Some("account-t1"));
    assert_eq!(w.event("ended").dialog.as_ref().unwrap().released_by.as_deref(), Some("callee"));
    w.drained();
}

#[test]
fn other_requests_of_a_node_go_down_too_and_a_token_outlives_a_restart_over_udp() {
    let mut w = World::with(with_registrar());
    let (node, path) = registered(&mut w, t1(), "alice");
    let mut w = World::with(with_registrar());
    let mut notify = call_down(node, &path, "mwi").set("CSeq", "1 NOTIFY");
    notify.start = "NOTIFY sip:alice@10.99.0.1:5060 SIP/2.0".into();
    w.send(node, &notify);
    let seen = w.expect(t1(), "NOTIFY", 0);
    assert_eq!(seen.all("Route").len(), 0);
    w.send(t1(), &seen.reply(200, "OK", "c"));
    w.expect(node, "NOTIFY", 200);
    let event = w.event("transaction");
    assert_eq!(event.branches[0].target_id, "t1");
    assert_eq!(event.decision.as_ref().unwrap().algorithm.as_deref(), Some("flow"));
    w.drained();
}

#[test]
fn a_path_is_taken_alone_from_a_node_and_nowhere_else() {
    let mut w = World::with(with_registrar());
    let (node, path) = registered(&mut w, t1(), "alice");
    let two = format!("{path}, <sip:203.0.113.66;lr>");
    let after = format!("<sip:10.0.0.1:5070;lr>, {path}");
    for (from, route, status) in [
        (node, two.as_str(), 403),
        (node, after.as_str(), 403),
        (node, "<sip:203.0.113.66;lr>", 403),
        (t1(), path.as_str(), 403),
    ] {
        for method in ["INVITE", "MESSAGE"] {
            let call = format!("{method}{}{}", route.len(), from.port());
            let mut m = call_down(from, route, &call).set("CSeq", &format!("1 {method}"));
            m.start = format!("{method} sip:alice@10.99.0.1:5060 SIP/2.0");
            w.send(from, &m);
            // From a trunk there is nothing but an INVITE that a Route could matter to.
            let want = if from == t1() && method == "MESSAGE" { 405 } else { status };
            w.expect(from, method, want);
        }
    }
    w.quiet();
}

#[test]
fn a_flow_of_an_address_that_is_not_allowed_any_more_is_gone() {
    let mut w = World::with(with_registrar());
    let (node, path) = registered(&mut w, t1(), "alice");
    let mut config = with_registrar();
    config.trunks.remove(0);
    let mut w = World::with(config);
    w.send(node, &call_down(node, &path, "late"));
    w.expect(node, "INVITE", 430);
    w.quiet();
}

/// A client on a connection of a listener that does not go by addresses.
fn client(listener: u16, n: u64) -> Hop {
    Hop::on(listener, SocketAddr::from(([203, 0, 113, 9], 40_000 + n as u16)), Flow::new(NonZeroU64::new(n).unwrap()))
}

fn speak(w: &mut World, hop: Hop, subject: Option<&str>, m: &Msg) {
    let identity = FlowIdentity { subject: subject.map(str::to_owned), ..FlowIdentity::default() };
    w.give(Input::Message { hop, identity: Some(&identity), bytes: &m.bytes() });
}

fn call_up(hop: Hop, call: &str) -> Msg {
    let m = invite(hop.addr, addr("192.0.2.1:5061"), call, "+4930123456", 1);
    let via = m.header("Via").replace("UDP", "TLS");
    m.set("Via", &via)
}

#[test]
fn before_the_registrars_yes_a_connection_may_register_and_nothing_else() {
    let mut w = with_doors();
    let hop = client(CLIENTS, 1);
    speak(&mut w, hop, None, &call_up(hop, "early"));
    w.expect(hop.addr, "INVITE", 403);
    assert!(w.types().is_empty());
    speak(&mut w, hop, None, &register("TLS", hop.addr, "alice", 1));
    let (node, seen, _) = registrar(&mut w);
    w.send(node, &seen.reply(401, "Unauthorized", "n"));
    w.expect(hop.addr, "REGISTER", 401);
    speak(&mut w, hop, None, &call_up(hop, "still-early"));
    w.expect(hop.addr, "INVITE", 403);
    speak(&mut w, hop, None, &register("TLS", hop.addr, "alice", 2));
    let (node, seen, _) = registrar(&mut w);
    w.send(node, &seen.reply(200, "OK", "n").with("Contact", "<sip:alice@10.99.0.1:5060>;expires=60"));
    w.expect(hop.addr, "REGISTER", 200);
    speak(&mut w, hop, None, &call_up(hop, "now"));
    w.expect(hop.addr, "INVITE", 100);
    let chosen = w.chosen();
    let offered = w.take(chosen);
    let parties = w.event("attempt").parties.clone().unwrap();
    assert_eq!((parties.trunk_id.as_deref(), parties.account.as_deref()), (Some("t2"), Some("alice")));
    let ok = offered.reply(200, "OK", "b").with("Contact", &format!("<sip:n@{chosen}>"));
    w.send(chosen, &ok);
    w.expect(hop.addr, "INVITE", 200);
    let mut callee = Dialog::callee(chosen, &offered, &ok);
    // Another connection of the same address is somebody else.
    let other = client(CLIENTS, 2);
    speak(&mut w, other, None, &call_up(other, "other"));
    w.expect(other.addr, "INVITE", 403);
    // When the connection is gone, so is the way to the client: the call ends with that.
    w.give(Input::FlowClosed { flow: hop.flow.unwrap() });
    let m = callee.request("INFO");
    w.send(chosen, &m);
    w.expect(chosen, "INFO", 430);
    let m = callee.request("BYE");
    w.send(chosen, &m);
    w.expect(chosen, "BYE", 430);
    let ended = w.event("ended");
    assert_eq!(ended.dialog.as_ref().unwrap().bye_status, Some(430));
    assert_eq!(ended.parties.as_ref().unwrap().account.as_deref(), Some("alice"));
    w.drained();
}

#[test]
fn admission_ends_with_the_registration() {
    let mut w = with_doors();
    let hop = client(CLIENTS, 1);
    let mut cseq = 0;
    let mut ask = |w: &mut World, expires: &str, status: u16| {
        cseq += 1;
        let m = register("TLS", hop.addr, "alice", cseq).set("Expires", expires);
        speak(w, hop, None, &m);
        let (node, seen, _) = registrar(w);
        w.send(node, &seen.reply(status, "x", "n").with("Expires", expires));
        w.expect(hop.addr, "REGISTER", status);
    };
    let may_call = |w: &mut World, call: &str| {
        speak(w, hop, None, &call_up(hop, call));
        let answer = w.take(hop.addr).status();
        w.wire.clear();
        answer == 100
    };
    ask(&mut w, "60", 200);
    assert!(may_call(&mut w, "a"));
    ask(&mut w, "0", 200);
    assert!(!may_call(&mut w, "b"), "taken back");
    ask(&mut w, "60", 200);
    assert!(may_call(&mut w, "c"));
    ask(&mut w, "60", 403);
    assert!(!may_call(&mut w, "d"), "refused");
    ask(&mut w, "60", 200);
    w.pass(Duration::from_secs(120));
    w.wire.clear();
    assert!(!may_call(&mut w, "e"), "run out");
}

#[test]
fn a_certificate_names_the_account_and_without_one_nobody_is_heard() {
    let mut w = with_doors();
    let hop = client(MEMBERS, 7);
    speak(&mut w, client(MEMBERS, 6), None, &call_up(hop, "nobody"));
    w.quiet();
    speak(&mut w, hop, Some("CN=branch-7"), &call_up(hop, "a"));
    w.expect(hop.addr, "INVITE", 100);
    let parties = w.event("attempt").parties.clone().unwrap();
    assert_eq!((parties.trunk_id.as_deref(), parties.account.as_deref()), (Some("t2"), Some("CN=branch-7")));
}

#[test]
fn a_call_goes_down_a_connection_as_long_as_it_stands_and_never_down_one_of_another_process() {
    let mut w = with_doors();
    let hop = client(CLIENTS, 5);
    speak(&mut w, hop, None, &register("TLS", hop.addr, "alice", 1));
    let (node, seen, path) = registrar(&mut w);
    w.send(node, &seen.reply(200, "OK", "n"));
    w.expect(hop.addr, "REGISTER", 200);
    w.send(node, &call_down(node, &path, "a"));
    w.expect(node, "INVITE", 100);
    let at = w.wire.iter().position(|(to, _)| *to == hop).expect("down the very connection");
    let (_, rung) = w.wire.remove(at).unwrap();
    assert!(rung.header("Via").starts_with("SIP/2.0/TLS "), "{}", rung.header("Via"));
    let attempt = w.event("attempt").parties.clone().unwrap();
    assert_eq!((attempt.trunk_id.as_deref(), attempt.account.as_deref()), (Some("t2"), Some("alice")));
    speak(&mut w, hop, None, &rung.reply(486, "Busy Here", "c"));
    w.wire.clear();

    // The same connection number in another process is somebody else's.
    let (config, bound) = with_doors_config();
    let mut restarted = World::started_at(w.now.plus(Duration::from_secs(1)), config, bound);
    speak(&mut restarted, hop, None, &register("TLS", hop.addr, "mallory", 1));
    restarted.wire.clear();
    restarted.send(node, &call_down(node, &path, "b"));
    restarted.expect(node, "INVITE", 430);

    w.give(Input::FlowClosed { flow: hop.flow.unwrap() });
    w.send(node, &call_down(node, &path, "c"));
    w.expect(node, "INVITE", 430);
    let refused = w.events.iter().rev().find(|e| e.event_type == "refused").unwrap();
    assert_eq!(refused.decision.as_ref().unwrap().reason.as_deref(), Some("flow_gone"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever is done to a Path that we signed, the request goes down its flow or nowhere.
    #[test]
    fn an_altered_path_never_routes_anywhere(
        at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_.-]", made_up in "[A-Za-z0-9_-]{1,64}", forge in any::<bool>(),
    ) {
        let mut w = World::with(with_registrar());
        let (node, path) = registered(&mut w, t1(), "alice");
        let uri = uri_of(&path);
        let token = uri.strip_prefix("sip:").unwrap().split('@').next().unwrap().to_owned();
        let mut spoilt = token.clone().into_bytes();
        let at = at.index(spoilt.len());
        spoilt[at] = to.as_bytes()[0];
        let spoilt = if forge { made_up } else { String::from_utf8(spoilt).unwrap() };
        prop_assume!(spoilt != token);
        w.send(node, &call_down(node, &path.replace(&token, &spoilt), "forged"));
        w.expect(node, "INVITE", 403);
        w.quiet();
    }
}

#[test]
fn a_registered_client_is_called_with_a_body_that_is_its_own() {
    let mut w = World::with(with_registrar());
    let (node, path) = registered(&mut w, t1(), "alice");
    w.send(node, &call_down(node, &path, "sdp"));
    w.expect(node, "INVITE", 100);
    assert_eq!(w.expect(t1(), "INVITE", 0).body, SDP);
}

/// Two phones at one address behind the edge, and a node that asks for passwords, on real sockets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn phones_register_by_udp_call_and_are_called() {
    let node = Node::bind(&[("alice", "a"), ("bob", "b")]).await.unwrap();
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = |id: &str, side| ListenerConfig { id: id.into(), side, bind: loopback, ..ListenerConfig::default() };
    let config = Config {
        listeners: vec![listener("phones", Side::Trunk), listener("nodes", Side::Node)],
        trunks: vec![TrunkConfig {
            id: "phones".into(),
            sources: vec!["127.0.0.1".parse().unwrap()],
            ..TrunkConfig::default()
        }],
        nodes: vec![NodeConfig {
            id: "n".into(),
            address: node.addr().into(),
            registrar: true,
            ..NodeConfig::default()
        }],
        ..Config::default()
    };
    let service = Service::start(config).await;
    let script = async {
        let account = |user: &str, password: &str| Account {
            user: user.into(),
            password: password.into(),
            domain: "e.example".into(),
        };
        let edge = || Target::Udp(service.listener("phones"));
        let mut alice = Agent::connect(account("alice", "a"), edge()).await.unwrap();
        let mut bob = Agent::connect(account("bob", "b"), edge()).await.unwrap();
        let mut eve = Agent::connect(account("bob", "guess"), edge()).await.unwrap();
        assert_eq!(eve.register(600).await.unwrap().status(), 401);
        for agent in [&mut alice, &mut bob] {
            assert_eq!(agent.register(600).await.unwrap().status(), 200);
        }
        converse(&mut alice, &mut bob, true).await.unwrap();
        converse(&mut bob, &mut alice, false).await.unwrap();
    };
    tokio::select! {
        error = node.run() => panic!("the node ended: {error}"),
        done = tokio::time::timeout(LONG, script) => done.expect("in time"),
    }
    service.until("ended", || service.edge.snapshot().counters.ended == 4).await;
    let events = service.stories().await;
    schemas::grammar::check(&events).unwrap();
    let of = |e: &schemas::SipTransaction| e.outcome.as_ref().and_then(|o| o.auth.clone()).and_then(|a| a.result);
    let results: Vec<_> = events.iter().filter(|e| e.identity.method == "REGISTER").filter_map(of).collect();
    assert_eq!(results.iter().filter(|r| *r == "accepted").count(), 2, "{results:?}");
    assert!(results.iter().any(|r| r == "rejected"), "{results:?}");
    assert_eq!(service.life.stop().await.abandoned, Vec::<String>::new());
}
