//! The rules of a stateful proxy, RFC 3261 §16 and RFC 4320, sentence by sentence.

use std::net::SocketAddr;
use std::time::Duration;

use edge::{Config, Late2xx};

use super::text::{Dialog, Msg, invite};
use super::world::*;

fn other(node: SocketAddr) -> SocketAddr {
    if node == n1() { n2() } else { n1() }
}

fn ok(offered: &Msg, tag: &str, at: SocketAddr) -> Msg {
    offered.reply(200, "OK", tag).with("Contact", &format!("<sip:n@{at}>"))
}

/// A call that is on its way to a node: the INVITE, the node, what it got.
fn offered(w: &mut World, call: &str) -> (Msg, SocketAddr, Msg) {
    let m = invite(t1(), edge_trunk(), call, "+4930123456", 1);
    w.send(t1(), &m);
    w.expect(t1(), "INVITE", 100);
    let node = w.chosen();
    let seen = w.take(node);
    (m, node, seen)
}

/// The same, after the first node was silent for too long: both nodes and what they got.
fn offered_twice(w: &mut World, call: &str) -> (Msg, (SocketAddr, Msg), (SocketAddr, Msg)) {
    let (m, first, seen) = offered(w, call);
    w.pass_ms(1_600);
    w.wire.retain(|(_, m)| m.is("INVITE", 0) && m.branch() != seen.branch());
    let again = w.expect(other(first), "INVITE", 0);
    (m, (first, seen), (other(first), again))
}

fn only_late(rule: Late2xx) -> Config {
    let mut config = config();
    config.trunks.iter_mut().for_each(|t| t.late_2xx = rule);
    config
}

#[test]
fn a_second_2xx_of_one_branch_goes_upstream_and_has_a_story_of_its_own() {
    let mut w = World::new();
    let (_, node, seen) = offered(&mut w, "a");
    w.send(node, &ok(&seen, "one", node));
    w.send(node, &ok(&seen, "two", node));
    w.send(node, &ok(&seen, "two", node));
    let answers: Vec<Msg> = (0..3).map(|_| w.expect(t1(), "INVITE", 200)).collect();
    assert_eq!(w.types(), ["attempt", "answered", "late_answer"], "a copy is no further answer");
    assert_eq!(w.proxy.snapshot(0).nodes.iter().map(|n| n.calls_now).sum::<i64>(), 2);
    for answer in &answers[..2] {
        let mut caller = Dialog::caller(t1(), answer);
        w.send(t1(), &caller.request("ACK"));
        w.expect(node, "ACK", 0);
        w.send(t1(), &caller.request("BYE"));
        let bye = w.expect(node, "BYE", 0);
        assert_eq!(bye.tag("To"), answer.tag("To"));
        w.send(node, &bye.reply(200, "OK", ""));
        w.expect(t1(), "BYE", 200);
    }
    w.quiet();
    assert_eq!(w.types()[3..], ["ended", "ended"]);
    let ends: Vec<_> =
        w.events[3..].iter().map(|e| (e.identity.to_tag.as_deref(), e.dialog.as_ref().unwrap().late)).collect();
    assert_eq!(ends, [(Some("one"), false), (Some("two"), true)]);
    let ids: std::collections::BTreeSet<_> = w.events.iter().map(schemas::Event::logical_id).collect();
    assert_eq!(ids.len(), w.events.len(), "no event passes for a copy of another");
    w.drained();
}

#[test]
fn a_second_2xx_that_is_never_hung_up_is_lost_by_itself() {
    let mut config = config();
    config.timers.max_call_s = 60;
    let mut w = World::with(config);
    let (_, node, seen) = offered(&mut w, "a");
    w.send(node, &ok(&seen, "one", node));
    w.send(node, &ok(&seen, "two", node));
    w.pass(Duration::from_secs(100));
    assert_eq!(w.types(), ["attempt", "answered", "late_answer", "lost", "lost"]);
    w.drained();
}

