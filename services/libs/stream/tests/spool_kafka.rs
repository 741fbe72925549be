//! The spool in front of Kafka's protocol: brokers that go and come back, none at the start.

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use common::{DEADLINE, TestClock, fake::call, until};
use rdkafka::mocking::MockCluster;
use schemas::{Event, SipTransaction};
use stream::{
    EventLog, KafkaConfig, KafkaLog, Publisher, PublisherConfig, Ring, SpoolConfig, Start, Subscription, Way,
};

type Cluster = MockCluster<'static, rdkafka::producer::DefaultProducerContext>;

fn cluster() -> (Cluster, Arc<dyn EventLog>) {
    let cluster = MockCluster::new(1).expect("a mock cluster");
    for topic in schemas::all_topics() {
        cluster.create_topic(topic.name, topic.partitions, 1).expect("a topic");
    }
    let config = KafkaConfig { bootstrap: cluster.bootstrap_servers(), ..KafkaConfig::default() };
    (cluster, Arc::new(KafkaLog::new(config).expect("a client")))
}

fn start(log: &Arc<dyn EventLog>, run: &std::path::Path, data: &std::path::Path, epoch: i64) -> Publisher {
    let config = PublisherConfig {
        ring: Ring::Shared { dir: run.join("0123456789ab"), bytes: 4 << 20 },
        spool: Some(SpoolConfig { reserve_bytes: 0, ..SpoolConfig::new(data.join("spool")) }),
        ..PublisherConfig::new("edge/0123456789ab", epoch, TestClock::shared())
    };
    Publisher::start(log.clone(), config).expect("a publisher")
}

/// Every number of the epoch is in the topic, for the first time in order. Gives how many, and how many copies.
async fn arrived(log: &Arc<dyn EventLog>, epoch: i64, expected: usize) -> usize {
    let topics = vec![SipTransaction::TOPIC];
    let mut source = log.subscribe(Subscription { group: None, topics, start: Start::Beginning }).await.expect("reads");
    let mut seen: BTreeMap<i32, BTreeSet<i64>> = BTreeMap::new();
    let (mut count, mut copies) = (0, 0);
    let give_up = Instant::now() + DEADLINE;
    while count < expected {
        assert!(Instant::now() < give_up, "only {count} of {expected} came");
        for record in source.poll(5000, Duration::from_millis(200)).await.expect("poll") {
            let identity = schemas::identity(record.value.as_deref().expect("a value")).expect("ours");
            if identity.epoch != epoch {
                continue;
            }
            let line = seen.entry(record.partition).or_default();
            if line.contains(&identity.seq) {
                copies += 1;
            } else {
                assert_eq!(identity.seq, line.len() as i64, "partition {} is out of order", record.partition);
                line.insert(identity.seq);
                count += 1;
            }
        }
    }
    copies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_go_and_come_back_lose_nothing_and_the_ring_stays_empty() {
    let (cluster, log) = cluster();
    let (run, data) = (tempfile::tempdir_in("/dev/shm").expect("a tmpfs"), tempfile::tempdir().expect("a folder"));
    let publisher = start(&log, run.path(), data.path(), 1);
    let mut published = 0;
    for round in 0..4 {
        if round % 2 == 1 {
            cluster.broker_down(1).expect("down");
        } else {
            cluster.broker_up(1).expect("up");
        }
        for _ in 0..2500 {
            publisher.publish(call(published));
            published += 1;
        }
        until("the ring is empty", || publisher.stats().ring_bytes == 0).await;
    }
    let stats = publisher.stats();
    assert_eq!((stats.accepted, stats.way), (published as u64, Way::Spool));
    assert!(stats.spool_events > 0, "an outage is in the spool");
    cluster.broker_up(1).expect("up");
    publisher.flush(DEADLINE).await.expect("delivered");
    assert_eq!(publisher.stats().delivered, published as u64);
    assert_eq!(arrived(&log, 1, published).await, 0, "librdkafka keeps what it has in hand: no copies");
    assert!(publisher.close(DEADLINE).await.is_nothing());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_without_a_broker_takes_events_and_the_next_start_sends_them() {
    let (cluster, log) = cluster();
    cluster.broker_down(1).expect("down");
    let (run, data) = (tempfile::tempdir_in("/dev/shm").expect("a tmpfs"), tempfile::tempdir().expect("a folder"));
    let first = start(&log, run.path(), data.path(), 1);
    (0..3000).for_each(|n| {
        first.publish(call(n));
    });
    let left = first.close(Duration::from_millis(500)).await;
    assert_eq!((left.in_ring, left.in_spool), (0, 3000));
    drop((first, log));
    let config = KafkaConfig { bootstrap: cluster.bootstrap_servers(), ..KafkaConfig::default() };
    let log: Arc<dyn EventLog> = Arc::new(KafkaLog::new(config).expect("a client"));
    let second = start(&log, run.path(), data.path(), 2);
    second.publish(call(1));
    cluster.broker_up(1).expect("up");
    second.flush(DEADLINE).await.expect("delivered");
    arrived(&log, 1, 3000).await;
    arrived(&log, 2, 1).await;
}
