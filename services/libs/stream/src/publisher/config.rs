//! How a publisher is started.

use std::{path::PathBuf, sync::Arc, time::Duration};

use domain::Clock;
use schemas::TopicSpec;

use crate::spool::SpoolConfig;

/// Decides by topic and key whether an event is published at all. `false`: it vanishes before it gets a number.
pub type Filter = Arc<dyn Fn(&TopicSpec, &[u8]) -> bool + Send + Sync>;

/// Where accepted events are until they are safe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ring {
    /// In the memory of this process: gone when it is killed. For tests and tools.
    Private { bytes: usize },
    /// In a file on a tmpfs: survives `kill -9`, not a reboot. The caller holds the instance's lock.
    Shared { dir: PathBuf, bytes: usize },
}

#[derive(Clone)]
pub struct PublisherConfig {
    /// `<service>/<instance>`.
    pub producer: String,
    /// Start of this process, which makes the numbers unambiguous. Greater than every earlier one of this producer.
    pub epoch: i64,
    pub clock: Arc<dyn Clock>,
    pub ring: Ring,
    /// A lone event waits this long in the ring for company, so that the way from there, and a sync, is shared.
    pub linger: Duration,
    /// With it, events go through a log on the local disk to `log`, which may be away for long (Kafka).
    pub spool: Option<SpoolConfig>,
    /// Whether this producer gives account of its numbers in `stream.manifests`.
    pub manifests: bool,
    /// Only the demo's sabotage uses it.
    pub filter: Option<Filter>,
}

impl PublisherConfig {
    /// A private ring of 16 MiB, 2 ms to linger, no spool, no manifests.
    pub fn new(producer: impl Into<String>, epoch: i64, clock: Arc<dyn Clock>) -> Self {
        let ring = Ring::Private { bytes: 16 << 20 };
        let linger = Duration::from_millis(2);
        Self { producer: producer.into(), epoch, clock, ring, linger, spool: None, manifests: false, filter: None }
    }
}
