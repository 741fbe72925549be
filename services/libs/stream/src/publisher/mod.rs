//! Publishing: `publish` numbers, encodes and queues an event and returns; it never waits and never fails.
//!
//! Invariants:
//! * sequence numbers of a (topic, partition) have no gaps and stand in the queue in their order: number, encoding and queueing happen
//!   under one lock per partition;
//! * every event that got a number ends delivered, or in [`Losses`], or is still queued;
//! * one forwarder sends one batch at a time and repeats it until the log took it, so the order of a partition survives every fault.
//!
//! What *accepted* means here: in the memory of this process. The shared-memory ring that survives `kill -9` takes this queue's place
//! (issue 4).

mod forwarder;
mod losses;
mod queue;

use std::{
    any::{Any, TypeId},
    borrow::Cow,
    cell::RefCell,
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use domain::{Clock, partition};
use parking_lot::{Condvar, Mutex, RwLock};
use schemas::{Class, DeadLetter, Encoder, Event, TopicSpec};
use tokio::sync::watch;

use self::{
    losses::Losses,
    queue::{Item, Pushed, Queue, rank},
};
pub use self::{
    losses::{LossRange, Reason},
    queue::SHED_ORDER,
};
use crate::{EventLog, Headers, MAX_RECORD_BYTES, Outgoing, header};

/// Decides by topic and key whether an event is published at all. `false`: it vanishes before it gets a number.
pub type Filter = Arc<dyn Fn(&TopicSpec, &[u8]) -> bool + Send + Sync>;

#[derive(Clone)]
pub struct PublisherConfig {
    /// `<service>/<instance>`.
    pub producer: String,
    /// Start of this process, which makes the numbers unambiguous.
    pub epoch: i64,
    pub clock: Arc<dyn Clock>,
    /// Memory for events that wait for the log.
    pub queue_bytes: usize,
    /// Only the demo's sabotage uses it.
    pub filter: Option<Filter>,
}

impl PublisherConfig {
    pub fn new(producer: impl Into<String>, epoch: i64, clock: Arc<dyn Clock>) -> Self {
        Self { producer: producer.into(), epoch, clock, queue_bytes: 16 << 20, filter: None }
    }
}

/// An event may not be larger; a dead letter may be as large as a record of the log.
pub const MAX_EVENT_BYTES: usize = 1 << 20;
/// Losses are logged at most this often; each is in the counters and ranges at once.
const DECLARE_EVERY_US: u64 = 1_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    pub partition: i32,
    /// −1 when the filter took the event.
    pub seq: i64,
}

/// Counts since the start. `accepted = delivered + shed + unfit + refused + queued` at rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublisherStats {
    pub accepted: u64,
    pub delivered: u64,
    /// By class, in [`SHED_ORDER`].
    pub shed: [u64; 5],
    /// Could not be encoded or too large.
    pub unfit: u64,
    /// The log refused them for good, or the publisher ended before it took them.
    pub refused: u64,
    /// Waiting or on their way.
    pub queued_events: u64,
    pub queued_bytes: u64,
    /// Age of the oldest event that is not delivered.
    pub oldest_us: u64,
    /// Failed attempts to append.
    pub errors: u64,
}

/// What `flush` had to leave undelivered when its time was up.
#[derive(Debug, Clone)]
pub struct Abandoned {
    pub events: u64,
    pub bytes: u64,
    pub ranges: Vec<LossRange>,
}

impl fmt::Display for Abandoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} events ({} bytes) are not delivered:", self.events, self.bytes)?;
        for range in self.ranges.iter().take(20) {
            write!(f, " {}/{} {}..={}", range.topic, range.partition, range.first, range.last)?;
        }
        if self.ranges.len() > 20 {
            write!(f, " and {} more ranges", self.ranges.len() - 20)?;
        }
        Ok(())
    }
}

impl std::error::Error for Abandoned {}

#[derive(Clone)]
pub struct Publisher {
    shared: Arc<Shared>,
    _last_one_out: Arc<StopOnDrop>,
}

