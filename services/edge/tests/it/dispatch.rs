//! Nodes that die, hang, fail half of their calls, come and go; and what callers notice of it. Virtual time.

use edge::core::control::Store;
use edge::core::dispatch::{Algorithm, Chooser, View, key_of};
use edge::{NodeState, PoolConfig};
use schemas::ControlWeight;

use super::farm::*;
use super::text::{Msg, invite};
use super::world::*;

#[test]
fn a_choice_asks_for_no_memory() {
    let view = |at: u8| View { id: key_of(&[at]), weight: f64::from(at + 1), used: u32::from(at), ..View::default() };
    let views: Vec<View> = (0..64).map(view).collect();
    for algorithm in
        [Algorithm::RoundRobin, Algorithm::SmoothWeighted, Algorithm::LeastUsed, Algorithm::Hash, Algorithm::TwoChoices]
    {
        let mut chooser = Chooser::new(algorithm, 1);
        assert!(chooser.choose(&views, &[], 0).is_some());
        let before = super::memory::asked();
        for key in 0..1_000 {
            assert!(chooser.choose(&views, &[3, 7], key).is_some());
        }
        assert_eq!(super::memory::asked(), before, "{}", algorithm.as_str());
    }
}

/// Longer spans where the machine has time: `EDGE_LONG_FAULTS=1`.
pub fn seconds(in_ci: u64, long: u64) -> u64 {
    let is_long = std::env::var_os("EDGE_LONG_FAULTS").is_some();
    1_000 * if is_long { long } else { in_ci }
}

#[test]
fn e05_a_dead_node_costs_no_call_and_gets_none() {
    let mut farm = Farm::new(3);
    farm.run(2_000, 20);
    farm.mood(2, Mood::Refuses);
    farm.run(1_000, 20);
    farm.invites.clear();
    farm.run(10_000, 20);
    assert_eq!((farm.failed(), farm.share(2)), (0, 0.0));
    assert!(farm.slowest_ms() <= 100, "{} ms", farm.slowest_ms());
    farm.mood(2, Mood::Well);
    farm.run(5_000, 20);
    farm.forget();
    // It came back, and not with its full share at first.
    farm.run(2_000, 30);
    let first = farm.share(2);
    farm.run(12_000, 30);
    farm.invites.clear();
    farm.run(10_000, 30);
    assert!(first < 0.2 && (farm.share(2) - 1.0 / 3.0).abs() < 0.02, "{first}, then {}", farm.share(2));
    assert_eq!(farm.failed(), 0);
}

#[test]
fn e06_a_hung_node_gets_no_call_after_three_seconds_and_its_calls_go_elsewhere() {
    for phase in [0, 130, 370, 510, 770] {
        let mut farm = Farm::new(3);
        farm.run(2_000 + phase, 20);
        farm.mood(2, Mood::Hangs);
        farm.run(3_000, 20);
        farm.invites.clear();
        farm.run(10_000, 20);
        assert_eq!((farm.failed(), farm.share(2)), (0, 0.0), "phase {phase}");
        assert!(farm.slowest_ms() <= 2_000, "{} ms", farm.slowest_ms());
        let states: Vec<&str> = farm.changes.iter().map(|(_, _, state)| state.as_str()).collect();
        assert_eq!(states, ["suspect", "down"]);
    }
}

#[test]
fn e07_a_node_that_fails_its_calls_gets_few_of_them() {
    for mood in [Mood::Fails(60), Mood::Swallows] {
        let mut farm = Farm::new(3);
        farm.run(5_000, 20);
        farm.mood(2, mood);
        farm.run(5_000, 20);
        let seen = &farm.w.proxy.snapshot(0).nodes[1];
        assert!(seen.effective_weight < 0.9 || seen.evidence == "suspect", "after five seconds: {seen:?}");
        farm.run(10_000, 20);
        assert!(farm.w.proxy.counters().breakers_opened >= 1, "{mood:?}: after fifteen");
        farm.invites.clear();
        farm.run(60_000, 20);
        assert!(farm.share(2) < 0.07, "{mood:?}: {}", farm.share(2));
        assert_eq!(farm.failed(), 0, "each found another node");
        assert!(farm.changes.is_empty(), "it answers its probes: {:?}", farm.changes);
        farm.mood(2, Mood::Well);
        farm.run(330_000, 5);
        farm.invites.clear();
        farm.run(10_000, 20);
        assert!((farm.share(2) - 1.0 / 3.0).abs() < 0.02, "{mood:?}: well again with {}", farm.share(2));
    }
}

