//! The events of every measurement: values of 600 bytes that are encoded already, 240 of them random, with our three headers. The bare
//! loops get the same bytes.

use std::sync::Arc;

use bytes::Bytes;
use schemas::{Event, SipTransaction, TopicSpec};
use stream::{Outgoing, header};

use crate::clock::wall_us;

pub const VALUE_BYTES: usize = 600;
const RANDOM_BYTES: usize = 240;
pub const EVENT_TYPE: &str = "attempt";
pub const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// The busiest topic, with 12 partitions.
pub fn topic() -> &'static TopicSpec {
    SipTransaction::TOPIC
}

/// Xorshift: quick, and the same bytes in every run.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From `low` up to `high`, that one not included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low).max(1)
    }
}

pub fn some(count: usize) -> Vec<Outgoing> {
    let mut random = Random::new(count as u64);
    (0..count).map(|_| one(&mut random)).collect()
}

pub fn batches(events: usize, batch: usize) -> Vec<Arc<Vec<Outgoing>>> {
    let mut random = Random::new(events as u64);
    (0..events / batch).map(|_| Arc::new((0..batch).map(|_| one(&mut random)).collect())).collect()
}

fn one(random: &mut Random) -> Outgoing {
    let mut value = vec![b'x'; VALUE_BYTES];
    value[..RANDOM_BYTES].chunks_mut(8).for_each(|c| c.copy_from_slice(&random.next().to_le_bytes()));
    // As a frame of this topic begins, so that nothing on the way has a reason to look twice.
    value[0] = 0;
    value[1..5].copy_from_slice(&topic().schema_id.to_be_bytes());
    let key = Bytes::from(format!("018f{:016x}-0000-7000-8000", random.next()));
    Outgoing {
        topic: topic(),
        partition: domain::partition::for_key(&key, topic().partitions),
        timestamp_us: wall_us(),
        key,
        value: Some(value.into()),
        headers: vec![
            (header::CONTENT_TYPE.into(), Bytes::from_static(header::AVRO.as_bytes())),
            (header::EVENT_TYPE.into(), Bytes::from_static(EVENT_TYPE.as_bytes())),
            (header::TRACEPARENT.into(), Bytes::from_static(TRACEPARENT.as_bytes())),
        ],
    }
}
