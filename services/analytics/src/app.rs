//! Wiring: one consumer.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kit::TaskOptions;
use schemas::{Event, SipTransaction};
use stream::{EventLog, Pump, PumpConfig, PumpStats, Start};
use tokio::sync::watch;

use crate::adapters::clickhouse::ClickHouseSink;
use crate::adapters::handler::{Counter, Position};
use crate::adapters::sink::Sink;
use crate::adapters::store::Store;
use crate::config::Config;
use crate::metrics::Metrics;

/// File in the service's data folder.
pub const FILE: &str = "analytics.sqlite";
pub const GROUP: &str = "trunkline-analytics";

#[derive(Clone)]
pub struct Running {
    pub path: PathBuf,
    pub stats: Arc<PumpStats>,
    position: watch::Receiver<Position>,
    log: Arc<dyn EventLog>,
}

impl Running {
    /// Waits until all that the topic holds now is in the records and every minute is counted.
    pub async fn wait_caught_up(&self, deadline: Duration) -> anyhow::Result<()> {
        let topic = SipTransaction::TOPIC;
        let ends = self.log.bounds(topic).await?;
        let mut position = self.position.clone();
        let reached = position.wait_for(|p| {
            p.dirty == 0
                && ends.iter().zip(0..).all(|(bounds, partition)| {
                    bounds.end == bounds.begin
                        || p.next.get(&(topic.name.to_owned(), partition)).is_some_and(|next| *next >= bounds.end)
                })
        });
        tokio::time::timeout(deadline, reached).await.context("analytics has not caught up")??;
        Ok(())
    }
}

pub async fn run(config: Config, kit: kit::Service, stream: stream::Client) -> anyhow::Result<Running> {
    let topic = SipTransaction::TOPIC;
    stream.log.ensure_topics(&[topic]).await.context("the topic that analytics reads")?;
    let path = kit.data_dir.join(FILE);
    let mut store = Store::open(&path).await?;
    let next = store.offsets().await?;
    let dirty = store.dirty().await?.len();
    // The positions beside the records decide; a group that stands further belongs to a file that was lost.
    let committed = stream.log.committed(GROUP, topic).await?;
    let ahead = committed.iter().zip(0..).any(|(at, partition)| {
        at.is_some_and(|at| at > next.get(&(topic.name.to_owned(), partition)).copied().unwrap_or(0))
    });
    if ahead {
        tracing::warn!("the analytics store is older than the position in the topic: reading it from the beginning");
    }
    let sink =
        (!config.clickhouse.url.is_empty()).then(|| Box::new(ClickHouseSink::new(&config.clickhouse)) as Box<dyn Sink>);

    let pump = Pump::new(
        stream.clone(),
        PumpConfig {
            name: "analytics",
            group: Some(GROUP.to_owned()),
            topics: vec![topic],
            start: if ahead { Start::Beginning } else { Start::Committed },
            max_batch: config.max_batch,
            poll_wait: Duration::from_millis(250),
            tick_every: Duration::from_millis(500),
            ..PumpConfig::default()
        },
    );
    let stats = pump.stats();
    let (sender, position) = watch::channel(Position { next, dirty });
    let counter = Counter {
        store,
        sink,
        clock: Arc::clone(&kit.clock),
        metrics: Metrics::register(&kit.metrics),
        stats: Arc::clone(&stats),
        position: sender,
        flush: Duration::from_millis(config.flush_ms),
        late_every: Duration::from_millis(config.late_every_ms),
        max_batch: config.max_batch,
        last_write: None,
        last_late: None,
    };
    kit.life.spawn("minutes", TaskOptions::critical().stall_after(Duration::from_secs(60)), |task| async move {
        let beat = task.clone();
        Ok(pump.run(counter, task.shutdown(), move || beat.beat()).await?)
    });
    Ok(Running { path, stats, position, log: stream.log })
}
