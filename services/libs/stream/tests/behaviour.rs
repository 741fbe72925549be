//! What every adapter of the event log must do. One function per promise, run against the embedded log, against Kafka's protocol
//! (librdkafka's mock cluster), and against a real broker where `TRUNKLINE_TEST_KAFKA` names one.

mod common;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use common::{append, kafka::OnBroker, outgoing, read, topic, value};
use futures::{StreamExt as _, stream::FuturesOrdered};
use rdkafka::mocking::MockCluster;
use schemas::{Retention, TopicSpec};
use stream::{
    Assigned, Bounds, Commit, EmbeddedConfig, EmbeddedLog, EventLog, KafkaConfig, KafkaLog, LogError, Outgoing, Record,
    Source, Start, Subscription,
};

static WIDE: TopicSpec = forever("test.wide", 12);
static NARROW: TopicSpec = forever("test.narrow", 1);
static OTHER: TopicSpec = forever("test.other", 3);
static NARROW_AS_TWO: TopicSpec = forever("test.narrow", 2);
static ALL: [&TopicSpec; 3] = [&WIDE, &NARROW, &OTHER];

/// The records of these tests are years old: a real broker would drop them under their reader.
const fn forever(name: &'static str, partitions: i32) -> TopicSpec {
    TopicSpec { retention: Retention::Forever, ..topic(name, partitions, false) }
}

fn reader(group: Option<&str>, topics: &[&'static TopicSpec], start: Start) -> Subscription {
    Subscription { group: group.map(str::to_owned), topics: topics.to_vec(), start }
}

async fn subscribe(log: &Arc<dyn EventLog>, subscription: Subscription) -> Box<dyn Source> {
    log.subscribe(subscription).await.expect("subscribe")
}

/// Runs each promise against every adapter.
macro_rules! promises {
    ($($name:ident)*) => {
        mod embedded { $(#[tokio::test] async fn $name() {
            let dir = tempfile::tempdir().expect("a folder");
            let log: std::sync::Arc<dyn stream::EventLog> =
                stream::EmbeddedLog::open(stream::EmbeddedConfig::new(dir.path())).expect("a log");
            log.ensure_topics(&super::ALL).await.expect("topics");
            super::$name(log).await;
        })* }
        mod kafka { $(#[tokio::test(flavor = "multi_thread", worker_threads = 1)] async fn $name() {
            let (_cluster, log) = super::mock();
            log.ensure_topics(&super::ALL).await.expect("topics");
            super::$name(log).await;
        })* }
        mod real_kafka { $(#[tokio::test(flavor = "multi_thread", worker_threads = 1)] async fn $name() {
            let Some(broker) = super::OnBroker::from_env() else { return };
            broker.run(&super::ALL, super::$name).await;
        })* }
    };
}

const PREFIX: &str = "suite.";

