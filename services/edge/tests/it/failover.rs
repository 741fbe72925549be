//! Next hops that fail: silent, refusing, dead in mid-call; and answers that come too late.

use std::time::Duration;

use edge::core::Input;

use super::text::{Dialog, invite};
use super::world::*;

fn other(node: std::net::SocketAddr) -> std::net::SocketAddr {
    if node == n1() { n2() } else { n1() }
}

#[test]
fn a_silent_node_is_left_after_one_and_a_half_seconds() {
    let mut w = World::new();
    let m = invite(t1(), edge_trunk(), "a", "+4930123456", 1);
    w.send(t1(), &m);
    let node = w.chosen();
    let first = w.take(node);
    w.pass_ms(1_400);
    assert!(w.wire.iter().all(|(to, _)| to.addr != other(node)));
    w.pass_ms(150);
    w.wire.retain(|(to, _)| to.addr != t1() && to.addr != node);
    let second = w.expect(other(node), "INVITE", 0);
    assert_ne!(first.branch(), second.branch());
    w.send(other(node), &second.reply(486, "Busy Here", "x"));
    w.take(other(node));
    w.expect(t1(), "INVITE", 486);
    assert_eq!(w.types(), ["attempt", "attempt", "final"]);
    let last = w.event("final");
    assert_eq!(last.branches.len(), 2);
    assert_eq!(last.branches[0].failover_reason.as_deref(), Some("timeout"));
    assert_eq!(w.events[1].decision.as_ref().unwrap().failover_reason.as_deref(), Some("timeout"));
    w.drained();
}

#[test]
fn a_503_of_a_node_is_tried_elsewhere_and_never_passed_on() {
    let mut w = World::new();
    w.send(t1(), &invite(t1(), edge_trunk(), "a", "+4930123456", 1));
    w.take(t1());
    let node = w.chosen();
    for at in [node, other(node)] {
        let offered = w.expect(at, "INVITE", 0);
        w.send(at, &offered.reply(503, "Service Unavailable", "x").with("Retry-After", "600"));
        w.expect(at, "ACK", 0);
    }
    let end = w.expect(t1(), "INVITE", 500);
    assert!(end.all("Retry-After").is_empty());
    assert_eq!(w.event("final").outcome.as_ref().unwrap().status, Some(500));
    assert_eq!(w.event("final").branches[0].status, Some(503));
    w.drained();
}

#[test]
fn a_5xx_with_a_q850_cause_is_the_far_sides_and_passes() {
    let mut w = World::new();
    w.send(t1(), &invite(t1(), edge_trunk(), "a", "+4930123456", 1));
    w.take(t1());
    let node = w.chosen();
    let offered = w.take(node);
    w.send(
        node,
        &offered.reply(502, "Bad Gateway", "x").with("Reason", "Q.850;cause=27;text=\"DESTINATION_OUT_OF_ORDER\""),
    );
    w.take(node);
    w.expect(t1(), "INVITE", 502);
    w.quiet();
    assert_eq!(w.types(), ["attempt", "final"]);
    assert_eq!(w.event("final").headers.as_ref().unwrap().reason_cause, Some(27));
    w.drained();
}

#[test]
fn a_refused_port_moves_calls_at_once_also_while_they_ring() {
    let mut w = World::new();
    w.send(t1(), &invite(t1(), edge_trunk(), "a", "+4930123456", 1));
    w.take(t1());
    let node = w.chosen();
    let offered = w.take(node);
    w.send(node, &offered.reply(180, "Ringing", "b"));
    w.take(t1());
    w.pass_ms(2_000);
    w.give(Input::Unreachable { to: node });
    w.expect(node, "CANCEL", 0);
    let second = w.expect(other(node), "INVITE", 0);
    assert_eq!(w.health.last().unwrap().state.as_deref(), Some("down"));
    w.send(other(node), &second.reply(200, "OK", "c").with("Contact", "<sip:x@10.0.0.12:5080>"));
    w.expect(t1(), "INVITE", 200);
    assert_eq!(w.types(), ["attempt", "attempt", "answered"]);
    assert_eq!(w.event("answered").branches[0].failover_reason.as_deref(), Some("node_down"));
    w.pass_ms(10);
    w.give(Input::Unreachable { to: other(node) });
    w.wire.clear();
    w.send(t1(), &invite(t1(), edge_trunk(), "b", "+4930123456", 1));
    w.expect(t1(), "INVITE", 503);
    w.quiet();
    assert_eq!(w.event("refused").decision.as_ref().unwrap().reason.as_deref(), Some("no_node"));
}

