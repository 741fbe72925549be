//! A folder with a log in it, and the call log running on it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use domain::Clock;
use kit::{Host, Lifecycle, Metrics, Service};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};
use stream::{Client, EmbeddedConfig, EmbeddedLog, EventLog, Publisher, PublisherConfig};

pub const DEADLINE: Duration = Duration::from_secs(30);

pub struct Platform {
    pub dir: tempfile::TempDir,
    pub log: Arc<EmbeddedLog>,
    pub host: Host,
}

/// The service while it runs.
pub struct Cdr {
    pub life: Lifecycle,
    pub running: cdr::Running,
}

impl Cdr {
    pub async fn stop(self) {
        let outcome = self.life.stop().await;
        assert!(
            outcome.abandoned.is_empty() && outcome.failed.is_empty(),
            "{:?} {:?}",
            outcome.abandoned,
            outcome.failed
        );
    }
}

impl Platform {
    pub fn new() -> Platform {
        let dir = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(EmbeddedConfig::new(dir.path().join("log"))).unwrap();
        let host = Host {
            life: Lifecycle::isolating(Duration::from_secs(10)),
            metrics: Metrics::new(),
            clock: Arc::new(kit::clock::SystemClock),
            data_dir: dir.path().join("data"),
            run_dir: dir.path().join("run"),
            keys: Arc::new(kit::keys::ensure(&dir.path().join("keys")).unwrap()),
        };
        Platform { dir, log, host }
    }

    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.host.clock)
    }

    pub fn publisher(&self, name: &str) -> Publisher {
        let log: Arc<dyn EventLog> = self.log.clone();
        Publisher::start(log, PublisherConfig::new(name, 1, self.clock())).unwrap()
    }

    pub fn path(&self) -> PathBuf {
        self.host.data_dir.join("cdr").join(cdr::FILE)
    }

    pub async fn cdr(&self, config: cdr::Config) -> Cdr {
        let kit = Service::open("cdr", &self.host).unwrap();
        let life = kit.life.clone();
        let log: Arc<dyn EventLog> = self.log.clone();
        let running = cdr::run(config, kit, Client { log, publisher: self.publisher("cdr/test") }).await.unwrap();
        Cdr { life, running }
    }

    pub async fn db(&self) -> SqliteConnection {
        SqliteConnectOptions::new().filename(self.path()).read_only(true).connect().await.unwrap()
    }

    pub async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&mut self.db().await).await.unwrap()
    }

    /// Asks until the answer is the expected one.
    pub async fn eventually(&self, sql: &'static str, expected: i64) {
        let end = tokio::time::Instant::now() + DEADLINE;
        loop {
            let found = self.number(sql).await;
            if found == expected {
                return;
            }
            assert!(tokio::time::Instant::now() < end, "{sql}: {found}, expected {expected}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
