//! The embedded log as a way and not a store: nothing goes before it is committed, everything goes after, and more than the limit is
//! refused.

mod common;

use std::{io, path::Path, time::Duration};

use common::{outgoing, read, topic, until, value};
use schemas::TopicSpec;
use stream::{Ack, Commit, EmbeddedConfig, EmbeddedLog, EventLog, Keep, LogError, Source, Start, Subscription};

static A: TopicSpec = topic("test.a", 1, false);
static B: TopicSpec = topic("test.b", 1, true);
const LIMIT: u64 = 200 << 10;

fn config(dir: &Path) -> EmbeddedConfig {
    let keep = Keep::Uncommitted { group: "sender".into(), bytes: LIMIT };
    EmbeddedConfig { ack: Ack::Written, keep, segment_bytes: 10 << 10, ..EmbeddedConfig::new(dir) }
}

async fn append(log: &EmbeddedLog, n: usize) -> Result<(), LogError> {
    let spec = if n.is_multiple_of(3) { &B } else { &A };
    log.append(vec![outgoing(spec, "key", &format!("{n} {}", "x".repeat(1000)))]).await
}

async fn sender(log: &EmbeddedLog) -> Box<dyn Source> {
    let subscription = Subscription { group: Some("sender".into()), topics: vec![&A, &B], start: Start::Committed };
    log.subscribe(subscription).await.expect("subscribe")
}

fn numbers(records: &[stream::Record]) -> Vec<usize> {
    records.iter().map(|r| value(r).split(' ').next().expect("a number").parse().expect("a number")).collect()
}

#[tokio::test]
async fn nothing_goes_before_it_is_committed_and_everything_after() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = EmbeddedLog::open(config(dir.path())).expect("opens");
    log.ensure_topics(&[&A, &B]).await.expect("topics");
    let mut accepted = 0;
    let error = loop {
        match append(&log, accepted).await {
            Ok(()) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted < 1000, "there is a limit");
    };
    assert!(matches!(&error, LogError::Io { kind: io::ErrorKind::StorageFull, .. }), "{error}");
    let stats = log.stats();
    assert!(stats.segments > 10 && stats.dropped_segments == 0, "{stats:?}");
    assert_eq!(stats.backlog_records, accepted as u64);
    assert!(stats.backlog_bytes > stats.total_bytes * 9 / 10, "{stats:?}");

    // Half is sent; one topic alone frees nothing that the other still needs.
    let mut source = sender(&log).await;
    let records = read(&mut source, accepted).await;
    assert_eq!(numbers(&records), (0..accepted).collect::<Vec<_>>(), "in the order of writing, also across topics");
    let half = &records[..accepted / 2];
    let next = |spec: &'static TopicSpec| half.iter().filter(|r| r.topic.name == spec.name).count() as i64;
    source.commit(&[Commit { topic: &A, partition: 0, next_offset: next(&A) }]).await.expect("taken on a full log");
    assert_eq!(log.stats().dropped_segments, 0, "the other topic is not sent");
    source.commit(&[Commit { topic: &B, partition: 0, next_offset: next(&B) }]).await.expect("commit");
    until("the sent segments are gone", || log.stats().dropped_segments >= stats.segments / 2 - 2).await;
    assert_eq!(log.stats().backlog_records, (accepted - half.len()) as u64);
    append(&log, accepted).await.expect("room again");

    // After a restart the sender goes on behind its commit, and not one record is missing.
    drop(source);
    log.close();
    drop(log);
    let log = EmbeddedLog::open(config(dir.path())).expect("opens");
    let mut source = sender(&log).await;
    let records = read(&mut source, accepted + 1 - half.len()).await;
    assert_eq!(numbers(&records), (half.len()..=accepted).collect::<Vec<_>>());
    assert_eq!(log.stats().skipped, 0);
    let ends = [&A, &B].map(|spec| {
        let count = (0..=accepted).filter(|n| n.is_multiple_of(3) == (spec.name == B.name)).count();
        Commit { topic: spec, partition: 0, next_offset: count as i64 }
    });
    source.commit(&ends).await.expect("commit");
    until("all but the last segment are gone", || log.stats().segments == 1).await;
    let stats = log.stats();
    assert_eq!((stats.backlog_records, stats.backlog_bytes), (0, 0));
}

#[tokio::test]
async fn what_is_written_is_synced_behind_the_caller() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = EmbeddedLog::open(config(dir.path())).expect("opens");
    append(&log, 0).await.expect("append");
    tokio::time::timeout(Duration::from_secs(10), log.synced()).await.expect("in time").expect("synced");
    let stats = log.stats();
    assert!(stats.syncs >= 1 && stats.unsynced_bytes == 0 && stats.failed_syncs == 0, "{stats:?}");
}
