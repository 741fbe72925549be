//! The turns of a running pump: read, handle, settle, commit, look at the lag.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{
    BACKOFF_MIN, Failure, Handler, KEEP_ALIVE_EVERY, Poison, Pump, PumpError, caps::Caps, dead_letter::dead_letter,
};
use crate::{Commit, Lag, LogError, Record, Source, ledger::Ledger};

const COMMIT_EVERY: Duration = Duration::from_millis(500);
const LAG_EVERY: Duration = Duration::from_secs(1);
/// Until the start has been read, the handler waits for `caught_up`.
const LAG_EVERY_AT_START: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(15);
const DEAD_LETTER_FLUSH: Duration = Duration::from_secs(5);

/// A partition among all topics of the pump.
type Part = (&'static str, i32);

pub struct Turn<'a, B> {
    pump: &'a Pump,
    source: Box<dyn Source>,
    shutdown: CancellationToken,
    beat: B,
    ledger: Ledger<Part>,
    caps: Caps,
    /// Read while paused; handled next. Bounded by one `poll(1)` per pause.
    stash: Vec<Record>,
    /// Ends at the start, until they are reached.
    targets: Option<Vec<Lag>>,
    /// Timestamp of the newest handled record per partition.
    newest: HashMap<Part, i64>,
    /// Greatest age of a record at the end of its batch, since the lag was last measured.
    slowest_us: Option<u64>,
    dead_unflushed: bool,
    next_tick: Instant,
    next_commit: Instant,
    next_lag: Instant,
}

impl<'a, B: Fn() + Send> Turn<'a, B> {
    pub fn new(pump: &'a Pump, source: Box<dyn Source>, shutdown: CancellationToken, beat: B) -> Self {
        let now = Instant::now();
        Self {
            caps: Caps::new(pump.config.caps),
            pump,
            source,
            shutdown,
            beat,
            ledger: Ledger::default(),
            stash: Vec::new(),
            targets: None,
            newest: HashMap::new(),
            slowest_us: None,
            dead_unflushed: false,
            next_tick: now + pump.config.tick_every,
            next_commit: now + COMMIT_EVERY,
            next_lag: now,
        }
    }

    pub async fn work<H: Handler>(&mut self, handler: &mut H) -> Result<(), PumpError> {
        let mut read_backoff = BACKOFF_MIN;
        while !self.shutdown.is_cancelled() {
            (self.beat)();
            let now = Instant::now();
            if now >= self.next_tick {
                self.next_tick = now + self.pump.config.tick_every;
                self.tick(handler).await?;
            }
            let batch = match self.next_batch().await {
                Ok(batch) => batch,
                Err(error) if error.is_permanent() => return Err(self.pump.log_error(error)),
                Err(error) => {
                    tracing::warn!(pump = self.pump.config.name, %error, "cannot read; trying again");
                    self.pause(read_backoff).await;
                    read_backoff = (read_backoff * 2).min(BACKOFF_MAX);
                    continue;
                }
            };
            read_backoff = BACKOFF_MIN;
            if !batch.is_empty() {
                self.handle(handler, &batch).await?;
            }
            if Instant::now() >= self.next_commit {
                self.commit().await?;
            }
            self.look_at_lag(handler).await;
        }
        Ok(())
    }