#[test]
fn a_trunk_that_wants_one_answer_gets_one_and_the_edge_ends_the_other() {
    let mut w = World::with(only_late(Late2xx::EdgeBye));
    let (_, (first, seen), (second, again)) = offered_twice(&mut w, "a");
    w.send(second, &ok(&again, "two", second));
    w.expect(t1(), "INVITE", 200);
    let late = ok(&seen, "one", first);
    w.send(first, &late);
    let ack = w.expect(first, "ACK", 0);
    let bye = w.expect(first, "BYE", 0);
    assert_eq!((ack.tag("To"), ack.cseq(), bye.tag("To"), bye.cseq()), ("one", 1, "one", 2));
    w.send(first, &late);
    w.expect(first, "ACK", 0);
    w.quiet();
    w.send(first, &bye.reply(200, "OK", ""));
    assert_eq!(w.types(), ["attempt", "attempt", "answered", "late_answer"]);
    let told = w.event("late_answer");
    assert_eq!(told.outcome.as_ref().unwrap().late_action.as_deref(), Some("acked_and_released"));
    assert_eq!(told.sent.as_ref().unwrap().policies[0].rule, "trunk/t1/late_2xx");
}

#[test]
fn late_2xx_is_the_setting_of_the_carrier_when_a_node_calls() {
    for rule in [Late2xx::Relay, Late2xx::EdgeBye] {
        let mut w = World::with(only_late(rule));
        w.send(n1(), &invite(n1(), edge_node(), "a", "+4922155558401", 1));
        w.take(n1());
        let seen = w.expect(c1(), "INVITE", 0);
        w.send(c1(), &ok(&seen, "one", c1()));
        w.expect(n1(), "INVITE", 200);
        w.send(c1(), &ok(&seen, "two", c1()));
        match rule {
            Late2xx::Relay => drop(w.expect(n1(), "INVITE", 200)),
            Late2xx::EdgeBye => {
                w.expect(c1(), "ACK", 0);
                w.expect(c1(), "BYE", 0);
            }
        }
        w.quiet();
        assert_eq!(w.types(), ["attempt", "answered", "late_answer"]);
    }
}

#[test]
fn a_2xx_long_after_the_first_when_nobody_upstream_listens_is_released() {
    let mut w = World::new();
    let (_, (first, seen), (second, again)) = offered_twice(&mut w, "a");
    w.send(second, &ok(&again, "two", second));
    w.expect(t1(), "INVITE", 200);
    w.pass_ms(29_000);
    w.send(first, &seen.reply(180, "Ringing", "one"));
    w.expect(first, "CANCEL", 0);
    w.pass_ms(4_000);
    w.wire.clear();
    w.send(first, &ok(&seen, "one", first));
    w.expect(first, "ACK", 0);
    w.expect(first, "BYE", 0);
    w.quiet();
    assert_eq!(w.event("late_answer").outcome.as_ref().unwrap().late_action.as_deref(), Some("acked_and_released"));
}

#[test]
fn answers_of_one_invite_are_bounded() {
    let mut w = World::new();
    let (_, node, seen) = offered(&mut w, "a");
    for i in 0..50 {
        w.send(node, &ok(&seen, &format!("tag{i}"), node));
    }
    assert_eq!((w.wire.len(), w.events.len(), w.proxy.snapshot(0).dialogs), (16, 17, 16));
}

#[test]
fn a_2xx_without_contact_after_a_failure_is_released_too() {
    let mut w = World::new();
    let (m, node, seen) = offered(&mut w, "a");
    w.send(node, &seen.reply(180, "Ringing", "b"));
    w.send(t1(), &m.cancel());
    w.pass(Duration::from_secs(33));
    w.wire.clear();
    w.send(node, &seen.reply(200, "OK", "b"));
    let ack = w.expect(node, "ACK", 0);
    assert_eq!(ack.uri(), seen.uri());
    w.expect(node, "BYE", 0);
    assert_eq!(w.types(), ["attempt", "final", "late_answer"]);
}

#[test]
fn a_late_2xx_of_a_reinvite_is_acknowledged_and_the_dialog_lives_on() {
    let mut w = World::new();
    let (mut caller, _, node) = w.answered("a");
    let m = caller.request("INVITE").with("Contact", "<sip:uac@192.0.2.10:5060>");
    w.send(t1(), &m);
    w.expect(t1(), "INVITE", 100);
    let seen = w.expect(node, "INVITE", 0);
    w.pass(Duration::from_secs(33));
    w.wire.retain(|(h, _)| h.addr == t1());
    w.expect(t1(), "INVITE", 408);
    w.wire.clear();
    w.send(node, &ok(&seen, "", node));
    w.expect(node, "ACK", 0);
    w.quiet();
    assert_eq!(w.types(), ["attempt", "answered", "transaction"]);
}

