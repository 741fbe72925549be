//! The event log port: what services may rely on, whatever stands behind it.
//!
//! Contract (one behaviour suite holds every adapter to it):
//! * offsets of a partition start at 0, grow by 1 and are given in the order of acknowledged appends;
//! * `append` answers `Ok` only when the batch is durable, and an error means that the sender still owns the batch: it may be there
//!   (in part) or not, so a retry can duplicate but never lose;
//! * headers, timestamps and tombstones are kept; a partition is read in order; across partitions there is no promise;
//! * a group's commit is a number per partition; what is not committed is read again after a restart;
//! * a reader's partitions change only inside `poll`, and every change gives the partitions that came a new number ([`Held`]). What was
//!   read under an older number is nobody's business any more: its result is dropped and its commit is not made.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use schemas::TopicSpec;

use crate::{
    Assigned, Bounds, Commit, Held, Lag, LogError, Outgoing, Record, Room, Subscription, Weakness, metrics::Meters,
};

#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// Creates missing topics; a different partition count is an error, because keys would land elsewhere.
    async fn ensure_topics(&self, topics: &[&'static TopicSpec]) -> Result<(), LogError>;

    /// What the log keeps less well than it should, with the command that mends it. Missing topics are not told.
    async fn weaknesses(&self, _topics: &[&'static TopicSpec]) -> Result<Vec<Weakness>, LogError> {
        Ok(Vec::new())
    }

    /// Adds this log's own figures to the metrics.
    fn meter(self: Arc<Self>, _meters: &Meters) {}

    /// Appends in order. `Ok` = durable (synced, or acknowledged by all in-sync replicas).
    async fn append(&self, batch: Vec<Outgoing>) -> Result<(), LogError> {
        self.append_shared(Arc::new(batch)).await
    }

    /// As `append`; the sender keeps its own handle on the batch, so a retry copies nothing. Several may be in flight: they are
    /// appended in the order in which they were first polled. When one fails, those behind it may fail or succeed; the sender waits
    /// for all and repeats from the first that failed. Not to be dropped before its answer.
    async fn append_shared(&self, batch: Arc<Vec<Outgoing>>) -> Result<(), LogError>;

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Source>, LogError>;

    /// A reader of exactly these partitions, without a group: whoever assigns (a lease, a tool) also keeps the positions. What
    /// retention has taken since is left out: the reader goes on with the first record that is there.
    async fn assign(&self, parts: Vec<Assigned>) -> Result<Box<dyn Source>, LogError>;

    /// As `assign`, with all partitions of one topic, one offset per partition.
    async fn read_from(&self, topic: &'static TopicSpec, offsets: &[i64]) -> Result<Box<dyn Source>, LogError> {
        let part = |p: i32| Assigned {
            topic,
            partition: p,
            next_offset: usize::try_from(p).ok().and_then(|p| offsets.get(p).copied()),
        };
        self.assign((0..topic.partitions).map(part).collect()).await
    }

    /// One entry per partition.
    async fn bounds(&self, topic: &'static TopicSpec) -> Result<Vec<Bounds>, LogError>;

    /// One entry per partition; `None` where the group never committed.
    async fn committed(&self, group: &str, topic: &'static TopicSpec) -> Result<Vec<Option<i64>>, LogError>;
}

/// One reader. Dropping it leaves the group.
#[async_trait]
pub trait Source: Send {
    /// What fits into `room`, and at least one record where there is one; waits at most `wait` for the first and then takes what
    /// is there. Empty when nothing came. Cancel safe: a dropped call loses nothing.
    async fn poll_within(&mut self, room: Room, wait: Duration) -> Result<Vec<Record>, LogError>;

    /// As `poll_within`, with the room in bytes that suits most.
    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<Record>, LogError> {
        self.poll_within(Room { events: max, ..Room::default() }, wait).await
    }

    /// The partitions of this reader, as of the last `poll`.
    fn held(&self) -> Held;

    /// Stores positions for the group. Without a group it does nothing. A partition that this reader no longer has is left out.
    async fn commit(&mut self, done: &[Commit]) -> Result<(), LogError>;

    /// What may be committed when a partition is about to go to somebody else: that happens inside `poll`, where nobody can be asked.
    fn offer(&mut self, _done: &[Commit]) {}

    /// These partitions give nothing until `unpark`, and then begin at this offset. The others go on.
    async fn park(&mut self, parts: &[Assigned]) -> Result<(), LogError>;

    async fn unpark(&mut self, parts: &[Assigned]) -> Result<(), LogError>;

    /// Position and end of every partition that this reader has now.
    async fn lag(&mut self) -> Result<Vec<Lag>, LogError>;

    /// While paused, `poll` returns nothing but keeps the group membership alive; positions stay.
    async fn pause(&mut self) -> Result<(), LogError>;

    async fn resume(&mut self) -> Result<(), LogError>;
}
