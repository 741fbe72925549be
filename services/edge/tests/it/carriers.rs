//! Which carrier of a route gets the first attempt: what the last calls met and what probes say.

use std::net::SocketAddr;
use std::time::Duration;

use edge::core::Notice;

use super::text::invite;
use super::world::*;

/// A call from a node; gives the carrier that is asked first and lets it answer 486, so that nothing stays open.
fn first_asked(w: &mut World, call: &str) -> SocketAddr {
    w.send(n1(), &invite(n1(), edge_node(), call, "+4922155558401", 1));
    w.expect(n1(), "INVITE", 100);
    let (hop, offered) = w.wire.pop_front().expect("an INVITE");
    assert!(offered.is("INVITE", 0), "{offered:?}");
    w.send(hop.addr, &offered.reply(486, "Busy Here", "b"));
    w.expect(hop.addr, "ACK", 0);
    w.expect(n1(), "INVITE", 486);
    hop.addr
}

/// A call that `c1` leaves without an answer, so that `c2` gets it.
fn first_carrier_is_silent(w: &mut World, call: &str) {
    w.send(n1(), &invite(n1(), edge_node(), call, "+4922155558401", 1));
    w.expect(n1(), "INVITE", 100);
    w.expect(c1(), "INVITE", 0);
    w.pass(Duration::from_secs(4));
    w.wire.retain(|(hop, _)| hop.addr == c2());
    let offered = w.expect(c2(), "INVITE", 0);
    w.send(c2(), &offered.reply(486, "Busy Here", "b"));
    w.wire.clear();
}

fn candidates(w: &World) -> Vec<(String, String)> {
    let attempt = w.events.iter().rev().find(|e| e.event_type == "attempt").expect("an attempt");
    let decision = attempt.decision.as_ref().unwrap();
    decision.candidates.iter().map(|c| (c.id.clone(), c.state.clone().unwrap())).collect()
}

#[test]
fn a_carrier_that_left_a_call_without_an_answer_comes_last_for_half_a_minute() {
    let mut w = World::new();
    assert_eq!(first_asked(&mut w, "a"), c1());
    assert_eq!(candidates(&w), [("c1".into(), "up".into()), ("c2".into(), "up".into())]);
    first_carrier_is_silent(&mut w, "b");
    // The next call does not wait for the same silence.
    assert_eq!(first_asked(&mut w, "c"), c2());
    assert_eq!(candidates(&w), [("c2".into(), "up".into()), ("c1".into(), "silent".into())]);
    w.pass(Duration::from_secs(31));
    w.wire.clear();
    assert_eq!(first_asked(&mut w, "d"), c1());
}

#[test]
fn an_answer_makes_a_silent_carrier_the_first_again() {
    let mut w = World::new();
    w.send(n1(), &invite(n1(), edge_node(), "a", "+4922155558401", 1));
    w.expect(n1(), "INVITE", 100);
    let silent = w.expect(c1(), "INVITE", 0);
    w.pass(Duration::from_secs(4));
    w.send(c1(), &silent.reply(100, "Trying", ""));
    w.wire.clear();
    assert_eq!(first_asked(&mut w, "b"), c1());
}

/// Lets that much time pass; probes of carriers that are not `dead` are answered with 404. Gives how many were asked.
fn pass_answering(w: &mut World, seconds: u64, dead: &[SocketAddr]) -> usize {
    let mut asked = 0;
    for _ in 0..seconds * 4 {
        w.pass_ms(250);
        for _ in 0..w.wire.len() {
            let Some((hop, m)) = w.wire.pop_front() else { break };
            if m.is("OPTIONS", 0) {
                asked += 1;
                if !dead.contains(&hop.addr) {
                    w.send(hop.addr, &m.reply(404, "Not Found", "p"));
                }
            }
        }
    }
    asked
}

fn told(w: &mut World) -> Vec<(String, &'static str)> {
    let told = |notice| match notice {
        Notice::Carrier { trunk, state, .. } => Some((trunk, state)),
        _ => None,
    };
    w.notices.drain(..).filter_map(told).collect()
}

#[test]
fn probes_put_a_carrier_last_before_a_call_has_to_wait_for_it() {
    let mut config = config();
    config.trunks[2].probe_s = 30;
    config.trunks[3].probe_s = 30;
    let mut w = World::with(config);
    assert_eq!(pass_answering(&mut w, 29, &[]), 2, "one each");
    assert_eq!(first_asked(&mut w, "a"), c1());
    // It misses its second probe, which was sent twice.
    assert_eq!(pass_answering(&mut w, 5, &[c1()]), 3);
    assert_eq!(told(&mut w), [("c1".into(), "suspect")]);
    assert_eq!(first_asked(&mut w, "b"), c2());
    pass_answering(&mut w, 30, &[c1()]);
    assert_eq!(told(&mut w), [("c1".into(), "down")]);
    assert_eq!(first_asked(&mut w, "c"), c2());
    assert_eq!(candidates(&w), [("c2".into(), "up".into()), ("c1".into(), "down".into())]);
    // Any answer is one.
    pass_answering(&mut w, 30, &[]);
    assert_eq!(told(&mut w), [("c1".into(), "up")]);
    assert_eq!(first_asked(&mut w, "d"), c1());
}

