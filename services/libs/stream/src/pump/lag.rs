//! How far behind a pump is: pure. In events: from the first record that is not finished to the end of its partition. In seconds: the age
//! of the oldest record that is not finished.
//!
//! A record that was read tells its time itself. For a partition of which nothing was read yet (the pump waits, or is stuck) somebody has
//! to look ([`Account::looks`]); until the answer is there, the time since the partition was first seen behind stands in for it.

use std::collections::BTreeMap;

use schemas::TopicSpec;

use super::{Part, parking::Parking};
use crate::{Assigned, Lag, ledger::Ledger};

/// How far behind a consumer is in one topic.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicLag {
    pub topic: &'static TopicSpec,
    pub events: u64,
    /// Age of the oldest record that is not handled; 0 when there is none.
    pub oldest_us: u64,
}

#[derive(Debug, Default)]
pub struct Account {
    pub topics: Vec<TopicLag>,
    /// Partitions whose next record nobody has seen.
    pub looks: Vec<Assigned>,
}

/// What is known of a partition whose next record was not read.
#[derive(Debug, Clone, Copy)]
struct Unread {
    next: i64,
    first_seen_us: i64,
    /// The record's own time, once somebody looked.
    at_us: Option<i64>,
    measured: u32,
}

/// What is remembered from one measurement to the next.
#[derive(Debug, Default)]
pub struct Memory {
    unread: BTreeMap<Part, Unread>,
}

impl Memory {
    /// Somebody looked at the record at this place.
    pub fn seen(&mut self, part: Part, offset: i64, at_us: i64) {
        if let Some(unread) = self.unread.get_mut(&part).filter(|unread| unread.next <= offset) {
            unread.at_us = Some(at_us);
        }
    }

    pub fn account(&mut self, lag: &[Lag], ledger: &Ledger<Part>, parking: &Parking, now_us: i64) -> Account {
        let mut out = Account::default();
        for at in lag {
            let part = (at.topic.name, at.partition);
            let oldest = self.oldest(at, part, ledger, parking, now_us, &mut out.looks);
            let (events, age_us) = match oldest {
                Some((next, at_us)) => (at.end - next, now_us - at_us),
                None => (0, 0),
            };
            let (events, age_us) = (u64::try_from(events).unwrap_or(0), u64::try_from(age_us).unwrap_or(0));
            match out.topics.iter_mut().find(|t| t.topic == at.topic) {
                Some(topic) => {
                    topic.events += events;
                    topic.oldest_us = topic.oldest_us.max(age_us);
                }
                None => out.topics.push(TopicLag { topic: at.topic, events, oldest_us: age_us }),
            }
        }
        let ours = |part: &Part| lag.iter().any(|l| (l.topic.name, l.partition) == *part);
        self.unread.retain(|part, _| ours(part));
        out
    }

    /// Offset and time of the first record that is not finished.
    fn oldest(
        &mut self,
        at: &Lag,
        part: Part,
        ledger: &Ledger<Part>,
        parking: &Parking,
        now_us: i64,
        looks: &mut Vec<Assigned>,
    ) -> Option<(i64, i64)> {
        if let Some(taken) = ledger.oldest(part) {
            self.unread.remove(&part);
            return Some((taken.offset, taken.at_us));
        }
        if let Some(spot) = parking.get(part) {
            self.unread.remove(&part);
            return Some((spot.offset, spot.at_us));
        }
        if at.position >= at.end {
            self.unread.remove(&part);
            return None;
        }
        let fresh = Unread { next: at.position, first_seen_us: now_us, at_us: None, measured: 0 };
        let unread = self.unread.entry(part).or_insert(fresh);
        if unread.next != at.position {
            *unread = fresh;
        }
        unread.measured += 1;
        // A partition that moves needs no look: its records are read before the next measurement.
        if unread.at_us.is_none() && unread.measured > 1 {
            looks.push(Assigned { topic: at.topic, partition: at.partition, next_offset: Some(at.position) });
        }
        Some((at.position, unread.at_us.unwrap_or(unread.first_seen_us)))
    }
}

/// The first offset of a partition that is not finished.
pub fn unfinished(at: &Lag, ledger: &Ledger<Part>) -> i64 {
    ledger.oldest((at.topic.name, at.partition)).map_or(at.position, |taken| taken.offset)
}

#[cfg(test)]
mod tests {
    use schemas::{Event, NodeHealth, SipTransaction};

    use super::*;
    use crate::ledger::Taken;

    const NOW: i64 = 1_000_000_000;

    fn lag(partition: i32, position: i64, end: i64) -> Lag {
        Lag { topic: SipTransaction::TOPIC, partition, position, end }
    }

    fn part(partition: i32) -> Part {
        (SipTransaction::TOPIC.name, partition)
    }

    #[test]
    fn who_has_handled_everything_is_not_behind() {
        let mut memory = Memory::default();
        let account = memory.account(&[lag(0, 7, 7)], &Ledger::default(), &Parking::default(), NOW);
        assert_eq!((account.topics[0].events, account.topics[0].oldest_us), (0, 0));
        assert!(account.looks.is_empty());
    }

    #[test]
    fn what_was_read_and_not_finished_counts_with_its_own_age() {
        let mut ledger = Ledger::default();
        for offset in 3..6 {
            ledger.start(part(0), Taken { offset, at_us: NOW - 1000 + offset, bytes: 1 });
        }
        ledger.finish(part(0), 3);
        let other = Lag { topic: NodeHealth::TOPIC, partition: 0, position: 4, end: 4 };
        let account = Memory::default().account(&[lag(0, 6, 10), other], &ledger, &Parking::default(), NOW);
        assert_eq!((account.topics[0].events, account.topics[0].oldest_us), (6, 996));
        assert_eq!((account.topics[1].events, account.topics[1].oldest_us), (0, 0), "each topic for itself");
    }

    #[test]
    fn a_partition_of_which_nothing_was_read_is_looked_at_and_ages_meanwhile() {
        let (ledger, parking) = (Ledger::default(), Parking::default());
        let mut memory = Memory::default();
        let first = memory.account(&[lag(0, 2, 9)], &ledger, &parking, NOW);
        assert_eq!((first.topics[0].events, first.topics[0].oldest_us, first.looks.len()), (7, 0, 0));
        let second = memory.account(&[lag(0, 2, 9)], &ledger, &parking, NOW + 5);
        assert_eq!((second.topics[0].oldest_us, second.looks[0].next_offset), (5, Some(2)));
        memory.seen(part(0), 2, NOW - 600);
        let third = memory.account(&[lag(0, 2, 9)], &ledger, &parking, NOW + 10);
        assert_eq!((third.topics[0].oldest_us, third.looks.len()), (610, 0));
        let moved = memory.account(&[lag(0, 5, 9)], &ledger, &parking, NOW + 20);
        assert_eq!((moved.topics[0].oldest_us, moved.looks.len()), (0, 0));
    }
}
