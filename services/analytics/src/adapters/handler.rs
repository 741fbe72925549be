//! The consumer: joins events into records, writes them, counts dirty minutes again.
//!
//! The running minute is counted with every write; a minute that is over at most every `late_every`, because calls that end later
//! would otherwise make each of the last minutes dirty all the time. Nothing is lost by waiting: what is dirty is in the store.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::Clock;
use schemas::SipTransaction;
use stream::{Bad, Failure, Handler, Poison, PumpStats, Record as LogRecord};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::adapters::sink::{Sink, batches};
use crate::adapters::store::Store;
use crate::core::record::{MINUTE_US, Record, piece};
use crate::error::StoreError;
use crate::metrics::Metrics;

/// What others may wait for.
#[derive(Debug, Clone, Default)]
pub struct Position {
    pub next: HashMap<(String, i32), i64>,
    pub dirty: usize,
}

pub struct Counter {
    pub store: Store,
    pub sink: Option<Box<dyn Sink>>,
    pub clock: Arc<dyn Clock>,
    pub metrics: Metrics,
    pub stats: Arc<PumpStats>,
    pub position: watch::Sender<Position>,
    pub flush: Duration,
    pub late_every: Duration,
    pub max_batch: usize,
    pub last_write: Option<Instant>,
    pub last_late: Option<Instant>,
}

fn failure(error: StoreError) -> Failure {
    if error.is_transient() { Failure::Transient(error.into()) } else { Failure::Fatal(error.into()) }
}

impl Counter {
    async fn pace(&mut self, records: usize) {
        if let Some(last) = self.last_write
            && records < self.max_batch
        {
            tokio::time::sleep_until(last + self.flush).await;
        }
        self.last_write = Some(Instant::now());
    }

    async fn join(&mut self, events: &[SipTransaction], offsets: &[(String, i32, i64)]) -> Result<(), StoreError> {
        let pieces: Vec<_> = events.iter().filter_map(|e| piece(e).map(|p| (e.call_root_id.as_str(), p))).collect();
        let calls: BTreeSet<&str> = pieces.iter().map(|(call, _)| *call).collect();
        let calls: Vec<&str> = calls.into_iter().collect();
        let mut known = self.store.records(&calls).await?;
        let mut changed: BTreeMap<String, Record> = BTreeMap::new();
        let mut left = BTreeSet::new();
        for (call, (key, piece)) in pieces {
            let mut record = match changed.remove(call) {
                Some(record) => record,
                None => match known.remove(call) {
                    Some(stored) => {
                        left.insert(stored.minute_us);
                        stored.record
                    }
                    None => Record::default(),
                },
            };
            if record.join(key, piece) {
                self.metrics.changed.inc();
            }
            changed.insert(call.to_owned(), record);
        }
        self.store.write(&changed, &left, offsets).await
    }

    /// Counts what is due. `all`: nothing came for a while, so what is over can be counted too.
    async fn recount(&mut self, all: bool) -> Result<usize, StoreError> {
        let now = Instant::now();
        let late = all || self.last_late.is_none_or(|at| now >= at + self.late_every);
        if late {
            self.last_late = Some(now);
        }
        let running = self.clock.now().wall_us.div_euclid(MINUTE_US) * MINUTE_US - MINUTE_US;
        let dirty = self.store.dirty().await?;
        let mut left = dirty.len();
        for minute in dirty {
            if minute >= running || late {
                let started = Instant::now();
                self.store.recount(minute).await?;
                self.metrics.recounts.inc();
                self.metrics.recount_seconds.observe(started.elapsed().as_secs_f64());
                left -= 1;
            }
        }
        self.metrics.dirty.set(i64::try_from(left).unwrap_or(i64::MAX));
        self.position.send_modify(|p| p.dirty = left);
        Ok(left)
    }
}

#[async_trait]
impl Handler for Counter {
    async fn handle(&mut self, batch: &[LogRecord]) -> Result<Vec<Poison>, Failure> {
        self.pace(batch.len()).await;
        let mut poison = Vec::new();
        let mut read = Vec::with_capacity(batch.len());
        let mut next: BTreeMap<(String, i32), i64> = BTreeMap::new();
        for (index, record) in batch.iter().enumerate() {
            next.insert((record.topic.name.to_owned(), record.partition), record.offset + 1);
            match stream::decode::<SipTransaction>(index, record) {
                Ok(event) => read.push((record.partition, record.offset, event)),
                Err(Bad::Poison(bad)) => poison.push(bad),
                Err(Bad::Wait(error)) => return Err(Failure::Transient(error)),
            }
        }
        let events: Vec<SipTransaction> = read.iter().map(|(_, _, event)| event.clone()).collect();
        if let Some(sink) = &mut self.sink {
            // Before the positions are written: a crash in between repeats the batch, and its token makes that harmless.
            for raw in batches(read) {
                sink.write(&raw).await.map_err(|error| Failure::Transient(error.into()))?;
                self.metrics.raw_rows.inc_by(raw.rows.len() as u64);
            }
        }
        let offsets: Vec<(String, i32, i64)> = next.into_iter().map(|((t, p), o)| (t, p, o)).collect();
        self.join(&events, &offsets).await.map_err(failure)?;
        self.metrics.events.inc_by(batch.len() as u64);
        self.recount(false).await.map_err(failure)?;
        self.position.send_modify(|p| {
            for (topic, partition, offset) in offsets {
                p.next.insert((topic, partition), offset);
            }
        });
        Ok(poison)
    }

    async fn tick(&mut self) -> Result<(), Failure> {
        self.metrics.lag(&self.stats);
        let quiet = self.last_write.is_none_or(|at| at.elapsed() >= Duration::from_secs(1));
        if quiet && self.position.borrow().dirty > 0 {
            self.recount(true).await.map_err(failure)?;
        }
        Ok(())
    }
}
