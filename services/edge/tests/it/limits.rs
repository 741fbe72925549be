//! What a trunk may do: calls per second and at once, methods, numbers; what is kept for emergencies; what a restart remembers.

use std::time::Duration;

use edge::core::control::Store;
use edge::{Config, DialRule};
use schemas::{BlockScope, ControlBlock};

use super::text::{Msg, invite};
use super::world::*;

fn limited(change: impl FnOnce(&mut Config)) -> World {
    let mut config = config();
    change(&mut config);
    World::with(config)
}

/// The final answer to a call from t1 that the edge gives itself; 0 when it went to a node.
fn ask(w: &mut World, call: &str, number: &str) -> u16 {
    let m = invite(t1(), edge_trunk(), call, number, 1);
    w.send(t1(), &m);
    ack(w, &m)
}

fn ack(w: &mut World, m: &Msg) -> u16 {
    let answer = w.take(t1());
    if answer.status() < 200 {
        let node = w.chosen();
        w.take(node);
        return 0;
    }
    w.send(t1(), &m.ack_failure(&answer));
    w.quiet();
    answer.status()
}

fn rule(trunk: Option<&str>, account: Option<&str>, allow: &[&str]) -> DialRule {
    DialRule {
        trunk: trunk.map(str::to_owned),
        account: account.map(str::to_owned),
        allow: allow.iter().map(|s| (*s).to_owned()).collect(),
        ..DialRule::default()
    }
}

#[test]
fn calls_at_once_are_held_to_the_limit_and_a_hang_up_makes_room() {
    let mut w = limited(|c| c.trunks[0].calls = 2);
    let (mut first, _, node) = w.answered("a");
    assert_eq!(ask(&mut w, "b", "+4930123456"), 0);
    assert_eq!(ask(&mut w, "c", "+4930123456"), 503);
    let told = w.event("refused").decision.clone().unwrap();
    assert_eq!((told.reason.as_deref(), told.limit_rule.as_deref()), (Some("limit"), Some("trunk/t1/calls")));
    let bye = first.request("BYE");
    w.send(t1(), &bye);
    let seen = w.expect(node, "BYE", 0);
    w.send(node, &seen.reply(200, "OK", ""));
    w.expect(t1(), "BYE", 200);
    assert_eq!(ask(&mut w, "d", "+4930123456"), 0);
    assert_eq!(ask(&mut w, "e", "+4930123456"), 503);
    // Calls that nobody answers give their places back too.
    w.pass(Duration::from_secs(300));
    w.wire.clear();
    assert_eq!(w.proxy.snapshot(w.now.wall_us).trunks[0].calls_now, 0);
    assert_eq!(ask(&mut w, "f", "+4930123456"), 0);
}

#[test]
fn a_call_to_a_full_carrier_goes_to_the_next_one() {
    let mut w = limited(|c| {
        c.trunks[2].calls = 1;
        c.trunks[3].calls = 1;
        c.trunks[2].limit_status = 486;
    });
    let number = "+4922155558001";
    for (call, carrier) in [("a", c1()), ("b", c2())] {
        w.send(n1(), &invite(n1(), edge_node(), call, number, 1));
        w.expect(n1(), "INVITE", 100);
        w.expect(carrier, "INVITE", 0);
    }
    w.send(n1(), &invite(n1(), edge_node(), "c", number, 1));
    w.expect(n1(), "INVITE", 486);
    assert_eq!(w.event("refused").decision.as_ref().unwrap().limit_rule.as_deref(), Some("trunk/c1/calls"));
}

#[test]
fn a_trunks_own_limit_answers_its_own_code_without_retry_after() {
    let mut w = limited(|c| {
        c.trunks[0].cps = 1.0;
        c.trunks[0].limit_status = 480;
        c.admission.invites_per_cps = 100.0;
    });
    assert_eq!(ask(&mut w, "a", "+4930123456"), 0);
    let m = invite(t1(), edge_trunk(), "b", "+4930123456", 1);
    w.send(t1(), &m);
    let answer = w.expect(t1(), "INVITE", 480);
    assert_eq!(answer.header("Retry-After"), "");
}

