//! One queue of wake-ups for everything in the shard.
//!
//! Each owner has at most one live entry, the earliest it asked for; a later deadline is found when that entry fires and
//! asks again. So moving a deadline back and forth costs nothing, and the queue stays as small as the tables.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::slab::Slot;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    Invite(Slot),
    Relay(Slot),
    /// Probes, sweeps and windows: one wake-up for all of them.
    House,
}

/// What an owner remembers: when it will be woken next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Armed(u64);

impl Default for Armed {
    fn default() -> Armed {
        Armed(u64::MAX)
    }
}

#[derive(Debug, Default)]
pub struct Timers {
    heap: BinaryHeap<Reverse<(u64, Owner)>>,
}

impl Timers {
    /// Makes sure that `owner` is woken at `deadline` at the latest.
    pub fn arm(&mut self, armed: &mut Armed, owner: Owner, deadline: Option<u64>) {
        if let Some(at) = deadline
            && at < armed.0
        {
            armed.0 = at;
            self.heap.push(Reverse((at, owner)));
        }
    }

    /// The next owner that is due, with the time it asked for.
    pub fn pop(&mut self, now: u64) -> Option<(Owner, u64)> {
        let Reverse((at, owner)) = *self.heap.peek()?;
        if at > now {
            return None;
        }
        self.heap.pop();
        Some((owner, at))
    }

    /// To be called by the owner when its entry fired; false for an entry that was overtaken by an earlier one.
    pub fn fired(armed: &mut Armed, at: u64) -> bool {
        let live = armed.0 == at;
        if live {
            armed.0 = u64::MAX;
        }
        live
    }

    pub fn len(&self) -> usize {
        self.heap.len()
    }

    pub fn next(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_earliest_wish_of_an_owner_is_live() {
        let mut timers = Timers::default();
        let mut armed = Armed::default();
        timers.arm(&mut armed, Owner::House, Some(50));
        timers.arm(&mut armed, Owner::House, Some(70));
        timers.arm(&mut armed, Owner::House, Some(20));
        assert_eq!(timers.next(), Some(20));
        assert_eq!(timers.pop(10), None);
        assert_eq!(timers.pop(60), Some((Owner::House, 20)));
        assert!(Timers::fired(&mut armed, 20));
        assert_eq!(timers.pop(60), Some((Owner::House, 50)));
        assert!(!Timers::fired(&mut armed, 50), "overtaken");
    }
}
