//! The publisher against a healthy log, a hanging one and a failing one.

mod common;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use common::{
    TestClock,
    fake::{FakeLog, call, decision, id},
    read, until,
};
use schemas::{Class, ControlBlock, Event, IvrDecision, NodeHealth, SipRejections, SipTransaction, TopicSpec};
use stream::{
    EmbeddedConfig, EmbeddedLog, EventLog, Publisher, PublisherConfig, Reason, Ring, SHED_ORDER, Start, Subscription,
};

fn config(queue_bytes: usize) -> PublisherConfig {
    PublisherConfig {
        ring: Ring::Private { bytes: queue_bytes },
        ..PublisherConfig::new("edge/test", 42, TestClock::shared())
    }
}

#[tokio::test]
async fn what_is_published_arrives_with_its_envelope_and_headers() {
    let dir = tempfile::tempdir().expect("a folder");
    let log: Arc<dyn EventLog> = EmbeddedLog::open(EmbeddedConfig::new(dir.path())).expect("a log");
    let publisher = Publisher::start(log.clone(), config(1 << 20)).expect("a publisher");
    let event = decision(7);
    let published = publisher.publish_traced(event.clone(), Some("00-ab-cd-01"));
    publisher.tombstone(ControlBlock::TOPIC, "fraud/1");
    publisher.flush(common::DEADLINE).await.expect("delivered");
    let topics = vec![IvrDecision::TOPIC, ControlBlock::TOPIC];
    let mut source =
        log.subscribe(Subscription { group: None, topics, start: Start::Beginning }).await.expect("subscribe");
    let records = read(&mut source, 2).await;
    let record = records.iter().find(|r| r.topic == IvrDecision::TOPIC).expect("the event");
    let got: IvrDecision = schemas::decode(record.value.as_deref().expect("a value")).expect("decodes");
    let envelope = got.envelope();
    assert_eq!((envelope.producer_id.as_str(), envelope.producer_epoch), ("edge/test", 42));
    assert_eq!((envelope.partition, envelope.seq), (published.partition, 0));
    assert_eq!(record.partition, published.partition);
    assert!(envelope.emitted_wall_us > 0 && envelope.emitted_mono_us > 0 && envelope.boot_id.is_some());
    assert_eq!(record.timestamp_us, envelope.emitted_wall_us);
    assert_eq!(got.logical_id(), event.logical_id(), "publishing does not change what was said");
    assert_eq!(record.header("event-type"), Some(&b"input"[..]));
    assert_eq!(record.header("content-type"), Some(&b"application/vnd.apache.avro"[..]));
    assert_eq!(record.header("traceparent"), Some(&b"00-ab-cd-01"[..]));
    let tombstone = records.iter().find(|r| r.topic == ControlBlock::TOPIC).expect("the tombstone");
    assert_eq!((tombstone.key.as_ref(), &tombstone.value), (&b"fraud/1"[..], &None));
}

