//! Verifying what a publisher wrote, and what was done to it since.

use std::sync::Arc;
use std::time::Duration;

use schemas::{Encoder, Event, NodeHealth, StreamManifest, TopicSpec};
use stream::completeness::Verdict;
use stream::{EmbeddedConfig, EmbeddedLog, EventLog, Outgoing, Publisher, PublisherConfig};

use super::reading::{self, Findings};
use super::report;

fn topics() -> Vec<&'static TopicSpec> {
    schemas::all_topics().to_vec()
}

fn health(node: &str) -> NodeHealth {
    NodeHealth { event_type: "heartbeat".into(), node_id: node.into(), ..NodeHealth::default() }
}

async fn log(dir: &tempfile::TempDir) -> Arc<EmbeddedLog> {
    let log = EmbeddedLog::open(EmbeddedConfig::new(dir.path())).expect("a log");
    log.ensure_topics(&topics()).await.expect("topics");
    log
}

fn publisher(log: &Arc<EmbeddedLog>, epoch: i64) -> Publisher {
    let config = PublisherConfig {
        manifests: true,
        ..PublisherConfig::new("edge/test", epoch, Arc::new(kit::clock::SystemClock))
    };
    Publisher::start(log.clone(), config).expect("a publisher")
}

async fn publish(publisher: &Publisher, events: usize) {
    for n in 0..events {
        publisher.publish(health(&format!("node-{}", n % 7)));
    }
    publisher.flush(Duration::from_secs(30)).await.expect("flushed");
}

/// As the command reads it: beside the writer.
async fn verify(dir: &tempfile::TempDir) -> Findings {
    let log: Arc<dyn EventLog> = EmbeddedLog::open_read_only(dir.path()).expect("a reader");
    reading::read(&log, topics(), None).await.expect("read")
}

fn verdicts(findings: &Findings) -> Vec<Verdict> {
    let mut all: Vec<Verdict> = findings.lines.iter().map(|line| line.findings.verdict).collect();
    all.sort();
    all.dedup();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_publisher_is_unproven_and_a_closed_one_proven() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = log(&dir).await;
    let publisher = publisher(&log, 1_795_226_400_000_000);
    publish(&publisher, 500).await;
    let found = verify(&dir).await;
    assert_eq!(verdicts(&found), [Verdict::Unproven], "{}", report::text(&found, &[]));
    assert!(report::text(&found, &[]).contains("unproven is no proof"));
    publisher.close(Duration::from_secs(30)).await;
    let found = verify(&dir).await;
    assert_eq!(verdicts(&found), [Verdict::Proven], "{}", report::text(&found, &[]));
    let seen: i64 = found.lines.iter().map(|line| line.findings.seen).sum();
    assert_eq!((seen, found.lost()), (500, 0));
    let json = report::json(&found, &[]);
    assert_eq!(
        (&json["seen"], &json["lost"], &json["verdicts"]["proven"]),
        (&500.into(), &0.into(), &found.lines.len().into())
    );
    assert!(report::text(&found, &[]).contains("closed by itself"));
}

/// The publisher cannot be made to lose anything, so a record is written past it, with a number that leaves a gap.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_is_missing_without_a_word_is_found_and_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = log(&dir).await;
    let publisher = publisher(&log, 1_795_226_400_000_000);
    publish(&publisher, 100).await;
    publisher.close(Duration::from_secs(30)).await;
    let found = verify(&dir).await;
    let line = found.lines.iter().find(|line| line.topic == NodeHealth::TOPIC.name).expect("a line");
    let mut event = health("node-x");
    event.envelope.producer_id = line.producer.clone();
    event.envelope.producer_epoch = line.epoch;
    event.envelope.partition = line.partition;
    event.envelope.seq = line.findings.numbers + 2;
    let frame = Encoder::new().encode(&event).expect("a frame").to_vec();
    let record = |value: Option<Vec<u8>>| Outgoing {
        topic: NodeHealth::TOPIC,
        partition: line.partition,
        timestamp_us: 1_795_226_400_000_000,
        key: "node-x".into(),
        value: value.map(Into::into),
        headers: Vec::new(),
    };
    log.append(vec![record(Some(frame.clone())), record(Some(frame)), record(None), record(Some(b"garbage".to_vec()))])
        .await
        .expect("appended");
    let found = verify(&dir).await;
    assert_eq!(found.lost(), 2);
    let bad = found.lines.iter().find(|line| line.findings.lost > 0).expect("a line");
    let first = line.findings.numbers;
    assert_eq!((bad.findings.verdict, &bad.findings.lost_ranges[..]), (Verdict::Lost, &[(first, first + 1)][..]));
    assert_eq!(bad.doubled, 1);
    let topic = found.topics.iter().find(|topic| topic.topic == NodeHealth::TOPIC).expect("a topic");
    assert_eq!((topic.tombstones, topic.unreadable, topic.misplaced, topic.holes), (1, 1, 0, 0));
    let text = report::text(&found, &[]);
    assert!(text.contains(&format!("2 events at {first}..={}", first + 1)), "{text}");
    assert!(text.contains("2 LOST WITHOUT A WORD"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_and_a_topic_can_be_asked_for_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = log(&dir).await;
    let publisher = publisher(&log, 1_795_226_400_000_000);
    publish(&publisher, 50).await;
    publisher.close(Duration::from_secs(30)).await;
    let reader: Arc<dyn EventLog> = EmbeddedLog::open_read_only(dir.path()).expect("a reader");
    let others = reading::read(&reader, topics(), Some("engine")).await.expect("read");
    assert!(others.lines.is_empty() && report::text(&others, &[]).contains("nothing to verify"));
    let one = reading::read(&reader, vec![NodeHealth::TOPIC], Some("edge")).await.expect("read");
    assert_eq!(verdicts(&one), [Verdict::Proven]);
    assert_eq!(one.topics.len(), 1);
    assert!(one.manifests > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_kafka_the_same_is_found() {
    let Ok(bootstrap) = std::env::var("TRUNKLINE_TEST_KAFKA") else {
        println!("SKIPPED: TRUNKLINE_TEST_KAFKA is not set (stream verify on real Kafka)");
        return;
    };
    let mut config = stream::Config { adapter: stream::Adapter::Kafka, ..stream::Config::default() };
    config.kafka.bootstrap = bootstrap;
    config.topic_prefix = format!("verify.{}.", std::process::id());
    let log = stream::open(&config, std::path::Path::new("/nowhere")).expect("a client");
    let few = vec![NodeHealth::TOPIC, StreamManifest::TOPIC];
    log.ensure_topics(&few).await.expect("topics");
    let settings = PublisherConfig {
        manifests: true,
        ..PublisherConfig::new("edge/test", 1_795_226_400_000_000, Arc::new(kit::clock::SystemClock))
    };
    let publisher = Publisher::start(log.clone(), settings).expect("a publisher");
    publish(&publisher, 300).await;
    publisher.close(Duration::from_secs(30)).await;
    let found = reading::read(&log, few, None).await.expect("read");
    assert_eq!(verdicts(&found), [Verdict::Proven], "{}", report::text(&found, &[]));
    assert_eq!(found.lines.iter().map(|line| line.findings.seen).sum::<i64>(), 300);
}
