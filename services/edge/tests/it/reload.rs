//! Other settings while calls are up: nobody notices who stays, and who leaves finishes what it has.

use domain::CallId;
use domain::identity::{HEADER, Keyring};
use edge::core::dispatch::Algorithm;
use edge::{NodeState, PoolConfig, TrunkConfig};

use super::farm::*;
use super::text::invite;
use super::world::*;

#[test]
fn a_rolling_reload_at_100_calls_a_second_fails_none() {
    let mut farm = Farm::new(3);
    farm.run(1_000, 100);
    for round in 0..10u32 {
        farm.w.settings(|c| {
            c.nodes[0].weight = f64::from(1 + round % 3);
            match round % 5 {
                0 => c.nodes.push(node(4)),
                1 => c.nodes[1].state = NodeState::Draining,
                2 => c.nodes.retain(|n| n.id != "n3"),
                3 => {
                    c.nodes.insert(0, node(3));
                    c.nodes.iter_mut().for_each(|n| n.state = NodeState::Active);
                }
                _ => c.nodes.retain(|n| n.id != "n4"),
            }
            let algorithm =
                [Algorithm::SmoothWeighted, Algorithm::TwoChoices, Algorithm::LeastUsed][round as usize % 3];
            c.pools = vec![PoolConfig { id: "inbound".into(), algorithm, ..PoolConfig::default() }];
        });
        farm.run(1_000, 100);
    }
    farm.run(1_000, 0);
    assert_eq!((farm.failed(), farm.retried()), (0, 0));
    assert_eq!(farm.w.proxy.counters().reloads, 10);
    farm.w.drained();
}

#[test]
fn calls_of_a_node_that_leaves_go_on_and_new_ones_go_elsewhere() {
    let mut w = World::journaled(config(), 256 * 1024);
    let (mut caller, mut callee, gone) = w.answered("a");
    let (mut second, _, other) = w.answered("b");
    assert_ne!(gone, other);
    w.settings(|c| c.nodes.retain(|n| n.address != gone));
    for call in ["c", "d"] {
        w.send(t1(), &invite(t1(), edge_trunk(), call, "+4930123456", 1));
        assert_eq!(w.chosen(), other);
        w.wire.clear();
    }
    // It may not begin anything, but its dialog is its own.
    w.send(gone, &invite(gone, edge_node(), "e", "+4922155558401", 1));
    w.quiet();
    w.send(gone, &callee.request("UPDATE"));
    let update = w.expect(t1(), "UPDATE", 0);
    w.send(t1(), &update.reply(200, "OK", ""));
    w.expect(gone, "UPDATE", 200);
    w.send(t1(), &caller.request("BYE"));
    let bye = w.expect(gone, "BYE", 0);
    w.send(gone, &bye.reply(200, "OK", ""));
    w.expect(t1(), "BYE", 200);
    let shown = w.proxy.snapshot(0).nodes;
    assert_eq!(shown.len(), 1, "out of sight when its last call has ended");
    let told = w.health.last().unwrap();
    assert_eq!(
        (told.state.as_deref(), told.reason.as_deref()),
        (Some("disabled"), Some("it is no longer in the settings"))
    );
    // Back again, under its old name: with its counters.
    w.settings(|c| *c = config());
    let back = w.proxy.snapshot(0).nodes.into_iter().find(|n| n.address == Some(gone)).unwrap();
    assert_eq!((back.attempts, back.calls_total), (1, 1));
    w.send(t1(), &second.request("BYE"));
    let bye = w.expect(other, "BYE", 0);
    w.send(other, &bye.reply(200, "OK", ""));
    w.expect(t1(), "BYE", 200);
    w.wire.clear();
    w.drained();
}

#[test]
fn a_node_that_leaves_dials_the_next_leg_of_a_call_that_it_has_and_of_no_other() {
    let mut w = World::with(config());
    let now = w.now.wall_us;
    let (unknown, old) = (CallId::new(now, [9; 10]), CallId::new(now - 5 * 3_600_000_000, [8; 10]));
    let first = invite(t1(), edge_trunk(), "a", "+4930123456", 1);
    w.send(t1(), &first);
    w.expect(t1(), "INVITE", 100);
    let gone = w.chosen();
    let offered = w.take(gone);
    w.settings(|c| c.nodes.retain(|n| n.address != gone));
    let own = offered.header(HEADER).to_owned();
    let leg = "0011223344556677".parse().unwrap();
    let other_keys = Keyring::new(vec![("k1".into(), b"the key of somebody else, 32 bytes".to_vec())]).unwrap();
    for (name, header) in
        [("b", other_keys.sign(&unknown, &leg)), ("c", keys().sign(&old, &leg)), ("d", "x".to_owned())]
    {
        w.send(gone, &invite(gone, edge_node(), name, "+4922155558001", 1).with(HEADER, &header));
        w.quiet();
    }
    // The call is still being set up: what the node dials for it goes to a carrier, as part of the same call.
    let further = invite(gone, edge_node(), "e", "+4922155558001", 1).with(HEADER, &own);
    w.send(gone, &further);
    w.expect(gone, "INVITE", 100);
    let out = w.expect(c1(), "INVITE", 0);
    let claim = keys().verify(&own).unwrap();
    let attempt = w.events.iter().rfind(|e| e.event_type == "attempt").unwrap();
    assert_eq!(attempt.call_root_id, claim.call.to_string());
    w.send(c1(), &out.reply(486, "Busy Here", "c"));
    w.expect(c1(), "ACK", 0);
    let busy = w.expect(gone, "INVITE", 486);
    w.send(gone, &further.ack_failure(&busy));
    w.send(gone, &offered.reply(486, "Busy Here", "n"));
    w.expect(gone, "ACK", 0);
    let busy = w.expect(t1(), "INVITE", 486);
    w.send(t1(), &first.ack_failure(&busy));
    // Its last call has ended: now it is a stranger, whatever it shows.
    w.wire.clear();
    w.send(gone, &invite(gone, edge_node(), "f", "+4922155558001", 1).with(HEADER, &own));
    w.quiet();
}