    async fn next_batch(&mut self) -> Result<Vec<Record>, LogError> {
        if !self.stash.is_empty() {
            return Ok(std::mem::take(&mut self.stash));
        }
        let config = &self.pump.config;
        let wait = config.poll_wait.min(KEEP_ALIVE_EVERY).min(self.next_tick.saturating_duration_since(Instant::now()));
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => Ok(Vec::new()),
            // Cancel safe by contract: a read that shutdown interrupts has given nothing out.
            batch = self.source.poll(config.max_batch, wait) => batch,
        }
    }

    async fn handle<H: Handler>(&mut self, handler: &mut H, batch: &[Record]) -> Result<(), PumpError> {
        for record in batch {
            self.ledger.start((record.topic.name, record.partition), record.offset);
        }
        let mut attempts = 1;
        let mut backoff = BACKOFF_MIN;
        let poison = loop {
            match handler.handle(batch).await {
                Ok(poison) => break poison,
                Err(Failure::Fatal(source)) => return Err(self.fatal(source)),
                Err(Failure::Transient(error)) => {
                    let first = &batch[0];
                    tracing::warn!(
                        pump = self.pump.config.name,
                        attempts,
                        error = format!("{error:#}"),
                        records = batch.len(),
                        kafka.topic = first.topic.name,
                        kafka.partition = first.partition,
                        kafka.offset = first.offset,
                        "a batch could not be handled yet; reading pauses and it is tried again"
                    );
                }
            }
            self.pump.stats.add_retry();
            if !self.pause(backoff).await {
                return Ok(());
            }
            attempts += 1;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        };
        self.note_age(batch);
        self.settle(batch, &poison, attempts)
    }

    /// Notes the batch as done, record by record, with a dead letter for each poison.
    fn settle(&mut self, batch: &[Record], poison: &[Poison], attempts: u32) -> Result<(), PumpError> {
        let pump = self.pump;
        let mut by_index: HashMap<usize, &Poison> = poison.iter().map(|p| (p.index, p)).collect();
        let mut dead = 0;
        for (index, record) in batch.iter().enumerate() {
            let part = (record.topic.name, record.partition);
            let poison = by_index.remove(&index);
            if let Some(hit) = self.caps.note(poison.is_some()) {
                pump.stats.add_handled(index as u64, dead);
                return Err(PumpError::PoisonCap {
                    name: pump.config.name,
                    topic: record.topic.name,
                    partition: record.partition,
                    offset: record.offset,
                    hit,
                    error: poison.map(|p| p.error.clone()).unwrap_or_default(),
                });
            }
            if let Some(poison) = poison {
                let publisher = &pump.client.publisher;
                let now_us = publisher.clock().now().wall_us;
                let group = pump.config.group.as_deref();
                let letter = dead_letter(record, poison, pump.config.name, group, attempts, now_us);
                publisher.publish(letter);
                tracing::warn!(
                    pump = pump.config.name,
                    kafka.topic = record.topic.name,
                    kafka.partition = record.partition,
                    kafka.offset = record.offset,
                    class = poison.class,
                    error = poison.error,
                    "dead letter"
                );
                self.dead_unflushed = true;
                dead += 1;
            }
            self.ledger.finish(part, record.offset);
            self.newest.insert(part, record.timestamp_us);
        }
        if !by_index.is_empty() {
            tracing::error!(pump = pump.config.name, "the handler named poison outside of its batch");
        }
        pump.stats.add_handled(batch.len() as u64, dead);
        Ok(())
    }

    async fn tick<H: Handler>(&mut self, handler: &mut H) -> Result<(), PumpError> {
        let mut backoff = BACKOFF_MIN;
        loop {
            match handler.tick().await {
                Ok(()) => return Ok(()),
                Err(Failure::Fatal(source)) => return Err(self.fatal(source)),
                Err(Failure::Transient(error)) => {
                    tracing::warn!(
                        pump = self.pump.config.name,
                        error = format!("{error:#}"),
                        "a tick failed; trying again"
                    );
                }
            }
            self.pump.stats.add_retry();
            if !self.pause(backoff).await {
                return Ok(());
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    fn fatal(&self, source: anyhow::Error) -> PumpError {
        PumpError::Fatal { name: self.pump.config.name, source }
    }

    /// Waits without reading on and without losing the group. False: shutdown.
    async fn pause(&mut self, span: Duration) -> bool {
        let until = Instant::now() + span;
        self.pump.stats.set_paused(true);
        let _not_pausable = self.source.pause().await;
        let mut alive = true;
        while alive && Instant::now() < until {
            (self.beat)();
            if Instant::now() >= self.next_lag {
                // Who waits falls behind: show it.
                self.measure_lag().await;
            }
            let slice = KEEP_ALIVE_EVERY.min(until.saturating_duration_since(Instant::now()));
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => alive = false,
                polled = async {
                    let started = Instant::now();
                    let polled = self.source.poll(1, slice).await;
                    // An adapter that answers at once must not make this loop spin.
                    if started.elapsed() < slice {
                        tokio::time::sleep(slice.saturating_sub(started.elapsed())).await;
                    }
                    polled
                } => if let Ok(records) = polled { self.stash.extend(records) },
            }
        }
        let _not_pausable = self.source.resume().await;
        self.pump.stats.set_paused(false);
        alive
    }

    /// Commits the finished prefix. A failure that may pass leaves it for the next time.
    pub async fn commit(&mut self) -> Result<(), PumpError> {
        self.next_commit = Instant::now() + COMMIT_EVERY;
        if self.pump.config.group.is_none() {
            return Ok(());
        }
        let taken = self.ledger.take_committable();
        if taken.is_empty() {
            return Ok(());
        }
        if self.dead_unflushed {
            if let Err(error) = self.pump.client.publisher.flush(DEAD_LETTER_FLUSH).await {
                tracing::warn!(pump = self.pump.config.name, %error, "not committing before the dead letters are in the log");
                self.ledger.give_back(&taken);
                return Ok(());
            }
            self.dead_unflushed = false;
        }
        let commits: Vec<Commit> = taken
            .iter()
            .filter_map(|((name, partition), next)| {
                let topic = self.pump.config.topics.iter().copied().find(|t| t.name == *name)?;
                Some(Commit { topic, partition: *partition, next_offset: *next })
            })
            .collect();
        match self.source.commit(&commits).await {
            Ok(()) => Ok(()),
            Err(source) if source.is_permanent() => Err(self.pump.log_error(source)),
            Err(error) => {
                tracing::warn!(pump = self.pump.config.name, %error, "cannot commit yet");
                self.ledger.give_back(&taken);
                Ok(())
            }
        }
    }

    async fn look_at_lag<H: Handler>(&mut self, handler: &mut H) {
        if Instant::now() < self.next_lag {
            return;
        }
        let caught_up = self.pump.stats.caught_up();
        let Some(lag) = self.measure_lag().await else { return };
        // Without an assignment (a group that still gathers) nothing is known yet.
        if caught_up || lag.is_empty() {
            return;
        }
        let targets = self.targets.get_or_insert_with(|| lag.clone());
        let here: HashMap<Part, i64> = lag.iter().map(|l| ((l.topic.name, l.partition), l.position)).collect();
        let reached = targets.iter().all(|t| here.get(&(t.topic.name, t.partition)).is_none_or(|at| *at >= t.end));
        if reached && self.stash.is_empty() {
            self.targets = None;
            self.pump.stats.set_caught_up();
            handler.caught_up();
        }
    }

    /// Notes how old the batch's oldest record is, now that the batch is done.
    fn note_age(&mut self, batch: &[Record]) {
        let now = self.pump.client.publisher.clock().now().wall_us;
        let oldest = batch.iter().map(|r| r.timestamp_us).min().unwrap_or(now);
        let age = u64::try_from(now - oldest).unwrap_or(0);
        self.slowest_us = Some(self.slowest_us.map_or(age, |known| known.max(age)));
    }

    async fn measure_lag(&mut self) -> Option<Vec<Lag>> {
        let every = if self.pump.stats.caught_up() { LAG_EVERY } else { LAG_EVERY_AT_START };
        self.next_lag = Instant::now() + every;
        match self.source.lag().await {
            Ok(lag) => {
                self.pump.stats.set_lag_events(lag.iter().map(Lag::events).sum());
                // What was handled meanwhile says how long a record takes; only a pump that handled nothing has to guess.
                let lag_us = self.slowest_us.take().unwrap_or_else(|| self.oldest_us(&lag));
                self.pump.stats.set_lag_us(lag_us);
                Some(lag)
            }
            Err(error) => {
                tracing::debug!(pump = self.pump.config.name, %error, "the lag is unknown for now");
                None
            }
        }
    }

    /// How far behind the slowest partition is, told by the newest record that was handled there.
    fn oldest_us(&self, lag: &[Lag]) -> u64 {
        let now = self.pump.client.publisher.clock().now().wall_us;
        let behind = lag.iter().filter(|l| l.events() > 0);
        let times = behind.filter_map(|l| self.newest.get(&(l.topic.name, l.partition)));
        times.min().map_or(0, |at| u64::try_from(now - at).unwrap_or(0))
    }
}
