//! Policies of trunks as their peers see them, and as events tell them.

use std::time::Duration;

use edge::Config;
use proptest::prelude::*;

use super::text::{Dialog, Msg, SDP, invite};
use super::world::*;

/// The settings of the tests with a policy for one trunk.
fn with_policy(trunk: &str, policy: &str) -> Config {
    let mut config = config();
    let trunk = config.trunks.iter_mut().find(|t| t.id == trunk).unwrap();
    trunk.policy = toml::from_str(policy).unwrap();
    let mut problems = Vec::new();
    kit::settings::Check::check(&config, "edge", &mut problems);
    assert!(problems.is_empty(), "{problems:?}");
    config
}

fn from_trunk(call: &str, to: &str) -> Msg {
    invite(t1(), edge_trunk(), call, to, 1)
}

/// As a node writes it: with its own address everywhere.
fn from_node(call: &str, to: &str) -> Msg {
    invite(n1(), edge_node(), call, to, 1)
}

fn text(m: &Msg) -> String {
    String::from_utf8(m.bytes()).unwrap()
}

/// The INVITE that a trunk's call becomes at its node.
fn at_node(w: &mut World, m: &Msg) -> (std::net::SocketAddr, Msg) {
    w.send(t1(), m);
    w.expect(t1(), "INVITE", 100);
    let node = w.chosen();
    (node, w.take(node))
}

#[test]
fn numbers_of_a_trunk_reach_the_node_as_e164_and_the_caller_sees_its_own_again() {
    let policy = "numbers = { country = \"49\", to_nodes = \"e164\", caller = \"from\" }";
    let mut w = World::with(with_policy("t1", policy));
    let m = from_trunk("a", "030123456").set("From", "\"A\" <sip:0170123456@192.0.2.10>;tag=fa");
    let m = m.with("P-Asserted-Identity", "<sip:0170123456@carrier.example;user=phone>, <tel:0170123456>");
    let (node, offered) = at_node(&mut w, &m);
    assert_eq!(offered.uri(), format!("sip:+4930123456@{node}"));
    assert_eq!(offered.header("From"), "\"A\" <sip:+49170123456@192.0.2.10>;tag=fa");
    assert_eq!(
        offered.header("P-Asserted-Identity"),
        "<sip:+49170123456@carrier.example;user=phone>, <tel:+49170123456>"
    );
    assert_eq!(offered.header("To"), m.header("To"));
    w.send(node, &offered.reply(180, "Ringing", "b"));
    assert_eq!(w.expect(t1(), "INVITE", 180).header("From"), m.header("From"));
    let ok = offered.reply(200, "OK", "b").with("Contact", &format!("<sip:node@{node}>"));
    w.send(node, &ok);
    let answer = w.expect(t1(), "INVITE", 200);
    assert_eq!(answer.header("From"), m.header("From"));
    let mut caller = Dialog::caller(t1(), &answer);
    let ack = caller.request("ACK");
    w.send(t1(), &ack);
    assert_eq!(w.expect(node, "ACK", 0).header("From"), offered.header("From"));
    let bye = caller.request("BYE");
    w.send(t1(), &bye);
    let seen = w.expect(node, "BYE", 0);
    assert_eq!(seen.header("From"), offered.header("From"));
    w.send(node, &seen.reply(200, "OK", ""));
    assert_eq!(w.expect(t1(), "BYE", 200).header("From"), m.header("From"));
    let parties = w.event("attempt").parties.clone().unwrap();
    assert_eq!(
        (parties.callee_raw.as_deref(), parties.callee_e164.as_deref()),
        (Some("030123456"), Some("+4930123456"))
    );
    assert_eq!(
        (parties.caller_raw.as_deref(), parties.caller_e164.as_deref()),
        (Some("0170123456"), Some("+49170123456"))
    );
    assert_eq!((parties.callee_country.as_deref(), parties.caller_type.as_deref()), (Some("DE"), Some("mobile")));
    let ended = w.event("ended").parties.clone().unwrap();
    assert_eq!(ended.callee_e164, parties.callee_e164);
    w.drained();
}

