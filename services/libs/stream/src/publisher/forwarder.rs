//! The publisher's own thread: takes batches, appends them, repeats until the log took them.
//!
//! One batch at a time, in order. A fault of the log (disk full, broker away) makes this thread wait and the queue fill; no caller of
//! `publish` notices. A record that the log refuses for good is declared and passed over, so it cannot hold up the rest.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    PublisherError, Reason,
    queue::Item,
    shared::{Sent, Shared},
};
use crate::{LogError, Outgoing};

pub const BATCH_BYTES: usize = 1 << 20;
const BATCH_EVENTS: usize = 8192;
/// A lone event waits this long for company, so that a sync is shared.
const LINGER: Duration = Duration::from_millis(2);
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// The same fault is logged again after this long.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

pub fn start(shared: Arc<Shared>) -> Result<(), PublisherError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(PublisherError::Thread)?;
    let run = move || Forwarder { shared, runtime, complained: None }.run();
    std::thread::Builder::new().name("publisher".into()).spawn(run).map_err(PublisherError::Thread)?;
    Ok(())
}

struct Forwarder {
    shared: Arc<Shared>,
    runtime: tokio::runtime::Runtime,
    complained: Option<Instant>,
}

impl Forwarder {
    fn run(mut self) {
        let mut items = Vec::new();
        while self.next_batch(&mut items) {
            let sent = self.shared.waiting.lock().in_flight.clone();
            let records: Arc<Vec<Outgoing>> = Arc::new(items.drain(..).map(|item| item.record).collect());
            let delivered = self.deliver(&records, &sent);
            {
                let mut waiting = self.shared.waiting.lock();
                waiting.in_flight = Arc::default();
                waiting.queue.done(sent.iter().map(|s| s.size).sum());
            }
            self.shared.counters.delivered.fetch_add(delivered, Ordering::Relaxed);
            self.shared.progress.send_modify(|n| *n += 1);
        }
    }

    /// Waits for events, lingers a little for more, takes them. False: stopped and empty.
    fn next_batch(&self, items: &mut Vec<Item>) -> bool {
        let mut waiting = self.shared.waiting.lock();
        loop {
            if waiting.queue.is_empty() {
                waiting.urgent = false;
                if waiting.stop {
                    return false;
                }
                waiting.sleeping = true;
                self.shared.wake.wait(&mut waiting);
                continue;
            }
            let deadline = Instant::now() + LINGER;
            while !waiting.stop && !waiting.urgent && waiting.queue.bytes() < BATCH_BYTES {
                if self.shared.wake.wait_until(&mut waiting, deadline).timed_out() {
                    break;
                }
            }
            waiting.sleeping = false;
            waiting.queue.take(BATCH_EVENTS, BATCH_BYTES, items);
            waiting.in_flight = items.iter().map(Sent::from).collect();
            return true;
        }
    }

    /// Returns how many of the batch are in the log.
    fn deliver(&mut self, records: &Arc<Vec<Outgoing>>, sent: &[Sent]) -> u64 {
        match self.insist(records) {
            Ok(()) => sent.len() as u64,
            Err(error) if error.is_permanent() && sent.len() > 1 => {
                // Somebody in the batch is refused: find out who, keep the order.
                let mut delivered = 0;
                for (record, sent) in records.iter().zip(sent) {
                    delivered += self.deliver(&Arc::new(vec![record.clone()]), std::slice::from_ref(sent));
                }
                delivered
            }
            Err(error) => {
                let reason = if error.is_permanent() { Reason::Refused } else { Reason::Abandoned };
                tracing::error!(producer = self.shared.config.producer, events = sent.len(), ?reason, %error, "events are lost and declared");
                let now_us = self.shared.config.clock.now().mono_us;
                for sent in sent {
                    self.shared.lost_sent(sent, reason, now_us);
                }
                0
            }
        }
    }

    /// Appends, and again for as long as the fault may pass. When nobody publishes any more, the first failure is the last.
    fn insist(&mut self, records: &Arc<Vec<Outgoing>>) -> Result<(), LogError> {
        let mut backoff = BACKOFF_MIN;
        loop {
            let error = match self.runtime.block_on(self.shared.log.append_shared(records.clone())) {
                Ok(()) => {
                    if self.complained.take().is_some() {
                        tracing::info!(producer = self.shared.config.producer, "events reach the log again");
                    }
                    return Ok(());
                }
                Err(error) => error,
            };
            self.shared.counters.errors.fetch_add(1, Ordering::Relaxed);
            if error.is_permanent() {
                return Err(error);
            }
            if self.complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
                self.complained = Some(Instant::now());
                tracing::warn!(
                    producer = self.shared.config.producer, events = records.len(), %error,
                    "events do not reach the log; they are kept and tried again"
                );
            }
            let mut waiting = self.shared.waiting.lock();
            let until = Instant::now() + backoff;
            while !waiting.stop {
                if self.shared.wake.wait_until(&mut waiting, until).timed_out() {
                    break;
                }
            }
            if waiting.stop {
                return Err(error);
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }
}
