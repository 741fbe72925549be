//! What callers of `publish` and the forwarder share: numbers, the ring, what was lost, the figures.
//!
//! Lock order: a topic's table, a line's number, then the ring's writing lock; losses alone. No I/O under any of them.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};
use schemas::{Class, TopicSpec};
use tokio::sync::watch;

use super::{Abandoned, LossRange, PublisherConfig, PublisherStats, epoch::Epoch, wake::Wake};
use crate::{
    EventLog, Reason,
    ring::{Losses, rank},
    spool::Figures,
};

/// Losses are logged at most this often; each is in the counters and ranges at once.
const DECLARE_EVERY_US: u64 = 1_000_000;

pub struct Shared {
    pub log: Arc<dyn EventLog>,
    pub config: PublisherConfig,
    pub boot_id: Option<String>,
    pub epoch: Epoch,
    /// Those that a dead process left, until they are drained and gone.
    pub dead: Vec<Arc<Epoch>>,
    topics: RwLock<HashMap<&'static str, Arc<[Line]>>>,
    pub wake: Wake,
    /// No more numbers are given.
    pub closed: AtomicBool,
    /// Somebody else may drain the ring file now: do not touch it any more.
    pub released: AtomicBool,
    pub counters: Counters,
    /// Everything in the ring below this position is delivered or declared.
    pub delivered_to: AtomicU64,
    /// When the oldest event that the forwarder has in hand was accepted; 0: it has none.
    pub oldest_us: AtomicU64,
    /// Of the spool and the way that events take.
    pub spool: Figures,
    /// Bumped after every batch, and when the forwarder ends.
    pub progress: watch::Sender<u64>,
    pub ended: AtomicBool,
    last_declared: Mutex<(u64, u64)>,
}

/// One partition: its next number and its line in the ring.
pub struct Line {
    pub next: Mutex<i64>,
    pub ring: u16,
}

#[derive(Default)]
pub struct Counters {
    pub accepted: AtomicU64,
    pub delivered: AtomicU64,
    pub shed: [AtomicU64; 5],
    pub unfit: AtomicU64,
    pub refused: AtomicU64,
    pub errors: AtomicU64,
    pub after_close: AtomicU64,
    /// Manifests among the accepted.
    pub manifests: AtomicU64,
    pub dead_epochs: AtomicU64,
}

impl Shared {
    pub fn new(log: Arc<dyn EventLog>, config: PublisherConfig, epoch: Epoch, dead: Vec<Arc<Epoch>>) -> Self {
        Self {
            log,
            config,
            boot_id: Some(crate::ring::boot_id()).filter(|id| !id.is_empty()),
            epoch,
            dead,
            topics: RwLock::default(),
            wake: Wake::default(),
            closed: AtomicBool::new(false),
            released: AtomicBool::new(false),
            counters: Counters::default(),
            delivered_to: AtomicU64::new(0),
            oldest_us: AtomicU64::new(0),
            spool: Figures::default(),
            progress: watch::channel(0).0,
            ended: AtomicBool::new(false),
            last_declared: Mutex::default(),
        }
    }

