//! The sender's thread: reads the spool in order, keeps several appends to Kafka in flight, commits what is acknowledged.
//!
//! What is not committed when the process ends is sent again by the next: copies, never losses.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use schemas::all_topics;

use super::{
    GROUP, SpoolConfig,
    between::{Between, Turn},
    flight::{Batch, Flight},
};
use crate::{
    Commit, EmbeddedLog, EventLog, LogError, Outgoing, Reason, Record, Room, Source, Start, Subscription,
    publisher::Shared,
};

/// A batch, in one go to Kafka's client.
const BATCH: Room = Room { events: 4096, bytes: 1 << 20 };
/// How long to wait for something to send before looking around.
const LOOK: Duration = Duration::from_millis(50);
/// Positions are kept, and figures taken, so often.
const KEEP_EVERY: Duration = Duration::from_millis(200);
/// A commit waits for a disk that hangs no longer than this; it is repeated.
const COMMIT_PATIENCE: Duration = Duration::from_millis(250);
const OPEN_AGAIN: Duration = Duration::from_millis(250);
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);
/// After a full disk the reserve is looked for so often.
const RESERVE_EVERY: Duration = Duration::from_secs(10);
/// What is in flight at the end gets so long for its answer.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

pub fn start(shared: Arc<Shared>, between: Arc<Between>, config: SpoolConfig) -> std::io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let flight = Flight::new(shared.log.clone());
    let now = Instant::now();
    let sender = Sender {
        shared,
        between,
        config,
        flight,
        done: BTreeMap::new(),
        kept_at: now,
        complained: None,
        reserve_at: now,
    };
    std::thread::Builder::new().name("sender".into()).spawn(move || sender.run(&runtime))
}

struct Sender {
    shared: Arc<Shared>,
    between: Arc<Between>,
    config: SpoolConfig,
    flight: Flight,
    /// Acknowledged and not yet committed.
    done: BTreeMap<(&'static str, i32), Commit>,
    kept_at: Instant,
    complained: Option<Instant>,
    reserve_at: Instant,
}

impl Sender {
    fn run(mut self, runtime: &tokio::runtime::Runtime) {
        let mut spool = None;
        while !self.between.is_stopped() {
            let opened = match spool.take() {
                Some(spool) => Ok(spool),
                None => self.open(runtime),
            };
            let outcome = match opened {
                Ok(log) => {
                    let outcome = runtime.block_on(self.send(&log));
                    spool = Some(log);
                    outcome
                }
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                self.complain(&error, "the spool cannot be used; it is tried again");
                runtime.block_on(async { tokio::time::sleep(OPEN_AGAIN).await });
            }
        }
        if let Some(log) = spool {
            log.close();
        }
    }

    fn open(&self, runtime: &tokio::runtime::Runtime) -> Result<Arc<EmbeddedLog>, LogError> {
        let log = EmbeddedLog::open(self.config.log())?;
        runtime.block_on(log.ensure_topics(all_topics()))?;
        let backlog = log.stats();
        if backlog.backlog_records > 0 {
            tracing::info!(
                producer = self.shared.config.producer,
                events = backlog.backlog_records,
                "the spool holds events of an earlier start; they go first"
            );
        }
        self.shared.spool.inherit(backlog.backlog_records);
        self.between.opened(log.clone());
        Ok(log)
    }

    async fn subscribe(&self, log: &EmbeddedLog) -> Result<Box<dyn Source>, LogError> {
        let group = Some(GROUP.to_owned());
        log.subscribe(Subscription { group, topics: all_topics().to_vec(), start: Start::Committed }).await
    }

