//! Plain calls in both directions, retransmissions, authentication, a call that passes twice.

use super::text::{Dialog, invite};
use super::world::*;
use domain::identity::HEADER;

#[test]
fn an_answered_call_passes_and_is_told_in_three_events() {
    let mut w = World::new();
    w.send(t1(), &invite(t1(), edge_trunk(), "a", "+4930123456", 1));
    w.expect(t1(), "INVITE", 100);
    let node = w.chosen();
    let offered = w.take(node);
    assert_eq!(offered.uri(), format!("sip:+4930123456@{node}"));
    assert_eq!(offered.header("Max-Forwards"), "69");
    assert_eq!(offered.all("Via").len(), 2);
    let routes = offered.all("Record-Route");
    assert!(routes[0].contains("@10.0.0.1:5070;lr") && routes[1].contains("@192.0.2.1:5060;lr"), "{routes:?}");
    let claim = keys().verify(offered.header(HEADER)).unwrap();
    w.pass_ms(200);
    w.send(node, &offered.reply(180, "Ringing", "b"));
    let ringing = w.expect(t1(), "INVITE", 180);
    assert_eq!(ringing.all("Via").len(), 1);
    w.pass_ms(800);
    let ok =
        offered.reply(200, "OK", "b").with("Contact", &format!("<sip:node@{node}>")).with(HEADER, "must not leave");
    w.send(node, &ok);
    let answer = w.expect(t1(), "INVITE", 200);
    assert!(answer.all(HEADER).is_empty());
    let mut caller = Dialog::caller(t1(), &answer);
    let ack = caller.request("ACK");
    w.send(t1(), &ack);
    let ack = w.expect(node, "ACK", 0);
    assert!(ack.all("Route").is_empty() && ack.uri() == format!("sip:node@{node}"));
    w.pass_ms(5_000);
    let bye = caller.request("BYE").with("Reason", "Q.850;cause=16;text=\"done\"");
    w.send(t1(), &bye);
    let seen = w.expect(node, "BYE", 0);
    w.send(node, &seen.reply(200, "OK", "b"));
    w.expect(t1(), "BYE", 200);
    assert_eq!(w.types(), ["attempt", "answered", "ended"]);
    let attempt = w.event("attempt");
    assert_eq!(attempt.call_root_id, claim.call.to_string());
    assert_eq!(attempt.leg_id, claim.leg.to_string());
    let decision = attempt.decision.as_ref().unwrap();
    assert_eq!((decision.reason.as_deref(), decision.pool.as_deref()), (Some("routed"), Some("inbound")));
    assert_eq!(decision.candidates.len(), 2);
    assert_eq!(attempt.offer.as_ref().unwrap().codecs, ["PCMU/8000"]);
    let parties = attempt.parties.as_ref().unwrap();
    assert_eq!((parties.caller_e164.as_deref(), parties.trunk_id.as_deref()), (Some("+4917012345"), Some("t1")));
    let timing = w.event("answered").timing.as_ref().unwrap();
    assert_eq!((timing.t_first_18x_us, timing.t_final_us), (Some(200_000), Some(1_000_000)));
    let end = w.event("ended").dialog.as_ref().unwrap();
    assert_eq!((end.talk_us, end.released_by.as_deref(), end.bye_status), (Some(5_000_000), Some("caller"), Some(200)));
    assert_eq!(end.reason_cause, Some(16));
    w.drained();
}

#[test]
fn the_edge_adds_at_most_400_bytes_to_an_invite() {
    let mut w = World::new();
    let m = invite(t1(), edge_trunk(), "a", "+4930123456", 1);
    let before = m.bytes().len();
    w.send(t1(), &m);
    w.take(t1());
    let node = w.chosen();
    let after = w.take(node).bytes().len();
    assert!(after - before <= 400, "{} bytes more", after - before);
}

#[test]
fn a_callee_hangs_up_and_a_busy_one_is_told_in_two_events() {
    let mut w = World::new();
    let (_, mut callee, node) = w.answered("a");
    w.pass_ms(1_000);
    let bye = callee.request("BYE");
    w.send(node, &bye);
    let seen = w.expect(t1(), "BYE", 0);
    w.send(t1(), &seen.reply(200, "OK", ""));
    w.expect(node, "BYE", 200);
    assert_eq!(w.event("ended").dialog.as_ref().unwrap().released_by.as_deref(), Some("callee"));
    let m = invite(t1(), edge_trunk(), "b", "+4930123456", 1);
    w.send(t1(), &m);
    w.take(t1());
    let node = w.chosen();
    let offered = w.take(node);
    w.send(node, &offered.reply(486, "Busy Here", "x"));
    w.expect(node, "ACK", 0);
    let busy = w.expect(t1(), "INVITE", 486);
    w.send(t1(), &m.ack_failure(&busy));
    w.quiet();
    assert_eq!(w.types()[3..], ["attempt", "final"]);
    assert_eq!(w.event("final").outcome.as_ref().unwrap().produced_by.as_deref(), Some("upstream"));
    w.drained();
}

#[test]
fn repeated_invites_are_absorbed_and_an_unacknowledged_failure_is_repeated() {
    let mut w = World::new();
    let m = invite(t1(), edge_trunk(), "a", "+4930123456", 1);
    for _ in 0..5 {
        w.send(t1(), &m);
    }
    let node = w.chosen();
    assert_eq!(w.wire.iter().filter(|(to, _)| to.addr == node).count(), 1, "one INVITE for the node");
    for _ in 0..5 {
        w.expect(t1(), "INVITE", 100);
    }
    let offered = w.take(node);
    let busy = offered.reply(486, "Busy Here", "x");
    w.send(node, &busy);
    w.expect(node, "ACK", 0);
    w.send(node, &busy);
    w.expect(node, "ACK", 0);
    w.expect(t1(), "INVITE", 486);
    w.pass_ms(600);
    let again = w.expect(t1(), "INVITE", 486);
    w.send(t1(), &m.ack_failure(&again));
    w.pass_ms(4_000);
    w.quiet();
    w.drained();
    assert_eq!(w.types(), ["attempt", "final"]);
}

