//! Subscribing: a topic as JSON lines, and the schemas as a registry shows them.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use schemas::{CdrCall, ControlBlock, Event, IvrDecision, NodeHealth, SipTransaction};
use serde_json::Value;

use crate::harness::{Api, id, on_kafka, start};
use crate::http::{LONG, get};

async fn lines(api: &Api, path: &str) -> (Vec<Value>, Value) {
    lines_of(api.addr, path).await
}

async fn lines_of(addr: SocketAddr, path: &str) -> (Vec<Value>, Value) {
    let answer = get(addr, path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    assert!(answer.head.contains("application/x-ndjson"), "{}", answer.head);
    // Long answers come in chunks, whose frames are no JSON.
    let mut lines: Vec<Value> = answer.body.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let last = lines.pop().unwrap();
    assert!(last["next"].is_string(), "{last}");
    (lines, last)
}

fn decision(call: u64, step: i32) -> IvrDecision {
    IvrDecision { call_root_id: id(call), event_type: "input".into(), step, ..IvrDecision::default() }
}

fn place(line: &Value) -> (i64, i64) {
    (line["partition"].as_i64().unwrap(), line["offset"].as_i64().unwrap())
}

#[tokio::test]
async fn a_client_that_keeps_next_sees_everything_once() {
    let api = start().await;
    for n in 0..50 {
        api.publisher.publish(decision(n, 1));
    }
    api.publisher.flush(LONG).await.unwrap();
    let (mut seen, mut from) = (Vec::new(), "beginning".to_owned());
    loop {
        let (lines, last) = lines(&api, &format!("/topics/ivr.decisions/records?limit=7&from={from}")).await;
        assert!(lines.len() <= 7);
        seen.extend(lines);
        from = last["next"].as_str().unwrap().to_owned();
        assert_eq!(last["gone"], 0);
        if last["caught_up"] == true {
            break;
        }
    }
    let places: BTreeSet<_> = seen.iter().map(place).collect();
    assert_eq!((seen.len(), places.len()), (50, 50), "nothing twice, nothing missed");

    api.publisher.publish(decision(3, 2));
    api.publisher.flush(LONG).await.unwrap();
    let (fresh, _) = lines(&api, &format!("/topics/ivr.decisions/records?from={from}")).await;
    assert_eq!(fresh.len(), 1, "{fresh:?}");
    assert_eq!((&fresh[0]["key"], &fresh[0]["event"]["step"]), (&Value::from(id(3)), &Value::from(2)));
    assert!(fresh[0]["timestamp_us"].as_i64().unwrap() > 0 && fresh[0]["topic"] == "ivr.decisions", "{fresh:?}");
}

/// A thread for each of many: only so do reads overlap that never wait for a disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 24)]
async fn more_readers_than_may_read_at_once_wait_for_their_turn() {
    let api = start().await;
    for call in 0..3_000 {
        api.publisher.publish(decision(call, 1));
    }
    api.publisher.flush(LONG).await.unwrap();
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let addr = api.addr;
        readers.spawn(async move { lines_of(addr, "/topics/ivr.decisions/records?limit=3000").await.0.len() });
    }
    assert_eq!(readers.join_all().await, vec![3_000; 40]);
}

#[tokio::test]
async fn a_call_can_be_followed_alone() {
    let api = start().await;
    for step in 0..3 {
        for call in 0..40 {
            api.publisher.publish(decision(call, step));
        }
    }
    api.publisher.flush(LONG).await.unwrap();
    let (found, last) = lines(&api, &format!("/topics/ivr.decisions/records?call={}", id(7))).await;
    let steps: Vec<_> = found.iter().map(|line| line["event"]["step"].as_i64().unwrap()).collect();
    assert_eq!(steps, [0, 1, 2], "in order, and of no other call");
    assert_eq!(last["caught_up"], true);

    let partition = found[0]["partition"].as_i64().unwrap();
    let (alone, last) = lines(&api, &format!("/topics/ivr.decisions/records?partition={partition}")).await;
    assert!(alone.len() >= 3 && alone.iter().all(|line| line["partition"] == partition), "{alone:?}");
    let untouched: Vec<_> = last["next"].as_str().unwrap().split(',').filter(|pair| pair.ends_with(":0")).collect();
    assert_eq!(untouched.len(), 11, "what nobody looked at is not passed over: {last}");
}

#[tokio::test]
async fn numbers_are_masked_in_events_and_keys_unless_they_are_asked_for() {
    let api = start().await;
    let number = "+442079460018";
    let mut event = SipTransaction { call_root_id: id(1), event_type: "refused".into(), ..SipTransaction::default() };
    event.identity.to_uri = Some(format!("sip:{number}@edge"));
    event.identity.request_user = Some(number.into());
    api.publisher.publish(event);
    api.publisher.publish(schemas::FraudAlert {
        subject: format!("trunk/a/callee/{number}"),
        event_type: "alert".into(),
        ..schemas::FraudAlert::default()
    });
    api.publisher.flush(LONG).await.unwrap();
    for topic in ["sip.transactions", "fraud.alerts"] {
        let masked = get(api.addr, &format!("/topics/{topic}/records")).await.body;
        assert!(!masked.contains("2079460018") && masked.contains('•'), "{masked}");
        let whole = get(api.addr, &format!("/topics/{topic}/records?numbers=full")).await.body;
        assert!(whole.contains(number), "{whole}");
    }
}

