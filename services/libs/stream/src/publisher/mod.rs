//! Publishing: `publish` numbers, encodes and queues an event and returns; it never waits and never fails.
//!
//! Invariants:
//! * sequence numbers of a (topic, partition) have no gaps and stand in the queue in their order: number, encoding and queueing happen
//!   under one lock per partition;
//! * every event that got a number ends delivered, or in the declared losses, or is still queued;
//! * one forwarder sends one batch at a time and repeats it until the log took it, so the order of a partition survives every fault.
//!
//! What *accepted* means here: in the memory of this process. The shared-memory ring that survives `kill -9` takes this queue's place
//! (issue 4).

mod error;
mod forwarder;
mod losses;
mod queue;
mod shared;

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
use schemas::{DeadLetter, Encoder, Event, TopicSpec};
use tokio::sync::watch;

pub use self::{
    error::PublisherError,
    losses::{LossRange, Reason},
    queue::SHED_ORDER,
};
use self::{
    queue::{Item, Queue},
    shared::{Counters, Shared, Waiting},
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

struct StopOnDrop(Arc<Shared>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.waiting.lock().stop = true;
        self.0.wake.notify_all();
    }
}

impl Publisher {
    /// Starts the forwarder's thread. It ends when the last clone is dropped and the queue is empty or cannot be delivered.
    pub fn start(log: Arc<dyn EventLog>, config: PublisherConfig) -> Result<Self, PublisherError> {
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
        forwarder::start(shared.clone())?;
        Ok(Self { _last_one_out: Arc::new(StopOnDrop(shared.clone())), shared })
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
