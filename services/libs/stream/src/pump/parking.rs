//! Partitions that wait for a schema: pure. A record whose schema nobody here knows is no poison: a newer build wrote it. It is looked up
//! in `stream.schemas`, again and again with growing pauses; its partition waits at it and the others go on.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::Part;
use crate::{Assigned, Record};

const LOOK_MIN: Duration = Duration::from_millis(100);
const LOOK_MAX: Duration = Duration::from_secs(15);

/// Where a partition waits.
#[derive(Debug, Clone)]
pub struct Spot {
    pub at: Assigned,
    pub offset: i64,
    /// The waiting record's own time.
    pub at_us: i64,
    pub schema_id: u32,
    /// When it began to wait.
    pub since_us: i64,
}

#[derive(Debug, Clone, Copy)]
struct Search {
    next: Instant,
    pause: Duration,
}

#[derive(Default)]
pub struct Parking {
    spots: BTreeMap<Part, Spot>,
    searches: BTreeMap<u32, Search>,
}

impl Parking {
    pub fn has(&self, part: Part) -> bool {
        self.spots.contains_key(&part)
    }

    pub fn get(&self, part: Part) -> Option<&Spot> {
        self.spots.get(&part)
    }

    pub fn spots(&self) -> impl Iterator<Item = &Spot> {
        self.spots.values()
    }

    /// The record's partition waits from now on.
    pub fn park(&mut self, record: &Record, schema_id: u32, now: Instant, now_us: i64) -> Assigned {
        let at = Assigned { topic: record.topic, partition: record.partition, next_offset: Some(record.offset) };
        let spot = Spot { at, offset: record.offset, at_us: record.timestamp_us, schema_id, since_us: now_us };
        self.spots.insert((record.topic.name, record.partition), spot);
        self.searches.entry(schema_id).or_insert(Search { next: now, pause: LOOK_MIN });
        at
    }

    /// The schema id to look up now.
    pub fn due(&self, now: Instant) -> Option<u32> {
        self.searches.iter().find(|(_, search)| search.next <= now).map(|(id, _)| *id)
    }

    pub fn not_found(&mut self, schema_id: u32, now: Instant) {
        if let Some(search) = self.searches.get_mut(&schema_id) {
            search.next = now + search.pause;
            search.pause = (search.pause * 2).min(LOOK_MAX);
        }
    }

    /// The partitions that waited for it.
    pub fn found(&mut self, schema_id: u32) -> Vec<Assigned> {
        self.searches.remove(&schema_id);
        let parts: Vec<Assigned> = self.spots.values().filter(|s| s.schema_id == schema_id).map(|s| s.at).collect();
        self.spots.retain(|_, spot| spot.schema_id != schema_id);
        parts
    }

    pub fn forget(&mut self, ours: impl Fn(Part) -> bool) {
        self.spots.retain(|part, _| ours(*part));
        let spots = &self.spots;
        self.searches.retain(|id, _| spots.values().any(|spot| spot.schema_id == *id));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use schemas::{Event, SipTransaction};

    use super::*;

    fn record(partition: i32, offset: i64) -> Record {
        Record {
            topic: SipTransaction::TOPIC,
            partition,
            offset,
            timestamp_us: 1,
            key: Bytes::new(),
            value: None,
            headers: Vec::new(),
        }
    }

    #[test]
    fn a_schema_is_looked_up_at_once_and_then_with_growing_pauses() {
        let start = Instant::now();
        let mut parking = Parking::default();
        parking.park(&record(1, 5), 77, start, 0);
        assert_eq!(parking.due(start), Some(77));
        parking.not_found(77, start);
        assert_eq!(parking.due(start), None);
        assert_eq!(parking.due(start + LOOK_MIN), Some(77));
        for _ in 0..20 {
            parking.not_found(77, start);
        }
        assert_eq!(parking.due(start + LOOK_MAX - Duration::from_millis(1)), None);
        assert_eq!(parking.due(start + LOOK_MAX), Some(77));
    }

    #[test]
    fn a_found_schema_opens_every_partition_that_waited_for_it_and_no_other() {
        let start = Instant::now();
        let mut parking = Parking::default();
        parking.park(&record(1, 5), 77, start, 0);
        parking.park(&record(2, 9), 77, start, 0);
        parking.park(&record(3, 9), 78, start, 0);
        let parts = parking.found(77);
        assert_eq!(
            parts.iter().map(|p| (p.partition, p.next_offset)).collect::<Vec<_>>(),
            [(1, Some(5)), (2, Some(9))]
        );
        assert!(!parking.has((SipTransaction::TOPIC.name, 1)) && parking.has((SipTransaction::TOPIC.name, 3)));
        parking.forget(|_| false);
        assert_eq!(parking.due(start + LOOK_MAX), None, "nobody waits for it any more");
    }
}
