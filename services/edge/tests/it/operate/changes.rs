//! Changes by an operator on the edge itself.

use schemas::{ControlAck, ControlAudit, ControlBlock, ControlRoute, ControlWeight, Event};
use serde_json::json;

use super::{LONG, Site, read};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_holds_at_once_and_is_lifted_again_and_both_are_published_and_audited() {
    let site = Site::new(1).await;
    let life = site.start().await;
    life.nodes_up().await;
    let block =
        json!({"scope": {"trunk": "north", "caller": "+4917012345"}, "for_s": 60, "actor": "ina", "reason": "wangiri"});
    let made = life.change("POST", "/v1/blocks", block).await;
    let key = made["key"].as_str().unwrap().to_owned();
    life.until("in force", || life.edge.snapshot().blocks.len() == 1).await;
    site.ends.place("blocked", "+4930123001", 50).await;
    site.ends.settled().await;
    assert_eq!(site.ends.code_of("blocked"), Some(403));
    let told = life.get("/v1/explain/blocked").await;
    let sentence = told["calls"][0]["decisions"][0]["sentence"].as_str().unwrap().to_owned();
    assert_eq!(sentence, format!("refused with 403: block by block rule {key}"));
    life.change("DELETE", &format!("/v1/blocks/{key}"), json!({"actor": "ina"})).await;
    life.until("lifted", || life.edge.snapshot().blocks.is_empty()).await;
    site.ends.place("free", "+4930123001", 50).await;
    site.ends.settled().await;
    assert_eq!(site.ends.code_of("free"), Some(200));
    for (path, body, status) in [
        ("/v1/blocks", json!({"scope": {"caller": "+49"}}), 422),
        ("/v1/blocks", json!({"scope": {"trunk": "north"}, "for_s": 0}), 422),
        ("/v1/blocks", json!({"scope": {"source_cidr": "x"}}), 422),
        ("/v1/blocks", json!({"scoop": 1}), 422),
    ] {
        assert_eq!(life.refused("POST", path, body.clone()).await.0, status, "{body}");
    }
    assert_eq!(life.refused("DELETE", "/v1/blocks/fraud/nothing", json!({})).await.0, 404);
    life.publisher.flush(LONG).await.unwrap();
    let blocks: Vec<ControlBlock> = read(&site.log).await;
    let kinds: Vec<&str> = blocks.iter().map(|b| b.event_type.as_str()).collect();
    assert_eq!(kinds, ["block", "lift"]);
    blocks.iter().for_each(|b| b.check().unwrap());
    assert!(blocks.iter().all(|b| b.author.starts_with("edge/") && b.key() == key));
    let audits: Vec<ControlAudit> = read(&site.log).await;
    let accepted: Vec<(&str, &str)> =
        audits.iter().filter(|a| a.result == "accepted").map(|a| (a.actor.as_str(), a.action.as_str())).collect();
    assert_eq!(accepted, [("ina", "block"), ("ina", "lift")]);
    assert!(audits.iter().filter(|a| a.result == "refused").all(|a| a.error.is_some()));
    let acks: Vec<ControlAck> = read(&site.log).await;
    assert!(acks.iter().any(|a| a.source == "override" && a.changed == [key.as_str()] && a.blocks_enforced == 1));
    life.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_drained_and_taken_back_and_the_counters_run_on() {
    let site = Site::new(2).await;
    let life = site.start().await;
    life.nodes_up().await;
    for i in 0..10 {
        site.ends.place(&format!("before-{i}"), "+4930123001", 50).await;
    }
    site.ends.settled().await;
    let attempts = |id: &str| {
        let s = life.edge.snapshot();
        s.nodes.iter().find(|n| n.id == id).map_or(0, |n| n.attempts)
    };
    let wanted = |id: &str| life.edge.snapshot().nodes.iter().find(|n| n.id == id).map_or("", |n| n.wanted);
    life.until("counted", || attempts("fs-1") + attempts("fs-2") == 10).await;
    let before = attempts("fs-1");
    life.change("PUT", "/v1/nodes/fs-1/weight", json!({"state": "draining", "reason": "a new disk"})).await;
    life.until("draining", || wanted("fs-1") == "draining").await;
    for i in 0..10 {
        site.ends.place(&format!("drained-{i}"), "+4930123001", 50).await;
    }
    site.ends.settled().await;
    assert_eq!(attempts("fs-1"), before, "no new call");
    life.change("DELETE", "/v1/nodes/fs-1/weight", json!({})).await;
    life.until("active", || wanted("fs-1") == "active").await;
    for (path, body, status) in [
        ("/v1/nodes/nobody/weight", json!({}), 404),
        ("/v1/nodes/fs-1/weight", json!({"weight": 7}), 422),
        ("/v1/nodes/fs-1/weight", json!({"state": "sleepy"}), 422),
    ] {
        assert_eq!(life.refused("PUT", path, body).await.0, status);
    }
    life.publisher.flush(LONG).await.unwrap();
    let weights: Vec<ControlWeight> = read(&site.log).await;
    assert_eq!(weights.iter().map(|w| w.state.as_str()).collect::<Vec<_>>(), ["draining"]);
    life.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_told_to_drain_takes_no_call_until_it_is_told_to_go_on() {
    let site = Site::new(1).await;
    let life = site.start().await;
    life.nodes_up().await;
    site.ends.place("stays", "+4930123001", 3_000).await;
    life.until("up", || life.edge.snapshot().dialogs == 1).await;
    let page = life.get("/v1/dialogs?peer=fs-1").await;
    assert_eq!(
        (&page["open"], &page["dialogs"][0]["caller"], &page["dialogs"][0]["sip_call_id"]),
        (&json!(1), &json!("trunk/north"), &json!("stays"))
    );
    assert!(!page.to_string().contains("4917012345"));
    assert_eq!(life.get("/v1/dialogs?peer=far").await["dialogs"], json!([]));
    assert_eq!(life.get("/v1/dialogs?call=stays").await["dialogs"].as_array().unwrap().len(), 1);
    life.change("POST", "/v1/drain", json!({"reason": "an upgrade"})).await;
    life.until("draining", || life.edge.snapshot().draining).await;
    site.ends.place("refused", "+4930123001", 50).await;
    life.until("refused", || site.ends.code_of("refused") == Some(503)).await;
    life.change("DELETE", "/v1/drain", json!({})).await;
    life.until("not draining", || !life.edge.snapshot().draining).await;
    site.ends.place("taken", "+4930123001", 50).await;
    site.ends.settled().await;
    assert_eq!((site.ends.code_of("taken"), site.ends.code_of("stays")), (Some(200), Some(200)));
    life.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trunk_a_number_and_a_route_are_data_and_a_wrong_one_changes_nothing() {
    let site = Site::new(2).await;
    let mut config = site.config(2);
    config.trunks.remove(0);
    config.nodes[1].pool = "sales".into();
    config.trunks[0].pool = "inbound".into();
    site.write(config);
    let life = site.start().await;
    life.nodes_up().await;
    let source = site.ends.caller.addr().to_string();
    site.ends.place("stranger", "+4930123001", 50).await;
    life.until("denied", || life.edge.snapshot().counters.denied_packets > 0).await;

    let north = json!({"settings": {"sources": [source]}, "actor": "ina", "reason": "a new carrier"});
    life.change("PUT", "/v1/trunks/north", north).await;
    life.until("known", || life.edge.snapshot().trunks.iter().any(|t| t.id == "north")).await;
    life.change("PUT", "/v1/numbers/+4930123002", json!({"settings": {"pool": "sales"}})).await;
    site.ends.place("sold", "+4930123002", 50).await;
    site.ends.place("plain", "+4930123001", 50).await;
    site.ends.settled().await;
    let chosen = |told: serde_json::Value| told["calls"][0]["decisions"][0]["chosen"].clone();
    assert_eq!(chosen(life.get("/v1/explain/sold").await), "node/fs-2");
    assert_eq!(chosen(life.get("/v1/explain/plain").await), "node/fs-1");
    let one = life.get("/v1/trunks/north").await;
    assert_eq!((&one["settings"]["id"], &one["origin"]["actor"]), (&json!("north"), &json!("ina")));
    assert_eq!(life.get("/v1/trunks/far").await["origin"]["author"], "settings file");

    let (status, why) = life.refused("PUT", "/v1/trunks/bad", json!({"settings": {"sources": [], "cps": -1}})).await;
    assert!(status == 422 && why.contains("trunk bad") && why.contains("source"), "{status} {why}");
    let (status, why) = life.refused("PUT", "/v1/trunks/bad", json!({"settings": {"sorces": []}})).await;
    assert!(status == 422 && why.contains("sorces"), "{why}");
    let (status, why) = life.refused("DELETE", "/v1/trunks/far", json!({})).await;
    assert!(status == 422 && why.contains("routes"), "a route names it: {why}");
    assert_eq!(life.refused("DELETE", "/v1/trunks/nobody", json!({})).await.0, 404);
    assert_eq!(life.refused("PUT", "/v1/menus/main", json!({"settings": {}})).await.0, 404);
    life.change("DELETE", "/v1/trunks/north", json!({})).await;
    life.until("gone", || !life.edge.snapshot().trunks.iter().any(|t| t.id == "north")).await;
    let before = life.edge.snapshot().counters;
    site.ends.place("stranger-again", "+4930123001", 50).await;
    // Whoever has left may end what it has; a new call hears nothing.
    life.until("heard", || life.edge.snapshot().counters.packets_in >= before.packets_in + 2).await;
    assert_eq!((life.edge.snapshot().counters.invites, site.ends.code_of("stranger-again")), (before.invites, None));
    life.publisher.flush(LONG).await.unwrap();
    let routes: Vec<ControlRoute> = read(&site.log).await;
    assert_eq!(routes.iter().map(Event::key).collect::<Vec<_>>().len(), 2);
    routes.iter().for_each(|r| r.check().unwrap());
    life.life.stop().await;
}
