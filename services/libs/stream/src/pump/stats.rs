//! How far a pump is, for metrics and readiness.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Shared and live; read it at any time.
#[derive(Debug, Default)]
pub struct PumpStats {
    lag_events: AtomicU64,
    lag_us: AtomicU64,
    handled: AtomicU64,
    dead: AtomicU64,
    retries: AtomicU64,
    caught_up: AtomicBool,
    paused: AtomicBool,
}

macro_rules! count {
    ($($(#[$doc:meta])* $get:ident, $field:ident, $set:ident;)*) => {
        impl PumpStats {
            $($(#[$doc])* pub fn $get(&self) -> u64 { self.$field.load(Ordering::Relaxed) }
            pub(super) fn $set(&self, value: u64) { self.$field.store(value, Ordering::Relaxed); })*
        }
    };
}

count! {
    /// Records between the committed-to position and the end of the topics.
    lag_events, lag_events, set_lag_events;
    /// How old a record is when its batch is done, in µs: the slowest of the last second. While nothing gets done, the age of
    /// the newest handled record; 0 when there is nothing to do.
    lag_us, lag_us, set_lag_us;
}

impl PumpStats {
    pub fn lag_seconds(&self) -> f64 {
        self.lag_us() as f64 / 1e6
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

    /// Everything that was there at the start has been handled.
    pub fn caught_up(&self) -> bool {
        self.caught_up.load(Ordering::Relaxed)
    }

    /// Waiting for a transient failure to pass.
    pub fn paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    pub(super) fn add_handled(&self, records: u64, dead: u64) {
        self.handled.fetch_add(records, Ordering::Relaxed);
        self.dead.fetch_add(dead, Ordering::Relaxed);
    }

    pub(super) fn add_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set_caught_up(&self) {
        self.caught_up.store(true, Ordering::Relaxed);
    }

    pub(super) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }
}
