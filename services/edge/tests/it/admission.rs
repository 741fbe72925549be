//! Who gets in, and what is refused with which words.

use edge::core::Hop;

use super::text::{Msg, invite};
use super::world::*;

#[test]
fn a_stranger_gets_no_answer_whatever_it_sends() {
    let mut w = World::new();
    let stranger = addr("203.0.113.9:5060");
    let m = invite(stranger, edge_trunk(), "a", "+4930123456", 1);
    w.send(stranger, &m);
    w.send(stranger, &m.cancel());
    w.send_raw(stranger, b"garbage");
    w.send_raw(stranger, b"OPTIONS sip:100@1.1.1.1 SIP/2.0\r\n\r\n");
    // A node's address on the trunk side and a trunk's on the node side are strangers too.
    w.give(edge::core::Input::Datagram { hop: Hop::to(TRUNK_SIDE, n1()), bytes: &m.bytes() });
    w.give(edge::core::Input::Datagram { hop: Hop::to(NODE_SIDE, t1()), bytes: &m.bytes() });
    assert_eq!(w.sent, 0);
    assert!(w.events.is_empty());
    assert_eq!(w.proxy.counters().denied_packets, 6);
    w.pass_ms(1_100);
    let row = w.rejections.iter().find(|r| r.source == "203.0.113.9").unwrap();
    assert_eq!((row.messages, row.answered), (4, 0));
}

#[test]
fn what_cannot_be_forwarded_is_refused_with_its_reason_and_one_event() {
    let mut w = World::new();
    let base = |call: &str| invite(t1(), edge_trunk(), call, "+4930123456", 1);
    let uri = |call: &str, uri: &str| Msg { start: format!("INVITE {uri} SIP/2.0"), ..base(call) };
    let cases = [
        (base("a").set("Max-Forwards", "0"), 483, "max_forwards"),
        (uri("b", "sips:x@192.0.2.1"), 416, "scheme"),
        (uri("c", "http://example.com/"), 416, "scheme"),
        (uri("d", "sip:x@192.0.2.1?Route=%3Csip:y%3E"), 400, "request_uri"),
        (uri("e", "sip:192.0.2.1"), 404, "no_number"),
        (base("f").with("Proxy-Require", "foo, bar"), 420, "unsupported"),
    ];
    for (m, status, reason) in cases {
        w.events.clear();
        w.send(t1(), &m);
        let answer = w.expect(t1(), "INVITE", status);
        assert!(status != 420 || answer.header("Unsupported") == "foo, bar");
        w.send(t1(), &m);
        w.expect(t1(), "INVITE", status);
        w.send(t1(), &m.ack_failure(&answer));
        w.quiet();
        assert_eq!(w.types(), ["refused"]);
        assert_eq!(w.event("refused").decision.as_ref().unwrap().reason.as_deref(), Some(reason));
        w.books();
    }
}

#[test]
fn tel_uris_are_dialled_and_other_requests_get_their_place() {
    let mut w = World::new();
    let m = Msg { start: "INVITE tel:+4930123456 SIP/2.0".into(), ..invite(t1(), edge_trunk(), "a", "x", 1) };
    w.send(t1(), &m);
    w.take(t1());
    let node = w.chosen();
    assert_eq!(w.take(node).uri(), format!("sip:+4930123456@{node};user=phone"));
    w.events.clear();
    let request = |method: &str, call: &str| {
        let m = invite(t1(), edge_trunk(), call, "+49", 1);
        Msg { start: m.start.replace("INVITE", method), ..m.set("CSeq", &format!("1 {method}")) }
    };
    for (method, status) in
        [("OPTIONS", 200), ("REGISTER", 405), ("MESSAGE", 405), ("BYE", 481), ("INFO", 481), ("FOO", 501)]
    {
        let m = request(method, method);
        w.send(t1(), &m);
        let answer = w.expect(t1(), method, status);
        assert!(status != 405 || answer.header("Allow").contains("INVITE"));
        w.send(t1(), &m);
        w.expect(t1(), method, status);
    }
    w.quiet();
    let told: Vec<&str> = w.events.iter().map(|e| e.identity.method.as_str()).collect();
    assert_eq!(told, ["OPTIONS", "REGISTER", "MESSAGE", "INFO", "FOO"], "one each; a BYE has no event of its own");
}

