//! How a log is opened for writing.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::files::{Files, RealFiles};

#[derive(Debug, Clone)]
pub struct EmbeddedConfig {
    pub dir: PathBuf,
    pub ack: Ack,
    pub keep: Keep,
    /// Shortest time between two syncs, at most [`EmbeddedConfig::MAX_SYNC_EVERY`]. Zero: with [`Ack::Synced`] as often as there is
    /// something, with [`Ack::Written`] the most.
    pub sync_every: Duration,
    pub segment_bytes: u64,
    /// Bytes that may wait for the disk; beyond, `append` waits.
    pub max_pending_bytes: usize,
    /// Size of a file that takes room for worse times (see `EmbeddedLog::give_up_reserve`); zero: none.
    pub reserve_bytes: u64,
    pub files: Arc<dyn Files>,
}

/// When `append` answers, and from when readers see the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ack {
    /// They survive a power failure.
    Synced,
    /// They survive the process: they are in the page cache, and a second thread syncs them, which holds up nobody. When such a sync
    /// fails, that is counted and logged, and writing goes on in a new segment.
    Written,
}

/// What is kept, and what makes room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keep {
    /// The oldest segments go, by size and age; the newest values of state topics are carried forward.
    Age { age: Duration, bytes: u64 },
    /// For a log that is a way and not a store: a segment goes when this group has committed all of it, and never before. Over
    /// `bytes` an append is refused as on a full disk; commits are still taken. Compacted topics are kept like any other.
    Uncommitted { group: String, bytes: u64 },
}

impl Default for Keep {
    /// 30 days or 20 GiB.
    fn default() -> Self {
        Self::Age { age: Duration::from_secs(30 * 24 * 3600), bytes: 20 << 30 }
    }
}

impl EmbeddedConfig {
    pub const MAX_SYNC_EVERY: Duration = Duration::from_millis(50);

    /// The defaults of the platform.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            ack: Ack::Synced,
            keep: Keep::default(),
            sync_every: Duration::ZERO,
            segment_bytes: 64 << 20,
            max_pending_bytes: 32 << 20,
            reserve_bytes: 0,
            files: Arc::new(RealFiles),
        }
    }
}