#[test]
fn e08_a_flapping_node_is_damped() {
    for silent in [Mood::Hangs, Mood::Refuses] {
        let mut farm = Farm::new(3);
        let span = seconds(60, 600);
        while farm.now_ms < span {
            farm.mood(2, silent);
            farm.run(2_000, 5);
            farm.mood(2, Mood::Well);
            farm.run(2_000, 5);
        }
        assert!(farm.changes.len() as u64 * 10_000 <= span, "{:?}", farm.changes);
        assert!(farm.retried() * 10 <= farm.calls.len(), "{} of {}", farm.retried(), farm.calls.len());
        farm.run(5_000, 0);
        assert_eq!(farm.failed(), 0);
    }
}

#[test]
fn e09_with_no_node_left_callers_hear_so_at_once_and_nothing_grows() {
    let mut farm = Farm::new(3);
    (1..=3).for_each(|n| farm.mood(n, Mood::Refuses));
    farm.run(1_500, 0);
    farm.w.events.clear();
    farm.run(seconds(40, 300), 100);
    assert!(farm.slowest_ms() <= 100, "{} ms", farm.slowest_ms());
    assert!(farm.calls.values().all(|c| c.status == 503 && c.attempts.is_empty()));
    assert!(farm.w.events.iter().all(|e| e.event_type == "refused"));
    assert_eq!(farm.w.events.len(), farm.calls.len(), "an event for each");
    let transactions = farm.w.proxy.snapshot(0).transactions;
    assert!(transactions < 100 * 34, "{transactions}: as many as come in 32 s");
    // Trunks that ask are told so too.
    let ask = |farm: &mut Farm| {
        let id = format!("o{}", farm.now_ms);
        let m = invite(t1(), edge_trunk(), &id, "edge", 1);
        let m = Msg { start: m.start.replace("INVITE", "OPTIONS"), ..m.set("CSeq", "1 OPTIONS") };
        farm.w.send(t1(), &m);
        farm.w.take(t1()).status()
    };
    assert_eq!(ask(&mut farm), 503);
    (1..=3).for_each(|n| farm.mood(n, Mood::Well));
    farm.run(4_000, 0);
    assert_eq!(ask(&mut farm), 200);
    farm.forget();
    farm.run(5_000, 20);
    assert_eq!(farm.failed(), 0);
}

#[test]
fn a_dead_carrier_behind_three_nodes_is_no_nodes_fault() {
    let mut farm = Farm::new(3);
    farm.run(2_000, 5);
    farm.forget();
    (1..=3).for_each(|n| farm.mood(n, Mood::FarSide));
    farm.run(seconds(300, 300), 5);
    assert!(farm.changes.is_empty(), "{:?}", farm.changes);
    assert!(farm.calls.values().all(|c| c.attempts.len() == 1 && c.status == 502));
    assert!((1..=3).all(|n| (farm.share(n) - 1.0 / 3.0).abs() < 0.01));
    assert_eq!(farm.w.proxy.counters().breakers_opened, 0);
    // Without a reason it is still all of them alike.
    (1..=3).for_each(|n| farm.mood(n, Mood::Fails(100)));
    farm.run(60_000, 5);
    assert!(farm.changes.is_empty() && farm.w.proxy.counters().breakers_opened == 0);
}

