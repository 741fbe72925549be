//! The forwarder's side: a batch goes into the spool; when the disk fails or hangs it goes straight to Kafka, once everything in the
//! spool is sent; when neither takes it, it stays in the ring.

use std::{
    future::Future,
    io::ErrorKind,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{SpoolConfig, Way, between::Between, flight::is_the_records_fault, sender};
use crate::{
    Commit, EmbeddedLog, EventLog, LogError, Outgoing,
    publisher::{Handed, Shared},
};

/// While events go past the spool, it is tried so often whether it takes them again.
const TRY_SPOOL: Duration = Duration::from_secs(1);
/// Between two looks while neither way is open.
const STUCK_WAIT: Duration = Duration::from_millis(50);
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);
/// At the end, Kafka gets so long for a batch that the spool did not take.
const LAST_ANSWER: Duration = Duration::from_secs(1);

type Answer = Pin<Box<dyn Future<Output = Result<(), LogError>> + Send>>;

pub struct Entrance {
    shared: Arc<Shared>,
    between: Arc<Between>,
    config: SpoolConfig,
    sender: Option<JoinHandle<()>>,
    started: Instant,
    /// Events go past the spool now.
    past: bool,
    tried: Instant,
    /// An append that the disk has not answered, and the batch's end in its ring.
    hanging: Option<(u64, Answer)>,
    complained: Option<Instant>,
}

impl Entrance {
    pub fn start(shared: Arc<Shared>, config: SpoolConfig) -> std::io::Result<Self> {
        let between = Arc::new(Between::default());
        let sender = Some(sender::start(shared.clone(), between.clone(), config.clone())?);
        shared.spool.set_way(Way::Spool);
        let now = Instant::now();
        Ok(Self {
            shared,
            between,
            config,
            sender,
            started: now,
            past: false,
            tried: now,
            hanging: None,
            complained: None,
        })
    }

    /// Returns when the batch is in the spool or in Kafka. `end` names it: its end in the ring.
    pub async fn hand(&mut self, records: &Arc<Vec<Outgoing>>, end: u64, own: bool) -> Handed {
        loop {
            if !self.past || self.tried.elapsed() >= TRY_SPOOL {
                self.tried = Instant::now();
                match self.spool_takes(records, end).await {
                    Ok(()) => {
                        self.is_in_the_spool(records.len() as u64, end, own);
                        return Handed::Safe { refused: Vec::new(), delivered: false };
                    }
                    Err(error) => self.complain(&error),
                }
            }
            self.past = self.between.ask();
            let stopped = self.shared.wake.is_stopped();
            if self.past {
                self.shared.spool.set_way(Way::Direct);
                if let Some(handed) = self.straight(records, end, own).await {
                    return handed;
                }
            } else if stopped {
                return Handed::Kept { why: given_up() };
            } else {
                self.shared.spool.set_way(Way::Stuck);
                tokio::time::sleep(STUCK_WAIT).await;
            }
        }
    }

    /// The spool has it. If events went past it until now, the sender takes over again, behind what it must not send any more.
    fn is_in_the_spool(&mut self, events: u64, end: u64, own: bool) {
        let figures = &self.shared.spool;
        if own {
            self.between.mark(end, figures.spooled(events));
        } else {
            figures.inherit(events);
        }
        if let Some(position) = self.between.reached(figures) {
            self.shared.delivered_to.fetch_max(position, Ordering::AcqRel);
            self.shared.progress.send_modify(|n| *n += 1);
        }
        if self.complained.take().is_some() {
            tracing::info!(producer = self.shared.config.producer, "the spool takes events again");
        }
        figures.set_way(Way::Spool);
    }

    async fn spool_takes(&mut self, records: &Arc<Vec<Outgoing>>, end: u64) -> Result<(), LogError> {
        let Some(spool) = self.open_spool().await else { return Err(not_open()) };
        let mut skip = Vec::new();
        if let Some((hung, mut answer)) = self.hanging.take() {
            match tokio::time::timeout(self.config.patience, &mut answer).await {
                Err(_) => {
                    self.hanging = Some((hung, answer));
                    return Err(slow());
                }
                Ok(Ok(())) if hung == end => return self.back_to_the_spool(Vec::new()),
                // It went past the spool in the meantime: the copy in there must not be sent.
                Ok(Ok(())) => skip = ends(&spool).await?,
                Ok(Err(_)) => {}
            }
        }
        let mut relieved = false;
        loop {
            let (log, batch) = (spool.clone(), records.clone());
            let mut answer: Answer = Box::pin(async move { log.append_shared(batch).await });
            match tokio::time::timeout(self.config.patience, &mut answer).await {
                Ok(Ok(())) => return self.back_to_the_spool(skip),
                Ok(Err(LogError::Io { kind: ErrorKind::StorageFull | ErrorKind::QuotaExceeded, .. })) if !relieved => {
                    relieved = true;
                    if !self.give_up_reserve(&spool).await {
                        return Err(full());
                    }
                }
                Ok(Err(error)) => return Err(error),
                Err(_) => {
                    self.hanging = Some((end, answer));
                    return Err(slow());
                }
            }
        }
    }

