//! Calls accepted and ended since a heartbeat.
//!
//! A heartbeat already counts the calls before it, so only steps after it are added, and each once: the sum is over a set, which
//! makes it deaf to order and copies. It may be below zero (more ended than began); whoever reads it is given zero then, never a
//! huge number.
//!
//! Memory is bounded twice: legs that are open (for their end names no node), and steps since one heartbeat.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// Steps on one node between two heartbeats; more are not counted until the next heartbeat counts them.
const MAX_STEPS: usize = 65_536;
/// A leg older than this has lost its end.
const LEG_AGE_US: i64 = 12 * 3600 * 1_000_000;

/// Steps on one node since its heartbeat.
#[derive(Debug, Default)]
pub struct Since {
    after_us: i64,
    steps: HashMap<(u64, bool), i64>,
    net: i64,
}

impl Since {
    pub fn note(&mut self, leg: u64, started: bool, at_us: i64) {
        if at_us <= self.after_us || self.steps.len() >= MAX_STEPS {
            return;
        }
        if let Entry::Vacant(free) = self.steps.entry((leg, started)) {
            free.insert(at_us);
            self.net += if started { 1 } else { -1 };
        }
    }

    /// A heartbeat counted everything up to `at_us`.
    pub fn counted(&mut self, at_us: i64) {
        self.after_us = self.after_us.max(at_us);
        self.steps.retain(|_, at| *at > self.after_us);
        self.net = self.steps.keys().map(|(_, started)| if *started { 1 } else { -1 }).sum();
    }

    #[must_use]
    pub fn net(&self) -> i32 {
        i32::try_from(self.net.max(0)).unwrap_or(i32::MAX)
    }
}

/// Which node an open leg is on.
#[derive(Debug)]
pub struct Legs {
    open: HashMap<u64, (Arc<str>, i64)>,
    max: usize,
    untracked: u64,
}

impl Legs {
    #[must_use]
    pub fn new(max: usize) -> Legs {
        Legs { open: HashMap::new(), max, untracked: 0 }
    }

    pub fn started(&mut self, leg: u64, node: &Arc<str>, at_us: i64) {
        if self.open.len() < self.max || self.open.contains_key(&leg) {
            self.open.insert(leg, (Arc::clone(node), at_us));
        } else {
            self.untracked += 1;
        }
    }

    pub fn ended(&mut self, leg: u64) -> Option<Arc<str>> {
        self.open.remove(&leg).map(|(node, _)| node)
    }

    pub fn sweep(&mut self, now_us: i64) {
        self.open.retain(|_, (_, at)| now_us.saturating_sub(*at) < LEG_AGE_US);
    }

    /// Open legs, and legs whose end will not be noticed because the table was full.
    #[must_use]
    pub fn size(&self) -> (usize, u64) {
        (self.open.len(), self.untracked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_steps_after_the_heartbeat_count_and_each_once() {
        let mut since = Since::default();
        since.counted(100);
        for _ in 0..3 {
            since.note(1, true, 101);
            since.note(2, true, 102);
            since.note(3, true, 99);
        }
        assert_eq!(since.net(), 2);
        since.note(1, false, 103);
        assert_eq!(since.net(), 1);
        since.counted(102);
        assert_eq!(since.net(), 0, "one end is left, which is no call");
        since.note(4, true, 104);
        assert_eq!(since.net(), 0);
        since.counted(50);
        since.note(5, true, 60);
        assert_eq!(since.net(), 0, "an older heartbeat takes nothing back");
    }

    #[test]
    fn the_table_of_legs_is_bounded_and_forgets_lost_ends() {
        let (mut legs, node) = (Legs::new(10), Arc::from("fs1"));
        for leg in 0..15 {
            legs.started(leg, &node, 0);
        }
        assert_eq!(legs.size(), (10, 5));
        assert_eq!(legs.ended(3).as_deref(), Some("fs1"));
        assert_eq!(legs.ended(3), None);
        legs.sweep(LEG_AGE_US + 1);
        assert_eq!(legs.size().0, 0);
    }

    proptest! {
        #[test]
        fn order_and_copies_change_nothing(
            steps in proptest::collection::vec((0_u64..20, any::<bool>()), 0..200),
            beats in proptest::collection::vec(0_i64..40, 0..4),
            seed in any::<u64>(),
        ) {
            // A step of a leg happens at one time, however often it is delivered.
            let at = |leg: u64, started: bool| i64::try_from(leg).unwrap() * 2 + i64::from(!started);
            let mut shuffled = steps.clone();
            shuffled.extend(steps.iter().copied());
            let key = |n: usize| (n as u64 + 1).wrapping_mul(seed | 1).rotate_left(17);
            let mut order: Vec<usize> = (0..shuffled.len()).collect();
            order.sort_by_key(|n| key(*n));
            let run = |steps: &mut dyn Iterator<Item = (u64, bool)>| {
                let mut since = Since::default();
                for (leg, started) in steps {
                    since.note(leg, started, at(leg, started));
                }
                for beat in &beats {
                    since.counted(*beat);
                }
                since.net()
            };
            let straight = run(&mut steps.iter().copied());
            let mixed = run(&mut order.iter().map(|n| shuffled[*n]));
            prop_assert!(straight >= 0);
            prop_assert_eq!(straight, mixed);
        }
    }
}