#[test]
fn a_call_in_set_up_whose_only_node_dies_ends_at_once() {
    let mut w = World::new();
    w.give(Input::Unreachable { to: n2() });
    w.send(t1(), &invite(t1(), edge_trunk(), "a", "+4930123456", 1));
    w.take(t1());
    w.take(n1());
    w.give(Input::Unreachable { to: n1() });
    w.expect(t1(), "INVITE", 503);
    assert_eq!(w.types(), ["attempt", "final"]);
    w.drained();
}

#[test]
fn a_bye_to_a_dead_node_is_answered_at_once_and_ends_the_call() {
    let mut w = World::new();
    let (mut caller, _, node) = w.answered("a");
    let (mut second, _, _) = w.answered("b");
    let (mut third, _, same) = w.answered("c");
    assert_eq!(same, node);
    let bye = third.request("BYE");
    w.send(t1(), &bye);
    w.expect(node, "BYE", 0);
    w.pass_ms(100);
    w.give(Input::Unreachable { to: node });
    w.expect(t1(), "BYE", 481);
    let bye = caller.request("BYE");
    w.send(t1(), &bye);
    w.expect(t1(), "BYE", 481);
    w.quiet();
    let bye = second.request("BYE");
    w.send(t1(), &bye);
    let seen = w.expect(other(node), "BYE", 0);
    w.send(other(node), &seen.reply(200, "OK", ""));
    w.expect(t1(), "BYE", 200);
    let statuses: Vec<_> =
        w.events.iter().filter(|e| e.event_type == "ended").map(|e| e.dialog.as_ref().unwrap().bye_status).collect();
    assert_eq!(statuses, [Some(481), Some(481), Some(200)]);
    w.drained();
}

#[test]
fn probes_find_a_silent_node_and_its_return() {
    let mut config = config();
    config.probe.enabled = true;
    let mut w = World::with(config);
    let mut changes: Vec<(u64, String)> = Vec::new();
    for tick in 0..400u64 {
        for _ in 0..w.wire.len() {
            let (hop, m) = w.wire.pop_front().unwrap();
            let dead = hop.addr == n2() && (50..200).contains(&tick);
            if m.is("OPTIONS", 0) && !dead {
                w.send(hop.addr, &m.reply(200, "OK", "p"));
            }
        }
        w.pass_ms(50);
        for h in w.health.drain(..).filter(|h| h.state != h.state_before) {
            assert_eq!(h.node_id, "n2");
            changes.push((tick * 50, h.state.unwrap()));
        }
    }
    let states: Vec<&str> = changes.iter().map(|(_, s)| s.as_str()).collect();
    assert_eq!(states, ["suspect", "down", "up"]);
    assert!(changes[1].0 - 2_500 <= 4_000, "down within four seconds: {changes:?}");
    assert!(w.events.is_empty(), "our own probes have no event");
}

