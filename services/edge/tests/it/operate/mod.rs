//! Operating an edge: the desk, the last-known-good file, explanations, reloads and drains, on real sockets with a real log.

mod changes;
mod explained;
mod kept;
mod reloads;
mod runbook;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use edge::{Config, NodeConfig, RouteConfig, Running, TrunkConfig};
use kit::admin::AdminConfig;
use kit::clock::SystemClock;
use kit::settings::{Problem, Problems};
use parking_lot::Mutex;
use serde_json::Value;
use sim::carrier::CarrierHandle;
use sim::switch::{Switch, SwitchConfig, SwitchHandle};
use stream::{Client, EmbeddedConfig, EmbeddedLog, EventLog, Publisher, PublisherConfig, Start, Subscription};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::ends::{Ends, LONG, loopback};

/// Carriers and switches that outlive an edge, and its folders.
pub struct Site {
    pub dir: tempfile::TempDir,
    pub log: Arc<dyn EventLog>,
    pub ends: Ends,
    pub nodes: Vec<SwitchHandle>,
    /// What a reload reads.
    pub settings: Arc<Mutex<Result<Config, String>>>,
}

/// One life of an edge.
pub struct Life {
    pub edge: Running,
    pub life: kit::Lifecycle,
    pub publisher: Publisher,
    pub admin: SocketAddr,
}

impl Site {
    pub async fn new(nodes: usize) -> Site {
        let dir = tempfile::tempdir().unwrap();
        let log: Arc<dyn EventLog> = EmbeddedLog::open(EmbeddedConfig::new(dir.path().join("log"))).unwrap();
        log.ensure_topics(schemas::all_topics()).await.unwrap();
        let ends = Ends::start("north", "far");
        let mut switches = Vec::new();
        for seed in 0..nodes as u64 {
            let id = format!("fs-{}", seed + 1);
            switches
                .push(Switch::start(SwitchConfig { id, seed: 21 + seed, ..SwitchConfig::default() }).await.unwrap());
        }
        let settings = Arc::new(Mutex::new(Err("not set".to_owned())));
        let site = Site { dir, log, ends, nodes: switches, settings };
        let config = site.config(nodes);
        site.write(config);
        site
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("edge")
    }

    /// With the first `nodes` of the switches.
    pub fn config(&self, nodes: usize) -> Config {
        let trunk = |carrier: &CarrierHandle, called: bool| TrunkConfig {
            id: carrier.id().to_owned(),
            sources: vec![edge::Source::Port(carrier.addr())],
            address: called.then(|| carrier.addr().into()),
            ..TrunkConfig::default()
        };
        let mut config = Config {
            trunks: vec![trunk(&self.ends.caller, false), trunk(&self.ends.far, true)],
            nodes: self.nodes.iter().take(nodes).map(node).collect(),
            routes: vec![RouteConfig { trunks: vec!["far".into()], ..RouteConfig::default() }],
            drain_ms: 8_000,
            ..Config::default()
        };
        config.listeners.iter_mut().for_each(|l| l.bind = loopback());
        config
    }

    /// What the next start or reload reads.
    pub fn write(&self, config: Config) {
        *self.settings.lock() = Ok(config);
    }

    pub fn spoil(&self, why: &str) {
        *self.settings.lock() = Err(why.to_owned());
    }

    pub async fn start(&self) -> Life {
        let config = self.settings.lock().clone().unwrap();
        self.start_on(config, Arc::clone(&self.log)).await
    }

    pub async fn start_on(&self, config: Config, log: Arc<dyn EventLog>) -> Life {
        let life = kit::Lifecycle::new(Duration::from_secs(10));
        let host = kit::Host {
            life: life.clone(),
            metrics: kit::Metrics::new(),
            clock: Arc::new(SystemClock),
            data_dir: self.dir.path().to_owned(),
            run_dir: self.dir.path().join("run"),
            keys: Arc::new(super::world::keys()),
        };
        let service = kit::Service::open("edge", &host).unwrap();
        let producer = PublisherConfig::new(service.instance.producer(), service.instance.epoch, Arc::new(SystemClock));
        let publisher = Publisher::start(Arc::clone(&log), producer).unwrap();
        let client = Client { log, publisher: publisher.clone() };
        let edge = edge::run(config, service, client).await.unwrap();
        let settings = Arc::clone(&self.settings);
        edge.reload_from(Arc::new(move || settings.lock().clone().map_err(problems)));
        let admin = AdminConfig { bind: loopback(), token_file: None };
        let admin = kit::admin::serve(&admin, "admin", &life, &host.metrics, edge.routes()).unwrap();
        self.ends.caller.set_edge(edge.trunk_addr).await.unwrap();
        self.ends.far.set_edge(edge.trunk_addr).await.unwrap();
        for node in &self.nodes {
            node.set_gateway(edge.node_addr).await;
        }
        Life { edge, life, publisher, admin }
    }
}

pub fn node(switch: &SwitchHandle) -> NodeConfig {
    NodeConfig { id: switch.id(), address: switch.sip_addr().into(), ..NodeConfig::default() }
}

fn problems(why: String) -> Problems {
    Problems(vec![Problem::new("settings file", "", why)])
}

impl Life {
    pub async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + LONG;
        while !holds() {
            assert!(Instant::now() < deadline, "never: {what}; {:#?}", self.edge.snapshot());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn nodes_up(&self) {
        self.until("nodes up", || self.edge.snapshot().nodes.iter().all(|n| n.rtt_us.is_some())).await;
    }

    /// Status and body.
    pub async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let body = body.map(|b| b.to_string()).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut connection = tokio::net::TcpStream::connect(self.admin).await.unwrap();
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::String(body.to_owned())))
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, None).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// A change that is made.
    pub async fn change(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.ask(method, path, Some(body)).await;
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    }

    /// A change that is not made, and why.
    pub async fn refused(&self, method: &str, path: &str, body: Value) -> (u16, String) {
        let (status, answer) = self.ask(method, path, Some(body)).await;
        assert!(status >= 400, "{method} {path}: {answer}");
        (status, answer["error"].as_str().unwrap_or_default().to_owned())
    }

    pub async fn stop(self) {
        let outcome = self.life.stop().await;
        assert_eq!((outcome.abandoned, outcome.failed), (vec![], vec![]));
        let _left = self.publisher.close(LONG).await;
    }
}

/// Everything in a topic.
pub async fn read<E: schemas::Event>(log: &Arc<dyn EventLog>) -> Vec<E> {
    let bounds = log.bounds(E::TOPIC).await.unwrap();
    let total: i64 = bounds.iter().map(|b| b.end - b.begin).sum();
    let all = Subscription { group: None, topics: vec![E::TOPIC], start: Start::Beginning };
    let mut source = log.subscribe(all).await.unwrap();
    let mut seen = 0;
    let mut events = Vec::new();
    let deadline = Instant::now() + LONG;
    while seen < total {
        assert!(Instant::now() < deadline, "{seen} of {total}");
        for record in source.poll(1_000, Duration::from_millis(200)).await.unwrap() {
            seen += 1;
            events.extend(record.value.as_deref().map(|value| schemas::decode::<E>(value).unwrap()));
        }
    }
    events
}

pub fn last_known_good(site: &Site) -> PathBuf {
    site.data_dir().join("last-known-good.json")
}

pub fn exists(path: &Path) -> bool {
    path.exists()
}