#[test]
fn ringing_on_an_abandoned_branch_is_cancelled_also_after_timer_b() {
    let mut w = World::new();
    let (_, (first, seen), (second, again)) = offered_twice(&mut w, "a");
    w.send(second, &again.reply(180, "Ringing", "two"));
    w.expect(t1(), "INVITE", 180);
    w.send(first, &seen.reply(183, "Session Progress", "one"));
    w.expect(first, "CANCEL", 0);
    w.send(first, &seen.reply(487, "Request Terminated", "one"));
    w.expect(first, "ACK", 0);
    w.quiet();

    // The only node is silent until timer B, and rings a moment later.
    let mut config = config();
    config.nodes.truncate(1);
    let mut w = World::with(config);
    let (m, node, seen) = offered(&mut w, "b");
    w.pass_ms(32_100);
    w.wire.retain(|(h, _)| h.addr == t1());
    let end = w.expect(t1(), "INVITE", 408);
    w.wire.clear();
    w.send(node, &seen.reply(180, "Ringing", "late"));
    w.expect(node, "CANCEL", 0);
    w.send(node, &seen.reply(487, "Request Terminated", "late"));
    w.expect(node, "ACK", 0);
    w.send(t1(), &m.ack_failure(&end));
    w.quiet();
    assert_eq!(w.event("final").outcome.as_ref().unwrap().timer_fired.as_deref(), Some("B"));
    w.drained();
}

#[test]
fn the_carrier_has_four_seconds_for_its_first_response_and_both_times_can_be_set() {
    let mut short = config();
    short.timers.first_response_trunk_ms = 700;
    short.timers.first_response_node_ms = 300;
    for (config, carrier, node) in [(config(), 4_000, 1_500), (short, 700, 300)] {
        let mut w = World::with(config);
        w.send(n1(), &invite(n1(), edge_node(), "a", "+4922155558401", 1));
        w.pass_ms(carrier - 1);
        assert!(w.wire.iter().all(|(h, _)| h.addr != c2()));
        w.pass_ms(1);
        assert!(w.wire.iter().any(|(h, m)| h.addr == c2() && m.is("INVITE", 0)));
        w.wire.clear();
        w.send(t1(), &invite(t1(), edge_trunk(), "b", "+4930123456", 1));
        let first = w.chosen();
        w.pass_ms(node - 1);
        assert!(w.wire.iter().all(|(h, _)| h.addr != other(first)));
        w.pass_ms(1);
        assert!(w.wire.iter().any(|(h, m)| h.addr == other(first) && m.is("INVITE", 0)));
    }
}

/// What the caller gets when the first next hop says the one thing and the second the other.
fn best_of(one: u16, two: u16) -> (u16, Msg) {
    let mut w = World::new();
    let (m, (first, seen), (second, again)) = offered_twice(&mut w, "a");
    w.send(second, &again.reply(180, "Ringing", "two"));
    w.expect(t1(), "INVITE", 180);
    let reply = |to: &Msg, status: u16, at: SocketAddr| {
        let reply = to.reply(status, "Whatever", "t");
        let header = if status == 401 { "WWW-Authenticate" } else { "Proxy-Authenticate" };
        let realm = format!("Digest realm=\"{at}\", nonce=\"n\"");
        if matches!(status, 401 | 407) { reply.with(header, &realm) } else { reply }
    };
    w.send(first, &reply(&seen, one, first));
    w.expect(first, "ACK", 0);
    w.wire.retain(|(h, m)| h.addr != second || m.is("INVITE", 0));
    w.send(second, &reply(&again, two, second));
    w.expect(second, "ACK", 0);
    let end = w.take(t1());
    w.send(t1(), &m.ack_failure(&end));
    w.quiet();
    assert_eq!(w.event("final").outcome.as_ref().unwrap().status, Some(end.status()));
    w.drained();
    (end.status(), end)
}

#[test]
fn of_several_failures_the_best_goes_upstream() {
    for (one, two, best) in [
        (486, 502, 486),
        (502, 486, 486),
        (603, 404, 603),
        (404, 603, 603),
        (302, 404, 302),
        (484, 486, 484),
        (486, 484, 484),
        (486, 480, 480),
        (503, 503, 500),
        (407, 486, 407),
    ] {
        assert_eq!(best_of(one, two).0, best, "{one} and {two}");
    }
}

#[test]
fn with_a_challenge_go_the_challenges_of_the_others() {
    let (status, end) = best_of(401, 407);
    assert_eq!(status, 407);
    assert_eq!((end.all("Proxy-Authenticate").len(), end.all("WWW-Authenticate").len()), (1, 1));
}

