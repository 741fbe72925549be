//! A reader on Kafka. With a group that starts where it left off, the group shares the partitions out; in every other case this reader
//! takes its partitions by hand, at explicit offsets.
//!
//! A member that the group fenced (a zombie after a long stall, or a second process with its `group.instance.id`) has lost its
//! partitions, nothing more: it joins again with a new consumer.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{CommitMode, Consumer, StreamConsumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedMessage, Headers as _},
};
use schemas::TopicSpec;

use super::{
    ASK_TIMEOUT, KafkaConfig, NO_GROUP, blocking, edges, failed,
    figures::Watch,
    offset_of,
    share::{Part, Share, Sharing},
};
use crate::{Assigned, Commit, Headers, Held, Lag, LogError, Record, Room, Source, Start, Subscription, header};

pub struct KafkaSource {
    config: Arc<KafkaConfig>,
    /// `None` only while dropping.
    consumer: Option<Arc<StreamConsumer<Sharing>>>,
    share: Arc<Share>,
    group: Option<String>,
    /// The group shares the partitions out; else they were taken by hand.
    shared_out: bool,
    /// Read and not yet handed out, because there was no room: one record, with the number of its assignment.
    kept: VecDeque<(Record, Option<u64>)>,
    parked: BTreeMap<Part, Assigned>,
}

pub async fn subscribe(config: &Arc<KafkaConfig>, subscription: Subscription) -> Result<KafkaSource, LogError> {
    let mut source = open(config, subscription.group, &subscription.topics)?;
    if source.group.is_some() && subscription.start == Start::Committed {
        source.shared_out = true;
        source.join()?;
        return Ok(source);
    }
    let edge = if subscription.start == Start::End { Offset::End } else { Offset::Beginning };
    let (consumer, share) = (source.consumer(), source.share.clone());
    blocking(move || {
        let mut list = TopicPartitionList::new();
        for (name, spec) in share.specs() {
            for partition in 0..spec.partitions {
                list.add_partition(name, partition);
            }
        }
        // Explicit offsets, so that "from now on" means from this call on, not from the first fetch on.
        let list = edges(&*consumer, list, edge)?;
        consumer.assign(&list).map_err(|e| failed("cannot take the partitions", &e))?;
        share.give(&list);
        Ok(())
    })
    .await?;
    Ok(source)
}

/// These partitions by hand. Asks the broker nothing: an offset that retention has taken is moved to the first one that is there
/// (`auto.offset.reset`).
pub fn assign(config: &Arc<KafkaConfig>, parts: &[Assigned]) -> Result<KafkaSource, LogError> {
    let topics: Vec<&'static TopicSpec> = parts.iter().map(|part| part.topic).collect();
    let source = open(config, None, &topics)?;
    let mut list = TopicPartitionList::new();
    for part in parts {
        if part.partition < 0 || part.partition >= part.topic.partitions {
            return Err(LogError::NoPartition { topic: part.topic.name.to_owned(), partition: part.partition });
        }
        let offset = part.next_offset.map_or(Offset::Beginning, Offset::Offset);
        list.add_partition_offset(&config.topic(part.topic), part.partition, offset)
            .map_err(|e| failed("cannot begin there", &e))?;
    }
    source.consumer().assign(&list).map_err(|e| failed("cannot take the partitions", &e))?;
    source.share.give(&list);
    Ok(source)
}

fn open(
    config: &Arc<KafkaConfig>,
    group: Option<String>,
    topics: &[&'static TopicSpec],
) -> Result<KafkaSource, LogError> {
    let topics: HashMap<String, &'static TopicSpec> = topics.iter().map(|spec| (config.topic(spec), *spec)).collect();
    let share = Share::new(topics, 0);
    let consumer = make(config, group.as_deref(), &share)?;
    Ok(KafkaSource {
        config: config.clone(),
        consumer: Some(consumer),
        share,
        group,
        shared_out: false,
        kept: VecDeque::new(),
        parked: BTreeMap::new(),
    })
}

fn make(
    config: &KafkaConfig,
    group: Option<&str>,
    share: &Arc<Share>,
) -> Result<Arc<StreamConsumer<Sharing>>, LogError> {
    let group = group.unwrap_or(NO_GROUP);
    let consumer = config
        .consumer(group)
        .create_with_context(Sharing(share.clone(), Watch::new(&config.figures, group)))
        .map_err(|e| config.unusable("consumer", &e))?;
    Ok(Arc::new(consumer))
}

/// Leaving a group talks to the broker, which may be away: not on a task's thread.
fn leave(consumer: Option<Arc<StreamConsumer<Sharing>>>) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn_blocking(move || drop(consumer));
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        leave(self.consumer.take());
    }
}

impl KafkaSource {
    fn consumer(&self) -> Arc<StreamConsumer<Sharing>> {
        self.consumer.clone().expect("there is one until it is dropped")
    }

    fn join(&self) -> Result<(), LogError> {
        self.consumer().subscribe(&self.share.names()).map_err(|e| failed("cannot subscribe", &e))
    }

