//! What happens when a node goes away: killed, hung, restarted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sim::carrier::{CallPlan, Carrier, CarrierConfig, Key};
use sim::ledger::Ledger;
use sim::switch::{Switch, SwitchConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::harness::{Engine, PASSWORD, config, node};

async fn switch() -> sim::switch::SwitchHandle {
    let config = SwitchConfig {
        esl_password: PASSWORD.into(),
        heartbeat: Duration::from_millis(500),
        ..SwitchConfig::default()
    };
    Switch::start(config).await.expect("a switch")
}

fn kinds(engine: &Engine) -> Vec<&str> {
    engine.health.iter().map(|h| h.event_type.as_str()).filter(|t| *t != "heartbeat").collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_is_down_at_once_and_its_restart_is_a_new_epoch() {
    let switch = switch().await;
    let mut engine = Engine::start(config(vec![node("node-a", switch.esl_addr(), PASSWORD)])).await;
    engine.until("a heartbeat", |e| e.health.iter().any(|h| h.event_type == "heartbeat")).await;
    let first = engine.health.iter().find_map(|h| h.core_uuid.clone()).expect("an epoch");
    switch.kill().await;
    engine.within(Duration::from_secs(5), "the loss", |e| e.health.iter().any(|h| h.event_type == "link_down")).await;
    switch.restart().await.expect("the ports are free");
    engine.until("the new epoch", |e| e.health.iter().filter(|h| h.event_type == "epoch").count() == 2).await;
    assert_eq!(kinds(&engine), ["link_up", "epoch", "link_down", "link_up", "epoch"]);
    let epoch = engine.health.iter().rev().find_map(|h| h.epoch.clone()).expect("an epoch");
    assert_eq!(epoch.core_uuid_before.as_deref(), Some(first.as_str()));
    assert_ne!(epoch.core_uuid, first);
    assert_eq!(engine.running.nodes[0].state().connections, 2);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hangs_is_given_up_after_three_seconds_and_taken_back_when_it_wakes() {
    let switch = switch().await;
    let mut engine = Engine::start(config(vec![node("node-a", switch.esl_addr(), PASSWORD)])).await;
    engine.until("two heartbeats", |e| e.health.iter().filter(|h| h.event_type == "heartbeat").count() >= 2).await;
    let hung = std::time::Instant::now();
    switch.hang().await;
    engine.until("the loss", |e| e.health.iter().any(|h| h.event_type == "link_down")).await;
    let took = hung.elapsed();
    assert!((Duration::from_millis(1500)..Duration::from_secs(6)).contains(&took), "{took:?}");
    eprintln!("engine: a hung node was noticed after {took:?}");
    switch.resume().await;
    engine.until("the link again", |e| e.running.all_up()).await;
    engine.stop().await;
    switch.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_away_at_start_is_no_reason_not_to_start() {
    let switch = switch().await;
    let absent = "127.0.0.1:1";
    let nodes = vec![node("absent", absent, PASSWORD), node("node-a", switch.esl_addr(), PASSWORD)];
    let mut engine = Engine::start(config(nodes)).await;
    engine.until("the present one", |e| e.running.nodes[1].state().up).await;
    engine.until("the absent one to be named", |e| e.running.nodes[0].state().last_error.is_some()).await;
    assert!(engine.running.nodes[0].state().last_error.expect("an error").contains(absent));
    engine.stop().await;
    switch.kill().await;
}

/// Stands between engine and node and cuts every connection when told.
struct Wire {
    address: SocketAddr,
    cut: watch::Sender<u64>,
    accepted: Arc<AtomicU64>,
}

impl Wire {
    async fn to(node: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (cut, cuts) = watch::channel(0);
        let wire = Self { address: listener.local_addr().expect("bound"), cut, accepted: Arc::default() };
        let accepted = Arc::clone(&wire.accepted);
        #[expect(
            clippy::disallowed_methods,
            reason = "a piece of network outside of the platform; ends with the test's runtime"
        )]
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::SeqCst);
                let mut cuts = cuts.clone();
                cuts.mark_unchanged();
                if let Ok(mut far) = TcpStream::connect(node).await {
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = cuts.changed() => {}
                    }
                }
            }
        });
        wire
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_breaks_in_the_middle_of_a_menu_costs_the_caller_a_repeated_question_and_no_more() {
    let switch = switch().await;
    let wire = Wire::to(switch.esl_addr()).await;
    let mut engine = Engine::start(config(vec![node("node-a", wire.address, PASSWORD)])).await;
    engine.connected().await;
    let here = SocketAddr::from(([127, 0, 0, 1], 0));
    let carrier = Carrier::start(CarrierConfig::new("carrier-a", here, switch.sip_addr(), 1, Ledger::default()))
        .expect("a carrier");
    let mut plan = CallPlan::new("cut@test", "+12025550123", "+12025551001", Duration::from_secs(30));
    // Pressed long after the link has broken and come back.
    plan.keys = vec![Key { after: Duration::from_millis(1500), digit: '2' }];
    carrier.place(plan).await.expect("the carrier lives");
    engine.until("the question", |e| e.told() == ["menu_entered:welcome"]).await;
    wire.cut.send_modify(|n| *n += 1);
    engine.within(Duration::from_secs(5), "the link again", |e| e.running.nodes[0].state().connections == 2).await;
    engine.until("the end", |e| e.told().iter().any(|t| t.starts_with("completed"))).await;
    engine.until("the channel to leave", |e| e.running.nodes[0].state().channels == 0).await;
    assert_eq!(wire.accepted.load(Ordering::SeqCst), 2);
    assert_eq!(engine.running.nodes[0].state().callers, 0);
    engine.stop().await;
    carrier.stop();
    switch.kill().await;
}
