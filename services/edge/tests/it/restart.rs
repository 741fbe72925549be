//! Two lives of one edge with a journal between them: nobody outside notices, and the story of each call is told once.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use super::text::{Dialog, Msg, SDP, invite};
use super::world::*;

const AWAY: Duration = Duration::from_millis(700);

fn world() -> World {
    World::journaled(config(), 256 * 1024)
}

/// An INVITE from the trunk that reached a node: what the node got.
fn offered(w: &mut World, call: &str) -> (Msg, SocketAddr) {
    w.send(t1(), &invite(t1(), edge_trunk(), call, "+4930123456", 1));
    w.expect(t1(), "INVITE", 100);
    let node = w.chosen();
    (w.take(node), node)
}

fn ok(offered: &Msg, node: SocketAddr) -> Msg {
    let mut ok = offered.reply(200, "OK", "callee").with("Contact", &format!("<sip:node@{node}>"));
    ok = ok.with("Content-Type", "application/sdp");
    ok.body = SDP.to_owned();
    ok
}

/// All INVITEs on the wire are copies of that one, for that node.
fn only_copies(w: &mut World, first: &Msg, node: SocketAddr) {
    let invites: Vec<(SocketAddr, Msg)> =
        w.wire.iter().filter(|(_, m)| m.is("INVITE", 0)).map(|(hop, m)| (hop.addr, m.clone())).collect();
    for (to, copy) in invites {
        assert_eq!((to, &copy), (node, first));
    }
    w.wire.retain(|(_, m)| !m.is("INVITE", 0));
}

/// The node answers, the caller acknowledges and hangs up.
fn to_the_end(w: &mut World, first: &Msg, node: SocketAddr) {
    let answer = ok(first, node);
    w.send(node, &answer);
    hang_up(w, node);
}

fn hang_up(w: &mut World, node: SocketAddr) {
    let answer = w.expect(t1(), "INVITE", 200);
    let mut caller = Dialog::caller(t1(), &answer);
    w.send(t1(), &caller.request("ACK"));
    w.expect(node, "ACK", 0);
    w.pass_ms(2_000);
    w.send(t1(), &caller.request("BYE"));
    let bye = w.expect(node, "BYE", 0);
    w.send(node, &bye.reply(200, "OK", ""));
    w.expect(t1(), "BYE", 200);
}

/// Each event once, one call id, and nothing left.
fn told_once(w: &mut World, types: &[&str]) {
    assert_eq!(w.types(), types);
    let calls: HashSet<&str> = w.events.iter().map(|e| e.call_root_id.as_str()).collect();
    assert_eq!(calls.len(), 1);
    w.drained();
}

#[test]
fn a_call_in_set_up_goes_on_whatever_its_node_had_said() {
    for said in [None, Some(100), Some(180)] {
        let mut w = world();
        let (first, node) = offered(&mut w, "a");
        if let Some(status) = said {
            w.send(node, &first.reply(status, "so far", "callee"));
        }
        w.wire.clear();
        w.restart(AWAY);
        only_copies(&mut w, &first, node);
        // The caller repeats itself and is told to wait.
        w.send(t1(), &invite(t1(), edge_trunk(), "a", "+4930123456", 1));
        w.expect(t1(), "INVITE", 100);
        w.quiet();
        w.pass_ms(1_000);
        only_copies(&mut w, &first, node);
        to_the_end(&mut w, &first, node);
        assert_eq!(w.event("ended").dialog.as_ref().unwrap().talk_us, Some(2_000_000));
        if said == Some(180) {
            assert!(w.event("answered").timing.as_ref().unwrap().t_first_180_us.is_some());
        }
        told_once(&mut w, &["attempt", "answered", "ended"]);
    }
}

#[test]
fn an_answer_that_the_dead_one_passed_on_is_known_when_it_comes_again() {
    let mut w = world();
    let (first, node) = offered(&mut w, "a");
    w.send(node, &ok(&first, node));
    w.wire.clear();
    w.restart(AWAY);
    w.quiet();
    // Neither copy makes a second call; the callee's goes through, since the ACK never came.
    w.send(t1(), &invite(t1(), edge_trunk(), "a", "+4930123456", 1));
    w.quiet();
    w.send(t1(), &invite(t1(), edge_trunk(), "a", "+4930123456", 1).cancel());
    w.expect(t1(), "CANCEL", 200);
    w.send(node, &ok(&first, node));
    hang_up(&mut w, node);
    told_once(&mut w, &["attempt", "answered", "ended"]);
}

