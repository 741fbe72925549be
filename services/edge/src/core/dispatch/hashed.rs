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
    // 52 bits and a half fill the mantissa; one bit more and the greatest would round to 1.
    ((bits >> 12) as f64 + 0.5) / (1u64 << 52) as f64
}

/// Members that are drawn for before any of them is looked at, so that the arithmetic of several runs at the same time.
const AT_ONCE: usize = 16;

pub(super) fn choose(open: &Open<'_>, key: u64) -> Option<Choice> {
    // Both are mixed hashes already.
    let draw = |id: u64| unit(mixed(key ^ id));
    if open.even {
        // The logarithm keeps the order, so it can be spared.
        return open.highest(0, |_, view| draw(view.id));
    }
    let (mut ranking, mut floor) = (Ranking::default(), 0.0);
    for (chunk, views) in open.views.chunks(AT_ONCE).enumerate() {
        let mut drawn = [0.5; AT_ONCE];
        for (drawn, view) in drawn.iter_mut().zip(views) {
            *drawn = draw(view.id);
        }
        for (at, (view, distance)) in views.iter().zip(drawn.map(minus_ln)).enumerate() {
            let (at, weight) = (chunk * AT_ONCE + at, open.weight(view));
            if weight > floor * distance && open.contains(at) {
                ranking.add(Candidate { at, score: weight / distance });
                floor = ranking.floor().unwrap_or_default();
            }
        }
    }
    open.closed(ranking)
}

/// -ln(x) for x between 0 and 1, to eight digits. Our own, because it must be the same on every machine to the last bit, which
/// libraries do not promise, and because the compiler can then take several at once.
fn minus_ln(x: f64) -> f64 {
    // x = m × 2^e with m between √½ and √2.
    const ROOT: u64 = std::f64::consts::FRAC_1_SQRT_2.to_bits();
    let bits = x.to_bits();
    let e = (bits.wrapping_sub(ROOT) as i64) >> 52;
    let m = f64::from_bits(bits.wrapping_sub((e << 52) as u64));
    // ln(m) = 2 artanh(z), and |z| is below 0.172.
    let z = (m - 1.0) / (m + 1.0);
    let y = z * z;
    let series = 1.0 + y * (1.0 / 3.0 + y * (1.0 / 5.0 + y * (1.0 / 7.0 + y * (1.0 / 9.0))));
    -(e as f64 * std::f64::consts::LN_2 + 2.0 * z * series)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_logarithm_is_that_of_the_library_to_eight_digits() {
        let near_both_ends = [unit(0), unit(1 << 12), unit(u64::MAX), unit(u64::MAX - (1 << 12)), 0.5, 0.707, 0.708];
        for x in (0..100_000).map(|n| unit(mixed(n))).chain(near_both_ends) {
            let (ours, theirs) = (minus_ln(x), -x.ln());
            assert!(x > 0.0 && x < 1.0);
            assert!((ours / theirs - 1.0).abs() < 1e-8, "{x}: {ours} and {theirs}");
        }
    }
}
