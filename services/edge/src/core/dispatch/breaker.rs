//! What the calls themselves say about a node: the share of those that it failed in the last seconds.
//!
//! Only what is the node's own fault counts: no answer, a transport error, a 5xx without a Q.850 reason. The far side fails
//! through every node alike, so a node is only worse when its share is at least three times the median of its pool's. Then its
//! weight is cut by that share; with enough calls the breaker opens, and the node gets no call until it closes again. All of
//! this is soft: it never takes the last node away. Pure; times are microseconds of the monotonic clock.

use crate::config::BreakerConfig;

const SECOND: u64 = 1_000_000;
/// Of the window, one per second.
const BUCKETS: usize = 15;
/// How much worse than the pool's median a node must be.
pub const WORSE: f64 = 3.0;
/// A share is worth something from so many calls on.
const TELLING: u32 = 10;
/// Opened again so soon, it stays open twice as long.
const AGAIN_US: u64 = 300 * SECOND;
/// The longest that it stays open.
const LONGEST_US: u64 = 300 * SECOND;

/// How an attempt at a node ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did its part, whatever the far side said.
    Good,
    /// A 5xx of its own, or a transport error.
    Failed,
    /// Nothing came.
    Silent,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    second: u64,
    calls: u32,
    failed: u32,
}

/// Failures among calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    pub calls: u32,
    pub failed: u32,
}

impl Share {
    #[must_use]
    pub fn ratio(self) -> f64 {
        if self.calls == 0 { 0.0 } else { f64::from(self.failed) / f64::from(self.calls) }
    }

    /// Enough calls to compare by.
    #[must_use]
    pub fn tells(self) -> bool {
        self.calls >= TELLING
    }
}

#[derive(Clone, Debug)]
pub struct Breaker {
    buckets: [Bucket; BUCKETS],
    silent_in_row: u32,
    open_until: Option<u64>,
    opened_last: Option<u64>,
    times: u32,
    /// What its weight is multiplied with.
    cut: f64,
}

impl Default for Breaker {
    fn default() -> Breaker {
        Breaker {
            buckets: [Bucket::default(); BUCKETS],
            silent_in_row: 0,
            open_until: None,
            opened_last: None,
            times: 0,
            cut: 1.0,
        }
    }
}

impl Breaker {
    pub fn note(&mut self, now: u64, outcome: Outcome) {
        let second = now / SECOND;
        let bucket = &mut self.buckets[(second % BUCKETS as u64) as usize];
        if bucket.second != second {
            *bucket = Bucket { second, ..Bucket::default() };
        }
        bucket.calls = bucket.calls.saturating_add(1);
        bucket.failed += u32::from(outcome != Outcome::Good);
        self.silent_in_row = if outcome == Outcome::Silent { self.silent_in_row.saturating_add(1) } else { 0 };
    }

    /// Of the window that ends now.
    #[must_use]
    pub fn share(&self, now: u64) -> Share {
        let oldest = (now / SECOND + 1).saturating_sub(BUCKETS as u64);
        let fresh = self.buckets.iter().filter(|b| b.second >= oldest && b.calls > 0);
        fresh.fold(Share::default(), |sum, b| Share { calls: sum.calls + b.calls, failed: sum.failed + b.failed })
    }

    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open_until.is_some()
    }

    /// What its weight is multiplied with, 0 to 1.
    #[must_use]
    pub fn cut(&self) -> f64 {
        self.cut
    }

    /// Compares the node with its pool; `median` is the median share of the pool's members that have enough calls, none when
    /// there is nobody to compare with. True when the breaker has opened.
    pub fn judge(&mut self, now: u64, median: Option<f64>, config: &BreakerConfig) -> bool {
        self.cut = 1.0;
        let Some(median) = median.filter(|_| config.enabled && !self.is_open()) else { return false };
        let share = self.share(now);
        let ratio = share.ratio();
        if ratio <= 0.0 || ratio < WORSE * median {
            return false;
        }
        let silent = self.silent_in_row >= config.silent_in_row;
        if silent || (share.calls >= config.min_calls && ratio >= config.share) {
            self.open(now, config);
            return true;
        }
        if share.tells() {
            self.cut = 1.0 - ratio;
        }
        false
    }

    fn open(&mut self, now: u64, config: &BreakerConfig) {
        let again = self.opened_last.is_some_and(|at| now.saturating_sub(at) < AGAIN_US);
        self.times = if again { (self.times + 1).min(8) } else { 0 };
        self.opened_last = Some(now);
        let span = (config.open_ms * 1_000) << self.times;
        self.open_until = Some(now + span.min(LONGEST_US));
    }

    /// True when it has closed again: the node must prove itself anew, its past is forgotten.
    pub fn tick(&mut self, now: u64) -> bool {
        if self.open_until.is_none_or(|until| now < until) {
            return false;
        }
        *self = Breaker { opened_last: self.opened_last, times: self.times, ..Breaker::default() };
        true
    }
}

