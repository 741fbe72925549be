//! Keys of tables whose inputs come from the network: 128 bits under a secret seed, so nobody can aim for a collision.
//! And the shard's own random numbers, seeded once from the system, so that the machine itself stays pure.

use std::hash::{DefaultHasher, Hasher};

#[derive(Clone, Copy, Debug)]
pub struct Seed([u8; 32]);

impl Seed {
    #[must_use]
    pub fn new(secret: [u8; 32]) -> Seed {
        Seed(secret)
    }

    /// Each part counts with its length.
    #[must_use]
    pub fn key(&self, parts: &[&[u8]]) -> u128 {
        let mut low = DefaultHasher::new();
        let mut high = DefaultHasher::new();
        low.write(&self.0[..16]);
        high.write(&self.0[16..]);
        for part in parts {
            for hasher in [&mut low, &mut high] {
                hasher.write_u32(part.len() as u32);
                hasher.write(part);
            }
        }
        (u128::from(high.finish()) << 64) | u128::from(low.finish())
    }
}

/// SplitMix64 over a 128-bit state: for ids that must be unique, not secret.
#[derive(Clone, Debug)]
pub struct Random {
    a: u64,
    b: u64,
}

impl Random {
    #[must_use]
    pub fn new(seed: [u8; 16]) -> Random {
        let half = |i: usize| u64::from_le_bytes(seed[i..i + 8].try_into().expect("eight bytes"));
        Random { a: half(0), b: half(8) | 1 }
    }

    pub fn next(&mut self) -> u64 {
        self.a = self.a.wrapping_add(self.b).wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.a;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn ten_bytes(&mut self) -> [u8; 10] {
        let mut out = [0; 10];
        out[..8].copy_from_slice(&self.next().to_le_bytes());
        out[8..].copy_from_slice(&self.next().to_le_bytes()[..2]);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other_and_the_seed_counts() {
        let seed = Seed::new([7; 32]);
        assert_eq!(seed.key(&[b"ab", b"c"]), seed.key(&[b"ab", b"c"]));
        assert_ne!(seed.key(&[b"ab", b"c"]), seed.key(&[b"a", b"bc"]));
        assert_ne!(seed.key(&[b"ab"]), Seed::new([8; 32]).key(&[b"ab"]));
    }
}
