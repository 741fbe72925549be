//! What each kind of client is made with. The operator's own settings come last and win.

use std::{collections::BTreeMap, fmt, sync::Arc};

use rdkafka::{ClientConfig, error::KafkaError};
use schemas::TopicSpec;

use super::{extra, figures, figures::KafkaFigures};
use crate::{LogError, MAX_RECORD_BYTES};

#[derive(Clone, Default)]
pub struct KafkaConfig {
    /// `host:port,host:port`.
    pub bootstrap: String,
    /// Put before every topic's and every group's name.
    pub topic_prefix: String,
    /// Settings of librdkafka, passed to every client; they win over ours. Secrets stand here in full.
    pub extra: BTreeMap<String, String>,
    /// Where the clients report their figures.
    pub figures: Arc<KafkaFigures>,
}

impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("bootstrap", &self.bootstrap)
            .field("topic_prefix", &self.topic_prefix)
            // A value that was read from a file may be secret whatever its name is.
            .field("extra", &self.extra.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl KafkaConfig {
    fn base(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap)
            .set("client.id", "trunkline")
            // Back within seconds after an outage, without hammering during it.
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "2000")
            .set("socket.keepalive.enable", "true");
        config
    }

    fn finish(&self, mut config: ClientConfig) -> ClientConfig {
        for (key, value) in &self.extra {
            config.set(key, value);
        }
        config
    }

    pub(super) fn topic(&self, spec: &TopicSpec) -> String {
        format!("{}{}", self.topic_prefix, spec.name)
    }

    pub(super) fn admin(&self) -> ClientConfig {
        self.finish(self.base())
    }

    /// The prefix keeps two installations on one cluster apart, so it stands before their groups as well.
    pub(super) fn group(&self, group: &str) -> String {
        format!("{}{group}", self.topic_prefix)
    }

    pub(super) fn consumer(&self, group: &str) -> ClientConfig {
        let mut config = self.base();
        config
            .set("group.id", self.group(group))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("partition.assignment.strategy", "cooperative-sticky")
            // Memory per reader.
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.wait.max.ms", "100")
            .set("statistics.interval.ms", figures::EVERY_MS);
        self.finish(config)
    }

    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.base();
        config
            .set("enable.idempotence", "true")
            // A batch that is refused for good takes those behind it along, so that nothing overtakes it: the sender repeats in order.
            .set("enable.gapless.guarantee", "true")
            .set("acks", "all")
            .set("compression.type", "zstd")
            // We name the partition ourselves; a setting that differs would only mislead who reads it.
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "5")
            // Never give up by time: an outage is waited out, in order. What waits is bounded by whoever appends.
            .set("message.timeout.ms", "0")
            .set("message.max.bytes", (MAX_RECORD_BYTES + (64 << 10)).to_string())
            .set("queue.buffering.max.kbytes", "131072")
            .set("statistics.interval.ms", figures::EVERY_MS);
        self.finish(config)
    }

    /// Why a client could not be made, in librdkafka's words, without the values of secrets.
    pub(super) fn unusable(&self, what: &str, error: &KafkaError) -> LogError {
        let why = match error {
            KafkaError::ClientConfig(_, why, key, value) => {
                format!("{key} = {:?}: {why}", extra::shown(key, value))
            }
            KafkaError::ClientCreation(why) => why.clone(),
            other => other.to_string(),
        };
        LogError::Config(format!(
            "the kafka {what} cannot be made: {why} (settings stream.kafka.extra, set here: {})",
            if self.extra.is_empty() {
                "none".to_owned()
            } else {
                self.extra.keys().cloned().collect::<Vec<_>>().join(", ")
            }
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_operator_sets_wins_and_what_is_read_from_files_is_not_shown() {
        let extra = [("linger.ms", "77"), ("sasl.password", "hunter2"), ("ssl.ca.pem", "hunter3")];
        let config = KafkaConfig {
            bootstrap: "b:9092".to_owned(),
            extra: extra.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..KafkaConfig::default()
        };
        assert_eq!(config.producer().get("linger.ms"), Some("77"));
        assert_eq!(config.producer().get("acks"), Some("all"));
        assert_eq!(config.consumer("g").get("sasl.password"), Some("hunter2"));
        assert!(!format!("{config:?}").contains("hunter"), "{config:?}");
    }
}