#[test]
fn emergency_numbers_and_short_codes_pass_as_they_were_dialled() {
    let policy = "numbers = { country = \"49\", to_nodes = \"e164\", bare_national_digits = 3 }";
    let mut w = World::with(with_policy("t1", policy));
    for (call, number, kind) in
        [("a", "112", Some("emergency")), ("b", "11833", Some("short")), ("c", "%2A31%23", None)]
    {
        let (node, offered) = at_node(&mut w, &from_trunk(call, number));
        assert_eq!(offered.uri(), format!("sip:{number}@{node}"));
        let parties = w.events.last().unwrap().parties.clone().unwrap();
        assert_eq!((parties.callee_e164, parties.callee_type.as_deref()), (None, kind));
    }
}

#[test]
fn a_carrier_gets_numbers_as_it_writes_them() {
    let policy = r#"
        [numbers]
        country = "49"
        to_trunk = "international"
        send = [{ prefix = "00", add = "77" }]
        caller = "asserted"
    "#;
    let mut w = World::with(with_policy("c1", policy));
    let m = from_node("a", "+33142685300").with("P-Asserted-Identity", "<sip:+4930123456@10.0.0.11>");
    w.send(n1(), &m);
    w.expect(n1(), "INVITE", 100);
    let seen = w.take(c1());
    assert_eq!(seen.uri(), format!("sip:770033142685300@{}", c1()));
    assert_eq!(seen.header("P-Asserted-Identity"), "<sip:004930123456@10.0.0.11>");
    assert_eq!(seen.header("From"), m.header("From"), "not asked for");
    let parties = w.event("attempt").parties.clone().unwrap();
    assert_eq!((parties.callee_raw.as_deref(), parties.callee_country.as_deref()), (Some("+33142685300"), Some("FR")));
    w.send(c1(), &seen.reply(486, "Busy Here", "b"));
    w.expect(n1(), "INVITE", 486);
}

#[test]
fn headers_of_the_platform_cross_in_no_outward_direction_and_lists_do_the_rest() {
    let policy = r#"
        [headers]
        deny_to_trunk = ["X-Cost-*", "User-Agent", "Server"]
        allow_from_trunk = ["X-Order"]
    "#;
    let mut config = with_policy("c1", policy);
    config.trunks[0].policy = config.trunks[2].policy.clone();
    let mut w = World::with(config);
    let m = from_trunk("a", "+4930123456")
        .with("X-Trunkline-Role", "admin")
        .with("x-trunkline-call", "forged")
        .with("X-Order", "7")
        .with("X-Other", "8")
        .with("Require", "100rel");
    let (_, offered) = at_node(&mut w, &m);
    assert!(offered.all("X-Trunkline-Role").is_empty() && offered.all("X-Other").is_empty());
    assert!(offered.all("User-Agent").is_empty(), "not in the allow list");
    assert_eq!((offered.header("X-Order"), offered.header("Require")), ("7", "100rel"));
    assert!(keys().verify(offered.header("X-Trunkline-Call")).is_ok());

    let m = from_node("b", "+4930123456").with("X-Trunkline-Menu", "1").with("X-Cost-Center", "2").with("X-Order", "7");
    w.send(n1(), &m);
    w.expect(n1(), "INVITE", 100);
    let seen = w.take(c1());
    for gone in ["X-Trunkline-Menu", "X-Trunkline-Call", "X-Cost-Center", "User-Agent"] {
        assert!(seen.all(gone).is_empty(), "{gone}");
    }
    assert_eq!(seen.header("X-Order"), "7");
    w.send(c1(), &seen.reply(486, "Busy Here", "b").with("X-Trunkline-Y", "1").with("Server", "sbc"));
    let busy = w.expect(n1(), "INVITE", 486);
    assert!(busy.all("X-Trunkline-Y").is_empty() && busy.all("Server").is_empty());
}