#[test]
fn ten_times_the_limit_gives_the_limit_and_the_rest_costs_no_room() {
    let mut w = limited(|c| {
        c.trunks[0].cps = 100.0;
        // What the sender would send twice, here at first sight.
        c.admission.invites_per_cps = 100.0;
    });
    let (mut passed, mut refused) = (0, 0);
    for i in 0..10_000 {
        match ask(&mut w, &format!("c{i}"), "+4930123456") {
            0 => passed += 1,
            503 => refused += 1,
            other => panic!("{other}"),
        }
        w.pass_ms(1);
        w.wire.clear();
    }
    assert_eq!(passed + refused, 10_000);
    assert!((1_078..=1_122).contains(&passed), "{passed} in ten seconds, with the first second's bucket");
    let s = w.proxy.snapshot(w.now.wall_us);
    assert!(s.transactions <= 3_200, "{} transactions", s.transactions);
    let told = w.events.iter().filter(|e| e.event_type == "refused").count() as i64;
    w.pass_ms(1_100);
    let counted: i64 = w.rejections.iter().filter(|r| r.source == "trunk/t1").map(|r| r.messages).sum();
    assert!(told <= 1_100, "{told} events");
    assert_eq!(told + counted, i64::from(refused), "each refusal is told or counted");
    assert!(
        w.rejections.iter().all(|r| r.event_type == "trunk"),
        "an ACK for an answer without state is nothing strange"
    );
}

#[test]
fn emergency_calls_pass_limits_blocks_and_permissions_out_of_their_own_reserve() {
    let mut w = limited(|c| {
        c.trunks[0].cps = 1.0;
        c.trunks[0].calls = 1;
        c.trunks[0].emergency_calls = 2;
        c.trunks[0].emergency_cps = 3.0;
        c.trunks[0].emergency_country = Some("de".into());
    });
    let mut store = Store::default();
    let whole = BlockScope { trunk: Some("t1".into()), ..BlockScope::default() };
    let block = ControlBlock {
        event_type: "block".into(),
        author: "operator".into(),
        block_id: "b".into(),
        mode: "enforce".into(),
        scope: whole,
        expires_us: i64::MAX,
        ..ControlBlock::default()
    };
    assert_eq!(ask(&mut w, "a", "+4930123456"), 0);
    store.block("operator/b", Some(block));
    w.control(store.snapshot(w.now.wall_us, 10));
    assert_eq!(ask(&mut w, "b", "112"), 0);
    let m = invite(t1(), edge_trunk(), "c", "x", 1);
    let sos = Msg { start: "INVITE urn:service:sos SIP/2.0".into(), ..m };
    w.send(t1(), &sos);
    w.expect(t1(), "INVITE", 100);
    let node = w.chosen();
    assert_eq!(w.take(node).uri(), "urn:service:sos");
    assert_eq!(ask(&mut w, "d", "110"), 503, "the reserve is used up too");
    assert_eq!(w.proxy.counters().emergencies, 2);
    w.pass(Duration::from_secs(300));
    w.wire.clear();
    assert_eq!(ask(&mut w, "e", "110"), 0);
    w.wire.clear();
    for (call, number) in [("f", "1120"), ("g", "0112"), ("h", "911")] {
        assert_ne!(ask(&mut w, call, number), 0, "{number} is no emergency number of that country");
        w.pass_ms(2_000);
        w.wire.clear();
    }
}

#[test]
fn in_a_flood_of_its_trunks_address_an_emergency_call_is_taken_at_first_sight() {
    let mut w = limited(|c| c.trunks[0].cps = 10.0);
    for i in 0..2_000 {
        w.send(t1(), &invite(t1(), edge_trunk(), &format!("flood-{i}"), "+4930999999", 1));
    }
    w.wire.clear();
    w.send(t1(), &invite(t1(), edge_trunk(), "ordinary", "+4930123456", 1));
    w.quiet();
    assert_eq!(ask(&mut w, "help", "112"), 0);
}

