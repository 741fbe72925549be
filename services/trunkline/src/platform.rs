//! The composition root: which services run in this process, each with its own instance, publisher and part of the lifecycle.
//!
//! `standalone`, `demo` and the single services all start services through here, so none of them is wired in two ways.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use kit::{Host, Lifecycle, Metrics, Service, TaskOptions};
use parking_lot::Mutex;
use schemas::all_topics;
use stream::{Client, EventLog, Filter, Publisher, PublisherConfig, Ring};

use crate::runtimes::Place;
use crate::settings::Settings;

/// How long the publishers may take to hand over what they still hold.
const FLUSH: Duration = Duration::from_secs(10);

/// What all services of this process share.
pub struct Base {
    pub settings: Settings,
    pub host: Host,
    pub log: Arc<dyn EventLog>,
    pub filter: Option<Filter>,
    /// One service has the process to itself.
    alone: bool,
    publishers: Mutex<Vec<Publisher>>,
    schemas_published: AtomicBool,
}

impl Base {
    pub fn new(settings: Settings, host: Host, log: Arc<dyn EventLog>, filter: Option<Filter>) -> Base {
        Base {
            settings,
            host,
            log,
            filter,
            alone: false,
            publishers: Mutex::new(Vec::new()),
            schemas_published: AtomicBool::new(false),
        }
    }

    /// Of a process with one service, which gives it the whole ring.
    #[must_use]
    pub fn alone(self) -> Base {
        Base { alone: true, ..self }
    }

    /// Creates missing topics and refuses ones that differ.
    pub async fn ensure_topics(&self) -> anyhow::Result<()> {
        self.log.ensure_topics(all_topics()).await.context("topics")
    }

    /// What a service is given: its instance, its part of the lifecycle, and a client whose events carry its name.
    pub fn open(&self, name: &'static str) -> anyhow::Result<(Service, Client)> {
        let service = Service::open(name, &self.host)?;
        let instance = &service.instance;
        let stream = &self.settings.stream;
        let config = PublisherConfig {
            ring: Ring::Shared { dir: service.run_dir.join(&instance.id), bytes: stream.ring_bytes(self.alone) },
            linger: Duration::from_millis(stream.linger_ms),
            spool: stream.spool_in(&service.data_dir),
            manifests: true,
            filter: self.filter.clone(),
            ..PublisherConfig::new(instance.producer(), instance.epoch, Arc::clone(&service.clock))
        };
        let publisher = Publisher::start(Arc::clone(&self.log), config)?;
        service.metrics.with(|registry| {
            let meters = stream::metrics::register(registry, name);
            meters.publisher(&publisher);
            Arc::clone(&self.log).meter(&meters);
        });
        self.publishers.lock().push(publisher.clone());
        let client = Client { log: Arc::clone(&self.log), publisher };
        if !self.schemas_published.swap(true, Ordering::Relaxed) {
            self.publish_schemas(client.clone());
        }
        Ok((service, client))
    }

