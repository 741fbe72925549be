//! Errors of the port. `Clone`, because one failed commit of the disk answers several appends.

use std::io;

#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// Another process (or another handle here) writes this log.
    #[error("{dir} is open for writing by {owner}")]
    Locked { dir: String, owner: String },

    /// Disk trouble. May pass: disk full, read-only, slow. Nothing of the failed append is visible to readers.
    #[error("{what}: {message}")]
    Io { what: String, kind: io::ErrorKind, message: String },

    /// The log holds this topic with another number of partitions; keys would land elsewhere.
    #[error("topic {topic} has {found} partitions in the log, its schema says {wanted}")]
    Partitions { topic: String, found: i32, wanted: i32 },

    #[error("topic {topic} has no partition {partition}")]
    NoPartition { topic: String, partition: i32 },

    #[error("topic {topic} does not exist")]
    NoTopic { topic: String },

    #[error("a record of {bytes} bytes for {topic} is over the limit of {limit}")]
    TooLarge { topic: String, bytes: usize, limit: usize },

    #[error("the log is open read-only")]
    ReadOnly,

    #[error("the log is closed")]
    Closed,

    /// A newer member of the group reads instead of this one.
    #[error("group {group} was taken over by a newer reader")]
    Fenced { group: String },

    /// The broker or the way to it; retried.
    #[error("kafka: {what}: {message}")]
    Kafka { what: String, message: String, fatal: bool },

    /// A setting that cannot work.
    #[error("{0}")]
    Config(String),
}

impl LogError {
    pub(crate) fn io(what: impl Into<String>, error: &io::Error) -> Self {
        Self::Io { what: what.into(), kind: error.kind(), message: error.to_string() }
    }

    /// True when trying the same thing again cannot help: the record or the setting is at fault, not the weather.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Io { .. } => false,
            Self::Kafka { fatal, .. } => *fatal,
            Self::Locked { .. } => false,
            Self::Partitions { .. }
            | Self::NoPartition { .. }
            | Self::NoTopic { .. }
            | Self::TooLarge { .. }
            | Self::ReadOnly
            | Self::Closed
            | Self::Fenced { .. }
            | Self::Config(_) => true,
        }
    }
}