struct Shared {
    log: Arc<dyn EventLog>,
    config: PublisherConfig,
    boot_id: Option<String>,
    /// Next number per partition, by topic.
    lines: RwLock<HashMap<&'static str, Arc<[Mutex<i64>]>>>,
    waiting: Mutex<Waiting>,
    wake: Condvar,
    losses: Mutex<Losses>,
    counters: Counters,
    /// Bumped after every batch.
    progress: watch::Sender<u64>,
    last_declared_us: AtomicU64,
}

struct Waiting {
    queue: Queue,
    /// The forwarder sleeps until somebody wakes it.
    sleeping: bool,
    /// Somebody waits in `flush`: do not linger.
    urgent: bool,
    stop: bool,
    /// What the forwarder is sending.
    in_flight: Arc<[Sent]>,
}

/// What must be known of an event while it is being sent.
#[derive(Clone, Copy)]
struct Sent {
    arrival: u64,
    accepted_us: u64,
    topic: &'static TopicSpec,
    partition: i32,
    class: Class,
    seq: Option<i64>,
    size: usize,
}

#[derive(Default)]
struct Counters {
    accepted: AtomicU64,
    delivered: AtomicU64,
    shed: [AtomicU64; 5],
    unfit: AtomicU64,
    refused: AtomicU64,
    errors: AtomicU64,
}

struct StopOnDrop(Arc<Shared>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.waiting.lock().stop = true;
        self.0.wake.notify_all();
    }
}

impl Publisher {
    /// Starts the forwarder's thread. It ends when the last clone is dropped and the queue is empty or cannot be delivered.
    pub fn start(log: Arc<dyn EventLog>, config: PublisherConfig) -> Self {
        let waiting = Waiting {
            queue: Queue::new(config.queue_bytes),
            sleeping: false,
            urgent: false,
            stop: false,
            in_flight: Arc::default(),
        };
        let shared = Arc::new(Shared {
            log,
            config,
            boot_id: std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned()),
            lines: RwLock::default(),
            waiting: Mutex::new(waiting),
            wake: Condvar::new(),
            losses: Mutex::default(),
            counters: Counters::default(),
            progress: watch::channel(0).0,
            last_declared_us: AtomicU64::new(0),
        });
        forwarder::start(shared.clone());
        Self { _last_one_out: Arc::new(StopOnDrop(shared.clone())), shared }
    }

    pub fn publish<E: Event>(&self, event: E) -> Published {
        self.publish_traced(event, None)
    }

    /// As `publish`, with the W3C `traceparent` header.
    pub fn publish_traced<E: Event>(&self, mut event: E, traceparent: Option<&str>) -> Published {
        let shared = &*self.shared;
        let topic = E::TOPIC;
        let key = event.key();
        let partition = partition::for_key(key.as_bytes(), topic.partitions);
        if shared.config.filter.as_ref().is_some_and(|keep| !keep(topic, key.as_bytes())) {
            return Published { partition, seq: -1 };
        }
        let class = event.class();
        let now = shared.config.clock.now();
        let line = shared.line(topic);
        let mut next = line[partition as usize].lock();
        let seq = *next;
        *next += 1;
        shared.counters.accepted.fetch_add(1, Ordering::Relaxed);

        let envelope = event.envelope_mut();
        envelope.schema_version = topic.version;
        envelope.producer_id.clone_from(&shared.config.producer);
        envelope.producer_epoch = shared.config.epoch;
        envelope.partition = partition;
        envelope.seq = seq;
        envelope.emitted_wall_us = now.wall_us;
        envelope.emitted_mono_us = now.mono_us.cast_signed();
        if envelope.boot_id.is_none() {
            envelope.boot_id.clone_from(&shared.boot_id);
        }

        let value = match encode(&event) {
            Ok(value) => value,
            Err(error) => {
                tracing::error!(kafka.topic = topic.name, %error, "an event could not be encoded and is declared lost");
                shared.lost(topic, partition, class, Reason::Unfit, seq, now.mono_us);
                return Published { partition, seq };
            }
        };
        let mut headers = Headers::with_capacity(3);
        headers.push((Cow::Borrowed(header::CONTENT_TYPE), Bytes::from_static(header::AVRO.as_bytes())));
        headers.push((Cow::Borrowed(header::EVENT_TYPE), Bytes::copy_from_slice(event.event_type().as_bytes())));
        if let Some(traceparent) = traceparent {
            headers.push((Cow::Borrowed(header::TRACEPARENT), Bytes::copy_from_slice(traceparent.as_bytes())));
        }
        let record =
            Outgoing { topic, partition, timestamp_us: now.wall_us, key: key.into(), value: Some(value), headers };
        let size = record.size_bytes();
        let limit = if topic == DeadLetter::TOPIC { MAX_RECORD_BYTES - 1024 } else { MAX_EVENT_BYTES };
        if size > limit {
            tracing::error!(kafka.topic = topic.name, size, limit, "an event is too large and is declared lost");
            shared.lost(topic, partition, class, Reason::Unfit, seq, now.mono_us);
            return Published { partition, seq };
        }
        shared.push(Item { arrival: 0, accepted_us: now.mono_us, class, seq: Some(seq), size, record });
        Published { partition, seq }
    }

    /// Deletes a key of a state topic. A tombstone is no event and has no number; it keeps its place among the events of its key.
    pub fn tombstone(&self, topic: &'static TopicSpec, key: &str) {
        let shared = &*self.shared;
        let partition = partition::for_key(key.as_bytes(), topic.partitions);
        if shared.config.filter.as_ref().is_some_and(|keep| !keep(topic, key.as_bytes())) {
            return;
        }
        let now = shared.config.clock.now();
        let line = shared.line(topic);
        let _order = line[partition as usize].lock();
        shared.counters.accepted.fetch_add(1, Ordering::Relaxed);
        let record = Outgoing {
            topic,
            partition,
            timestamp_us: now.wall_us,
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: None,
            headers: Headers::new(),
        };
        let size = record.size_bytes();
        shared.push(Item { arrival: 0, accepted_us: now.mono_us, class: topic.class, seq: None, size, record });
    }

    pub fn stats(&self) -> PublisherStats {
        self.shared.stats()
    }

    pub(crate) fn stats_reader(&self) -> StatsReader {
        StatsReader(self.shared.clone())
    }

    /// Every number that was given and will not arrive, as ranges; the oldest few thousand ranges are dropped from this list first.
    pub fn declared(&self) -> Vec<LossRange> {
        self.shared.losses.lock().ranges()
    }

    /// Waits until everything accepted before this call is delivered or declared.
    pub async fn flush(&self, deadline: Duration) -> Result<(), Abandoned> {
        let shared = &*self.shared;
        let mut progress = shared.progress.subscribe();
        let target = {
            let mut waiting = shared.waiting.lock();
            waiting.urgent = true;
            waiting.queue.arrivals()
        };
        shared.wake.notify_all();
        let delivered = async {
            while shared.pending_before(target) {
                if progress.changed().await.is_err() {
                    return;
                }
            }
        };
        let _late = tokio::time::timeout(deadline, delivered).await;
        if shared.pending_before(target) { Err(shared.abandoned(target)) } else { Ok(()) }
    }

    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.config.clock
    }

    pub fn producer(&self) -> &str {
        &self.shared.config.producer
    }
}

