//! Keys of tables whose inputs come from the network: 128 bits under a secret seed, so nobody can aim for a collision.
//! And the shard's own random numbers, seeded once from the system, so that the machine itself stays pure.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher, Hasher};

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

/// For tables whose keys are hashes under a secret already (of [`Seed::key`], or a branch's MAC): some bytes of the key are its hash.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsIs(u64);

pub type KeyedMap<K, V> = HashMap<K, V, BuildHasherDefault<AsIs>>;

impl Hasher for AsIs {
    fn write(&mut self, bytes: &[u8]) {
        let mut first = [0; 8];
        let length = bytes.len().min(8);
        first[..length].copy_from_slice(&bytes[..length]);
        self.0 ^= u64::from_le_bytes(first);
    }

    fn write_u128(&mut self, key: u128) {
        self.0 ^= key as u64;
    }

    /// The length of an array, which is always the same.
    fn write_usize(&mut self, _: usize) {}

    fn write_u8(&mut self, byte: u8) {
        self.0 = self.0.rotate_left(8) ^ u64::from(byte);
    }

    fn finish(&self) -> u64 {
        self.0
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
    use std::hash::BuildHasher;

    #[test]
    fn parts_do_not_run_into_each_other_and_the_seed_counts() {
        let seed = Seed::new([7; 32]);
        assert_eq!(seed.key(&[b"ab", b"c"]), seed.key(&[b"ab", b"c"]));
        assert_ne!(seed.key(&[b"ab", b"c"]), seed.key(&[b"a", b"bc"]));
        assert_ne!(seed.key(&[b"ab"]), Seed::new([8; 32]).key(&[b"ab"]));
    }

    #[test]
    fn keys_that_are_hashes_spread_over_a_table_as_they_are() {
        let seed = Seed::new([7; 32]);
        let hash = |key: u128| BuildHasherDefault::<AsIs>::default().hash_one(key);
        let mut seen: Vec<u64> = (0..10_000u32).map(|i| hash(seed.key(&[&i.to_be_bytes()]))).collect();
        // A table takes its place from the low bits and tells neighbours apart by the high ones.
        for part in [|h: u64| h & 0xff, |h: u64| h >> 57] {
            let mut parts: Vec<u64> = seen.iter().map(|&h| part(h)).collect();
            parts.sort_unstable();
            parts.dedup();
            assert!(parts.len() >= 128);
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 10_000);
    }
}
