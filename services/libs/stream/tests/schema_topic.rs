//! The topic of schemas, and walks through topics, on the embedded log and (when it is there) on real Kafka.

mod common;

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use common::{TestClock, append};
use schemas::{DecodeError, Encoder, Event, NodeHealth, SipTransaction, StreamSchema, TopicSpec, stream_schema};
use stream::{
    Adapter, Client, Config, EmbeddedConfig, EmbeddedLog, EventLog, Outgoing, Publisher, PublisherConfig, Walk,
    schema_topic,
};

static TOPICS: [&TopicSpec; 3] = [StreamSchema::TOPIC, NodeHealth::TOPIC, SipTransaction::TOPIC];

/// Runs each test on both logs. On Kafka every test has topics of its own.
macro_rules! on_both_logs {
    ($($name:ident)*) => {
        mod embedded { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $name() {
            let dir = tempfile::tempdir().expect("a folder");
            let log: std::sync::Arc<dyn stream::EventLog> = super::EmbeddedLog::open(super::EmbeddedConfig::new(dir.path())).expect("a log");
            log.ensure_topics(&super::TOPICS).await.expect("topics");
            super::$name(log).await;
        })* }
        mod kafka { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $name() {
            let Some(log) = super::kafka(stringify!($name)) else { return };
            log.ensure_topics(&super::TOPICS).await.expect("topics");
            super::$name(log).await;
        })* }
    };
}

on_both_logs! {
    missing_schemas_are_written_once_and_each_is_found_by_its_id
    a_record_of_another_build_is_read_once_its_schema_is_in_the_topic
    a_walk_reads_everything_and_goes_on_from_where_it_ended
}

fn kafka(test: &str) -> Option<Arc<dyn EventLog>> {
    let Ok(bootstrap) = std::env::var("TRUNKLINE_TEST_KAFKA") else {
        println!("SKIPPED: TRUNKLINE_TEST_KAFKA is not set (the topic of schemas on real Kafka)");
        return None;
    };
    let mut config = Config { adapter: Adapter::Kafka, ..Config::default() };
    config.topic_prefix = format!("schemas.{}.{}.", std::process::id(), test.len());
    config.kafka.bootstrap = bootstrap;
    Some(stream::open(&config, std::path::Path::new("/nowhere")).expect("a client"))
}

fn client(log: &Arc<dyn EventLog>) -> Client {
    let publisher = Publisher::start(log.clone(), PublisherConfig::new("edge/test", 42, TestClock::shared()));
    Client { log: log.clone(), publisher: publisher.expect("a publisher") }
}

async fn walk(log: &Arc<dyn EventLog>, topics: &[&'static TopicSpec]) -> (Vec<stream::Record>, Walk) {
    let mut walk = Walk::through(log, topics).await.expect("a walk");
    let mut all = Vec::new();
    while let Some(records) = walk.next().await.expect("records") {
        all.extend(records);
    }
    (all, walk)
}

async fn missing_schemas_are_written_once_and_each_is_found_by_its_id(log: Arc<dyn EventLog>) {
    let client = client(&log);
    let all: usize = schemas::all_topics().iter().map(|topic| topic.schemas().count()).sum();
    assert_eq!(schema_topic::publish_missing(&client).await.expect("published"), all);
    client.publisher.flush(Duration::from_secs(30)).await.expect("flushed");
    assert_eq!(schema_topic::publish_missing(&client).await.expect("published"), 0);
    for topic in schemas::all_topics() {
        for (id, schema) in topic.schemas() {
            let found = schema_topic::look_up(&log, id).await.expect("an answer").expect("a schema");
            assert_eq!((found.schema_id, &*found.topic, &*found.schema), (id, topic.name, schema));
            found.check().expect("what readers rely on");
        }
    }
    assert_eq!(schema_topic::look_up(&log, 0x5452_fff0).await.expect("an answer"), None);
}

async fn a_record_of_another_build_is_read_once_its_schema_is_in_the_topic(log: Arc<dyn EventLog>) {
    // What is learned stays for the process, so each run has an id of its own.
    static NEXT_ID: AtomicU32 = AtomicU32::new(0x5452_f200);
    let bounds = log.bounds(StreamSchema::TOPIC).await.expect("bounds");
    assert!(bounds.iter().all(|b| b.end == 0));
    let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
    let mut frame = Encoder::new().encode(&SipTransaction::default()).expect("a frame").to_vec();
    frame[1..5].copy_from_slice(&id.to_be_bytes());
    assert!(matches!(schemas::decode::<SipTransaction>(&frame), Err(DecodeError::UnknownSchema(_))));
    assert!(!schema_topic::learn(&log, id).await.expect("an answer"), "nobody has written it yet");
    let client = client(&log);
    client.publisher.publish(StreamSchema {
        event_type: "schema".into(),
        schema_id: id,
        subject: stream_schema::subject_of(SipTransaction::TOPIC.name),
        topic: SipTransaction::TOPIC.name.into(),
        version: 2,
        schema: SipTransaction::TOPIC.schema.into(),
        ..Default::default()
    });
    client.publisher.flush(Duration::from_secs(30)).await.expect("flushed");
    assert!(schema_topic::learn(&log, id).await.expect("an answer"));
    assert_eq!(schemas::decode::<SipTransaction>(&frame).expect("it is known now"), SipTransaction::default());
}

fn record(topic: &'static TopicSpec, n: i32) -> Outgoing {
    Outgoing { partition: n % topic.partitions, ..common::outgoing(topic, &format!("{n}"), &format!("{n}")) }
}

async fn a_walk_reads_everything_and_goes_on_from_where_it_ended(log: Arc<dyn EventLog>) {
    let two = [NodeHealth::TOPIC, SipTransaction::TOPIC];
    let (none, _) = walk(&log, &two).await;
    assert!(none.is_empty());
    append(&log, (0..5000).map(|n| record(two[n as usize % 2], n / 2)).collect()).await;
    let (all, walked) = walk(&log, &two).await;
    let places: HashSet<_> = all.iter().map(|r| (r.topic.name, r.partition, r.offset)).collect();
    assert_eq!((all.len(), places.len()), (5000, 5000));
    assert!(walked.stretches().iter().all(|s| s.next == s.bounds.end));
    append(&log, (0..7).map(|n| record(two[0], n)).collect()).await;
    let mut more = Walk::on_from(&log, &walked).await.expect("a walk");
    let mut new = Vec::new();
    while let Some(records) = more.next().await.expect("records") {
        new.extend(records);
    }
    assert_eq!(new.len(), 7);
    assert!(new.iter().all(|r| !places.contains(&(r.topic.name, r.partition, r.offset))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_walk_beside_a_writer_ends_at_what_was_there_when_it_began() {
    let dir = tempfile::tempdir().expect("a folder");
    let writing: Arc<dyn EventLog> = EmbeddedLog::open(EmbeddedConfig::new(dir.path())).expect("a log");
    writing.ensure_topics(&TOPICS).await.expect("topics");
    append(&writing, (0..100).map(|n| record(NodeHealth::TOPIC, n)).collect()).await;
    let reading: Arc<dyn EventLog> = EmbeddedLog::open_read_only(dir.path()).expect("a reader");
    let mut walk = Walk::through(&reading, &[NodeHealth::TOPIC]).await.expect("a walk");
    let mut seen = 0;
    while let Some(records) = walk.next().await.expect("records") {
        seen += records.len();
        append(&writing, (0..100).map(|n| record(NodeHealth::TOPIC, n)).collect()).await;
    }
    assert!((100..1000).contains(&seen), "{seen} records of a log that always grows");
}