/// The lower median: of two nodes one can be worse than the other.
#[must_use]
pub fn median(shares: &mut [f64]) -> Option<f64> {
    if shares.len() < 2 {
        return None;
    }
    shares.sort_unstable_by(f64::total_cmp);
    Some(shares[(shares.len() - 1) / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(breaker: &mut Breaker, from_s: u64, calls: u32, failed_of_ten: u32) {
        for call in 0..calls {
            let outcome = if call % 10 < failed_of_ten { Outcome::Failed } else { Outcome::Good };
            breaker.note(from_s * SECOND + u64::from(call) * 50_000, outcome);
        }
    }

    #[test]
    fn a_node_that_fails_more_than_its_pool_is_cut_and_then_left_out() {
        let config = BreakerConfig::default();
        let mut breaker = Breaker::default();
        feed(&mut breaker, 100, 10, 6);
        assert!(!breaker.judge(101 * SECOND, Some(0.0), &config));
        assert!((breaker.cut() - 0.4).abs() < 1e-9);
        feed(&mut breaker, 101, 10, 6);
        assert!(breaker.judge(102 * SECOND, Some(0.0), &config));
        assert!(breaker.is_open());
        assert!(!breaker.tick(111 * SECOND) && breaker.tick(112 * SECOND));
        assert_eq!(breaker.share(112 * SECOND), Share::default(), "its past is forgotten");
        feed(&mut breaker, 112, 20, 6);
        assert!(breaker.judge(113 * SECOND, Some(0.0), &config));
        assert!(!breaker.tick(132 * SECOND) && breaker.tick(133 * SECOND), "twice as long");
    }

    #[test]
    fn nobody_is_worse_when_all_fail_alike_or_there_is_nobody_to_compare_with() {
        let config = BreakerConfig::default();
        let mut breaker = Breaker::default();
        feed(&mut breaker, 100, 100, 10);
        for pool in [Some(1.0), Some(0.34), None] {
            assert!(!breaker.judge(104 * SECOND, pool, &config));
            assert!((breaker.cut() - 1.0).abs() < 1e-9);
        }
        assert_eq!(median(&mut [1.0]), None);
        assert_eq!(median(&mut [0.6, 0.0]), Some(0.0));
        assert_eq!(median(&mut [0.6, 0.5, 0.7]), Some(0.6));
        assert_eq!(median(&mut [0.6, 0.0, 0.7, 0.1]), Some(0.1));
    }

    #[test]
    fn silence_needs_fewer_calls_and_the_window_passes() {
        let config = BreakerConfig::default();
        let mut breaker = Breaker::default();
        for at in 0..5 {
            assert!(!breaker.judge(at * SECOND, Some(0.0), &config));
            breaker.note(at * SECOND, Outcome::Silent);
        }
        assert!(breaker.judge(5 * SECOND, Some(0.0), &config));
        let mut breaker = Breaker::default();
        feed(&mut breaker, 100, 20, 10);
        assert_eq!(breaker.share(115 * SECOND - 1).calls, 20);
        assert_eq!(breaker.share(116 * SECOND).calls, 0);
    }
}