#[test]
fn a_6xx_ends_the_search() {
    let mut w = World::new();
    let (_, (first, seen), (second, again)) = offered_twice(&mut w, "a");
    w.send(second, &again.reply(180, "Ringing", "two"));
    w.expect(t1(), "INVITE", 180);
    w.send(first, &seen.reply(603, "Decline", "one"));
    w.expect(first, "ACK", 0);
    w.expect(second, "CANCEL", 0);
    w.send(second, &again.reply(487, "Request Terminated", "two"));
    w.expect(second, "ACK", 0);
    w.expect(t1(), "INVITE", 603);
    w.quiet();
    assert_eq!(w.types(), ["attempt", "attempt", "final"]);
    w.drained();
}

#[test]
fn a_failure_that_crosses_the_cancel_is_what_the_caller_hears() {
    let mut w = World::new();
    let (m, node, seen) = offered(&mut w, "a");
    w.send(node, &seen.reply(180, "Ringing", "b"));
    w.expect(t1(), "INVITE", 180);
    w.send(t1(), &m.cancel());
    w.expect(t1(), "CANCEL", 200);
    w.expect(node, "CANCEL", 0);
    w.send(node, &seen.reply(486, "Busy Here", "b"));
    w.expect(node, "ACK", 0);
    w.expect(t1(), "INVITE", 486);
    w.quiet();
    assert!(w.event("final").outcome.as_ref().unwrap().cancelled);
    w.drained();
}

#[test]
fn anything_but_an_invite_gets_neither_a_100_nor_a_408() {
    for method in ["BYE", "INFO", "UPDATE", "PRACK", "REFER", "OPTIONS"] {
        let mut w = World::new();
        let (mut caller, _, node) = w.answered("a");
        let m = caller.request(method);
        w.send(t1(), &m);
        let seen = w.expect(node, method, 0);
        w.quiet();
        w.send(node, &seen.reply(100, "Trying", ""));
        w.quiet();
        w.send(node, &seen.reply(408, "Request Timeout", ""));
        w.quiet();
        w.send(t1(), &m);
        w.quiet();
        w.pass(Duration::from_secs(33));
        w.send(t1(), &m);
        assert!(w.wire.iter().all(|(h, _)| h.addr == node), "{method}: {:#?}", w.wire);
        let last = w.events.last().unwrap();
        assert_eq!(w.events.len(), 3, "{method}: {:?}", w.types());
        assert_eq!(last.event_type, if method == "BYE" { "ended" } else { "transaction" });
    }
}

#[test]
fn a_503_of_a_node_is_a_500_for_every_method() {
    for method in ["BYE", "INFO", "INVITE"] {
        let mut w = World::new();
        let (mut caller, _, node) = w.answered("a");
        w.send(t1(), &caller.request(method));
        w.wire.retain(|(_, m)| m.status() != 100);
        let seen = w.expect(node, method, 0);
        w.send(node, &seen.reply(503, "Service Unavailable", "").with("Retry-After", "60"));
        w.wire.retain(|(h, _)| h.addr == t1());
        let end = w.expect(t1(), method, 500);
        assert!(end.all("Retry-After").is_empty());
    }
}

#[test]
fn requests_of_an_early_dialog_pass_and_two_early_dialogs_may_number_alike() {
    let mut w = World::new();
    let (_, (first, seen), (second, again)) = offered_twice(&mut w, "a");
    // Reliable provisionals of both nodes; the caller numbers in each dialog by itself.
    for (node, offered, tag) in [(second, &again, "two"), (first, &seen, "one")] {
        let progress = offered.reply(183, "Session Progress", tag).with("Contact", &format!("<sip:n@{node}>"));
        let progress = progress.with("Require", "100rel").with("RSeq", "1");
        w.send(node, &progress);
        w.wire.retain(|(_, m)| !m.is("CANCEL", 0));
        let mut early = Dialog::caller(t1(), &progress);
        let _ = w.wire.pop_front();
        let mut prack = early.request("PRACK").with("RAck", "1 1 INVITE");
        prack.headers[0].1 = format!("SIP/2.0/UDP {};branch=z9hG4bK-{tag}", t1());
        w.send(t1(), &prack);
        let got = w.expect(node, "PRACK", 0);
        w.send(node, &got.reply(200, "OK", ""));
        w.expect(t1(), "PRACK", 200);
    }
    let pracks: Vec<_> = w.events.iter().filter(|e| e.event_type == "transaction").collect();
    assert_eq!(pracks.len(), 2);
    assert_eq!((pracks[0].identity.cseq, &pracks[0].call_root_id), (pracks[1].identity.cseq, &pracks[1].call_root_id));
    assert_ne!(schemas::Event::logical_id(pracks[0]), schemas::Event::logical_id(pracks[1]));
    schemas::grammar::check_so_far(&w.events).unwrap();
}

