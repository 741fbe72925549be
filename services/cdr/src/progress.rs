//! How far the call log is, for whoever has to wait for it: the demo before it compares, a test before it looks.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::books::Applied;

#[derive(Clone)]
pub struct Progress {
    inner: Arc<Inner>,
}

struct Inner {
    next: Mutex<HashMap<(String, i32), i64>>,
    changed: watch::Sender<u64>,
    facts: AtomicU64,
}

impl Progress {
    #[must_use]
    pub fn new(next: HashMap<(String, i32), i64>) -> Progress {
        let inner = Inner { next: Mutex::new(next), changed: watch::Sender::new(0), facts: AtomicU64::new(0) };
        Progress { inner: Arc::new(inner) }
    }

    pub fn advance(&self, positions: &[(String, i32, i64)], applied: &Applied) {
        {
            let mut next = self.inner.next.lock();
            for (topic, partition, offset) in positions {
                next.insert((topic.clone(), *partition), *offset);
            }
        }
        self.inner.facts.fetch_add(applied.facts, Ordering::Relaxed);
        self.inner.changed.send_modify(|n| *n += 1);
    }

    /// New facts since the start.
    #[must_use]
    pub fn facts(&self) -> u64 {
        self.inner.facts.load(Ordering::Relaxed)
    }

    /// Whether everything below these offsets is in the rows.
    #[must_use]
    pub fn flushed_through(&self, ends: &[(String, i32, i64)]) -> bool {
        let next = self.inner.next.lock();
        ends.iter().all(|(topic, partition, end)| {
            *end == 0 || next.get(&(topic.clone(), *partition)).is_some_and(|at| at >= end)
        })
    }

    /// Records that are missing to these offsets.
    #[must_use]
    pub fn behind(&self, ends: &[(String, i32, i64)]) -> u64 {
        let next = self.inner.next.lock();
        let missing = |(topic, partition, end): &(String, i32, i64)| {
            let at = next.get(&(topic.clone(), *partition)).copied().unwrap_or(0);
            u64::try_from(end - at).unwrap_or(0)
        };
        ends.iter().map(missing).sum()
    }

    pub async fn wait_for(&self, ends: &[(String, i32, i64)]) {
        let mut changed = self.inner.changed.subscribe();
        while !self.flushed_through(ends) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }
}
