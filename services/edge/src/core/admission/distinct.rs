//! How many different sources there were, in two kilobytes (HyperLogLog; few of them are counted by the empty registers).

const BITS: u32 = 11;
const REGISTERS: usize = 1 << BITS;

#[derive(Clone, Debug)]
pub struct Distinct {
    registers: Box<[u8; REGISTERS]>,
    is_empty: bool,
}

impl Default for Distinct {
    fn default() -> Distinct {
        Distinct { registers: Box::new([0; REGISTERS]), is_empty: true }
    }
}

impl Distinct {
    /// Standard error (percent): 1.04 / √2048.
    pub const ERROR_PERCENT: f64 = 2.3;

    pub fn note(&mut self, hash: u64) {
        let place = (hash >> (64 - BITS)) as usize;
        let rank = (hash << BITS | 1 << (BITS - 1)).leading_zeros() as u8 + 1;
        self.registers[place] = self.registers[place].max(rank);
        self.is_empty = false;
    }

    #[must_use]
    pub fn estimate(&self) -> f64 {
        let m = REGISTERS as f64;
        let alpha = 0.7213 / (1.0 + 1.079 / m);
        let sum: f64 = self.registers.iter().map(|&r| (-f64::from(r)).exp2()).sum();
        let raw = alpha * m * m / sum;
        let empty = self.registers.iter().filter(|&&r| r == 0).count();
        if raw <= 2.5 * m && empty > 0 { m * (m / empty as f64).ln() } else { raw }
    }

    pub fn clear(&mut self) {
        if !self.is_empty {
            self.registers.fill(0);
            self.is_empty = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::mix::Mixer;
    use super::*;

    #[test]
    fn a_handful_and_a_million_are_counted_alike() {
        let mixer = Mixer::new(0x1234_5678_9abc_def0, 77);
        for count in [0u64, 1, 5, 100, 3_000, 60_000, 1_000_000] {
            let mut distinct = Distinct::default();
            (0..2 * count).for_each(|i| distinct.note(mixer.hash(u128::from(i % count.max(1)))));
            let error = (distinct.estimate() - count as f64).abs();
            assert!(error <= 0.07 * count as f64 + 0.01, "{} for {count}", distinct.estimate());
            distinct.clear();
            assert!(distinct.estimate() < 0.01);
        }
    }
}
