//! Wiring: one consumer that writes the books, one task that empties the outbox.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kit::TaskOptions;
use schemas::{
    CallReconciled, CdrCall, CdrLeg, ChannelEvent, Event, IvrDecision, NodeHealth, SipTransaction, TopicSpec,
};
use stream::{EventLog, Pump, PumpConfig, PumpStats, Start};

use crate::adapters::handler::{Recorder, Wiring, group_is_ahead};
use crate::adapters::outbox::{Bell, Outbox};
use crate::adapters::place::Place;
use crate::adapters::store::Store;
use crate::books::Books;
use crate::config::Config;
use crate::core::reconcile::Reconciler;
use crate::metrics::Metrics;
use crate::progress::Progress;

pub const GROUP: &str = "trunkline-cdr";

/// Topics whose records are facts about calls.
#[must_use]
pub fn call_topics() -> Vec<&'static TopicSpec> {
    vec![SipTransaction::TOPIC, ChannelEvent::TOPIC, IvrDecision::TOPIC, CallReconciled::TOPIC]
}

/// What the process can ask of a running call log.
#[derive(Clone)]
pub struct Running {
    pub place: Place,
    pub stats: Arc<PumpStats>,
    progress: Progress,
    bell: Bell,
    log: Arc<dyn EventLog>,
}

impl Running {
    /// New facts joined since the start.
    #[must_use]
    pub fn facts(&self) -> u64 {
        self.progress.facts()
    }

    /// Records that `cdr.calls` and `cdr.legs` have taken since the start.
    #[must_use]
    pub fn published(&self) -> u64 {
        self.bell.published()
    }

    /// Whether everything below these (topic, partition, end) is in the rows.
    #[must_use]
    pub fn flushed_through(&self, ends: &[(String, i32, i64)]) -> bool {
        self.progress.flushed_through(ends)
    }

    /// Waits until all that the call topics hold *now* is in the rows. Quiesce the producers first when comparing.
    pub async fn wait_caught_up(&self, deadline: Duration) -> anyhow::Result<()> {
        let ends = ends(&*self.log).await?;
        tokio::time::timeout(deadline, self.progress.wait_for(&ends)).await.with_context(|| {
            format!("the call log is still {} records behind after {deadline:?}", self.progress.behind(&ends))
        })
    }
}

/// (topic, partition, end) of the call topics now.
pub async fn ends(log: &dyn EventLog) -> anyhow::Result<Vec<(String, i32, i64)>> {
    let mut ends = Vec::new();
    for topic in call_topics() {
        for (partition, bounds) in log.bounds(topic).await?.iter().enumerate() {
            // A partition that holds nothing (any more) has nothing to wait for.
            let end = if bounds.begin == bounds.end { 0 } else { bounds.end };
            ends.push((topic.name.to_owned(), i32::try_from(partition)?, end));
        }
    }
    Ok(ends)
}

pub async fn run(config: Config, kit: kit::Service, stream: stream::Client) -> anyhow::Result<Running> {
    let mut topics = call_topics();
    topics.push(NodeHealth::TOPIC);
    stream.log.ensure_topics(&topics).await.context("topics that the call log reads")?;
    stream.log.ensure_topics(&[CdrCall::TOPIC, CdrLeg::TOPIC]).await.context("topics that the call log writes")?;

    let place = Place::of(&config, &kit.data_dir)?;
    let mut books = Books::new(Store::open(&place, config.migrate_at_start).await?, true);
    let offsets = books.store().offsets().await?;
    let nodes = books.store().nodes().await?;
    let open = books.open_calls().await?;
    let start = start(&*stream.log, &offsets, &topics).await?;
    tracing::info!(%place, calls.open = open.len(), from = ?start, "call log opened");

    let metrics = Metrics::register(&kit.metrics);
    let bell = Bell::default();
    let progress = Progress::new(offsets);
    let outbox = Outbox::open(place.clone(), stream.publisher.clone(), bell.clone()).await?;
    let pump = Pump::new(
        stream.clone(),
        PumpConfig {
            name: "cdr",
            group: Some(GROUP.to_owned()),
            topics,
            start,
            max_batch: config.max_batch,
            poll_wait: Duration::from_millis(100),
            tick_every: Duration::from_millis(250),
            ..PumpConfig::default()
        },
    );
    let stats = pump.stats();
    metrics.watch(Arc::clone(&stats));
    let recorder = Recorder::new(
        Wiring {
            books,
            reconciler: Reconciler::new(config.limits()),
            publisher: stream.publisher.clone(),
            clock: Arc::clone(&kit.clock),
            bell: bell.clone(),
            progress: progress.clone(),
            metrics,
            id: kit.instance.producer(),
            flush: Duration::from_millis(config.flush_ms),
            max_batch: config.max_batch,
        },
        open,
        nodes,
    );

    let stall = Duration::from_secs(60);
    kit.life.spawn("outbox", TaskOptions::default().stall_after(stall), |task| outbox.run(task));
    kit.life.spawn("records", TaskOptions::critical().stall_after(stall), |task| async move {
        let beat = task.clone();
        Ok(pump.run(recorder, task.shutdown(), move || beat.beat()).await?)
    });
    Ok(Running { place, stats, progress, bell, log: stream.log })
}

/// Brings the tables of the call log up to date, and says where they are. `folder` is the service's data folder.
pub async fn migrate(config: &Config, folder: &Path) -> anyhow::Result<String> {
    let place = Place::of(config, folder)?;
    if let Some(folder) = place.file().and_then(Path::parent) {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    Store::open(&place, true).await?.close().await?;
    Ok(place.to_string())
}

/// The positions beside the rows decide. The group's own are a hint that is taken when it is not ahead of them.
async fn start(
    log: &dyn EventLog,
    rows: &std::collections::HashMap<(String, i32), i64>,
    topics: &[&'static TopicSpec],
) -> anyhow::Result<Start> {
    let mut group = Vec::new();
    for topic in topics {
        for (partition, committed) in log.committed(GROUP, topic).await?.into_iter().enumerate() {
            if let Some(committed) = committed {
                group.push((topic.name.to_owned(), i32::try_from(partition)?, committed));
            }
        }
    }
    if group_is_ahead(rows, &group) {
        tracing::warn!("the call log's file is older than the position in the topics: reading them from the beginning");
        return Ok(Start::Beginning);
    }
    Ok(Start::Committed)
}
