//! What travels through a log.
//!
//! `key`, `value` and header values of a read [`Record`] are slices of the block they were read in. They are cheap to clone and keep
//! that block (up to 1 MiB) in memory: a consumer that keeps a key for long copies it.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use schemas::TopicSpec;

/// Header names are few and known, so the usual ones cost no allocation (see [`header`]).
pub type Headers = Vec<(Cow<'static, str>, Bytes)>;

/// Names and values of the headers that the publisher writes.
pub mod header {
    pub const CONTENT_TYPE: &str = "content-type";
    pub const EVENT_TYPE: &str = "event-type";
    pub const TRACEPARENT: &str = "traceparent";
    /// Confluent framing (magic byte, schema id) around one Avro datum.
    pub const AVRO: &str = "application/vnd.apache.avro";

    /// A name without allocation when it is one of ours.
    pub(crate) fn name(raw: &str) -> std::borrow::Cow<'static, str> {
        match raw {
            CONTENT_TYPE => CONTENT_TYPE.into(),
            EVENT_TYPE => EVENT_TYPE.into(),
            TRACEPARENT => TRACEPARENT.into(),
            other => other.to_owned().into(),
        }
    }
}

/// A record as a consumer sees it. `value` is `None` for a tombstone.
#[derive(Debug, Clone)]
pub struct Record {
    pub topic: &'static TopicSpec,
    pub partition: i32,
    pub offset: i64,
    /// UTC microseconds. Kafka keeps milliseconds; the exact times are in the envelope.
    pub timestamp_us: i64,
    pub key: Bytes,
    pub value: Option<Bytes>,
    pub headers: Headers,
}

impl Record {
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_ref())
    }

    /// Approximate memory, for byte budgets.
    pub fn size_bytes(&self) -> usize {
        size_bytes(&self.key, self.value.as_ref(), &self.headers)
    }

    /// The same record, ready to be appended again (the log gives a new offset).
    pub fn to_outgoing(&self) -> Outgoing {
        Outgoing {
            topic: self.topic,
            partition: self.partition,
            timestamp_us: self.timestamp_us,
            key: self.key.clone(),
            value: self.value.clone(),
            headers: self.headers.clone(),
        }
    }
}

/// A record on its way in. The partition is chosen by the sender (murmur2 of the key, see `domain::partition`).
#[derive(Debug, Clone)]
pub struct Outgoing {
    pub topic: &'static TopicSpec,
    pub partition: i32,
    pub timestamp_us: i64,
    pub key: Bytes,
    pub value: Option<Bytes>,
    pub headers: Headers,
}

impl Outgoing {
    pub fn size_bytes(&self) -> usize {
        size_bytes(&self.key, self.value.as_ref(), &self.headers)
    }
}

fn size_bytes(key: &Bytes, value: Option<&Bytes>, headers: &Headers) -> usize {
    64 + key.len() + value.map_or(0, Bytes::len) + headers.iter().map(|(n, v)| n.len() + v.len() + 8).sum::<usize>()
}

/// Offsets that exist now: `begin <= offset < end`. A partition's first offset ever is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub begin: i64,
    pub end: i64,
}

/// Where a group without a commit begins, or a reader without a group starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the committed offset, else at the beginning.
    Committed,
    Beginning,
    /// Only what is appended from now on.
    End,
}

#[derive(Debug, Clone)]
pub struct Subscription {
    /// Consumer group; `None` reads every partition and commits nothing.
    pub group: Option<String>,
    pub topics: Vec<&'static TopicSpec>,
    pub start: Start,
}

/// A partition that a reader takes by hand. `next_offset`: where it begins; `None` = with the first record that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assigned {
    pub topic: &'static TopicSpec,
    pub partition: i32,
    pub next_offset: Option<i64>,
}

/// What a reader may hand out at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub events: usize,
    pub bytes: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self { events: 1000, bytes: 4 << 20 }
    }
}

/// The partitions of a reader, each with the number of the assignment that gave it. A partition that went and came back has a new
/// number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// Grows with every change.
    pub epoch: u64,
    pub parts: Arc<BTreeMap<(&'static str, i32), u64>>,
}

/// "Everything below `next_offset` is done."
#[derive(Debug, Clone, Copy)]
pub struct Commit {
    pub topic: &'static TopicSpec,
    pub partition: i32,
    pub next_offset: i64,
}

/// Where a reader stands in one partition.
#[derive(Debug, Clone, Copy)]
pub struct Lag {
    pub topic: &'static TopicSpec,
    pub partition: i32,
    /// The next offset that the reader will be given.
    pub position: i64,
    pub end: i64,
}

impl Lag {
    pub fn events(&self) -> u64 {
        u64::try_from(self.end - self.position).unwrap_or(0)
    }
}
