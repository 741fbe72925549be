//! Callers that give up: before and after ringing, against the answer, and when nobody answers the CANCEL.

use std::time::Duration;

use super::text::invite;
use super::world::*;

#[test]
fn a_cancel_while_ringing_reaches_the_node_and_ends_in_487() {
    let mut w = World::new();
    let m = invite(t1(), edge_trunk(), "a", "+4930123456", 1);
    w.send(t1(), &m);
    w.take(t1());
    let node = w.chosen();
    let offered = w.take(node);
    w.send(node, &offered.reply(180, "Ringing", "b"));
    w.take(t1());
    w.send(t1(), &m.cancel());
    w.expect(t1(), "CANCEL", 200);
    let cancel = w.expect(node, "CANCEL", 0);
    assert_eq!(cancel.branch(), offered.branch());
    w.send(node, &cancel.reply(200, "OK", "b"));
    w.send(node, &offered.reply(487, "Request Terminated", "b"));
    w.expect(node, "ACK", 0);
    let end = w.expect(t1(), "INVITE", 487);
    w.send(t1(), &m.ack_failure(&end));
    w.quiet();
    let told = w.event("final").outcome.as_ref().unwrap();
    assert!(told.cancelled && told.status == Some(487));
    assert!(w.event("final").timing.as_ref().unwrap().t_cancel_us.is_some());
    w.drained();
}

#[test]
fn a_cancel_before_any_response_waits_for_one() {
    let mut w = World::new();
    let m = invite(t1(), edge_trunk(), "a", "+4930123456", 1);
    w.send(t1(), &m);
    w.take(t1());
    let node = w.chosen();
    let offered = w.take(node);
    w.send(t1(), &m.cancel());
    w.send(t1(), &m.cancel());
    w.expect(t1(), "CANCEL", 200);
    w.expect(t1(), "CANCEL", 200);
    w.quiet();
    w.pass_ms(300);
    w.send(node, &offered.reply(100, "Trying", ""));
    w.expect(node, "CANCEL", 0);
    w.send(node, &offered.reply(487, "Request Terminated", "b"));
    w.expect(node, "ACK", 0);
    w.expect(t1(), "INVITE", 487);
    w.quiet();
    w.drained();
}

#[test]
fn a_cancel_to_a_silent_node_ends_without_trying_another_and_a_late_ringing_is_cancelled() {
    let mut w = World::new();
    let m = invite(t1(), edge_trunk(), "a", "+4930123456", 1);
    w.send(t1(), &m);
    w.take(t1());
    let node = w.chosen();
    let offered = w.take(node);
    w.pass_ms(400);
    w.send(t1(), &m.cancel());
    w.take(t1());
    w.pass_ms(1_600);
    let end = w.wire.iter().find(|(to, m)| to.addr == t1() && m.is("INVITE", 487));
    assert!(end.is_some(), "{:#?}", w.wire);
    assert!(w.wire.iter().all(|(to, _)| to.addr != if node == n1() { n2() } else { n1() }), "no other node is tried");
    w.wire.clear();
    w.send(node, &offered.reply(180, "Ringing", "b"));
    w.expect(node, "CANCEL", 0);
    w.wire.clear();
    w.drained();
    assert_eq!(w.types(), ["attempt", "final"]);
}

#[test]
fn an_answer_that_crosses_the_cancel_wins() {
    let mut w = World::new();
    let m = invite(t1(), edge_trunk(), "a", "+4930123456", 1);
    w.send(t1(), &m);
    w.take(t1());
    let node = w.chosen();
    let offered = w.take(node);
    w.send(node, &offered.reply(180, "Ringing", "b"));
    w.take(t1());
    w.send(t1(), &m.cancel());
    w.take(t1());
    w.take(node);
    w.send(node, &offered.reply(200, "OK", "b").with("Contact", &format!("<sip:n@{node}>")));
    w.expect(t1(), "INVITE", 200);
    assert_eq!(w.types(), ["attempt", "answered"]);
    assert!(w.event("answered").outcome.as_ref().unwrap().cancelled);
}

#[test]
fn a_cancel_that_is_never_answered_ends_after_32_seconds() {
    let mut w = World::new();
    let m = invite(t1(), edge_trunk(), "a", "+4930123456", 1);
    w.send(t1(), &m);
    w.take(t1());
    let node = w.chosen();
    let offered = w.take(node);
    w.send(node, &offered.reply(180, "Ringing", "b"));
    w.send(t1(), &m.cancel());
    w.pass(Duration::from_secs(31));
    assert!(!w.types().contains(&"final"));
    w.pass(Duration::from_secs(2));
    assert_eq!(w.event("final").outcome.as_ref().unwrap().status, Some(487));
    assert!(w.wire.iter().filter(|(to, m)| to.addr == node && m.is("CANCEL", 0)).count() > 5, "repeated by timer E");
    w.drained();
}

#[test]
fn a_cancel_from_elsewhere_or_for_nothing_changes_nothing() {
    let mut w = World::new();
    let m = invite(t1(), edge_trunk(), "a", "+4930123456", 1);
    w.send(t1(), &m);
    w.take(t1());
    let node = w.chosen();
    w.take(node);
    let foreign = addr("192.0.2.20:5060");
    w.send(foreign, &m.cancel());
    w.expect(foreign, "CANCEL", 481);
    w.send(t1(), &invite(t1(), edge_trunk(), "zzz", "+49", 1).cancel());
    w.expect(t1(), "CANCEL", 481);
    w.quiet();
}

#[test]
fn a_ringing_without_end_is_ended_by_timer_c() {
    let mut w = World::new();
    let m = invite(t1(), edge_trunk(), "a", "+4930123456", 1);
    w.send(t1(), &m);
    let node = w.chosen();
    w.take(t1());
    let offered = w.take(node);
    w.send(node, &offered.reply(180, "Ringing", "b"));
    w.pass(Duration::from_secs(181));
    w.wire.retain(|(to, _)| to.addr == node);
    w.expect(node, "CANCEL", 0);
    w.send(node, &offered.reply(487, "Request Terminated", "b"));
    w.wire.retain(|(to, _)| to.addr == t1());
    w.expect(t1(), "INVITE", 408);
    let told = w.event("final").outcome.as_ref().unwrap();
    assert_eq!(told.timer_fired.as_deref(), Some("C"));
    w.drained();
}
