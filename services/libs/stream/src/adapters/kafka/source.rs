//! A reader on Kafka. With a group that starts where it left off, the group shares the partitions out; in every other case this reader
//! takes all partitions by hand, at explicit offsets.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{CommitMode, Consumer, StreamConsumer},
    message::{BorrowedMessage, Headers as _},
};
use schemas::TopicSpec;

use super::{ASK_TIMEOUT, KafkaConfig, NO_GROUP, blocking, client::Quiet, edges, failed, offset_of};
use crate::{Commit, Headers, Lag, LogError, Record, Source, Start, Subscription, header};

pub struct KafkaSource {
    config: Arc<KafkaConfig>,
    /// `None` only while dropping.
    consumer: Option<Arc<StreamConsumer<Quiet>>>,
    /// By the name on the broker.
    topics: Arc<HashMap<String, &'static TopicSpec>>,
    has_group: bool,
    paused: bool,
}

pub async fn subscribe(config: &Arc<KafkaConfig>, subscription: Subscription) -> Result<KafkaSource, LogError> {
    let source = open(config, subscription.group.as_deref(), &subscription.topics)?;
    if source.has_group && subscription.start == Start::Committed {
        let names: Vec<&str> = source.topics.keys().map(String::as_str).collect();
        source.consumer().subscribe(&names).map_err(|e| failed("cannot subscribe", &e))?;
        return Ok(source);
    }
    let edge = if subscription.start == Start::End { Offset::End } else { Offset::Beginning };
    let (consumer, topics) = (source.consumer(), source.topics.clone());
    blocking(move || {
        let mut list = TopicPartitionList::new();
        for (name, spec) in topics.iter() {
            for partition in 0..spec.partitions {
                list.add_partition(name, partition);
            }
        }
        // Explicit offsets, so that "from now on" means from this call on, not from the first fetch on.
        let list = edges(&*consumer, list, edge)?;
        consumer.assign(&list).map_err(|e| failed("cannot take the partitions", &e))
    })
    .await?;
    Ok(source)
}

/// All partitions of one topic by hand, at these offsets. Asks the broker nothing: an offset that retention has taken is moved to the
/// first one that is there (`auto.offset.reset`).
pub fn read_from(
    config: &Arc<KafkaConfig>,
    topic: &'static TopicSpec,
    offsets: &[i64],
) -> Result<KafkaSource, LogError> {
    let source = open(config, None, &[topic])?;
    let mut list = TopicPartitionList::new();
    for (partition, offset) in (0..topic.partitions).zip(offsets) {
        list.add_partition_offset(&config.topic(topic), partition, Offset::Offset(*offset))
            .map_err(|e| failed("cannot begin there", &e))?;
    }
    source.consumer().assign(&list).map_err(|e| failed("cannot take the partitions", &e))?;
    Ok(source)
}

fn open(
    config: &Arc<KafkaConfig>,
    group: Option<&str>,
    topics: &[&'static TopicSpec],
) -> Result<KafkaSource, LogError> {
    let consumer: StreamConsumer<Quiet> = config
        .consumer(group.unwrap_or(NO_GROUP))
        .create_with_context(Quiet)
        .map_err(|e| LogError::Config(format!("kafka consumer: {e}")))?;
    let topics: HashMap<String, &'static TopicSpec> = topics.iter().map(|spec| (config.topic(spec), *spec)).collect();
    Ok(KafkaSource {
        config: config.clone(),
        consumer: Some(Arc::new(consumer)),
        topics: Arc::new(topics),
        has_group: group.is_some(),
        paused: false,
    })
}

impl Drop for KafkaSource {
    /// Leaving a group talks to the broker, which may be away: not on a task's thread.
    fn drop(&mut self) {
        let consumer = self.consumer.take();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || drop(consumer));
        }
    }
}

impl KafkaSource {
    fn consumer(&self) -> Arc<StreamConsumer<Quiet>> {
        self.consumer.clone().expect("there is one until it is dropped")
    }

    fn record(&self, message: &BorrowedMessage<'_>) -> Option<Record> {
        let topic = self.topics.get(message.topic()).copied()?;
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

    fn set_paused(&self, paused: bool) -> Result<(), LogError> {
        let list = self.consumer().assignment().map_err(|e| failed("cannot see the assignment", &e))?;
        if list.count() == 0 {
            return Ok(());
        }
        let result = if paused { self.consumer().pause(&list) } else { self.consumer().resume(&list) };
        result.map_err(|e| failed("cannot pause or resume", &e))
    }
}

#[async_trait]
impl Source for KafkaSource {
    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<Record>, LogError> {
        let mut out = Vec::new();
        let consumer = self.consumer();
        let mut stream = consumer.stream();
        // A dropped wait has taken no message; afterwards there is no await until the records are returned.
        let Ok(first) = tokio::time::timeout(wait, stream.next()).await else { return Ok(out) };
        let mut next = first;
        while let Some(message) = next {
            match message {
                Ok(message) => out.extend(self.record(&message)),
                Err(error) if out.is_empty() => return Err(failed("cannot read", &error)),
                Err(error) => {
                    tracing::debug!(%error, "kafka consumer");
                    break;
                }
            }
            if out.len() >= max {
                break;
            }
            next = stream.next().now_or_never().flatten();
        }
        Ok(out)
    }

    async fn commit(&mut self, done: &[Commit]) -> Result<(), LogError> {
        if !self.has_group || done.is_empty() {
            return Ok(());
        }
        let assigned = self.consumer().assignment().map_err(|e| failed("cannot see the assignment", &e))?;
        let mut list = TopicPartitionList::new();
        for commit in done {
            let name = self.config.topic(commit.topic);
            // A partition that went to somebody else is theirs to commit; ours could set it back.
            if assigned.find_partition(&name, commit.partition).is_some() {
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

    async fn lag(&mut self) -> Result<Vec<Lag>, LogError> {
        let (consumer, topics) = (self.consumer(), self.topics.clone());
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
                let Some(topic) = topics.get(name).copied() else { continue };
                let by_hand = match element.offset() {
                    Offset::Offset(offset) => Some(offset),
                    _ => None,
                };
                let position = offset_of(&positions, name, partition)
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
        self.paused = true;
        self.set_paused(true)
    }

    async fn resume(&mut self) -> Result<(), LogError> {
        if std::mem::take(&mut self.paused) { self.set_paused(false) } else { Ok(()) }
    }
}
