//! What waits to be sent: pure. One queue per class, merged by arrival when taken, so that the order of every partition stays; what
//! must go is taken from the class that matters least, oldest first.
//!
//! Invariant: `bytes` is the sum over everything queued and everything that was taken and not yet `done`.

use std::collections::VecDeque;

use schemas::Class;

use crate::Outgoing;

/// From the first to be shed to the last (DESIGN §6): metrics, health, media detail, then control, and last the life of calls.
pub const SHED_ORDER: [Class; 5] = [Class::Metrics, Class::Health, Class::Detail, Class::Control, Class::Life];

/// Place of a class in [`SHED_ORDER`], which is also its place in every per-class array.
pub fn rank(class: Class) -> usize {
    SHED_ORDER.iter().position(|c| *c == class).unwrap_or(SHED_ORDER.len() - 1)
}

pub struct Item {
    /// Count of arrivals; everything that arrived before has a smaller one.
    pub arrival: u64,
    pub accepted_us: u64,
    pub class: Class,
    /// Sequence number; `None` for a tombstone, which is no event.
    pub seq: Option<i64>,
    pub size: usize,
    pub record: Outgoing,
}

pub struct Queue {
    classes: [VecDeque<Item>; 5],
    class_bytes: [usize; 5],
    limit: usize,
    bytes: usize,
    arrivals: u64,
    events: usize,
}

/// What happened to a pushed item.
pub enum Pushed {
    Queued,
    /// Queued, and these went for it.
    Evicted(Vec<Item>),
    /// No room, and nothing that matters less: the item itself goes.
    Refused(Item),
}

impl Queue {
    pub fn new(limit: usize) -> Self {
        Self {
            classes: std::array::from_fn(|_| VecDeque::new()),
            class_bytes: [0; 5],
            limit,
            bytes: 0,
            arrivals: 0,
            events: 0,
        }
    }

    pub fn push(&mut self, mut item: Item) -> Pushed {
        item.arrival = self.arrivals;
        self.arrivals += 1;
        let own = rank(item.class);
        let mut evicted = Vec::new();
        if self.bytes + item.size > self.limit {
            let reachable: usize = self.class_bytes[..own].iter().sum();
            if self.bytes + item.size > self.limit + reachable {
                return Pushed::Refused(item);
            }
            for (class, class_bytes) in self.classes.iter_mut().zip(&mut self.class_bytes).take(own) {
                while self.bytes + item.size > self.limit {
                    let Some(victim) = class.pop_front() else { break };
                    self.bytes -= victim.size;
                    *class_bytes -= victim.size;
                    self.events -= 1;
                    evicted.push(victim);
                }
            }
        }
        self.bytes += item.size;
        self.class_bytes[own] += item.size;
        self.events += 1;
        self.classes[own].push_back(item);
        if evicted.is_empty() { Pushed::Queued } else { Pushed::Evicted(evicted) }
    }

    /// The oldest items, at least one if there is one, up to a number and a size. Their bytes stay counted until `done`.
    pub fn take(&mut self, max_events: usize, max_bytes: usize, into: &mut Vec<Item>) {
        let mut bytes = 0;
        while into.len() < max_events && (bytes < max_bytes || into.is_empty()) {
            let oldest = self
                .classes
                .iter_mut()
                .filter(|c| !c.is_empty())
                .min_by_key(|c| c.front().map_or(u64::MAX, |i| i.arrival));
            let Some(item) = oldest.and_then(VecDeque::pop_front) else { return };
            bytes += item.size;
            self.class_bytes[rank(item.class)] -= item.size;
            self.events -= 1;
            into.push(item);
        }
    }

    pub fn done(&mut self, bytes: usize) {
        self.bytes -= bytes;
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn events(&self) -> usize {
        self.events
    }

    pub fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// Arrivals so far: everything that waits now has a smaller number.
    pub fn arrivals(&self) -> u64 {
        self.arrivals
    }

    /// Smallest arrival that still waits.
    pub fn oldest(&self) -> Option<&Item> {
        self.classes.iter().filter_map(VecDeque::front).min_by_key(|i| i.arrival)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Item> {
        self.classes.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn item(class: Class, seq: i64, size: usize) -> Item {
        let topic = schemas::all_topics()[0];
        let record =
            Outgoing { topic, partition: 0, timestamp_us: 0, key: Bytes::new(), value: None, headers: Vec::new() };
        Item { arrival: 0, accepted_us: 0, class, seq: Some(seq), size, record }
    }

    #[test]
    fn what_matters_least_goes_first_and_its_oldest_before_its_newest() {
        let mut queue = Queue::new(300);
        assert!(matches!(queue.push(item(Class::Health, 0, 100)), Pushed::Queued));
        assert!(matches!(queue.push(item(Class::Metrics, 1, 100)), Pushed::Queued));
        assert!(matches!(queue.push(item(Class::Metrics, 2, 100)), Pushed::Queued));
        let Pushed::Evicted(gone) = queue.push(item(Class::Life, 3, 250)) else { panic!("must make room") };
        assert_eq!(gone.iter().map(|i| i.seq).collect::<Vec<_>>(), [Some(1), Some(2), Some(0)]);
    }

    #[test]
    fn nothing_is_evicted_for_an_item_that_does_not_fit_anyway() {
        let mut queue = Queue::new(300);
        queue.push(item(Class::Life, 0, 200));
        queue.push(item(Class::Metrics, 1, 100));
        assert!(matches!(queue.push(item(Class::Life, 2, 201)), Pushed::Refused(_)));
        assert_eq!(queue.events(), 2);
    }

    proptest! {
        #[test]
        fn arrival_order_is_kept_and_every_byte_is_accounted_for(
            steps in proptest::collection::vec((0_usize..5, 1_usize..120, 0_usize..4), 1..200)
        ) {
            let mut queue = Queue::new(1000);
            let (mut pushed, mut shed, mut taken) = (0, 0, Vec::new());
            for (seq, (class, size, take)) in steps.into_iter().enumerate() {
                pushed += 1;
                match queue.push(item(SHED_ORDER[class], seq as i64, size)) {
                    Pushed::Queued => {}
                    Pushed::Refused(_) => shed += 1,
                    Pushed::Evicted(gone) => shed += gone.len(),
                }
                let before = taken.len();
                let mut batch = Vec::new();
                queue.take(take, 500, &mut batch);
                taken.append(&mut batch);
                let bytes = taken[before..].iter().map(|i| i.size).sum();
                queue.done(bytes);
                prop_assert!(queue.bytes() <= 1000);
                prop_assert_eq!(queue.bytes(), queue.iter().map(|i| i.size).sum::<usize>());
            }
            prop_assert!(taken.is_sorted_by_key(|i| i.arrival));
            prop_assert_eq!(pushed, shed + taken.len() + queue.events());
        }
    }
}
