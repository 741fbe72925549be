//! The last decisions, between the thread that makes them and those who ask.
//!
//! The thread of the shard never waits: it tries the lock, and while a reader has it keeps its records in a scratch of its own until
//! the next one. The scratch is bounded; what does not fit into it is counted. No allocation per call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use schemas::SipTransaction;

use crate::core::telling::decisions::{Ring, write};

/// What may wait while a reader walks the ring: a second of a busy edge.
const WAITING: usize = 512 * 1024;

/// For readers.
#[derive(Clone)]
pub struct Decisions {
    ring: Arc<Mutex<Ring>>,
    missed: Arc<AtomicU64>,
}

/// For the thread of the shard.
pub struct Notes {
    shared: Decisions,
    record: Vec<u8>,
    /// Records with their length before them.
    waiting: Vec<u8>,
}

impl Decisions {
    #[must_use]
    pub fn new(most: usize) -> Decisions {
        Decisions { ring: Arc::new(Mutex::new(Ring::new(most))), missed: Arc::default() }
    }

    #[must_use]
    pub fn notes(&self) -> Notes {
        Notes { shared: self.clone(), record: Vec::with_capacity(4_096), waiting: Vec::new() }
    }

    /// Reads the ring. Takes milliseconds: not for a thread that carries calls.
    pub fn read<T>(&self, look: impl FnOnce(&Ring) -> T) -> T {
        look(&self.ring.lock())
    }

    /// Decisions that are not in the ring because a reader held it for too long.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

impl Notes {
    /// What an event says about a decision, if it does.
    pub fn note(&mut self, event: &SipTransaction) {
        write(event, &mut self.record);
        if self.record.is_empty() {
            return;
        }
        let Some(mut ring) = self.shared.ring.try_lock() else {
            if self.waiting.len() + self.record.len() + 2 > WAITING {
                self.shared.missed.fetch_add(1, Ordering::Relaxed);
            } else {
                self.waiting.extend_from_slice(&(self.record.len() as u16).to_be_bytes());
                self.waiting.extend_from_slice(&self.record);
            }
            return;
        };
        let mut rest = self.waiting.as_slice();
        while let Some((length, after)) = rest.split_first_chunk::<2>() {
            let (record, after) = after.split_at(usize::from(u16::from_be_bytes(*length)).min(after.len()));
            ring.push(record);
            rest = after;
        }
        self.waiting.clear();
        ring.push(&self.record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::telling::decisions::head;

    fn event(n: i64) -> SipTransaction {
        SipTransaction { event_type: "attempt".into(), occurred_us: n, ..SipTransaction::default() }
    }

    #[test]
    fn a_reader_holds_up_nobody_and_nothing_is_lost_or_turned_round() {
        let decisions = Decisions::new(1_000);
        let mut notes = decisions.notes();
        notes.note(&event(1));
        decisions.read(|ring| {
            (2..500).for_each(|n| notes.note(&event(n)));
            assert_eq!(ring.records().count(), 1);
        });
        notes.note(&event(500));
        let times: Vec<i64> = decisions.read(|ring| ring.records().filter_map(head).map(|h| h.occurred_us).collect());
        assert_eq!(times, (1..=500).collect::<Vec<_>>());
        assert_eq!(decisions.missed(), 0);
        decisions.read(|_| (0..20_000).for_each(|n| notes.note(&event(n))));
        assert!(decisions.missed() > 0, "what waits is bounded");
    }
}
