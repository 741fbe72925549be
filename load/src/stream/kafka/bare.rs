//! A producer and a consumer of librdkafka and nothing else: what this machine and this broker can do.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use rdkafka::{
    ClientConfig, ClientContext, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseRecord, NoCustomPartitioner, ProducerContext, ThreadedProducer},
};
use stream::Outgoing;

use super::{super::events, ROUND_LIMIT};

#[derive(Clone, Default)]
struct Acked(Arc<AtomicUsize>);

impl ClientContext for Acked {}

impl ProducerContext for Acked {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_ok() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

pub struct Loop {
    topic: String,
    producer: ThreadedProducer<Acked, NoCustomPartitioner>,
    acked: Acked,
    seen: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
    sent: usize,
}

impl Loop {
    pub fn start(bootstrap: &str, topic: String) -> anyhow::Result<Self> {
        let acked = Acked::default();
        let producer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", "zstd")
            .set("linger.ms", "5")
            .create_with_context(acked.clone())?;
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", "load-bare")
            .set("enable.auto.commit", "false")
            .create()?;
        let mut partitions = TopicPartitionList::new();
        for partition in 0..events::topic().partitions {
            partitions.add_partition_offset(&topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&partitions)?;
        let (seen, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (counter, ended) = (seen.clone(), stop.clone());
        let reader = std::thread::Builder::new().name("bare-consumer".into()).spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
                    std::hint::black_box(message.payload());
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            }
        })?;
        Ok(Self { topic, producer, acked, seen, stop, reader: Some(reader), sent: 0 })
    }

    /// Sends so many and waits until as many were consumed.
    pub fn round(&mut self, events: &[Outgoing], count: usize) -> anyhow::Result<Duration> {
        let started = Instant::now();
        for event in events.iter().cycle().take(count) {
            self.send(event)?;
        }
        self.sent += count;
        // A consumer can be quicker than the answer to the producer.
        while self.seen.load(Ordering::Relaxed) < self.sent || self.acked.0.load(Ordering::Relaxed) < self.sent {
            ensure!(started.elapsed() < ROUND_LIMIT, "the bare loop is stuck");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(started.elapsed())
    }

    fn send(&self, event: &Outgoing) -> anyhow::Result<()> {
        let headers =
            event.headers.iter().fold(OwnedHeaders::new_with_capacity(event.headers.len()), |all, (key, value)| {
                all.insert(Header { key, value: Some(value.as_ref()) })
            });
        let mut record = BaseRecord::to(&self.topic)
            .partition(event.partition)
            .key(event.key.as_ref())
            .payload(event.value.as_deref().context("every event has a value")?)
            .timestamp(event.timestamp_us / 1000)
            .headers(headers);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            // A panic there was already printed, and the count that it owes fails the round.
            let _panicked = reader.join();
        }
    }
}
