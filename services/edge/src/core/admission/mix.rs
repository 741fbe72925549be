//! A hash for tables that are asked with every packet: two multiplications under keys of this process, so that nobody outside can
//! choose addresses that meet in one place.

use std::net::IpAddr;

#[derive(Clone, Copy, Debug)]
pub struct Mixer {
    one: u64,
    other: u64,
}

impl Mixer {
    #[must_use]
    pub fn new(one: u64, other: u64) -> Mixer {
        Mixer {
            one: one ^ 0xa076_1d64_78bd_642f,
            // A factor with few bits would leave some of the value where it was.
            other: (other ^ 0xe703_7ed1_a0b4_28db).wrapping_mul(0xd6e8_feb8_6659_fd93) | 1,
        }
    }

    #[must_use]
    pub fn hash(&self, value: u128) -> u64 {
        let first = fold(value as u64 ^ self.one, (value >> 64) as u64 ^ self.other);
        fold(first ^ self.other, 0x9e37_79b9_7f4a_7c15)
    }

    #[must_use]
    pub fn address(&self, ip: IpAddr) -> u64 {
        match ip {
            IpAddr::V4(v4) => self.hash(u128::from(v4.to_bits())),
            IpAddr::V6(v6) => self.hash(v6.to_bits()),
        }
    }
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}