    /// A consumer in a fatal state stays there. The group has given its partitions to others: begin as a new member.
    fn join_again(&mut self, error: &str) -> Result<(), LogError> {
        tracing::warn!(error, "this member of the group was fenced or failed; it joins again as a new one");
        let epoch = self.share.held().epoch + 1;
        let topics = self.share.specs().map(|(name, spec)| (name.to_owned(), spec)).collect();
        let share = Share::new(topics, epoch);
        share.set_paused(self.share.is_paused());
        let consumer = make(&self.config, self.group.as_deref(), &share)?;
        self.share.end();
        self.share = share;
        leave(self.consumer.replace(consumer));
        self.kept.clear();
        self.parked.clear();
        self.join()
    }

    fn record(&self, message: &BorrowedMessage<'_>) -> Option<Record> {
        let topic = self.share.topic(message.topic())?;
        let headers = message.headers().map_or_else(Headers::new, |headers| {
            headers.iter().map(|h| (header::name(h.key), Bytes::copy_from_slice(h.value.unwrap_or_default()))).collect()
        });
        Some(Record {
            topic,
            partition: message.partition(),
            offset: message.offset(),
            timestamp_us: message.timestamp().to_millis().unwrap_or(0) * 1000,
            key: message.key().map_or_else(Bytes::new, Bytes::copy_from_slice),
            value: message.payload().map(Bytes::copy_from_slice),
            headers,
        })
    }

    fn list(&self, parts: impl Iterator<Item = Part>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (name, partition) in parts {
            if let Some((on_broker, _)) = self.share.specs().find(|(_, spec)| spec.name == name) {
                list.add_partition(on_broker, partition);
            }
        }
        list
    }

    fn set_paused(&self, paused: bool) -> Result<(), LogError> {
        self.share.set_paused(paused);
        let held = self.share.held();
        let list = self.list(held.parts.keys().copied().filter(|part| paused || !self.parked.contains_key(part)));
        if list.count() == 0 {
            return Ok(());
        }
        let result = if paused { self.consumer().pause(&list) } else { self.consumer().resume(&list) };
        result.map_err(|e| failed("cannot pause or resume", &e))
    }

    /// Hands out what is still ours: a rebalance can come between two records of one batch.
    fn still_ours(&self, taken: Vec<(Record, Option<u64>)>) -> Vec<Record> {
        let held = self.share.held();
        let ours = |record: &Record, number: Option<u64>| {
            number.is_some() && held.parts.get(&(record.topic.name, record.partition)).copied() == number
        };
        taken.into_iter().filter(|(record, number)| ours(record, *number)).map(|(record, _)| record).collect()
    }
}

#[async_trait]
impl Source for KafkaSource {
    async fn poll_within(&mut self, room: Room, wait: Duration) -> Result<Vec<Record>, LogError> {
        if self.shared_out
            && let Some((_, reason)) = self.consumer().client().fatal_error()
        {
            self.join_again(&reason)?;
        }
        let consumer = self.consumer();
        let mut stream = consumer.stream();
        let mut next = if self.kept.is_empty() || self.share.is_paused() {
            // A dropped wait has taken no message; afterwards there is no await until the records are returned.
            let Ok(first) = tokio::time::timeout(wait, stream.next()).await else { return Ok(Vec::new()) };
            first
        } else {
            None
        };
        let mut taken: Vec<(Record, Option<u64>)> = Vec::new();
        let mut bytes = 0;
        if !self.share.is_paused() {
            for (record, number) in self.kept.drain(..) {
                bytes += record.size_bytes();
                taken.push((record, number));
            }
            if next.is_none() {
                next = stream.next().now_or_never().flatten();
            }
        }
        while let Some(message) = next {
            match message {
                Ok(message) => {
                    let Some(record) = self.record(&message) else { break };
                    let number = self.share.number((record.topic.name, record.partition));
                    let size = record.size_bytes();
                    if !taken.is_empty() && bytes + size > room.bytes {
                        self.kept.push_back((record, number));
                        break;
                    }
                    bytes += size;
                    taken.push((record, number));
                }
                // The next call joins again; what was read meanwhile is not ours any more.
                Err(KafkaError::MessageConsumptionFatal(_)) if self.shared_out => break,
                // The group took our partitions because we had not polled for too long; the next poll joins again.
                Err(KafkaError::MessageConsumption(RDKafkaErrorCode::PollExceeded)) => {
                    tracing::warn!("the group took its partitions back, because nothing was read for too long");
                    break;
                }
                Err(error) if taken.is_empty() => return Err(failed("cannot read", &error)),
                Err(error) => {
                    tracing::debug!(%error, "kafka consumer");
                    break;
                }
            }
            if taken.len() >= room.events || bytes >= room.bytes {
                break;
            }
            next = stream.next().now_or_never().flatten();
        }
        Ok(self.still_ours(taken))
    }

    fn held(&self) -> Held {
        self.share.held()
    }

