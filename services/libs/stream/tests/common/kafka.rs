//! A real broker for tests: named by `TRUNKLINE_TEST_KAFKA`, topics of our own, removed afterwards also when the test fails.

use std::{collections::BTreeMap, future::Future, io::Write as _, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt as _;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};
use schemas::TopicSpec;
use stream::{EventLog, KafkaConfig, KafkaLog};

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
