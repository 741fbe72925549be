//! Where what stands in a ring file, in 64-bit words: pure.
//!
//! ```text
//! header  128 words   magic, version, epoch, sizes, boot id, producer, counters, head, tail
//! lines  1024 × 16    topic, partition, next number, first number that is not yet safe
//! losses 4096 × 4     line, class, reason, first, last, how many
//! data   capacity/8   frames, written round and round
//! ```
//!
//! A change of any of this is a new [`VERSION`]; an older file is refused, never guessed at.

use super::memory::WORD;

pub const MAGIC: u64 = u64::from_le_bytes(*b"TRKLRING");
pub const VERSION: u64 = 1;

pub const AT_MAGIC: usize = 0;
pub const AT_VERSION: usize = 1;
pub const AT_EPOCH: usize = 2;
pub const AT_CAPACITY: usize = 3;
pub const AT_LINES: usize = 4;
pub const AT_LOSSES: usize = 5;
/// 1 when the epoch ended in good order: its closing manifest is in the ring or behind it.
pub const AT_CLOSED: usize = 6;
pub const AT_BOOT: usize = 8;
pub const BOOT_WORDS: usize = 8;
pub const AT_PRODUCER: usize = 16;
pub const PRODUCER_WORDS: usize = 32;
/// Events that ever entered and left the data.
pub const AT_PUSHED: usize = 48;
/// Apart from `AT_PUSHED` by a cache line: another thread writes it.
pub const AT_POPPED: usize = 72;
pub const AT_HEAD: usize = 64;
pub const AT_TAIL: usize = 80;
pub const AT_LINE_COUNT: usize = 88;
pub const AT_LOSS_COUNT: usize = 89;
pub const HEADER_WORDS: usize = 128;

pub const LINES: usize = 1024;
pub const LINE_WORDS: usize = 16;
pub const LINE_NAME: usize = 0;
pub const NAME_WORDS: usize = 11;
pub const LINE_PARTITION: usize = 11;
pub const LINE_NEXT: usize = 12;
pub const LINE_SAFE: usize = 13;

pub const LOSSES: usize = 4096;
pub const LOSS_WORDS: usize = 4;

pub const DATA: usize = HEADER_WORDS + LINES * LINE_WORDS + LOSSES * LOSS_WORDS;

/// First word of a line's entry.
pub fn line(at: usize) -> usize {
    HEADER_WORDS + at * LINE_WORDS
}

/// First word of a loss's entry.
pub fn loss(at: usize) -> usize {
    HEADER_WORDS + LINES * LINE_WORDS + at * LOSS_WORDS
}

/// Bytes of data that a wish becomes: whole pages, at least two.
pub fn capacity(wish: usize) -> usize {
    wish.max(8192).next_multiple_of(4096)
}

/// Bytes of the whole file.
pub fn file_bytes(capacity: usize) -> usize {
    DATA * WORD + capacity
}

/// A text as words: its length, then its bytes. What does not fit is cut.
pub fn text_words<const N: usize>(text: &str) -> [u64; N] {
    let mut words = [0; N];
    let bytes = &text.as_bytes()[..text.len().min((N - 1) * WORD)];
    words[0] = bytes.len() as u64;
    for (word, chunk) in words[1..].iter_mut().zip(bytes.chunks(WORD)) {
        let mut whole = [0; WORD];
        whole[..chunk.len()].copy_from_slice(chunk);
        *word = u64::from_le_bytes(whole);
    }
    words
}

pub fn text(words: &[u64]) -> String {
    let bytes: Vec<u8> = words[1..].iter().flat_map(|w| w.to_le_bytes()).collect();
    let length = usize::try_from(words[0]).unwrap_or(usize::MAX).min(bytes.len());
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_and_long_ones_are_cut() {
        assert_eq!(text(&text_words::<11>("sip.transactions")), "sip.transactions");
        assert_eq!(text(&text_words::<11>("")), "");
        assert_eq!(text(&text_words::<2>("0123456789")), "01234567");
        assert_eq!(text(&[u64::MAX, u64::from_le_bytes(*b"damaged!")]), "damaged!");
    }
}
