//! A real broker for tests: named by `TRUNKLINE_TEST_KAFKA`, topics of our own, removed afterwards also when the test fails.

use std::{
    collections::{BTreeMap, HashSet},
    future::Future,
    io::Write as _,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{FutureExt as _, StreamExt as _, stream::FuturesOrdered};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};
use schemas::TopicSpec;
use stream::{EventLog, KafkaConfig, KafkaLog, Outgoing, Start, Subscription};

use super::outgoing;

/// Groups that the tests use.
const GROUPS: [&str; 4] = ["g", "g1", "g2", "storm"];

pub struct OnBroker {
    pub config: KafkaConfig,
}

impl OnBroker {
    /// `None`, and said so, where no broker is named.
    pub fn from_env() -> Option<Self> {
        let Ok(bootstrap) = std::env::var("TRUNKLINE_TEST_KAFKA") else {
            let _ =
                writeln!(std::io::stderr(), "SKIPPED: tests on a real Kafka (TRUNKLINE_TEST_KAFKA names no broker)");
            return None;
        };
        Some(Self::at(bootstrap, BTreeMap::new()))
    }

    pub fn at(bootstrap: String, extra: BTreeMap<String, String>) -> Self {
        let topic_prefix = format!("suite.{}.", uuid::Uuid::now_v7().simple());
        Self { config: KafkaConfig { bootstrap, topic_prefix, extra, ..KafkaConfig::default() } }
    }

    pub fn log(&self) -> Arc<dyn EventLog> {
        Arc::new(KafkaLog::new(self.config.clone()).expect("a client"))
    }

    pub fn name(&self, topic: &TopicSpec) -> String {
        format!("{}{}", self.config.topic_prefix, topic.name)
    }

    pub fn admin(&self) -> AdminClient<DefaultClientContext> {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.config.bootstrap);
        for (key, value) in &self.config.extra {
            client.set(key, value);
        }
        client.create().expect("an admin client")
    }

    /// Makes the topics, runs the test, removes the topics and groups.
    pub async fn run<T, F>(self, topics: &[&'static TopicSpec], test: T)
    where
        T: FnOnce(Arc<dyn EventLog>) -> F,
        F: Future<Output = ()>,
    {
        let log = self.log();
        log.ensure_topics(topics).await.expect("topics");
        let outcome = AssertUnwindSafe(test(log)).catch_unwind().await;
        self.tidy(topics).await;
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    }

    pub async fn tidy(&self, topics: &[&'static TopicSpec]) {
        let admin = self.admin();
        let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(10)));
        let names: Vec<String> = topics.iter().map(|topic| self.name(topic)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let _left_behind = admin.delete_topics(&names, &options).await;
        let groups: Vec<String> = GROUPS.iter().map(|group| format!("{}{group}", self.config.topic_prefix)).collect();
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        // A group that never was, or whose last member has not left yet, is refused; it is empty and expires by itself.
        let _left_behind = admin.delete_groups(&groups, &options).await;
    }
}

/// Records that carry their number, spread over the partitions one by one.
pub fn numbered(topic: &'static TopicSpec, from: u64, count: u64) -> Arc<Vec<Outgoing>> {
    let partitions = u64::try_from(topic.partitions).expect("a count");
    let record = |n: u64| {
        let partition = i32::try_from(n % partitions).expect("small");
        Outgoing { partition, ..outgoing(topic, "k", &n.to_string()) }
    };
    Arc::new((from..from + count).map(record).collect())
}

/// Sends as the port asks for: up to `window` appends in flight; after a failure nothing new until all are answered, then what failed
/// again, in order. Gives the number of failed appends.
pub async fn send_window(log: &Arc<dyn EventLog>, batches: &[Arc<Vec<Outgoing>>], window: usize) -> u64 {
    let mut failures = 0;
    let mut left: Vec<Arc<Vec<Outgoing>>> = batches.to_vec();
    while !left.is_empty() {
        let mut failed = Vec::new();
        let mut next = left.iter();
        let mut flight = FuturesOrdered::new();
        loop {
            while failed.is_empty() && flight.len() < window {
                let Some(batch) = next.next().cloned() else { break };
                flight.push_back(async { (log.append_shared(batch.clone()).await, batch) });
            }
            match flight.next().await {
                Some((Ok(()), _)) => {}
                Some((Err(error), batch)) => {
                    assert!(!error.is_permanent(), "{error}");
                    failures += 1;
                    failed.push(batch);
                }
                None => break,
            }
        }
        failed.extend(next.cloned());
        left = failed;
        if !left.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    failures
}

/// What a topic holds of `numbered` records.
#[derive(Debug)]
pub struct Arrived {
    pub lost: u64,
    /// First arrivals behind a later number of their partition.
    pub reordered: u64,
    pub duplicates: u64,
}

pub async fn arrived(log: &Arc<dyn EventLog>, topic: &'static TopicSpec, sent: u64) -> Arrived {
    let total: i64 = log.bounds(topic).await.expect("bounds").iter().map(|b| b.end - b.begin).sum();
    let all = Subscription { group: None, topics: vec![topic], start: Start::Beginning };
    let mut source = log.subscribe(all).await.expect("a reader");
    let mut seen: BTreeMap<i32, (u64, HashSet<u64>)> = BTreeMap::new();
    let (mut got, mut reordered, mut duplicates) = (0, 0, 0);
    let give_up = Instant::now() + super::DEADLINE;
    while got < total {
        assert!(Instant::now() < give_up, "only {got} of {total} records came");
        for record in source.poll(5000, Duration::from_millis(200)).await.expect("poll") {
            got += 1;
            let n: u64 = super::value(&record).parse().expect("a number");
            let (newest, known) = seen.entry(record.partition).or_default();
            if !known.insert(n) {
                duplicates += 1;
            } else if n < *newest {
                reordered += 1;
            }
            *newest = n.max(*newest);
        }
    }
    let distinct: usize = seen.values().map(|(_, known)| known.len()).sum();
    Arrived { lost: sent - distinct as u64, reordered, duplicates }
}
