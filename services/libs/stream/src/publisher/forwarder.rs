//! The publisher's own thread: takes batches from the ring, hands them over, repeats until they are safe, and only then frees their
//! room. One batch at a time, in order. A fault makes this thread wait and the ring fill; no caller of `publish` notices.
//!
//! It drains the rings of dead epochs before its own, so that their events come first, and gives account in manifests.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use schemas::{StreamManifest, stream_manifest};

use super::{
    PublisherError, Ring,
    epoch::Epoch,
    graves::Graves,
    handing::{Handed, Handing},
    schedule::Schedule,
    shared::Shared,
};
use crate::{Reason, ring::Frame};

const BATCH_BYTES: u64 = 1 << 20;
/// For so long after the last event the forwarder looks by itself, so that nobody has to wake it. Never shorter than two lingers.
const LOOKING: Duration = Duration::from_millis(20);
/// Sleeps no longer than this without looking around.
const SLEEP: Duration = Duration::from_secs(1);

pub fn start(shared: Arc<Shared>) -> Result<(), PublisherError> {
    let handing = Handing::start(shared.clone()).map_err(PublisherError::Thread)?;
    let forwarder = Forwarder { shared, handing, graves: Graves::default(), schedule: Schedule::default() };
    std::thread::Builder::new().name("publisher".into()).spawn(|| forwarder.run()).map_err(PublisherError::Thread)?;
    Ok(())
}

struct Forwarder {
    shared: Arc<Shared>,
    handing: Handing,
    graves: Graves,
    schedule: Schedule,
}

/// However this thread ends, whoever waits for it is told.
struct TellTheEnd(Arc<Shared>);

impl Drop for TellTheEnd {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Release);
        self.0.progress.send_modify(|n| *n += 1);
    }
}

impl Forwarder {
    fn run(mut self) {
        let _end = TellTheEnd(self.shared.clone());
        self.shared.wake.here();
        if self.bury_the_dead() && self.forward() {
            // Nobody publishes any more and everything is handed over; the last word is still to be said if nobody said it.
            if !self.shared.closed.load(Ordering::SeqCst) {
                self.shared.stop_numbering();
                self.shared.closing_manifest();
                self.forward();
            }
        }
        self.clear_graves();
        self.shared.leave_the_ring();
        self.handing.end();
    }

    /// False: stopped before all of it was safe.
    fn bury_the_dead(&mut self) -> bool {
        for epoch in self.shared.dead.clone() {
            let epoch = &epoch;
            let (number, producer) = (epoch.ring.epoch(), epoch.ring.producer());
            if let Some(topic) = epoch.unknown_topic() {
                tracing::error!(
                    producer, epoch = number, kafka.topic = topic, path = ?epoch.ring.path(),
                    "the ring of a dead process has events of a topic that this build does not know: it is kept, let the build that made it drain it"
                );
                continue;
            }
            let events = epoch.ring.events();
            loop {
                let taken = epoch.ring.take(epoch.ring.head(), BATCH_BYTES);
                if !taken.frames.is_empty() && !self.hand_over(epoch, &taken.frames, taken.end) {
                    return false;
                }
                if taken.damaged {
                    let lost = epoch.declare_the_unreadable();
                    tracing::error!(
                        producer,
                        epoch = number,
                        events = lost,
                        "a part of a dead process's ring cannot be read; its events are declared lost"
                    );
                    self.shared.count_loss(schemas::Class::Life, Reason::Damaged, lost);
                    epoch.ring.give_up();
                }
                if epoch.ring.used() == 0 {
                    break;
                }
            }
            tracing::warn!(producer, epoch = number, events, "the ring of a dead process is drained");
            if self.shared.config.manifests {
                let now = self.shared.config.clock.now();
                let itself = epoch.ring.is_closed();
                let by = if itself { stream_manifest::BY_ITSELF } else { stream_manifest::BY_NEXT_START };
                self.say(epoch.manifest(&producer, number, Some(by), now.wall_us));
            }
            let position = self.shared.epoch.ring.tail();
            self.graves.close(epoch.clone(), position);
        }
        self.clear_graves();
        true
    }

