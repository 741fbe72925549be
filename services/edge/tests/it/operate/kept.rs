//! The last-known-good file: a start without the stream knows what was in force.

use std::sync::Arc;

use schemas::{BlockScope, ControlAck, ControlBlock, ControlRoute};
use serde_json::json;
use stream::{Publisher, PublisherConfig};

use super::super::dead_log::Hangs;
use super::{LONG, Site, exists, last_known_good, read};

fn operator(site: &Site) -> Publisher {
    let config = PublisherConfig::new("api/test", 1, Arc::new(kit::clock::SystemClock));
    Publisher::start(Arc::clone(&site.log), config).unwrap()
}

fn block(for_us: i64) -> ControlBlock {
    use domain::Clock;
    let now = kit::clock::SystemClock.now().wall_us;
    ControlBlock {
        event_type: "block".into(),
        author: "fraud".into(),
        block_id: "01890000-0000-7000-8000-000000000001".into(),
        mode: "enforce".into(),
        scope: BlockScope { trunk: Some("north".into()), caller: Some("+4917012345".into()), ..BlockScope::default() },
        made_us: now,
        expires_us: now + for_us,
        ..ControlBlock::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_weights_and_trunks_hold_from_the_first_call_of_a_start_without_the_stream() {
    let site = Site::new(2).await;
    let mut config = site.config(2);
    config.trunks.remove(0);
    site.write(config.clone());
    let life = site.start().await;
    life.nodes_up().await;
    let source = site.ends.caller.addr().to_string();
    life.change("PUT", "/v1/trunks/north", json!({"settings": {"sources": [source]}})).await;
    life.change("PUT", "/v1/nodes/fs-1/weight", json!({"state": "disabled"})).await;
    let operator = operator(&site);
    operator.publish(block(600_000_000));
    operator.flush(LONG).await.unwrap();
    life.until("in force", || life.edge.snapshot().blocks.len() == 1).await;
    life.stop().await;
    assert!(exists(&last_known_good(&site)));

    let life = site.start_on(config, Arc::new(Hangs)).await;
    // Before anything was read from anywhere.
    let s = life.edge.snapshot();
    assert_eq!((s.blocks.len(), s.blocks[0].key.as_str()), (1, "fraud/01890000-0000-7000-8000-000000000001"));
    assert!(s.trunks.iter().any(|t| t.id == "north"));
    assert_eq!(s.nodes[0].wanted, "disabled");
    site.ends.place("blocked", "+4930123001", 50).await;
    site.ends.settled().await;
    assert_eq!(site.ends.code_of("blocked"), Some(403));
    assert_eq!(life.get("/v1/settings").await["caught_up"], false);
    // An operator may still change things, and they are kept.
    life.change("DELETE", "/v1/blocks/fraud/01890000-0000-7000-8000-000000000001", json!({"reason": "a customer"}))
        .await;
    life.until("lifted", || life.edge.snapshot().blocks.is_empty()).await;
    site.ends.place("free", "+4930123001", 50).await;
    site.ends.settled().await;
    assert_eq!(site.ends.code_of("free"), Some(200));
    life.life.stop().await;
    drop(life);
    let text = std::fs::read_to_string(last_known_good(&site)).unwrap();
    assert!(text.contains("\"lift\""), "written before it was answered");

    // With the stream back everything is told and agrees.
    let life = site.start().await;
    life.until("caught up", || life.life.health().ready).await;
    life.until("the trunk", || life.edge.snapshot().trunks.iter().any(|t| t.id == "north")).await;
    life.publisher.flush(LONG).await.unwrap();
    let acks: Vec<ControlAck> = read(&site.log).await;
    assert!(acks.iter().any(|a| a.source == "last_known_good" && !a.applied.is_empty()));
    life.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_is_set_aside_and_the_edge_runs_on_its_settings() {
    let site = Site::new(1).await;
    let life = site.start().await;
    life.nodes_up().await;
    life.change("POST", "/v1/blocks", json!({"scope": {"trunk": "north", "caller": "+4917012345"}})).await;
    let config = site.config(1);
    life.life.stop().await;
    drop(life);
    let file = last_known_good(&site);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let life = site.start_on(config.clone(), Arc::new(Hangs)).await;
    assert!(life.edge.snapshot().blocks.is_empty());
    assert!(!exists(&file) && exists(&file.with_extension("damaged")));
    life.nodes_up().await;
    site.ends.place("passes", "+4930123001", 50).await;
    site.ends.settled().await;
    assert_eq!(site.ends.code_of("passes"), Some(200));
    life.life.stop().await;
    drop(life);
    std::fs::remove_file(file.with_extension("damaged")).unwrap();
    let life = site.start_on(config, Arc::new(Hangs)).await;
    assert!(life.edge.snapshot().blocks.is_empty(), "a missing file is a first start");
    life.life.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_topic_forgot_meanwhile_is_forgotten_and_a_record_of_the_topic_makes_a_trunk() {
    let site = Site::new(1).await;
    let mut config = site.config(1);
    config.trunks.remove(0);
    site.write(config.clone());
    let operator = operator(&site);
    let source = site.ends.caller.addr().to_string();
    let trunk = ControlRoute {
        event_type: "set".into(),
        kind: "trunk".into(),
        id: "north".into(),
        author: "operator".into(),
        settings: json!({"id": "north", "sources": [source]}).to_string(),
        made_us: 5,
        ..ControlRoute::default()
    };
    operator.publish(trunk.clone());
    operator.publish(ControlRoute { id: "odd".into(), settings: json!({"id": "odd", "cps": 1}).to_string(), ..trunk });
    operator.flush(LONG).await.unwrap();
    let life = site.start().await;
    life.until("the trunk", || life.edge.snapshot().trunks.iter().any(|t| t.id == "north")).await;
    life.nodes_up().await;
    site.ends.place("carried", "+4930123001", 50).await;
    site.ends.settled().await;
    assert_eq!(site.ends.code_of("carried"), Some(200));
    let left_out = life.get("/v1/settings").await["left_out"].clone();
    assert_eq!((left_out.as_array().unwrap().len(), &left_out[0]["id"]), (1, &json!("odd")));
    operator.publish(block(600_000_000));
    operator.flush(LONG).await.unwrap();
    life.until("in force", || life.edge.snapshot().blocks.len() == 1).await;
    life.stop().await;
    operator.tombstone(<ControlRoute as schemas::Event>::TOPIC, "trunk/north");
    operator.tombstone(<ControlBlock as schemas::Event>::TOPIC, "fraud/01890000-0000-7000-8000-000000000001");
    operator.flush(LONG).await.unwrap();
    // A start that reads the topic may have read it before anybody looks.
    let life = site.start_on(config, Arc::new(Hangs)).await;
    assert_eq!(life.edge.snapshot().blocks.len(), 1, "until the topic has spoken");
    life.life.stop().await;
    drop(life);
    let life = site.start().await;
    life.until("forgotten", || life.edge.snapshot().blocks.is_empty()).await;
    life.until("the trunk is gone", || !life.edge.snapshot().trunks.iter().any(|t| t.id == "north")).await;
    life.stop().await;
}
