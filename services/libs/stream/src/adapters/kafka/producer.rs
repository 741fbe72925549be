//! Appending: hand every record of a batch to librdkafka, answer when the last one is acknowledged.
//!
//! Several appends may be in flight. What holds then:
//! * batches are handed over whole, one after the other, in the order in which their appends were first polled; librdkafka and its
//!   idempotence keep that order within a partition through retries, changes of leader and outages;
//! * when a batch fails, the appends behind it fail as well until all that was in flight is answered, so nothing new overtakes it.
//!   Whoever sends waits for all its answers and repeats from the first batch that failed;
//! * a producer in a fatal state is replaced, and only when nothing of the old one is in flight any more.
//!
//! An append must not be dropped before its answer: what was handed over is sent nevertheless.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use rdkafka::{
    ClientContext, Message, Statistics,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseRecord, NoCustomPartitioner, Producer, ProducerContext, ThreadedProducer},
};
use schemas::TopicSpec;
use tokio::sync::oneshot;

use super::{KafkaConfig, client, failed, figures::Watch};
use crate::{LogError, MAX_RECORD_BYTES, Outgoing};

/// Librdkafka's queue is full: look again after this long.
const FULL_WAIT: Duration = Duration::from_millis(2);

type Client = ThreadedProducer<Deliveries, NoCustomPartitioner>;

pub struct BatchProducer {
    config: Arc<KafkaConfig>,
    /// Replaced when it ended in a fatal state.
    client: Mutex<Arc<Client>>,
    /// Whose turn it is to hand over; fair, so the order of the appends is kept.
    turn: tokio::sync::Mutex<()>,
    flight: Arc<Flight>,
}

/// The batches between hand-over and answer.
#[derive(Default)]
struct Flight {
    batches: AtomicUsize,
    /// One of them failed; nothing follows until all are answered.
    failed: AtomicBool,
}

/// One `append` that waits for its records.
pub struct Batch {
    /// Records without an answer, plus one while they are still being handed over.
    open: AtomicUsize,
    error: Mutex<Option<LogError>>,
    done: Mutex<Option<oneshot::Sender<()>>>,
    flight: Arc<Flight>,
}

pub struct Deliveries(Watch);

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        client::log(level, fac, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::complain(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.0.note(&statistics);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Arc<Batch>;

    fn delivery(&self, result: &DeliveryResult<'_>, batch: Arc<Batch>) {
        if let Err((error, message)) = result {
            batch.fail(|| classify(error, message.topic(), message.payload_len()));
        }
        batch.answered(1);
    }
}

impl Batch {
    fn new(flight: &Arc<Flight>, records: usize) -> (Arc<Self>, oneshot::Receiver<()>) {
        let (done, answer) = oneshot::channel();
        flight.batches.fetch_add(1, Ordering::AcqRel);
        let batch = Self {
            open: AtomicUsize::new(records + 1),
            error: Mutex::new(None),
            done: Mutex::new(Some(done)),
            flight: flight.clone(),
        };
        (Arc::new(batch), answer)
    }

    fn fail(&self, error: impl FnOnce() -> LogError) {
        self.flight.failed.store(true, Ordering::Release);
        self.error.lock().get_or_insert_with(error);
    }

    fn answered(&self, records: usize) {
        if self.open.fetch_sub(records, Ordering::AcqRel) != records {
            return;
        }
        if self.flight.batches.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.flight.failed.store(false, Ordering::Release);
        }
        if let Some(done) = self.done.lock().take() {
            // The caller may have given up waiting.
            let _gone = done.send(());
        }
    }
}

/// What of a batch was not handed over counts as answered, also when the append is dropped in the middle.
struct HandOver {
    batch: Arc<Batch>,
    left: usize,
}

impl Drop for HandOver {
    fn drop(&mut self) {
        self.batch.answered(self.left + 1);
    }
}

impl BatchProducer {
    pub fn new(config: Arc<KafkaConfig>) -> Result<Self, LogError> {
        let client = Mutex::new(Arc::new(make(&config)?));
        Ok(Self { config, client, turn: tokio::sync::Mutex::default(), flight: Arc::default() })
    }