    async fn send(&mut self, log: &Arc<EmbeddedLog>) -> Result<(), LogError> {
        let mut source = self.subscribe(log).await?;
        loop {
            if self.between.is_stopped() {
                let _late = tokio::time::timeout(LAST_ANSWERS, self.land()).await;
                return self.keep(&mut source).await;
            }
            match self.between.turn() {
                Turn::Forwarder => {
                    tokio::time::sleep(LOOK).await;
                    self.look_around(log, &mut source).await?;
                    continue;
                }
                Turn::Skip(ends) => {
                    // Whatever stands below was sent past the spool meanwhile.
                    tokio::time::timeout(self.config.patience, source.commit(&ends)).await.map_err(|_| late())??;
                    source = self.subscribe(log).await?;
                    self.between.skipped();
                }
                Turn::Asked if self.flight.is_empty() && is_at_the_end(&mut source).await? => {
                    self.all_is_sent(self.shared.spool.all_spooled());
                    self.between.grant();
                    continue;
                }
                Turn::Asked | Turn::Sender | Turn::Nobody => {}
            }
            let spooled = self.shared.spool.all_spooled();
            let room = self.flight.has_room();
            let flying = !self.flight.is_empty();
            tokio::select! {
                biased;
                Some((batch, answer)) = self.flight.next(), if flying => self.answered(batch, answer).await,
                records = source.poll_within(BATCH, LOOK), if room => {
                    let records = records?;
                    if records.is_empty() {
                        if self.flight.is_empty() && is_at_the_end(&mut source).await? {
                            self.all_is_sent(spooled);
                        }
                    } else {
                        self.flight.push(batch(&records)).await;
                    }
                }
                () = tokio::time::sleep(LOOK) => {}
            }
            self.look_around(log, &mut source).await?;
        }
    }

    /// Waits for everything in flight.
    async fn land(&mut self) {
        while let Some((batch, answer)) = self.flight.next().await {
            if answer.is_err() {
                return;
            }
            self.arrived(&batch, 0);
        }
    }

    async fn answered(&mut self, batch: Batch, answer: Result<(), LogError>) {
        let Err(error) = answer else {
            if self.complained.take().is_some() {
                tracing::info!(producer = self.shared.config.producer, "events reach kafka again");
            }
            self.arrived(&batch, 0);
            return;
        };
        self.complain(&error, "events do not reach kafka; they wait in the spool");
        let (shared, between) = (self.shared.clone(), self.between.clone());
        let mut refused = Vec::new();
        let tell = |_: &LogError| {
            shared.counters.errors.fetch_add(1, Ordering::Relaxed);
            !between.is_stopped()
        };
        let note = |record: &Outgoing, error: &LogError| {
            tracing::error!(kafka.topic = record.topic.name, %error, "an event is refused for good and declared lost");
            refused.push(record.clone());
        };
        let done = self.flight.repair(batch, tell, note).await;
        let lost = refused.iter().filter(|record| self.declare(record)).count() as u64;
        for (at, batch) in done.iter().enumerate() {
            self.arrived(batch, if at == 0 { lost } else { 0 });
        }
    }

    /// True: it was one of this epoch, whose account is still open.
    fn declare(&self, record: &Outgoing) -> bool {
        let config = &self.shared.config;
        let identity = record.value.as_deref().and_then(|value| schemas::identity(value).ok());
        let Some(identity) = identity.filter(|i| i.producer == config.producer.as_str() && i.epoch == config.epoch)
        else {
            self.shared.count_loss(record.topic.class, Reason::Refused, 1);
            return false;
        };
        let seq = identity.seq;
        if let Some(line) =
            self.shared.lines(record.topic).and_then(|l| l.get(record.partition as usize).map(|l| l.ring))
        {
            self.shared.lost(line, record.topic.class, Reason::Refused, seq, config.clock.now().mono_us);
        }
        true
    }

    fn arrived(&mut self, batch: &Batch, refused: u64) {
        for commit in &batch.done {
            self.done.insert((commit.topic.name, commit.partition), *commit);
        }
        let own = self.shared.spool.sent(batch.records.len() as u64);
        self.shared.counters.delivered.fetch_add(own.saturating_sub(refused), Ordering::Relaxed);
        self.tell_progress();
    }

