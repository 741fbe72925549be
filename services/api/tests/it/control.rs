use schemas::{
    AppliedOffset, BlockScope, ControlAck, ControlAudit, ControlBlock, ControlWeight, Event, FraudAlert, NodeHealth,
    NodeHeartbeat,
};
use serde_json::json;

use crate::harness::{Api, start, start_after};
use crate::http::{get, post, send, until};

const BLOCK_ID: &str = "01900000-0000-7000-8000-0000000000aa";

fn now_us() -> i64 {
    use domain::Clock;
    kit::clock::SystemClock.now().wall_us
}

fn fraud_block() -> ControlBlock {
    ControlBlock {
        event_type: "block".into(),
        author: "fraud".into(),
        block_id: BLOCK_ID.into(),
        mode: "enforce".into(),
        scope: BlockScope {
            trunk: Some("carrier-a".into()),
            callee: Some("+442079460018".into()),
            ..BlockScope::default()
        },
        reason: Some("30 calls in 10 s".into()),
        made_us: now_us(),
        expires_us: now_us() + 600_000_000,
        ..ControlBlock::default()
    }
}

fn heartbeat() -> NodeHealth {
    NodeHealth {
        event_type: "heartbeat".into(),
        node_id: "fs-1".into(),
        observer_kind: "engine".into(),
        observer_id: "engine-1".into(),
        core_uuid: Some("core".into()),
        state: Some("up".into()),
        heartbeat: Some(NodeHeartbeat { sessions: Some(12), max_sessions: Some(1000), ..NodeHeartbeat::default() }),
        ..NodeHealth::default()
    }
}