#[test]
fn a_pinned_trunk_is_never_blocked_and_shows_what_would_have_been() {
    for (pinned, want) in [(true, 0), (false, 403)] {
        let mut w = limited(|c| c.trunks[0].pinned = pinned);
        let mut store = Store::default();
        let scope =
            BlockScope { trunk: Some("t1".into()), callee_prefix: Some("+4930".into()), ..BlockScope::default() };
        let block = ControlBlock {
            event_type: "block".into(),
            author: "fraud".into(),
            block_id: "b".into(),
            mode: "enforce".into(),
            scope,
            expires_us: i64::MAX,
            ..ControlBlock::default()
        };
        store.block("fraud/b", Some(block));
        w.control(store.snapshot(w.now.wall_us, 10));
        assert_eq!(ask(&mut w, "a", "+4930123456"), want);
        let event = if pinned { w.event("attempt") } else { w.event("refused") };
        let decision = event.decision.as_ref().unwrap();
        assert_eq!(decision.shadow_blocks.len(), usize::from(pinned));
        assert_eq!(decision.block_id.is_some(), !pinned);
    }
}

#[test]
fn methods_that_a_trunk_may_not_use_are_405_and_a_call_keeps_what_it_needs() {
    let mut w = limited(|c| c.trunks[0].methods = vec!["INVITE".into()]);
    let (mut caller, _, node) = w.answered("a");
    let request = |method: &str, call: &str| {
        let m = invite(t1(), edge_trunk(), call, "+49", 1);
        Msg { start: m.start.replace("INVITE", method), ..m.set("CSeq", &format!("1 {method}")) }
    };
    for method in ["OPTIONS", "REGISTER", "MESSAGE"] {
        w.send(t1(), &request(method, method));
        let answer = w.expect(t1(), method, 405);
        assert_eq!(answer.header("Allow"), "ACK, BYE, CANCEL, PRACK, UPDATE, INVITE");
    }
    let info = caller.request("INFO");
    w.send(t1(), &info);
    w.expect(t1(), "INFO", 405);
    for method in ["UPDATE", "BYE"] {
        let m = caller.request(method);
        w.send(t1(), &m);
        let seen = w.expect(node, method, 0);
        w.send(node, &seen.reply(200, "OK", ""));
        w.expect(t1(), method, 200);
    }
    let mut w = limited(|c| c.trunks[0].methods = vec!["OPTIONS".into()]);
    assert_eq!(ask(&mut w, "b", "+4930123456"), 405);
    assert_eq!(w.event("refused").decision.as_ref().unwrap().reason.as_deref(), Some("method"));
}

#[test]
fn premium_and_satellite_numbers_are_not_dialled_unless_a_rule_allows_them() {
    let mut w = limited(|c| {
        c.dial.rules = vec![rule(Some("c2"), None, &["premium"]), rule(None, Some("account-t1"), &["satellite"])];
    });
    assert_eq!(ask(&mut w, "a", "+499001234567"), 403);
    let told = w.event("refused").decision.clone().unwrap();
    assert_eq!((told.reason.as_deref(), told.acl_rule.as_deref()), (Some("dial"), Some("dial/premium")));
    assert_eq!(told.acl_result.as_deref(), Some("deny"));
    assert_eq!(ask(&mut w, "b", "+881612345678"), 0, "the account may");
    assert_eq!(ask(&mut w, "c", "+4930123456"), 0);
    // Towards carriers: the first one may not, the second one may.
    w.send(n1(), &invite(n1(), edge_node(), "d", "+499001234567", 1));
    w.expect(n1(), "INVITE", 100);
    w.expect(c2(), "INVITE", 0);
    w.send(n1(), &invite(n1(), edge_node(), "e", "+881612345678", 1));
    w.expect(n1(), "INVITE", 403);
    assert_eq!(w.proxy.counters().not_dialled, 4);
}

#[test]
fn when_the_whole_edge_has_too_much_to_do_new_calls_are_asked_to_come_again_soon_and_nothing_else_is_touched() {
    let mut w = limited(|c| c.limits.open_invites = 10);
    let (mut caller, _, node) = w.answered("a");
    for i in 0..9 {
        ask(&mut w, &format!("w{i}"), "+4930123456");
    }
    let (mut shed, mut after) = (0, Vec::new());
    for i in 0..8 {
        let m = invite(t1(), edge_trunk(), &format!("x{i}"), "+4930123456", 1);
        w.send(t1(), &m);
        let answer = w.take(t1());
        if answer.status() == 503 {
            shed += 1;
            after.push(answer.header("Retry-After").parse::<u32>().unwrap());
            w.send(t1(), &m.ack_failure(&answer));
        }
        w.wire.clear();
    }
    assert!(shed >= 6, "{shed}");
    assert!(after.iter().all(|s| (1..=3).contains(s)) && after.iter().any(|s| *s != after[0]), "{after:?}");
    let refused = w.events.iter().find(|e| e.event_type == "refused").unwrap();
    assert_eq!(refused.decision.as_ref().unwrap().reason.as_deref(), Some("overload"));
    assert_eq!(ask(&mut w, "help", "112"), 0);
    let bye = caller.request("BYE");
    w.send(t1(), &bye);
    w.expect(node, "BYE", 0);
}

