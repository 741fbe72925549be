//! What callers of `publish` and the forwarder share: numbers, the queue, what is on its way, what was lost.
//!
//! Lock order: a partition's number, then the queue; losses alone. No I/O under any of them.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::{Condvar, Mutex, RwLock};
use schemas::{Class, TopicSpec};
use tokio::sync::watch;

use super::{
    Abandoned, PublisherConfig, PublisherStats, forwarder,
    losses::{Losses, Reason},
    queue::{Item, Pushed, Queue, rank},
};
use crate::EventLog;

/// Losses are logged at most this often; each is in the counters and ranges at once.
const DECLARE_EVERY_US: u64 = 1_000_000;

pub struct Shared {
    pub log: Arc<dyn EventLog>,
    pub config: PublisherConfig,
    pub boot_id: Option<String>,
    /// Next number per partition, by topic.
    pub lines: RwLock<HashMap<&'static str, Arc<[Mutex<i64>]>>>,
    pub waiting: Mutex<Waiting>,
    pub wake: Condvar,
    pub losses: Mutex<Losses>,
    pub counters: Counters,
    /// Bumped after every batch.
    pub progress: watch::Sender<u64>,
    pub last_declared_us: AtomicU64,
}

pub struct Waiting {
    pub queue: Queue,
    /// The forwarder sleeps until somebody wakes it.
    pub sleeping: bool,
    /// Somebody waits in `flush`: do not linger.
    pub urgent: bool,
    pub stop: bool,
    /// What the forwarder is sending.
    pub in_flight: Arc<[Sent]>,
}

/// What must be known of an event while it is being sent.
#[derive(Clone, Copy)]
pub struct Sent {
    pub arrival: u64,
    pub accepted_us: u64,
    pub topic: &'static TopicSpec,
    pub partition: i32,
    pub class: Class,
    pub seq: Option<i64>,
    pub size: usize,
}

#[derive(Default)]
pub struct Counters {
    pub accepted: AtomicU64,
    pub delivered: AtomicU64,
    pub shed: [AtomicU64; 5],
    pub unfit: AtomicU64,
    pub refused: AtomicU64,
    pub errors: AtomicU64,
}

impl Shared {
    pub fn stats(&self) -> PublisherStats {
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

    pub fn line(&self, topic: &'static TopicSpec) -> Arc<[Mutex<i64>]> {
        if let Some(line) = self.lines.read().get(topic.name) {
            return line.clone();
        }
        let mut lines = self.lines.write();
        lines.entry(topic.name).or_insert_with(|| (0..topic.partitions.max(1)).map(|_| Mutex::new(0)).collect()).clone()
    }

    pub fn push(&self, item: Item) {
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

    pub fn shed(&self, item: &Item) {
        let record = &item.record;
        match item.seq {
            Some(seq) => self.lost(record.topic, record.partition, item.class, Reason::Shed, seq, item.accepted_us),
            None => {
                self.counters.shed[rank(item.class)].fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub fn lost(&self, topic: &'static TopicSpec, partition: i32, class: Class, reason: Reason, seq: i64, now_us: u64) {
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

    pub fn lost_sent(&self, sent: &Sent, reason: Reason, now_us: u64) {
        match sent.seq {
            Some(seq) => self.lost(sent.topic, sent.partition, sent.class, reason, seq, now_us),
            None => {
                self.counters.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub fn pending_before(&self, arrival: u64) -> bool {
        let waiting = self.waiting.lock();
        let queued = waiting.queue.oldest().is_some_and(|i| i.arrival < arrival);
        queued || waiting.in_flight.first().is_some_and(|s| s.arrival < arrival)
    }

    pub fn abandoned(&self, before: u64) -> Abandoned {
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
