//! What must hold for every history of signals.

use std::time::Duration;

use domain::Now;
use proptest::prelude::*;

use super::fleet::{Action, Decision, Fleet};
use super::formula::Tuning;
use super::signal::{Beat, Report, Resources, Step, What};

const START: Now = Now { wall_us: 1_795_226_400_000_000, mono_us: 500_000_000 };
const S: u64 = 1_000_000;
const TICK_US: u64 = 250_000;

fn beat(sequence: i64, sessions: i32) -> Beat {
    Beat {
        core: "core-1".to_owned(),
        sequence,
        sessions: Some(sessions),
        max_sessions: Some(100),
        idle_cpu_percent: Some(100.0),
        uptime_ms: Some(3_600_000),
        interval_us: Some(1_000_000),
    }
}

fn report(node: &str, now: Now, what: What) -> Report {
    Report { node: node.to_owned(), observer: "engine-1".to_owned(), at_us: now.wall_us, what }
}

fn of<'a>(actions: &'a [Action], node: &str) -> Option<&'a Decision> {
    actions.iter().find_map(|a| match a {
        Action::Write(d) if &*d.node == node => Some(d.as_ref()),
        _ => None,
    })
}

/// A fleet with a clock, decided each tick as the service does.
struct World {
    fleet: Fleet,
    now: Now,
    sequence: i64,
}

impl World {
    fn new() -> World {
        World { fleet: Fleet::new(Tuning::default()), now: START, sequence: 0 }
    }

    fn tell(&mut self, node: &str, what: What) {
        self.fleet.handle(self.now, report(node, self.now, what));
    }

    fn beat(&mut self, node: &str, sessions: i32) {
        self.sequence += 1;
        self.tell(node, What::Beat(beat(self.sequence, sessions)));
    }

    fn tick(&mut self) -> Vec<Action> {
        self.now = self.now.plus_us(TICK_US);
        self.fleet.decide(self.now)
    }

    fn weight(&mut self, node: &str) -> f64 {
        of(&self.tick(), node).expect("the node is known").weighed.weight
    }

    /// Heartbeats each second.
    fn run(&mut self, node: &str, sessions: i32, seconds: u64) -> Decision {
        let mut last = None;
        for _ in 0..seconds {
            self.beat(node, sessions);
            for _ in 0..4 {
                last = of(&self.tick(), node).cloned();
            }
        }
        last.expect("the node is known")
    }
}

#[test]
fn the_first_weight_comes_at_once_and_follows_use() {
    let mut world = World::new();
    world.beat("a", 0);
    world.beat("b", 60);
    let actions = world.tick();
    let (a, b) = (of(&actions, "a").unwrap(), of(&actions, "b").unwrap());
    assert!(a.write && b.write);
    assert!((a.weighed.weight - 1.0).abs() < 1e-9);
    assert!((b.weighed.weight - 0.4).abs() < 1e-9, "{b:?}");
    assert_eq!(b.weighed.inputs.own_since_heartbeat, Some(0));
    assert_eq!(b.weighed.reason, "channels 60 % in use");
}

#[test]
fn a_node_without_a_heartbeat_is_never_written_about() {
    let mut world = World::new();
    world.tell("a", What::LinkUp);
    world.tell("a", What::Epoch("core-1".to_owned()));
    world.tell("a", What::LinkDown);
    for _ in 0..15_000 {
        assert_eq!(world.tick(), []);
    }
}

#[test]
fn a_broken_link_empties_the_node_within_three_and_a_half_seconds() {
    let mut world = World::new();
    world.run("a", 10, 20);
    world.beat("a", 10);
    world.tell("a", What::LinkDown);
    let broke = world.now;
    let dead = loop {
        let decision = of(&world.tick(), "a").cloned().unwrap();
        if decision.weighed.weight == 0.0 {
            break decision;
        }
        assert!(world.now.since(broke) < Duration::from_millis(3500), "{decision:?}");
    };
    assert!(world.now.since(broke) > Duration::from_secs(3), "a link that flaps costs nothing");
    assert!(dead.write);
    assert_eq!((dead.weighed.rule, dead.weighed.inputs.target_weight), ("dead", Some(0.0)));
}

