//! Nodes that announce themselves on the node side, with and without a rule that takes them.

use std::net::SocketAddr;

use edge::core::News;
use edge::core::dispatch::{Algorithm, Reported};
use edge::core::{Input, NodeNews};
use edge::{Config, JoinConfig, JoinRule, PoolConfig};

use super::text::{Msg, invite};
use super::world::*;

fn with_rule(take: bool) -> Config {
    let rule = JoinRule {
        sources: vec!["10.0.0.0/24".parse().unwrap()],
        pool: "inbound".into(),
        weight: 1.0,
        capacity: 0,
        priority: 0,
        take,
        most: 4,
    };
    Config { join: JoinConfig { rules: vec![rule] }, ..config() }
}

fn announcement(method: &str, from: SocketAddr, user: &str, cseq: u32, expires: u32) -> Msg {
    Msg {
        start: format!("{method} sip:{} SIP/2.0", edge_node()),
        headers: vec![
            ("Via".into(), format!("SIP/2.0/UDP {from};rport;branch=z9hG4bK-{method}-{user}-{cseq}")),
            ("Max-Forwards".into(), "70".into()),
            ("From".into(), format!("<sip:{user}@edge>;tag=a{user}")),
            ("To".into(), format!("<sip:{user}@edge>")),
            ("Call-ID".into(), format!("announce-{user}")),
            ("CSeq".into(), format!("{cseq} {method}")),
            ("Contact".into(), format!("<sip:{user}@{from}>")),
            ("Expires".into(), expires.to_string()),
        ],
        body: String::new(),
    }
}

/// What the keeper of the settings does with newcomers that were taken, and with those that went.
fn keep(w: &mut World) {
    for newcomer in std::mem::take(&mut w.newcomers).into_iter().filter(|n| n.taken) {
        w.settings(|c| {
            c.nodes.retain(|n| n.id != newcomer.node.id);
            c.nodes.push(newcomer.node.clone());
        });
    }
    for id in std::mem::take(&mut w.departed) {
        w.settings(|c| c.nodes.retain(|n| n.id != id));
    }
}

fn fs9() -> SocketAddr {
    addr("10.0.0.19:5080")
}

#[test]
fn a_node_that_registers_is_taken_by_its_rule_and_leaves_when_it_is_gone() {
    let mut config = with_rule(true);
    config.probe.enabled = true;
    let mut w = World::with(config);
    w.wire.clear();
    w.send(fs9(), &announcement("REGISTER", fs9(), "fs-9", 1, 60));
    let ok = w.expect(fs9(), "REGISTER", 200);
    assert_eq!((ok.header("Expires"), ok.header("Contact")), ("60", "<sip:fs-9@10.0.0.19:5080>"));
    keep(&mut w);
    let told: Vec<_> = w.health.iter().map(|h| (h.node_id.as_str(), h.state.as_deref().unwrap())).collect();
    assert_eq!(told, [("fs-9", "unknown"), ("fs-9", "up")]);
    w.wire.clear();
    let mut seen = 0;
    for i in 0..60 {
        w.send(t1(), &invite(t1(), edge_trunk(), &format!("c{i}"), "+4930123456", 1));
        seen += usize::from(w.chosen() == fs9());
        w.wire.clear();
    }
    assert!((1..10).contains(&seen), "{seen}: few at first");
    // It keeps coming: a proof of life, and nothing else happens.
    w.pass_ms(200);
    w.send(fs9(), &announcement("REGISTER", fs9(), "fs-9", 2, 60));
    w.expect(fs9(), "REGISTER", 200);
    assert!(w.newcomers.is_empty());
    assert_eq!(w.proxy.snapshot(0).announced[0].state, "member");
    // Calls in set-up end, then it is silent for longer than it promised.
    w.pass_ms(400_000);
    assert_eq!(w.departed, ["fs-9"]);
    keep(&mut w);
    assert!(w.proxy.snapshot(0).nodes.iter().all(|n| n.id != "fs-9"));
    w.wire.clear();
    w.send(fs9(), &announcement("REGISTER", fs9(), "fs-9", 3, 60));
    w.expect(fs9(), "REGISTER", 200);
    assert_eq!(w.newcomers.len(), 1, "it may come again");
}

