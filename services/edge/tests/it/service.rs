//! The service on real sockets and a real log, for tests that bring their own peers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use edge::{Config, Running};
use kit::clock::SystemClock;
use schemas::{Event, SipTransaction};
use stream::{Client, EmbeddedConfig, EmbeddedLog, EventLog, Publisher, PublisherConfig, Start, Subscription};

pub const LONG: Duration = Duration::from_secs(30);

pub struct Service {
    pub edge: Running,
    pub life: kit::Lifecycle,
    pub metrics: kit::Metrics,
    log: Arc<dyn EventLog>,
    publisher: Publisher,
    dir: tempfile::TempDir,
}

impl Service {
    pub async fn start(config: Config) -> Service {
        Service::start_at(config, tempfile::tempdir().unwrap()).await
    }

    /// In a folder that holds something already.
    pub async fn start_at(config: Config, dir: tempfile::TempDir) -> Service {
        let log: Arc<dyn EventLog> = EmbeddedLog::open(EmbeddedConfig::new(dir.path().join("log"))).unwrap();
        Service::start_in(config, log, dir).await
    }

    /// With a log of the test's own.
    pub async fn start_on(config: Config, log: Arc<dyn EventLog>) -> Service {
        Service::start_in(config, log, tempfile::tempdir().unwrap()).await
    }

    async fn start_in(config: Config, log: Arc<dyn EventLog>, dir: tempfile::TempDir) -> Service {
        log.ensure_topics(schemas::all_topics()).await.unwrap();
        let life = kit::Lifecycle::new(Duration::from_secs(10));
        let metrics = kit::Metrics::new();
        let host = kit::Host {
            life: life.clone(),
            metrics: metrics.clone(),
            clock: Arc::new(SystemClock),
            data_dir: dir.path().to_owned(),
            run_dir: dir.path().join("run"),
            keys: Arc::new(super::world::keys()),
        };
        let service = kit::Service::open("edge", &host).unwrap();
        let producer = PublisherConfig::new(service.instance.producer(), service.instance.epoch, Arc::new(SystemClock));
        let publisher = Publisher::start(Arc::clone(&log), producer).unwrap();
        let client = Client { log: Arc::clone(&log), publisher: publisher.clone() };
        let edge = edge::run(config, service, client).await.unwrap();
        Service { edge, life, metrics, log, publisher, dir }
    }

    pub fn listener(&self, id: &str) -> SocketAddr {
        self.edge.listeners.iter().find(|(l, _)| l == id).expect("a listener of that id").1
    }

    pub async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + LONG;
        while !holds() {
            assert!(Instant::now() < deadline, "never: {what}; {}", self.metrics.encode());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The value of a counter or gauge without labels.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.metrics.encode();
        let line = text.lines().find(|l| l.split(' ').next() == Some(name));
        let value: Option<f64> = line.and_then(|l| l.split(' ').nth(1)?.parse().ok());
        value.unwrap_or_else(|| panic!("no {name} in\n{text}")) as u64
    }

    pub async fn stories(&self) -> Vec<SipTransaction> {
        self.publisher.flush(LONG).await.unwrap();
        let bounds = self.log.bounds(SipTransaction::TOPIC).await.unwrap();
        let total: i64 = bounds.iter().map(|b| b.end - b.begin).sum();
        let all = Subscription { group: None, topics: vec![SipTransaction::TOPIC], start: Start::Beginning };
        let mut source = self.log.subscribe(all).await.unwrap();
        let mut events: Vec<SipTransaction> = Vec::new();
        let deadline = Instant::now() + LONG;
        while (events.len() as i64) < total {
            assert!(Instant::now() < deadline, "{} of {total}", events.len());
            for record in source.poll(1_000, Duration::from_millis(200)).await.unwrap() {
                events.push(schemas::decode(record.value.as_deref().unwrap()).unwrap());
            }
        }
        // Across partitions there is no order but the producer's clock and numbers.
        events.sort_by_key(|e| (e.occurred_mono_us, e.envelope.partition, e.envelope.seq));
        events
    }

    pub fn data_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("edge")
    }

    pub async fn stop(self) {
        let outcome = self.life.stop().await;
        assert_eq!((outcome.abandoned, outcome.failed), (vec![], vec![]));
    }
}
