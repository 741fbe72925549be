//! One api with everything that it needs, in a folder of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kit::clock::SystemClock;
use kit::{Host, Lifecycle, Metrics, Service};
use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use stream::{Client, EmbeddedConfig, EmbeddedLog, EventLog, Publisher, PublisherConfig, Record, Start, Subscription};

use crate::http::LONG;

pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";

pub struct Api {
    pub addr: SocketAddr,
    pub life: Lifecycle,
    pub metrics: Metrics,
    pub log: Arc<EmbeddedLog>,
    pub publisher: Publisher,
    pub dir: tempfile::TempDir,
}

pub async fn start() -> Api {
    start_with(|_, _| {}).await
}

pub async fn start_with(change: impl FnOnce(&mut api::Config, &Path)) -> Api {
    start_after(|_| {}, change).await
}

/// `before` publishes what stands in the topics already when the api starts.
pub async fn start_after(before: impl FnOnce(&Publisher), change: impl FnOnce(&mut api::Config, &Path)) -> Api {
    let dir = tempfile::tempdir().unwrap();
    let mut config = api::Config { bind: "127.0.0.1:0".parse().unwrap(), ..api::Config::default() };
    change(&mut config, dir.path());
    let host = Host {
        life: Lifecycle::new(LONG),
        metrics: Metrics::new(),
        clock: Arc::new(SystemClock),
        data_dir: dir.path().to_owned(),
        run_dir: dir.path().join("run"),
        keys: Arc::new(kit::keys::ensure(&dir.path().join("keys")).unwrap()),
    };
    let service = Service::open("api", &host).unwrap();
    let log = EmbeddedLog::open(EmbeddedConfig::new(dir.path().join("log"))).unwrap();
    log.ensure_topics(schemas::all_topics()).await.unwrap();
    let shared: Arc<dyn EventLog> = log.clone();
    let producer = PublisherConfig::new(service.instance.producer(), service.instance.epoch, Arc::new(SystemClock));
    let publisher = Publisher::start(Arc::clone(&shared), producer).unwrap();
    before(&publisher);
    publisher.flush(LONG).await.unwrap();
    let running = api::run(config, service, Client { log: shared, publisher: publisher.clone() }).await.unwrap();
    Api { addr: running.addr, life: host.life, metrics: host.metrics, log, publisher, dir }
}

/// An api on the tests' Kafka with topics of its own; `None` where there is no broker.
pub async fn on_kafka() -> Option<(SocketAddr, Publisher, tempfile::TempDir)> {
    use std::io::Write;
    let Some(bootstrap) = std::env::var("TRUNKLINE_TEST_KAFKA").ok().filter(|address| !address.is_empty()) else {
        let _ = writeln!(std::io::stderr(), "SKIPPED: the api over Kafka (TRUNKLINE_TEST_KAFKA names no broker)");
        return None;
    };
    let mut kafka = stream::Config { adapter: stream::Adapter::Kafka, ..stream::Config::default() };
    kafka.topic_prefix = format!("api.{}.", std::process::id());
    kafka.kafka.bootstrap = bootstrap;
    let dir = tempfile::tempdir().unwrap();
    let log = stream::open(&kafka, dir.path()).unwrap();
    log.ensure_topics(schemas::all_topics()).await.unwrap();
    let host = Host {
        life: Lifecycle::new(LONG),
        metrics: Metrics::new(),
        clock: Arc::new(SystemClock),
        data_dir: dir.path().to_owned(),
        run_dir: dir.path().join("run"),
        keys: Arc::new(kit::keys::ensure(&dir.path().join("keys")).unwrap()),
    };
    let service = Service::open("api", &host).unwrap();
    let producer = PublisherConfig::new(service.instance.producer(), service.instance.epoch, Arc::new(SystemClock));
    let publisher = Publisher::start(Arc::clone(&log), producer).unwrap();
    let config = api::Config { bind: "127.0.0.1:0".parse().unwrap(), ..api::Config::default() };
    let running = api::run(config, service, Client { log, publisher: publisher.clone() }).await.unwrap();
    Some((running.addr, publisher, dir))
}

pub fn with_token(config: &mut api::Config, dir: &Path) {
    let file = dir.join("token");
    std::fs::write(&file, TOKEN).unwrap();
    config.token_file = Some(file);
}