#[test]
fn an_established_call_ends_with_its_true_duration() {
    let mut w = world();
    let (mut caller, _, node) = w.answered("a");
    let before = w.events.len();
    w.pass_ms(60_000);
    w.restart(Duration::from_secs(5));
    assert_eq!((w.proxy.snapshot(0).dialogs, w.events.len()), (1, before));
    w.pass_ms(15_000);
    w.send(t1(), &caller.request("BYE"));
    let bye = w.expect(node, "BYE", 0);
    w.send(node, &bye.reply(200, "OK", ""));
    w.expect(t1(), "BYE", 200);
    let ended = w.event("ended");
    assert_eq!(ended.dialog.as_ref().unwrap().talk_us, Some(80_000_000));
    assert!(ended.timing.as_ref().unwrap().t_ack_us.is_some());
    let answered = w.event("answered");
    assert_eq!(
        (&ended.leg_id, &ended.parties.as_ref().unwrap().callee_raw),
        (&answered.leg_id, &answered.parties.as_ref().unwrap().callee_raw)
    );
    told_once(&mut w, &["attempt", "answered", "ended"]);
}

#[test]
fn a_cancel_works_before_and_after_the_restart() {
    let cancel = |w: &mut World| {
        w.send(t1(), &invite(t1(), edge_trunk(), "a", "+4930123456", 1).cancel());
        w.expect(t1(), "CANCEL", 200);
    };
    for cancelled_first in [false, true] {
        let mut w = world();
        let (first, node) = offered(&mut w, "a");
        w.send(node, &first.reply(180, "Ringing", "callee"));
        w.expect(t1(), "INVITE", 180);
        if cancelled_first {
            cancel(&mut w);
        }
        w.wire.clear();
        w.restart(AWAY);
        if !cancelled_first {
            cancel(&mut w);
        }
        let seen = w.expect(node, "CANCEL", 0);
        assert_eq!(seen.branch(), first.branch());
        w.send(node, &seen.reply(200, "OK", ""));
        w.send(node, &first.reply(487, "Request Terminated", "callee"));
        w.expect(node, "ACK", 0);
        let failed = w.expect(t1(), "INVITE", 487);
        w.send(t1(), &invite(t1(), edge_trunk(), "a", "+4930123456", 1).ack_failure(&failed));
        w.quiet();
        assert!(w.event("final").outcome.as_ref().unwrap().cancelled);
        told_once(&mut w, &["attempt", "final"]);
    }
}

#[test]
fn a_failure_is_repeated_by_the_next_life_until_it_is_acknowledged() {
    let mut w = world();
    let (first, node) = offered(&mut w, "a");
    w.send(node, &first.reply(486, "Busy Here", "callee"));
    w.expect(node, "ACK", 0);
    let failed = w.expect(t1(), "INVITE", 486);
    w.restart(AWAY);
    w.pass_ms(600);
    let again = w.expect(t1(), "INVITE", 486);
    assert_eq!(again, failed);
    w.wire.clear();
    // The node did not hear our ACK either.
    w.send(node, &first.reply(486, "Busy Here", "callee"));
    w.expect(node, "ACK", 0);
    w.send(t1(), &invite(t1(), edge_trunk(), "a", "+4930123456", 1).ack_failure(&failed));
    w.pass_ms(10_000);
    w.quiet();
    told_once(&mut w, &["attempt", "final"]);
}

#[test]
fn a_challenged_call_that_comes_again_after_the_restart_is_the_same_call() {
    let mut w = world();
    let (first, node) = offered(&mut w, "a");
    w.send(node, &first.reply(407, "Proxy Authentication Required", "callee"));
    w.expect(node, "ACK", 0);
    let failed = w.expect(t1(), "INVITE", 407);
    w.send(t1(), &invite(t1(), edge_trunk(), "a", "+4930123456", 1).ack_failure(&failed));
    w.restart(AWAY);
    w.send(t1(), &invite(t1(), edge_trunk(), "a", "+4930123456", 2));
    w.expect(t1(), "INVITE", 100);
    let second = w.take(node);
    to_the_end(&mut w, &second, node);
    told_once(&mut w, &["attempt", "final", "attempt", "answered", "ended"]);
}

#[test]
fn a_caller_that_vanished_during_the_restart_gives_one_final() {
    let mut w = world();
    let (first, node) = offered(&mut w, "a");
    w.send(node, &first.reply(180, "Ringing", "callee"));
    w.wire.clear();
    w.restart(AWAY);
    w.pass(Duration::from_secs(185));
    assert!(w.wire.iter().any(|(hop, m)| hop.addr == node && m.is("CANCEL", 0)), "a phone must not ring on");
    w.pass(Duration::from_secs(100));
    assert_eq!(w.types(), ["attempt", "final"]);
    w.books();
}