#[tokio::test]
async fn numbers_have_no_gaps_and_stand_in_order_under_concurrent_publishers() {
    let dir = tempfile::tempdir().expect("a folder");
    let log: Arc<dyn EventLog> = EmbeddedLog::open(EmbeddedConfig::new(dir.path())).expect("a log");
    let publisher = Publisher::start(log.clone(), config(64 << 20)).expect("a publisher");
    let threads: Vec<_> = (0..4)
        .map(|t| {
            let publisher = publisher.clone();
            std::thread::spawn(move || {
                (0..2000).for_each(|n| {
                    publisher.publish(call(t * 2000 + n));
                })
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().expect("no panic"));
    publisher.flush(common::DEADLINE).await.expect("delivered");
    let topics = vec![SipTransaction::TOPIC];
    let mut source =
        log.subscribe(Subscription { group: None, topics, start: Start::Beginning }).await.expect("subscribe");
    let mut next: BTreeMap<i32, i64> = BTreeMap::new();
    for record in read(&mut source, 8000).await {
        let event: SipTransaction = schemas::decode(record.value.as_deref().expect("a value")).expect("decodes");
        let at = next.entry(record.partition).or_default();
        assert_eq!((event.envelope().seq, event.envelope().partition), (*at, record.partition));
        *at += 1;
    }
    assert_eq!(next.len(), 12);
    let stats = publisher.stats();
    assert_eq!((stats.accepted, stats.delivered, stats.queued_events, stats.queued_bytes), (8000, 8000, 0, 0));
}

#[tokio::test]
async fn publish_never_waits_when_the_log_hangs_and_everything_is_accounted_for() {
    let log = Arc::new(FakeLog::default());
    log.hang.store(true, Ordering::SeqCst);
    let publisher = Publisher::start(log.clone(), config(256 << 10)).expect("a publisher");
    let mut slowest = Duration::ZERO;
    for n in 0..5000 {
        let started = Instant::now();
        publisher.publish(call(n));
        slowest = slowest.max(started.elapsed());
    }
    assert!(slowest < Duration::from_millis(500), "one publish took {slowest:?}");
    let stats = publisher.stats();
    assert_eq!(stats.accepted, 5000);
    assert!(stats.queued_bytes <= 256 << 10);
    let shed: u64 = stats.shed.iter().sum();
    assert!(shed > 0);
    assert_eq!(shed + stats.queued_events, 5000);
    let declared = publisher.declared();
    let numbers: i64 = declared.iter().map(|r| r.last - r.first + 1).sum();
    assert_eq!(numbers as u64, shed, "every lost number is in a range");
    assert!(declared.iter().all(|r| r.reason == Reason::Shed && r.class == Class::Life));

    let abandoned = publisher.flush(Duration::from_millis(50)).await.expect_err("the log hangs");
    assert_eq!(abandoned.events, stats.queued_events);
    assert!(abandoned.to_string().contains("sip.transactions/"));

    log.hang.store(false, Ordering::SeqCst);
    publisher.flush(common::DEADLINE).await.expect("drained");
    assert_eq!(log.taken.lock().len() as u64, stats.queued_events);
    assert_eq!(publisher.stats().delivered + shed, 5000);
    // What arrived and what was declared are, together, each number once.
    let mut numbers: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    for record in log.taken.lock().iter() {
        let event: SipTransaction = schemas::decode(record.value.as_deref().expect("a value")).expect("decodes");
        numbers.entry(record.partition).or_default().push(event.envelope().seq);
    }
    for range in publisher.declared() {
        numbers.entry(range.partition).or_default().extend(range.first..=range.last);
    }
    for (partition, mut seqs) in numbers {
        seqs.sort_unstable();
        assert_eq!(seqs, (0..seqs.len() as i64).collect::<Vec<_>>(), "partition {partition}");
    }
}

#[tokio::test]
async fn a_failing_log_gets_the_same_events_again_in_order() {
    let log = Arc::new(FakeLog::default());
    log.fail.store(true, Ordering::SeqCst);
    let publisher = Publisher::start(log.clone(), config(1 << 20)).expect("a publisher");
    for n in 0..100 {
        publisher.publish(call(n % 5));
    }
    until("it was tried more than once", || log.calls.load(Ordering::SeqCst) >= 2).await;
    assert!(publisher.stats().errors >= 1);
    assert_eq!(publisher.stats().queued_events, 100, "nothing is given up");
    log.fail.store(false, Ordering::SeqCst);
    publisher.flush(common::DEADLINE).await.expect("delivered");
    let mut next: BTreeMap<i32, i64> = BTreeMap::new();
    for record in log.taken.lock().iter() {
        let event: SipTransaction = schemas::decode(record.value.as_deref().expect("a value")).expect("decodes");
        let at = next.entry(record.partition).or_default();
        assert_eq!(event.envelope().seq, *at);
        *at += 1;
    }
    assert_eq!(next.values().sum::<i64>(), 100);
}

#[tokio::test]
async fn an_event_that_the_log_refuses_for_good_is_declared_and_holds_up_nobody() {
    let log = Arc::new(FakeLog::default());
    *log.refuse_key.lock() = Some(id(3));
    let publisher = Publisher::start(log.clone(), config(1 << 20)).expect("a publisher");
    for n in 0..10 {
        publisher.publish(decision(n));
    }
    publisher.flush(common::DEADLINE).await.expect("the rest is delivered");
    let stats = publisher.stats();
    assert_eq!((stats.delivered, stats.refused), (9, 1));
    assert_eq!(publisher.declared().len(), 1);
    assert_eq!(publisher.declared()[0].reason, Reason::Refused);
}

#[tokio::test]
async fn metrics_go_before_health_and_health_before_calls() {
    let log = Arc::new(FakeLog::default());
    log.hang.store(true, Ordering::SeqCst);
    let publisher = Publisher::start(log.clone(), config(128 << 10)).expect("a publisher");
    let shed = |class: Class| {
        let at = SHED_ORDER.iter().position(|c| *c == class).expect("listed");
        publisher.stats().shed[at]
    };
    let classes = (SipRejections::TOPIC.class, NodeHealth::TOPIC.class, SipTransaction::TOPIC.class);
    assert_eq!(classes, (Class::Metrics, Class::Health, Class::Life));
    // One of each in turn, into a ring that nobody empties.
    let mut gone = Vec::new();
    for n in 0.. {
        publisher.publish(call(n));
        let source = format!("192.0.2.{n}");
        publisher.publish(SipRejections { source, ..SipRejections::default() });
        publisher.publish(NodeHealth { node_id: format!("fs{n}"), ..NodeHealth::default() });
        for class in [Class::Metrics, Class::Health, Class::Life] {
            if shed(class) > 0 && !gone.contains(&class) {
                gone.push(class);
            }
        }
        if gone.len() == 3 {
            break;
        }
        assert!(n < 10_000, "the ring never filled");
    }
    assert_eq!(gone, [Class::Metrics, Class::Health, Class::Life]);
    let stats = publisher.stats();
    assert_eq!(stats.shed.iter().sum::<u64>() + stats.queued_events, stats.accepted);
    log.hang.store(false, Ordering::SeqCst);
}

#[tokio::test]
async fn a_filtered_event_takes_no_number() {
    let log = Arc::new(FakeLog::default());
    let filter = Arc::new(|topic: &TopicSpec, key: &[u8]| topic != IvrDecision::TOPIC || key != id(1).as_bytes());
    let publisher = Publisher::start(log.clone(), PublisherConfig { filter: Some(filter), ..config(1 << 20) })
        .expect("a publisher");
    assert_eq!(publisher.publish(decision(1)).seq, -1);
    assert_eq!(publisher.publish(decision(2)).seq, 0);
    publisher.flush(common::DEADLINE).await.expect("delivered");
    assert_eq!(log.taken.lock().len(), 1);
    assert_eq!(publisher.stats().accepted, 1);
}

#[tokio::test]
async fn an_event_that_is_too_large_is_declared() {
    let log = Arc::new(FakeLog::default());
    let publisher = Publisher::start(log.clone(), config(16 << 20)).expect("a publisher");
    let mut event = decision(1);
    event.menu_id = "x".repeat(stream::MAX_EVENT_BYTES);
    publisher.publish(event);
    assert_eq!(publisher.stats().unfit, 1);
    assert_eq!(publisher.declared()[0].reason, Reason::Unfit);
}

#[tokio::test]
async fn dropping_the_last_publisher_still_delivers() {
    let log = Arc::new(FakeLog::default());
    let publisher = Publisher::start(log.clone(), config(1 << 20)).expect("a publisher");
    for n in 0..10 {
        publisher.publish(decision(n));
    }
    drop(publisher);
    let taken = AtomicU32::new(0);
    until("all is delivered", || {
        taken.store(log.taken.lock().len() as u32, Ordering::SeqCst);
        taken.load(Ordering::SeqCst) == 10
    })
    .await;
}
