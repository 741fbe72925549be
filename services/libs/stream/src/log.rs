//! The event log port: what services may rely on, whatever stands behind it.
//!
//! Contract (one behaviour suite holds every adapter to it):
//! * offsets of a partition start at 0, grow by 1 and are given in the order of acknowledged appends;
//! * `append` answers `Ok` only when the batch is durable, and an error means that the sender still owns the batch: it may be there
//!   (in part) or not, so a retry can duplicate but never lose;
//! * headers, timestamps and tombstones are kept; a partition is read in order; across partitions there is no promise;
//! * a group's commit is a number per partition; what is not committed is read again after a restart.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use schemas::TopicSpec;

use crate::{Bounds, Commit, Lag, LogError, Outgoing, Record, Subscription};

#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// Creates missing topics; a different partition count is an error, because keys would land elsewhere.
    async fn ensure_topics(&self, topics: &[&'static TopicSpec]) -> Result<(), LogError>;

    /// Appends in order. `Ok` = durable (synced, or acknowledged by all in-sync replicas).
    async fn append(&self, batch: Vec<Outgoing>) -> Result<(), LogError> {
        self.append_shared(Arc::new(batch)).await
    }

    /// As `append`; the sender keeps its own handle on the batch, so a retry copies nothing.
    async fn append_shared(&self, batch: Arc<Vec<Outgoing>>) -> Result<(), LogError>;

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Source>, LogError>;

    /// A reader without a group that begins each partition of one topic at the given offset, one per partition. What retention has
    /// taken since is left out: the reader goes on with the first record that is there.
    async fn read_from(&self, topic: &'static TopicSpec, offsets: &[i64]) -> Result<Box<dyn Source>, LogError>;

    /// One entry per partition.
    async fn bounds(&self, topic: &'static TopicSpec) -> Result<Vec<Bounds>, LogError>;

    /// One entry per partition; `None` where the group never committed.
    async fn committed(&self, group: &str, topic: &'static TopicSpec) -> Result<Vec<Option<i64>>, LogError>;
}

/// One reader. Dropping it leaves the group.
#[async_trait]
pub trait Source: Send {
    /// Up to `max` records; waits at most `wait` for the first one and then takes what is there. Empty when nothing came.
    /// Cancel safe: a dropped call loses nothing.
    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<Record>, LogError>;

    /// Stores positions for the group. Without a group it does nothing.
    async fn commit(&mut self, done: &[Commit]) -> Result<(), LogError>;

    /// Position and end of every partition that this reader has now.
    async fn lag(&mut self) -> Result<Vec<Lag>, LogError>;

    /// While paused, `poll` returns nothing but keeps the group membership alive; positions stay.
    async fn pause(&mut self) -> Result<(), LogError>;

    async fn resume(&mut self) -> Result<(), LogError>;
}