#[test]
fn options_tells_a_trunk_when_no_node_is_left_or_we_drain() {
    let mut w = World::new();
    let options = |call: &str| {
        let m = invite(t1(), edge_trunk(), call, "+49", 1);
        Msg { start: m.start.replace("INVITE", "OPTIONS"), ..m.set("CSeq", "1 OPTIONS") }
    };
    w.give(edge::core::Input::Unreachable { to: n1() });
    w.give(edge::core::Input::Unreachable { to: n2() });
    w.send(t1(), &options("a"));
    w.expect(t1(), "OPTIONS", 503);
    let mut w = World::new();
    let (mut caller, _, node) = w.answered("z");
    w.give(edge::core::Input::Drain);
    w.send(t1(), &options("b"));
    w.expect(t1(), "OPTIONS", 503);
    w.send(t1(), &invite(t1(), edge_trunk(), "c", "+4930123456", 1));
    w.expect(t1(), "INVITE", 503);
    let bye = caller.request("BYE");
    w.send(t1(), &bye);
    assert!(!w.proxy.is_idle());
    let seen = w.expect(node, "BYE", 0);
    w.send(node, &seen.reply(200, "OK", ""));
    assert!(w.proxy.is_idle());
    assert_eq!(w.event("refused").decision.as_ref().unwrap().reason.as_deref(), Some("draining"));
}

#[test]
fn malformed_requests_of_a_trunk_get_one_400_and_are_counted() {
    let mut w = World::new();
    let m = invite(t1(), edge_trunk(), "a", "+4930123456", 1);
    let text = String::from_utf8(m.bytes()).unwrap();
    let broken = [
        text.replace("Content-Length: ", "Content-Length: 9"),
        text.replace("CSeq: 1 INVITE", "CSeq: 1 OPTIONS"),
        text.replace("Call-ID: a\r\n", "Call-ID: a\r\ni: b\r\n"),
    ];
    for text in &broken {
        w.send_raw(t1(), text.as_bytes());
        w.expect(t1(), if text.contains("1 OPTIONS") { "OPTIONS" } else { "INVITE" }, 400);
    }
    w.send_raw(t1(), text.replace("Via: ", "X-Via: ").as_bytes());
    w.send_raw(t1(), b"\r\n\r\n");
    w.send_raw(t1(), text.replace("branch=z9hG4bK-a-1", "branch=z9hG4bK").as_bytes());
    w.expect(t1(), "INVITE", 400);
    w.quiet();
    assert!(w.events.is_empty());
    w.pass_ms(1_100);
    let row = &w.rejections[0];
    assert_eq!((row.messages, row.answered, row.trunk_id.as_deref()), (5, 4, Some("t1")));
    assert_eq!(w.proxy.counters().keep_alives, 1);
}

#[test]
fn a_request_that_comes_back_is_a_loop() {
    let mut w = World::new();
    w.send(n1(), &invite(n1(), edge_node(), "a", "+4922155558001", 1));
    w.take(n1());
    let offered = w.take(c1());
    // The carrier sends it back as it is, and once more with another From-tag (then nothing is known of it but the Via).
    let looped = offered.clone().set("Max-Forwards", "60");
    let mut back = looped.clone();
    back.headers.insert(0, ("Via".into(), "SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bKcarrier".into()));
    w.send(c1(), &back);
    w.expect(c1(), "INVITE", 482);
    w.quiet();
    assert_eq!(w.types(), ["attempt"]);
}

#[test]
fn refusals_are_told_up_to_a_hundred_a_second_and_then_counted() {
    let mut w = World::new();
    for i in 0..150 {
        let m = invite(t1(), edge_trunk(), &format!("a{i}"), "+4930123456", 1).set("Max-Forwards", "0");
        w.send(t1(), &m);
        w.expect(t1(), "INVITE", 483);
    }
    assert_eq!(w.events.len(), 100);
    w.pass_ms(1_100);
    let row = w.rejections.iter().find(|r| r.event_type == "trunk").unwrap();
    assert_eq!((row.source.as_str(), row.messages, row.reasons[0].name.as_str()), ("trunk/t1", 50, "max_forwards"));
}

#[test]
fn a_response_from_the_wrong_place_or_with_a_guessed_branch_is_dropped() {
    let mut w = World::new();
    w.send(t1(), &invite(t1(), edge_trunk(), "a", "+4930123456", 1));
    w.take(t1());
    let node = w.chosen();
    let offered = w.take(node);
    let wrong = if node == n1() { n2() } else { n1() };
    w.send(wrong, &offered.reply(200, "OK", "evil"));
    w.send(t1(), &offered.reply(200, "OK", "evil"));
    let mut guessed = offered.reply(200, "OK", "evil");
    guessed.headers[0].1 = guessed.headers[0].1.replace("z9hG4bKt", "z9hG4bKtA");
    w.send(node, &guessed);
    w.quiet();
    assert_eq!(w.types(), ["attempt"]);
    assert_eq!(w.proxy.counters().stray_responses, 3);
}
