//! How fast a node says anything at all: smoothed for the choice, and the 95th percentile of a window for the reports.

/// Weight of a new value.
const ALPHA: f64 = 0.1;
/// Four buckets per doubling from 64 µs on: the last one begins above 60 s.
const BUCKETS: usize = 84;
const FIRST_US: f64 = 64.0;
const PER_DOUBLING: f64 = 4.0;

#[derive(Clone, Debug)]
pub struct Latency {
    smoothed_us: f64,
    counts: [u32; BUCKETS],
    seen: u32,
}

impl Default for Latency {
    fn default() -> Latency {
        Latency { smoothed_us: 0.0, counts: [0; BUCKETS], seen: 0 }
    }
}

impl Latency {
    pub fn note(&mut self, us: u64) {
        let value = (us as f64).max(1.0);
        self.smoothed_us =
            if self.smoothed_us == 0.0 { value } else { self.smoothed_us + ALPHA * (value - self.smoothed_us) };
        let bucket = ((value / FIRST_US).log2() * PER_DOUBLING).max(0.0) as usize;
        let count = &mut self.counts[bucket.min(BUCKETS - 1)];
        *count = count.saturating_add(1);
        self.seen = self.seen.saturating_add(1);
    }

    /// Zero while nothing is known.
    #[must_use]
    pub fn smoothed_us(&self) -> u32 {
        self.smoothed_us.min(f64::from(u32::MAX)) as u32
    }

    /// Of the window, which begins anew with it.
    pub fn take_p95_us(&mut self) -> Option<u64> {
        if self.seen == 0 {
            return None;
        }
        let wanted = (u64::from(self.seen) * 95).div_ceil(100);
        let mut below = 0;
        let at = self.counts.iter().position(|&count| {
            below += u64::from(count);
            below >= wanted
        });
        (self.counts, self.seen) = ([0; BUCKETS], 0);
        // The upper end of its bucket.
        at.map(|at| (FIRST_US * ((at + 1) as f64 / PER_DOUBLING).exp2()) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_percentile_is_within_a_fifth_and_of_its_window_only() {
        let mut latency = Latency::default();
        assert_eq!((latency.smoothed_us(), latency.take_p95_us()), (0, None));
        for us in 1..=10_000u64 {
            latency.note(us);
        }
        let p95 = latency.take_p95_us().unwrap();
        assert!((9_500..11_500).contains(&p95), "{p95}");
        assert_eq!(latency.take_p95_us(), None);
        latency.note(u64::MAX);
        assert!(latency.take_p95_us().unwrap() > 60_000_000);
    }

    #[test]
    fn the_smoothed_time_follows_slowly() {
        let mut latency = Latency::default();
        latency.note(1_000);
        assert_eq!(latency.smoothed_us(), 1_000);
        latency.note(11_000);
        assert_eq!(latency.smoothed_us(), 2_000);
    }
}