#[test]
fn five_percent_of_packets_lost_take_no_node_down() {
    let mut farm = Farm::new(3);
    farm.loss_percent = 5;
    farm.run(seconds(600, 600), 2);
    let downs: Vec<_> = farm.changes.iter().filter(|(_, _, state)| state == "down").collect();
    assert!(downs.is_empty(), "{downs:?}");
    assert!(farm.changes.len() <= 4, "{:?}", farm.changes);
    assert!((1..=3).all(|n| (farm.share(n) - 1.0 / 3.0).abs() < 0.06));
}

#[test]
fn a_full_node_is_spared_and_when_most_say_so_nobody_is_believed() {
    let mut farm = Farm::new(3);
    farm.mood(1, Mood::Full);
    farm.run(2_000, 0);
    farm.run(5_000, 30);
    assert_eq!((farm.share(1), farm.failed()), (0.0, 0));
    assert!(farm.changes.is_empty(), "full is not dead: {:?}", farm.changes);
    farm.mood(2, Mood::Full);
    farm.run(2_000, 0);
    farm.forget();
    farm.w.events.clear();
    farm.run(5_000, 30);
    assert!((1..=3).all(|n| (farm.share(n) - 1.0 / 3.0).abs() < 0.02), "{:?}", farm.invites);
    let decision = farm.w.event("attempt").decision.clone().unwrap();
    assert_eq!(decision.algorithm.as_deref(), Some("smooth_weighted (panic)"));
    farm.mood(3, Mood::Full);
    farm.run(2_000, 0);
    farm.forget();
    farm.run(2_000, 30);
    assert_eq!(farm.failed(), 0, "the last ones are asked all the same");
}

#[test]
fn backups_are_asked_when_no_first_choice_is_up() {
    let mut config = farm_config(3);
    config.nodes[2].priority = 1;
    let mut farm = Farm::with(config);
    farm.run(3_000, 20);
    assert_eq!(farm.share(3), 0.0);
    farm.mood(1, Mood::Refuses);
    farm.run(3_000, 20);
    assert_eq!(farm.share(3), 0.0);
    farm.mood(2, Mood::Hangs);
    farm.run(3_000, 20);
    farm.invites.clear();
    farm.run(3_000, 20);
    assert_eq!((farm.share(3), farm.failed()), (1.0, 0));
}

#[test]
fn a_node_with_as_many_calls_as_it_can_hold_is_full() {
    let mut config = farm_config(2);
    (config.nodes[0].capacity, config.nodes[1].capacity) = (2, 100);
    config.probe.enabled = false;
    let mut w = World::with(config);
    for i in 0..30 {
        w.send(t1(), &invite(t1(), edge_trunk(), &format!("c{i}"), "+4930123456", 1));
        w.wire.clear();
    }
    let nodes = w.proxy.snapshot(0).nodes;
    assert_eq!((nodes[0].calls_now, nodes[0].evidence), (2, "full"));
    assert_eq!((nodes[1].calls_now, nodes[1].used), (28, 28));
    let last = w.events.last().unwrap().decision.clone().unwrap();
    assert_eq!(last.algorithm.as_deref(), Some("smooth_weighted"));
    let told: Vec<_> = last.candidates.iter().map(|c| (c.id.as_str(), c.state.as_deref(), c.calls)).collect();
    assert_eq!(told, [("n2", Some("up"), Some(27)), ("n1", Some("full"), Some(2))]);
}

#[test]
fn a_pool_that_hashes_sends_equal_keys_to_one_node() {
    let mut config = farm_config(3);
    config.probe.enabled = false;
    let pool = |by: &str| PoolConfig {
        id: "inbound".into(),
        algorithm: Algorithm::Hash,
        hash_by: by.parse().unwrap(),
        ..PoolConfig::default()
    };
    config.pools = vec![pool("request_user")];
    let mut w = World::with(config.clone());
    let chosen = |w: &mut World, call: &str, callee: &str| {
        w.send(t1(), &invite(t1(), edge_trunk(), call, callee, 1));
        let node = w.chosen();
        w.wire.clear();
        node
    };
    let first = chosen(&mut w, "a", "+4930123456");
    assert!((0..20).all(|i| chosen(&mut w, &format!("b{i}"), "+4930123456") == first));
    let others: std::collections::BTreeSet<_> =
        (0..30).map(|i| chosen(&mut w, &format!("c{i}"), &format!("+49301{i}"))).collect();
    assert_eq!(others.len(), 3, "other keys are spread");
}

