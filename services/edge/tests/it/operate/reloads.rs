//! Reading the settings again while calls run, and stopping without losing one.

use std::time::{Duration, Instant};

use edge::TrunkConfig;
use serde_json::json;
use sim::carrier::CallPlan;

use super::{Life, Site, node};

const RATE: u32 = 100;

/// Places calls at the rate for that long; gives how many.
async fn calls_for(site: &Site, name: &str, time: Duration) -> u32 {
    let (begun, mut placed) = (Instant::now(), 0);
    while begun.elapsed() < time {
        // By the clock, so that a slow turn is made up for.
        let due = (begun.elapsed().as_secs_f64() * f64::from(RATE)) as u32 + 1;
        while placed < due {
            // One in four goes on to the far carrier and passes the edge twice.
            let to = if placed % 4 == 0 { "+4930124001" } else { "+4930123001" };
            let hold = Duration::from_millis(u64::from(500 + placed % 7 * 200));
            site.ends.caller.place(CallPlan::new(format!("{name}-{placed}"), "+4917012345", to, hold)).await.unwrap();
            placed += 1;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    placed
}

fn failures(site: &Site, name: &str) -> Vec<String> {
    let books = site.ends.ledger.snapshot();
    let own = books.calls.iter().filter(|c| c.call_id.starts_with(name));
    own.filter(|c| c.final_code != Some(200))
        .map(|c| format!("{} to {}: {:?}", c.call_id, c.to, c.final_code))
        .collect()
}

async fn reload(life: &Life) -> serde_json::Value {
    life.change("POST", "/v1/reload", json!({"actor": "test"})).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_are_read_again_at_100_calls_a_second_and_no_call_fails() {
    let site = Site::new(3).await;
    let life = site.start().await;
    life.nodes_up().await;
    let changing = async {
        for round in 0..16_u32 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let mut config = site.config(3);
            // Nodes go and come back, in another order and with another weight; trunks come and go before those that carry calls.
            config.nodes.remove((round % 3) as usize);
            config.nodes.rotate_left((round % 2) as usize);
            config.nodes[0].weight = 1.0 + f64::from(round % 4);
            for extra in 0..round % 3 {
                let source = format!("192.0.2.{}", extra + 1).parse().unwrap();
                config.trunks.insert(
                    0,
                    TrunkConfig { id: format!("extra-{extra}"), sources: vec![source], ..TrunkConfig::default() },
                );
            }
            site.write(config);
            let answer = reload(&life).await;
            assert_eq!(answer["needs_restart"], json!([]), "{answer}");
            assert_ne!(answer["changed"], json!([]), "{answer}");
        }
    };
    let (placed, ()) = tokio::join!(calls_for(&site, "reload", Duration::from_secs(9)), changing);
    site.ends.settled().await;
    let failed = failures(&site, "reload");
    println!("{placed} calls through 16 reloads, {} failed", failed.len());
    assert!(failed.is_empty(), "{failed:#?}");
    life.until("no dialog left", || life.edge.snapshot().dialogs == 0).await;
    let s = life.edge.snapshot();
    assert!(s.counters.invites >= u64::from(placed), "the counters run on");
    life.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_file_changes_nothing_and_says_why_and_what_takes_a_restart_is_named() {
    let site = Site::new(1).await;
    let life = site.start().await;
    life.nodes_up().await;
    let before = life.edge.snapshot().config_digest;
    site.spoil("line 7 is not TOML");
    let (status, why) = life.refused("POST", "/v1/reload", json!({})).await;
    assert!(status == 422 && why.contains("line 7"), "{status} {why}");
    assert_eq!(life.edge.snapshot().config_digest, before);
    assert!(life.get("/v1/settings").await["refused"].as_str().unwrap().contains("line 7"));
    site.ends.place("unharmed", "+4930123001", 50).await;
    site.ends.settled().await;
    assert_eq!(site.ends.code_of("unharmed"), Some(200));

    let mut config = site.config(1);
    config.listeners[0].bind.set_port(5_999);
    config.timers.timer_c_s = 99;
    site.write(config);
    let answer = reload(&life).await;
    assert_eq!((&answer["needs_restart"], &answer["changed"]), (&json!(["edge.listeners"]), &json!(["timers"])));
    life.until("another digest", || life.edge.snapshot().config_digest != before).await;
    site.ends.place("as-before", "+4930123001", 50).await;
    site.ends.settled().await;
    assert_eq!(site.ends.code_of("as-before"), Some(200));
    life.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_keeps_what_the_admin_put_beside_the_file() {
    let site = Site::new(2).await;
    site.write(site.config(1));
    let life = site.start().await;
    life.nodes_up().await;
    let second = serde_json::to_value(node(&site.nodes[1])).unwrap();
    life.change("PUT", "/v1/nodes/fs-2", json!({"settings": second})).await;
    life.until("two nodes", || life.edge.snapshot().nodes.iter().any(|n| n.id == "fs-2" && n.rtt_us.is_some())).await;
    let mut config = site.config(1);
    config.nodes[0].weight = 3.0;
    site.write(config);
    assert_eq!(reload(&life).await["changed"], json!(["nodes: ~ fs-1"]));
    let ids: Vec<String> = life.edge.snapshot().nodes.iter().map(|n| n.id.clone()).collect();
    assert_eq!(ids, ["fs-1", "fs-2"]);
    life.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_under_load_fails_no_call_that_was_begun() {
    let site = Site::new(2).await;
    let life = site.start().await;
    // The next life listens where this one did: dialogs lead there.
    let mut config = site.config(2);
    config.listeners[0].bind = life.edge.trunk_addr;
    config.listeners[1].bind = life.edge.node_addr;
    site.write(config);
    life.nodes_up().await;
    let placed = calls_for(&site, "drain", Duration::from_secs(3)).await;
    life.until("all have come", || life.edge.snapshot().counters.invites >= u64::from(placed)).await;
    // In set-up and talking, when the stop comes; those that talk stay on their nodes and a next edge ends them.
    let outcome = life.life.stop().await;
    assert_eq!((outcome.abandoned, outcome.failed), (vec![], vec![]));
    let answered = || {
        let books = site.ends.ledger.snapshot();
        books.calls.iter().filter(|c| c.call_id.starts_with("drain")).all(|c| c.final_code == Some(200))
    };
    life.until("answered", answered).await;
    let _left = life.publisher.close(super::LONG).await;
    drop(life);
    let life = site.start().await;
    site.ends.settled().await;
    assert_eq!(failures(&site, "drain"), Vec::<String>::new());
    println!("{placed} calls and a drain among them, 0 failed");
    life.stop().await;
}
