//! Finds control bytes: the line ends of a message are the only ones that may stand in its head, so one walk over them
//! splits the lines and proves that nothing else is hidden there.
//!
//! Sixty-four bytes at a time become one mask. On x86-64 that is SSE2, which every such machine has; elsewhere eight bytes
//! are compared inside one word. Both give the same mask (a test compares them).

/// The positions of all bytes below 0x20 and of 0x7f, in order.
#[derive(Debug)]
pub(crate) struct Controls<'a> {
    bytes: &'a [u8],
    /// Where the block begins that `mask` belongs to.
    block: usize,
    mask: u64,
}

const BLOCK: usize = 64;

impl<'a> Controls<'a> {
    /// Begins at `from`, which must not lie behind the end.
    pub(crate) fn new(bytes: &'a [u8], from: usize) -> Controls<'a> {
        let mut walk = Controls { bytes, block: from, mask: 0 };
        walk.mask = walk.load();
        walk
    }

    #[inline]
    fn load(&self) -> u64 {
        match self.bytes.get(self.block..self.block + BLOCK).and_then(|b| <&[u8; BLOCK]>::try_from(b).ok()) {
            Some(block) => mask_of(block),
            None => self.load_last(),
        }
    }

    fn load_last(&self) -> u64 {
        let mut block = [b' '; BLOCK];
        let rest = self.bytes.get(self.block..).unwrap_or_default();
        let length = rest.len().min(BLOCK);
        block[..length].copy_from_slice(&rest[..length]);
        mask_of(&block)
    }
}

impl Controls<'_> {
    /// Passes over one position that the caller has looked at itself: the LF behind the CR that was just given.
    #[inline(always)]
    pub(crate) fn skip_one(&mut self) {
        if self.mask == 0 {
            self.next();
        } else {
            self.mask &= self.mask - 1;
        }
    }
}

impl Iterator for Controls<'_> {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        while self.mask == 0 {
            self.block += BLOCK;
            if self.block >= self.bytes.len() {
                self.block = self.bytes.len();
                return None;
            }
            self.mask = self.load();
        }
        let at = self.block + self.mask.trailing_zeros() as usize;
        self.mask &= self.mask - 1;
        Some(at)
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn mask_of(block: &[u8; BLOCK]) -> u64 {
    #[expect(unsafe_code, reason = "SSE2 is part of x86-64 itself, so the function's one condition always holds")]
    // SAFETY: the target architecture guarantees SSE2.
    unsafe {
        sse2(block)
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn sse2(block: &[u8; BLOCK]) -> u64 {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
    };
    let mut mask = 0;
    let (quarters, _) = block.as_chunks::<16>();
    for (at, quarter) in quarters.iter().enumerate() {
        let word = u128::from_le_bytes(*quarter);
        let x = _mm_set_epi64x((word >> 64) as i64, word as i64);
        let low = _mm_cmpeq_epi8(_mm_min_epu8(x, _mm_set1_epi8(0x1f)), x);
        let del = _mm_cmpeq_epi8(x, _mm_set1_epi8(0x7f));
        mask |= u64::from(_mm_movemask_epi8(_mm_or_si128(low, del)) as u16) << (16 * at);
    }
    mask
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn mask_of(block: &[u8; BLOCK]) -> u64 {
    portable(block)
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn portable(block: &[u8; BLOCK]) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut mask = 0;
    let (words, _) = block.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let low = word & LOW;
        // No sum leaves its byte, so each top bit speaks for its own byte only.
        let printable = low + 0x6060_6060_6060_6060;
        let delete = low + 0x0101_0101_0101_0101;
        let found = (!printable | delete) & !word & HIGH;
        mask |= ((found >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * at);
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_control_byte_is_found_wherever_it_stands() {
        for length in [0, 1, 15, 16, 63, 64, 65, 127, 128, 200] {
            let mut bytes: Vec<u8> = (0..length).map(|i| (i * 37 % 256) as u8).collect();
            bytes.extend_from_slice(b"end\r\n");
            for from in [0, 1, bytes.len() - 1, bytes.len()] {
                let plain: Vec<usize> =
                    (from..bytes.len()).filter(|&at| bytes[at] < b' ' || bytes[at] == 0x7f).collect();
                assert_eq!(Controls::new(&bytes, from).collect::<Vec<_>>(), plain, "{length} from {from}");
            }
        }
    }

    #[test]
    fn the_fast_and_the_portable_mask_agree_on_every_byte_in_every_place() {
        for byte in 0..=255 {
            for at in 0..BLOCK {
                let mut block = [0x80 | byte; BLOCK];
                block[at] = byte;
                assert_eq!(mask_of(&block), portable(&block), "{byte} at {at}");
            }
        }
    }
}
