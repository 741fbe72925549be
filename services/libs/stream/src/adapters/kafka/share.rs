//! Which partitions a consumer has, kept by librdkafka's callbacks.
//!
//! The callbacks run inside `poll`, on the thread that polls. What is about to be taken away is committed first, as far as it was
//! offered, and without waiting for the answer: librdkafka sends it before it gives the partition up. An assignment that is already lost
//! is not committed: somebody else has it, and ours could set theirs back.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;
use rdkafka::{
    ClientContext, Offset, Statistics, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance},
    error::{KafkaError, KafkaResult},
};
use schemas::TopicSpec;

use super::{client, figures::Watch};
use crate::{Commit, Held};

/// Topic and partition, with our name of the topic.
pub type Part = (&'static str, i32);

pub struct Share {
    /// By the name on the broker.
    topics: HashMap<String, &'static TopicSpec>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    held: Held,
    offered: BTreeMap<Part, i64>,
    paused: bool,
    /// Replaced by a newer consumer: says nothing any more.
    over: bool,
}

impl Share {
    pub fn new(topics: HashMap<String, &'static TopicSpec>, epoch: u64) -> Arc<Self> {
        let held = Held { epoch, ..Held::default() };
        Arc::new(Self { topics, inner: Mutex::new(Inner { held, ..Inner::default() }) })
    }

    pub fn topic(&self, name: &str) -> Option<&'static TopicSpec> {
        self.topics.get(name).copied()
    }

    pub fn names(&self) -> Vec<&str> {
        self.topics.keys().map(String::as_str).collect()
    }

    pub fn specs(&self) -> impl Iterator<Item = (&str, &'static TopicSpec)> {
        self.topics.iter().map(|(name, spec)| (name.as_str(), *spec))
    }

    pub fn held(&self) -> Held {
        self.inner.lock().held.clone()
    }

    pub fn number(&self, part: Part) -> Option<u64> {
        self.inner.lock().held.parts.get(&part).copied()
    }

    pub fn offer(&self, done: &[Commit]) {
        let mut inner = self.inner.lock();
        for commit in done {
            let part = (commit.topic.name, commit.partition);
            if inner.held.parts.contains_key(&part) {
                inner.offered.insert(part, commit.next_offset);
            }
        }
    }

    /// Newly given partitions are paused, too, while this holds.
    pub fn set_paused(&self, paused: bool) {
        self.inner.lock().paused = paused;
    }

    pub fn is_paused(&self) -> bool {
        self.inner.lock().paused
    }

    pub fn end(&self) {
        let mut inner = self.inner.lock();
        inner.over = true;
        inner.offered.clear();
    }

    pub fn give(&self, list: &TopicPartitionList) {
        let mut inner = self.inner.lock();
        inner.held.epoch += 1;
        let epoch = inner.held.epoch;
        let parts = Arc::make_mut(&mut inner.held.parts);
        parts.extend(self.parts(list).map(|part| (part, epoch)));
    }

    fn take(&self, list: &TopicPartitionList) {
        let mut inner = self.inner.lock();
        inner.held.epoch += 1;
        for part in self.parts(list) {
            Arc::make_mut(&mut inner.held.parts).remove(&part);
            inner.offered.remove(&part);
        }
    }

    fn take_all(&self) {
        let mut inner = self.inner.lock();
        inner.held = Held { epoch: inner.held.epoch + 1, ..Held::default() };
        inner.offered.clear();
    }

    fn parts(&self, list: &TopicPartitionList) -> impl Iterator<Item = Part> {
        let elements = list.elements();
        let parts: Vec<Part> =
            elements.iter().filter_map(|e| Some((self.topic(e.topic())?.name, e.partition()))).collect();
        parts.into_iter()
    }

    /// What was offered of these partitions, ready to be committed.
    fn offered(&self, list: &TopicPartitionList) -> TopicPartitionList {
        let inner = self.inner.lock();
        let mut out = TopicPartitionList::new();
        for element in list.elements() {
            let Some(topic) = self.topic(element.topic()) else { continue };
            let Some(next) = inner.offered.get(&(topic.name, element.partition())) else { continue };
            // It fails only for an offset below zero, which nobody offers.
            let _bad_offset = out.add_partition_offset(element.topic(), element.partition(), Offset::Offset(*next));
        }
        out
    }
}

/// The context of a consumer that reports to a [`Share`], and its figures to the metrics.
pub struct Sharing(pub Arc<Share>, pub Watch);

impl ClientContext for Sharing {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        client::log(level, fac, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::complain(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.1.note(&statistics);
    }
}

impl ConsumerContext for Sharing {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(_) => {}
            Rebalance::Revoke(list) => {
                let lost = consumer.assignment_lost();
                let offered = self.0.offered(list);
                if !lost
                    && offered.count() > 0
                    && let Err(error) = consumer.commit(&offered, CommitMode::Async)
                {
                    tracing::warn!(%error, "a last commit before giving partitions up failed; some records come twice");
                }
                tracing::info!(partitions = list.count(), lost, "partitions of the group go to another member");
                self.0.take(list);
            }
            Rebalance::Error(error) => {
                tracing::warn!(%error, "the group's partitions are lost");
                self.0.take_all();
            }
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(list) = rebalance else { return };
        if list.count() == 0 {
            return;
        }
        tracing::info!(partitions = list.count(), "partitions of the group came to this member");
        if self.0.is_paused()
            && let Err(error) = consumer.pause(list)
        {
            tracing::warn!(%error, "new partitions could not be paused");
        }
        self.0.give(list);
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, "kafka commit");
        }
    }
}
