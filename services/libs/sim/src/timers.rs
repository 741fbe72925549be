//! A queue of "do this then": the timers of one task that owns thousands of dialogs.
//!
//! Entries are never removed: an owner that no longer cares ignores the item when it comes due. That keeps arming at O(log n)
//! without a handle per timer, and the queue's length is bounded by what was armed within the longest delay.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Instant;

#[derive(Debug)]
struct Entry<T> {
    at: Instant,
    order: u64,
    item: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at && self.order == other.order
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    /// Reversed: the heap's greatest is the earliest; equal moments leave in the order they were armed.
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at).then(other.order.cmp(&self.order))
    }
}

/// Items ordered by the moment they are due.
#[derive(Debug)]
pub struct Timers<T> {
    heap: BinaryHeap<Entry<T>>,
    armed: u64,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), armed: 0 }
    }
}

impl<T> Timers<T> {
    pub fn arm(&mut self, at: Instant, item: T) {
        self.armed += 1;
        self.heap.push(Entry { at, order: self.armed, item });
    }

    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.heap.peek().map(|entry| entry.at)
    }

    /// The next item that is due at `now`, if any.
    pub fn due(&mut self, now: Instant) -> Option<T> {
        if self.deadline()? > now {
            return None;
        }
        self.heap.pop().map(|entry| entry.item)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn items_leave_in_time_order_and_not_before_their_time() {
        let start = Instant::now();
        let mut timers = Timers::default();
        timers.arm(start + Duration::from_millis(20), "second");
        timers.arm(start + Duration::from_millis(10), "first");
        timers.arm(start + Duration::from_millis(20), "third");
        assert_eq!(timers.due(start), None);
        assert_eq!(timers.deadline(), Some(start + Duration::from_millis(10)));
        let late = start + Duration::from_millis(20);
        assert_eq!(timers.due(late), Some("first"));
        assert_eq!(timers.due(late), Some("second"));
        assert_eq!(timers.due(late), Some("third"));
        assert!(timers.is_empty());
    }
}