fn mock() -> (MockCluster<'static, rdkafka::producer::DefaultProducerContext>, Arc<dyn EventLog>) {
    let cluster = MockCluster::new(3).expect("a mock cluster");
    for spec in ALL {
        cluster.create_topic(&format!("{PREFIX}{}", spec.name), spec.partitions, 3).expect("a topic");
    }
    let config = KafkaConfig {
        bootstrap: cluster.bootstrap_servers(),
        topic_prefix: PREFIX.to_owned(),
        // After a member left, the mock waits this long (less a second) for others before it lets anybody in.
        extra: BTreeMap::from(
            [("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "500")].map(|(k, v)| (k.into(), v.into())),
        ),
        ..KafkaConfig::default()
    };
    (cluster, Arc::new(KafkaLog::new(config).expect("a client")))
}

promises! {
    offsets_start_at_zero_and_grow_by_one_in_the_order_of_appends
    a_key_lands_where_kafkas_murmur2_puts_it_and_keeps_its_order
    headers_timestamps_and_tombstones_are_kept
    a_group_goes_on_behind_its_commit
    two_groups_do_not_know_each_other
    a_reader_without_a_group_reads_everything
    a_reader_from_the_end_sees_only_what_comes
    a_reader_begins_at_the_offsets_that_it_names
    lag_is_the_distance_to_the_end
    bounds_and_commits_can_be_asked_for
    a_poll_that_is_dropped_loses_nothing
    a_paused_reader_gets_nothing_and_then_everything
    a_topic_with_another_number_of_partitions_is_refused
    several_appends_in_flight_keep_their_order
    the_largest_event_is_taken_as_it_is
    a_reader_takes_exactly_the_partitions_that_it_is_given
    a_parked_partition_waits_and_begins_again_where_it_is_told
}

async fn offsets_start_at_zero_and_grow_by_one_in_the_order_of_appends(log: Arc<dyn EventLog>) {
    for batch in 0..5 {
        append(&log, (0..20).map(|n| outgoing(&NARROW, "k", &format!("{}", batch * 20 + n))).collect()).await;
    }
    let mut source = subscribe(&log, reader(None, &[&NARROW], Start::Beginning)).await;
    let records = read(&mut source, 100).await;
    for (n, record) in records.iter().enumerate() {
        assert_eq!((record.offset, value(record)), (n as i64, n.to_string().as_str()));
        assert_eq!(record.topic.name, NARROW.name);
    }
}

async fn a_key_lands_where_kafkas_murmur2_puts_it_and_keeps_its_order(log: Arc<dyn EventLog>) {
    // From Kafka's own table for murmur2: "21" → -973932308, "foobar" → -790332482, "abc" → 479470107; masked, modulo 12.
    let table: HashMap<&str, i32> = [("21", 0), ("foobar", 6), ("abc", 3)].into();
    let mut batch = Vec::new();
    for n in 0..30 {
        for key in table.keys() {
            batch.push(outgoing(&WIDE, key, &n.to_string()));
        }
    }
    append(&log, batch).await;
    let mut source = subscribe(&log, reader(None, &[&WIDE], Start::Beginning)).await;
    let mut next: HashMap<Bytes, u32> = HashMap::new();
    for record in read(&mut source, 90).await {
        let key = std::str::from_utf8(&record.key).expect("text");
        assert_eq!(record.partition, table[key], "{key}");
        let n = next.entry(record.key.clone()).or_default();
        assert_eq!(value(&record), n.to_string());
        *n += 1;
    }
}

async fn headers_timestamps_and_tombstones_are_kept(log: Arc<dyn EventLog>) {
    let mut with_headers = outgoing(&NARROW, "a", "v");
    with_headers.timestamp_us = 1_712_345_678_901_000;
    with_headers.headers =
        vec![("event-type".into(), Bytes::from_static(b"attempt")), ("odd".into(), Bytes::from_static(&[0, 255]))];
    let mut tombstone = outgoing(&NARROW, "b", "");
    tombstone.value = None;
    let empty = outgoing(&NARROW, "c", "");
    append(&log, vec![with_headers.clone(), tombstone, empty]).await;
    let mut source = subscribe(&log, reader(None, &[&NARROW], Start::Beginning)).await;
    let records = read(&mut source, 3).await;
    assert_eq!(records[0].timestamp_us, with_headers.timestamp_us);
    assert_eq!(records[0].headers, with_headers.headers);
    assert_eq!(records[0].header("odd"), Some(&[0, 255][..]));
    assert_eq!((records[1].key.as_ref(), &records[1].value), (&b"b"[..], &None));
    assert_eq!(records[2].value.as_deref(), Some(&b""[..]));
}

async fn a_group_goes_on_behind_its_commit(log: Arc<dyn EventLog>) {
    append(&log, (0..10).map(|n| outgoing(&NARROW, "k", &n.to_string())).collect()).await;
    let mut source = subscribe(&log, reader(Some("g"), &[&NARROW], Start::Committed)).await;
    assert_eq!(read(&mut source, 10).await.len(), 10);
    source.commit(&[Commit { topic: &NARROW, partition: 0, next_offset: 6 }]).await.expect("commit");
    drop(source);
    let mut source = subscribe(&log, reader(Some("g"), &[&NARROW], Start::Committed)).await;
    let again: Vec<i64> = read(&mut source, 4).await.iter().map(|r| r.offset).collect();
    assert_eq!(again, [6, 7, 8, 9]);
}

async fn two_groups_do_not_know_each_other(log: Arc<dyn EventLog>) {
    append(&log, (0..5).map(|n| outgoing(&NARROW, "k", &n.to_string())).collect()).await;
    let mut first = subscribe(&log, reader(Some("g1"), &[&NARROW], Start::Committed)).await;
    read(&mut first, 5).await;
    first.commit(&[Commit { topic: &NARROW, partition: 0, next_offset: 5 }]).await.expect("commit");
    let mut second = subscribe(&log, reader(Some("g2"), &[&NARROW], Start::Committed)).await;
    assert_eq!(read(&mut second, 5).await[0].offset, 0);
    assert_eq!(log.committed("g2", &NARROW).await.expect("committed"), [None]);
}

async fn a_reader_without_a_group_reads_everything(log: Arc<dyn EventLog>) {
    append(&log, (0..60).map(|n| outgoing(&WIDE, &n.to_string(), "v")).collect()).await;
    append(&log, (0..7).map(|n| outgoing(&OTHER, &n.to_string(), "v")).collect()).await;
    for _ in 0..2 {
        let mut source = subscribe(&log, reader(None, &[&WIDE, &OTHER], Start::Committed)).await;
        let records = read(&mut source, 67).await;
        let mut next: HashMap<(&str, i32), i64> = HashMap::new();
        for record in &records {
            let at = next.entry((record.topic.name, record.partition)).or_default();
            assert_eq!(record.offset, *at);
            *at += 1;
        }
        // Without a group a commit is no error and no effect.
        source.commit(&[Commit { topic: &WIDE, partition: 0, next_offset: 1 }]).await.expect("ignored");
    }
}

async fn a_reader_from_the_end_sees_only_what_comes(log: Arc<dyn EventLog>) {
    append(&log, vec![outgoing(&NARROW, "k", "before")]).await;
    let mut source = subscribe(&log, reader(None, &[&NARROW], Start::End)).await;
    append(&log, vec![outgoing(&NARROW, "k", "after")]).await;
    let records = read(&mut source, 1).await;
    assert_eq!((records[0].offset, value(&records[0])), (1, "after"));
}

async fn a_reader_begins_at_the_offsets_that_it_names(log: Arc<dyn EventLog>) {
    append(&log, (0..60).map(|n| outgoing(&WIDE, &n.to_string(), "v")).collect()).await;
    let mut first = log.read_from(&WIDE, &[0; 12]).await.expect("a reader");
    let mut offsets = vec![0; 12];
    let head = read(&mut first, 25).await;
    let mut seen: Vec<(i32, i64)> = head.iter().map(|r| (r.partition, r.offset)).collect();
    for record in &head {
        offsets[record.partition as usize] = record.offset + 1;
    }
    let mut second = log.read_from(&WIDE, &offsets).await.expect("a reader");
    seen.extend(read(&mut second, 60 - head.len()).await.iter().map(|r| (r.partition, r.offset)));
    let all = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!((all, seen.len()), (60, 60), "nothing twice, nothing left out");
}

async fn lag_is_the_distance_to_the_end(log: Arc<dyn EventLog>) {
    append(&log, (0..10).map(|n| outgoing(&NARROW, "k", &n.to_string())).collect()).await;
    let mut source = subscribe(&log, reader(None, &[&NARROW, &OTHER], Start::Beginning)).await;
    let total = |lag: Vec<stream::Lag>| lag.iter().map(stream::Lag::events).sum::<u64>();
    assert_eq!(total(source.lag().await.expect("lag")), 10);
    read(&mut source, 10).await;
    let lag = source.lag().await.expect("lag");
    assert_eq!(lag.len(), 4);
    assert_eq!(total(lag), 0);
    append(&log, vec![outgoing(&NARROW, "k", "more")]).await;
    let lag = source.lag().await.expect("lag");
    let narrow = lag.iter().find(|l| l.topic == &NARROW).expect("its partition");
    assert_eq!((narrow.position, narrow.end), (10, 11));
}

async fn bounds_and_commits_can_be_asked_for(log: Arc<dyn EventLog>) {
    append(&log, (0..4).map(|n| outgoing(&NARROW, "k", &n.to_string())).collect()).await;
    assert_eq!(log.bounds(&NARROW).await.expect("bounds"), [Bounds { begin: 0, end: 4 }]);
    assert_eq!(log.bounds(&OTHER).await.expect("bounds"), [Bounds { begin: 0, end: 0 }; 3]);
    let mut source = subscribe(&log, reader(Some("g"), &[&NARROW], Start::Beginning)).await;
    read(&mut source, 4).await;
    source.commit(&[Commit { topic: &NARROW, partition: 0, next_offset: 3 }]).await.expect("commit");
    assert_eq!(log.committed("g", &NARROW).await.expect("committed"), [Some(3)]);
}

async fn a_poll_that_is_dropped_loses_nothing(log: Arc<dyn EventLog>) {
    let writer = {
        let log = log.clone();
        async move {
            for n in 0..200 {
                append(&log, vec![outgoing(&NARROW, "k", &n.to_string())]).await;
            }
        }
    };
    let reading = async {
        let mut source = subscribe(&log, reader(None, &[&NARROW], Start::Beginning)).await;
        let mut offsets: Vec<i64> = Vec::new();
        while offsets.len() < 200 {
            let patience = Duration::from_micros(offsets.len() as u64 * 37 % 1500);
            if let Ok(records) = tokio::time::timeout(patience, source.poll(7, Duration::from_secs(5))).await {
                offsets.extend(records.expect("poll").iter().map(|r: &Record| r.offset));
            }
            tokio::task::yield_now().await;
        }
        offsets
    };
    let both = async { tokio::join!(writer, reading) };
    let ((), offsets) = tokio::time::timeout(common::DEADLINE, both).await.expect("in time");
    assert_eq!(offsets, (0..200).collect::<Vec<i64>>());
}

async fn a_paused_reader_gets_nothing_and_then_everything(log: Arc<dyn EventLog>) {
    append(&log, vec![outgoing(&NARROW, "k", "0")]).await;
    let mut source = subscribe(&log, reader(None, &[&NARROW], Start::Beginning)).await;
    read(&mut source, 1).await;
    source.pause().await.expect("pause");
    append(&log, (1..5).map(|n| outgoing(&NARROW, "k", &n.to_string())).collect()).await;
    assert!(source.poll(10, Duration::from_millis(300)).await.expect("poll").is_empty());
    source.resume().await.expect("resume");
    assert_eq!(read(&mut source, 4).await[0].offset, 1);
}

async fn a_topic_with_another_number_of_partitions_is_refused(log: Arc<dyn EventLog>) {
    let error = log.ensure_topics(&[&NARROW_AS_TWO]).await.expect_err("must be refused");
    assert!(matches!(error, LogError::Partitions { found: 1, wanted: 2, .. }), "{error}");
    assert!(error.is_permanent());
}

async fn several_appends_in_flight_keep_their_order(log: Arc<dyn EventLog>) {
    let appends: FuturesOrdered<_> = (0..40)
        .map(|batch| {
            let records = (0..25).map(|n| outgoing(&NARROW, "k", &(batch * 25 + n).to_string())).collect();
            log.append_shared(Arc::new(records))
        })
        .collect();
    let answers: Vec<_> = tokio::time::timeout(common::DEADLINE, appends.collect()).await.expect("in time");
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let mut source = subscribe(&log, reader(None, &[&NARROW], Start::Beginning)).await;
    let values: Vec<String> = read(&mut source, 1000).await.iter().map(|r| value(r).to_owned()).collect();
    assert_eq!(values, (0..1000).map(|n| n.to_string()).collect::<Vec<_>>());
}

async fn the_largest_event_is_taken_as_it_is(log: Arc<dyn EventLog>) {
    // Bytes that no compression makes smaller, up to what the publisher lets through.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let bytes: Vec<u8> = (0..stream::MAX_EVENT_BYTES - 100)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect();
    let mut large = outgoing(&NARROW, "k", "");
    large.value = Some(Bytes::from(bytes));
    append(&log, vec![large.clone(), outgoing(&NARROW, "k", "behind")]).await;
    let mut source = subscribe(&log, reader(None, &[&NARROW], Start::Beginning)).await;
    let records = read(&mut source, 2).await;
    assert!(records[0].value == large.value, "the value came back changed");
    assert_eq!(value(&records[1]), "behind");
}

async fn a_reader_takes_exactly_the_partitions_that_it_is_given(log: Arc<dyn EventLog>) {
    append(&log, (0..120).map(|n| outgoing(&WIDE, &n.to_string(), "v")).collect()).await;
    let ends: Vec<i64> = log.bounds(&WIDE).await.expect("bounds").iter().map(|b| b.end).collect();
    assert!(ends[2] > 1 && ends[7] > 1, "the keys spread: {ends:?}");
    let part = |partition, next_offset| Assigned { topic: &WIDE, partition, next_offset };
    let mut source = log.assign(vec![part(2, None), part(7, Some(1))]).await.expect("a reader");
    let wanted = usize::try_from(ends[2] + ends[7] - 1).expect("a count");
    let records = read(&mut source, wanted).await;
    assert!(records.iter().all(|r| r.partition == 2 || (r.partition == 7 && r.offset >= 1)));
    assert_eq!(source.held().parts.keys().copied().collect::<Vec<_>>(), [(WIDE.name, 2), (WIDE.name, 7)]);
    assert!(source.poll(10, Duration::from_millis(200)).await.expect("poll").is_empty(), "more than was asked for");
    let error = log.assign(vec![part(12, None)]).await.err().expect("no such partition");
    assert!(error.is_permanent(), "{error}");
}

async fn a_parked_partition_waits_and_begins_again_where_it_is_told(log: Arc<dyn EventLog>) {
    let in_partition = |partition, value: &str| Outgoing { partition, ..outgoing(&OTHER, "k", value) };
    append(&log, (0..6).map(|n| in_partition(n % 2, &n.to_string())).collect()).await;
    let part = |partition, next_offset| Assigned { topic: &OTHER, partition, next_offset };
    let mut source = log.assign(vec![part(0, None), part(1, None)]).await.expect("a reader");
    read(&mut source, 6).await;
    source.park(&[part(0, None)]).await.expect("park");
    append(&log, vec![in_partition(0, "6"), in_partition(1, "7")]).await;
    assert_eq!(value(&read(&mut source, 1).await[0]), "7");
    assert!(source.poll(10, Duration::from_millis(200)).await.expect("poll").is_empty());
    source.unpark(&[part(0, Some(1))]).await.expect("unpark");
    let again: Vec<(i64, String)> =
        read(&mut source, 3).await.iter().map(|r| (r.offset, value(r).to_owned())).collect();
    assert_eq!(again, [(1, "2".to_owned()), (2, "4".to_owned()), (3, "6".to_owned())]);
}

/// Only the embedded log: what is committed and appended is there after it was closed and opened again.
#[tokio::test]
async fn the_embedded_log_opens_again_as_it_was_closed() {
    let dir = tempfile::tempdir().expect("a folder");
    {
        let log: Arc<dyn EventLog> = EmbeddedLog::open(EmbeddedConfig::new(dir.path())).expect("a log");
        append(&log, (0..50).map(|n| outgoing(&WIDE, &n.to_string(), "v")).collect()).await;
        append(&log, (0..50).map(|n| outgoing(&NARROW, "k", &n.to_string())).collect()).await;
        let mut source = subscribe(&log, reader(Some("g"), &[&NARROW], Start::Committed)).await;
        read(&mut source, 50).await;
        source.commit(&[Commit { topic: &NARROW, partition: 0, next_offset: 20 }]).await.expect("commit");
    }
    let log: Arc<dyn EventLog> = EmbeddedLog::open(EmbeddedConfig::new(dir.path())).expect("a log");
    assert_eq!(log.committed("g", &NARROW).await.expect("committed"), [Some(20)]);
    append(&log, vec![outgoing(&NARROW, "k", "50")]).await;
    let mut source = subscribe(&log, reader(Some("g"), &[&NARROW], Start::Committed)).await;
    let values: Vec<String> = read(&mut source, 31).await.iter().map(|r| value(r).to_owned()).collect();
    assert_eq!(values, (20..=50).map(|n| n.to_string()).collect::<Vec<_>>());
}

/// Only Kafka: an outage makes `append` wait; nothing is lost and the order stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn kafka_being_away_makes_append_wait_and_keeps_the_order() {
    let (cluster, log) = mock();
    append(&log, vec![outgoing(&NARROW, "k", "0")]).await;
    for broker in 1..=3 {
        cluster.broker_down(broker).expect("down");
    }
    let waiting = log.append((1..50).map(|n| outgoing(&NARROW, "k", &n.to_string())).collect());
    let mut waiting = Box::pin(waiting);
    assert!(tokio::time::timeout(Duration::from_millis(700), &mut waiting).await.is_err(), "answered without a broker");
    for broker in 1..=3 {
        cluster.broker_up(broker).expect("up");
    }
    tokio::time::timeout(common::DEADLINE, waiting).await.expect("in time").expect("append");
    let mut source = subscribe(&log, reader(None, &[&NARROW], Start::Beginning)).await;
    let values: Vec<String> = read(&mut source, 50).await.iter().map(|r| value(r).to_owned()).collect();
    assert_eq!(values, (0..50).map(|n| n.to_string()).collect::<Vec<_>>());
}
