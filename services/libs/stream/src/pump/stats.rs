//! How far a pump is, for metrics and readiness.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

pub use super::{lag::TopicLag, parking::Spot};

/// Shared and live; read it at any time.
#[derive(Debug, Default)]
pub struct PumpStats {
    lag_events: AtomicU64,
    lag_us: AtomicU64,
    handled: AtomicU64,
    dead: AtomicU64,
    retries: AtomicU64,
    in_flight_events: AtomicUsize,
    in_flight_bytes: AtomicUsize,
    caught_up: AtomicBool,
    paused: AtomicBool,
    topics: Mutex<Vec<TopicLag>>,
    parked: Mutex<Vec<Spot>>,
}

impl PumpStats {
    /// Records between the first that is not handled and the end, over all topics.
    pub fn lag_events(&self) -> u64 {
        self.lag_events.load(Ordering::Relaxed)
    }

    /// The greatest age, in µs, that a record had in the last second without being handled; 0 when there was none. It grows while the
    /// pump waits or is stuck.
    pub fn lag_us(&self) -> u64 {
        self.lag_us.load(Ordering::Relaxed)
    }

    pub fn lag_seconds(&self) -> f64 {
        self.lag_us() as f64 / 1e6
    }

    /// The same, per topic.
    pub fn topics(&self) -> Vec<TopicLag> {
        self.topics.lock().clone()
    }

    /// Records handled, dead letters included.
    pub fn handled(&self) -> u64 {
        self.handled.load(Ordering::Relaxed)
    }

    /// Records that became dead letters.
    pub fn dead(&self) -> u64 {
        self.dead.load(Ordering::Relaxed)
    }

    /// Batches that had to be tried again.
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Read and not finished: events and bytes. At most the budget; only the record that reaches it in bytes may pass it.
    pub fn in_flight(&self) -> (usize, usize) {
        (self.in_flight_events.load(Ordering::Relaxed), self.in_flight_bytes.load(Ordering::Relaxed))
    }

    /// Everything that was there at the start has been handled, or waits for a schema.
    pub fn caught_up(&self) -> bool {
        self.caught_up.load(Ordering::Relaxed)
    }

    /// Waiting for a transient failure to pass.
    pub fn paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// The partitions that wait for a schema, and since when.
    pub fn parked(&self) -> Vec<Spot> {
        self.parked.lock().clone()
    }

    pub(super) fn set_lag(&self, topics: Vec<TopicLag>, slowest_us: u64) {
        let oldest_us = topics.iter().map(|t| t.oldest_us).max().unwrap_or(0);
        self.lag_events.store(topics.iter().map(|t| t.events).sum(), Ordering::Relaxed);
        self.lag_us.store(oldest_us.max(slowest_us), Ordering::Relaxed);
        *self.topics.lock() = topics;
    }

    pub(super) fn add_handled(&self, records: u64, dead: u64) {
        self.handled.fetch_add(records, Ordering::Relaxed);
        self.dead.fetch_add(dead, Ordering::Relaxed);
    }

    pub(super) fn add_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set_in_flight(&self, events: usize, bytes: usize) {
        self.in_flight_events.store(events, Ordering::Relaxed);
        self.in_flight_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn set_caught_up(&self) {
        self.caught_up.store(true, Ordering::Relaxed);
    }

    pub(super) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    pub(super) fn set_parked(&self, parked: Vec<Spot>) {
        *self.parked.lock() = parked;
    }
}
