//! So many in any second, counted exactly: what a carrier's contract says, and what it counts itself. A bucket would let twice as
//! many pass in the second after a pause.

use std::collections::VecDeque;

#[derive(Clone, Debug, Default)]
pub struct Window {
    /// When the last ones were taken, oldest first; never more than `most` of them.
    taken: VecDeque<u64>,
    /// So many in `span_us`; 0 = no limit.
    most: usize,
    span_us: u64,
}

impl Window {
    /// A new rate, per second; 0 = no limit. What was taken still counts. Below one a second it is one in a longer time.
    pub fn set(&mut self, per_second: f64) {
        if !(per_second > 0.0 && per_second.is_finite()) {
            *self = Window::default();
            return;
        }
        let most = per_second.ceil().min(1e6);
        self.most = most as usize;
        self.span_us = (most / per_second * 1e6).min(1e15) as u64;
    }

    /// Whether one more may be taken.
    #[must_use]
    pub fn is_open(&self, now: u64) -> bool {
        if self.most == 0 || self.taken.len() < self.most {
            return true;
        }
        self.taken[self.taken.len() - self.most] + self.span_us <= now
    }

    /// Takes one, whether there is room or not; also one that was taken earlier than others that are known.
    pub fn take(&mut self, at: u64) {
        if self.most == 0 {
            return;
        }
        let place = self.taken.partition_point(|other| *other <= at);
        self.taken.insert(place, at);
        while self.taken.len() > self.most {
            self.taken.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;

    fn passed(window: &mut Window, from: u64, to: u64, every: u64) -> Vec<u64> {
        let open = |at: &u64| {
            let is_open = window.is_open(*at);
            if is_open {
                window.take(*at);
            }
            is_open
        };
        (from..to).step_by(every as usize).filter(open).collect()
    }

    fn most_in_any(passed: &[u64], span: u64) -> usize {
        let within = |i: usize| passed[i..].iter().take_while(|at| **at < passed[i] + span).count();
        (0..passed.len()).map(within).max().unwrap_or(0)
    }

    #[test]
    fn no_span_holds_more_than_the_rate_and_none_is_wasted() {
        for (rate, span, most) in [(1.0, S, 1), (10.0, S, 10), (99.5, S * 100 * 10 / 995, 100), (0.5, 2 * S, 1)] {
            let mut window = Window::default();
            window.set(rate);
            let got = passed(&mut window, 5 * S, 25 * S, 700);
            assert!(most_in_any(&got, span) <= most, "{rate}: {} in {span} us", most_in_any(&got, span));
            let want = rate * 20.0;
            assert!((got.len() as f64 - want).abs() <= want * 0.02 + 1.0, "{} of {want}", got.len());
        }
    }

    #[test]
    fn after_a_pause_there_is_one_second_s_worth_and_no_more() {
        let mut window = Window::default();
        window.set(50.0);
        assert_eq!(passed(&mut window, 100 * S, 100 * S + 1_000, 1).len(), 50);
        assert!(!window.is_open(101 * S - 1) && window.is_open(101 * S));
    }

    #[test]
    fn what_an_earlier_life_took_counts_in_whatever_order_it_is_found() {
        let mut window = Window::default();
        window.set(3.0);
        [9 * S, 2 * S, 9 * S + 1, S, 9 * S + 2, 3 * S].into_iter().for_each(|at| window.take(at));
        assert!(!window.is_open(10 * S - 1) && window.is_open(10 * S));
    }

    #[test]
    fn a_new_rate_counts_what_was_taken_and_none_is_no_limit() {
        let mut window = Window::default();
        window.set(10.0);
        assert_eq!(passed(&mut window, 0, 10, 1).len(), 10);
        window.set(4.0);
        assert!(!window.is_open(S - 1));
        window.set(12.0);
        assert_eq!(passed(&mut window, 100, 200, 1).len(), 2, "ten of twelve are gone");
        window.set(0.0);
        assert_eq!(passed(&mut window, 200, 1_200, 1).len(), 1_000);
        window.set(1.0);
        assert!(window.is_open(1_200), "what passed without a limit is not held against it");
    }
}