#[test]
fn seldom_heartbeats_do_not_make_a_flapping_link_a_death() {
    let mut world = World::new();
    let slow = Beat { interval_us: Some(20_000_000), ..beat(1, 10) };
    world.tell("a", What::Beat(slow));
    for _ in 0..60 {
        assert!(world.weight("a") > 0.8);
    }
    world.tell("a", What::LinkDown);
    assert!(world.weight("a") > 0.8);
    world.tell("a", What::LinkUp);
    for _ in 0..16 {
        assert!(world.weight("a") > 0.8);
    }
    world.tell("a", What::LinkDown);
    for _ in 0..14 {
        world.tick();
    }
    assert_eq!(world.weight("a"), 0.0);
}

#[test]
fn one_engine_that_still_has_its_link_keeps_the_node_alive() {
    let mut world = World::new();
    world.run("a", 10, 3);
    let other = Report { observer: "engine-2".to_owned(), ..report("a", world.now, What::LinkUp) };
    world.fleet.handle(world.now, other);
    world.tell("a", What::LinkDown);
    for _ in 0..20 {
        assert!(world.weight("a") > 0.0);
    }
}

#[test]
fn silence_is_death_after_ten_seconds_and_a_probe_is_a_sign() {
    let mut world = World::new();
    world.run("a", 10, 3);
    world.run("b", 10, 1);
    world.run("c", 10, 1);
    let quiet = world.now;
    for _ in 0..48 {
        if world.now.since(quiet) > Duration::from_secs(4) {
            world.tell("b", What::Sign);
            world.tell("c", What::Sign);
        }
        world.tick();
    }
    let actions = world.tick();
    let a = &of(&actions, "a").unwrap().weighed;
    assert_eq!((a.weight, a.rule), (0.0, "dead"));
    assert!(a.reason.starts_with("no sign of life for 1"), "{}", a.reason);
    let b = &of(&actions, "b").unwrap().weighed;
    assert!(b.weight > 0.2 && b.inputs.freshness.unwrap() < 0.3, "{b:?}");
}

#[test]
fn when_most_nodes_fall_silent_together_nobody_is_emptied() {
    let mut world = World::new();
    world.run("a", 10, 1);
    world.run("b", 10, 1);
    world.run("c", 10, 1);
    for _ in 0..80 {
        world.tick();
    }
    let actions = world.tick();
    for node in ["a", "b", "c"] {
        let weighed = &of(&actions, node).unwrap().weighed;
        assert_eq!(weighed.rule, "panic");
        assert!(weighed.weight > 0.2);
    }
}

#[test]
fn a_pause_of_our_own_kills_nobody() {
    let mut world = World::new();
    world.run("a", 10, 5);
    world.now = world.now.plus_us(60 * S);
    assert!(world.weight("a") > 0.8);
}

#[test]
fn a_restarted_node_starts_at_a_tenth_and_is_whole_after_a_minute() {
    let mut world = World::new();
    world.run("a", 0, 5);
    let again = |n: i64| Beat { core: "core-2".to_owned(), uptime_ms: Some(n * 1000), ..beat(n, 0) };
    let mut weights = Vec::new();
    for n in 1..=62 {
        world.tell("a", What::Beat(again(n)));
        for _ in 0..4 {
            world.tick();
        }
        weights.push(of(&world.fleet.decide(world.now), "a").unwrap().weighed.weight);
    }
    assert!((0.1..0.13).contains(&weights[0]), "{weights:?}");
    assert!((0.5..0.6).contains(&weights[29]), "{weights:?}");
    assert!((weights[61] - 1.0).abs() < 1e-9, "{weights:?}");
    let late = Report { at_us: world.now.wall_us - 20_000_000, ..report("a", world.now, What::Beat(beat(99, 0))) };
    world.fleet.handle(world.now, late);
    assert!((world.weight("a") - 1.0).abs() < 1e-9, "a late word from the old epoch starts nothing again");
}

#[test]
fn a_node_that_we_meet_in_full_run_is_not_slowed_but_a_young_one_is() {
    let mut world = World::new();
    world.beat("old", 0);
    world.tell("young", What::Beat(Beat { uptime_ms: Some(30_000), ..beat(1, 0) }));
    let actions = world.tick();
    assert!((of(&actions, "old").unwrap().weighed.weight - 1.0).abs() < 1e-9);
    let young = &of(&actions, "young").unwrap().weighed;
    assert!((0.5..0.6).contains(&young.weight), "{young:?}");
    assert_eq!(young.rule, "ramp");
}

