//! The service on a real log: heartbeats in, weights out, and a node that goes.

#![expect(clippy::unwrap_used, reason = "helpers outside #[test] functions; a test fails where it stands")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::Clock;
use kit::clock::SystemClock;
use schemas::{ControlWeight, Event, NodeHealth, NodeHeartbeat, NodeLink, SipBranch, SipTransaction, all_topics};
use stream::{Client, EmbeddedConfig, EmbeddedLog, EventLog, Publisher, PublisherConfig, Source, Start, Subscription};

const LONG: Duration = Duration::from_secs(20);

struct Lab {
    running: capacity::Running,
    life: kit::Lifecycle,
    witness: Publisher,
    weights: Box<dyn Source>,
    latest: HashMap<String, ControlWeight>,
    deleted: Vec<String>,
    sequence: i64,
    _dir: tempfile::TempDir,
}

impl Lab {
    async fn start() -> Lab {
        Lab::start_on(&[]).await
    }

    /// With weights that an earlier run left behind.
    async fn start_on(leftovers: &[ControlWeight]) -> Lab {
        let dir = tempfile::tempdir().unwrap();
        let log: Arc<dyn EventLog> = EmbeddedLog::open(EmbeddedConfig::new(dir.path().join("stream"))).unwrap();
        log.ensure_topics(all_topics()).await.unwrap();
        let life = kit::Lifecycle::new(Duration::from_secs(5));
        let host = kit::Host {
            life: life.clone(),
            metrics: kit::Metrics::new(),
            clock: Arc::new(SystemClock),
            data_dir: dir.path().to_owned(),
            run_dir: dir.path().join("run"),
            keys: Arc::new(domain::identity::Keyring::new(vec![("k1".to_owned(), vec![7; 32])]).unwrap()),
        };
        let service = kit::Service::open("capacity", &host).unwrap();
        let publisher = |name: &str, epoch| {
            Publisher::start(Arc::clone(&log), PublisherConfig::new(name, epoch, Arc::new(SystemClock))).unwrap()
        };
        let earlier = publisher("capacity/earlier", 1);
        for weight in leftovers {
            earlier.publish(weight.clone());
        }
        earlier.flush(LONG).await.unwrap();
        let client = Client {
            log: Arc::clone(&log),
            publisher: publisher(&service.instance.producer(), service.instance.epoch),
        };
        let running = capacity::run(capacity::Config::default(), service, client).await.unwrap();
        let all = Subscription { group: None, topics: vec![ControlWeight::TOPIC], start: Start::Beginning };
        let weights = log.subscribe(all).await.unwrap();
        let witness = publisher("engine/lab", 1);
        Lab { running, life, witness, weights, latest: HashMap::new(), deleted: Vec::new(), sequence: 0, _dir: dir }
    }

    fn report(&self, node: &str, event_type: &str) -> NodeHealth {
        let now = SystemClock.now();
        NodeHealth {
            event_type: event_type.to_owned(),
            node_id: node.to_owned(),
            observer_kind: "engine".to_owned(),
            observer_id: "lab".to_owned(),
            core_uuid: Some(format!("core-of-{node}")),
            observed_us: now.wall_us,
            observed_mono_us: now.mono_us.cast_signed(),
            ..NodeHealth::default()
        }
    }

    fn beat(&mut self, node: &str) {
        self.sequence += 1;
        let heartbeat = NodeHeartbeat {
            event_sequence: self.sequence,
            sessions: Some(0),
            max_sessions: Some(10),
            idle_cpu_percent: Some(100.0),
            uptime_ms: Some(3_600_000),
            interval_us: Some(1_000_000),
            ..NodeHeartbeat::default()
        };
        self.witness.publish(NodeHealth { heartbeat: Some(heartbeat), ..self.report(node, "heartbeat") });
    }

    fn link_down(&self, node: &str) {
        let link = NodeLink { state: "down".to_owned(), ..NodeLink::default() };
        self.witness.publish(NodeHealth { link: Some(link), ..self.report(node, "link_down") });
    }

    fn call(&self, event_type: &str, node: &str, leg: u64) {
        let leg_id = format!("{leg:016x}");
        let branch = SipBranch {
            attempt: 1,
            leg_id: leg_id.clone(),
            target_side: "node".to_owned(),
            target_id: node.to_owned(),
            ..SipBranch::default()
        };
        self.witness.publish(SipTransaction {
            event_type: event_type.to_owned(),
            call_root_id: format!("019aa0a0-0000-7000-8000-{leg:012x}"),
            leg_id,
            edge_id: "lab".to_owned(),
            occurred_us: SystemClock.now().wall_us,
            branches: if event_type == "attempt" { vec![branch] } else { Vec::new() },
            ..SipTransaction::default()
        });
    }

