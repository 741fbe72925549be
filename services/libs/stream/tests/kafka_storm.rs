//! A rebalance storm on a real broker: members join and leave every two seconds while events flow, some of them twice. Effects are kept
//! as a consumer should: the position stands beside them and is the fence. No effect is missing or doubled, and nothing stands still for
//! longer than ten seconds. `TRUNKLINE_STORM_SECONDS` makes it longer.

mod common;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use common::{TestClock, kafka::OnBroker, outgoing, topic, until, value};
use parking_lot::Mutex;
use schemas::{Retention, TopicSpec};
use stream::{Client, EventLog, Failure, Handler, Poison, Publisher, PublisherConfig, Pump, PumpConfig, Record};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

static STORM: TopicSpec = TopicSpec { retention: Retention::Forever, ..topic("test.storm", 6, false) };

/// A consumer's database.
#[derive(Default)]
struct Store {
    /// By partition; written together with the effects below.
    next: HashMap<i32, i64>,
    /// How often the effect of (key, logical id) was made.
    effects: HashMap<(Bytes, u64), u32>,
    fenced: u64,
    gaps: u64,
    copies: u64,
    progress: Option<Instant>,
    longest_stall: Duration,
}

struct Fold(Arc<Mutex<Store>>);

#[async_trait]
impl Handler for Fold {
    async fn handle(&mut self, batch: &[Record]) -> Result<Vec<Poison>, Failure> {
        let mut store = self.0.lock();
        for record in batch {
            let next = store.next.get(&record.partition).copied().unwrap_or(0);
            if record.offset < next {
                store.fenced += 1;
                continue;
            }
            store.gaps += u64::from(record.offset > next);
            store.next.insert(record.partition, record.offset + 1);
            let id: u64 = value(record).parse().expect("a logical id");
            let known = (Bytes::copy_from_slice(&record.key), id);
            // The second copy of an event is recognised by what it is, wherever it stands.
            if store.effects.contains_key(&known) {
                store.copies += 1;
            } else {
                *store.effects.entry(known).or_default() += 1;
            }
            let now = Instant::now();
            if let Some(before) = store.progress.replace(now) {
                store.longest_stall = store.longest_stall.max(now - before);
            }
        }
        Ok(Vec::new())
    }
}

fn member(
    log: &Arc<dyn EventLog>,
    publisher: &Publisher,
    store: &Arc<Mutex<Store>>,
    stop: CancellationToken,
) -> impl Future<Output = ()> + Send + use<> {
    let client = Client { log: log.clone(), publisher: publisher.clone() };
    let config = PumpConfig {
        name: "storm",
        group: Some("storm".into()),
        topics: vec![&STORM],
        max_batch: 200,
        poll_wait: Duration::from_millis(100),
        ..PumpConfig::default()
    };
    let (pump, handler) = (Pump::new(client, config), Fold(store.clone()));
    async move { pump.run(handler, stop, || {}).await.expect("a member of the group works until it leaves") }
}

async fn storm(log: Arc<dyn EventLog>) {
    let seconds = std::env::var("TRUNKLINE_STORM_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(30);
    let publisher =
        Publisher::start(log.clone(), PublisherConfig::new("test/1", 1, TestClock::shared())).expect("starts");
    let store = Arc::new(Mutex::new(Store::default()));
    let over = Instant::now() + Duration::from_secs(seconds);
    let mut members = JoinSet::new();

    let producing = async {
        let mut id = 0;
        while Instant::now() < over {
            // Every fifth event is published twice, as after a retry whose first try had arrived.
            let batch = (id..id + 50).flat_map(|n: u64| {
                let event = outgoing(&STORM, &format!("call-{}", n % 97), &n.to_string());
                std::iter::repeat_n(event, if n.is_multiple_of(5) { 2 } else { 1 })
            });
            common::append(&log, batch.collect()).await;
            id += 50;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        id
    };
    let changing = async {
        let mut stops: Vec<CancellationToken> = Vec::new();
        let mut changes = 0;
        while Instant::now() < over {
            // 1, 2, 3, 2, 1, 2 … members; who leaves is whoever is there longest.
            if changes % 4 < 2 || stops.len() < 2 {
                let stop = CancellationToken::new();
                members.spawn(member(&log, &publisher, &store, stop.clone()));
                stops.push(stop);
            } else {
                stops.remove(0).cancel();
            }
            changes += 1;
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        (stops, changes)
    };
    let (published, (stops, changes)) = tokio::join!(producing, changing);
    until("every event has its effect", || store.lock().effects.len() as u64 == published).await;
    stops.iter().for_each(CancellationToken::cancel);
    while let Some(ended) = members.join_next().await {
        ended.expect("no member panicked");
    }
    let store = store.lock();
    let doubled = store.effects.values().filter(|n| **n > 1).count();
    eprintln!(
        "{published} events, {} copies, {changes} changes of the group, {} repeated records fenced off, longest standstill {:?}",
        store.copies, store.fenced, store.longest_stall
    );
    assert_eq!((doubled, store.gaps, store.copies), (0, 0, published / 5));
    assert!(store.longest_stall < Duration::from_secs(10), "stood still for {:?}", store.longest_stall);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebalance_storm_doubles_and_loses_no_effect() {
    let Some(broker) = OnBroker::from_env() else { return };
    broker.run(&[&STORM], storm).await;
}