#[test]
fn calls_since_the_heartbeat_weigh_and_a_full_node_gets_none() {
    let mut world = World::new();
    world.run("a", 90, 30);
    world.beat("a", 90);
    world.now = world.now.plus_us(1000);
    for leg in 0..10 {
        let step = Step::Started { leg, node: "a".to_owned(), at_us: world.now.wall_us };
        world.fleet.call(world.now, step.clone());
        world.fleet.call(world.now, step);
    }
    let full = of(&world.tick(), "a").cloned().unwrap();
    assert_eq!((full.weighed.weight, full.weighed.inputs.own_since_heartbeat), (0.0, Some(10)));
    world.fleet.call(world.now, Step::Ended { leg: 3, at_us: world.now.wall_us });
    let after = of(&world.tick(), "a").cloned().unwrap();
    assert_eq!(after.weighed.inputs.own_since_heartbeat, Some(9));
    assert!(after.weighed.weight > 0.0 && after.write, "{after:?}");
}

#[test]
fn a_copy_of_a_heartbeat_is_no_sign_of_life() {
    let mut world = World::new();
    let (first, at) = (beat(7, 10), world.now.wall_us);
    for _ in 0..60 {
        let copy = Report { at_us: at, ..report("a", world.now, What::Beat(first.clone())) };
        world.fleet.handle(world.now, copy);
        world.tick();
    }
    assert_eq!(world.weight("a"), 0.0);
}

#[test]
fn yesterdays_events_change_nothing_and_are_counted() {
    let mut world = World::new();
    let old = Report { at_us: world.now.wall_us - 31_000_000, ..report("a", world.now, What::Beat(beat(1, 10))) };
    world.fleet.handle(world.now, old);
    assert_eq!(world.tick(), []);
    assert_eq!(world.fleet.counts().2, 1);
}

#[test]
fn writes_come_with_a_change_or_each_five_seconds_and_end_with_a_tombstone() {
    let mut world = World::new();
    let (mut writes, mut forgotten) = (0, 0);
    for second in 0..4200 {
        if second < 20 {
            world.beat("a", 10);
        }
        for _ in 0..4 {
            for action in world.tick() {
                match action {
                    Action::Write(d) if second < 20 => writes += u32::from(d.write),
                    Action::Forget(node) => forgotten += u32::from(&*node == "a"),
                    Action::Write(_) => assert!(second < 3700, "an hour is enough"),
                }
            }
        }
    }
    assert_eq!((writes, forgotten), (4, 1));
}

#[test]
fn the_agents_figures_replace_the_nodes_own_while_they_are_fresh() {
    let mut world = World::new();
    world.beat("a", 0);
    let full = Resources { cpu: Some(0.4), memory: Some(f64::NAN), rtp: Some(0.1), fds: None };
    world.tell("a", What::Resources(full));
    let inputs = of(&world.tick(), "a").unwrap().weighed.inputs.clone();
    assert_eq!((inputs.u_cpu, inputs.u_memory, inputs.u_rtp), (Some(0.4), None, Some(0.1)));
    assert_eq!(inputs.pressure, Some(0.5));
    for _ in 0..20 {
        world.run("a", 0, 1);
    }
    assert_eq!(of(&world.tick(), "a").unwrap().weighed.inputs.u_cpu, Some(0.0));
}

fn any_number() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY), -10.0..200.0_f64]
}

fn any_beat() -> impl Strategy<Value = Beat> {
    (
        prop_oneof!["core-1", "core-2"],
        any::<i64>(),
        any::<Option<i32>>(),
        any::<Option<i32>>(),
        proptest::option::of(any_number()),
        any::<Option<i64>>(),
        any::<Option<i64>>(),
    )
        .prop_map(|(core, sequence, sessions, max_sessions, idle_cpu_percent, uptime_ms, interval_us)| Beat {
            core,
            sequence,
            sessions,
            max_sessions,
            idle_cpu_percent,
            uptime_ms,
            interval_us,
        })
}