    /// Nothing is left of the first `spooled`. Records that could not be read are counted here: they never came.
    fn all_is_sent(&mut self, spooled: u64) {
        let missing = spooled.saturating_sub(self.shared.spool.all_sent());
        if missing > 0 {
            let own = self.shared.spool.sent(missing);
            tracing::error!(
                producer = self.shared.config.producer,
                events = missing,
                "events in the spool could not be read; they are lost"
            );
            self.shared.counters.refused.fetch_add(own, Ordering::Relaxed);
        }
        self.tell_progress();
    }

    fn tell_progress(&self) {
        if let Some(position) = self.between.reached(&self.shared.spool) {
            self.shared.delivered_to.fetch_max(position, Ordering::AcqRel);
            self.shared.progress.send_modify(|n| *n += 1);
        }
    }

    async fn look_around(&mut self, log: &Arc<EmbeddedLog>, source: &mut Box<dyn Source>) -> Result<(), LogError> {
        if self.kept_at.elapsed() < KEEP_EVERY {
            return Ok(());
        }
        self.kept_at = Instant::now();
        self.keep(source).await?;
        let stats = log.stats();
        let emergency = self.between.emergency.load(Ordering::Acquire);
        let fill = stats.backlog_bytes.saturating_mul(1000) / self.config.max_bytes.max(1);
        // What goes past the spool is not held up by how full that is.
        let past = matches!(self.between.turn(), Turn::Forwarder);
        let fill = if past {
            0
        } else if emergency {
            1000
        } else {
            fill
        };
        self.shared.spool.set_bytes(stats.backlog_bytes, fill);
        let waits = self.shared.spool.read().events > 0;
        self.shared.spool.set_oldest(self.flight.oldest_us().filter(|_| waits));
        if !log.has_reserve() && self.config.reserve_bytes > 0 && self.reserve_at.elapsed() >= RESERVE_EVERY {
            self.reserve_at = Instant::now();
            let log = log.clone();
            let restored = tokio::task::spawn_blocking(move || log.restore_reserve());
            if let Ok(Ok(Ok(()))) = tokio::time::timeout(self.config.patience, restored).await {
                self.between.emergency.store(false, Ordering::Release);
                tracing::info!(producer = self.shared.config.producer, "the spool has its reserve again");
            }
        }
        Ok(())
    }

    /// Keeps the positions. A disk that hangs does not hold up sending: what is not kept is repeated, here or by the next start.
    async fn keep(&mut self, source: &mut Box<dyn Source>) -> Result<(), LogError> {
        if self.done.is_empty() {
            return Ok(());
        }
        let done: Vec<Commit> = self.done.values().copied().collect();
        match tokio::time::timeout(COMMIT_PATIENCE, source.commit(&done)).await {
            Ok(Ok(())) => {
                self.done.clear();
                Ok(())
            }
            Ok(Err(error @ (LogError::Closed | LogError::Fenced { .. }))) => Err(error),
            Ok(Err(error)) => {
                self.complain(&error, "the spool does not keep how far it is sent");
                Ok(())
            }
            Err(_) => Ok(()),
        }
    }

    fn complain(&mut self, error: &LogError, what: &str) {
        self.shared.counters.errors.fetch_add(1, Ordering::Relaxed);
        if self.complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
            self.complained = Some(Instant::now());
            tracing::warn!(producer = self.shared.config.producer, %error, what);
        }
    }
}

fn late() -> LogError {
    LogError::Io {
        what: "the spool".to_owned(),
        kind: std::io::ErrorKind::TimedOut,
        message: "the disk does not answer".to_owned(),
    }
}

async fn is_at_the_end(source: &mut Box<dyn Source>) -> Result<bool, LogError> {
    Ok(source.lag().await?.iter().all(|lag| lag.events() == 0))
}

fn batch(records: &[Record]) -> Batch {
    let mut done: BTreeMap<(&'static str, i32), Commit> = BTreeMap::new();
    let mut bytes = 0;
    for record in records {
        bytes += record.size_bytes();
        let commit = Commit { topic: record.topic, partition: record.partition, next_offset: record.offset + 1 };
        done.insert((record.topic.name, record.partition), commit);
    }
    let records = Arc::new(records.iter().map(Record::to_outgoing).collect());
    Batch { records, done: done.into_values().collect(), bytes }
}