#[test]
fn a_refer_with_its_notify_passes_both_ways() {
    let mut w = World::new();
    let (mut caller, mut callee, node) = w.answered("a");
    w.send(t1(), &caller.request("REFER").with("Refer-To", "<sip:x@example.org?Replaces=other%3Bto-tag%3D1>"));
    let seen = w.expect(node, "REFER", 0);
    w.send(node, &seen.reply(202, "Accepted", ""));
    w.expect(t1(), "REFER", 202);
    w.send(node, &callee.request("NOTIFY").with("Event", "refer"));
    let seen = w.expect(t1(), "NOTIFY", 0);
    w.send(t1(), &seen.reply(200, "OK", ""));
    w.expect(node, "NOTIFY", 200);
    let methods: Vec<_> = w.events[2..].iter().map(|e| e.identity.method.as_str()).collect();
    assert_eq!(methods, ["REFER", "NOTIFY"]);
    schemas::grammar::check_so_far(&w.events).unwrap();
}

#[test]
fn what_the_edge_refuses_inside_a_dialog_is_one_transaction_each() {
    let mut w = World::new();
    let (caller, _, _) = w.answered("a");
    let call = w.events[0].call_root_id.clone();
    // No hops left, with a good cookie: under its call. Without a cookie: under the Call-ID.
    let mut d = caller.clone();
    let info = d.request("INFO").set("Max-Forwards", "0");
    for _ in 0..2 {
        w.send(t1(), &info);
        w.expect(t1(), "INFO", 483);
    }
    let mut lost = caller.clone();
    lost.routes.clear();
    lost.cseq = 20;
    w.send(t1(), &lost.request("UPDATE"));
    w.expect(t1(), "UPDATE", 481);
    let again = lost.request("INVITE");
    w.send(t1(), &again);
    let end = w.expect(t1(), "INVITE", 481);
    w.pass_ms(600);
    w.expect(t1(), "INVITE", 481);
    w.send(t1(), &again.ack_failure(&end));
    w.pass_ms(10_000);
    w.quiet();
    let told: Vec<_> = w.events[2..]
        .iter()
        .map(|e| (e.identity.method.as_str(), e.outcome.as_ref().unwrap().status.unwrap(), e.call_root_id.as_str()))
        .collect();
    assert_eq!(told, [("INFO", 483, call.as_str()), ("UPDATE", 481, ""), ("INVITE", 481, "")]);
    assert!(w.events[3..].iter().all(|e| schemas::Event::key(e) == "a"));
    let produced: Vec<_> = w.events[2..].iter().map(|e| e.outcome.as_ref().unwrap().produced_by.as_deref()).collect();
    assert_eq!(produced, [Some("edge"); 3]);
    schemas::grammar::check_so_far(&w.events).unwrap();
}

#[test]
fn a_refused_extension_is_a_challenge_whose_repetition_continues_the_call() {
    let mut w = World::new();
    let m = invite(t1(), edge_trunk(), "a", "+4930123456", 1);
    w.send(t1(), &m.clone().with("Proxy-Require", "privacy"));
    let end = w.expect(t1(), "INVITE", 420);
    w.send(t1(), &m.ack_failure(&end));
    let again = invite(t1(), edge_trunk(), "a", "+4930123456", 2);
    w.send(t1(), &again);
    assert_eq!(w.types(), ["refused", "attempt"]);
    assert_eq!(w.events[0].call_root_id, w.events[1].call_root_id);
    assert_eq!(w.events[1].correlation.as_ref().unwrap().continues_status, Some(420));
    schemas::grammar::check_so_far(&w.events).unwrap();
}

#[test]
fn a_merged_request_is_refused_and_the_first_goes_on() {
    let mut w = World::new();
    let (m, node, seen) = offered(&mut w, "a");
    let other_way = m.clone().set("Via", "SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-another");
    w.send(t1(), &other_way);
    w.expect(t1(), "INVITE", 482);
    w.send(node, &ok(&seen, "b", node));
    w.expect(t1(), "INVITE", 200);
    assert_eq!(w.types(), ["attempt", "answered"]);
}
