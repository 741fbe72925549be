//! The fields of `sip.transactions` group by group, as far as they are not looked at elsewhere: what policies changed and how a
//! message left, holds, sessions, links to other calls, the other witness.

use edge::{Config, ListenerConfig, Side, Transport};
use schemas::{Encoder, SipTransaction};

use super::text::{Dialog, Msg, SDP, invite};
use super::world::*;

fn with_policy(config: &mut Config, trunk: &str, policy: &str) {
    config.trunks.iter_mut().find(|t| t.id == trunk).unwrap().policy = toml::from_str(policy).unwrap();
}

fn size(event: &SipTransaction) -> usize {
    Encoder::<SipTransaction>::new().encode(event).unwrap().len()
}

/// The node calls out over `c1`, which answers.
fn call_out(w: &mut World, call: &str, more: impl Fn(Msg) -> Msg) -> (Dialog, Dialog) {
    w.send(n1(), &more(invite(n1(), edge_node(), call, "+33142685300", 1)));
    w.expect(n1(), "INVITE", 100);
    let offered = w.expect(c1(), "INVITE", 0);
    let mut ok = offered.reply(200, "OK", "c").with("Contact", &format!("<sip:c@{}>", c1()));
    ok = ok.with("Content-Type", "application/sdp");
    ok.body = SDP.to_owned();
    w.send(c1(), &ok);
    let answer = w.expect(n1(), "INVITE", 200);
    let mut caller = Dialog::caller(n1(), &answer);
    let ack = caller.request("ACK");
    w.send(n1(), &ack);
    w.expect(c1(), "ACK", 0);
    (caller, Dialog::callee(c1(), &offered, &ok))
}

/// One party asks, the other one says yes.
fn ask(w: &mut World, from: &mut Dialog, to: std::net::SocketAddr, method: &str, more: impl Fn(Msg) -> Msg) -> Msg {
    let m = more(from.request(method));
    w.send(from.via, &m);
    if method == "INVITE" {
        w.expect(from.via, method, 100);
    }
    let seen = w.expect(to, method, 0);
    w.send(to, &seen.reply(200, "OK", "").with("Contact", &format!("<sip:x@{to}>")));
    let answer = w.expect(from.via, method, 200);
    if method == "INVITE" {
        let ack = Msg { headers: from.request("ACK").headers, ..from.request("ACK") };
        w.send(from.via, &ack);
        w.expect(to, "ACK", 0);
    }
    answer
}

fn with_sdp(direction: &'static str) -> impl Fn(Msg) -> Msg {
    move |m| {
        let mut m = m.with("Content-Type", "application/sdp");
        m.body = SDP.replace("sendrecv", direction);
        m
    }
}

#[test]
fn an_ordinary_call_has_events_without_a_word_too_many() {
    let mut w = World::new();
    let (mut caller, _, node) = w.answered("a");
    w.send(t1(), &caller.request("BYE"));
    let bye = w.expect(node, "BYE", 0);
    w.send(node, &bye.reply(200, "OK", ""));
    assert_eq!(w.types(), ["attempt", "answered", "ended"]);
    for event in &w.events {
        assert!(event.sent.is_none(), "{:#?}", event.sent);
        assert!(event.identity.dialog_id.is_none());
        assert!(size(event) <= 900, "{} has {} bytes", event.event_type, size(event));
    }
    let end = w.event("ended").dialog.as_ref().unwrap();
    assert_eq!((end.hold_us, end.session_expires_s, end.bye_sent, &end.lost_evidence), (None, None, false, &None));
    let timing = |event: &str| w.event(event).timing.clone().unwrap();
    assert!(timing("attempt").t_100_sent_us.is_some() && timing("answered").t_final_us.is_some());
    let ended = timing("ended");
    assert!(ended.t_ack_us.is_some() && ended.t_bye_us.is_some() && ended.received_mono_us.is_some());
}

