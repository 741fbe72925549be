//! The turns of a running pump: take, handle, settle, commit, look at the lag.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    pin::pin,
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    BACKOFF_MAX, BACKOFF_MIN, Failure, Handler, KEEP_ALIVE_EVERY, Leased, Part, Poison, Progress, Pump, PumpError,
    dead_letter::dead_letter,
    intake::{Intake, part_of},
    jury::{Jury, Stop, Suspect},
    lag::{self, Memory},
    look::Look,
};
use crate::{Assigned, Commit, Lag, LogError, Record, Source};

const COMMIT_EVERY: Duration = Duration::from_millis(500);
const LAG_EVERY: Duration = Duration::from_secs(1);
/// Until the start has been read, the handler waits for `caught_up`.
const LAG_EVERY_AT_START: Duration = Duration::from_millis(50);
const DEAD_LETTER_FLUSH: Duration = Duration::from_secs(5);

pub struct Turn<'a, B> {
    pump: &'a Pump,
    intake: Intake<'a>,
    leased: bool,
    shutdown: CancellationToken,
    beat: B,
    jury: Jury,
    /// Ends at the start, until they are reached.
    targets: Option<Vec<Lag>>,
    /// Positions as of the last answer; ages are told from them while the log does not answer.
    lag: Vec<Lag>,
    memory: Memory,
    look: Look,
    /// Greatest age of a record at the end of its batch, since the lag was last measured.
    slowest_us: u64,
    dead_unflushed: bool,
    /// Leased partitions: what the handler's store says.
    stored: BTreeMap<Part, i64>,
    next_tick: Instant,
    next_commit: Instant,
    next_lag: Instant,
}

impl<'a, B: Fn() + Send> Turn<'a, B> {
    pub fn new(
        pump: &'a Pump,
        source: Box<dyn Source>,
        lease: Option<watch::Receiver<Vec<Leased>>>,
        shutdown: CancellationToken,
        beat: B,
    ) -> Self {
        let now = Instant::now();
        let stored = lease.as_ref().map(|lease| stored(&lease.borrow())).unwrap_or_default();
        Self {
            pump,
            leased: lease.is_some(),
            intake: Intake::new(pump, source, lease),
            shutdown,
            beat,
            jury: Jury::new(pump.config.caps, now),
            targets: None,
            lag: Vec::new(),
            memory: Memory::default(),
            look: Look::default(),
            slowest_us: 0,
            dead_unflushed: false,
            stored,
            next_tick: now + pump.config.tick_every,
            next_commit: now + COMMIT_EVERY,
            next_lag: now,
        }
    }

    pub async fn work<H: Handler>(&mut self, handler: &mut H) -> Result<(), PumpError> {
        let mut read_backoff = BACKOFF_MIN;
        while !self.shutdown.is_cancelled() {
            (self.beat)();
            self.follow_lease().await?;
            let now = Instant::now();
            if now >= self.next_tick {
                self.next_tick = now + self.pump.config.tick_every;
                self.tick(handler).await?;
            }
            if let Err(error) = self.read().await {
                if error.is_permanent() {
                    return Err(self.pump.log_error(error));
                }
                tracing::warn!(pump = self.pump.config.name, %error, "cannot read; trying again");
                self.pause(read_backoff).await;
                read_backoff = (read_backoff * 2).min(BACKOFF_MAX);
                continue;
            }
            read_backoff = BACKOFF_MIN;
            self.intake.look_at_assignment();
            let batch = self.intake.next_batch(self.pump.config.max_batch);
            if !batch.is_empty() {
                self.handle(handler, batch).await?;
            }
            self.decide();
            if Instant::now() >= self.next_commit {
                self.commit().await?;
                if self.leased && self.intake.ledger.has_committable() {
                    // A dead letter was decided without a batch. A failure that may pass leaves it for the next time.
                    let _later = self.commit_stored(handler).await?;
                }
            }
            self.look_at_lag(handler).await;
        }
        Ok(())
    }

