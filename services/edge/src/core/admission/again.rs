//! Requests that are taken when they come again.
//!
//! A sender's address by UDP is easily forged, so a bucket per address limits the owner of the address together with whoever
//! forges it. What the two do differently: the owner sends its request again when nobody answers (RFC 3261 §17.1.1.2), a flood
//! does not. So above the bucket the first copy is only remembered, and the next one, half a second later, is taken.
//!
//! A table of fixed size in sets: a copy takes the place of the oldest of its set, so remembering 10,000 others in between (half a
//! second of a flood at 20,000/s) pushes it out less than once in 10,000 times; then the copy after the next one is taken.

/// A copy within less was made on the way (RFC 3261 senders wait 500 ms, impatient ones 100).
const SOONEST_US: u64 = 90_000;
/// Three copies come in this time.
const LATEST_US: u64 = 4_000_000;
/// Time in the table, so that it fits beside the hash. It comes around after a minute: then a copy of that same request would be
/// taken for a recent one, which does no harm.
const TICK_US: u64 = 1_000;
const TICKS: u64 = 1 << 16;
const WAYS: usize = 4;
/// 2 MiB.
const SETS: usize = 65_536;

/// 48 bits of the request's key and 16 of the time when it was first seen; 0 = nothing.
type Entry = u64;

#[derive(Debug)]
pub struct Again {
    sets: Vec<[Entry; WAYS]>,
}

impl Default for Again {
    fn default() -> Again {
        Again { sets: vec![[0; WAYS]; SETS] }
    }
}

/// What a copy means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copy {
    /// Not seen before, or too long ago.
    First,
    /// Too soon after the first to mean anything.
    Soon,
    /// Its sender waits for an answer.
    Repeated,
}

impl Again {
    /// Notes a request by the key of its transaction, which nobody can aim.
    pub fn see(&mut self, now: u64, key: u128) -> Copy {
        let mark = ((key >> 64) as u64 >> 16 << 16) | 1 << 16;
        let set = &mut self.sets[key as usize % SETS];
        let age = |entry: Entry| ticks(now).wrapping_sub(entry) % TICKS * TICK_US;
        if let Some(at) = set.iter().position(|e| e >> 16 == mark >> 16 && age(*e) <= LATEST_US) {
            if age(set[at]) < SOONEST_US {
                return Copy::Soon;
            }
            set[at] = 0;
            return Copy::Repeated;
        }
        let rank = |e: &Entry| if *e == 0 { u64::MAX } else { age(*e) };
        let oldest = (0..WAYS).max_by_key(|&at| rank(&set[at])).unwrap_or(0);
        set[oldest] = mark | ticks(now);
        Copy::First
    }
}

fn ticks(now: u64) -> u64 {
    now / TICK_US % TICKS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::proof::hash::Seed;

    fn key(n: u64) -> u128 {
        Seed::new([5; 32]).key(&[&n.to_be_bytes()])
    }

    #[test]
    fn the_second_copy_is_taken_within_four_seconds_and_not_at_once() {
        let mut again = Again::default();
        assert_eq!(again.see(0, key(1)), Copy::First);
        assert_eq!(again.see(20_000, key(1)), Copy::Soon);
        assert_eq!(again.see(20_000, key(2)), Copy::First);
        assert_eq!(again.see(500_000, key(1)), Copy::Repeated);
        assert_eq!(again.see(4_100_000, key(2)), Copy::First, "too late: it begins anew");
        assert_eq!(again.see(4_600_000, key(2)), Copy::Repeated);
    }

    #[test]
    fn in_a_flood_the_copies_of_real_calls_are_found() {
        let mut again = Again::default();
        let (mut flood, mut found, mut calls) = (1_000_000_000u64, 0, 0);
        let mut waiting = std::collections::VecDeque::new();
        // 10 s at 20,000/s, and 50 calls a second between them.
        for now in (0..10_000_000u64).step_by(50) {
            flood += 1;
            assert_eq!(again.see(now, key(flood)), Copy::First);
            if now % 20_000 == 0 {
                calls += 1;
                again.see(now, key(now));
                waiting.push_back(now);
            }
            if waiting.front().is_some_and(|&sent| now >= sent + 500_000) {
                let sent = waiting.pop_front().unwrap();
                found += usize::from(again.see(now, key(sent)) == Copy::Repeated);
            }
        }
        assert_eq!(calls, 500);
        assert!(found >= 474, "{found} of the 475 whose copy came");
    }
}