    /// Readers of other builds find the schemas of this one in `stream.schemas`. A log that is away is asked again.
    fn publish_schemas(&self, client: Client) {
        self.host.life.spawn("schemas", TaskOptions::default(), |task| async move {
            let shutdown = task.shutdown();
            let mut pause = Duration::from_secs(1);
            let publishing = async {
                while let Err(error) = stream::schema_topic::publish_missing(&client).await {
                    tracing::warn!(%error, "the schemas of this build are not in stream.schemas yet; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(60));
                }
            };
            let _stopped = shutdown.run_until_cancelled(publishing).await;
            Ok(())
        });
    }

    /// Ends every publisher: closes its account and hands over what it still holds. Gives what stays for the next start.
    pub async fn close(&self) -> Vec<String> {
        let publishers = std::mem::take(&mut *self.publishers.lock());
        futures::future::join_all(publishers.iter().map(end)).await.into_iter().flatten().collect()
    }

    /// Ends one publisher, so that its service can be started again in this process.
    async fn close_one(&self, publisher: &Publisher) {
        self.publishers.lock().retain(|other| other.producer() != publisher.producer());
        if let Some(what) = end(publisher).await {
            tracing::warn!(what, "events wait for the next start");
        }
    }

    /// Events accepted but not yet in the log, over all services.
    pub fn queued(&self) -> u64 {
        self.publishers.lock().iter().map(|p| p.stats().queued_events).sum()
    }
}

async fn end(publisher: &Publisher) -> Option<String> {
    let left = publisher.close(FLUSH).await;
    (!left.is_nothing()).then(|| format!("{}: {left}", publisher.producer()))
}

/// Every service, running. The call records are apart: they can be stopped and started alone.
pub struct Platform {
    pub base: Arc<Base>,
    pub downstream: Place,
    pub edge: edge::Running,
    pub engine: engine::Running,
    pub fraud: fraud::Running,
    pub api: api::Running,
    /// Publishes under the edge's name what no edge ever saw; only the demo's sabotage uses it.
    pub saboteur: Publisher,
}

impl Platform {
    /// Starts all services: consumers first, so that nothing waits for them, then the call path.
    pub async fn start(base: Arc<Base>, downstream: &Place) -> anyhow::Result<(Platform, CdrSlot)> {
        base.ensure_topics().await?;
        let settings = &base.settings;
        let mut cdr = CdrSlot { base: Arc::clone(&base), downstream: downstream.clone(), running: None };
        cdr.start().await?;
        let (service, client) = base.open("analytics")?;
        {
            let config = settings.analytics.clone();
            downstream.start(move || analytics::run(config, service, client))
        }
        .await
        .context("analytics")?;
        let (service, client) = base.open("capacity")?;
        {
            let config = settings.capacity.clone();
            downstream.start(move || capacity::run(config, service, client))
        }
        .await
        .context("capacity")?;
        let (service, client) = base.open("fraud")?;
        let fraud = {
            let config = settings.fraud.clone();
            downstream.start(move || fraud::run(config, service, client))
        }
        .await
        .context("fraud")?;
        let (service, client) = base.open("engine")?;
        let engine = engine::run(settings.engine.clone(), service, client).await.context("engine")?;
        let (service, client) = base.open("edge")?;
        let saboteur = client.publisher.clone();
        let edge = edge::run(settings.edge.clone(), service, client).await.context("edge")?;
        let (service, client) = base.open("api")?;
        let api = {
            let config = settings.api();
            downstream.start(move || api::run(config, service, client))
        }
        .await
        .context("api")?;
        let downstream = downstream.clone();
        Ok((Platform { base, downstream, edge, engine, fraud, api, saboteur }, cdr))
    }
}

/// The call records: running, or stopped while their events wait in the topics.
pub struct CdrSlot {
    base: Arc<Base>,
    downstream: Place,
    running: Option<(cdr::Running, Lifecycle, Publisher)>,
}

impl CdrSlot {
    pub async fn start(&mut self) -> anyhow::Result<()> {
        if self.running.is_none() {
            let (service, client) = self.base.open("cdr")?;
            let life = service.life.clone();
            let publisher = client.publisher.clone();
            let config = self.base.settings.cdr.clone();
            let running = self.downstream.start(move || cdr::run(config, service, client)).await.context("cdr")?;
            self.running = Some((running, life, publisher));
        }
        Ok(())
    }

    pub async fn stop(&mut self) {
        if let Some((running, life, publisher)) = self.running.take() {
            drop(running);
            let outcome = life.stop().await;
            if !outcome.is_clean() {
                tracing::warn!(abandoned = ?outcome.abandoned, failed = ?outcome.failed, "the call records did not stop cleanly");
            }
            self.base.close_one(&publisher).await;
        }
    }

    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Where the call log is, while the service runs.
    #[must_use]
    pub fn place(&self) -> Option<cdr::Place> {
        self.running.as_ref().map(|(running, ..)| running.place.clone())
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        self.place().and_then(|place| place.file().map(PathBuf::from))
    }

    #[must_use]
    pub fn lag_us(&self) -> u64 {
        self.running.as_ref().map_or(0, |(running, ..)| running.stats.lag_us())
    }

    pub async fn wait_caught_up(&self, deadline: Duration) -> anyhow::Result<()> {
        match &self.running {
            Some((running, ..)) => running.wait_caught_up(deadline).await,
            None => Ok(()),
        }
    }
}

/// The parts of a process that exist before any service.
pub fn host(settings: &Settings, life: Lifecycle, keys: domain::identity::Keyring) -> Host {
    let metrics = Metrics::new();
    life.register(&metrics);
    Host {
        life,
        metrics,
        clock: Arc::new(kit::clock::SystemClock),
        data_dir: settings.data_dir.clone(),
        run_dir: settings.run_dir(),
        keys: Arc::new(keys),
    }
}
