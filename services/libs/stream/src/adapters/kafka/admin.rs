//! Topics on the cluster: made when missing, refused when their partitions differ.

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    error::RDKafkaErrorCode,
};
use schemas::{Retention, TopicSpec};

use super::{ASK_TIMEOUT, KafkaConfig, blocking, client::Quiet, failed};
use crate::{LogError, MAX_RECORD_BYTES};

/// Copies of each partition, where there are enough brokers.
const REPLICATION: usize = 3;

/// How a topic is made on a cluster of so many brokers: copies of each partition, and its settings.
pub fn topic_settings(spec: &TopicSpec, brokers: usize) -> (i32, Vec<(&'static str, String)>) {
    let copies = REPLICATION.min(brokers.max(1));
    let retention_ms = match spec.retention {
        Retention::Days(days) => i64::from(days) * 24 * 3600 * 1000,
        Retention::Forever => -1,
    };
    let mut settings = vec![
        ("cleanup.policy", if spec.compacted { "compact" } else { "delete" }.to_owned()),
        ("retention.ms", retention_ms.to_string()),
        ("unclean.leader.election.enable", "false".to_owned()),
    ];
    if copies >= REPLICATION {
        settings.push(("min.insync.replicas", "2".to_owned()));
    }
    if spec.name == "dead.letters" {
        settings.push(("max.message.bytes", (MAX_RECORD_BYTES + (64 << 10)).to_string()));
    }
    (copies as i32, settings)
}

pub async fn ensure_topics(config: &KafkaConfig, topics: &[&'static TopicSpec]) -> Result<(), LogError> {
    let client_config = config.finish(config.base());
    let (found, brokers) = blocking(move || {
        let admin: AdminClient<Quiet> =
            client_config.create_with_context(Quiet).map_err(|e| LogError::Config(format!("kafka admin: {e}")))?;
        // All topics at once: asking for one by name can make the broker create it with its own defaults.
        let metadata =
            admin.inner().fetch_metadata(None, ASK_TIMEOUT).map_err(|e| failed("cannot list the topics", &e))?;
        let found: Vec<(String, i32)> =
            metadata.topics().iter().map(|t| (t.name().to_owned(), t.partitions().len() as i32)).collect();
        Ok((found, metadata.brokers().len()))
    })
    .await?;

    let mut missing = Vec::new();
    for spec in topics {
        let name = config.topic(spec);
        match found.iter().find(|(n, _)| *n == name) {
            None => missing.push((*spec, name)),
            Some((_, partitions)) if *partitions != spec.partitions => {
                return Err(LogError::Partitions { topic: name, found: *partitions, wanted: spec.partitions });
            }
            Some(_) => {}
        }
    }
    if missing.is_empty() { Ok(()) } else { create(config, &missing, brokers).await }
}

async fn create(
    config: &KafkaConfig,
    missing: &[(&'static TopicSpec, String)],
    brokers: usize,
) -> Result<(), LogError> {
    let admin: AdminClient<DefaultClientContext> =
        config.finish(config.base()).create().map_err(|e| LogError::Config(format!("kafka admin: {e}")))?;
    let settings: Vec<_> = missing.iter().map(|(spec, _)| topic_settings(spec, brokers)).collect();
    let new: Vec<NewTopic<'_>> = missing
        .iter()
        .zip(&settings)
        .map(|((spec, name), (copies, settings))| {
            let topic = NewTopic::new(name, spec.partitions, TopicReplication::Fixed(*copies));
            settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
        })
        .collect();
    let options = AdminOptions::new().operation_timeout(Some(ASK_TIMEOUT)).request_timeout(Some(ASK_TIMEOUT));
    let results = admin.create_topics(&new, &options).await.map_err(|e| failed("cannot create topics", &e))?;
    for result in results {
        match result {
            Ok(topic) => tracing::info!(kafka.topic = topic, brokers, "topic created"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => {
                return Err(LogError::Kafka {
                    what: format!("cannot create topic {topic}"),
                    message: code.to_string(),
                    fatal: false,
                });
            }
        }
    }
    Ok(())
}