    /// Until stopped and empty. False: stopped, and something is left.
    fn forward(&mut self) -> bool {
        let shared = self.shared.clone();
        let ring = &shared.epoch.ring;
        let linger = shared.config.linger;
        let looking = LOOKING.max(linger * 2);
        let mut busy_at = Instant::now();
        // Whether what is in the ring had its time to wait for company.
        let mut lingered = false;
        loop {
            let due = self.manifest_if_due();
            let used = ring.used();
            if used == 0 {
                shared.wake.calm_down();
                if shared.wake.is_stopped() {
                    return true;
                }
                lingered = busy_at.elapsed() < looking;
                if lingered {
                    shared.wake.rest(linger);
                } else {
                    shared.wake.sleep(due.unwrap_or(SLEEP).min(SLEEP), || ring.used() == 0);
                    busy_at = Instant::now();
                }
                continue;
            }
            if used < BATCH_BYTES && !lingered && !shared.wake.in_a_hurry() {
                shared.wake.rest(linger);
            }
            lingered = false;
            busy_at = Instant::now();
            let taken = ring.take(ring.head(), BATCH_BYTES);
            if !taken.frames.is_empty() && !self.hand_over(&shared.epoch, &taken.frames, taken.end) {
                return false;
            }
            if taken.damaged {
                let lost = shared.epoch.declare_the_unreadable();
                tracing::error!(
                    producer = shared.config.producer,
                    events = lost,
                    "the ring cannot be read any more; what was in it is declared lost"
                );
                shared.count_loss(schemas::Class::Life, Reason::Damaged, lost);
                ring.give_up();
                self.delivered(0, ring.head());
            }
            self.clear_graves();
        }
    }

    /// Makes the frames safe and frees their room. False: given up; they stay where they are unless that is our own memory.
    fn hand_over(&mut self, epoch: &Epoch, frames: &[Frame], end: u64) -> bool {
        let shared = self.shared.clone();
        let own = std::ptr::eq(epoch, &shared.epoch);
        if own {
            shared.oldest_us.store(frames[0].meta.accepted_us, Ordering::Relaxed);
        }
        let records = Arc::new(epoch.records(frames));
        let (refused, delivered) = match self.handing.hand(&records, end, own) {
            Handed::Safe { refused, delivered } => (refused, delivered),
            Handed::Kept { why } if own && matches!(shared.config.ring, Ring::Private { .. }) => {
                tracing::error!(producer = shared.config.producer, events = frames.len(), error = %why, "events are lost and declared");
                self.declare(epoch, frames.iter(), Reason::Abandoned);
                epoch.ring.advance(end, frames);
                self.delivered(0, end);
                return true;
            }
            Handed::Kept { why } => {
                tracing::warn!(
                    producer = shared.config.producer, events = epoch.ring.events(), error = %why,
                    "events stay in the ring for the next start"
                );
                return false;
            }
        };
        if shared.released.load(Ordering::SeqCst) {
            return false;
        }
        self.declare(epoch, refused.iter().filter_map(|at| frames.get(*at)), Reason::Refused);
        epoch.ring.advance(end, frames);
        if own {
            shared.oldest_us.store(0, Ordering::Relaxed);
            shared.progress.send_modify(|n| *n += 1);
        }
        if own && delivered {
            self.delivered(frames.len() - refused.len(), end);
        }
        true
    }

    fn declare<'a>(&self, epoch: &Epoch, frames: impl Iterator<Item = &'a Frame>, reason: Reason) {
        let now_us = self.shared.config.clock.now().mono_us;
        for frame in frames {
            let meta = &frame.meta;
            match meta.seq {
                Some(seq) if std::ptr::eq(epoch, &self.shared.epoch) => {
                    self.shared.lost(meta.line, meta.class, reason, seq, now_us);
                }
                Some(seq) => {
                    epoch.lost(meta.line, meta.class, reason, seq, seq);
                    self.shared.count_loss(meta.class, reason, 1);
                }
                None => self.shared.count_loss(meta.class, reason, 1),
            }
        }
    }

    fn delivered(&self, events: usize, end: u64) {
        let shared = &self.shared;
        shared.oldest_us.store(0, Ordering::Relaxed);
        shared.counters.delivered.fetch_add(events as u64, Ordering::Relaxed);
        shared.delivered_to.fetch_max(end, Ordering::AcqRel);
        shared.progress.send_modify(|n| *n += 1);
    }

    fn clear_graves(&mut self) {
        if !self.graves.is_empty() {
            let gone = self.graves.clear(self.shared.epoch.ring.head());
            self.shared.counters.dead_epochs.fetch_add(gone, Ordering::Relaxed);
        }
    }

    /// Gives how long until the next manifest is due. There is at most one in the ring: each says all that the ones before said.
    fn manifest_if_due(&mut self) -> Option<Duration> {
        let shared = self.shared.clone();
        if !shared.config.manifests || shared.closed.load(Ordering::SeqCst) {
            return None;
        }
        let now = shared.config.clock.now();
        let manifests = shared.counters.manifests.load(Ordering::Relaxed);
        let numbers = shared.counters.accepted.load(Ordering::Relaxed).saturating_sub(manifests);
        let losses = shared.epoch.events_lost();
        let due = self.schedule.due_in(now.mono_us, numbers, losses);
        if due == Some(Duration::ZERO) {
            self.schedule.said(now.mono_us, numbers, losses);
            self.say(shared.epoch.manifest(&shared.config.producer, shared.config.epoch, None, now.wall_us));
        }
        due
    }

    fn say(&self, manifest: StreamManifest) {
        self.shared.counters.manifests.fetch_add(1, Ordering::Relaxed);
        self.shared.publish(manifest, None);
    }
}