#[test]
fn a_hidden_node_side_calls_out_and_the_whole_dialog_works_both_ways() {
    let mut config = with_policy("c1", "hide_topology = true");
    config.nodes[0].sources = vec!["10.0.0.11".parse().unwrap()];
    let mut w = World::with(config);
    let mut m = from_node("a", "+4930123456").with("Record-Route", "<sip:10.0.0.11:6000;lr;proxy=inner>");
    m = m.with("P-Asserted-Identity", "<sip:+491@10.0.0.11:5080>").with("Warning", "399 10.0.0.11 \"x\"");
    m.headers.insert(1, ("Via".into(), "SIP/2.0/UDP 10.0.0.99:5090;branch=z9hG4bKdeep".into()));
    w.send(n1(), &m);
    w.expect(n1(), "INVITE", 100);
    let seen = w.take(c1());
    let head = text(&seen).replace(&seen.body, "");
    assert!(!head.contains("10.0.0."), "{head}");
    assert_eq!(seen.all("Via").len(), 2);
    w.send(c1(), &seen.reply(180, "Ringing", "b"));
    let ringing = w.expect(n1(), "INVITE", 180);
    let vias = ringing.all("Via").join(", ");
    assert!(vias.contains("10.0.0.11:5080") && vias.contains("10.0.0.99:5090;branch=z9hG4bKdeep"), "{vias}");
    let ok = seen.reply(200, "OK", "b").with("Contact", &format!("<sip:callee@{}>", c1()));
    w.send(c1(), &ok);
    let answer = w.expect(n1(), "INVITE", 200);
    assert_eq!((answer.header("From"), answer.tag("To")), (m.header("From"), "b"));
    assert!(answer.header("To").starts_with(m.header("To")), "{}", answer.header("To"));
    assert!(answer.all("Record-Route").iter().any(|r| r.contains("10.0.0.11:6000")), "{answer:#?}");
    let mut caller = Dialog::caller(n1(), &answer);
    // The innermost route is the node's own proxy; the node itself has the edge next.
    caller.routes.remove(0);
    let mut callee = Dialog::callee(c1(), &seen, &ok);
    let ack = caller.request("ACK");
    w.send(n1(), &ack);
    assert!(!text(&w.expect(c1(), "ACK", 0)).contains("10.0.0."));
    let reinvite = caller.request("INVITE").with("Contact", "<sip:uac@10.0.0.11:5080>");
    w.send(n1(), &reinvite);
    w.expect(n1(), "INVITE", 100);
    let seen_again = w.expect(c1(), "INVITE", 0);
    assert!(!text(&seen_again).contains("10.0.0."), "{seen_again:#?}");
    assert_eq!(seen_again.header("Contact"), seen.header("Contact"), "a Contact stays the same Contact");
    w.send(c1(), &seen_again.reply(200, "OK", "").with("Contact", &format!("<sip:callee@{}>", c1())));
    w.expect(n1(), "INVITE", 200);
    // The carrier hangs up: to a target that only the edge can read.
    let bye = callee.request("BYE");
    assert!(!text(&bye).contains("10.0.0."), "{bye:#?}");
    w.send(c1(), &bye);
    let hop = addr("10.0.0.11:6000");
    let seen = w.expect(hop, "BYE", 0);
    assert_eq!(seen.uri(), "sip:uac@10.0.0.11:5080");
    w.send(hop, &seen.reply(200, "OK", ""));
    let done = w.expect(c1(), "BYE", 200);
    assert!(!text(&done).contains("10.0.0."), "{done:#?}");
    w.drained();
}

