//! The `[stream]` section of the settings, and the one place that turns it into a log.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{EmbeddedConfig, EmbeddedLog, EventLog, KafkaConfig, KafkaLog, Keep, LogError};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Adapter {
    /// One machine, one process that writes.
    #[default]
    Embedded,
    /// Separate services.
    Kafka,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub adapter: Adapter,
    /// Put before every topic's name on Kafka.
    pub topic_prefix: String,
    pub embedded: Embedded,
    pub kafka: Kafka,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Embedded {
    /// Milliseconds between two syncs at least; 0 syncs as often as there is something to sync (0..=50).
    pub sync_every_ms: u64,
    /// Mebibytes per segment (1..=1024).
    pub segment_mib: u64,
    /// Days that events are kept (1..=3650).
    pub retention_days: u64,
    /// Gibibytes that the log may take (1..=65536).
    pub retention_gib: u64,
}

impl Default for Embedded {
    fn default() -> Self {
        Self { sync_every_ms: 0, segment_mib: 64, retention_days: 30, retention_gib: 20 }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kafka {
    /// `host:port,host:port`.
    pub bootstrap: String,
    /// Any setting of librdkafka (TLS, SASL, tuning), passed through to every client.
    pub extra: BTreeMap<String, String>,
}

impl Default for Kafka {
    fn default() -> Self {
        Self { bootstrap: "127.0.0.1:9092".to_owned(), extra: BTreeMap::new() }
    }
}

impl Config {
    /// What is wrong: setting, value, what is allowed. Empty when all is well.
    pub fn problems(&self) -> Vec<(&'static str, String, &'static str)> {
        let mut out = Vec::new();
        let mut range = |key, value: u64, low: u64, high: u64, allowed| {
            if !(low..=high).contains(&value) {
                out.push((key, value.to_string(), allowed));
            }
        };
        range("embedded.sync_every_ms", self.embedded.sync_every_ms, 0, 50, "0..=50");
        range("embedded.segment_mib", self.embedded.segment_mib, 1, 1024, "1..=1024");
        range("embedded.retention_days", self.embedded.retention_days, 1, 3650, "1..=3650");
        range("embedded.retention_gib", self.embedded.retention_gib, 1, 65536, "1..=65536");
        if self.adapter == Adapter::Kafka && self.kafka.bootstrap.trim().is_empty() {
            out.push(("kafka.bootstrap", self.kafka.bootstrap.clone(), "host:port,…"));
        }
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if self.topic_prefix.len() > 100 || !self.topic_prefix.chars().all(legal) {
            out.push(("topic_prefix", self.topic_prefix.clone(), "up to 100 of a-z A-Z 0-9 . _ -"));
        }
        out
    }

    /// Settings of the embedded log, which lives in `<data_dir>/stream`.
    pub fn embedded_in(&self, data_dir: &Path) -> EmbeddedConfig {
        EmbeddedConfig {
            sync_every: Duration::from_millis(self.embedded.sync_every_ms),
            segment_bytes: self.embedded.segment_mib << 20,
            keep: Keep::Age {
                age: Duration::from_secs(self.embedded.retention_days * 24 * 3600),
                bytes: self.embedded.retention_gib << 30,
            },
            ..EmbeddedConfig::new(data_dir.join("stream"))
        }
    }
}

/// The log that the settings name.
pub fn open(config: &Config, data_dir: &Path) -> Result<Arc<dyn EventLog>, LogError> {
    if let Some((key, value, allowed)) = config.problems().into_iter().next() {
        return Err(LogError::Config(format!("stream.{key} = {value:?} is not allowed: {allowed}")));
    }
    Ok(match config.adapter {
        Adapter::Embedded => EmbeddedLog::open(config.embedded_in(data_dir))?,
        Adapter::Kafka => Arc::new(KafkaLog::new(KafkaConfig {
            bootstrap: config.kafka.bootstrap.clone(),
            topic_prefix: config.topic_prefix.clone(),
            extra: config.kafka.extra.clone(),
        })?),
    })
}