/// Reads a publisher's figures without keeping its thread alive.
pub(crate) struct StatsReader(Arc<Shared>);

impl StatsReader {
    pub fn stats(&self) -> PublisherStats {
        self.0.stats()
    }

    pub fn producer(&self) -> &str {
        &self.0.config.producer
    }
}

impl Shared {
    fn stats(&self) -> PublisherStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let now = self.config.clock.now().mono_us;
        let waiting = self.waiting.lock();
        let oldest = waiting.in_flight.first().map(|s| s.accepted_us).or(waiting.queue.oldest().map(|i| i.accepted_us));
        PublisherStats {
            accepted: get(&self.counters.accepted),
            delivered: get(&self.counters.delivered),
            shed: std::array::from_fn(|at| get(&self.counters.shed[at])),
            unfit: get(&self.counters.unfit),
            refused: get(&self.counters.refused),
            queued_events: (waiting.queue.events() + waiting.in_flight.len()) as u64,
            queued_bytes: waiting.queue.bytes() as u64,
            oldest_us: oldest.map_or(0, |at| now.saturating_sub(at)),
            errors: get(&self.counters.errors),
        }
    }

    fn line(&self, topic: &'static TopicSpec) -> Arc<[Mutex<i64>]> {
        if let Some(line) = self.lines.read().get(topic.name) {
            return line.clone();
        }
        let mut lines = self.lines.write();
        lines.entry(topic.name).or_insert_with(|| (0..topic.partitions.max(1)).map(|_| Mutex::new(0)).collect()).clone()
    }

    fn push(&self, item: Item) {
        let (pushed, wake) = {
            let mut waiting = self.waiting.lock();
            let before = waiting.queue.bytes();
            let pushed = waiting.queue.push(item);
            let crossed = before < forwarder::BATCH_BYTES && waiting.queue.bytes() >= forwarder::BATCH_BYTES;
            (pushed, std::mem::take(&mut waiting.sleeping) || crossed)
        };
        if wake {
            self.wake.notify_one();
        }
        match pushed {
            Pushed::Queued => {}
            Pushed::Refused(item) => self.shed(&item),
            Pushed::Evicted(items) => items.iter().for_each(|item| self.shed(item)),
        }
    }

    fn shed(&self, item: &Item) {
        let record = &item.record;
        match item.seq {
            Some(seq) => self.lost(record.topic, record.partition, item.class, Reason::Shed, seq, item.accepted_us),
            None => {
                self.counters.shed[rank(item.class)].fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn lost(&self, topic: &'static TopicSpec, partition: i32, class: Class, reason: Reason, seq: i64, now_us: u64) {
        let counter = match reason {
            Reason::Shed => &self.counters.shed[rank(class)],
            Reason::Unfit => &self.counters.unfit,
            Reason::Refused | Reason::Abandoned => &self.counters.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let mut losses = self.losses.lock();
        losses.add(topic.name, partition, class, reason, seq);
        let last = self.last_declared_us.load(Ordering::Relaxed);
        if last != 0 && now_us.saturating_sub(last) < DECLARE_EVERY_US {
            return;
        }
        self.last_declared_us.store(now_us.max(1), Ordering::Relaxed);
        let news = losses.take_news();
        drop(losses);
        tracing::warn!(
            producer = self.config.producer,
            events = news,
            kafka.topic = topic.name,
            kafka.partition = partition,
            seq,
            ?reason,
            "events are lost and declared; the latest one is named"
        );
    }

    fn lost_sent(&self, sent: &Sent, reason: Reason, now_us: u64) {
        match sent.seq {
            Some(seq) => self.lost(sent.topic, sent.partition, sent.class, reason, seq, now_us),
            None => {
                self.counters.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn pending_before(&self, arrival: u64) -> bool {
        let waiting = self.waiting.lock();
        let queued = waiting.queue.oldest().is_some_and(|i| i.arrival < arrival);
        queued || waiting.in_flight.first().is_some_and(|s| s.arrival < arrival)
    }

    fn abandoned(&self, before: u64) -> Abandoned {
        let waiting = self.waiting.lock();
        let mut ranges = Losses::default();
        let (mut events, mut bytes) = (0, 0);
        let sent = waiting.in_flight.iter().copied();
        let queued = waiting.queue.iter().map(Sent::from);
        for item in sent.chain(queued).filter(|s| s.arrival < before) {
            events += 1;
            bytes += item.size as u64;
            if let Some(seq) = item.seq {
                ranges.add(item.topic.name, item.partition, item.class, Reason::Shed, seq);
            }
        }
        Abandoned { events, bytes, ranges: ranges.ranges() }
    }
}

impl From<&Item> for Sent {
    fn from(item: &Item) -> Self {
        Self {
            arrival: item.arrival,
            accepted_us: item.accepted_us,
            topic: item.record.topic,
            partition: item.record.partition,
            class: item.class,
            seq: item.seq,
            size: item.size,
        }
    }
}

/// One encoder per thread and type: its buffer is reused and no other thread waits for it.
fn encode<E: Event>(event: &E) -> Result<Bytes, schemas::EncodeError> {
    thread_local! {
        static ENCODERS: RefCell<HashMap<TypeId, Box<dyn Any>>> = RefCell::default();
    }
    ENCODERS.with_borrow_mut(|encoders| {
        let encoder = encoders.entry(TypeId::of::<E>()).or_insert_with(|| Box::new(Encoder::<E>::new()));
        let encoder = encoder.downcast_mut::<Encoder<E>>().expect("stored under its own type");
        encoder.encode(event).map(Bytes::copy_from_slice)
    })
}
