//! The spool: an embedded log on the local disk between the ring and Kafka, so that an outage of hours is only a delay.
//!
//! ```text
//! ring ──forwarder──▶ spool ──sender──▶ Kafka
//! ring ──forwarder──────────────────▶ Kafka     while the disk fails or is slow, and only once the spool is sent
//! ```
//!
//! | module | what |
//! |---|---|
//! | `between` | what forwarder and sender agree on: whose turn it is to send, how far everything is |
//! | `entrance` | the forwarder's side: into the spool, or past it |
//! | `sender` | the sender's side: out of the spool, several appends in flight |
//! | `flight` | appends in flight, in order, and repeating them in order |
//! | `figures` | counters |

mod between;
mod entrance;
mod figures;
mod flight;
mod sender;

use std::{path::PathBuf, sync::Arc, time::Duration};

pub use self::figures::Way;
pub(crate) use self::{entrance::Entrance, figures::Figures};
use crate::{Ack, EmbeddedConfig, Files, Keep, RealFiles};

#[derive(Debug, Clone)]
pub struct SpoolConfig {
    pub dir: PathBuf,
    /// What may wait on the disk.
    pub max_bytes: u64,
    /// Room that is held so that the life of calls still fits when the disk is full.
    pub reserve_bytes: u64,
    /// A disk that takes longer for one write is worked around, if Kafka takes events.
    pub patience: Duration,
    /// The disk; tests put a faulty one here.
    pub files: Arc<dyn Files>,
}

/// The group under which the sender keeps its place.
const GROUP: &str = "sender";

impl SpoolConfig {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            max_bytes: 20 << 30,
            reserve_bytes: 64 << 20,
            patience: Duration::from_secs(1),
            files: Arc::new(RealFiles),
        }
    }

    fn log(&self) -> EmbeddedConfig {
        EmbeddedConfig {
            ack: Ack::Written,
            keep: Keep::Uncommitted { group: GROUP.to_owned(), bytes: self.max_bytes },
            reserve_bytes: self.reserve_bytes,
            files: self.files.clone(),
            ..EmbeddedConfig::new(&self.dir)
        }
    }
}