    fn offer(&mut self, done: &[Commit]) {
        if self.group.is_some() {
            self.share.offer(done);
        }
    }

    async fn commit(&mut self, done: &[Commit]) -> Result<(), LogError> {
        if self.group.is_none() || done.is_empty() {
            return Ok(());
        }
        let held = self.share.held();
        let mut list = TopicPartitionList::new();
        for commit in done {
            // A partition that went to somebody else is theirs to commit; ours could set it back.
            if held.parts.contains_key(&(commit.topic.name, commit.partition)) {
                let name = self.config.topic(commit.topic);
                list.add_partition_offset(&name, commit.partition, Offset::Offset(commit.next_offset))
                    .map_err(|e| failed("cannot commit", &e))?;
            }
        }
        if list.count() == 0 {
            return Ok(());
        }
        let consumer = self.consumer();
        blocking(move || consumer.commit(&list, CommitMode::Sync).map_err(|e| failed("cannot commit", &e))).await
    }

    async fn park(&mut self, parts: &[Assigned]) -> Result<(), LogError> {
        self.parked.extend(parts.iter().map(|part| ((part.topic.name, part.partition), *part)));
        let parked = &self.parked;
        self.kept.retain(|(record, _)| !parked.contains_key(&(record.topic.name, record.partition)));
        let list = self.list(parts.iter().map(|part| (part.topic.name, part.partition)));
        self.consumer().pause(&list).map_err(|e| failed("cannot pause a partition", &e))
    }

    async fn unpark(&mut self, parts: &[Assigned]) -> Result<(), LogError> {
        let held = self.share.held();
        let mut list = TopicPartitionList::new();
        for part in parts {
            self.parked.remove(&(part.topic.name, part.partition));
            if held.parts.contains_key(&(part.topic.name, part.partition)) {
                let offset = part.next_offset.map_or(Offset::Beginning, Offset::Offset);
                list.add_partition_offset(&self.config.topic(part.topic), part.partition, offset)
                    .map_err(|e| failed("cannot begin there", &e))?;
            }
        }
        if list.count() == 0 {
            return Ok(());
        }
        let (consumer, paused) = (self.consumer(), self.share.is_paused());
        blocking(move || {
            if !paused {
                consumer.resume(&list).map_err(|e| failed("cannot resume a partition", &e))?;
            }
            // What the partition gave between the two calls is outdated by the second and never handed out.
            let answer =
                consumer.seek_partitions(list, ASK_TIMEOUT).map_err(|e| failed("cannot go back in a partition", &e))?;
            answer
                .elements()
                .iter()
                .try_for_each(|e| e.error())
                .map_err(|e| failed("cannot go back in a partition", &e))
        })
        .await
    }

    async fn lag(&mut self) -> Result<Vec<Lag>, LogError> {
        let (consumer, share) = (self.consumer(), self.share.clone());
        let parked = self.parked.clone();
        blocking(move || {
            let assigned = consumer.assignment().map_err(|e| failed("cannot see the assignment", &e))?;
            if assigned.count() == 0 {
                return Ok(Vec::new());
            }
            let ends = edges(&*consumer, assigned.clone(), Offset::End)?;
            let positions = consumer.position().map_err(|e| failed("cannot see the positions", &e))?;
            let fresh = assigned.elements().iter().any(|e| offset_of(&positions, e.topic(), e.partition()).is_none());
            // Before the first record of a partition there is no position: it will start at its commit, else at its beginning, or
            // where it was assigned by hand.
            let (commits, begins) = if fresh {
                let commits = consumer
                    .committed_offsets(assigned.clone(), ASK_TIMEOUT)
                    .map_err(|e| failed("cannot ask for commits", &e))?;
                (Some(commits), Some(edges(&*consumer, assigned.clone(), Offset::Beginning)?))
            } else {
                (None, None)
            };
            let look = |list: &Option<TopicPartitionList>, topic: &str, partition| {
                list.as_ref().and_then(|l| offset_of(l, topic, partition))
            };
            let mut out = Vec::new();
            for element in assigned.elements() {
                let (name, partition) = (element.topic(), element.partition());
                let Some(topic) = share.topic(name) else { continue };
                let by_hand = match element.offset() {
                    Offset::Offset(offset) => Some(offset),
                    _ => None,
                };
                let waits = parked.get(&(topic.name, partition)).and_then(|part| part.next_offset);
                let position = waits
                    .or_else(|| offset_of(&positions, name, partition))
                    .or(by_hand)
                    .or_else(|| look(&commits, name, partition))
                    .or_else(|| look(&begins, name, partition))
                    .unwrap_or(0);
                let end = offset_of(&ends, name, partition).unwrap_or(position);
                out.push(Lag { topic, partition, position, end });
            }
            Ok(out)
        })
        .await
    }

    async fn pause(&mut self) -> Result<(), LogError> {
        self.set_paused(true)
    }

    async fn resume(&mut self) -> Result<(), LogError> {
        if self.share.is_paused() { self.set_paused(false) } else { Ok(()) }
    }
}
