//! Appending a batch: hand every record to librdkafka, answer when the last one is acknowledged.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::{
    ClientContext, Message,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseRecord, NoCustomPartitioner, Producer, ProducerContext, ThreadedProducer},
};
use tokio::sync::oneshot;

use super::{KafkaConfig, client, failed};
use crate::{LogError, MAX_RECORD_BYTES, Outgoing};

/// Librdkafka's queue is full: look again after this long.
const FULL_WAIT: Duration = Duration::from_millis(5);

type Client = ThreadedProducer<Deliveries, NoCustomPartitioner>;

pub struct BatchProducer {
    config: Arc<KafkaConfig>,
    /// Replaced when it ended in a fatal state.
    client: Mutex<Arc<Client>>,
}

/// One `append` that waits for its records.
pub struct Batch {
    /// Records without an answer, plus one while they are still being handed over.
    open: AtomicUsize,
    error: Mutex<Option<LogError>>,
    done: Mutex<Option<oneshot::Sender<()>>>,
}

pub struct Deliveries;

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        client::log(level, fac, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::complain(&error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Arc<Batch>;

    fn delivery(&self, result: &DeliveryResult<'_>, batch: Arc<Batch>) {
        if let Err((error, message)) = result {
            batch.fail(classify(error, message.topic(), message.payload_len()));
        }
        batch.one_done();
    }
}

impl Batch {
    fn fail(&self, error: LogError) {
        self.error.lock().get_or_insert(error);
    }

    fn one_done(&self) {
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(done) = self.done.lock().take()
        {
            // The caller may have given up waiting.
            let _gone = done.send(());
        }
    }
}

impl BatchProducer {
    pub fn new(config: Arc<KafkaConfig>) -> Result<Self, LogError> {
        let client = Mutex::new(Arc::new(make(&config)?));
        Ok(Self { config, client })
    }

    pub async fn append(&self, records: &[Outgoing]) -> Result<(), LogError> {
        if records.is_empty() {
            return Ok(());
        }
        let client = self.client.lock().clone();
        let (done, answered) = oneshot::channel();
        let batch =
            Arc::new(Batch { open: AtomicUsize::new(1), error: Mutex::new(None), done: Mutex::new(Some(done)) });
        for record in records {
            if let Err(error) = self.hand_over(&client, record, &batch).await {
                batch.fail(error);
                break;
            }
        }
        batch.one_done();
        let _closed = answered.await;
        let result = batch.error.lock().take().map_or(Ok(()), Err);
        if result.is_err() {
            self.replace_if_fatal(&client)?;
        }
        result
    }

    async fn hand_over(&self, client: &Client, record: &Outgoing, batch: &Arc<Batch>) -> Result<(), LogError> {
        let topic = self.config.topic(record.topic);
        loop {
            match send(client, &topic, record, batch) {
                Ok(()) => return Ok(()),
                Err(KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) => tokio::time::sleep(FULL_WAIT).await,
                Err(error) => return Err(classify(&error, &topic, record.size_bytes())),
            }
        }
    }

    /// An idempotent producer that lost its place can never send again: the next append uses a new one. What was not acknowledged is
    /// sent again by the caller, so records can be doubled here but not lost.
    fn replace_if_fatal(&self, used: &Arc<Client>) -> Result<(), LogError> {
        let Some((code, reason)) = used.client().fatal_error() else { return Ok(()) };
        tracing::error!(%code, reason, "the kafka producer is in a fatal state and is replaced");
        let mut current = self.client.lock();
        if Arc::ptr_eq(&current, used) {
            *current = Arc::new(make(&self.config)?);
        }
        Ok(())
    }
}

fn send(client: &Client, topic: &str, record: &Outgoing, batch: &Arc<Batch>) -> Result<(), KafkaError> {
    let headers =
        record.headers.iter().fold(OwnedHeaders::new_with_capacity(record.headers.len()), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value.as_ref()) })
        });
    let mut outgoing = BaseRecord::with_opaque_to(topic, batch.clone())
        .partition(record.partition)
        .key(record.key.as_ref())
        .timestamp(record.timestamp_us / 1000)
        .headers(headers);
    outgoing.payload = record.value.as_deref();
    batch.open.fetch_add(1, Ordering::AcqRel);
    client.send(outgoing).map_err(|(error, _record)| {
        // It was not taken: no delivery will be reported for it. The hand-over itself still counts as one, so this is not the last.
        batch.open.fetch_sub(1, Ordering::AcqRel);
        error
    })
}

fn classify(error: &KafkaError, topic: &str, bytes: usize) -> LogError {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
            LogError::TooLarge { topic: topic.to_owned(), bytes, limit: MAX_RECORD_BYTES }
        }
        _ => failed(&format!("cannot append to {topic}"), error),
    }
}

fn make(config: &KafkaConfig) -> Result<Client, LogError> {
    let mut client = config.base();
    client
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.type", "zstd")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "5")
        // Never give up by time: an outage is waited out, in order. Memory is bounded by the publisher's queue.
        .set("message.timeout.ms", "0")
        .set("message.max.bytes", (MAX_RECORD_BYTES + (64 << 10)).to_string());
    config.finish(client).create_with_context(Deliveries).map_err(|e| LogError::Config(format!("kafka producer: {e}")))
}
