//! A folder with a log in it, and the call log running on it.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use domain::Clock;
use kit::{Host, Lifecycle, Metrics, Service};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, SqliteConnection};
use stream::{Client, EmbeddedConfig, EmbeddedLog, EventLog, Publisher, PublisherConfig};

pub const DEADLINE: Duration = Duration::from_secs(120);

pub struct Platform {
    pub dir: tempfile::TempDir,
    pub log: Arc<EmbeddedLog>,
    pub host: Host,
    pub postgres: Option<kit::Postgres>,
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
        Platform { dir, log, host, postgres: None }
    }

    /// The same with its rows in a schema of its own, where the tests are given a server.
    pub fn on_postgres() -> Option<Platform> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let Some(url) = std::env::var("TRUNKLINE_TEST_POSTGRES").ok().filter(|url| !url.is_empty()) else {
            // Past the capture of the test's output: whoever runs the tests is to see it.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: the call log on Postgres (TRUNKLINE_TEST_POSTGRES names no server)"
            );
            return None;
        };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let schema = format!("cdr_test_{}_{number}", std::process::id());
        let postgres = Some(kit::Postgres { url: kit::Secret::new(url), schema, ..kit::Postgres::default() });
        let mut platform = Platform::new();
        platform.postgres = postgres;
        Some(platform)
    }

    pub fn config(&self) -> cdr::Config {
        match self.postgres.clone() {
            Some(postgres) => {
                cdr::Config { store: cdr::config::StoreKind::Postgres, postgres, ..cdr::Config::default() }
            }
            None => cdr::Config::default(),
        }
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

    async fn file(&self) -> SqliteConnection {
        SqliteConnectOptions::new().filename(self.path()).read_only(true).connect().await.unwrap()
    }

    async fn schema(&self, settings: &kit::Postgres) -> PgConnection {
        let options: PgConnectOptions = settings.url.expose().parse().unwrap();
        options.options([("search_path", settings.schema.as_str())]).connect().await.unwrap()
    }

    /// The one number that a query gives.
    pub async fn number(&self, sql: &'static str) -> i64 {
        match &self.postgres {
            Some(settings) => sqlx::query_scalar(sql).fetch_one(&mut self.schema(settings).await).await.unwrap(),
            None => sqlx::query_scalar(sql).fetch_one(&mut self.file().await).await.unwrap(),
        }
    }

    /// Rows of two texts.
    pub async fn pairs(&self, sql: String) -> Vec<(String, String)> {
        let sql = AssertSqlSafe(sql);
        match &self.postgres {
            Some(settings) => sqlx::query_as(sql).fetch_all(&mut self.schema(settings).await).await.unwrap(),
            None => sqlx::query_as(sql).fetch_all(&mut self.file().await).await.unwrap(),
        }
    }

    /// The rows are gone, as after a disk that was replaced.
    pub async fn lose(&self) {
        if let Some(settings) = &self.postgres {
            let drop = AssertSqlSafe(format!("DROP SCHEMA {} CASCADE", settings.schema));
            sqlx::query(drop).execute(&mut self.schema(settings).await).await.unwrap();
            return;
        }
        for file in std::fs::read_dir(self.path().parent().unwrap()).unwrap() {
            let file = file.unwrap();
            if file.file_name().to_string_lossy().starts_with(cdr::FILE) {
                std::fs::remove_file(file.path()).unwrap();
            }
        }
    }

    /// Ends the call log's connections from the server's side, those of this test's schema only.
    pub async fn break_connections(&self) {
        let settings = self.postgres.as_ref().unwrap();
        let sql = "SELECT count(pg_terminate_backend(l.pid)) FROM pg_locks l \
            WHERE l.locktype = 'advisory' AND l.granted \
            AND (l.classid::bigint << 32 | l.objid::bigint) = hashtextextended($1, 0)";
        let lock = format!("trunkline call log {}", settings.schema);
        let mut connection = self.schema(settings).await;
        let end = tokio::time::Instant::now() + DEADLINE;
        // The writer may be between two connections.
        while sqlx::query_scalar::<_, i64>(sql).bind(&lock).fetch_one(&mut connection).await.unwrap() == 0 {
            assert!(tokio::time::Instant::now() < end, "the writer has no connection");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
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

impl Drop for Platform {
    /// Leaves no schema behind; a test that fails leaves its own to be looked at.
    fn drop(&mut self) {
        let Some(settings) = self.postgres.take().filter(|_| !std::thread::panicking()) else { return };
        let drop = async move {
            let options: PgConnectOptions = settings.url.expose().parse().unwrap();
            let sql = AssertSqlSafe(format!("DROP SCHEMA IF EXISTS {} CASCADE", settings.schema));
            sqlx::query(sql).execute(&mut options.connect().await.unwrap()).await.unwrap();
        };
        // A runtime of its own: this one may be the test's last breath.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        std::thread::spawn(move || runtime.block_on(drop)).join().unwrap();
    }
}