#[test]
fn a_restart_counts_again_the_calls_that_the_journal_holds() {
    let mut limited = config();
    limited.trunks[0].calls = 3;
    limited.trunks[0].cps = 2.0;
    limited.admission.invites_per_cps = 10.0;
    let mut w = World::journaled(limited, 1 << 20);
    let (mut first, _, node) = w.answered("a");
    w.pass_ms(1_000);
    assert_eq!(ask(&mut w, "b", "+4930123456"), 0);
    assert_eq!(ask(&mut w, "c", "+4930123456"), 0);
    w.restart(Duration::from_millis(200));
    w.wire.clear();
    assert_eq!(w.proxy.snapshot(w.now.wall_us).trunks[0].calls_now, 3);
    assert_eq!(ask(&mut w, "d", "+4930123456"), 503);
    let bye = first.request("BYE");
    w.send(t1(), &bye);
    let seen = w.expect(node, "BYE", 0);
    w.send(node, &seen.reply(200, "OK", ""));
    w.expect(t1(), "BYE", 200);
    assert_eq!(ask(&mut w, "e", "+4930123456"), 503, "two calls began less than a second ago");
    assert_eq!(w.events.last().unwrap().decision.as_ref().unwrap().limit_rule.as_deref(), Some("trunk/t1/cps"));
    w.pass_ms(500);
    w.wire.clear();
    assert_eq!(ask(&mut w, "f", "+4930123456"), 0);
}

#[test]
fn a_trunk_is_known_by_transport_and_certificate_where_its_settings_say_so() {
    use edge::core::{Action, Flow, FlowIdentity, Hop, Input};
    let mut config = config();
    config.listeners.push(edge::ListenerConfig {
        id: "tls".into(),
        transport: edge::Transport::Tls,
        ..config.listeners[0].clone()
    });
    config.trunks[0].source_transports = vec![edge::Transport::Tls];
    config.trunks[0].source_subject = Some("one.example".into());
    let mut other = config.trunks[0].clone();
    other.id = "t1-other".into();
    other.source_subject = Some("other.example".into());
    config.trunks.push(other);
    let mut w = World::bound(config, vec![edge_trunk(), edge_node(), addr("192.0.2.1:5061")]);
    let m = invite(t1(), edge_trunk(), "a", "+4930123456", 1);
    w.send(t1(), &m);
    assert_eq!((w.sent, w.proxy.counters().denied_packets), (0, 1), "by UDP its address proves nothing");
    let mut by = |number: u64, subject: Option<&str>| {
        let flow = Flow::new(std::num::NonZeroU64::new(number).unwrap());
        let identity = FlowIdentity { subject: subject.map(str::to_owned), ..FlowIdentity::default() };
        let bytes = invite(t1(), edge_trunk(), &format!("c{number}"), "+4930123456", 1).bytes();
        let hop = Hop::on(2, addr("192.0.2.10:40000"), flow);
        w.proxy.handle(w.now, Input::Message { hop, identity: Some(&identity), bytes: &bytes });
        let (mut source, mut closed) = (None, false);
        while let Some(action) = w.proxy.poll() {
            match action {
                Action::Transaction(event) => source = Some(event.source_id),
                Action::CloseFlow { .. } => closed = true,
                _ => {}
            }
        }
        (source, closed)
    };
    assert_eq!(by(1, Some("one.example")), (Some("t1".to_owned()), false));
    assert_eq!(by(2, Some("other.example")), (Some("t1-other".to_owned()), false));
    assert_eq!(by(3, Some("mallory.example")), (None, true));
    assert_eq!(by(4, None), (None, true));
}
