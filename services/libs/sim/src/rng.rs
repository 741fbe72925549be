//! A small deterministic random source (SplitMix64).
//!
//! Why not a crate: the simulation's promise is "same seed, same calls" across machines and versions of this repository, and a
//! generator that another crate may re-tune cannot keep it. `fork` gives each actor its own stream, so that adding a draw in one
//! place does not shift the numbers of every other.

use std::time::Duration;

/// One stream of random numbers. Cheap to copy, never shared.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

impl Rng {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: mix(seed ^ 0x5851_f42d_4c95_7f2d) }
    }

    /// A stream of its own for `label`; depends on this stream's seed position, does not advance it.
    #[must_use]
    pub fn fork(&self, label: &str) -> Self {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in label.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Self { state: mix(self.state ^ hash) }
    }

    /// A stream of its own for the number `index`, as `fork` does for a label.
    #[must_use]
    pub fn fork_index(&self, index: u64) -> Self {
        Self { state: mix(self.state ^ mix(index.wrapping_add(0x9e37_79b9_7f4a_7c15))) }
    }

    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// Uniform in `0..bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // Multiply-shift: the bias for the small bounds used here is far below what a simulation can notice.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Uniform in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    pub fn range_f64(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    pub fn duration(&mut self, low: Duration, high: Duration) -> Duration {
        Duration::from_secs_f64(self.range_f64(low.as_secs_f64(), high.as_secs_f64().max(low.as_secs_f64())))
    }

    /// Exponentially distributed with the given mean: the length of ordinary phone calls is close to it.
    pub fn exponential(&mut self, mean: Duration) -> Duration {
        let draw = -(1.0 - self.unit()).ln();
        Duration::from_secs_f64(mean.as_secs_f64() * draw.min(20.0))
    }

    /// Lower-case hex of 64 random bits: tags, branches, Call-IDs.
    pub fn hex(&mut self) -> String {
        format!("{:016x}", self.next_u64())
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_gives_the_same_numbers_and_forks_do_not_disturb_them() {
        let mut a = Rng::new(7);
        let mut b = Rng::new(7);
        let mut side = b.fork("side");
        side.next_u64();
        assert!((0..100).all(|_| a.next_u64() == b.next_u64()));
        assert_ne!(Rng::new(7).fork("x").next_u64(), Rng::new(7).fork("y").next_u64());
        assert_ne!(Rng::new(7).fork_index(1).next_u64(), Rng::new(7).fork_index(2).next_u64());
    }

    #[test]
    fn draws_stay_in_their_range_and_the_mean_is_about_right() {
        let mut rng = Rng::new(1);
        assert!((0..10_000).all(|_| rng.below(7) < 7));
        assert_eq!(rng.below(0), 0);
        let mean = (0..20_000).map(|_| rng.exponential(Duration::from_secs(4)).as_secs_f64()).sum::<f64>() / 20_000.0;
        assert!((3.8..4.2).contains(&mean), "mean was {mean}");
    }
}
