//! One engine with a log of its own in a folder of its own, and ways to wait for what it writes.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::identity::Keyring;
use engine::{Config, LinkConfig, NodeConfig, Running};
use kit::{Host, Lifecycle, Metrics, Secret, Service};
use schemas::{ChannelEvent, Event, IvrDecision, NodeHealth};
use stream::{Client, EmbeddedConfig, EmbeddedLog, EventLog, Publisher, PublisherConfig, Source, Start, Subscription};
use tempfile::TempDir;

pub const PASSWORD: &str = "Example-esl-1";
pub const AGENT: &str = "+12025558001";

/// Generous: the machine may be busy. Nobody waits this long unless something is broken.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn keys() -> Keyring {
    Keyring::new(vec![("20261101".into(), vec![7; 32])]).expect("a key")
}

pub struct Engine {
    pub running: Running,
    pub life: Lifecycle,
    pub channels: Vec<ChannelEvent>,
    pub decisions: Vec<IvrDecision>,
    pub health: Vec<NodeHealth>,
    source: Box<dyn Source>,
    _dir: TempDir,
}

pub fn node(id: &str, address: impl ToString, password: &str) -> NodeConfig {
    NodeConfig { id: id.into(), address: address.to_string(), password: Secret::new(password) }
}

/// Short pauses, so that tests do not sit through a caller's silence.
pub fn quick_menu(dir: &Path) -> std::path::PathBuf {
    let text =
        include_str!("../../../../infra/config/menus/main.toml").replace("timeout_ms = 5000", "timeout_ms = 700");
    let path = dir.join("menu.toml");
    std::fs::write(&path, text).expect("a temporary file");
    path
}

pub fn config(nodes: Vec<NodeConfig>) -> Config {
    Config { nodes, agent_number: AGENT.into(), link: LinkConfig::default(), ..Config::default() }
}

impl Engine {
    pub async fn start(mut config: Config) -> Self {
        let dir = TempDir::new().expect("a temporary folder");
        if config.menu.is_none() {
            config.menu = Some(quick_menu(dir.path()));
        }
        let clock = Arc::new(kit::clock::SystemClock);
        let life = Lifecycle::new(Duration::from_secs(5));
        let host = Host {
            life: life.clone(),
            metrics: Metrics::new(),
            clock: clock.clone(),
            data_dir: dir.path().to_owned(),
            run_dir: dir.path().join("run"),
            keys: Arc::new(keys()),
        };
        let service = Service::open("engine", &host).expect("an instance of its own");
        let log = EmbeddedLog::open(EmbeddedConfig::new(dir.path().join("log"))).expect("a log");
        let topics = [ChannelEvent::TOPIC, IvrDecision::TOPIC, NodeHealth::TOPIC];
        log.ensure_topics(&topics).await.expect("topics");
        let source = log
            .subscribe(Subscription { group: None, topics: topics.to_vec(), start: Start::Beginning })
            .await
            .expect("a source");
        let log: Arc<dyn EventLog> = log;
        let publisher =
            Publisher::start(log.clone(), PublisherConfig::new("engine/test", service.instance.epoch, clock))
                .expect("a publisher");
        let running = engine::run(config, service, Client { log, publisher }).await.expect("the engine starts");
        Self { running, life, channels: vec![], decisions: vec![], health: vec![], source, _dir: dir }
    }

    /// Reads on until the condition holds.
    pub async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        self.within(PATIENCE, what, holds).await;
    }

    pub async fn within(&mut self, patience: Duration, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + patience;
        while !holds(self) {
            let names: Vec<&str> = self.channels.iter().map(|e| e.event_type.as_str()).collect();
            assert!(
                Instant::now() < deadline,
                "waited for: {what}\nstates: {:#?}\nchannel events: {names:?}\ndecisions: {:?}",
                self.running.nodes.iter().map(engine::NodeHandle::state).collect::<Vec<_>>(),
                self.decisions.iter().map(|d| (&d.event_type, &d.menu_node, &d.outcome)).collect::<Vec<_>>()
            );
            self.read().await;
        }
    }

    async fn read(&mut self) {
        for record in self.source.poll(1000, Duration::from_millis(20)).await.expect("the log") {
            let value = record.value.as_deref().expect("no tombstones here");
            match record.topic.name {
                "channel.events" => self.channels.push(valid(value)),
                "ivr.decisions" => self.decisions.push(valid(value)),
                _ => self.health.push(valid(value)),
            }
        }
    }

    pub async fn connected(&mut self) {
        self.until("every node connected", |engine| engine.running.all_up()).await;
    }

    /// Names of the events of one channel, in the order of their publication.
    pub fn names_of(&self, leg: &str) -> Vec<&str> {
        self.channels.iter().filter(|e| e.leg_id == leg).map(|e| e.event_type.as_str()).collect()
    }

    pub fn told(&self) -> Vec<String> {
        self.decisions.iter().map(|d| format!("{}:{}", d.event_type, d.menu_node)).collect()
    }

    pub async fn stop(self) {
        let outcome = self.life.stop().await;
        assert!(outcome.abandoned.is_empty() && outcome.failed.is_empty(), "{outcome:?}");
    }
}

fn valid<E: Event + std::fmt::Debug>(bytes: &[u8]) -> E {
    let event: E = schemas::decode(bytes).expect("our own encoding");
    event.check().unwrap_or_else(|wrong| panic!("{wrong} in {event:?}"));
    event
}