#[test]
fn a_hidden_node_side_is_called_and_a_token_of_another_call_opens_nothing() {
    let mut w = World::with(with_policy("t1", "hide_topology = true"));
    let (mut caller, mut callee, node) = w.answered("a");
    assert!(!caller.target.contains("10.0.0.") && !caller.routes.join("").contains("10.0.0."), "{caller:#?}");
    let (other, ..) = w.answered("b");
    let info = caller.request("INFO");
    w.send(t1(), &info);
    let seen = w.expect(node, "INFO", 0);
    assert_eq!((seen.uri(), seen.all("Route").len()), (format!("sip:node@{node}").as_str(), 0));
    w.send(node, &seen.reply(200, "OK", ""));
    w.expect(t1(), "INFO", 200);
    // A user agent that ignores Record-Route sends it to the target alone.
    let mut simple = caller.clone();
    simple.routes.clear();
    simple.cseq += 1;
    let m = simple.request("INFO");
    w.send(t1(), &m);
    assert_eq!(w.expect(node, "INFO", 0).uri(), format!("sip:node@{node}"));
    let mut forged = caller.clone();
    forged.target = other.target;
    forged.cseq += 5;
    let m = forged.request("INFO");
    w.send(t1(), &m);
    let seen = w.take(node);
    assert!(!seen.uri().contains("sip:node@"), "not opened: {}", seen.uri());
    let bye = callee.request("BYE");
    w.send(node, &bye);
    let seen = w.expect(t1(), "BYE", 0);
    assert!(!text(&seen).contains("10.0.0."), "{seen:#?}");
    w.send(t1(), &seen.reply(200, "OK", ""));
    let done = w.expect(node, "BYE", 200);
    assert!(done.all("Via")[0].contains(&node.to_string()), "{done:#?}");
}

#[test]
fn a_contact_behind_nat_becomes_the_source_and_answers_go_there() {
    let mut w = World::with(with_policy("t1", "nat = { contact = true }"));
    let from = addr("192.0.2.10:40123");
    let m = from_trunk("a", "+4930123456")
        .set("Via", "SIP/2.0/UDP 192.168.1.2:5060;branch=z9hG4bK-nat")
        .set("Contact", "<sip:uac@192.168.1.2:5060;ob>");
    w.send(from, &m);
    w.expect(from, "INVITE", 100);
    let node = w.chosen();
    let offered = w.take(node);
    assert_eq!(offered.header("Contact"), "<sip:uac@192.0.2.10:40123;ob>");
    assert!(offered.all("Via")[1].contains("received=192.0.2.10"));
    let ok = offered.reply(200, "OK", "b").with("Contact", &format!("<sip:node@{node}>"));
    w.send(node, &ok);
    w.expect(from, "INVITE", 200);
    let mut callee = Dialog::callee(node, &offered, &ok);
    let bye = callee.request("BYE");
    w.send(node, &bye);
    let seen = w.expect(from, "BYE", 0);
    assert_eq!(seen.uri(), "sip:uac@192.0.2.10:40123;ob");
    w.send(from, &seen.reply(200, "OK", ""));
    w.drained();
}

#[test]
fn the_way_to_a_trunk_is_kept_open_and_pongs_leave_no_trace() {
    for (kind, is_options) in [("crlf", false), ("options", true)] {
        let policy = format!("nat = {{ keep_alive_s = 20, keep_alive = \"{kind}\" }}");
        let mut w = World::with(with_policy("t1", &policy));
        let phone = addr("192.0.2.10:40123");
        w.send_raw(phone, b"\r\n\r\n");
        w.raw.clear();
        w.pass(Duration::from_secs(61));
        let pings: Vec<_> = w.raw.iter().filter(|(to, _)| *to == phone || *to == t1()).cloned().collect();
        assert_eq!(pings.iter().filter(|(to, _)| *to == t1()).count(), 3);
        assert_eq!(pings.iter().filter(|(to, _)| *to == phone).count(), 3);
        for (to, bytes) in pings {
            if is_options {
                w.send(to, &Msg::parse(&bytes).reply(404, "Not Found", "x"));
            } else {
                assert_eq!(bytes, b"\r\n\r\n");
            }
        }
        w.pass_ms(2_000);
        assert!(w.events.is_empty() && w.rejections.is_empty(), "{:?}", w.rejections);
    }
}