    pub fn stats(&self) -> PublisherStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let now = self.config.clock.now();
        let spool = self.spool.read();
        let in_hand = Some(get(&self.oldest_us)).filter(|at| *at > 0).map_or(0, |at| now.mono_us.saturating_sub(at));
        let in_spool = spool.oldest_us.map_or(0, |at| now.wall_us.saturating_sub(at).max(0).cast_unsigned());
        PublisherStats {
            accepted: get(&self.counters.accepted),
            delivered: get(&self.counters.delivered),
            shed: std::array::from_fn(|at| get(&self.counters.shed[at])),
            unfit: get(&self.counters.unfit),
            refused: get(&self.counters.refused),
            queued_events: self.epoch.ring.events() + spool.own_events,
            queued_bytes: self.epoch.ring.used(),
            oldest_us: in_hand.max(in_spool),
            errors: get(&self.counters.errors),
            after_close: get(&self.counters.after_close),
            ring_bytes: self.epoch.ring.used(),
            ring_capacity: self.epoch.ring.capacity(),
            spool_events: spool.events,
            spool_bytes: spool.bytes,
            way: spool.way,
            dead_epochs: get(&self.counters.dead_epochs),
        }
    }

    /// The lines of a topic, one per partition; `None` when the ring has no room for another topic.
    pub fn lines(&self, topic: &'static TopicSpec) -> Option<Arc<[Line]>> {
        if let Some(lines) = self.topics.read().get(topic.name) {
            return Some(lines.clone());
        }
        let mut topics = self.topics.write();
        if let Some(lines) = topics.get(topic.name) {
            return Some(lines.clone());
        }
        let taken = self.epoch.add_topic(topic)?;
        let lines: Arc<[Line]> = taken.into_iter().map(|ring| Line { next: Mutex::new(0), ring }).collect();
        topics.insert(topic.name, lines.clone());
        Some(lines)
    }

    /// After this nobody is given a number any more, and nobody is just about to be.
    pub fn stop_numbering(&self) {
        self.closed.store(true, Ordering::SeqCst);
        let topics: Vec<_> = self.topics.read().values().cloned().collect();
        for line in topics.iter().flat_map(|lines| lines.iter()) {
            drop(line.next.lock());
        }
    }

    pub fn count_loss(&self, class: Class, reason: Reason, events: u64) {
        let counter = match reason {
            Reason::Shed => &self.counters.shed[rank(class)],
            Reason::Unfit => &self.counters.unfit,
            Reason::Refused | Reason::Abandoned | Reason::Damaged => &self.counters.refused,
        };
        counter.fetch_add(events, Ordering::Relaxed);
    }

    /// An event of this epoch that had a number and will not arrive.
    pub fn lost(&self, line: u16, class: Class, reason: Reason, seq: i64, now_us: u64) {
        self.count_loss(class, reason, 1);
        self.epoch.lost(line, class, reason, seq, seq);
        let news = {
            let mut last = self.last_declared.lock();
            last.1 += 1;
            if last.0 != 0 && now_us.saturating_sub(last.0) < DECLARE_EVERY_US {
                return;
            }
            last.0 = now_us.max(1);
            std::mem::take(&mut last.1)
        };
        let (topic, partition) = self.epoch.line(line).map_or(("unknown", -1), |(topic, p)| (topic.name, p));
        tracing::warn!(
            producer = self.config.producer,
            events = news,
            kafka.topic = topic,
            kafka.partition = partition,
            seq,
            ?reason,
            "events are lost and declared; the latest one is named"
        );
    }

    pub fn loss_ranges(&self) -> Vec<LossRange> {
        self.epoch.losses().iter().filter_map(|loss| self.loss_range(loss)).collect()
    }

    fn loss_range(&self, loss: &crate::ring::Loss) -> Option<LossRange> {
        let (topic, partition) = self.epoch.line(loss.line)?;
        Some(LossRange {
            topic: topic.name,
            partition,
            class: loss.class,
            reason: loss.reason,
            first: loss.first,
            last: loss.last,
            events: loss.events,
        })
    }

    pub fn is_delivered(&self, to: u64) -> bool {
        // The sender may be faster than the forwarder, which frees the ring's room when the spool has answered.
        self.delivered_to.load(Ordering::Acquire) >= to && self.epoch.ring.head() >= to
    }

    /// What is below a position of the ring and not delivered. While the forwarder runs this is a moment old.
    pub fn abandoned(&self, to: u64) -> Abandoned {
        let ring = &self.epoch.ring;
        let mut ranges = Losses::default();
        let mut left = Abandoned { spooled: self.spool.read().own_events, ..Abandoned::default() };
        let mut at = ring.head();
        while at < to {
            let taken = ring.take(at, 1 << 20);
            if taken.frames.is_empty() {
                break;
            }
            for frame in taken.frames {
                left.events += 1;
                left.bytes += frame.size as u64;
                if let Some(seq) = frame.meta.seq {
                    ranges.add(crate::ring::Loss {
                        line: frame.meta.line,
                        class: frame.meta.class,
                        reason: Reason::Shed,
                        first: seq,
                        last: seq,
                        events: 1,
                    });
                }
            }
            at = taken.end;
        }
        left.ranges = ranges.ranges().iter().filter_map(|loss| self.loss_range(loss)).collect();
        left
    }
}