#[test]
fn a_late_answer_after_a_failure_is_acknowledged_and_released() {
    let mut w = World::new();
    let m = invite(t1(), edge_trunk(), "a", "+4930123456", 1);
    w.send(t1(), &m);
    w.take(t1());
    let node = w.chosen();
    let offered = w.take(node);
    w.send(node, &offered.reply(180, "Ringing", "b"));
    w.send(t1(), &m.cancel());
    w.pass(Duration::from_secs(33));
    assert_eq!(w.types(), ["attempt", "final"]);
    w.wire.clear();
    let ok = offered.reply(200, "OK", "b").with("Contact", &format!("<sip:n@{node}>"));
    w.send(node, &ok);
    let ack = w.expect(node, "ACK", 0);
    assert_eq!((ack.cseq(), ack.tag("To"), ack.uri()), (1, "b", format!("sip:n@{node}").as_str()));
    let bye = w.expect(node, "BYE", 0);
    assert_eq!((bye.cseq(), bye.tag("To")), (2, "b"));
    w.quiet();
    w.send(node, &ok);
    w.expect(node, "ACK", 0);
    w.quiet();
    w.send(node, &bye.reply(200, "OK", ""));
    w.quiet();
    assert_eq!(w.types(), ["attempt", "final", "late_answer"]);
    assert_eq!(w.event("late_answer").outcome.as_ref().unwrap().late_action.as_deref(), Some("acked_and_released"));
    w.drained();
}

#[test]
fn the_answer_of_an_abandoned_node_still_counts_until_a_failure_was_sent() {
    let mut w = World::new();
    w.send(t1(), &invite(t1(), edge_trunk(), "a", "+4930123456", 1));
    let node = w.chosen();
    let first = w.take(node);
    w.pass_ms(1_600);
    w.wire.retain(|(to, _)| to.addr == other(node));
    let second = w.expect(other(node), "INVITE", 0);
    w.send(other(node), &second.reply(180, "Ringing", "c"));
    w.expect(t1(), "INVITE", 180);
    w.send(node, &first.reply(200, "OK", "b").with("Contact", &format!("<sip:n@{node}>")));
    let answer = w.expect(t1(), "INVITE", 200);
    w.expect(other(node), "CANCEL", 0);
    assert_eq!(w.event("answered").attempt, 1);
    w.send(other(node), &second.reply(200, "OK", "c").with("Contact", &format!("<sip:n@{}>", other(node))));
    let late = w.expect(t1(), "INVITE", 200);
    assert_eq!(w.types(), ["attempt", "attempt", "answered", "late_answer"]);
    assert_eq!(w.event("late_answer").outcome.as_ref().unwrap().late_action.as_deref(), Some("forwarded"));
    let mut caller = Dialog::caller(t1(), &answer);
    let bye = caller.request("BYE");
    w.send(t1(), &bye);
    let seen = w.expect(node, "BYE", 0);
    w.send(node, &seen.reply(200, "OK", ""));
    assert_eq!(w.types().last(), Some(&"ended"));
    assert!(!w.events[4].dialog.as_ref().unwrap().late);
    w.wire.clear();
    let mut caller = Dialog::caller(t1(), &late);
    w.send(t1(), &caller.request("ACK"));
    w.expect(other(node), "ACK", 0);
    w.send(t1(), &caller.request("BYE"));
    let seen = w.expect(other(node), "BYE", 0);
    w.send(other(node), &seen.reply(200, "OK", ""));
    w.expect(t1(), "BYE", 200);
    assert_eq!(w.types()[3..], ["late_answer", "ended", "ended"]);
    let (told, end) = (&w.events[3], &w.events[5]);
    assert!(end.dialog.as_ref().unwrap().late);
    assert_eq!((&end.leg_id, &end.identity.to_tag), (&told.leg_id, &told.identity.to_tag));
    assert_eq!(w.proxy.snapshot(0).nodes.iter().map(|n| n.calls_now).sum::<i64>(), 0);
    w.drained();
}

#[test]
fn a_carrier_that_fails_is_followed_by_the_next_of_the_route() {
    let mut w = World::new();
    w.send(n1(), &invite(n1(), edge_node(), "a", "+4922155558401", 1));
    w.take(n1());
    let offered = w.expect(c1(), "INVITE", 0);
    w.send(c1(), &offered.reply(503, "Service Unavailable", "x"));
    w.expect(c1(), "ACK", 0);
    w.expect(c2(), "INVITE", 0);
    w.pass_ms(3_900);
    assert!(!w.types().contains(&"final"));
    w.pass(Duration::from_secs(30));
    assert_eq!(w.event("final").outcome.as_ref().unwrap().status, Some(408), "the lowest class (RFC 3261 §16.7)");
    w.drained();
}