#[test]
fn a_session_too_short_is_refused_or_made_longer_and_one_is_put_in() {
    let mut w = World::with(with_policy("t1", "session_timer = { expires_s = 1800, min_s = 300 }"));
    let short = from_trunk("a", "+4930123456").with("Session-Expires", "120;refresher=uac");
    w.send(t1(), &short.clone().with("Supported", "timer"));
    let refused = w.expect(t1(), "INVITE", 422);
    assert_eq!(refused.header("Min-SE"), "300");
    assert_eq!(w.event("refused").decision.as_ref().unwrap().reason.as_deref(), Some("session_interval"));
    let mut short = short;
    short = short.set("Call-ID", "b").set("Via", "SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-b");
    let (_, offered) = at_node(&mut w, &short);
    assert_eq!((offered.header("Session-Expires"), offered.header("Min-SE")), ("300;refresher=uac", "300"));
    let (_, offered) = at_node(&mut w, &from_trunk("c", "+4930123456"));
    assert_eq!(offered.header("Session-Expires"), "1800");
}

#[test]
fn a_call_that_comes_again_with_a_longer_session_is_the_same_call_for_32_seconds() {
    for (pause_s, continues) in [(1, true), (33, false)] {
        let mut w = World::with(with_policy("t1", "session_timer = { min_s = 300 }"));
        let short = from_trunk("a", "+4930123456").with("Session-Expires", "120").with("Supported", "timer");
        w.send(t1(), &short);
        let refused = w.expect(t1(), "INVITE", 422);
        w.send(t1(), &short.ack_failure(&refused));
        w.pass(Duration::from_secs(pause_s));
        let again = invite(t1(), edge_trunk(), "a", "+4930123456", 2).with("Session-Expires", "300");
        at_node(&mut w, &again.with("Min-SE", "300").with("Supported", "timer"));
        let (refused, attempt) = (w.event("refused"), w.event("attempt"));
        assert!(refused.outcome.as_ref().unwrap().challenge);
        assert_eq!(attempt.call_root_id == refused.call_root_id, continues, "after {pause_s} s");
        let correlation = attempt.correlation.clone().unwrap_or_default();
        let told = continues.then_some((1, 422));
        assert_eq!(correlation.continues_cseq.zip(correlation.continues_status), told);
    }
}

#[test]
fn a_session_and_its_end_are_known_after_a_restart() {
    let config = with_policy("t1", "session_timer = { expires_s = 600 }");
    let mut w = World::journaled(config, 256 * 1024);
    let m = from_trunk("a", "+4930123456").with("Supported", "timer");
    let (node, offered) = at_node(&mut w, &m);
    w.send(node, &offered.reply(200, "OK", "b").with("Contact", &format!("<sip:node@{node}>")));
    let mut caller = Dialog::caller(t1(), &w.expect(t1(), "INVITE", 200));
    let ack = caller.request("ACK");
    w.send(t1(), &ack);
    w.take(node);
    w.pass(Duration::from_secs(400));
    let update = caller.request("UPDATE").with("Supported", "timer").with("Session-Expires", "600;refresher=uac");
    w.send(t1(), &update);
    let seen = w.expect(node, "UPDATE", 0);
    w.send(node, &seen.reply(200, "OK", "").with("Session-Expires", "500;refresher=uac"));
    w.expect(t1(), "UPDATE", 200);
    w.restart(Duration::from_millis(700));
    w.pass(Duration::from_secs(490));
    assert!(!w.types().contains(&"lost"), "the refreshed session lives");
    w.pass(Duration::from_secs(40));
    let end = w.event("lost").dialog.as_ref().unwrap();
    assert_eq!((end.lost_reason.as_deref(), end.session_expires_s), (Some("session_expired"), Some(500)));
    // A restart that took longer than the session gives its refresh time to come.
    let mut w = World::journaled(with_policy("t1", "session_timer = { expires_s = 90 }"), 256 * 1024);
    let (node, offered) = at_node(&mut w, &m);
    w.send(node, &offered.reply(200, "OK", "b").with("Contact", &format!("<sip:node@{node}>")));
    w.expect(t1(), "INVITE", 200);
    w.restart(Duration::from_secs(100));
    w.pass(Duration::from_secs(5));
    assert!(!w.types().contains(&"lost"));
    w.pass(Duration::from_secs(60));
    w.event("lost");
}

