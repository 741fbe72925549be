//! Weighted rendezvous hashing: each member draws a number for the key, its weight bends the odds, the greatest wins. When a
//! member goes only its own keys move, evenly over the others; when one comes it takes its share from each.
//!
//! The function has no secret and no state: every edge and every restart finds the same node.

use super::view::{Candidate, Choice, Open, Ranking};

/// A key from its bytes (FNV-1a, mixed at the end).
#[must_use]
pub fn key_of(bytes: &[u8]) -> u64 {
    key_of_all(bytes.iter().copied())
}

#[must_use]
pub(super) fn key_of_all(bytes: impl Iterator<Item = u8>) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    mixed(bytes.fold(0xcbf2_9ce4_8422_2325, step))
}

/// A bijection that spreads each bit over all (the end of SplitMix64).
#[must_use]
pub(super) fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Between 0 and 1, without both.
#[must_use]
pub(super) fn unit(bits: u64) -> f64 {
    ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

pub(super) fn choose(open: &Open<'_>, key: u64) -> Option<Choice> {
    // Both are mixed hashes already.
    let draw = |id: u64| unit(mixed(key ^ id));
    if open.even {
        // The logarithm keeps the order, so it can be spared.
        return open.highest(0, |_, view| draw(view.id));
    }
    let (mut ranking, mut floor) = (Ranking::default(), 0.0);
    for (at, view) in open.iter() {
        let (drawn, weight) = (draw(view.id), open.weight(view));
        // -ln(x) is never below 2(1 - x)/(1 + x): who could not even so come among the best needs no logarithm.
        if weight * (1.0 + drawn) > floor * (2.0 - 2.0 * drawn) {
            ranking.add(Candidate { at, score: weight / -drawn.ln() });
            floor = ranking.floor().unwrap_or_default();
        }
    }
    open.closed(ranking)
}
