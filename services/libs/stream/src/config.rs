//! The `[stream]` section of the settings, and the one place that turns it into a log.

use std::{path::Path, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    EmbeddedConfig, EmbeddedLog, EventLog, Extra, KafkaConfig, KafkaLog, Keep, LogError, SpoolConfig,
    adapters::kafka::{Resolved, resolve, weaker},
};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Adapter {
    /// One machine, one process that writes.
    #[default]
    Embedded,
    /// Separate services.
    Kafka,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub adapter: Adapter,
    /// Put before every topic's name on Kafka.
    pub topic_prefix: String,
    /// Mebibytes of the ring of a process with one service; where all services share a process, each has a quarter (4..=1024).
    pub ring_mib: u64,
    /// Milliseconds that an event waits in the ring for others, which share its way and its sync (1..=100).
    pub linger_ms: u64,
    pub spool: Spool,
    pub embedded: Embedded,
    pub kafka: Kafka,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            adapter: Adapter::default(),
            topic_prefix: String::new(),
            ring_mib: 16,
            linger_ms: 25,
            spool: Spool::default(),
            embedded: Embedded::default(),
            kafka: Kafka::default(),
        }
    }
}

/// What waits on the disk for Kafka.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spool {
    /// Gibibytes per service; when they are full, events are shed, the life of calls last (1..=65536).
    pub max_gib: u64,
}

impl Default for Spool {
    fn default() -> Self {
        Self { max_gib: 20 }
    }
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
    /// One service may run by itself on this log, though no other can meet it there: for trials and benchmarks.
    pub alone: bool,
}