#[test]
fn the_answer_to_a_bye_of_the_life_before_passes_and_ends_the_call() {
    let mut w = world();
    let (mut caller, _, node) = w.answered("a");
    w.send(t1(), &caller.request("BYE"));
    let bye = w.expect(node, "BYE", 0);
    w.restart(AWAY);
    w.send(node, &bye.reply(200, "OK", ""));
    w.expect(t1(), "BYE", 200);
    w.quiet();
    let end = w.event("ended").dialog.clone().unwrap();
    assert_eq!((end.bye_status, end.released_by.as_deref()), (Some(200), Some("caller")));
    assert_eq!(w.proxy.counters().stateless_responses, 1);
    // A response that proves nothing goes nowhere.
    let mut forged = bye.reply(200, "OK", "");
    forged.headers.iter_mut().filter(|(n, _)| n == "Call-ID").for_each(|(_, v)| *v = "other".into());
    w.send(node, &forged);
    w.quiet();
    told_once(&mut w, &["attempt", "answered", "ended"]);
}

#[test]
fn a_bye_whose_answer_never_came_ends_the_call_all_the_same() {
    let mut w = world();
    let (mut caller, _, node) = w.answered("a");
    w.send(t1(), &caller.request("BYE"));
    w.expect(node, "BYE", 0);
    w.restart(AWAY);
    w.pass(Duration::from_secs(90));
    assert_eq!(w.event("ended").dialog.as_ref().unwrap().bye_status, Some(408));
    told_once(&mut w, &["attempt", "answered", "ended"]);
}

#[test]
fn what_was_decided_and_not_told_is_told_by_the_next_life() {
    let mut w = world();
    // The INVITE: nothing of it left the dead one.
    w.decide_and_die(t1(), &invite(t1(), edge_trunk(), "a", "+4930123456", 1));
    assert_eq!(w.types(), ["attempt"]);
    w.pass_ms(600);
    let node = w.chosen();
    let first = w.take(node);
    w.send(t1(), &invite(t1(), edge_trunk(), "a", "+4930123456", 1));
    w.wire.clear();
    // The answer.
    w.decide_and_die(node, &ok(&first, node));
    assert_eq!(w.types(), ["attempt", "answered"]);
    w.send(node, &ok(&first, node));
    let answer = w.expect(t1(), "INVITE", 200);
    let mut caller = Dialog::caller(t1(), &answer);
    w.send(t1(), &caller.request("ACK"));
    w.expect(node, "ACK", 0);
    w.send(t1(), &caller.request("BYE"));
    let bye = w.expect(node, "BYE", 0);
    // The end.
    w.decide_and_die(node, &bye.reply(200, "OK", ""));
    w.pass(Duration::from_secs(90));
    assert_eq!(w.event("ended").dialog.as_ref().unwrap().bye_status, Some(200));
    told_once(&mut w, &["attempt", "answered", "ended"]);

    let mut w = world();
    let (first, node) = offered(&mut w, "b");
    w.decide_and_die(node, &first.reply(486, "Busy Here", "callee"));
    assert_eq!(w.types(), ["attempt", "final"]);
    w.pass_ms(600);
    w.expect(t1(), "INVITE", 486);
    w.wire.clear();
    w.drained();
}

#[test]
fn a_second_attempt_and_a_second_restart_change_nothing() {
    let mut w = world();
    let (first, node) = offered(&mut w, "a");
    w.send(node, &first.reply(503, "Full", "callee"));
    w.expect(node, "ACK", 0);
    let other = w.chosen();
    assert_ne!(other, node);
    let second = w.take(other);
    w.restart(AWAY);
    only_copies(&mut w, &second, other);
    w.send(other, &second.reply(180, "Ringing", "callee"));
    w.expect(t1(), "INVITE", 180);
    w.restart(AWAY);
    w.quiet();
    to_the_end(&mut w, &second, other);
    assert_eq!(w.event("answered").branches.len(), 2);
    told_once(&mut w, &["attempt", "attempt", "answered", "ended"]);
}

#[test]
fn a_full_journal_is_counted_and_the_call_goes_on() {
    let mut w = World::journaled(config(), 1);
    let calls = ["a", "b", "c", "d", "e"].map(|call| w.answered(call));
    for (mut caller, _, node) in calls {
        w.send(t1(), &caller.request("BYE"));
        let bye = w.expect(node, "BYE", 0);
        w.send(node, &bye.reply(200, "OK", ""));
        w.expect(t1(), "BYE", 200);
    }
    let s = w.proxy.snapshot(0);
    assert!(s.counters.journal_full > 0 && s.journal_bytes_max > 0);
    w.drained();
    assert_eq!(w.proxy.snapshot(0).journal_bytes, 0);
}

#[test]
fn the_journal_is_empty_when_all_calls_are_over() {
    let mut w = world();
    for call in ["a", "b", "c"] {
        let (mut caller, _, node) = w.answered(call);
        w.send(t1(), &caller.request("BYE"));
        let bye = w.expect(node, "BYE", 0);
        w.send(node, &bye.reply(200, "OK", ""));
        w.expect(t1(), "BYE", 200);
        w.restart(AWAY);
    }
    w.drained();
    let s = w.proxy.snapshot(0);
    assert_eq!((s.journal_bytes, s.counters.journal_full, s.counters.journal_damaged), (0, 0, 0));
}
