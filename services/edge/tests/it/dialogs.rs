//! Inside a dialog: what passes, what the cookie holds off, how calls end.

use std::time::Duration;

use super::text::{SDP, invite};
use super::world::*;

#[test]
fn info_and_reinvite_pass_both_ways_with_one_event_each() {
    let mut w = World::new();
    let (mut caller, mut callee, node) = w.answered("a");
    let mut info = caller.request("INFO").with("Content-Type", "application/dtmf-relay");
    info.body = "Signal=1\r\nDuration=160\r\n".into();
    w.send(t1(), &info);
    let seen = w.expect(node, "INFO", 0);
    assert_eq!(seen.body, info.body);
    w.send(t1(), &info);
    w.send(node, &seen.reply(200, "OK", ""));
    w.expect(t1(), "INFO", 200);
    w.send(t1(), &info);
    w.expect(t1(), "INFO", 200);
    w.quiet();
    let mut reinvite =
        callee.request("INVITE").with("Contact", &format!("<sip:node@{node}>")).with("Content-Type", "application/sdp");
    reinvite.body = SDP.replace("sendrecv", "sendonly");
    w.send(node, &reinvite);
    w.expect(node, "INVITE", 100);
    let seen = w.expect(t1(), "INVITE", 0);
    assert_eq!(seen.all("Record-Route").len(), 0);
    w.send(t1(), &seen.reply(200, "OK", "").with("Contact", "<sip:uac@192.0.2.10:5060>"));
    w.expect(node, "INVITE", 200);
    let mut ack = callee.clone();
    ack.cseq = reinvite.cseq();
    let ack = ack.request("ACK");
    w.send(node, &ack);
    w.expect(t1(), "ACK", 0);
    let others: Vec<_> = w.events.iter().filter(|e| e.event_type == "transaction").collect();
    assert_eq!(others.len(), 2);
    assert_eq!(others[0].identity.method, "INFO");
    assert_eq!(others[0].call_root_id, w.events[0].call_root_id);
    assert_eq!(others[1].identity.reinvite_kind.as_deref(), Some("hold"));
    let bye = caller.request("BYE");
    w.send(t1(), &bye);
    let seen = w.expect(node, "BYE", 0);
    w.send(node, &seen.reply(200, "OK", ""));
    assert_eq!(w.event("ended").dialog.as_ref().unwrap().reinvites, 1);
    w.drained();
}

#[test]
fn byes_that_cross_end_the_call_once() {
    let mut w = World::new();
    let (mut caller, mut callee, node) = w.answered("a");
    let (a, b) = (caller.request("BYE"), callee.request("BYE"));
    w.send(t1(), &a);
    w.send(node, &b);
    let at_node = w.expect(node, "BYE", 0);
    let at_trunk = w.expect(t1(), "BYE", 0);
    w.send(node, &at_node.reply(200, "OK", ""));
    w.send(t1(), &at_trunk.reply(200, "OK", ""));
    w.expect(t1(), "BYE", 200);
    w.expect(node, "BYE", 200);
    assert_eq!(w.types().iter().filter(|t| **t == "ended").count(), 1);
    w.drained();
}

#[test]
fn a_bye_that_is_challenged_does_not_end_the_call() {
    let mut w = World::new();
    let (mut caller, _, node) = w.answered("a");
    let bye = caller.request("BYE");
    w.send(t1(), &bye);
    let seen = w.expect(node, "BYE", 0);
    w.send(node, &seen.reply(407, "Proxy Authentication Required", ""));
    w.expect(t1(), "BYE", 407);
    assert!(!w.types().contains(&"ended"));
    let bye = caller.request("BYE");
    w.send(t1(), &bye);
    let seen = w.expect(node, "BYE", 0);
    w.send(node, &seen.reply(200, "OK", ""));
    w.expect(t1(), "BYE", 200);
    assert_eq!(w.event("ended").dialog.as_ref().unwrap().bye_cseq, Some(3));
    w.drained();
}

#[test]
fn a_bye_that_nobody_answers_ends_the_call_after_timer_f_without_a_408() {
    let mut w = World::new();
    let (mut caller, _, _) = w.answered("a");
    let bye = caller.request("BYE");
    w.send(t1(), &bye);
    w.pass(Duration::from_secs(33));
    assert_eq!(w.event("ended").dialog.as_ref().unwrap().bye_status, Some(408));
    assert!(w.wire.iter().all(|(to, _)| to.addr != t1()), "RFC 4320");
    w.drained();
}

#[test]
fn a_wrong_cookie_is_481_and_an_ack_with_it_vanishes() {
    let mut w = World::new();
    let (mut caller, _, _) = w.answered("a");
    for spoil in 0..5 {
        let mut d = caller.clone();
        match spoil {
            0 => d.routes.clear(),
            1 => d.routes.iter_mut().for_each(|r| *r = r.replacen("sip:", "sip:A", 1)),
            2 => d.call_id = "another".into(),
            3 => d.local = d.local.replace(";tag=fa", ";tag=other"),
            _ => d.routes.iter_mut().for_each(|r| *r = "<sip:192.0.2.1:5060;lr>".into()),
        }
        d.cseq += spoil;
        let bye = d.request("BYE");
        w.send(t1(), &bye);
        w.expect(t1(), "BYE", 481);
        let ack = d.request("ACK");
        w.send(t1(), &ack);
        w.quiet();
    }
    // The cookie of one trunk is worth nothing to another.
    let foreign = addr("192.0.2.20:5060");
    let bye = caller.request("BYE");
    w.send(foreign, &bye);
    w.expect(foreign, "BYE", 481);
    w.quiet();
    assert!(!w.types().contains(&"ended"));
}