#[test]
fn without_such_a_rule_it_waits_for_an_operator() {
    let mut w = World::with(with_rule(false));
    w.send(fs9(), &announcement("OPTIONS", fs9(), "FreeSWITCH", 1, 0));
    w.expect(fs9(), "OPTIONS", 503);
    let newcomer = w.newcomers.pop().unwrap();
    assert!(!newcomer.taken);
    assert_eq!((newcomer.node.id.as_str(), newcomer.node.address.address()), ("10.0.0.19-5080", Some(fs9())));
    let pending = w.proxy.snapshot(0).announced;
    assert_eq!((pending.len(), pending[0].state), (1, "pending"));
    w.send(fs9(), &invite(fs9(), edge_node(), "a", "+4922155558401", 1));
    w.quiet();
    // An operator says yes.
    w.settings(|c| c.nodes.push(newcomer.node.clone()));
    w.send(fs9(), &announcement("OPTIONS", fs9(), "FreeSWITCH", 2, 0));
    w.expect(fs9(), "OPTIONS", 200);
    w.send(fs9(), &invite(fs9(), edge_node(), "b", "+4922155558401", 1));
    w.expect(fs9(), "INVITE", 100);
}

#[test]
fn strangers_get_no_answer_and_nobody_takes_anothers_name() {
    let mut w = World::with(with_rule(true));
    let far = addr("10.0.7.9:5080");
    w.send(far, &announcement("REGISTER", far, "fs-9", 1, 60));
    w.send(fs9(), &announcement("MESSAGE", fs9(), "fs-9", 1, 60));
    w.send_raw(fs9(), b"REGISTER nonsense");
    w.quiet();
    assert_eq!(w.proxy.counters().denied_packets, 3);
    let trunk_side = addr("192.0.2.77:5060");
    w.send(trunk_side, &announcement("REGISTER", trunk_side, "fs-9", 1, 60));
    w.quiet();
    w.send(fs9(), &announcement("REGISTER", fs9(), "n1", 1, 60));
    w.expect(fs9(), "REGISTER", 403);
    assert!(w.newcomers.is_empty());
    for i in 0..4u16 {
        let from = SocketAddr::new(fs9().ip(), 6_000 + i);
        w.send(from, &announcement("REGISTER", from, &format!("x{i}"), 1, 60));
        w.expect(from, "REGISTER", 200);
    }
    w.send(fs9(), &announcement("REGISTER", fs9(), "fs-9", 2, 60));
    w.expect(fs9(), "REGISTER", 403);
    assert_eq!(w.newcomers.len(), 4, "no more than the rule takes");
}

#[test]
fn what_a_node_says_of_itself_counts_with_our_calls_since() {
    let mut config = config();
    config.pools = vec![PoolConfig { id: "inbound".into(), algorithm: Algorithm::LeastUsed, ..PoolConfig::default() }];
    let mut w = World::with(config);
    let heartbeat = |w: &mut World, node: &str, sessions: u32| {
        let load = Some(Reported { sessions, max_sessions: Some(100) });
        let news = News::Link { up: true };
        w.give(Input::Node(NodeNews { node_id: node.into(), engine_id: "e".into(), news, load }));
    };
    heartbeat(&mut w, "n1", 40);
    heartbeat(&mut w, "n2", 30);
    for i in 0..20 {
        w.send(t1(), &invite(t1(), edge_trunk(), &format!("c{i}"), "+4930123456", 1));
        w.wire.clear();
    }
    let used: Vec<(u32, u32, i64)> =
        w.proxy.snapshot(0).nodes.iter().map(|n| (n.used, n.capacity, n.calls_now)).collect();
    assert_eq!(used, [(45, 100, 5), (45, 100, 15)]);
}