    fn back_to_the_spool(&mut self, skip: Vec<Commit>) -> Result<(), LogError> {
        self.past = false;
        self.between.hand_back(skip);
        Ok(())
    }

    /// Right after the start it may take a moment to open.
    async fn open_spool(&self) -> Option<Arc<EmbeddedLog>> {
        loop {
            match self.between.spool() {
                None if self.started.elapsed() < self.config.patience => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                spool => return spool,
            }
        }
    }

    /// The disk is full: the reserve goes, and from now on only the life of calls comes in.
    async fn give_up_reserve(&self, spool: &Arc<EmbeddedLog>) -> bool {
        let spool = spool.clone();
        let given = tokio::task::spawn_blocking(move || spool.give_up_reserve());
        let given = matches!(tokio::time::timeout(self.config.patience, given).await, Ok(Ok(Ok(true))));
        if given {
            self.between.emergency.store(true, Ordering::Release);
            tracing::error!(
                producer = self.shared.config.producer, dir = %self.config.dir.display(),
                "the disk of the spool is full: its reserve is used, for the life of calls only"
            );
        }
        given
    }

    /// To Kafka. `None`: not yet, look again whether the spool takes it.
    async fn straight(&mut self, records: &Arc<Vec<Outgoing>>, end: u64, own: bool) -> Option<Handed> {
        let log = self.shared.log.clone();
        let batch = records.clone();
        let mut append: Answer = Box::pin(async move { log.append_shared(batch).await });
        loop {
            let wait = if self.shared.wake.is_stopped() { LAST_ANSWER } else { TRY_SPOOL };
            match tokio::time::timeout(wait, &mut append).await {
                Ok(Ok(())) => return Some(Handed::Safe { refused: Vec::new(), delivered: true }),
                Ok(Err(error)) if is_the_records_fault(&error) => return Some(self.one_by_one(records).await),
                Ok(Err(error)) => {
                    self.complain(&error);
                    if self.shared.wake.is_stopped() {
                        return Some(Handed::Kept { why: error });
                    }
                    tokio::time::sleep(STUCK_WAIT).await;
                    return None;
                }
                Err(_) if self.shared.wake.is_stopped() => return Some(Handed::Kept { why: given_up() }),
                // Kafka does not answer either. The batch may be in its client's queue: a copy, in order, if it goes both ways.
                Err(_) => {
                    self.shared.spool.set_way(Way::Stuck);
                    self.tried = Instant::now();
                    if self.spool_takes(records, end).await.is_ok() {
                        self.is_in_the_spool(records.len() as u64, end, own);
                        return Some(Handed::Safe { refused: Vec::new(), delivered: false });
                    }
                }
            }
        }
    }

    async fn one_by_one(&mut self, records: &[Outgoing]) -> Handed {
        let mut refused = Vec::new();
        for (at, record) in records.iter().enumerate() {
            loop {
                match self.shared.log.append_shared(Arc::new(vec![record.clone()])).await {
                    Ok(()) => break,
                    Err(error) if is_the_records_fault(&error) => {
                        tracing::error!(kafka.topic = record.topic.name, %error, "an event is refused for good and declared lost");
                        refused.push(at);
                        break;
                    }
                    Err(error) if self.shared.wake.is_stopped() => return Handed::Kept { why: error },
                    Err(error) => {
                        self.complain(&error);
                        tokio::time::sleep(STUCK_WAIT).await;
                    }
                }
            }
        }
        Handed::Safe { refused, delivered: true }
    }

    fn complain(&mut self, error: &LogError) {
        self.shared.counters.errors.fetch_add(1, Ordering::Relaxed);
        if self.complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
            self.complained = Some(Instant::now());
            tracing::warn!(
                producer = self.shared.config.producer, %error,
                "the spool does not take events; they go straight to kafka, or wait in the ring"
            );
        }
    }

    /// Ends the sender. What is in the spool stays there.
    pub fn end(&mut self) {
        self.between.stop();
        if let Some(sender) = self.sender.take()
            && sender.join().is_err()
        {
            tracing::error!(producer = self.shared.config.producer, "the sender's thread had panicked");
        }
    }
}

/// Where every line of the spool ends now.
async fn ends(spool: &EmbeddedLog) -> Result<Vec<Commit>, LogError> {
    let mut out = Vec::new();
    for topic in schemas::all_topics() {
        for (partition, bounds) in (0..).zip(spool.bounds(topic).await?) {
            out.push(Commit { topic, partition, next_offset: bounds.end });
        }
    }
    Ok(out)
}

fn trouble(kind: ErrorKind, message: &str) -> LogError {
    LogError::Io { what: "the spool".to_owned(), kind, message: message.to_owned() }
}

fn not_open() -> LogError {
    trouble(ErrorKind::NotFound, "is not open")
}

fn slow() -> LogError {
    trouble(ErrorKind::TimedOut, "the disk does not answer in time")
}

fn full() -> LogError {
    trouble(ErrorKind::StorageFull, "the disk or the spool's limit is full, and there is no reserve left")
}

fn given_up() -> LogError {
    trouble(ErrorKind::Interrupted, "neither the spool nor kafka took them before the end")
}
