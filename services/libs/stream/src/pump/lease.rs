//! Which partitions a pump reads: by its group and topics, or by a lease that somebody else holds for it.
//!
//! A handler of leased partitions keeps the positions in its own store, in the same transaction as the effects; the number of the lease
//! is the fence there. The pump does the rest: what was read under an older number is neither settled nor committed.

use schemas::TopicSpec;
use tokio::sync::watch;

use crate::Assigned;

/// A partition that this pump may read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leased {
    /// `next_offset` comes from the handler's store.
    pub part: Assigned,
    /// The lease's generation. A new one for the same partition begins again at `next_offset`.
    pub epoch: u64,
}

#[derive(Debug, Clone, Default)]
pub enum Assignment {
    /// Whatever `group`, `topics` and `start` say.
    #[default]
    Subscribed,
    /// Exactly these partitions, as they change. Nothing is read when the sender is gone. `group`, `topics` and `start` are not used.
    Leased(watch::Receiver<Vec<Leased>>),
}

/// What a handler of leased partitions writes into its store with the effects of a batch: `next_offset` in place of `expected`, where
/// the generation is still `epoch`; anything else means that the lease is somebody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub topic: &'static TopicSpec,
    pub partition: i32,
    pub epoch: u64,
    /// What the store says now, if all is well. `None`: nothing yet.
    pub expected: Option<i64>,
    pub next_offset: i64,
}