    /// Reads weights, and lets `nodes` send heartbeats, until the condition holds; panics when it does not in time.
    async fn until(&mut self, what: &str, limit: Duration, nodes: &[&str], holds: impl Fn(&Lab) -> bool) {
        let start = Instant::now();
        let mut next_beat = start;
        while !holds(self) {
            assert!(start.elapsed() < limit, "waited in vain until {what}: {:?}", self.running.snapshot());
            if Instant::now() >= next_beat {
                nodes.iter().for_each(|node| self.beat(node));
                next_beat += Duration::from_millis(300);
            }
            for record in self.weights.poll(100, Duration::from_millis(20)).await.unwrap() {
                let Some(value) = record.value.as_deref() else {
                    let key = String::from_utf8(record.key.to_vec()).unwrap();
                    self.latest.remove(key.strip_suffix("/capacity").unwrap());
                    self.deleted.push(key);
                    continue;
                };
                let weight: ControlWeight = schemas::decode(value).unwrap();
                weight.check().unwrap();
                assert_eq!(record.key.as_ref(), weight.key().as_bytes());
                self.latest.insert(weight.node_id.clone(), weight);
            }
        }
    }

    fn weight(&self, node: &str) -> Option<f64> {
        self.latest.get(node).map(|w| w.weight)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_give_weights_and_a_node_that_goes_gets_zero_within_four_seconds() {
    let mut lab = Lab::start().await;
    let both = ["fs1", "fs2"];
    lab.until("both nodes have a weight", LONG, &both, |lab| both.iter().all(|n| lab.weight(n) == Some(1.0))).await;
    let first = &lab.latest["fs1"];
    assert_eq!((first.author.as_str(), first.state.as_str()), ("capacity", "active"));
    assert_eq!(first.until_us.unwrap() - first.made_us, 60_000_000);
    assert_eq!(first.inputs.as_ref().unwrap().max_sessions, Some(10));

    lab.link_down("fs1");
    let dead = |lab: &Lab| lab.weight("fs1") == Some(0.0);
    lab.until("the lost node has weight 0", Duration::from_secs(4), &["fs2"], dead).await;
    assert_eq!(lab.latest["fs1"].rule.as_deref(), Some("dead"));
    assert!(lab.weight("fs2").unwrap() > 0.9);
    let view = lab.running.snapshot();
    assert_eq!(
        view.iter().map(|v| (v.node.as_str(), v.rule)).collect::<Vec<_>>(),
        [("fs1", "dead"), ("fs2", "pressure")]
    );

    lab.until("the node is back", LONG, &both, |lab| lab.weight("fs1").is_some_and(|w| w > 0.0)).await;
    assert!(lab.weight("fs1").unwrap() < 0.5, "a node that was dead comes back slowly");
    assert!(lab.life.stop().await.failed.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_since_the_heartbeat_fill_a_node_and_their_end_frees_it() {
    let mut lab = Lab::start().await;
    lab.until("the node has a weight", LONG, &["fs1"], |lab| lab.weight("fs1") == Some(1.0)).await;
    for leg in 0..10 {
        lab.call("attempt", "fs1", leg);
        lab.call("attempt", "fs1", leg);
    }
    lab.until("the full node has weight 0", LONG, &[], |lab| lab.weight("fs1") == Some(0.0)).await;
    assert_eq!(lab.latest["fs1"].inputs.as_ref().unwrap().own_since_heartbeat, Some(10));
    assert_eq!(lab.latest["fs1"].rule.as_deref(), Some("pressure"));
    for leg in 0..5 {
        lab.call("ended", "fs1", leg);
    }
    lab.until("it takes calls again", LONG, &[], |lab| lab.running.snapshot()[0].calls_since == 5).await;
    lab.until("and says so", LONG, &[], |lab| lab.weight("fs1").is_some_and(|w| w > 0.0)).await;
    assert!(lab.life.stop().await.failed.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_run_left_is_deleted_an_hour_after_its_end_and_nothing_else() {
    const HOUR_US: i64 = 3_600_000_000;
    let now_us = SystemClock.now().wall_us;
    let left = |node: &str, author: &str, ended_us: i64| ControlWeight {
        event_type: "weight".to_owned(),
        node_id: node.to_owned(),
        author: author.to_owned(),
        weight: 0.5,
        state: "active".to_owned(),
        made_us: ended_us - 60_000_000,
        until_us: Some(ended_us),
        ..ControlWeight::default()
    };
    let mut lab = Lab::start_on(&[
        left("old", "capacity", now_us - HOUR_US - 1_000_000),
        left("recent", "capacity", now_us - HOUR_US / 2),
        left("drained", "operator", now_us - 2 * HOUR_US),
        left("alive", "capacity", now_us - HOUR_US - 1_000_000),
        left("alive", "capacity", now_us),
    ])
    .await;
    lab.until("the old weight is deleted", LONG, &[], |lab| !lab.deleted.is_empty()).await;
    assert_eq!(lab.deleted, ["old/capacity"]);
    assert!(["recent", "drained", "alive"].iter().all(|node| lab.latest.contains_key(*node)));
    assert!(lab.life.stop().await.failed.is_empty());
}
