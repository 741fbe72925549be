//! The event log on Kafka, through librdkafka.
//!
//! Settled here: idempotent producer with `acks=all` and no delivery time-out (an outage makes `append` wait, so the order survives
//! it); partitions given by us; offsets committed by hand only; every setting can be overridden in `extra`, which also carries TLS and
//! SASL. Timestamps have Kafka's milliseconds. Blocking calls of librdkafka run on the blocking pool. No client needs a broker to be
//! made: everything waits for it.

mod admin;
mod client;
mod config;
mod extra;
mod figures;
mod producer;
mod secrets;
mod share;
mod source;
mod topics;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
};
use schemas::TopicSpec;

pub(crate) use self::secrets::{Resolved, resolve, weaker};
use self::{client::Quiet, producer::BatchProducer};
pub use self::{
    config::KafkaConfig,
    extra::Extra,
    figures::{BrokerFigures, ClientFigures, KafkaFigures},
    topics::{Weakness, topic_settings},
};
use crate::{Assigned, Bounds, EventLog, LogError, Outgoing, Source, Subscription, metrics::Meters};

/// How long one question to the cluster may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// Asked again after this long while a partition has no leader.
const LEADER_WAIT: Duration = Duration::from_millis(100);
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

    async fn weaknesses(&self, topics: &[&'static TopicSpec]) -> Result<Vec<Weakness>, LogError> {
        admin::weak(&self.config, topics).await
    }

    fn meter(self: Arc<Self>, meters: &Meters) {
        meters.kafka(&self.config.figures);
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
    let mut client = config.consumer(group);
    client.set("statistics.interval.ms", "0");
    client.create_with_context(Quiet).map_err(|e| config.unusable("consumer", &e))
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
    let what = "cannot ask for offsets";
    list.set_all_offsets(edge).map_err(|e| failed(what, &e))?;
    let give_up = Instant::now() + ASK_TIMEOUT;
    loop {
        let answer = consumer
            .offsets_for_times(list.clone(), ASK_TIMEOUT)
            .and_then(|answer| answer.elements().iter().try_for_each(|e| e.error()).map(|()| answer));
        match answer {
            Ok(answer) => return Ok(answer),
            // A leader is being chosen: librdkafka answers at once instead of waiting for it.
            Err(error) if leaderless(&error) && Instant::now() < give_up => std::thread::sleep(LEADER_WAIT),
            Err(error) => return Err(failed(what, &error)),
        }
    }
}

fn leaderless(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{LeaderNotAvailable, NotLeaderForPartition};
    matches!(error.rdkafka_error_code(), Some(LeaderNotAvailable | NotLeaderForPartition))
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