fn any_what() -> impl Strategy<Value = What> {
    let share = || proptest::option::of(any_number());
    prop_oneof![
        4 => any_beat().prop_map(What::Beat),
        1 => Just(What::LinkUp),
        1 => Just(What::LinkDown),
        1 => Just(What::Sign),
        1 => prop_oneof!["core-1", "core-2", "core-3"].prop_map(What::Epoch),
        1 => (share(), share(), share(), share())
            .prop_map(|(cpu, memory, rtp, fds)| What::Resources(Resources { cpu, memory, rtp, fds })),
    ]
}

/// Mostly near now, sometimes anywhere.
fn any_at() -> impl Strategy<Value = i64> {
    prop_oneof![4 => -40_000_000..40_000_000_i64, 1 => any::<i64>()]
}

proptest! {
    #[test]
    fn no_history_gives_a_weight_outside_of_zero_to_one(
        history in proptest::collection::vec((any_what(), any_at(), 0_u64..20_000_000, 0_u64..5, any::<bool>()), 1..60),
    ) {
        let mut world = World::new();
        for (what, offset_us, later_us, leg, started) in history {
            let at_us = world.now.wall_us.saturating_add(offset_us);
            world.fleet.handle(world.now, Report { at_us, ..report("a", world.now, what) });
            world.fleet.call(world.now, match started {
                true => Step::Started { leg, node: "a".to_owned(), at_us },
                false => Step::Ended { leg, at_us },
            });
            world.now = world.now.plus_us(later_us);
            for action in world.fleet.decide(world.now) {
                let Action::Write(decision) = action else { continue };
                let (w, inputs) = (decision.weighed.weight, decision.weighed.inputs);
                prop_assert!((0.0..=1.0).contains(&w), "{}", w);
                prop_assert!(inputs.own_since_heartbeat.unwrap() >= 0);
                let shares = [inputs.u_channels, inputs.u_cpu, inputs.u_rtp, inputs.u_memory, inputs.u_fds, inputs.pressure];
                for share in shares.into_iter().flatten().chain([inputs.target_weight.unwrap(), inputs.ramp.unwrap()]) {
                    prop_assert!((0.0..=1.0).contains(&share), "{}", share);
                }
                prop_assert!((0.2..=1.0).contains(&inputs.freshness.unwrap()));
            }
        }
    }

    #[test]
    fn more_use_never_gives_more_weight(
        (less, more) in (0_i32..150, 0_i32..150).prop_map(|(a, b)| (a.min(b), a.max(b))),
        (idle_less, idle_more) in (0.0..100.0_f64, 0.0..100.0_f64).prop_map(|(a, b)| (a.min(b), a.max(b))),
    ) {
        let weight = |sessions: i32, idle: f64| {
            let mut world = World::new();
            world.tell("a", What::Beat(Beat { idle_cpu_percent: Some(idle), ..beat(1, sessions) }));
            world.weight("a")
        };
        prop_assert!(weight(more, idle_less) <= weight(less, idle_more));
    }

    #[test]
    fn a_living_weight_moves_no_faster_than_allowed(loads in proptest::collection::vec(0_i32..99, 2..40)) {
        let mut world = World::new();
        let mut before = world.run("a", loads[0], 1).weighed.weight;
        for load in loads {
            world.beat("a", load);
            for _ in 0..4 {
                let weight = world.weight("a");
                prop_assert!(weight - before <= 0.1 / 20.0 + 1e-9, "{before} to {weight}");
                prop_assert!(before - weight <= 0.2 / 20.0 + 1e-9, "{before} to {weight}");
                before = weight;
            }
        }
    }

    #[test]
    fn whatever_came_before_a_broken_link_empties_in_time(history in proptest::collection::vec(any_what(), 0..20)) {
        let mut world = World::new();
        for what in history {
            world.tell("a", what);
            world.tick();
        }
        world.beat("a", 10);
        world.now = world.now.plus_us(1);
        world.tell("a", What::LinkDown);
        for _ in 0..14 {
            world.tick();
        }
        prop_assert_eq!(of(&world.fleet.decide(world.now), "a").unwrap().weighed.weight, 0.0);
    }
}
