//! Token buckets and per-second budgets of trunks. Times are microseconds of the monotonic clock.

/// A bucket that holds one second's worth. A rate of zero never limits.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    rate: f64,
    tokens: f64,
    at: u64,
}

impl Bucket {
    #[must_use]
    pub fn new(rate: f64, now: u64) -> Bucket {
        Bucket { rate, tokens: rate.max(1.0), at: now }
    }

    /// Another rate from now on; what was saved stays, as far as it fits.
    pub fn set_rate(&mut self, rate: f64) {
        if self.rate <= 0.0 {
            self.tokens = rate.max(1.0);
        }
        self.rate = rate;
        self.tokens = self.tokens.min(rate.max(1.0));
    }

    /// Takes one token when there is one. Tells what is left.
    pub fn take(&mut self, now: u64) -> Result<f64, f64> {
        if self.rate <= 0.0 {
            return Ok(f64::INFINITY);
        }
        let gained = now.saturating_sub(self.at) as f64 / 1e6 * self.rate;
        self.tokens = (self.tokens + gained).min(self.rate.max(1.0));
        self.at = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            Ok(self.tokens)
        } else {
            Err(self.tokens)
        }
    }
}

/// So many per second of the clock, then no more.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    second: u64,
    used: u32,
}

impl Budget {
    pub fn take(&mut self, now: u64, per_second: u32) -> bool {
        let second = now / 1_000_000;
        if self.second != second {
            *self = Budget { second, used: 0 };
        }
        self.used = self.used.saturating_add(1);
        self.used <= per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_passes_its_rate_and_not_more() {
        let mut bucket = Bucket::new(10.0, 0);
        let passed = (0..10_000u64).filter(|i| bucket.take(i * 1_000).is_ok()).count();
        assert!((109..=111).contains(&passed), "{passed} in ten seconds with a burst of ten");
        let mut none = Bucket::new(0.0, 0);
        assert!((0..1000).all(|_| none.take(0).is_ok()));
    }

    #[test]
    fn a_budget_begins_anew_each_second() {
        let mut budget = Budget::default();
        let taken = (0..300u64).filter(|i| budget.take(i * 10_000, 7)).count();
        assert_eq!(taken, 21);
    }
}
