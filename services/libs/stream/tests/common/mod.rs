//! Helpers of the tests: topics, records, clocks, and waiting for a condition with a deadline.
#![allow(dead_code, reason = "every test file uses its own part")]

pub mod cluster;
pub mod fake;
pub mod kafka;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use domain::{Clock, Now};
use schemas::{Class, Retention, TopicSpec};
use stream::{EventLog, Outgoing, Record, Source};

pub const DEADLINE: Duration = Duration::from_secs(120);

pub const fn topic(name: &'static str, partitions: i32, compacted: bool) -> TopicSpec {
    TopicSpec {
        name,
        partitions,
        retention: Retention::Days(30),
        compacted,
        version: 1,
        schema_id: 0x7000_0000,
        schema: "\"bytes\"",
        retired: &[],
        class: Class::Life,
    }
}

pub fn outgoing(topic: &'static TopicSpec, key: &str, value: &str) -> Outgoing {
    Outgoing {
        topic,
        partition: domain::partition::for_key(key.as_bytes(), topic.partitions),
        timestamp_us: 1_700_000_000_000_000,
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: Vec::new(),
    }
}

pub fn value(record: &Record) -> &str {
    std::str::from_utf8(record.value.as_deref().expect("a value")).expect("text")
}

/// Reads until `n` records came.
pub async fn read(source: &mut Box<dyn Source>, n: usize) -> Vec<Record> {
    let give_up = Instant::now() + DEADLINE;
    let mut out = Vec::new();
    while out.len() < n {
        assert!(Instant::now() < give_up, "only {} of {n} records came", out.len());
        out.extend(source.poll(n - out.len(), Duration::from_millis(200)).await.expect("poll"));
    }
    out
}

/// Waits until the condition holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let give_up = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < give_up, "gave up waiting until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub async fn append(log: &Arc<dyn EventLog>, batch: Vec<Outgoing>) {
    tokio::time::timeout(DEADLINE, log.append(batch)).await.expect("in time").expect("append");
}

/// Real monotonic time from a fixed start.
pub struct TestClock(Instant);

impl TestClock {
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(Self(Instant::now()))
    }
}

impl Clock for TestClock {
    fn now(&self) -> Now {
        let us = u64::try_from(self.0.elapsed().as_micros()).expect("a short test");
        Now { wall_us: 1_700_000_000_000_000, mono_us: 1 }.plus_us(us)
    }
}
