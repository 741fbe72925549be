//! Publishing: `publish` numbers an event, puts it into the ring and returns; it never waits and never fails.
//!
//! Invariants:
//! * sequence numbers of a (topic, partition) have no gaps and stand in the ring in their order: number, encoding and the ring happen
//!   under one lock per partition;
//! * every event that got a number ends delivered, or in the declared losses, or is still in the ring or the spool;
//! * one forwarder empties the ring in order, so the order of a partition survives every fault.
//!
//! *Accepted* means: in the ring. A shared ring survives `kill -9`; the next start drains it and closes the dead epoch's account.

mod config;
mod encode;
mod encoded;
mod epoch;
mod error;
mod forwarder;
mod graves;
mod handing;
mod schedule;
mod shared;
mod told;
mod wake;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use domain::{Clock, partition};
use schemas::{DeadLetter, Event, StreamManifest, TopicSpec, stream_manifest};

use self::epoch::Epoch;
pub use self::{
    config::{Filter, PublisherConfig, Ring},
    error::PublisherError,
    told::{Abandoned, Left, LossRange, Published, PublisherStats},
};
pub(crate) use self::{handing::Handed, shared::Shared};
use crate::{EventLog, MAX_RECORD_BYTES, Reason, header, ring};

/// An event may not be larger; a dead letter may be as large as a record of the log.
pub const MAX_EVENT_BYTES: usize = 1 << 20;

#[derive(Clone)]
pub struct Publisher {
    shared: Arc<Shared>,
    _last_one_out: Arc<StopOnDrop>,
}

struct StopOnDrop(Arc<Shared>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.wake.stop();
    }
}

impl Publisher {
    /// Opens the ring, and starts the forwarder, which first drains the rings of dead epochs. It ends after `close`, or when the last
    /// clone is dropped and the ring is empty or cannot be emptied.
    pub fn start(log: Arc<dyn EventLog>, config: PublisherConfig) -> Result<Self, PublisherError> {
        let (live, dead) = match &config.ring {
            Ring::Private { bytes } => (ring::private(&config.producer, config.epoch, *bytes)?, Vec::new()),
            Ring::Shared { dir, bytes } => {
                let opened = ring::open(dir, &config.producer, config.epoch, *bytes)?;
                (opened.live, opened.dead)
            }
        };
        let dead = dead.into_iter().map(|ring| Arc::new(Epoch::dead(ring))).collect();
        let shared = Arc::new(Shared::new(log, config, Epoch::fresh(live), dead));
        forwarder::start(shared.clone())?;
        Ok(Self { _last_one_out: Arc::new(StopOnDrop(shared.clone())), shared })
    }

    pub fn publish<E: Event>(&self, event: E) -> Published {
        self.publish_traced(event, None)
    }

    /// As `publish`, with the W3C `traceparent` header.
    pub fn publish_traced<E: Event>(&self, event: E, traceparent: Option<&str>) -> Published {
        self.shared.publish(event, traceparent).0
    }

    /// Deletes a key of a state topic. A tombstone is no event and has no number; it keeps its place among the events of its key.
    pub fn tombstone(&self, topic: &'static TopicSpec, key: &str) {
        self.shared.tombstone(topic, key);
    }

    pub fn stats(&self) -> PublisherStats {
        self.shared.stats()
    }

    pub(crate) fn stats_reader(&self) -> StatsReader {
        StatsReader(self.shared.clone())
    }

    /// Every number that was given and will not arrive, as ranges.
    pub fn declared(&self) -> Vec<LossRange> {
        self.shared.loss_ranges()
    }

    /// The account of this epoch as it stands now, as the next manifest would give it.
    pub fn account(&self) -> StreamManifest {
        let config = &self.shared.config;
        self.shared.epoch.manifest(&config.producer, config.epoch, None, config.clock.now().wall_us)
    }

    /// Waits until everything accepted before this call is in the log (synced, or acknowledged by Kafka) or declared.
    pub async fn flush(&self, deadline: Duration) -> Result<(), Abandoned> {
        let shared = &*self.shared;
        let target = shared.epoch.ring.tail();
        let ended = || shared.ended.load(Ordering::Acquire);
        shared.wait_until(deadline, || shared.is_delivered(target) || ended()).await;
        if shared.is_delivered(target) { Ok(()) } else { Err(shared.abandoned(target)) }
    }

    /// The end of this epoch: no more numbers, the closing manifest, everything handed over as far as it goes within the time. What is
    /// left in a ring file or the spool is safe there and goes on with the next start in the same folders.
    pub async fn close(&self, deadline: Duration) -> Left {
        let shared = &*self.shared;
        shared.stop_numbering();
        shared.closing_manifest();
        let target = shared.epoch.ring.tail();
        shared.wait_until(deadline, || shared.is_delivered(target) || shared.ended.load(Ordering::Acquire)).await;
        shared.wake.stop();
        let grace = deadline.min(Duration::from_secs(1));
        shared.wait_until(grace, || shared.ended.load(Ordering::Acquire)).await;
        let left = Left {
            in_ring: shared.epoch.ring.events(),
            in_spool: shared.spool.read().events,
            lost: matches!(shared.config.ring, Ring::Private { .. }),
        };
        shared.leave_the_ring();
        left
    }

    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.config.clock
    }

    pub fn producer(&self) -> &str {
        &self.shared.config.producer
    }
}

