//! Lost nodes: what their dialogs become, and what it takes.

use std::time::Duration;

use edge::core::{Input, News, NodeNews};
use edge::{NodeConfig, ProbeConfig};

use super::text::{Dialog, invite};
use super::world::*;

fn told(w: &mut World, node: &str, news: News) {
    let told = NodeNews { node_id: node.into(), engine_id: "engine-1".into(), news, load: None };
    w.give(Input::Node(told));
}

fn life(core: &str, began_us: i64) -> News {
    News::Life { core_uuid: core.into(), began_us: Some(began_us) }
}

/// Id of the node at that address.
fn id_of(node: std::net::SocketAddr) -> &'static str {
    if node == n1() { "n1" } else { "n2" }
}

#[test]
fn a_restarted_node_loses_its_older_calls_and_no_other() {
    let mut w = World::journaled(config(), 256 * 1024);
    let calls = ["a", "b"].map(|call| w.answered(call));
    let (_, _, node) = calls[0];
    assert_ne!(node, calls[1].2);
    told(&mut w, id_of(node), life("first", 1));
    w.restart(Duration::from_secs(1));
    w.pass_ms(5_000);
    let began = w.now.wall_us;
    w.pass_ms(1_000);
    let newer: Vec<_> = ["c", "d"].map(|call| w.answered(call)).into_iter().collect();
    // The life before knew which one it was in.
    told(&mut w, id_of(node), life("second", began));
    w.pass_ms(1_000);
    let lost: Vec<_> = w.events.iter().filter(|e| e.event_type == "lost").collect();
    assert_eq!(lost.len(), 1);
    assert_eq!(lost[0].identity.call_id, "a");
    let end = lost[0].dialog.as_ref().unwrap();
    assert_eq!((end.lost_reason.as_deref(), end.released_by.as_deref()), (Some("node_lost"), Some("node")));
    assert!(end.lost_evidence.as_ref().unwrap().contains("first is second"));
    w.quiet();
    for (mut caller, _, node) in calls.into_iter().skip(1).chain(newer) {
        w.send(t1(), &caller.request("BYE"));
        let bye = w.expect(node, "BYE", 0);
        w.send(node, &bye.reply(200, "OK", ""));
        w.expect(t1(), "BYE", 200);
    }
    w.drained();
}

/// Probes on, the second node down from the start of the calls.
fn silent_world(recovers_to: Option<&str>, orphan_bye: bool) -> World {
    let mut config = config();
    config.probe = ProbeConfig::default();
    config.orphan_bye = orphan_bye;
    config.nodes = vec![
        NodeConfig { recovers_to: recovers_to.map(str::to_owned), ..config.nodes[0].clone() },
        config.nodes[1].clone(),
    ];
    World::journaled(config, 256 * 1024)
}

/// Lets time pass in which the second node answers its probes and the first one does not.
fn pass_without_n1(w: &mut World, seconds: u64) {
    for _ in 0..seconds * 10 {
        w.pass_ms(100);
        let probes: Vec<_> = w.wire.iter().filter(|(_, m)| m.is("OPTIONS", 0)).cloned().collect();
        w.wire.retain(|(_, m)| !m.is("OPTIONS", 0));
        for (hop, m) in probes.into_iter().filter(|(hop, _)| hop.addr == n2()) {
            w.send(hop.addr, &m.reply(200, "OK", "up"));
        }
    }
}

fn call_on_n1(w: &mut World) -> Dialog {
    // The first probes are out; the next ones come in a second.
    w.pass_ms(1);
    w.wire.clear();
    for call in ["a", "b"] {
        w.send(t1(), &invite(t1(), edge_trunk(), call, "+4930123456", 1));
        w.expect(t1(), "INVITE", 100);
        let node = w.chosen();
        let offered = w.take(node);
        if node != n1() {
            w.send(node, &offered.reply(486, "Busy Here", "b"));
            w.expect(node, "ACK", 0);
            let failed = w.expect(t1(), "INVITE", 486);
            w.send(t1(), &invite(t1(), edge_trunk(), call, "+4930123456", 1).ack_failure(&failed));
            continue;
        }
        w.send(node, &offered.reply(200, "OK", "b").with("Contact", "<sip:node@10.0.0.11:5080>"));
        let answer = w.expect(t1(), "INVITE", 200);
        let mut caller = Dialog::caller(t1(), &answer);
        w.send(t1(), &caller.request("ACK"));
        w.expect(node, "ACK", 0);
        return caller;
    }
    panic!("no call reached the first node");
}