#[test]
fn failover_follows_the_pools_list_and_its_attempts_and_time() {
    let mut config = farm_config(3);
    config.probe.enabled = false;
    config.pools = vec![PoolConfig {
        id: "inbound".into(),
        failover_codes: Some(vec![404]),
        attempts: Some(2),
        ..PoolConfig::default()
    }];
    let mut w = World::with(config.clone());
    let offer = |w: &mut World, call: &str, status: u16| {
        w.send(t1(), &invite(t1(), edge_trunk(), call, "+4930123456", 1));
        let mut asked = 0;
        while let Some(at) = w.wire.iter().find(|(_, m)| m.is("INVITE", 0)).map(|(hop, _)| hop.addr) {
            asked += 1;
            let offered = w.take(at);
            w.send(at, &offered.reply(status, "No", "x"));
        }
        w.wire.clear();
        asked
    };
    assert_eq!((offer(&mut w, "a", 404), offer(&mut w, "b", 500)), (2, 1));
    config.pools[0] = PoolConfig { id: "inbound".into(), budget_ms: 1_000, ..PoolConfig::default() };
    let mut w = World::with(config);
    assert_eq!(offer(&mut w, "a", 500), 3);
    w.send(t1(), &invite(t1(), edge_trunk(), "b", "+4930123456", 1));
    let at = w.chosen();
    let offered = w.take(at);
    w.wire.clear();
    w.send(at, &offered.reply(180, "Ringing", "x"));
    w.pass_ms(1_200);
    w.wire.clear();
    w.send(at, &offered.reply(500, "No", "x"));
    assert!(w.wire.iter().all(|(_, m)| !m.is("INVITE", 0)), "its time is over");
    w.expect(t1(), "INVITE", 500);
}

#[test]
fn an_operators_word_beats_the_settings_and_a_programs_does_not() {
    let mut config = farm_config(2);
    config.probe.enabled = false;
    config.nodes[0].state = NodeState::Draining;
    let mut w = World::with(config);
    let state = |w: &World| w.proxy.snapshot(0).nodes[0].state;
    assert_eq!(state(&w), "draining");
    let record = |author: &str, state: &str, made_us: i64| ControlWeight {
        event_type: "weight".into(),
        node_id: "n1".into(),
        author: author.into(),
        weight: 1.0,
        state: state.into(),
        made_us,
        ..ControlWeight::default()
    };
    let mut store = Store::default();
    let (now, mut apply) = (w.now.wall_us, |w: &mut World, author: &str, state: &str| {
        store.weight(&format!("n1/{author}"), Some(record(author, state, w.now.wall_us)));
        w.control(store.snapshot(w.now.wall_us, 10));
    });
    apply(&mut w, "capacity", "active");
    assert_eq!(state(&w), "draining");
    apply(&mut w, "operator", "active");
    assert_eq!(state(&w), "up");
    apply(&mut w, "operator", "disabled");
    assert_eq!(state(&w), "disabled");
    let told: Vec<_> = w.health.iter().map(|h| (h.state_before.as_deref(), h.state.as_deref())).collect();
    assert_eq!(told, [(Some("draining"), Some("up")), (Some("up"), Some("disabled"))]);
    assert!(w.health.iter().all(|h| h.reason.is_some() && h.observed_us >= now));
    w.send(t1(), &invite(t1(), edge_trunk(), "a", "+4930123456", 1));
    assert_eq!(w.chosen(), n2());
}
