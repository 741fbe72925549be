//! The event log on Kafka, through librdkafka.
//!
//! Settled here: idempotent producer with `acks=all` and no delivery time-out (an outage makes `append` wait, so the order survives
//! it); partitions given by us; offsets committed by hand only; every setting can be overridden in `extra`, which also carries TLS and
//! SASL. Timestamps have Kafka's milliseconds. Blocking calls of librdkafka run on the blocking pool.

mod admin;
mod client;
mod producer;
mod share;
mod source;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaError,
};
use schemas::TopicSpec;

pub use self::admin::topic_settings;
use self::{client::Quiet, producer::BatchProducer};
use crate::{Assigned, Bounds, EventLog, LogError, Outgoing, Source, Subscription};

#[derive(Debug, Clone, Default)]
pub struct KafkaConfig {
    /// `host:port,host:port`.
    pub bootstrap: String,
    /// Put before every topic's name.
    pub topic_prefix: String,
    /// Settings of librdkafka, passed to every client; they win over ours.
    pub extra: BTreeMap<String, String>,
}

impl KafkaConfig {
    fn base(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        config
    }

    fn finish(&self, mut config: ClientConfig) -> ClientConfig {
        for (key, value) in &self.extra {
            config.set(key, value);
        }
        config
    }

    fn topic(&self, spec: &TopicSpec) -> String {
        format!("{}{}", self.topic_prefix, spec.name)
    }

    fn consumer(&self, group: &str) -> ClientConfig {
        let mut config = self.base();
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("partition.assignment.strategy", "cooperative-sticky")
            // Memory per reader.
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.wait.max.ms", "100");
        self.finish(config)
    }
}

/// How long one question to the cluster may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// Group id of readers that have none: librdkafka wants one, nothing is ever committed under it.
const NO_GROUP: &str = "trunkline-reader";

pub struct KafkaLog {
    config: Arc<KafkaConfig>,
    producer: BatchProducer,
}

impl KafkaLog {
    /// Makes the clients. Does not need a broker.
    pub fn new(config: KafkaConfig) -> Result<Self, LogError> {
        let config = Arc::new(config);
        let producer = BatchProducer::new(config.clone())?;
        Ok(Self { config, producer })
    }
}

#[async_trait]
impl EventLog for KafkaLog {
    async fn ensure_topics(&self, topics: &[&'static TopicSpec]) -> Result<(), LogError> {
        admin::ensure_topics(&self.config, topics).await
    }

    async fn append_shared(&self, batch: Arc<Vec<Outgoing>>) -> Result<(), LogError> {
        self.producer.append(&batch).await
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Source>, LogError> {
        Ok(Box::new(source::subscribe(&self.config, subscription).await?))
    }

    async fn assign(&self, parts: Vec<Assigned>) -> Result<Box<dyn Source>, LogError> {
        Ok(Box::new(source::assign(&self.config, &parts)?))
    }

    async fn bounds(&self, topic: &'static TopicSpec) -> Result<Vec<Bounds>, LogError> {
        let config = self.config.clone();
        blocking(move || {
            let consumer = plain_consumer(&config, NO_GROUP)?;
            let name = config.topic(topic);
            let begins = edge_offsets(&consumer, &name, topic.partitions, Offset::Beginning)?;
            let ends = edge_offsets(&consumer, &name, topic.partitions, Offset::End)?;
            Ok(begins.into_iter().zip(ends).map(|(begin, end)| Bounds { begin, end }).collect())
        })
        .await
    }

    async fn committed(&self, group: &str, topic: &'static TopicSpec) -> Result<Vec<Option<i64>>, LogError> {
        let config = self.config.clone();
        let group = group.to_owned();
        blocking(move || {
            let consumer = plain_consumer(&config, &group)?;
            let list = all_partitions(&config.topic(topic), topic.partitions);
            let answer =
                consumer.committed_offsets(list, ASK_TIMEOUT).map_err(|e| failed("cannot ask for commits", &e))?;
            Ok((0..topic.partitions).map(|p| offset_of(&answer, &config.topic(topic), p)).collect())
        })
        .await
    }
}

fn plain_consumer(config: &KafkaConfig, group: &str) -> Result<BaseConsumer<Quiet>, LogError> {
    config.consumer(group).create_with_context(Quiet).map_err(|e| failed("cannot make a consumer", &e))
}

fn all_partitions(topic: &str, partitions: i32) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition(topic, partition);
    }
    list
}

/// First offset or end of every partition, in one question: librdkafka takes `Beginning` and `End` in place of a time.
fn edge_offsets(
    consumer: &impl Consumer<Quiet>,
    topic: &str,
    partitions: i32,
    edge: Offset,
) -> Result<Vec<i64>, LogError> {
    let list = all_partitions(topic, partitions);
    let answer = edges(consumer, list, edge)?;
    Ok((0..partitions).map(|p| offset_of(&answer, topic, p).unwrap_or(0)).collect())
}

fn edges<C: ConsumerContext>(
    consumer: &impl Consumer<C>,
    mut list: TopicPartitionList,
    edge: Offset,
) -> Result<TopicPartitionList, LogError> {
    list.set_all_offsets(edge).map_err(|e| failed("cannot ask for offsets", &e))?;
    let answer = consumer.offsets_for_times(list, ASK_TIMEOUT).map_err(|e| failed("cannot ask for offsets", &e))?;
    for element in answer.elements() {
        element.error().map_err(|e| failed("cannot ask for offsets", &e))?;
    }
    Ok(answer)
}

fn offset_of(list: &TopicPartitionList, topic: &str, partition: i32) -> Option<i64> {
    match list.find_partition(topic, partition)?.offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    }
}

fn failed(what: &str, error: &KafkaError) -> LogError {
    LogError::Kafka { what: what.to_owned(), message: error.to_string(), fatal: false }
}

/// Runs a blocking call of librdkafka where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(LogError::Closed))
}