#[test]
fn silence_is_no_loss_until_the_engine_misses_the_node_too_for_30_seconds() {
    let mut w = silent_world(None, false);
    call_on_n1(&mut w);
    told(&mut w, "n1", News::Link { up: true });
    pass_without_n1(&mut w, 60);
    assert!(w.events.iter().all(|e| e.event_type != "lost"), "down is not lost");
    told(&mut w, "n1", News::Link { up: false });
    pass_without_n1(&mut w, 29);
    assert!(w.events.iter().all(|e| e.event_type != "lost"));
    pass_without_n1(&mut w, 3);
    let end = w.event("lost").dialog.clone().unwrap();
    assert!(end.lost_evidence.unwrap().starts_with("silent for "));
    assert!(w.health.iter().any(|h| h.reason.as_deref().is_some_and(|r| r.starts_with("lost: "))));
    w.quiet();
    assert_eq!(w.proxy.snapshot(0).dialogs, 0);
    w.books();
}

#[test]
fn an_orphan_bye_goes_to_the_other_party_only_when_it_is_asked_for() {
    let mut w = silent_world(None, true);
    call_on_n1(&mut w);
    told(&mut w, "n1", News::Link { up: false });
    // Kept over a restart: the Contact of the other party.
    w.restart(Duration::from_secs(1));
    told(&mut w, "n1", News::Link { up: false });
    pass_without_n1(&mut w, 36);
    let bye = w.take(t1());
    assert!(bye.is("BYE", 0), "{bye:#?}");
    assert_eq!(bye.uri(), "sip:uac@192.0.2.10:5060");
    assert_eq!((bye.tag("From"), bye.tag("To")), ("b", &*format!("f{}", bye.call_id())));
    w.wire.retain(|(hop, _)| hop.addr != t1());
    w.send(t1(), &bye.reply(200, "OK", ""));
    assert_eq!(w.event("lost").dialog.as_ref().unwrap().released_by.as_deref(), Some("edge"));
    assert!(w.event("lost").dialog.as_ref().unwrap().bye_sent);
    assert_eq!(w.proxy.counters().orphan_byes, 1);
    w.books();
}

#[test]
fn the_node_that_recovers_gets_the_requests_of_the_lost_one_and_may_speak_for_it() {
    for restarted in [false, true] {
        let mut w = silent_world(Some("n2"), false);
        let mut caller = call_on_n1(&mut w);
        told(&mut w, "n1", News::Link { up: false });
        pass_without_n1(&mut w, 36);
        assert!(w.events.iter().all(|e| e.event_type != "lost"));
        assert_eq!(w.proxy.counters().moved_dialogs, 1);
        if restarted {
            w.restart(Duration::from_secs(1));
        }
        w.wire.clear();
        w.send(t1(), &caller.request("BYE"));
        let bye = w.expect(n2(), "BYE", 0);
        w.send(n2(), &bye.reply(200, "OK", ""));
        w.expect(t1(), "BYE", 200);
        w.event("ended");
        w.books();
    }
    // It speaks first, as FreeSWITCH does when it recovers a call.
    let mut w = silent_world(Some("n2"), false);
    let mut caller = call_on_n1(&mut w);
    let mut callee = Dialog {
        local: caller.remote.clone(),
        remote: caller.local.clone(),
        target: "sip:uac@192.0.2.10:5060".into(),
        routes: caller.routes.iter().rev().cloned().collect(),
        cseq: 7,
        via: n2(),
        call_id: caller.call_id.clone(),
    };
    w.send(n2(), &callee.request("UPDATE"));
    let update = w.expect(t1(), "UPDATE", 0);
    w.send(t1(), &update.reply(200, "OK", ""));
    w.expect(n2(), "UPDATE", 200);
    w.send(t1(), &caller.request("BYE"));
    let bye = w.expect(n2(), "BYE", 0);
    w.send(n2(), &bye.reply(200, "OK", ""));
    w.expect(t1(), "BYE", 200);
    w.books();
}