#[test]
fn what_a_policy_changed_stands_with_its_rule_in_every_event_of_the_call() {
    let policy = r#"
        [numbers]
        country = "49"
        to_trunk = "international"
        caller = "from"
        [media]
        codecs_deny = ["PCMU"]
        codecs_order = ["PCMA"]
        [headers]
        deny_to_trunk = ["User-Agent"]
    "#;
    let mut config = config();
    with_policy(&mut config, "c1", policy);
    let mut w = World::with(config);
    let two_codecs = |m: Msg| Msg { body: SDP.replace("RTP/AVP 0 101", "RTP/AVP 0 8 101"), ..m };
    call_out(&mut w, "a", two_codecs);
    let sent = w.event("attempt").sent.clone().unwrap();
    assert_eq!((sent.callee_sent.as_deref(), sent.path), (Some("0033142685300"), None));
    assert_eq!(sent.caller_sent.as_deref(), Some("004917012345"));
    assert!(!sent.offer_sent.as_ref().unwrap().codecs.iter().any(|c| c.starts_with("PCMU")), "{:?}", sent.offer_sent);
    assert!(w.event("attempt").offer.as_ref().unwrap().codecs.iter().any(|c| c.starts_with("PCMU")));
    let policies: Vec<&str> = sent.policies.iter().map(|p| p.policy.as_str()).collect();
    assert!(["headers", "numbers", "codecs"].iter().all(|p| policies.contains(p)), "{policies:?}");
    assert!(sent.policies.iter().all(|p| p.rule == "trunk/c1/policy" && !p.effect.is_empty()));
    let answered = w.event("answered").sent.clone().unwrap();
    assert_eq!(answered.callee_sent, sent.callee_sent);
    assert!(answered.policies.len() >= sent.policies.len());
}

#[test]
fn a_stream_says_whose_connection_it_was() {
    let mut config = config();
    config.trunks[2].transports = vec![Transport::Tcp];
    config.listeners.push(ListenerConfig {
        id: "tcp".into(),
        side: Side::Trunk,
        transport: Transport::Tcp,
        ..ListenerConfig::default()
    });
    let mut w = World::bound(config, vec![edge_trunk(), edge_node(), edge_trunk()]);
    call_out(&mut w, "a", |m| m);
    for event in ["attempt", "answered"] {
        assert_eq!(w.event(event).sent.as_ref().unwrap().path.as_deref(), Some("tcp/made"));
    }
}

#[test]
fn holds_are_told_apart_from_resumes_and_add_up() {
    let mut w = World::new();
    let (mut caller, mut callee) = call_out(&mut w, "a", |m| m);
    w.pass_ms(1_000);
    ask(&mut w, &mut caller, c1(), "INVITE", with_sdp("sendonly"));
    w.pass_ms(3_000);
    ask(&mut w, &mut caller, c1(), "INVITE", with_sdp("sendrecv"));
    w.pass_ms(1_000);
    ask(&mut w, &mut callee, n1(), "UPDATE", with_sdp("inactive"));
    w.pass_ms(2_000);
    w.send(n1(), &caller.request("BYE"));
    let bye = w.expect(c1(), "BYE", 0);
    w.send(c1(), &bye.reply(200, "OK", ""));
    let inside: Vec<&SipTransaction> = w.events.iter().filter(|e| e.event_type == "transaction").collect();
    let kinds: Vec<_> = inside.iter().map(|e| e.identity.reinvite_kind.as_deref()).collect();
    assert_eq!(kinds, [Some("hold"), Some("resume"), None]);
    let ids: Vec<_> = inside.iter().map(|e| e.identity.dialog_id.clone().unwrap()).collect();
    assert!(ids.iter().all(|id| id.len() == 16 && *id == ids[0]), "one dialog in both directions: {ids:?}");
    for event in &inside {
        assert!(event.transport.is_some() && event.headers.is_some() && event.offer.is_some(), "{event:#?}");
    }
    let end = w.event("ended").dialog.clone().unwrap();
    assert_eq!((end.hold_us, end.reinvites), (Some(5_000_000), 2));
    w.drained();
}

#[test]
fn a_hold_goes_on_over_a_restart() {
    let mut w = World::journaled(config(), 256 * 1024);
    let (mut caller, _) = call_out(&mut w, "a", |m| m);
    ask(&mut w, &mut caller, c1(), "INVITE", with_sdp("inactive"));
    w.pass_ms(2_000);
    w.restart(std::time::Duration::from_millis(500));
    w.pass_ms(1_500);
    w.send(n1(), &caller.request("BYE"));
    let bye = w.expect(c1(), "BYE", 0);
    w.send(c1(), &bye.reply(200, "OK", ""));
    assert_eq!(w.event("ended").dialog.as_ref().unwrap().hold_us, Some(4_000_000));
}

