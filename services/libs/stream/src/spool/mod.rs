//! The spool: an embedded log on the local disk between the ring and Kafka, so that an outage of hours is only a delay.

mod figures;

use std::{path::PathBuf, time::Duration};

pub(crate) use self::figures::Figures;
pub use self::figures::Way;

#[derive(Debug, Clone)]
pub struct SpoolConfig {
    pub dir: PathBuf,
    /// What may wait on the disk.
    pub max_bytes: u64,
    /// Room that is held so that the life of calls still fits when the disk is full.
    pub reserve_bytes: u64,
    /// A disk that takes longer for one write is worked around, if Kafka takes events.
    pub patience: Duration,
}

impl SpoolConfig {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), max_bytes: 20 << 30, reserve_bytes: 64 << 20, patience: Duration::from_secs(1) }
    }
}
