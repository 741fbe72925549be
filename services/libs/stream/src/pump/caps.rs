//! When a consumer must stop instead of throwing a whole topic away: pure.
//!
//! One bad record is a dead letter. A hundred in a row, or more than a small share of many, is a bad deploy: then the consumer stops
//! and says so, and nothing more is thrown away. The run is held back until it is decided (see `jury`).

use std::collections::VecDeque;

#[derive(Debug, Clone, Copy)]
pub struct CapLimits {
    /// More poison than this in a row stops.
    pub max_run: u32,
    /// More than this share of the last `window` records stops …
    pub max_ratio: f64,
    pub window: usize,
    /// … once this many records were seen.
    pub min_records: usize,
}

impl Default for CapLimits {
    fn default() -> Self {
        Self { max_run: 100, max_ratio: 0.01, window: 10_000, min_records: 2_000 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CapHit {
    Run { length: u32 },
    Ratio { poison: usize, of: usize },
}

pub struct Caps {
    limits: CapLimits,
    run: u32,
    recent: VecDeque<bool>,
    poison: usize,
}

impl Caps {
    pub fn new(limits: CapLimits) -> Self {
        Self { limits, run: 0, recent: VecDeque::new(), poison: 0 }
    }

    /// Notes one record's fate. An answer means: stop, and do not throw this record away.
    pub fn note(&mut self, poison: bool) -> Option<CapHit> {
        self.run = if poison { self.run + 1 } else { 0 };
        if self.run > self.limits.max_run {
            return Some(CapHit::Run { length: self.run });
        }
        self.recent.push_back(poison);
        self.poison += usize::from(poison);
        if self.recent.len() > self.limits.window && self.recent.pop_front() == Some(true) {
            self.poison -= 1;
        }
        let of = self.recent.len();
        let over = self.poison as f64 > self.limits.max_ratio * of as f64;
        (poison && of >= self.limits.min_records && over).then_some(CapHit::Ratio { poison: self.poison, of })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_poison_stops_and_a_good_record_ends_the_run() {
        let mut caps = Caps::new(CapLimits { max_run: 3, ..CapLimits::default() });
        for _ in 0..3 {
            assert_eq!(caps.note(true), None);
        }
        assert_eq!(caps.note(false), None);
        for _ in 0..3 {
            assert_eq!(caps.note(true), None);
        }
        assert_eq!(caps.note(true), Some(CapHit::Run { length: 4 }));
    }

    #[test]
    fn a_share_of_poison_stops_only_once_enough_was_seen() {
        let mut caps = Caps::new(CapLimits { max_run: 100, max_ratio: 0.1, window: 100, min_records: 50 });
        for n in 0..49 {
            assert_eq!(caps.note(n % 5 == 0), None, "{n}");
        }
        assert_eq!(caps.note(false), None);
        assert_eq!(caps.note(true), Some(CapHit::Ratio { poison: 11, of: 51 }));
    }

    #[test]
    fn old_poison_is_forgotten() {
        let mut caps = Caps::new(CapLimits { max_run: 100, max_ratio: 0.1, window: 100, min_records: 50 });
        for _ in 0..5 {
            caps.note(true);
        }
        for _ in 0..1000 {
            assert_eq!(caps.note(false), None);
        }
        for _ in 0..10 {
            assert_eq!(caps.note(true), None);
        }
        assert_eq!(caps.note(true), Some(CapHit::Ratio { poison: 11, of: 100 }));
    }
}
