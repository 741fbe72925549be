//! The consumer pump: one task that owns its reader, its handler and its state.
//!
//! A turn: take a batch of what was read, let the handler make its effect durable (and read on meanwhile, within the budget), note it in
//! the ledger, commit the finished prefix now and then. Kinds of failure are kept apart:
//! * transient (database away): reading pauses, the same batch is tried again with growing pauses, nothing is skipped;
//! * unknown schema: the record's partition waits, the others go on (`parking`);
//! * poison (this record can never be handled): a dead letter each, the rest goes on, and a cap stops the pump when it is too much, at
//!   the first record of the run (`jury`);
//! * fatal: the pump ends with an error and commits nothing of the batch.
//!
//! Invariants: a commit never passes an unfinished record, nor a dead letter that is not yet in the log; what was read under an older
//! assignment of a partition is forgotten, its result dropped and its commit not made; what is read and not finished never exceeds the
//! budget in events, nor in bytes by more than the one record that reaches it.

mod caps;
pub mod dead_letter;
mod handler;
mod intake;
mod jury;
mod lag;
mod lease;
mod look;
mod parking;
mod schemas;
mod stats;
mod turn;

use std::{sync::Arc, time::Duration};

use ::schemas::TopicSpec;
use tokio_util::sync::CancellationToken;

use self::turn::Turn;
pub use self::{
    caps::{CapHit, CapLimits},
    handler::{Bad, Failure, Handler, Poison, decode},
    lease::{Assignment, Leased, Progress},
    schemas::{SchemaLookup, UnknownSchema},
    stats::{PumpStats, Spot, TopicLag},
};
use crate::{Assigned, Client, LogError, Room, Source, Start, Subscription};

/// A partition among all topics of a pump.
type Part = (&'static str, i32);

#[derive(Debug, Clone)]
pub struct PumpConfig {
    /// For logs, metrics and dead letters.
    pub name: &'static str,
    /// `None` reads every partition and commits nothing.
    pub group: Option<String>,
    pub topics: Vec<&'static TopicSpec>,
    pub start: Start,
    pub max_batch: usize,
    pub poll_wait: Duration,
    pub tick_every: Duration,
    pub caps: CapLimits,
    /// Most that may be read and not finished.
    pub budget: Room,
    pub assignment: Assignment,
    pub unknown_schema: UnknownSchema,
}

impl Default for PumpConfig {
    fn default() -> Self {
        Self {
            name: "pump",
            group: None,
            topics: Vec::new(),
            start: Start::Committed,
            max_batch: 1000,
            poll_wait: Duration::from_millis(250),
            tick_every: Duration::from_secs(1),
            caps: CapLimits::default(),
            budget: Room { events: 4000, bytes: 16 << 20 },
            assignment: Assignment::Subscribed,
            unknown_schema: UnknownSchema::LookUp,
        }
    }
}

const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(15);
/// While backing off, the group membership is kept alive and `beat` is called this often.
const KEEP_ALIVE_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, thiserror::Error)]
pub enum PumpError {
    #[error("{name}: {source:#}")]
    Fatal { name: &'static str, source: anyhow::Error },

    /// Too much that cannot be handled: probably our own bug. Stopped before this record, the first of the run; neither it nor
    /// anything behind it was thrown away.
    #[error("{name} stopped at {topic}/{partition} offset {offset}, because {hit}; the last error was: {error}")]
    PoisonCap { name: &'static str, topic: &'static str, partition: i32, offset: i64, hit: CapHit, error: String },

    #[error("{name}: {source}")]
    Log { name: &'static str, source: LogError },
}

impl std::fmt::Display for CapHit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Run { length } => write!(f, "{length} records in a row could not be handled"),
            Self::Ratio { poison, of } => write!(f, "{poison} of the last {of} records could not be handled"),
        }
    }
}

pub struct Pump {
    client: Client,
    config: PumpConfig,
    stats: Arc<PumpStats>,
}

impl Pump {
    pub fn new(client: Client, config: PumpConfig) -> Self {
        Self { client, config, stats: Arc::default() }
    }

    pub fn stats(&self) -> Arc<PumpStats> {
        self.stats.clone()
    }

    /// Runs until shutdown (`Ok`) or an error that cannot pass. `beat` is called at least every half second.
    pub async fn run<H: Handler>(
        self,
        mut handler: H,
        shutdown: CancellationToken,
        beat: impl Fn() + Send,
    ) -> Result<(), PumpError> {
        let lease = match &self.config.assignment {
            Assignment::Subscribed => None,
            Assignment::Leased(lease) => Some(lease.clone()),
        };
        let parts = lease.clone().map(|mut lease| lease.borrow_and_update().iter().map(|l| l.part).collect());
        let Some(source) = self.open(parts, &shutdown, &beat).await? else { return Ok(()) };
        let mut turn = Turn::new(&self, source, lease, shutdown, beat);
        let result = turn.work(&mut handler).await;
        let last = turn.commit().await;
        result.and(last)
    }

    /// A reader of these partitions, or of what was subscribed to.
    async fn open(
        &self,
        parts: Option<Vec<Assigned>>,
        shutdown: &CancellationToken,
        beat: &(impl Fn() + Send),
    ) -> Result<Option<Box<dyn Source>>, PumpError> {
        let mut backoff = BACKOFF_MIN;
        loop {
            beat();
            let opened = match &parts {
                Some(parts) => self.client.log.assign(parts.clone()).await,
                None => self.client.log.subscribe(self.subscription()).await,
            };
            match opened {
                Ok(source) => return Ok(Some(source)),
                Err(source) if source.is_permanent() => return Err(self.log_error(source)),
                Err(error) => tracing::warn!(pump = self.config.name, %error, "cannot subscribe yet"),
            }
            tokio::select! {
                () = shutdown.cancelled() => return Ok(None),
                () = tokio::time::sleep(backoff) => backoff = (backoff * 2).min(KEEP_ALIVE_EVERY),
            }
        }
    }

    fn subscription(&self) -> Subscription {
        Subscription { group: self.config.group.clone(), topics: self.config.topics.clone(), start: self.config.start }
    }

    fn log_error(&self, source: LogError) -> PumpError {
        PumpError::Log { name: self.config.name, source }
    }
}