#[test]
fn transfers_name_the_call_that_they_are_about() {
    let mut w = World::new();
    let (mut caller, _) = call_out(&mut w, "a", |m| m);
    let refer_to = "<sip:b@192.0.2.99?Replaces=other%40host%3Bto-tag%3D1%3Bfrom-tag%3D2>";
    ask(&mut w, &mut caller, c1(), "REFER", |m| m.with("Refer-To", refer_to).with("Referred-By", "<sip:me@x>"));
    let refer = w.event("transaction");
    assert_eq!(refer.correlation.as_ref().unwrap().previous_call_id.as_deref(), Some("other@host"));
    let headers = refer.headers.as_ref().unwrap();
    assert_eq!((headers.refer_to.as_deref(), headers.referred_by.as_deref()), (Some(refer_to), Some("<sip:me@x>")));
    let replaces = |m: Msg| m.with("Replaces", "third@host;to-tag=3;from-tag=4");
    call_out(&mut w, "b", replaces);
    let attempt = w.events.iter().rfind(|e| e.event_type == "attempt").unwrap();
    assert_eq!(attempt.correlation.as_ref().unwrap().previous_call_id.as_deref(), Some("third@host"));
}

#[test]
fn a_node_names_its_channel_and_nobody_else_does() {
    let uuid = "11f1b8a6-1111-4d2c-9a55-0242ac120002";
    let mut w = World::new();
    call_out(&mut w, "out", |m| m.with("X-Trunkline-Channel", uuid));
    let channel = |e: &SipTransaction| e.correlation.as_ref().and_then(|c| c.node_channel_uuid.clone());
    assert_eq!(channel(w.event("attempt")).as_deref(), Some(uuid));
    w.events.clear();
    w.send(t1(), &invite(t1(), edge_trunk(), "in", "+4930123456", 1).with("X-Trunkline-Channel", uuid));
    w.expect(t1(), "INVITE", 100);
    let node = w.chosen();
    let offered = w.take(node);
    assert_eq!(offered.header("X-Trunkline-Channel"), "", "never passed on");
    assert_eq!(channel(w.event("attempt")), None);
    let ok = offered.reply(200, "OK", "b").with("Contact", &format!("<sip:n@{node}>"));
    w.send(node, &ok.with("X-Trunkline-Channel", uuid));
    assert_eq!(w.expect(t1(), "INVITE", 200).header("X-Trunkline-Channel"), "");
    assert_eq!(channel(w.event("answered")).as_deref(), Some(uuid));
}

#[test]
fn headers_of_the_operators_own_are_told_when_the_settings_name_them() {
    let mut w = World::with(Config { event_headers: vec!["X-Campaign".into()], ..config() });
    call_out(&mut w, "a", |m| m.with("x-campaign", "spring").with("X-Other", "1"));
    let extra = w.event("attempt").headers.as_ref().unwrap().extra.clone();
    assert_eq!(extra.into_iter().collect::<Vec<_>>(), [("X-Campaign".to_owned(), "spring".to_owned())]);
    let mut problems = Vec::new();
    let wrong = vec!["From".to_owned(), "X-Trunkline-Call".to_owned(), "X-Fine".to_owned()];
    kit::settings::Check::check(&Config { event_headers: wrong, ..config() }, "edge", &mut problems);
    assert_eq!(problems.iter().filter(|p| p.key == "edge.event_headers").count(), 2, "{problems:?}");
}

#[test]
fn a_lost_call_says_what_that_rests_on() {
    let mut config = config();
    with_policy(&mut config, "t1", "session_timer = { expires_s = 600 }");
    let mut w = World::with(config);
    w.send(t1(), &invite(t1(), edge_trunk(), "a", "+4930123456", 1).with("Supported", "timer"));
    w.expect(t1(), "INVITE", 100);
    let node = w.chosen();
    let offered = w.take(node);
    w.send(node, &offered.reply(200, "OK", "b").with("Contact", &format!("<sip:n@{node}>")));
    w.expect(t1(), "INVITE", 200);
    w.pass(std::time::Duration::from_secs(700));
    let end = w.event("lost").dialog.clone().unwrap();
    assert_eq!((end.lost_reason.as_deref(), end.session_expires_s), (Some("session_expired"), Some(600)));
    assert_eq!(end.lost_evidence.as_deref(), Some("no refresh within 600 s"));
    assert!(!end.bye_sent);
}
