//! The reading half of a pump: what was read and is not finished, bounded in events and bytes.
//!
//! Invariants: a record is in the ledger from the moment it was read, so the budget counts everything that is in memory; when the budget
//! is used up the source is paused, never left alone, because a member of a group that does not poll loses its partitions; records of a
//! partition that went away are forgotten here before anything else happens.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use schemas::TopicSpec;
use tokio::sync::watch;

use super::{BACKOFF_MAX, BACKOFF_MIN, KEEP_ALIVE_EVERY, Leased, Part, Pump, parking::Parking};
use crate::{
    Assigned, LogError, Record, Room, Source,
    ledger::{Ledger, Taken},
};

/// A full budget is waited out for so long before the source is paused: pausing throws away what a Kafka client has fetched ahead.
const PAUSE_AFTER: Duration = Duration::from_secs(1);

type Numbers = Arc<BTreeMap<Part, u64>>;
type Search = BoxFuture<'static, (u32, Result<bool, LogError>)>;

pub struct Intake<'a> {
    pump: &'a Pump,
    pub source: Box<dyn Source>,
    pub ledger: Ledger<Part>,
    pub parking: Parking,
    /// Read, and not yet given to the handler.
    inbox: VecDeque<Record>,
    /// Our partitions by the number of their assignment, as of `epoch`.
    numbers: Numbers,
    epoch: u64,
    lease: Option<watch::Receiver<Vec<Leased>>>,
    specs: BTreeMap<&'static str, &'static TopicSpec>,
    /// To be told to the source before it is read again.
    to_park: Vec<Assigned>,
    to_open: Vec<Assigned>,
    search: Option<Search>,
    /// The source is paused.
    paused: bool,
    /// Nothing is to be read: a failure is waited out.
    holding: bool,
    full_since: Option<Instant>,
    read_backoff: Duration,
    not_before: Option<Instant>,
    /// Found while the handler was at work; told when it is done.
    fault: Option<LogError>,
}

impl<'a> Intake<'a> {
    pub fn new(pump: &'a Pump, source: Box<dyn Source>, lease: Option<watch::Receiver<Vec<Leased>>>) -> Self {
        let held = source.held();
        let mut intake = Self {
            pump,
            source,
            ledger: Ledger::default(),
            parking: Parking::default(),
            inbox: VecDeque::new(),
            numbers: held.parts,
            epoch: held.epoch,
            lease,
            specs: BTreeMap::new(),
            to_park: Vec::new(),
            to_open: Vec::new(),
            search: None,
            paused: false,
            holding: false,
            full_since: None,
            read_backoff: BACKOFF_MIN,
            not_before: None,
            fault: None,
        };
        intake.number_by_lease();
        intake
    }

    /// The number of the assignment under which this partition is read now; `None`: it is not ours.
    pub fn number(&self, part: Part) -> Option<u64> {
        let number = self.numbers.get(&part).copied()?;
        // A lease that is lost is lost at once, not when the pump next looks.
        match &self.lease {
            Some(lease) if lease.has_changed().is_err() => None,
            Some(lease) => {
                let valid = lease.borrow().iter().any(|l| part_of(&l.part) == part && l.epoch == number);
                valid.then_some(number)
            }
            None => Some(number),
        }
    }