impl Default for Embedded {
    fn default() -> Self {
        Self { sync_every_ms: 0, segment_mib: 64, retention_days: 30, retention_gib: 20, alone: false }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kafka {
    /// `host:port,host:port`.
    pub bootstrap: String,
    /// A file that holds the password of SASL, readable by this user alone; as `"sasl.password" = "file:…"` in `extra`.
    pub sasl_password_file: String,
    /// Any setting of librdkafka (TLS, SASL, tuning), passed through to every client. A value `file:/path` is read from that file.
    pub extra: Extra,
}

impl Default for Kafka {
    fn default() -> Self {
        Self { bootstrap: "127.0.0.1:9092".to_owned(), sasl_password_file: String::new(), extra: Extra::default() }
    }
}

impl Kafka {
    /// `extra` with the files' contents in place, tried on librdkafka one by one.
    fn resolved(&self) -> Resolved {
        let mut extra = self.extra.0.clone();
        if !self.sasl_password_file.is_empty() {
            extra.insert("sasl.password".to_owned(), format!("file:{}", self.sasl_password_file));
        }
        resolve(&extra)
    }
}

impl Config {
    /// What is wrong: setting, value, what is allowed. Empty when all is well.
    pub fn problems(&self) -> Vec<(String, String, String)> {
        let mut out = Vec::new();
        let mut range = |key: &str, value: u64, low: u64, high: u64, allowed: &str| {
            if !(low..=high).contains(&value) {
                out.push((key.to_owned(), value.to_string(), allowed.to_owned()));
            }
        };
        range("ring_mib", self.ring_mib, 4, 1024, "4..=1024");
        range("linger_ms", self.linger_ms, 1, 100, "1..=100");
        range("spool.max_gib", self.spool.max_gib, 1, 65536, "1..=65536");
        range("embedded.sync_every_ms", self.embedded.sync_every_ms, 0, 50, "0..=50");
        range("embedded.segment_mib", self.embedded.segment_mib, 1, 1024, "1..=1024");
        range("embedded.retention_days", self.embedded.retention_days, 1, 3650, "1..=3650");
        range("embedded.retention_gib", self.embedded.retention_gib, 1, 65536, "1..=65536");
        if self.adapter == Adapter::Kafka && self.kafka.bootstrap.trim().is_empty() {
            out.push(("kafka.bootstrap".to_owned(), self.kafka.bootstrap.clone(), "host:port,…".to_owned()));
        }
        if self.adapter == Adapter::Kafka {
            let by_file = !self.kafka.sasl_password_file.is_empty();
            if by_file && self.kafka.extra.contains_key("sasl.password") {
                let allowed = "give the password once: here, or as sasl.password in stream.kafka.extra";
                out.push((
                    "kafka.sasl_password_file".to_owned(),
                    self.kafka.sasl_password_file.clone(),
                    allowed.to_owned(),
                ));
            }
            for wrong in self.kafka.resolved().problems {
                let key = match &*wrong.key {
                    "sasl.password" if by_file => "kafka.sasl_password_file".to_owned(),
                    key => format!("kafka.extra.{key}"),
                };
                out.push((key, wrong.value, wrong.allowed));
            }
        }
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if self.topic_prefix.len() > 100 || !self.topic_prefix.chars().all(legal) {
            let allowed = "up to 100 of a-z A-Z 0-9 . _ -";
            out.push(("topic_prefix".to_owned(), self.topic_prefix.clone(), allowed.to_owned()));
        }
        out
    }

    /// The ring of one service; `alone`: it has the process to itself.
    pub fn ring_bytes(&self, alone: bool) -> usize {
        let mib = if alone { self.ring_mib } else { (self.ring_mib / 4).max(4) };
        usize::try_from(mib << 20).unwrap_or(usize::MAX)
    }

    /// The spool of one service, in its own data folder. The embedded log needs none.
    pub fn spool_in(&self, data_dir: &Path) -> Option<SpoolConfig> {
        let config = SpoolConfig { max_bytes: self.spool.max_gib << 30, ..SpoolConfig::new(data_dir.join("spool")) };
        (self.adapter == Adapter::Kafka).then_some(config)
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
        Adapter::Kafka => Arc::new(KafkaLog::new(kafka_config(config))?),
    })
}

fn kafka_config(config: &Config) -> KafkaConfig {
    let resolved = config.kafka.resolved();
    for warning in &resolved.warnings {
        tracing::warn!("{warning}");
    }
    for (key, value, wanted, why) in weaker(&resolved.settings) {
        tracing::warn!(key, value, wanted, "stream.kafka.extra takes a promise away: {why}");
    }
    KafkaConfig {
        bootstrap: config.kafka.bootstrap.clone(),
        topic_prefix: config.topic_prefix.clone(),
        extra: resolved.settings,
        ..KafkaConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kafka(extra: &[(&str, &str)], file: &str) -> Config {
        let extra = extra.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Config {
            adapter: Adapter::Kafka,
            kafka: Kafka { extra, sasl_password_file: file.to_owned(), ..Kafka::default() },
            ..Config::default()
        }
    }

    #[test]
    fn wrong_settings_of_the_broker_are_named_before_anything_starts() {
        let config = kafka(&[("sasl.mechansim", "PLAIN"), ("ssl.key.password", "file:/no/such/file")], "/no/password");
        let keys: Vec<String> = config.problems().into_iter().map(|(key, ..)| key).collect();
        assert_eq!(keys, ["kafka.extra.sasl.mechansim", "kafka.sasl_password_file", "kafka.extra.ssl.key.password"]);
        let embedded = Config { adapter: Adapter::Embedded, ..config };
        assert_eq!(embedded.problems(), []);
    }

    #[test]
    fn a_password_in_a_file_reaches_librdkafka_and_is_never_printed() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("password");
        std::fs::write(&file, "hunter2\n").expect("written");
        let config = kafka(&[("sasl.mechanism", "PLAIN"), ("security.protocol", "SASL_SSL")], &file.to_string_lossy());
        assert_eq!(config.problems(), []);
        let resolved = kafka_config(&config);
        assert_eq!(resolved.extra.get("sasl.password").map(String::as_str), Some("hunter2"));
        let printed = format!("{config:?} {resolved:?} {}", serde_json::to_string(&config).expect("prints"));
        assert!(!printed.contains("hunter2"), "{printed}");
    }

    /// No broker is needed for this: librdkafka refuses a set of settings that cannot work together when the client is made.
    #[test]
    fn settings_that_do_not_go_together_are_refused_with_librdkafkas_own_words() {
        let config = kafka(&[("security.protocol", "SASL_SSL"), ("sasl.mechanism", "PLAIN")], "");
        let error = open(&config, Path::new("/")).err().expect("refused").to_string();
        assert!(error.contains("sasl.username") && error.contains("stream.kafka.extra"), "{error}");
        let config = kafka(&[("security.protocol", "SSL"), ("ssl.ca.location", "/no/ca.pem")], "");
        let error = open(&config, Path::new("/")).err().expect("refused").to_string();
        assert!(error.contains("ssl.ca.location"), "{error}");
    }
}
