//! Handing a batch over to the log, again and again until it took it.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::shared::Shared;
use crate::{LogError, Outgoing, spool::Entrance};

const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// The same fault is logged again after this long.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// What became of a batch.
pub enum Handed {
    /// It is safe, but for those at these places, which nobody will ever take. `delivered`: it is where it should go; else it is in
    /// the spool, and the sender tells when it arrived.
    Safe { refused: Vec<usize>, delivered: bool },
    /// Nobody publishes any more, and it could not be made safe.
    Kept { why: LogError },
}

pub struct Handing {
    shared: Arc<Shared>,
    runtime: tokio::runtime::Runtime,
    complained: Option<Instant>,
    spool: Option<Entrance>,
}

impl Handing {
    pub fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let spool = shared.config.spool.clone().map(|config| Entrance::start(shared.clone(), config)).transpose()?;
        Ok(Self { shared, runtime, complained: None, spool })
    }

    /// Returns when the batch is safe, or when nobody publishes any more and it cannot be made safe. `end` is its end in its ring;
    /// `own`: it is of the epoch that lives.
    pub fn hand(&mut self, records: &Arc<Vec<Outgoing>>, end: u64, own: bool) -> Handed {
        if let Some(spool) = &mut self.spool {
            return self.runtime.block_on(spool.hand(records, end, own));
        }
        match self.insist(records) {
            Ok(()) => Handed::Safe { refused: Vec::new(), delivered: true },
            Err(error) if error.is_permanent() && records.len() > 1 => self.one_by_one(records),
            Err(error) if error.is_permanent() && !matches!(error, LogError::Closed) => {
                self.tell_refused(records, &error);
                Handed::Safe { refused: vec![0], delivered: true }
            }
            Err(error) => Handed::Kept { why: error },
        }
    }

    /// Nothing will come any more.
    pub fn end(&mut self) {
        if let Some(spool) = &mut self.spool {
            spool.end();
        }
    }

    /// Somebody in the batch is refused: find out who, keep the order.
    fn one_by_one(&mut self, records: &[Outgoing]) -> Handed {
        let mut refused = Vec::new();
        for (at, record) in records.iter().enumerate() {
            let one = Arc::new(vec![record.clone()]);
            match self.insist(&one) {
                Ok(()) => {}
                Err(error) if error.is_permanent() && !matches!(error, LogError::Closed) => {
                    self.tell_refused(&one, &error);
                    refused.push(at);
                }
                Err(error) => return Handed::Kept { why: error },
            }
        }
        Handed::Safe { refused, delivered: true }
    }

    fn tell_refused(&self, records: &[Outgoing], error: &LogError) {
        let topic = records.first().map_or("", |r| r.topic.name);
        tracing::error!(producer = self.shared.config.producer, kafka.topic = topic, %error, "an event is refused for good and declared lost");
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
            let until = Instant::now() + backoff;
            while !self.shared.wake.is_stopped() && Instant::now() < until {
                self.shared.wake.nap(until.saturating_duration_since(Instant::now()));
            }
            if self.shared.wake.is_stopped() {
                return Err(error);
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }
}