#[test]
fn a_route_whose_carriers_are_all_down_is_tried_all_the_same_and_settings_end_the_asking() {
    let mut config = config();
    config.trunks[2].probe_s = 5;
    config.trunks[3].probe_s = 5;
    let mut w = World::with(config);
    pass_answering(&mut w, 20, &[c1(), c2()]);
    assert_eq!(w.proxy.snapshot(0).trunks.iter().filter(|t| t.state == "down").count(), 2);
    assert_eq!(first_asked(&mut w, "a"), c1());
    w.settings(|config| {
        config.trunks[2].probe_s = 0;
        config.trunks[3].probe_s = 0;
    });
    assert_eq!(pass_answering(&mut w, 20, &[]), 0);
    assert!(w.proxy.snapshot(0).trunks.iter().all(|t| t.state == "up"), "what probes said is forgotten with them");
    w.drained();
}

fn shared(shares: &[u16]) -> World {
    let mut config = config();
    config.routes[0].shares = shares.to_vec();
    World::with(config)
}

fn counted(w: &mut World, what: &str, calls: usize) -> [usize; 2] {
    let mut got = [0, 0];
    for i in 0..calls {
        let asked = first_asked(w, &format!("{what}-{i}"));
        got[usize::from(asked == c2())] += 1;
    }
    got
}

#[test]
fn carriers_share_the_calls_of_a_route_and_the_event_says_so() {
    let mut w = shared(&[70, 30]);
    assert_eq!(counted(&mut w, "a", 100), [70, 30]);
    let attempt = w.events.iter().rev().find(|e| e.event_type == "attempt").expect("an attempt");
    let decision = attempt.decision.as_ref().unwrap();
    assert_eq!(decision.algorithm.as_deref(), Some("smooth_weighted"));
    let mut weights: Vec<_> = decision.candidates.iter().map(|c| (c.id.as_str(), c.weight)).collect();
    weights.sort_by_key(|(id, _)| *id);
    assert_eq!(weights, [("c1", Some(70.0)), ("c2", Some(30.0))]);
    // Settings that say the same of the route do not begin the round again.
    let before = counted(&mut w, "b", 5);
    w.settings(|config| config.trunks[1].account = Some("another".into()));
    let after = counted(&mut w, "c", 5);
    assert_eq!([before[0] + after[0], before[1] + after[1]], [7, 3]);
    w.settings(|config| config.routes[0].shares = vec![0, 1]);
    assert_eq!(counted(&mut w, "d", 10), [0, 10]);
    w.settings(|config| config.routes[0].shares.clear());
    assert_eq!(counted(&mut w, "e", 10), [10, 0]);
}

#[test]
fn a_silent_carrier_has_no_share_and_a_failover_goes_on_in_order() {
    let mut w = shared(&[1, 1]);
    first_carrier_is_silent(&mut w, "a");
    assert_eq!(counted(&mut w, "b", 10), [0, 10]);
    w.pass(Duration::from_secs(31));
    w.wire.clear();
    assert_eq!(counted(&mut w, "c", 10), [5, 5]);
}

/// The carrier that a call from the node goes to, or the code that the edge refuses it with.
fn asked(w: &mut World, call: &str, number: &str) -> Result<SocketAddr, u16> {
    let m = invite(n1(), edge_node(), call, number, 1);
    w.send(n1(), &m);
    let answer = w.take(n1());
    if answer.status() >= 200 {
        w.send(n1(), &m.ack_failure(&answer));
        w.quiet();
        return Err(answer.status());
    }
    let (hop, offered) = w.wire.pop_front().expect("an INVITE");
    w.send(hop.addr, &offered.reply(486, "Busy Here", "b"));
    w.expect(hop.addr, "ACK", 0);
    w.expect(n1(), "INVITE", 486);
    w.send(n1(), &m.ack_failure(&answer));
    Ok(hop.addr)
}