#[test]
fn a_user_agent_that_ignores_record_route_can_end_its_own_dialog_and_no_other() {
    let mut w = World::new();
    let (caller, _, node) = w.answered("a");
    let mut d = caller.clone();
    d.routes.clear();
    d.target = format!("sip:service@{}", edge_trunk());
    let ack = d.request("ACK");
    w.send(t1(), &ack);
    w.expect(node, "ACK", 0);

    // Somebody else's trunk, a tag that is not of this dialog, a dialog that never was.
    let foreign = addr("192.0.2.20:5060");
    let bye = d.request("BYE");
    w.send(foreign, &bye);
    w.expect(foreign, "BYE", 481);
    let mut other = d.clone();
    other.local = other.local.replace(";tag=fa", ";tag=other");
    let bye = other.request("BYE");
    w.send(t1(), &bye);
    w.expect(t1(), "BYE", 481);
    let mut other = d.clone();
    other.call_id = "another".into();
    let bye = other.request("BYE");
    w.send(t1(), &bye);
    w.expect(t1(), "BYE", 481);
    w.quiet();

    let bye = d.request("BYE");
    w.send(t1(), &bye);
    let seen = w.expect(node, "BYE", 0);
    w.send(node, &seen.reply(200, "OK", ""));
    w.expect(t1(), "BYE", 200);
    assert_eq!(w.event("ended").dialog.as_ref().unwrap().released_by.as_deref(), Some("caller"));
    w.drained();
}

#[test]
fn a_route_or_a_request_uri_never_makes_the_edge_a_relay() {
    let mut w = World::new();
    let (caller, callee, node) = w.answered("a");
    let mut d = caller.clone();
    d.routes.push("<sip:203.0.113.66;lr>".into());
    let m = d.request("INFO");
    w.send(t1(), &m);
    w.expect(t1(), "INFO", 403);
    let mut d = caller.clone();
    d.target = "sip:x@203.0.113.66:8021".into();
    d.cseq += 10;
    let m = d.request("INFO");
    w.send(t1(), &m);
    w.expect(node, "INFO", 0);
    let mut d = callee.clone();
    d.target = "sip:x@203.0.113.66".into();
    let m = d.request("INFO");
    w.send(node, &m);
    w.expect(t1(), "INFO", 0);
    let foreign = ["<sip:203.0.113.66;lr>", "<sip:192.0.2.1:5060;lr>, <sip:203.0.113.66;lr>"].map(|r| (r, 403));
    for (route, status) in foreign.into_iter().chain([("\"broken", 400)]) {
        let m = invite(t1(), edge_trunk(), &format!("r{}", route.len()), "+4930123456", 1).with("Route", route);
        w.send(t1(), &m);
        w.expect(t1(), "INVITE", status);
    }
    w.quiet();
    let m = invite(t1(), edge_trunk(), "own", "+4930123456", 1).with("Route", "<sip:192.0.2.1:5060;lr>");
    w.send(t1(), &m);
    w.take(t1());
    let at = w.chosen();
    assert!(w.take(at).all("Route").is_empty());
}

#[test]
fn a_call_beyond_the_longest_is_lost_once_and_the_table_is_bounded() {
    let mut config = config();
    config.timers.max_call_s = 60;
    config.limits.dialogs = 3;
    let mut w = World::with(config);
    let (mut caller, _, node) = w.answered("a");
    w.pass(Duration::from_secs(90));
    assert_eq!(w.event("lost").dialog.as_ref().unwrap().lost_reason.as_deref(), Some("max_call"));
    let bye = caller.request("BYE");
    w.send(t1(), &bye);
    let seen = w.expect(node, "BYE", 0);
    w.send(node, &seen.reply(200, "OK", ""));
    w.expect(t1(), "BYE", 200);
    assert_eq!(w.types(), ["attempt", "answered", "lost"], "its BYE still passes, its end is told already");
    for call in ["b", "c", "d", "e"] {
        w.answered(call);
        w.pass_ms(10);
    }
    assert_eq!(w.events.last().unwrap().event_type, "answered");
    let lost = w.events.iter().filter(|e| e.event_type == "lost").count();
    assert_eq!((lost, w.proxy.snapshot(0).dialogs), (2, 3));
}

#[test]
fn a_repeated_answer_passes_and_makes_no_event() {
    let mut w = World::new();
    w.send(t1(), &invite(t1(), edge_trunk(), "a", "+4930123456", 1));
    w.take(t1());
    let node = w.chosen();
    let offered = w.take(node);
    let ok = offered.reply(200, "OK", "b").with("Contact", &format!("<sip:n@{node}>"));
    for _ in 0..3 {
        w.send(node, &ok);
        w.expect(t1(), "INVITE", 200);
    }
    assert_eq!(w.types(), ["attempt", "answered"]);
    w.send(t1(), &invite(t1(), edge_trunk(), "a", "+4930123456", 1));
    w.quiet();
}
