//! What the services of one process share: settings, the event log, and what each is given when it starts: an instance, a publisher
//! and its part of the lifecycle.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kit::{Host, Lifecycle, Metrics, Outcome, Service, TaskOptions};
use parking_lot::Mutex;
use schemas::all_topics;
use stream::{Client, EventLog, Filter, Publisher, PublisherConfig, Ring};

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
}

impl Base {
    pub fn new(settings: Settings, host: Host, log: Arc<dyn EventLog>, filter: Option<Filter>) -> Base {
        Base { settings, host, log, filter, alone: false, publishers: Mutex::new(Vec::new()) }
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
    pub async fn open(&self, name: &'static str) -> anyhow::Result<(Service, Client)> {
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
        let publisher = match Publisher::start(Arc::clone(&self.log), config) {
            Ok(publisher) => publisher,
            Err(error) => {
                service.life.stop().await;
                return Err(error.into());
            }
        };
        service.metrics.with(|registry| {
            let meters = stream::metrics::register(registry, name);
            meters.publisher(&publisher);
            Arc::clone(&self.log).meter(&meters);
        });
        self.publishers.lock().push(publisher.clone());
        let client = Client { log: Arc::clone(&self.log), publisher };
        // By the one that lives as long as the process does.
        if self.alone || name == "edge" {
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

    /// Ends one service and hands over what it still has to say, so that it can be started again in this process.
    pub async fn close_one(&self, life: &Lifecycle, publisher: &Publisher) -> Outcome {
        let outcome = life.stop().await;
        self.publishers.lock().retain(|other| other.producer() != publisher.producer());
        if let Some(what) = end(publisher).await {
            tracing::warn!(what, "events wait for the next start");
        }
        outcome
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
