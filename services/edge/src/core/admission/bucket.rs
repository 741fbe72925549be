//! A token bucket in one word: the time at which it will be full again (GCRA). Taking a token moves that time on by the price of
//! one; a bucket is empty when it lies further ahead than the whole bucket is worth. No floats, no drift: it counts exactly.

/// Nanoseconds, so that a rate of 100,000 a second still has five digits.
const SECOND: u64 = 1_000_000_000;

/// How a bucket fills. A rate of zero has no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds per token; 0 = no limit.
    price: u64,
    /// What a full bucket is worth.
    depth: u64,
}

impl Rate {
    pub const NONE: Rate = Rate { price: 0, depth: 0 };

    /// So many per second, and so many at once; never less than one at once.
    #[must_use]
    pub fn new(per_second: f64, burst: f64) -> Rate {
        if !(per_second > 0.0 && per_second.is_finite()) {
            return Rate::NONE;
        }
        let price = (SECOND as f64 / per_second).clamp(1.0, 1e15);
        Rate { price: price as u64, depth: (price * burst.clamp(1.0, 1e6)) as u64 }
    }

    /// As many at once as in one second.
    #[must_use]
    pub fn per_second(rate: f64) -> Rate {
        Rate::new(rate, rate)
    }

    #[must_use]
    pub fn is_limited(self) -> bool {
        self.price > 0
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    full_at: u64,
}

impl Bucket {
    /// Takes a token when there is one. `now` in microseconds. Tells what is left.
    pub fn take(&mut self, now: u64, rate: Rate) -> Result<f64, f64> {
        if !rate.is_limited() {
            return Ok(f64::INFINITY);
        }
        let now = now.saturating_mul(1_000);
        let full_at = self.full_at.max(now) + rate.price;
        if full_at - now > rate.depth {
            return Err(self.left_at(now, rate));
        }
        self.full_at = full_at;
        Ok(self.left_at(now, rate))
    }

    /// The same, but whoever finds it empty pays too, up to one bucket of debt: as long as more comes than flows in, nobody gets
    /// a token, and nobody can tell its own from the others'.
    pub fn take_or_owe(&mut self, now: u64, rate: Rate) -> bool {
        if !rate.is_limited() {
            return true;
        }
        let now = now.saturating_mul(1_000);
        let full_at = self.full_at.max(now) + rate.price;
        self.full_at = full_at.min(now + 2 * rate.depth.max(rate.price));
        full_at - now <= rate.depth
    }

    /// Whether nothing is taken from it: forgetting it changes nothing.
    #[must_use]
    pub fn is_full(&self, now: u64) -> bool {
        self.full_at <= now.saturating_mul(1_000)
    }

    #[must_use]
    pub fn left(&self, now: u64, rate: Rate) -> f64 {
        self.left_at(now.saturating_mul(1_000), rate)
    }

    fn left_at(&self, now: u64, rate: Rate) -> f64 {
        if !rate.is_limited() {
            return f64::INFINITY;
        }
        let taken = self.full_at.saturating_sub(now).min(rate.depth);
        (rate.depth - taken) as f64 / rate.price as f64
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
        for (rate, every_us, seconds) in [(10.0, 1_000u64, 10u64), (100.0, 97, 10), (3_000.0, 11, 3), (0.5, 10_000, 60)]
        {
            let (limit, mut bucket) = (Rate::per_second(rate), Bucket::default());
            let passed =
                (0..seconds * 1_000_000 / every_us).filter(|i| bucket.take(i * every_us, limit).is_ok()).count();
            let want = rate * seconds as f64 + rate.max(1.0);
            assert!((passed as f64 - want).abs() <= 1.0 + want * 0.001, "{passed} of {want}");
        }
        let mut none = Bucket::default();
        assert!((0..1000).all(|_| none.take(0, Rate::NONE).is_ok()));
    }

    #[test]
    fn what_is_left_is_told() {
        let (rate, mut bucket) = (Rate::per_second(4.0), Bucket::default());
        assert_eq!(bucket.left(1_000_000, rate), 4.0);
        assert_eq!(bucket.take(1_000_000, rate), Ok(3.0));
        assert_eq!((0..3).filter(|_| bucket.take(1_000_000, rate).is_ok()).count(), 3);
        assert_eq!(bucket.take(1_000_000, rate), Err(0.0));
        assert!(!bucket.is_full(1_999_999) && bucket.is_full(2_000_000));
    }

    #[test]
    fn in_a_flood_nobody_gets_a_token_and_soon_after_it_everybody() {
        let (rate, mut bucket) = (Rate::per_second(200.0), Bucket::default());
        let passed = (0..20_000u64).filter(|i| bucket.take_or_owe(i * 50, rate)).count();
        assert!((200..=202).contains(&passed), "{passed}: the first ones, and then none");
        let calm = (1..=40u64).map(|i| 1_000_000 + i * 100_000);
        let first = calm.clone().find(|&at| bucket.take_or_owe(at, rate)).unwrap();
        assert!(first <= 2_200_000, "{first}");
    }

    #[test]
    fn a_budget_begins_anew_each_second() {
        let mut budget = Budget::default();
        let taken = (0..300u64).filter(|i| budget.take(i * 10_000, 7)).count();
        assert_eq!(taken, 21);
    }
}