#[test]
fn a_session_that_nobody_refreshes_is_lost_and_one_that_is_refreshed_goes_on() {
    let mut w = World::with(with_policy("t1", "session_timer = { expires_s = 600 }"));
    let m = from_trunk("a", "+4930123456").with("Supported", "timer");
    let (node, offered) = at_node(&mut w, &m);
    let ok = offered.reply(200, "OK", "b").with("Contact", &format!("<sip:node@{node}>"));
    w.send(node, &ok);
    let answer = w.expect(t1(), "INVITE", 200);
    assert_eq!((answer.header("Session-Expires"), answer.header("Require")), ("600;refresher=uac", "timer"));
    let mut caller = Dialog::caller(t1(), &answer);
    let ack = caller.request("ACK");
    w.send(t1(), &ack);
    w.take(node);
    w.pass(Duration::from_secs(500));
    let update = caller.request("UPDATE").with("Supported", "timer").with("Session-Expires", "600;refresher=uac");
    w.send(t1(), &update);
    let seen = w.expect(node, "UPDATE", 0);
    w.send(node, &seen.reply(200, "OK", "").with("Session-Expires", "600;refresher=uac"));
    w.expect(t1(), "UPDATE", 200);
    w.pass(Duration::from_secs(590));
    assert!(!w.types().contains(&"lost"), "refreshed");
    w.pass(Duration::from_secs(30));
    assert_eq!(w.event("lost").dialog.as_ref().unwrap().lost_reason.as_deref(), Some("session_expired"));
    let sent = w.sent;
    w.pass(Duration::from_secs(60));
    assert_eq!(w.sent, sent, "the parties hang up, not the edge");
}

#[test]
fn codecs_are_taken_out_and_put_in_order_on_the_way_and_nothing_else_changes() {
    let policy = "media = { codecs_deny = [\"G722\"], codecs_order = [\"PCMA\"] }";
    let mut w = World::with(with_policy("t1", policy));
    let body = SDP.replace("RTP/AVP 0 101", "RTP/AVP 9 0 8 101");
    let mut m = from_trunk("a", "+4930123456");
    m.body = body.clone();
    let (node, offered) = at_node(&mut w, &m);
    assert_eq!(offered.body, body.replace("RTP/AVP 9 0 8 101", "RTP/AVP 8 0 101"));
    assert_eq!(w.event("attempt").offer.as_ref().unwrap().codecs, ["G722/8000", "PCMU/8000", "PCMA/8000"]);
    let mut ok = offered.reply(200, "OK", "b").with("Contact", &format!("<sip:node@{node}>"));
    ok = ok.with("Content-Type", "application/sdp");
    ok.body = SDP.replace("RTP/AVP 0 101", "RTP/AVP 8 101");
    w.send(node, &ok);
    assert_eq!(w.expect(t1(), "INVITE", 200).body, ok.body);
    // No codec left: nobody is asked.
    let mut m = from_trunk("b", "+4930123456");
    m.body = SDP.replace("RTP/AVP 0 101", "RTP/AVP 9 101");
    w.send(t1(), &m);
    w.expect(t1(), "INVITE", 488);
    w.quiet();
    assert_eq!(w.event("refused").decision.as_ref().unwrap().reason.as_deref(), Some("no_codec"));
}

