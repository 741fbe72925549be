//! What comes back from the stream: blocks, lifts, weights; and limits of trunks.

use edge::core::control::Store;
use schemas::{BlockScope, ControlBlock, ControlWeight};

use super::text::invite;
use super::world::*;

fn block(author: &str, mode: &str, expires_us: i64) -> ControlBlock {
    ControlBlock {
        event_type: "block".into(),
        author: author.into(),
        block_id: "01890000-0000-7000-8000-000000000001".into(),
        mode: mode.into(),
        scope: BlockScope { trunk: Some("t1".into()), caller: Some("+4917012345".into()), ..BlockScope::default() },
        rule: Some("velocity".into()),
        made_us: 1,
        expires_us,
        ..ControlBlock::default()
    }
}

fn apply(w: &mut World, store: &Store) {
    let control = store.snapshot(w.now.wall_us, 100);
    w.control(control);
}

#[test]
fn a_block_refuses_its_caller_until_it_ends_or_is_lifted_and_never_an_emergency() {
    let mut w = World::new();
    let mut store = Store::default();
    let end = w.now.wall_us + 60_000_000;
    store.block("fraud/1", Some(block("fraud", "enforce", end)));
    store.applied("control.blocks", 0, 7);
    apply(&mut w, &store);
    w.send(t1(), &invite(t1(), edge_trunk(), "a", "+4930123456", 1));
    w.expect(t1(), "INVITE", 403);
    let told = w.event("refused").decision.as_ref().unwrap();
    assert_eq!(told.block_id.as_deref(), Some("fraud/1"));
    assert_eq!((told.reason.as_deref(), told.block_version.as_deref()), (Some("block"), Some("control.blocks/0@7")));
    w.send(t1(), &invite(t1(), edge_trunk(), "b", "112", 1));
    w.expect(t1(), "INVITE", 100);
    let foreign = addr("192.0.2.20:5060");
    w.send(foreign, &invite(foreign, edge_trunk(), "c", "+4930123456", 1));
    w.expect(foreign, "INVITE", 100);
    let mut lift = block("operator", "enforce", end);
    lift.event_type = "lift".into();
    lift.lifts_author = Some("fraud".into());
    store.block("operator/1", Some(lift));
    apply(&mut w, &store);
    w.send(t1(), &invite(t1(), edge_trunk(), "d", "+4930123456", 1));
    w.expect(t1(), "INVITE", 100);
    store.block("operator/1", None);
    apply(&mut w, &store);
    w.send(t1(), &invite(t1(), edge_trunk(), "e", "+4930123456", 1));
    w.expect(t1(), "INVITE", 403);
    w.pass_ms(61_000);
    w.wire.clear();
    w.send(t1(), &invite(t1(), edge_trunk(), "f", "+4930123456", 1));
    w.expect(t1(), "INVITE", 100);
}

#[test]
fn a_rule_in_shadow_is_named_and_refuses_nothing() {
    let mut w = World::new();
    let mut store = Store::default();
    store.block("fraud/1", Some(block("fraud", "shadow", i64::MAX)));
    apply(&mut w, &store);
    w.send(t1(), &invite(t1(), edge_trunk(), "a", "+4930123456", 1));
    w.expect(t1(), "INVITE", 100);
    assert_eq!(w.event("attempt").decision.as_ref().unwrap().shadow_blocks, ["fraud/1"]);
    assert_eq!(w.proxy.counters().shadow_hits, 1);
}

fn weight(node: &str, factor: f64, state: &str, made_us: i64) -> ControlWeight {
    ControlWeight {
        event_type: "weight".into(),
        node_id: node.into(),
        author: "capacity".into(),
        weight: factor,
        state: state.into(),
        made_us,
        ..ControlWeight::default()
    }
}

fn shares(w: &mut World, calls: usize, name: &str) -> (usize, usize) {
    let mut counts = (0, 0);
    for i in 0..calls {
        w.send(t1(), &invite(t1(), edge_trunk(), &format!("{name}{i}"), "+4930123456", 1));
        if w.chosen() == n1() {
            counts.0 += 1
        } else {
            counts.1 += 1
        }
        w.wire.clear();
    }
    counts
}

#[test]
fn weights_shift_calls_and_never_take_the_last_node_away() {
    let mut w = World::new();
    assert_eq!(shares(&mut w, 100, "a"), (50, 50));
    let mut store = Store::default();
    store.weight("n1/capacity", Some(weight("n1", 0.25, "active", w.now.wall_us)));
    apply(&mut w, &store);
    assert_eq!(shares(&mut w, 100, "b"), (20, 80));
    store.weight("n1/capacity", Some(weight("n1", 0.0, "active", w.now.wall_us)));
    apply(&mut w, &store);
    assert_eq!(shares(&mut w, 50, "c"), (0, 50));
    store.weight("n2/capacity", Some(weight("n2", 0.0, "active", w.now.wall_us)));
    apply(&mut w, &store);
    assert_eq!(shares(&mut w, 50, "d"), (25, 25), "soft evidence never removes the last");
    store.weight("n1/capacity", Some(weight("n1", 1.0, "draining", w.now.wall_us)));
    apply(&mut w, &store);
    assert_eq!(shares(&mut w, 10, "e").0, 0);
    w.pass_ms(61_000);
    w.wire.clear();
    let (one, two) = shares(&mut w, 10, "f");
    assert_eq!((one, two), (5, 5), "what capacity said has aged");
}

#[test]
fn a_trunk_is_held_to_its_calls_per_second() {
    let mut config = config();
    config.trunks[0].cps = 5.0;
    // The sender does not repeat itself.
    config.admission.invites_per_cps = 100.0;
    let mut w = World::with(config);
    let mut passed = 0;
    for i in 0..100 {
        w.send(t1(), &invite(t1(), edge_trunk(), &format!("a{i}"), "+4930123456", 1));
        let first = w.take(t1()).status();
        passed += usize::from(first == 100);
        assert!(first == 100 || first == 503);
        w.pass_ms(20);
        w.wire.clear();
    }
    assert!((14..=16).contains(&passed), "{passed} of 100 in two seconds");
    let told = w.event("refused").decision.as_ref().unwrap();
    assert_eq!((told.reason.as_deref(), told.limit_rule.as_deref()), (Some("limit"), Some("trunk/t1/cps")));
}

#[test]
fn no_route_is_404() {
    let mut config = config();
    config.routes[0].prefix = "+44".into();
    let mut w = World::with(config);
    w.send(n1(), &invite(n1(), edge_node(), "a", "+4922155558001", 1));
    w.expect(n1(), "INVITE", 404);
    assert_eq!(w.event("refused").decision.as_ref().unwrap().reason.as_deref(), Some("no_route"));
}
