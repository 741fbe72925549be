//! A door for values that are encoded already: what `publish` does beyond encoding, alone, so that it can be measured. Benchmarks only: the
//! value's envelope is whatever the caller put there, so such records count for nobody's account.

use std::sync::atomic::Ordering;

use domain::partition;
use schemas::TopicSpec;

use super::{Published, Publisher};
use crate::{Reason, header, ring};

impl Publisher {
    #[doc(hidden)]
    pub fn publish_encoded(
        &self,
        topic: &'static TopicSpec,
        key: &str,
        event_type: &str,
        traceparent: &str,
        value: &[u8],
    ) -> Published {
        let shared = &*self.shared;
        let partition = partition::for_key(key.as_bytes(), topic.partitions);
        let now = shared.config.clock.now();
        let Some(lines) = shared.lines(topic) else {
            shared.count_loss(topic.class, Reason::Unfit, 1);
            return Published { partition, seq: -1 };
        };
        let line = &lines[partition as usize];
        let mut next = line.next.lock();
        let seq = *next;
        shared.counters.accepted.fetch_add(1, Ordering::Relaxed);
        let meta = ring::Meta {
            line: line.ring,
            class: topic.class,
            seq: Some(seq),
            timestamp_us: now.wall_us,
            accepted_us: now.mono_us,
        };
        let headers = [(header::EVENT_TYPE, event_type.as_bytes()), (header::TRACEPARENT, traceparent.as_bytes())];
        if let Some(reason) = shared.put(&meta, topic, key.as_bytes(), Some(value), &headers) {
            shared.lost(line.ring, topic.class, reason, seq, now.mono_us);
        }
        *next = seq + 1;
        shared.epoch.ring.set_next(line.ring, seq + 1);
        Published { partition, seq }
    }
}
