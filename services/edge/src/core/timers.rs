//! One queue of wake-ups for everything in the shard.
//!
//! Each owner has at most one live entry, the earliest it asked for; a later deadline is found when that entry fires and
//! asks again. So moving a deadline back and forth costs nothing, and the queue stays as small as the tables.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

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

/// Wake-ups of one page lie side by side until its time comes; only then are they put in order. Most are 32 s ahead and tens of
/// thousands, and a heap of them all would cost a cache miss per level.
const PAGE_US: u64 = 1 << 16;

#[derive(Debug, Default)]
pub struct Timers {
    /// Before `horizon`, in order.
    near: BinaryHeap<Reverse<(u64, Owner)>>,
    /// From `horizon` on, by page.
    far: BTreeMap<u64, Page>,
    /// The first page that was not opened yet.
    horizon: u64,
    len: usize,
}

#[derive(Debug, Default)]
struct Page {
    first: u64,
    entries: Vec<(u64, Owner)>,
}

impl Timers {
    /// Makes sure that `owner` is woken at `deadline` at the latest.
    pub fn arm(&mut self, armed: &mut Armed, owner: Owner, deadline: Option<u64>) {
        if let Some(at) = deadline
            && at < armed.0
        {
            armed.0 = at;
            self.push(at, owner);
        }
    }

    fn push(&mut self, at: u64, owner: Owner) {
        self.len += 1;
        if at / PAGE_US < self.horizon {
            return self.near.push(Reverse((at, owner)));
        }
        let page = self.far.entry(at / PAGE_US).or_insert_with(|| Page { first: at, entries: Vec::new() });
        page.first = page.first.min(at);
        page.entries.push((at, owner));
    }

    /// The next owner that is due, with the time it asked for.
    pub fn pop(&mut self, now: u64) -> Option<(Owner, u64)> {
        while let Some(page) = self.far.first_entry().filter(|page| *page.key() <= now / PAGE_US) {
            self.near.extend(page.remove().entries.into_iter().map(Reverse));
        }
        self.horizon = self.horizon.max(now / PAGE_US + 1);
        let Reverse((at, owner)) = *self.near.peek()?;
        if at > now {
            return None;
        }
        self.near.pop();
        self.len -= 1;
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
        self.len
    }

    pub fn next(&self) -> Option<u64> {
        let near = self.near.peek().map(|Reverse((at, _))| *at);
        near.or_else(|| self.far.first_key_value().map(|(_, page)| page.first))
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

    #[test]
    fn wake_ups_come_in_order_whatever_their_distance() {
        let mut timers = Timers::default();
        let mut random = crate::core::proof::hash::Random::new([5; 16]);
        let (mut now, mut waiting) = (0, Vec::new());
        for _ in 0..5_000 {
            let distance = random.next() % [50, 5_000, 500_000, 40_000_000][(random.next() % 4) as usize];
            let at = now + distance;
            timers.arm(&mut Armed::default(), Owner::House, Some(at));
            waiting.push(at);
            if random.next().is_multiple_of(3) {
                waiting.sort_unstable();
                assert_eq!((timers.next(), timers.len()), (Some(waiting[0]), waiting.len()));
                now += random.next() % 100_000;
                let due = waiting.iter().take_while(|&&at| at <= now).count();
                let fired: Vec<u64> = std::iter::from_fn(|| timers.pop(now)).map(|(_, at)| at).collect();
                assert_eq!(fired, waiting.drain(..due).collect::<Vec<_>>());
            }
        }
    }
}