/// Health is read from now on only, so it is said again until the api has heard it.
async fn node_is_known(api: &Api) {
    let end = tokio::time::Instant::now() + crate::http::LONG;
    loop {
        api.publisher.publish(heartbeat());
        let nodes = get(api.addr, "/v1/nodes").await.json();
        if !nodes["nodes"].as_array().unwrap().is_empty() {
            return;
        }
        assert!(tokio::time::Instant::now() < end, "the node never showed: {nodes}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_operators_block_goes_through_the_topic_and_is_audited_and_can_be_undone() {
    let api = start().await;
    let body = json!({
        "scope": { "trunk": "carrier-a", "callee": "00442079460018" }, "duration_s": 600, "reason": "asked by the customer", "actor": "ada",
    });
    let made = post(api.addr, "/v1/blocks", body).await;
    assert_eq!(made.status, 202, "{}", made.body);
    let made = made.json();
    assert_eq!(made["durable"], true);
    let id = made["block_id"].as_str().unwrap();

    let shown = until(api.addr, "/v1/blocks", "it is in force", |v| v["total"] == 1).await;
    let block = &shown["blocks"][0];
    assert_eq!((block["author"].as_str(), block["actor"].as_str()), (Some("operator"), Some("ada")));
    assert_eq!(block["scope"]["callee"], "+44••••••••18", "normalised, and masked");
    let full = get(api.addr, "/v1/blocks?numbers=full").await.json();
    assert_eq!(full["blocks"][0]["scope"]["callee"], "+442079460018");
    assert!(block["applied_by"].as_array().unwrap().is_empty(), "no edge has said so yet");

    let record = api.records(ControlBlock::TOPIC).await.remove(0);
    assert_eq!(record.key, format!("operator/{id}"));
    let event = schemas::decode::<ControlBlock>(&record.value.clone().unwrap()).unwrap();
    event.check().unwrap();
    let applied =
        vec![AppliedOffset { topic: record.topic.name.into(), partition: record.partition, offset: record.offset }];
    api.publisher.publish(ControlAck {
        event_type: "applied".into(),
        applier_id: "edge-1".into(),
        applier_kind: "edge".into(),
        source: "topic".into(),
        applied,
        since_us: now_us(),
        ..ControlAck::default()
    });
    until(api.addr, "/v1/blocks", "the edge has it", |v| v["blocks"][0]["applied_by"][0]["id"] == "edge-1").await;

    let lifted = post(api.addr, &format!("/v1/blocks/operator/{id}/lift"), json!({ "reason": "a mistake" })).await;
    assert_eq!(lifted.status, 202, "{}", lifted.body);
    until(api.addr, "/v1/blocks", "it is lifted", |v| v["total"] == 0).await;
    let again = post(api.addr, &format!("/v1/blocks/operator/{id}/lift"), json!({})).await;
    assert_eq!(again.status, 409, "{}", again.body);

    let audit =
        until(api.addr, "/v1/audit", "all three are written down", |v| v["audit"].as_array().unwrap().len() == 3).await;
    let told: Vec<(&str, &str)> = audit["audit"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["action"].as_str().unwrap(), entry["result"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [("lift", "refused"), ("lift", "accepted"), ("block", "accepted")]);
    assert_eq!(audit["audit"][2]["source_ip"], "127.0.0.1");
    for record in api.records(ControlAudit::TOPIC).await {
        schemas::decode::<ControlAudit>(&record.value.unwrap()).unwrap().check().unwrap();
    }
}

#[tokio::test]
async fn undoing_anothers_block_writes_beside_it_under_our_own_key() {
    let api = start().await;
    api.publisher.publish(fraud_block());
    until(api.addr, "/v1/blocks", "the rule's block shows", |v| v["total"] == 1).await;
    let lifted = send(api.addr, "POST", &format!("/v1/blocks/fraud/{BLOCK_ID}/lift"), &[], "").await;
    assert_eq!(lifted.status, 202, "undo needs no body: {}", lifted.body);
    until(api.addr, "/v1/blocks", "it is lifted", |v| v["total"] == 0).await;
    let records = api.records(ControlBlock::TOPIC).await;
    let keys: Vec<String> = records.iter().map(|r| String::from_utf8(r.key.to_vec()).unwrap()).collect();
    assert!(keys.contains(&format!("fraud/{BLOCK_ID}")), "the author's record stays as it was");
    let ours = records.iter().find(|r| r.key == format!("operator/{BLOCK_ID}")).unwrap();
    let lift = schemas::decode::<ControlBlock>(&ours.value.clone().unwrap()).unwrap();
    assert_eq!((lift.event_type.as_str(), lift.lifts_author.as_deref()), ("lift", Some("fraud")));
    lift.check().unwrap();
    let unknown = post(api.addr, &format!("/v1/blocks/edge%2Fx/{BLOCK_ID}/lift"), json!({})).await;
    assert_eq!(unknown.status, 404);
}

#[tokio::test]
async fn a_refused_change_changes_nothing_and_is_audited() {
    let api = start().await;
    let everything = json!({ "scope": { "callee": "+442079460018" }, "duration_s": 60, "reason": "r" });
    let emergency = json!({ "scope": { "trunk": "a", "callee": "112" }, "duration_s": 60, "reason": "r" });
    for (body, field) in [(everything, "scope.trunk"), (emergency, "scope.callee")] {
        let answer = post(api.addr, "/v1/blocks", body).await;
        assert_eq!((answer.status, answer.json()["field"].as_str().unwrap()), (422, field));
    }
    let typo = json!({ "scope": { "trunk": "a" }, "duration_s": 60, "reason": "r", "durations": 1 });
    assert_eq!(post(api.addr, "/v1/blocks", typo).await.status, 422);
    let form = send(api.addr, "POST", "/v1/blocks", &[("Content-Type", "text/plain")], "{}").await;
    assert_eq!(form.status, 415);
    until(api.addr, "/v1/audit", "both refusals stand there", |v| v["audit"].as_array().unwrap().len() == 2).await;
    assert!(api.records(ControlBlock::TOPIC).await.is_empty());
}

#[tokio::test]
async fn a_nodes_weight_is_set_and_released() {
    let api = start().await;
    let drain = json!({ "weight": 0.0, "state": "draining", "duration_s": 60, "reason": "update" });
    let early = post(api.addr, "/v1/nodes/fs-1/weight", drain.clone()).await;
    assert_eq!(early.status, 404, "a node that nobody knows: {}", early.body);
    node_is_known(&api).await;
    let shown = get(api.addr, "/v1/nodes").await.json();
    assert_eq!((&shown["nodes"][0]["sessions"], &shown["nodes"][0]["state"]), (&json!(12), &json!("up")));

    assert_eq!(post(api.addr, "/v1/nodes/fs-1/weight/release", json!({})).await.status, 409);
    assert_eq!(post(api.addr, "/v1/nodes/fs-1/weight", drain).await.status, 202);
    let drained = until(api.addr, "/v1/nodes", "it drains", |v| v["nodes"][0]["state"] == "draining").await;
    assert_eq!(drained["nodes"][0]["weight_author"], "operator");
    assert_eq!(post(api.addr, "/v1/nodes/fs-1/weight/release", json!({ "actor": "ada" })).await.status, 202);
    until(api.addr, "/v1/nodes", "capacity decides again", |v| v["nodes"][0]["state"] == "up").await;
    let records = api.records(ControlWeight::TOPIC).await;
    assert!(records.last().unwrap().value.is_none(), "released by a tombstone");
    assert!(records.iter().all(|record| record.key == "fs-1/operator".as_bytes()));
}

#[tokio::test]
async fn alerts_are_listed_with_their_outcome() {
    let api = start().await;
    api.publisher.publish(FraudAlert {
        event_type: "alert".into(),
        subject: "trunk/carrier-a/callee/+442079460018".into(),
        alert_id: BLOCK_ID.into(),
        rule: "velocity".into(),
        mode: "shadow".into(),
        suppressed: Some("shadow".into()),
        made_us: now_us(),
        ..FraudAlert::default()
    });
    let alerts = until(api.addr, "/v1/alerts", "the alert shows", |v| v["alerts"].as_array().unwrap().len() == 1).await;
    assert_eq!(alerts["alerts"][0]["subject"], "trunk/carrier-a/callee/+44••••••••18");
    assert_eq!(alerts["alerts"][0]["suppressed"], "shadow");
}

#[tokio::test]
async fn an_api_that_starts_later_knows_what_is_in_force() {
    let api = start_after(|publisher| _ = publisher.publish(fraud_block()), |_, _| {}).await;
    let end = tokio::time::Instant::now() + crate::http::LONG;
    while !api.life.health().ready {
        assert!(tokio::time::Instant::now() < end, "it never became ready: {:?}", api.life.health());
        tokio::task::yield_now().await;
    }
    assert_eq!(get(api.addr, "/v1/blocks").await.json()["total"], 1, "ready means that the control state is known");
}