#[test]
fn an_address_that_a_peer_no_longer_has_ends_its_calls_and_begins_none() {
    let mut w = World::new();
    let (mut caller, mut callee, old) = w.answered("a");
    let (elsewhere, other_trunk) = (addr("10.0.0.77:5080"), addr("192.0.2.99:5060"));
    w.settings(|c| {
        c.nodes.iter_mut().filter(|n| n.address == old).for_each(|n| n.address = elsewhere.into());
        c.trunks[0].sources = vec![other_trunk.ip().to_string().parse().unwrap()];
        c.trunks[0].address = Some(other_trunk.into());
    });
    w.send(t1(), &invite(t1(), edge_trunk(), "b", "+4930123456", 1));
    w.send(old, &invite(old, edge_node(), "c", "+4922155558401", 1));
    w.quiet();
    w.send(other_trunk, &invite(other_trunk, edge_trunk(), "d", "+4930123456", 1));
    w.expect(other_trunk, "INVITE", 100);
    w.wire.clear();
    w.send(old, &callee.request("UPDATE"));
    let update = w.expect(t1(), "UPDATE", 0);
    w.send(t1(), &update.reply(200, "OK", ""));
    w.expect(old, "UPDATE", 200);
    w.send(t1(), &caller.request("BYE"));
    let bye = w.expect(old, "BYE", 0);
    w.send(old, &bye.reply(200, "OK", ""));
    w.expect(t1(), "BYE", 200);
}

#[test]
fn an_invite_in_set_up_follows_its_peers_through_a_reload_that_turns_the_lists_around() {
    let mut w = World::new();
    w.send(t1(), &invite(t1(), edge_trunk(), "a", "+4930123456", 1));
    w.take(t1());
    let first = w.chosen();
    let offered = w.take(first);
    w.settings(|c| {
        c.nodes.reverse();
        c.trunks.reverse();
        c.trunks.insert(
            0,
            TrunkConfig { id: "new".into(), address: Some(addr("192.0.2.99:5060").into()), ..TrunkConfig::default() },
        );
    });
    w.send(first, &offered.reply(503, "Service Unavailable", "x"));
    w.expect(first, "ACK", 0);
    let second = if first == n1() { n2() } else { n1() };
    let offered = w.expect(second, "INVITE", 0);
    w.send(second, &offered.reply(486, "Busy Here", "y"));
    w.expect(second, "ACK", 0);
    w.expect(t1(), "INVITE", 486);
    let told = w.event("final");
    assert_eq!(told.parties.as_ref().unwrap().trunk_id.as_deref(), Some("t1"));
    // The carriers of routes, too.
    w.send(n1(), &invite(n1(), edge_node(), "b", "+4922155558401", 1));
    w.take(n1());
    w.expect(c1(), "INVITE", 0);
    w.drained();
}

#[test]
fn a_trunk_that_leaves_gets_no_answer_any_more_and_its_successor_does() {
    let mut w = World::new();
    w.settings(|c| c.trunks.retain(|t| t.id != "t1"));
    w.send(t1(), &invite(t1(), edge_trunk(), "a", "+4930123456", 1));
    w.quiet();
    assert!(w.events.is_empty());
    assert!(w.proxy.snapshot(0).trunks.iter().all(|t| t.id != "t1"));
    w.settings(|c| {
        let heir = TrunkConfig { id: "heir".into(), ..c.trunks[0].clone() };
        c.trunks.push(TrunkConfig { sources: vec![t1().ip().to_string().parse().unwrap()], ..heir });
    });
    w.send(t1(), &invite(t1(), edge_trunk(), "b", "+4930123456", 1));
    w.expect(t1(), "INVITE", 100);
    assert_eq!(w.event("attempt").parties.as_ref().unwrap().trunk_id.as_deref(), Some("heir"));
}

#[test]
fn a_node_that_is_added_grows_to_its_share_and_one_that_moved_is_found_there() {
    let mut farm = Farm::new(2);
    farm.run(5_000, 20);
    farm.w.settings(|c| c.nodes.push(node(3)));
    farm.invites.clear();
    farm.run(2_000, 30);
    let early = farm.share(3);
    farm.run(10_000, 30);
    farm.invites.clear();
    farm.run(10_000, 30);
    assert!(early > 0.0 && early < 0.15 && (farm.share(3) - 1.0 / 3.0).abs() < 0.02, "{early}");
    assert!(farm.changes.contains(&(farm.changes[0].0, "n3".into(), "up".into())));
    farm.w.settings(|c| c.nodes[2].address = node_at(7).into());
    farm.run(12_000, 30);
    farm.invites.clear();
    farm.run(5_000, 30);
    assert!(farm.share(3) == 0.0 && farm.share(7) > 0.3);
    assert_eq!(farm.failed(), 0);
}