#[test]
fn where_srtp_is_required_nothing_plain_passes_and_the_next_trunk_is_asked() {
    let mut w = World::with(with_policy("c1", "media = { srtp = \"require\" }"));
    w.send(n1(), &from_node("a", "+4930123456"));
    w.expect(n1(), "INVITE", 100);
    let seen = w.take(c2());
    w.send(c2(), &seen.reply(486, "Busy Here", "x"));
    w.expect(n1(), "INVITE", 486);

    let mut config = with_policy("t1", "media = { srtp = \"require\" }");
    config.nodes.truncate(1);
    let mut w = World::with(config);
    w.send(t1(), &from_trunk("b", "+4930123456"));
    w.expect(t1(), "INVITE", 488);
    let mut late = from_trunk("c", "+4930123456").without("Content-Type");
    late.body.clear();
    w.send(t1(), &late);
    w.expect(t1(), "INVITE", 488);
    let mut m = from_trunk("d", "+4930123456");
    m.body = SDP.replace("RTP/AVP", "RTP/SAVP").replace("a=sendrecv", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:abc");
    let (node, offered) = at_node(&mut w, &m);
    assert_eq!(offered.body, m.body);
    let ok = offered.reply(200, "OK", "b").with("Contact", &format!("<sip:node@{node}>"));
    w.send(node, &ok);
    let answer = w.expect(t1(), "INVITE", 200);
    let mut caller = Dialog::caller(t1(), &answer);
    let ack = caller.request("ACK");
    w.send(t1(), &ack);
    w.take(node);
    // Not in mid-call either.
    let mut plain = caller.request("INVITE").with("Content-Type", "application/sdp");
    plain.body = SDP.to_owned();
    w.send(t1(), &plain);
    let denied = w.expect(t1(), "INVITE", 488);
    w.send(t1(), &plain.ack_failure(&denied));
    w.quiet();
    let told = w.events.iter().find(|e| e.event_type == "transaction").unwrap();
    assert_eq!(told.decision.as_ref().unwrap().reason.as_deref(), Some("srtp_required"));
    assert_eq!(told.outcome.as_ref().unwrap().produced_by.as_deref(), Some("edge"));
}

#[test]
fn options_say_whether_a_call_would_be_taken() {
    let options = |from, call: &str| {
        let mut m = invite(from, edge_trunk(), call, "x", 1).set("CSeq", "1 OPTIONS").without("Contact");
        m.start = format!("OPTIONS sip:{} SIP/2.0", edge_trunk());
        m.body.clear();
        m.without("Content-Type")
    };
    let mut w = World::new();
    w.send(t1(), &options(t1(), "a"));
    let ok = w.expect(t1(), "OPTIONS", 200);
    assert!(ok.header("Allow").contains("INVITE") && ok.header("Accept") == "application/sdp");
    w.send(n1(), &options(n1(), "b"));
    w.expect(n1(), "OPTIONS", 200);
    w.give(edge::core::Input::Drain);
    w.send(t1(), &options(t1(), "c"));
    w.expect(t1(), "OPTIONS", 503);
    let mut config = config();
    config.trunks[0].pool = "empty".into();
    let mut w = World::with(config);
    w.send(t1(), &options(t1(), "d"));
    w.expect(t1(), "OPTIONS", 503);
}

#[test]
fn a_trunk_whose_policies_find_nothing_to_do_forwards_the_same_bytes() {
    let idle = || World::new();
    let busy = || {
        World::with(with_policy(
            "t1",
            r#"
                hide_topology = false
                nat = { contact = true }
                session_timer = {}
                numbers = { country = "49", to_nodes = "e164", caller = "from" }
                headers = { deny_from_trunk = ["X-Never"] }
                media = { codecs_deny = ["G722"], srtp = "forbid" }
            "#,
        ))
    };
    let name = prop::sample::select(vec!["X-A", "Subject", "Date", "Supported", "Priority", "s", "X-Trunk"]);
    let header = (name, "[ -~]{0,24}").prop_map(|(n, v)| (n.to_owned(), v.trim().to_owned()));
    proptest!(ProptestConfig::with_cases(48), |(headers in prop::collection::vec(header, 0..6), lines in prop::collection::vec("[abikz]=[a-z0-9 /]{0,20}", 0..6))| {
        let mut m = from_trunk("a", "+4930123456");
        m.headers.extend(headers);
        m.body = format!("{SDP}{}", lines.iter().map(|l| format!("{l}\r\n")).collect::<String>());
        let (mut one, mut other) = (idle(), busy());
        one.send(t1(), &m);
        other.send(t1(), &m);
        let bytes = |w: &World| w.raw.iter().map(|(_, b)| b.clone()).collect::<Vec<_>>();
        prop_assert_eq!(bytes(&one), bytes(&other));
    });
}