#[test]
fn a_challenged_call_goes_on_under_its_id_at_the_same_node() {
    let mut w = World::new();
    for number in ["a", "b", "c", "d"] {
        let first = invite(t1(), edge_trunk(), number, "+4930127000", 1);
        w.send(t1(), &first);
        w.take(t1());
        let node = w.chosen();
        let offered = w.take(node);
        w.send(
            node,
            &offered
                .reply(407, "Proxy Authentication Required", "x")
                .with("Proxy-Authenticate", "Digest realm=\"n\", nonce=\"1\""),
        );
        w.expect(node, "ACK", 0);
        let challenge = w.expect(t1(), "INVITE", 407);
        assert!(challenge.header("Proxy-Authenticate").contains("nonce"));
        w.send(t1(), &first.ack_failure(&challenge));
        w.pass_ms(30);
        let second = invite(t1(), edge_trunk(), number, "+4930127000", 2)
            .with("Proxy-Authorization", "Digest username=\"u\", realm=\"n\", nonce=\"1\", response=\"0\"");
        w.send(t1(), &second);
        w.expect(t1(), "INVITE", 100);
        assert_eq!(w.chosen(), node, "credentials are worth something there only");
        let again = w.take(node);
        assert_eq!(
            keys().verify(again.header(HEADER)).unwrap().call,
            keys().verify(offered.header(HEADER)).unwrap().call
        );
        w.send(node, &again.reply(486, "Busy Here", "y"));
        w.take(node);
        let busy = w.take(t1());
        w.send(t1(), &second.ack_failure(&busy));
    }
    let last: Vec<_> = w.events.iter().rev().take(4).rev().collect();
    assert!(last[1].outcome.as_ref().unwrap().challenge);
    assert_eq!(last[2].correlation.as_ref().unwrap().continues_cseq, Some(1));
    assert_eq!(last[2].call_root_id, last[0].call_root_id);
    w.drained();
}

#[test]
fn a_call_from_a_node_goes_to_a_carrier_and_joins_the_call_of_its_header() {
    let mut w = World::new();
    let (_, _, node) = w.answered("a");
    let claim = w.event("attempt").clone();
    let header = keys().sign(&claim.call_root_id.parse().unwrap(), &claim.leg_id.parse().unwrap());
    let b_leg = invite(node, edge_node(), "b", "+4922155558001", 1).with(HEADER, &header);
    w.send(node, &b_leg);
    w.expect(node, "INVITE", 100);
    let offered = w.expect(c1(), "INVITE", 0);
    assert!(offered.all(HEADER).is_empty(), "ours is never shown to a carrier");
    assert_eq!(offered.uri(), format!("sip:+4922155558001@{}", c1()));
    let ok = offered.reply(200, "OK", "c").with("Contact", &format!("<sip:far@{}>", c1()));
    w.send(c1(), &ok);
    let answer = w.expect(node, "INVITE", 200);
    let mut caller = Dialog::caller(node, &answer);
    let ack = caller.request("ACK");
    w.send(node, &ack);
    w.expect(c1(), "ACK", 0);
    let mut far = Dialog::callee(c1(), &offered, &ok);
    let bye = far.request("BYE");
    w.send(c1(), &bye);
    let seen = w.expect(node, "BYE", 0);
    w.send(node, &seen.reply(200, "OK", ""));
    w.expect(c1(), "BYE", 200);
    let second = &w.events[2];
    assert_eq!((second.event_type.as_str(), second.call_root_id.as_str()), ("attempt", claim.call_root_id.as_str()));
    assert_eq!(second.parent_leg_id.as_deref(), Some(claim.leg_id.as_str()));
    assert_eq!(second.parties.as_ref().unwrap().trunk_id.as_deref(), Some("c1"));
    assert_eq!(w.types()[2..], ["attempt", "answered", "ended"]);
}

#[test]
fn a_forged_header_is_not_believed_from_either_side() {
    let mut w = World::new();
    let other = domain::identity::Keyring::new(vec![("k1".into(), vec![7; 32])]).unwrap();
    let victim: domain::CallId = "01890000-0000-7000-8000-000000000000".parse().unwrap();
    let forged = other.sign(&victim, &"0011223344556677".parse().unwrap());
    w.send(n1(), &invite(n1(), edge_node(), "a", "+4922155558001", 1).with(HEADER, &forged));
    w.take(n1());
    let offered = w.take(c1());
    assert!(offered.all(HEADER).is_empty());
    let good = keys().sign(&victim, &"0011223344556677".parse().unwrap());
    w.send(t1(), &invite(t1(), edge_trunk(), "b", "+4930123456", 1).with(&HEADER.to_lowercase(), &good));
    w.take(t1());
    let node = w.chosen();
    let offered = w.take(node);
    assert_eq!(offered.all(HEADER).len(), 1);
    assert_ne!(keys().verify(offered.header(HEADER)).unwrap().call, victim, "not even a true one from a trunk");
    assert!(w.events.iter().all(|e| e.call_root_id != victim.to_string() && e.parent_leg_id.is_none()));
    assert_eq!(w.proxy.counters().forged_headers, 2);
}
