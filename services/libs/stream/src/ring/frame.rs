//! One event in the ring: pure. A frame is whole words long, so that it can be copied word by word.
//!
//! ```text
//! 0 length u32 | 4 crc u32 of all that follows | 8 line u16 | 10 class u8 | 11 flags u8 | 12 headers u8 | 13 padding u8 | 14 zero u16
//! 16 key length u32 | 20 value length u32 | 24 seq i64 | 32 timestamp i64 | 40 accepted u64
//! 48 key, value, headers (name length u16, value length u16, name, value), padding
//! ```

use bytes::Bytes;
use schemas::Class;

use super::{
    admission::{SHED_ORDER, rank},
    memory::WORD,
};
use crate::{Headers, header};

pub const FIXED: usize = 48;
const TOMBSTONE: u8 = 1;
const NUMBERED: u8 = 2;
/// The header `content-type: application/vnd.apache.avro`, which nearly every event has.
const AVRO: u8 = 4;

/// What is known of an event besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    pub line: u16,
    pub class: Class,
    /// `None` for a tombstone, which is no event and has no number.
    pub seq: Option<i64>,
    pub timestamp_us: i64,
    pub accepted_us: u64,
}

/// Writes a frame into `out`, in place of what was there.
pub fn write(out: &mut Vec<u8>, meta: &Meta, key: &[u8], value: Option<&[u8]>, avro: bool, headers: &[(&str, &[u8])]) {
    let mut flags = 0;
    flags |= if value.is_none() { TOMBSTONE } else { 0 };
    flags |= if meta.seq.is_some() { NUMBERED } else { 0 };
    flags |= if avro { AVRO } else { 0 };
    let body = value.unwrap_or_default();
    out.clear();
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&meta.line.to_le_bytes());
    out.extend_from_slice(&[rank(meta.class) as u8, flags, headers.len() as u8, 0, 0, 0]);
    out.extend_from_slice(&(key.len() as u32).to_le_bytes());
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(&meta.seq.unwrap_or(0).to_le_bytes());
    out.extend_from_slice(&meta.timestamp_us.to_le_bytes());
    out.extend_from_slice(&meta.accepted_us.to_le_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(body);
    for (name, value) in headers {
        let value = &value[..value.len().min(usize::from(u16::MAX))];
        out.extend_from_slice(&(name.len() as u16).to_le_bytes());
        out.extend_from_slice(&(value.len() as u16).to_le_bytes());
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(value);
    }
    let padding = out.len().next_multiple_of(WORD) - out.len();
    out[13] = padding as u8;
    out.extend_from_slice(&[0; WORD][..padding]);
    let length = out.len() as u32;
    out[0..4].copy_from_slice(&length.to_le_bytes());
    let crc = crc32fast::hash(&out[8..]);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// A frame that was read. Key, value and headers are slices of the block that it was read with.
#[derive(Debug, Clone)]
pub struct Frame {
    pub meta: Meta,
    pub key: Bytes,
    pub value: Option<Bytes>,
    pub headers: Headers,
    /// Bytes in the ring.
    pub size: usize,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Bad {
    /// The block ends inside; it needs this many bytes.
    Short(usize),
    /// These bytes are no frame.
    Damaged,
}

/// The frame at `at`.
pub fn read(block: &Bytes, at: usize) -> Result<Frame, Bad> {
    let left = &block[at..];
    let Some(fixed) = left.first_chunk::<FIXED>() else { return Err(Bad::Short(FIXED)) };
    let u32_at = |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
    let size = u32_at(0) as usize;
    if size < FIXED || !size.is_multiple_of(WORD) {
        return Err(Bad::Damaged);
    }
    if left.len() < size {
        return Err(Bad::Short(size));
    }
    if crc32fast::hash(&left[8..size]) != u32_at(4) {
        return Err(Bad::Damaged);
    }
    let flags = fixed[11];
    let meta = Meta {
        line: u16::from_le_bytes([fixed[8], fixed[9]]),
        class: *SHED_ORDER.get(usize::from(fixed[10])).ok_or(Bad::Damaged)?,
        seq: (flags & NUMBERED != 0).then(|| u64_at(24).cast_signed()),
        timestamp_us: u64_at(32).cast_signed(),
        accepted_us: u64_at(40),
    };
    let mut cut = Cut { block, at: at + FIXED, end: at + size };
    let key = cut.take(u32_at(16) as usize)?;
    let value = cut.take(u32_at(20) as usize)?;
    let mut headers = Headers::with_capacity(usize::from(fixed[12]) + 1);
    if flags & AVRO != 0 {
        headers.push((header::name(header::CONTENT_TYPE), Bytes::from_static(header::AVRO.as_bytes())));
    }
    for _ in 0..fixed[12] {
        let (name, value) = (cut.length()?, cut.length()?);
        let name = cut.take(name)?;
        let name = std::str::from_utf8(&name).map_err(|_| Bad::Damaged)?;
        headers.push((header::name(name), cut.take(value)?));
    }
    Ok(Frame { meta, key, value: (flags & TOMBSTONE == 0).then_some(value), headers, size })
}

struct Cut<'a> {
    block: &'a Bytes,
    at: usize,
    end: usize,
}

impl Cut<'_> {
    fn take(&mut self, bytes: usize) -> Result<Bytes, Bad> {
        let to = self.at.checked_add(bytes).filter(|to| *to <= self.end).ok_or(Bad::Damaged)?;
        let slice = self.block.slice(self.at..to);
        self.at = to;
        Ok(slice)
    }

    fn length(&mut self) -> Result<usize, Bad> {
        let bytes = self.take(2)?;
        Ok(usize::from(u16::from_le_bytes([bytes[0], bytes[1]])))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn meta(seq: Option<i64>, class: usize) -> Meta {
        Meta { line: 7, class: SHED_ORDER[class], seq, timestamp_us: -5, accepted_us: 1 << 40 }
    }

    proptest! {
        #[test]
        fn a_frame_comes_back_as_it_was_and_no_cut_or_flipped_bit_goes_unseen(
            key in proptest::collection::vec(any::<u8>(), 0..40),
            value in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200)),
            kind in proptest::option::of("[a-z-]{0,20}"),
            seq in proptest::option::of(any::<i64>()),
            class in 0_usize..5,
            cut in any::<prop::sample::Index>(),
            flip in any::<prop::sample::Index>(),
        ) {
            let headers: Vec<(&str, &[u8])> = kind.iter().map(|k| (header::EVENT_TYPE, k.as_bytes())).collect();
            let mut bytes = Vec::new();
            write(&mut bytes, &meta(seq, class), &key, value.as_deref(), true, &headers);
            prop_assert!(bytes.len().is_multiple_of(WORD));
            let frame = read(&Bytes::from(bytes.clone()), 0).expect("a whole frame");
            prop_assert_eq!(frame.meta, meta(seq, class));
            prop_assert_eq!(&frame.key[..], &key[..]);
            prop_assert_eq!(frame.value.as_deref(), value.as_deref());
            prop_assert_eq!(frame.headers.len(), 1 + headers.len());
            prop_assert_eq!(frame.size, bytes.len());
            let short = bytes[..cut.index(bytes.len())].to_vec();
            prop_assert!(matches!(read(&Bytes::from(short), 0), Err(Bad::Short(_))));
            let at = flip.index(bytes.len() * 8);
            let mut wrong = bytes;
            wrong[at / 8] ^= 1 << (at % 8);
            prop_assert!(read(&Bytes::from(wrong), 0).is_err());
        }
    }
}