impl Api {
    /// Everything that stands in a topic.
    pub async fn records(&self, topic: &'static schemas::TopicSpec) -> Vec<Record> {
        let total: i64 = self.log.bounds(topic).await.unwrap().iter().map(|bounds| bounds.end).sum();
        let subscription = Subscription { group: None, topics: vec![topic], start: Start::Beginning };
        let mut source = self.log.subscribe(subscription).await.unwrap();
        let mut records = Vec::new();
        while (records.len() as i64) < total {
            records.extend(source.poll(1000, LONG).await.unwrap());
        }
        records
    }

    /// An empty call log, made by the migrations of the cdr service.
    pub async fn call_log(&self) -> SqlitePool {
        self.store("cdr/calls.sqlite", migrations("cdr/migrations/sqlite").expect("the cdr service has migrations"))
            .await
    }

    /// A store beside ours, as its owner would make it.
    pub async fn store(&self, file: &str, migrations: Vec<PathBuf>) -> SqlitePool {
        let path = self.dir.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
        let pool = SqlitePool::connect_with(options.journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)).await.unwrap();
        for file in migrations {
            sqlx::raw_sql(AssertSqlSafe(std::fs::read_to_string(file).unwrap())).execute(&pool).await.unwrap();
        }
        pool
    }
}

/// A call log in a schema of its own on the tests' Postgres, and the settings that point at it; `None` where there is no server.
pub async fn postgres_call_log() -> Option<(PgPool, kit::Postgres)> {
    use std::io::Write;
    let Some(url) = std::env::var("TRUNKLINE_TEST_POSTGRES").ok().filter(|url| !url.is_empty()) else {
        let _ = writeln!(std::io::stderr(), "SKIPPED: the api over Postgres (TRUNKLINE_TEST_POSTGRES names no server)");
        return None;
    };
    let schema = format!("api_test_{}", std::process::id());
    let options: PgConnectOptions = url.parse().unwrap();
    let options = options.options([("search_path", schema.as_str())]);
    let pool = PgPoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
    sqlx::query(AssertSqlSafe(format!("CREATE SCHEMA {schema}"))).execute(&pool).await.unwrap();
    for file in migrations("cdr/migrations/postgres").expect("the cdr service has migrations") {
        sqlx::raw_sql(AssertSqlSafe(std::fs::read_to_string(file).unwrap())).execute(&pool).await.unwrap();
    }
    Some((pool, kit::Postgres { url: kit::Secret::new(url), schema, ..kit::Postgres::default() }))
}

/// Files of a folder below `services`, in the order of their numbers; `None` where there is none.
pub fn migrations(of: &str) -> Option<Vec<PathBuf>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(of);
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir).ok()?.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    Some(files)
}

/// One call as the call log would hold it.
pub struct Call {
    pub n: u64,
    pub finality: &'static str,
    pub disposition: Option<&'static str>,
    pub start_us: i64,
}

impl Call {
    pub fn id(&self) -> String {
        id(self.n)
    }

    pub async fn insert(&self, pool: &SqlitePool) {
        let answer_us = self.answer_us();
        let query =
            sqlx::query(INSERT).bind(self.id()).bind(self.finality).bind(self.sip_call_id()).bind(self.start_us);
        query.bind(answer_us).bind(self.disposition).execute(pool).await.unwrap();
    }

    pub async fn insert_into_postgres(&self, pool: &PgPool) {
        let answer_us = self.answer_us();
        let query =
            sqlx::query(INSERT).bind(self.id()).bind(self.finality).bind(self.sip_call_id()).bind(self.start_us);
        query.bind(answer_us).bind(self.disposition).execute(pool).await.unwrap();
    }

    fn answer_us(&self) -> Option<i64> {
        (self.disposition == Some("answered")).then_some(self.start_us + 500_000)
    }

    fn sip_call_id(&self) -> String {
        format!("sip-{}@carrier", self.n)
    }
}

const INSERT: &str = "INSERT INTO calls (call_id, revision, finality, legs, leg_count, edges, ivr_path, transfers, attempts, \
    challenges, retries, dtmf_count, decision_ids, witnesses, quality, estimated, flags, trunk_in, node, sip_call_id, caller_raw, \
    caller_e164, callee_raw, callee_e164, start_us, answer_us, disposition) \
    VALUES ($1, 3, $2, '[\"aa\"]', 1, '[]', '[]', 0, 1, 0, 0, 0, '[]', 'edge,engine', 'complete', '[]', '[]', 'carrier-a', 'fs-1', \
    $3, '+442079460018', '+442079460018', '+4930901820001', '+4930901820001', $4, $5, $6)";

pub fn id(n: u64) -> String {
    format!("01900000-0000-7000-8000-{n:012x}")
}