    /// The topic of a partition of which something was read.
    pub fn topic(&self, part: Part) -> Option<&'static TopicSpec> {
        self.specs.get(part.0).copied()
    }

    pub fn has_records(&self) -> bool {
        !self.inbox.is_empty()
    }

    pub fn next_batch(&mut self, max: usize) -> Vec<Record> {
        let n = max.min(self.inbox.len());
        self.inbox.drain(..n).collect()
    }

    /// What may still be read.
    pub fn room(&self) -> Option<Room> {
        let budget = self.pump.config.budget;
        let (events, bytes) = self.ledger.in_flight();
        let room = Room {
            events: budget.events.max(1).saturating_sub(events),
            bytes: budget.bytes.max(1).saturating_sub(bytes),
        };
        (room.events > 0 && room.bytes > 0).then_some(room)
    }

    /// Nothing is read while this holds; the membership of the group is kept.
    pub fn hold(&mut self, holding: bool) {
        self.holding = holding;
    }

    /// One look at the source. Cancel safe.
    pub async fn step(&mut self, wait: Duration) -> Result<(), LogError> {
        self.search();
        self.tell_orders().await?;
        let until = Instant::now() + wait;
        let room = self.room();
        if room.is_some() {
            self.full_since = None;
        } else if self.full_since.get_or_insert_with(Instant::now).elapsed() < PAUSE_AFTER && !self.holding {
            tokio::time::sleep(wait.min(PAUSE_AFTER)).await;
            return Ok(());
        }
        let paused = self.holding || room.is_none();
        if paused != self.paused {
            if paused {
                self.source.pause().await?
            } else {
                self.source.resume().await?
            };
            self.paused = paused;
        }
        let room = room.unwrap_or(Room { events: 1, bytes: 1 });
        tokio::select! {
            biased;
            (id, found) = searched(&mut self.search) => {
                self.search = None;
                self.searched(id, found);
            }
            polled = self.source.poll_within(room, wait) => self.take(polled?),
        }
        // An adapter that answers at once must not make this spin.
        if paused {
            tokio::time::sleep_until(until.into()).await;
        }
        Ok(())
    }

    /// As `step`, for the time in which the handler works: a failure is kept for later.
    pub async fn step_aside(&mut self) {
        if let Some(at) = self.not_before.filter(|at| *at > Instant::now()) {
            tokio::time::sleep_until(at.min(Instant::now() + KEEP_ALIVE_EVERY).into()).await;
            return;
        }
        if self.fault.is_some() {
            tokio::time::sleep(KEEP_ALIVE_EVERY).await;
            return;
        }
        match self.step(KEEP_ALIVE_EVERY).await {
            Ok(()) => self.read_backoff = BACKOFF_MIN,
            Err(error) if error.is_permanent() => self.fault = Some(error),
            Err(error) => {
                tracing::warn!(pump = self.pump.config.name, %error, "cannot read; trying again");
                self.not_before = Some(Instant::now() + self.read_backoff);
                self.read_backoff = (self.read_backoff * 2).min(BACKOFF_MAX);
            }
        }
    }

    pub fn take_fault(&mut self) -> Option<LogError> {
        self.fault.take()
    }

    fn take(&mut self, records: Vec<Record>) {
        self.look_at_assignment();
        for record in records {
            let part = (record.topic.name, record.partition);
            if !self.numbers.contains_key(&part) || self.parking.has(part) {
                continue;
            }
            if let Some(id) = self.pump.config.unknown_schema.of(&record) {
                self.park(&record, id);
                continue;
            }
            let taken = Taken { offset: record.offset, at_us: record.timestamp_us, bytes: record.size_bytes() };
            self.specs.entry(part.0).or_insert(record.topic);
            if self.ledger.start(part, taken) {
                self.inbox.push_back(record);
            }
        }
        let (events, bytes) = self.ledger.in_flight();
        self.pump.stats.set_in_flight(events, bytes);
    }

    /// Partitions may have changed in a read that was given up half-way: asked before anything is settled or committed.
    pub fn look_at_assignment(&mut self) {
        if self.lease.is_some() {
            return;
        }
        let held = self.source.held();
        if held.epoch == self.epoch {
            return;
        }
        let before = std::mem::replace(&mut self.numbers, held.parts);
        self.epoch = held.epoch;
        let numbers = self.numbers.clone();
        self.forget(|part| numbers.get(&part) == before.get(&part));
    }

    /// Drops the work of every partition that is not `ours` any more.
    fn forget(&mut self, ours: impl Fn(Part) -> bool) {
        let gone: Vec<Part> = self.ledger.partitions().filter(|part| !ours(*part)).collect();
        for part in gone {
            self.ledger.forget(part);
        }
        self.inbox.retain(|record| ours((record.topic.name, record.partition)));
        self.parking.forget(&ours);
        self.to_park.retain(|at| ours(part_of(at)));
        self.to_open.retain(|at| ours(part_of(at)));
        self.show_parked();
    }

    fn park(&mut self, record: &Record, schema_id: u32) {
        let now_us = self.pump.client.publisher.clock().now().wall_us;
        tracing::warn!(
            pump = self.pump.config.name,
            kafka.topic = record.topic.name,
            kafka.partition = record.partition,
            kafka.offset = record.offset,
            schema.id = schema_id,
            "a record has a schema that is unknown here; its partition waits for it, the others go on"
        );
        self.to_park.push(self.parking.park(record, schema_id, Instant::now(), now_us));
        self.show_parked();
    }

    fn show_parked(&self) {
        self.pump.stats.set_parked(self.parking.spots().cloned().collect());
    }

    fn search(&mut self) {
        if self.search.is_none()
            && let Some(id) = self.parking.due(Instant::now())
        {
            self.search = Some(self.pump.config.unknown_schema.find(&self.pump.client.log, id));
        }
    }

    fn searched(&mut self, id: u32, found: Result<bool, LogError>) {
        match found {
            Ok(true) => {
                self.to_open.extend(self.parking.found(id));
                self.show_parked();
                tracing::info!(pump = self.pump.config.name, schema.id = id, "the schema is known now; reading on");
            }
            Ok(false) => self.parking.not_found(id, Instant::now()),
            Err(error) => {
                tracing::debug!(pump = self.pump.config.name, schema.id = id, %error, "cannot look for a schema yet");
                self.parking.not_found(id, Instant::now());
            }
        }
    }

    /// Told again when it was interrupted: both are idempotent.
    async fn tell_orders(&mut self) -> Result<(), LogError> {
        if !self.to_park.is_empty() {
            self.source.park(&self.to_park).await?;
            self.to_park.clear();
        }
        if !self.to_open.is_empty() {
            self.source.unpark(&self.to_open).await?;
            self.to_open.clear();
        }
        Ok(())
    }

    /// The lease has changed since this was last asked. A lease whose holder is gone is empty.
    pub fn changed_lease(&mut self) -> Option<Vec<Leased>> {
        let lease = self.lease.as_mut()?;
        match lease.has_changed() {
            Ok(false) => None,
            Ok(true) => Some(lease.borrow_and_update().clone()),
            Err(_) if self.numbers.is_empty() => None,
            Err(_) => Some(Vec::new()),
        }
    }

    /// Whether this partition stays as it is under the new lease.
    pub fn stays(&self, leased: &Leased) -> bool {
        self.numbers.get(&part_of(&leased.part)) == Some(&leased.epoch)
    }

    /// Goes on with this reader and lease. Whatever the handler's store does not have yet is read again.
    pub fn follow(&mut self, source: Box<dyn Source>, lease: &[Leased]) {
        self.source = source;
        self.paused = false;
        self.forget(|_| false);
        self.numbers = Arc::new(lease.iter().map(|l| (part_of(&l.part), l.epoch)).collect());
    }

    fn number_by_lease(&mut self) {
        if let Some(lease) = &mut self.lease {
            let lease = lease.borrow();
            self.numbers = Arc::new(lease.iter().map(|l| (part_of(&l.part), l.epoch)).collect());
        }
    }
}

pub fn part_of(at: &Assigned) -> Part {
    (at.topic.name, at.partition)
}

async fn searched(search: &mut Option<Search>) -> (u32, Result<bool, LogError>) {
    match search {
        Some(search) => search.await,
        None => std::future::pending().await,
    }
}