    /// Reads, unless there is something to do already.
    async fn read(&mut self) -> Result<(), LogError> {
        if let Some(fault) = self.intake.take_fault() {
            return Err(fault);
        }
        if self.intake.has_records() {
            return Ok(());
        }
        let config = &self.pump.config;
        let wait = config.poll_wait.min(KEEP_ALIVE_EVERY).min(self.next_tick.saturating_duration_since(Instant::now()));
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => Ok(()),
            // Cancel safe: a read that shutdown interrupts has given nothing out.
            read = self.intake.step(wait) => read,
        }
    }

    async fn handle<H: Handler>(&mut self, handler: &mut H, mut batch: Vec<Record>) -> Result<(), PumpError> {
        let mut began = BTreeMap::new();
        for record in &batch {
            let part = part(record);
            began.entry(part).or_insert_with(|| self.intake.number(part));
        }
        let (mut attempts, mut backoff, mut settled) = (1, BACKOFF_MIN, false);
        loop {
            let error = match self.beside(handler.handle(&batch)).await {
                Ok(poison) => {
                    self.settle(&batch, &began, &poison, attempts, &mut settled)?;
                    match self.commit_stored(handler).await? {
                        None => return Ok(()),
                        Some(error) => error,
                    }
                }
                Err(Failure::Fatal(source)) => return Err(self.fatal(source)),
                Err(Failure::Transient(error)) => error,
            };
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
            self.pump.stats.add_retry();
            // With a new lease everything that is not finished is read again.
            if !self.pause(backoff).await || self.follow_lease().await? {
                return Ok(());
            }
            self.intake.look_at_assignment();
            let ours = self.still_ours(&began);
            batch.retain(|record| ours.contains_key(&part(record)));
            if batch.is_empty() {
                return Ok(());
            }
            attempts += 1;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Reads on while something else is at work.
    async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            if Instant::now() >= self.next_lag {
                tokio::select! {
                    biased;
                    out = &mut work => return out,
                    _lag = self.measure_lag() => {}
                }
            }
            tokio::select! {
                biased;
                out = &mut work => return out,
                () = self.intake.step_aside() => {}
            }
        }
    }

    /// The partitions that are still ours, under the number that they had when the batch began.
    fn still_ours(&self, began: &BTreeMap<Part, Option<u64>>) -> BTreeMap<Part, u64> {
        let same = |(part, number): (&Part, &Option<u64>)| {
            number.filter(|number| self.intake.number(*part) == Some(*number)).map(|number| (*part, number))
        };
        began.iter().filter_map(same).collect()
    }

    /// Notes the batch as done, record by record. `settled`: it was before, and only its commit failed.
    fn settle(
        &mut self,
        batch: &[Record],
        began: &BTreeMap<Part, Option<u64>>,
        poison: &[Poison],
        attempts: u32,
        settled: &mut bool,
    ) -> Result<(), PumpError> {
        if std::mem::replace(settled, true) {
            return Ok(());
        }
        self.intake.look_at_assignment();
        let mut by_index: HashMap<usize, &Poison> = poison.iter().map(|p| (p.index, p)).collect();
        let now_us = self.pump.client.publisher.clock().now().wall_us;
        let ours = self.still_ours(began);
        let mut oldest_us = now_us;
        let (mut good, mut stopped) = (0, Ok(()));
        for (index, record) in batch.iter().enumerate() {
            let poison = by_index.remove(&index);
            let Some(number) = ours.get(&part(record)).copied() else { continue };
            if let Some(poison) = poison {
                let suspect = Suspect { record: record.clone(), poison: poison.clone(), attempts, number };
                stopped = self.jury.suspect(suspect, Instant::now()).map_err(|stop| self.stop(*stop));
                if stopped.is_err() {
                    break;
                }
            } else {
                let dead = self.jury.good();
                self.bury(dead);
                self.intake.ledger.finish(part(record), record.offset);
                good += 1;
            }
            oldest_us = oldest_us.min(record.timestamp_us);
        }
        self.pump.stats.add_handled(good, 0);
        self.slowest_us = self.slowest_us.max(u64::try_from(now_us - oldest_us).unwrap_or(0));
        self.show_in_flight();
        stopped?;
        if !by_index.is_empty() {
            tracing::error!(pump = self.pump.config.name, "the handler named poison outside of its batch");
        }
        Ok(())
    }

    fn stop(&self, stop: Stop) -> PumpError {
        PumpError::PoisonCap {
            name: self.pump.config.name,
            topic: stop.first.topic.name,
            partition: stop.first.partition,
            offset: stop.first.offset,
            hit: stop.hit,
            error: stop.error,
        }
    }

    /// Suspects whose time has come are dead letters.
    fn decide(&mut self) {
        if !self.jury.is_waiting() {
            return;
        }
        self.intake.look_at_assignment();
        self.jury.forget(|suspect| self.intake.number(suspect.part()) == Some(suspect.number));
        let no_room = self.intake.room().is_none() && !self.intake.has_records();
        let dead = self.jury.due(Instant::now(), no_room);
        self.bury(dead);
        self.show_in_flight();
    }

    fn bury(&mut self, dead: Vec<Suspect>) {
        let pump = self.pump;
        for suspect in dead {
            let part = suspect.part();
            // A suspect of an older assignment is read again by whoever has the partition now.
            if self.intake.number(part) != Some(suspect.number) {
                continue;
            }
            let (record, poison) = (&suspect.record, &suspect.poison);
            let publisher = &pump.client.publisher;
            let now_us = publisher.clock().now().wall_us;
            let group = pump.config.group.as_deref();
            publisher.publish(dead_letter(record, poison, pump.config.name, group, suspect.attempts, now_us));
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
            self.intake.ledger.finish(part, record.offset);
            pump.stats.add_handled(1, 1);
        }
    }

    fn show_in_flight(&self) {
        let (events, bytes) = self.intake.ledger.in_flight();
        self.pump.stats.set_in_flight(events, bytes);
    }

    async fn tick<H: Handler>(&mut self, handler: &mut H) -> Result<(), PumpError> {
        let mut backoff = BACKOFF_MIN;
        loop {
            match self.beside(handler.tick()).await {
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
        self.intake.hold(true);
        while Instant::now() < until && !self.shutdown.is_cancelled() {
            (self.beat)();
            if Instant::now() >= self.next_lag {
                // Who waits falls behind: show it.
                self.measure_lag().await;
            }
            let slice = KEEP_ALIVE_EVERY.min(until.saturating_duration_since(Instant::now()));
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => {}
                // A reader that fails now fails again when it is read.
                _failed = async {
                    let _failed = self.intake.step(slice).await;
                    tokio::time::sleep(slice).await;
                } => {}
                () = tokio::time::sleep(slice) => {}
            }
        }
        self.intake.hold(false);
        self.pump.stats.set_paused(false);
        !self.shutdown.is_cancelled()
    }

    /// Commits the finished prefix. A failure that may pass leaves it for the next time.
    pub async fn commit(&mut self) -> Result<(), PumpError> {
        self.next_commit = Instant::now() + COMMIT_EVERY;
        if self.pump.config.group.is_none() || self.leased {
            return Ok(());
        }
        self.intake.look_at_assignment();
        let taken = self.intake.ledger.take_committable();
        if taken.is_empty() {
            return Ok(());
        }
        if !self.flush_dead().await {
            self.intake.ledger.give_back(&taken);
            return Ok(());
        }
        let commits = self.commits(&taken);
        self.intake.source.offer(&commits);
        match self.intake.source.commit(&commits).await {
            Ok(()) => Ok(()),
            Err(source) if source.is_permanent() => Err(self.pump.log_error(source)),
            Err(error) => {
                tracing::warn!(pump = self.pump.config.name, %error, "cannot commit yet");
                self.intake.ledger.give_back(&taken);
                Ok(())
            }
        }
    }

    fn commits(&self, taken: &[(Part, i64)]) -> Vec<Commit> {
        let commit = |(part, next): &(Part, i64)| {
            Some(Commit { topic: self.intake.topic(*part)?, partition: part.1, next_offset: *next })
        };
        taken.iter().filter_map(commit).collect()
    }

    /// The dead letters so far are in the log.
    async fn flush_dead(&mut self) -> bool {
        if self.dead_unflushed {
            if let Err(error) = self.pump.client.publisher.flush(DEAD_LETTER_FLUSH).await {
                tracing::warn!(pump = self.pump.config.name, %error, "not committing before the dead letters are in the log");
                return false;
            }
            self.dead_unflushed = false;
        }
        true
    }

    /// Leased partitions: lets the handler commit. `Some`: not now, and the batch has to be handled again.
    async fn commit_stored<H: Handler>(&mut self, handler: &mut H) -> Result<Option<anyhow::Error>, PumpError> {
        if !self.leased {
            // What is finished may be committed the moment its partition is taken away.
            if !self.dead_unflushed {
                let finished: Vec<(Part, i64)> =
                    self.intake.ledger.partitions().filter_map(|p| Some((p, self.intake.ledger.next(p)?))).collect();
                self.intake.source.offer(&self.commits(&finished));
            }
            return Ok(None);
        }
        let taken = self.intake.ledger.take_committable();
        while !self.flush_dead().await {
            if !self.pause(BACKOFF_MIN).await {
                self.intake.ledger.give_back(&taken);
                return Ok(None);
            }
        }
        let progress = |(part, next): &(Part, i64)| {
            Some(Progress {
                topic: self.intake.topic(*part)?,
                partition: part.1,
                epoch: self.intake.number(*part)?,
                expected: self.stored.get(part).copied(),
                next_offset: *next,
            })
        };
        let done: Vec<Progress> = taken.iter().filter_map(progress).collect();
        match self.beside(handler.commit(&done)).await {
            Ok(()) => {
                self.stored.extend(done.iter().map(|d| ((d.topic.name, d.partition), d.next_offset)));
                Ok(None)
            }
            Err(Failure::Fatal(source)) => Err(self.fatal(source)),
            Err(Failure::Transient(error)) => {
                self.intake.ledger.give_back(&taken);
                Ok(Some(error))
            }
        }
    }

    /// Reads the partitions of a new lease. True: there was one.
    async fn follow_lease(&mut self) -> Result<bool, PumpError> {
        let Some(lease) = self.intake.changed_lease() else { return Ok(false) };
        // Not from the ledger: what is finished there need not be in the handler's store yet.
        let place = |leased: &Leased| {
            let stored = self.stored.get(&part_of(&leased.part)).copied().filter(|_| self.intake.stays(leased));
            Assigned { next_offset: stored.or(leased.part.next_offset), ..leased.part }
        };
        let places: Vec<Assigned> = lease.iter().map(place).collect();
        let Some(source) = self.pump.open(Some(places.clone()), &self.shutdown, &self.beat).await? else {
            return Ok(true);
        };
        tracing::info!(pump = self.pump.config.name, partitions = lease.len(), "reading the partitions of a new lease");
        self.intake.follow(source, &lease);
        self.jury.forget(|_| false);
        self.stored = places.iter().filter_map(|at| Some((part_of(at), at.next_offset?))).collect();
        self.lag.clear();
        self.show_in_flight();
        Ok(true)
    }

    async fn look_at_lag<H: Handler>(&mut self, handler: &mut H) {
        if Instant::now() < self.next_lag {
            return;
        }
        let caught_up = self.pump.stats.caught_up();
        // Without an assignment (a group that still gathers) nothing is known yet.
        if !self.measure_lag().await || caught_up || self.lag.is_empty() {
            return;
        }
        let targets = self.targets.get_or_insert_with(|| self.lag.clone());
        let reached = |target: &Lag| {
            let part = (target.topic.name, target.partition);
            let here = self.lag.iter().find(|l| (l.topic.name, l.partition) == part);
            let next = here.map(|at| lag::unfinished(at, &self.intake.ledger));
            next.is_none_or(|next| next >= target.end) || self.intake.parking.has(part)
        };
        if targets.iter().all(reached) {
            self.targets = None;
            self.pump.stats.set_caught_up();
            handler.caught_up();
        }
    }

    /// False: the log did not answer. What waits grows older all the same.
    async fn measure_lag(&mut self) -> bool {
        let every = if self.pump.stats.caught_up() { LAG_EVERY } else { LAG_EVERY_AT_START };
        self.next_lag = Instant::now() + every;
        let answered = match self.intake.source.lag().await {
            Ok(lag) => {
                self.lag = lag;
                true
            }
            Err(error) => {
                tracing::debug!(pump = self.pump.config.name, %error, "the lag is unknown for now");
                false
            }
        };
        for (part, offset, at_us) in self.look.go_on() {
            self.memory.seen(part, offset, at_us);
        }
        let now_us = self.pump.client.publisher.clock().now().wall_us;
        let account = self.memory.account(&self.lag, &self.intake.ledger, &self.intake.parking, now_us);
        self.pump.stats.set_lag(account.topics, std::mem::take(&mut self.slowest_us));
        self.look.begin(&self.pump.client, account.looks);
        answered
    }
}

fn part(record: &Record) -> Part {
    (record.topic.name, record.partition)
}

fn stored(lease: &[Leased]) -> BTreeMap<Part, i64> {
    lease.iter().filter_map(|l| Some((part_of(&l.part), l.part.next_offset?))).collect()
}