#[tokio::test]
async fn a_tombstone_is_a_line_without_an_event() {
    let api = start().await;
    api.publisher.tombstone(ControlBlock::TOPIC, "operator/x");
    api.publisher.flush(LONG).await.unwrap();
    let (found, _) = lines(&api, "/topics/control.blocks/records").await;
    assert_eq!((found.len(), &found[0]["event"], &found[0]["key"]), (1, &Value::Null, &Value::from("operator/x")));
}

#[tokio::test]
async fn what_cannot_be_begun_at_is_refused_with_the_reason() {
    let api = start().await;
    let path = |query: &str| format!("/topics/{}/records?{query}", NodeHealth::TOPIC.name);
    for (query, field) in [
        ("from=0:999", "from"),
        ("from=9:0", "from"),
        ("from=yesterday", "from"),
        ("partition=3", "partition"),
        ("limit=0", "limit"),
        ("limit=10001", "limit"),
        ("call=x", "call"),
        ("colour=red", "query"),
    ] {
        let answer = get(api.addr, &path(query)).await;
        assert_eq!((answer.status, &answer.json()["field"]), (422, &Value::from(field)), "{query}: {}", answer.body);
    }
    assert_eq!(get(api.addr, "/topics/nothing/records").await.status, 404);
    let (none, last) = lines(&api, &format!("/topics/{}/records?from=end", CdrCall::TOPIC.name)).await;
    assert!(none.is_empty() && last["caught_up"] == true, "{last}");
}

#[tokio::test]
async fn a_registry_client_finds_every_schema_by_its_id_and_by_its_subject() {
    let api = start().await;
    let subjects = get(api.addr, "/registry/subjects").await;
    assert!(subjects.head.contains("content-type: application/vnd.schemaregistry.v1+json"), "{}", subjects.head);
    assert_eq!(subjects.json().as_array().unwrap().len(), schemas::all_topics().len());
    for topic in schemas::all_topics() {
        let path = format!("/registry/subjects/{}-value/versions", topic.name);
        let newest = get(api.addr, &path).await.json().as_array().unwrap().last().unwrap().clone();
        let latest = get(api.addr, &format!("{path}/latest")).await.json();
        assert_eq!((&latest["id"], &latest["version"]), (&Value::from(topic.schema_id), &newest), "{}", topic.name);
        // As the clients ask: with the subject that they read.
        let by_id = format!("/registry/schemas/ids/{}?subject={}-value", topic.schema_id, topic.name);
        assert_eq!(get(api.addr, &by_id).await.json()["schema"], topic.schema);
        for (id, schema) in topic.retired {
            assert_eq!(get(api.addr, &format!("/registry/schemas/ids/{id}")).await.json()["schema"], *schema);
        }
    }
    for path in ["/registry/config", "/registry/config/sip.transactions-value?defaultToGlobal=true"] {
        assert_eq!(get(api.addr, path).await.json()["compatibilityLevel"], "FULL_TRANSITIVE", "{path}");
    }
    assert_eq!(get(api.addr, "/registry/mode").await.json()["mode"], "READONLY");
}

#[tokio::test]
async fn a_registry_client_is_told_in_its_own_codes_what_is_not_there() {
    let api = start().await;
    for (path, status, code) in [
        ("/registry/subjects/nothing-value/versions", 404, 40401),
        ("/registry/config/nothing-value", 404, 40401),
        ("/registry/subjects/sip.transactions-value/versions/99", 404, 40402),
        ("/registry/subjects/sip.transactions-value/versions/first", 422, 42202),
        ("/registry/schemas/ids/1", 404, 40403),
    ] {
        let answer = get(api.addr, path).await;
        assert_eq!((answer.status, &answer.json()["error_code"]), (status, &Value::from(code)), "{path}");
        assert!(answer.head.contains("vnd.schemaregistry.v1+json"), "{path}: {}", answer.head);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_kafka_records_and_schemas_are_served_as_from_the_embedded_log() {
    let Some((addr, publisher, _dir)) = on_kafka().await else { return };
    for n in 0..50 {
        publisher.publish(decision(n, 1));
    }
    publisher.flush(LONG).await.unwrap();
    let (mut seen, mut from) = (Vec::new(), "beginning".to_owned());
    loop {
        let (lines, last) = lines_of(addr, &format!("/topics/ivr.decisions/records?limit=7&from={from}")).await;
        seen.extend(lines);
        from = last["next"].as_str().unwrap().to_owned();
        if last["caught_up"] == true {
            break;
        }
    }
    let places: BTreeSet<_> = seen.iter().map(place).collect();
    assert_eq!((seen.len(), places.len()), (50, 50), "nothing twice, nothing missed");
    let (one, _) = lines_of(addr, &format!("/topics/ivr.decisions/records?from=beginning&call={}", id(3))).await;
    assert_eq!(one.len(), 1, "{one:?}");
    let schema = get(addr, "/registry/subjects/ivr.decisions-value/versions/latest").await;
    assert_eq!((schema.status, &schema.json()["id"]), (200, &Value::from(IvrDecision::TOPIC.schema_id)));
}