    pub async fn append(&self, records: &[Outgoing]) -> Result<(), LogError> {
        if records.is_empty() {
            return Ok(());
        }
        let turn = self.turn.lock().await;
        if self.flight.failed.load(Ordering::Acquire) {
            return Err(not_after_a_failure());
        }
        let client = self.client.lock().clone();
        let (batch, answer) = Batch::new(&self.flight, records.len());
        let mut hand_over = HandOver { batch: batch.clone(), left: records.len() };
        let mut names = Names { prefix: &self.config.topic_prefix, known: Vec::new() };
        for record in records {
            if let Err(error) = self.hand_over(&client, names.of(record.topic), record, &batch).await {
                batch.fail(|| error);
                break;
            }
            hand_over.left -= 1;
        }
        drop((hand_over, turn));
        let _closed = answer.await;
        let result = batch.error.lock().take().map_or(Ok(()), Err);
        if result.is_err() {
            self.replace_if_fatal(&client)?;
        }
        result
    }

    async fn hand_over(
        &self,
        client: &Client,
        topic: &str,
        record: &Outgoing,
        batch: &Arc<Batch>,
    ) -> Result<(), LogError> {
        loop {
            if self.flight.failed.load(Ordering::Acquire) {
                return Err(not_after_a_failure());
            }
            match send(client, topic, record, batch) {
                Ok(()) => return Ok(()),
                Err(KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) => tokio::time::sleep(FULL_WAIT).await,
                Err(error) => return Err(classify(&error, topic, record.size_bytes())),
            }
        }
    }

    /// An idempotent producer that lost its place can never send again: the next append uses a new one. What was not acknowledged is
    /// sent again by the caller, so records can be doubled here but not lost.
    fn replace_if_fatal(&self, used: &Arc<Client>) -> Result<(), LogError> {
        let Some((code, reason)) = used.client().fatal_error() else { return Ok(()) };
        let mut current = self.client.lock();
        if Arc::ptr_eq(&current, used) {
            tracing::error!(%code, reason, "the kafka producer is in a fatal state and is replaced");
            self.config.figures.note_replaced();
            *current = Arc::new(make(&self.config)?);
        }
        Ok(())
    }
}

/// The topics' names on the broker, made once per batch and topic.
struct Names<'a> {
    prefix: &'a str,
    known: Vec<(&'static str, Cow<'static, str>)>,
}

impl Names<'_> {
    fn of(&mut self, topic: &'static TopicSpec) -> &str {
        let at = match self.known.iter().position(|(name, _)| std::ptr::eq(*name, topic.name)) {
            Some(at) => at,
            None => {
                let name = match self.prefix {
                    "" => Cow::Borrowed(topic.name),
                    prefix => Cow::Owned(format!("{prefix}{}", topic.name)),
                };
                self.known.push((topic.name, name));
                self.known.len() - 1
            }
        };
        &self.known[at].1
    }
}

fn send(client: &Client, topic: &str, record: &Outgoing, batch: &Arc<Batch>) -> Result<(), KafkaError> {
    let mut outgoing = BaseRecord::with_opaque_to(topic, batch.clone())
        .partition(record.partition)
        .key(record.key.as_ref())
        .timestamp(record.timestamp_us / 1000);
    if !record.headers.is_empty() {
        let headers = OwnedHeaders::new_with_capacity(record.headers.len());
        outgoing = outgoing.headers(
            record
                .headers
                .iter()
                .fold(headers, |headers, (key, value)| headers.insert(Header { key, value: Some(value.as_ref()) })),
        );
    }
    outgoing.payload = record.value.as_deref();
    client.send(outgoing).map_err(|(error, _record)| error)
}

fn not_after_a_failure() -> LogError {
    LogError::Kafka {
        what: "not appended".to_owned(),
        message: "an append before this one failed; it has to be repeated first".to_owned(),
        fatal: false,
    }
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
    let context = Deliveries(Watch::new(&config.figures, "producer"));
    config.producer().create_with_context(context).map_err(|e| config.unusable("producer", &e))
}