impl Shared {
    /// With the number, why the event is lost, if it is.
    fn publish<E: Event>(&self, mut event: E, traceparent: Option<&str>) -> (Published, Option<Reason>) {
        let topic = E::TOPIC;
        let key = event.key();
        let partition = partition::for_key(key.as_bytes(), topic.partitions);
        let nothing = (Published { partition, seq: -1 }, None);
        if self.config.filter.as_ref().is_some_and(|keep| !keep(topic, key.as_bytes())) {
            return nothing;
        }
        let class = event.class();
        let now = self.config.clock.now();
        let Some(lines) = self.lines(topic) else {
            tracing::error!(kafka.topic = topic.name, "the ring has no room for another topic; an event is lost");
            self.count_loss(class, Reason::Unfit, 1);
            return nothing;
        };
        let line = &lines[partition as usize];
        let mut next = line.next.lock();
        if self.closed.load(Ordering::SeqCst) && topic != &stream_manifest::TOPIC {
            if self.counters.after_close.fetch_add(1, Ordering::Relaxed) == 0 {
                let producer = &self.config.producer;
                tracing::error!(
                    producer,
                    kafka.topic = topic.name,
                    "an event came after the publisher's end and is gone"
                );
            }
            return nothing;
        }
        let seq = *next;
        self.counters.accepted.fetch_add(1, Ordering::Relaxed);

        let envelope = event.envelope_mut();
        envelope.schema_version = topic.version;
        envelope.producer_id.clone_from(&self.config.producer);
        envelope.producer_epoch = self.config.epoch;
        envelope.partition = partition;
        envelope.seq = seq;
        envelope.emitted_wall_us = now.wall_us;
        envelope.emitted_mono_us = now.mono_us.cast_signed();
        if envelope.boot_id.is_none() {
            envelope.boot_id.clone_from(&self.boot_id);
        }

        let meta =
            ring::Meta { line: line.ring, class, seq: Some(seq), timestamp_us: now.wall_us, accepted_us: now.mono_us };
        let fate = encode::encoded(&event, |value| {
            let kind = (header::EVENT_TYPE, event.event_type().as_bytes());
            let trace = traceparent.map(|trace| (header::TRACEPARENT, trace.as_bytes()));
            let headers = [kind, trace.unwrap_or_default()];
            self.put(&meta, topic, key.as_bytes(), Some(value), &headers[..1 + usize::from(trace.is_some())])
        });
        let lost = match fate {
            Ok(fate) => fate,
            Err(error) => {
                tracing::error!(kafka.topic = topic.name, %error, "an event could not be encoded and is declared lost");
                Some(Reason::Unfit)
            }
        };
        if let Some(reason) = lost {
            self.lost(line.ring, class, reason, seq, now.mono_us);
        }
        // After the frame or the loss: a number in the file is one that came to something.
        *next = seq + 1;
        self.epoch.ring.set_next(line.ring, seq + 1);
        (Published { partition, seq }, lost)
    }

    fn tombstone(&self, topic: &'static TopicSpec, key: &str) {
        let partition = partition::for_key(key.as_bytes(), topic.partitions);
        if self.config.filter.as_ref().is_some_and(|keep| !keep(topic, key.as_bytes())) {
            return;
        }
        let now = self.config.clock.now();
        let lines = self.lines(topic);
        let Some(line) = lines.as_ref().map(|lines| &lines[partition as usize]) else { return };
        let _order = line.next.lock();
        if self.closed.load(Ordering::SeqCst) {
            self.counters.after_close.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.counters.accepted.fetch_add(1, Ordering::Relaxed);
        let class = topic.class;
        let meta =
            ring::Meta { line: line.ring, class, seq: None, timestamp_us: now.wall_us, accepted_us: now.mono_us };
        if let Some(reason) = self.put(&meta, topic, key.as_bytes(), None, &[]) {
            self.count_loss(class, reason, 1);
        }
    }

    /// Into the ring. Gives why not.
    fn put(
        &self,
        meta: &ring::Meta,
        topic: &TopicSpec,
        key: &[u8],
        value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) -> Option<Reason> {
        encode::framed(meta, key, value, headers, |frame| {
            let most = if topic == DeadLetter::TOPIC { MAX_RECORD_BYTES - 1024 } else { MAX_EVENT_BYTES };
            let limit = most.min(self.epoch.ring.capacity() as usize);
            if frame.len() > limit {
                tracing::error!(
                    kafka.topic = topic.name,
                    size = frame.len(),
                    limit,
                    "an event is too large and is declared lost"
                );
                return Some(Reason::Unfit);
            }
            if !self.epoch.ring.push(frame, meta.class, self.spool.fill()) {
                return Some(Reason::Shed);
            }
            self.wake.news();
            None
        })
    }

    /// Waits for a condition that the forwarder's progress may bring about.
    async fn wait_until(&self, deadline: Duration, holds: impl Fn() -> bool) {
        let mut progress = self.progress.subscribe();
        self.wake.hurry();
        let waited = async {
            while !holds() {
                if progress.changed().await.is_err() {
                    return;
                }
                self.wake.hurry();
            }
        };
        let _late = tokio::time::timeout(deadline, waited).await;
    }

    /// The last word of this epoch. No numbers are given any more. Where not even that has room, the next start says it.
    fn closing_manifest(&self) {
        if self.config.manifests {
            let (config, now) = (&self.config, self.config.clock.now());
            let by = Some(stream_manifest::BY_ITSELF);
            let (_, lost) = self.publish(self.epoch.manifest(&config.producer, config.epoch, by, now.wall_us), None);
            self.counters.manifests.fetch_add(1, Ordering::Relaxed);
            if lost.is_some() {
                return;
            }
        }
        self.epoch.ring.set_closed();
    }

    /// The ring file is somebody else's from here on: gone when it is empty, else the next start's.
    fn leave_the_ring(&self) {
        if self.released.swap(true, Ordering::SeqCst) {
            return;
        }
        if self.epoch.ring.used() == 0 {
            self.epoch.ring.remove();
        } else {
            self.epoch.ring.release();
        }
        self.dead.iter().for_each(|dead| dead.ring.release());
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