#[test]
fn no_second_holds_more_calls_to_a_carrier_than_its_contract_and_the_next_one_gets_the_rest() {
    let mut config = config();
    config.trunks[2].cps_out = 2.0;
    config.trunks[3].cps_out = 1.0;
    config.trunks[2].emergency = Some(vec!["112".into()]);
    let mut w = World::with(config);
    let call = |w: &mut World, call: &str| asked(w, call, "+4922155558401");
    let got: Vec<_> = (0..4).map(|i| call(&mut w, &format!("a{i}"))).collect();
    assert_eq!(got, [Ok(c1()), Ok(c1()), Ok(c2()), Err(503)]);
    let refused = w.event("refused");
    let told = refused.decision.clone().unwrap();
    assert_eq!((told.reason.as_deref(), told.limit_rule.as_deref()), (Some("limit"), Some("trunk/c1/cps_out")));
    assert_eq!(asked(&mut w, "help", "112"), Ok(c1()), "who calls for help is not counted out");
    let seen = w.proxy.snapshot(0);
    assert_eq!(seen.counters.limited_out, 3, "c1 by two calls, c2 by one of them");
    w.pass(Duration::from_millis(1_001));
    assert_eq!(call(&mut w, "b"), Ok(c1()));
    w.pass(Duration::from_millis(1_001));
    assert_eq!(["d1", "d2", "d3"].map(|id| call(&mut w, id)), [Ok(c1()), Ok(c1()), Ok(c2())]);
    w.pass(Duration::from_millis(500));
    assert_eq!(call(&mut w, "e"), Err(503));
}

#[test]
fn a_failover_asks_no_carrier_that_is_at_its_limit() {
    let mut config = config();
    config.trunks[3].cps_out = 0.5;
    let mut w = World::with(config);
    for (call, next) in [("a", true), ("b", false), ("c", true)] {
        w.send(n1(), &invite(n1(), edge_node(), call, "+4922155558401", 1));
        w.expect(n1(), "INVITE", 100);
        let offered = w.expect(c1(), "INVITE", 0);
        w.send(c1(), &offered.reply(503, "Service Unavailable", "b"));
        w.expect(c1(), "ACK", 0);
        if next {
            let offered = w.expect(c2(), "INVITE", 0);
            w.send(c2(), &offered.reply(486, "Busy Here", "b"));
            w.expect(c2(), "ACK", 0);
            w.expect(n1(), "INVITE", 486);
        } else {
            // RFC 3261 §16.7: whoever asked us did not overload us.
            w.expect(n1(), "INVITE", 500);
            w.pass(Duration::from_millis(2_001));
            w.wire.clear();
        }
    }
}

#[test]
fn a_restart_remembers_what_went_to_a_carrier_a_moment_ago() {
    let mut config = config();
    config.trunks[2].cps_out = 2.0;
    let mut w = World::journaled(config, 1 << 20);
    for call in ["a", "b"] {
        w.send(n1(), &invite(n1(), edge_node(), call, "+4922155558401", 1));
        w.expect(n1(), "INVITE", 100);
        w.expect(c1(), "INVITE", 0);
    }
    w.restart(Duration::from_millis(200));
    w.wire.clear();
    assert_eq!(asked(&mut w, "c", "+4922155558401"), Ok(c2()));
    w.pass(Duration::from_millis(801));
    w.wire.clear();
    assert_eq!(asked(&mut w, "d", "+4922155558401"), Ok(c1()));
}

#[test]
fn the_answer_to_a_challenge_is_no_second_call_to_the_carrier_that_asked() {
    let mut config = config();
    config.trunks[2].cps_out = 1.0;
    let mut w = World::with(config);
    let first = invite(n1(), edge_node(), "a", "+4922155558401", 1);
    w.send(n1(), &first);
    w.expect(n1(), "INVITE", 100);
    let offered = w.expect(c1(), "INVITE", 0);
    let challenge = offered.reply(407, "Proxy Authentication Required", "x");
    w.send(c1(), &challenge.with("Proxy-Authenticate", "Digest realm=\"c\", nonce=\"1\""));
    w.expect(c1(), "ACK", 0);
    let asked_again = w.expect(n1(), "INVITE", 407);
    w.send(n1(), &first.ack_failure(&asked_again));
    assert_eq!(asked(&mut w, "b", "+4922155558401"), Ok(c2()), "the first has its call of this second");
    let proof = "Digest username=\"u\", realm=\"c\", nonce=\"1\", response=\"0\"";
    let second = invite(n1(), edge_node(), "a", "+4922155558401", 2).with("Proxy-Authorization", proof);
    w.send(n1(), &second);
    w.expect(n1(), "INVITE", 100);
    let offered = w.expect(c1(), "INVITE", 0);
    w.send(c1(), &offered.reply(486, "Busy Here", "y"));
    w.pass(Duration::from_millis(1_001));
    w.wire.clear();
    assert_eq!(asked(&mut w, "c", "+4922155558401"), Ok(c1()), "and it was counted once");
}
