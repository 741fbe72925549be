//! Whole calls against the simulated switch: SIP on one side of it, our engine on the other.

use std::net::SocketAddr;
use std::time::Duration;

use sim::carrier::{CallPlan, Carrier, CarrierConfig, CarrierHandle, Key};
use sim::ledger::Ledger;
use sim::switch::{Switch, SwitchConfig, SwitchHandle};

use crate::harness::{Engine, PASSWORD, config, node};

struct World {
    switch: SwitchHandle,
    carrier: CarrierHandle,
    engine: Engine,
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

impl World {
    /// The carrier is edge to the switch and callee to its gateway, so that nothing stands between the two.
    async fn new() -> Self {
        let config_of_switch = SwitchConfig { esl_password: PASSWORD.into(), ..SwitchConfig::default() };
        let switch = Switch::start(config_of_switch).await.expect("a switch");
        let carrier =
            Carrier::start(CarrierConfig::new("carrier-a", loopback(), switch.sip_addr(), 1, Ledger::default()))
                .expect("a carrier");
        switch.set_gateway(carrier.addr()).await;
        let mut engine = Engine::start(config(vec![node("node-a", switch.esl_addr(), PASSWORD)])).await;
        engine.connected().await;
        Self { switch, carrier, engine }
    }

    async fn call(&self, id: &str, to: &str, keys: &[(u64, char)], hold: Duration) {
        let mut plan = CallPlan::new(id, "+12025550123", to, hold);
        plan.keys = keys.iter().map(|(ms, digit)| Key { after: Duration::from_millis(*ms), digit: *digit }).collect();
        self.carrier.place(plan).await.expect("the carrier lives");
    }

    async fn ended(&mut self, legs: usize) {
        self.engine
            .until("the channels to end", |e| {
                e.channels.iter().filter(|c| c.event_type == "CHANNEL_DESTROY").count() == legs
            })
            .await;
    }

    async fn stop(self) {
        self.engine.stop().await;
        self.carrier.stop();
        self.switch.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_presses_two_keys_and_talks_to_an_agent() {
    let mut world = World::new().await;
    world.call("agent-call@test", "+12025551001", &[(300, '1'), (500, '1')], Duration::from_secs(5)).await;
    world.ended(2).await;
    world.engine.until("the end to be told", |e| e.told().iter().any(|t| t.starts_with("completed"))).await;
    let engine = &world.engine;
    assert_eq!(
        engine.told(),
        [
            "menu_entered:welcome",
            "input:welcome",
            "menu_entered:sales",
            "input:sales",
            "menu_entered:agent",
            "transferred:agent",
            "completed:agent"
        ]
    );
    let calls: std::collections::BTreeSet<&str> = engine
        .channels
        .iter()
        .map(|c| c.call_root_id.as_str())
        .chain(engine.decisions.iter().map(|d| d.call_root_id.as_str()))
        .collect();
    assert_eq!(calls.len(), 1, "both legs and all decisions are one call");
    let a = &engine.decisions[0].channel_uuid;
    let names = engine.names_of(a);
    for name in [
        "CHANNEL_CREATE",
        "CHANNEL_PARK",
        "CHANNEL_ANSWER",
        "DTMF",
        "CHANNEL_BRIDGE",
        "CHANNEL_HANGUP_COMPLETE",
        "CHANNEL_DESTROY",
    ] {
        assert!(names.contains(&name), "{name} is missing in {names:?}");
    }
    let choice = engine.decisions[1].input.as_ref().expect("an input");
    assert_eq!(
        (choice.digits.as_deref(), choice.keys.len(), choice.keys[0].source.as_deref()),
        (Some("1"), 1, Some("info"))
    );
    assert!(choice.keys[0].t_us > 100_000 && engine.decisions[1].elapsed_us >= choice.keys[0].t_us);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_caller_is_asked_twice_and_sent_off() {
    let mut world = World::new().await;
    world.call("silent@test", "+12025551001", &[], Duration::from_secs(60)).await;
    world.ended(1).await;
    let engine = &mut world.engine;
    engine.until("the end to be told", |e| e.told().len() >= 5).await;
    let told =
        ["menu_entered:welcome", "no_input:welcome", "no_input:welcome", "menu_entered:goodbye", "completed:goodbye"];
    assert_eq!(engine.told(), told);
    let end = engine.channels.iter().find(|c| c.event_type == "CHANNEL_HANGUP_COMPLETE").expect("an end");
    assert_eq!(end.hangup.as_ref().and_then(|h| h.cause.as_deref()), Some("NORMAL_CLEARING"));
    assert!(end.controlled && end.media.as_ref().is_some_and(|m| m.inbound.is_some()));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_key_is_told_and_the_caller_may_leave_in_the_middle() {
    let mut world = World::new().await;
    world.call("leaves@test", "+12025551001", &[(300, '9')], Duration::from_millis(1200)).await;
    world.ended(1).await;
    world.engine.until("the leaving to be told", |e| e.told().iter().any(|t| t.starts_with("hangup"))).await;
    let invalid = world.engine.decisions.iter().find(|d| d.event_type == "invalid").expect("told");
    assert_eq!(
        (invalid.outcome.as_str(), invalid.input.as_ref().and_then(|i| i.digits.as_deref())),
        ("invalid", Some("9"))
    );
    assert_eq!(world.engine.decisions.last().map(|d| d.outcome.as_str()), Some("hangup_in_prompt"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_without_the_mark_are_published_and_never_touched() {
    let mut world = World::new().await;
    world.call("echo@test", "+12025553001", &[(200, '5')], Duration::from_secs(1)).await;
    world.call("bridged@test", "+12025554001", &[], Duration::from_secs(3)).await;
    world.ended(3).await;
    let engine = &world.engine;
    assert!(engine.decisions.is_empty() && engine.channels.iter().all(|c| !c.controlled));
    assert_eq!(engine.running.nodes[0].state().tally.commands, 0);
    let of = |sip: &str| -> Vec<&str> {
        let leg = engine
            .channels
            .iter()
            .find(|c| c.sip.as_ref().and_then(|s| s.call_id.as_deref()) == Some(sip))
            .expect("the leg");
        engine.channels.iter().filter(|c| c.call_root_id == leg.call_root_id).map(|c| c.leg_id.as_str()).collect()
    };
    let bridged: std::collections::BTreeSet<&str> = of("bridged@test").into_iter().collect();
    assert_eq!((bridged.len(), of("echo@test").iter().collect::<std::collections::BTreeSet<_>>().len()), (2, 1));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_callers_at_once_all_come_to_an_end() {
    let mut world = World::new().await;
    for n in 0..50 {
        let keys: &[(u64, char)] = match n % 5 {
            0 => &[(300, '2')],
            1 => &[(300, '1'), (400, '2')],
            2 => &[(300, '1'), (400, '0'), (400, '2')],
            3 => &[(200, '9'), (900, '8')],
            _ => &[],
        };
        world.call(&format!("many-{n}@test"), "+12025551001", keys, Duration::from_secs(60)).await;
    }
    world.ended(50).await;
    world
        .engine
        .until("every end to be told", |e| e.told().iter().filter(|t| t.starts_with("completed")).count() == 50)
        .await;
    let state = world.engine.running.nodes[0].state();
    assert_eq!(
        (state.channels, state.callers, state.tally.commands_refused, state.tally.events_unattributed),
        (0, 0, 0, 0)
    );
    world.stop().await;
}
