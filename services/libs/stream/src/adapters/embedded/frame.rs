//! The frames of a segment file: layout, encoding, parsing, finding the next good one.
//!
//! ```text
//! marker u32 | len u32 | crc u32 | body (len bytes)          all numbers little endian
//! body = kind u8, then
//!   record      topic u16, partition u16, offset u64, timestamp i64, headers u16, key len u32, value len u32 (MAX = tombstone),
//!               headers (name len u16, name, value len u32, value)*, key, value
//!   topic       id u16, partitions u16, compacted u8, name
//!   commit      topic u16, partition u16, next offset u64, group
//!   checkpoint  see `checkpoint.rs`; the first frame of every segment
//! ```
//!
//! The CRC also covers the segment's number and the frame's position. So a frame found at the wrong place (a stale block, or bytes
//! inside somebody's payload that look like a frame) is never taken for one, and searching for the next good frame after damage is safe.

use bytes::Bytes;
use memchr::memmem;

use crate::record::{Headers, Outgoing, header};

const MARKER: [u8; 4] = *b"TLF1";
pub const HEAD: usize = 12;
/// A frame's body may not be longer; a larger `len` is damage, not data.
pub const MAX_BODY: usize = 16 << 20;
const TOMBSTONE: u32 = u32::MAX;
const RECORD_FIXED: usize = 1 + 2 + 2 + 8 + 8 + 2 + 4 + 4;

pub const KIND_RECORD: u8 = 1;
pub const KIND_TOPIC: u8 = 2;
pub const KIND_COMMIT: u8 = 3;
pub const KIND_CHECKPOINT: u8 = 4;

/// What stands at a position.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// A whole frame of `total` bytes.
    Frame { body: &'a [u8], total: usize },
    /// The bytes end before the frame does; it needs `total` bytes (or at least a head).
    Short { total: usize },
    /// No frame.
    Bad,
}

/// Start of a record's body; enough to decide whether a reader wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHead {
    pub topic: u16,
    pub partition: u16,
    pub offset: i64,
    pub timestamp_us: i64,
}

fn crc(segment: u64, pos: u64, body: &[u8]) -> u32 {
    let mut place = [0_u8; 16];
    place[..8].copy_from_slice(&segment.to_le_bytes());
    place[8..].copy_from_slice(&pos.to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&place);
    hasher.update(body);
    hasher.finalize()
}

/// Writes one frame at the end of `out`, which starts at file position `base` of `segment`.
pub fn write(out: &mut Vec<u8>, segment: u64, base: u64, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&MARKER);
    out.extend_from_slice(&[0; 8]);
    body(out);
    let len = out.len() - start - HEAD;
    debug_assert!(len <= MAX_BODY, "callers check the size before");
    let sum = crc(segment, base + start as u64, &out[start + HEAD..]);
    out[start + 4..start + 8].copy_from_slice(&(len as u32).to_le_bytes());
    out[start + 8..start + 12].copy_from_slice(&sum.to_le_bytes());
}

pub fn write_record(out: &mut Vec<u8>, segment: u64, base: u64, topic: u16, offset: i64, record: &Outgoing) {
    write(out, segment, base, |out| {
        let value_len = record.value.as_ref().map_or(TOMBSTONE, |v| v.len() as u32);
        let mut fixed = [0_u8; RECORD_FIXED];
        fixed[0] = KIND_RECORD;
        fixed[1..3].copy_from_slice(&topic.to_le_bytes());
        fixed[3..5].copy_from_slice(&(record.partition as u16).to_le_bytes());
        fixed[5..13].copy_from_slice(&offset.to_le_bytes());
        fixed[13..21].copy_from_slice(&record.timestamp_us.to_le_bytes());
        fixed[21..23].copy_from_slice(&(record.headers.len() as u16).to_le_bytes());
        fixed[23..27].copy_from_slice(&(record.key.len() as u32).to_le_bytes());
        fixed[27..31].copy_from_slice(&value_len.to_le_bytes());
        out.extend_from_slice(&fixed);
        for (name, value) in &record.headers {
            out.extend_from_slice(&(name.len() as u16).to_le_bytes());
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(&(value.len() as u32).to_le_bytes());
            out.extend_from_slice(value);
        }
        out.extend_from_slice(&record.key);
        if let Some(value) = &record.value {
            out.extend_from_slice(value);
        }
    });
}

/// Gives a copied record body another offset.
pub fn set_record_offset(body: &mut [u8], offset: i64) {
    body[5..13].copy_from_slice(&offset.to_le_bytes());
}

/// Bytes that a record will take in the file.
pub fn record_size(record: &Outgoing) -> usize {
    let headers: usize = record.headers.iter().map(|(n, v)| 6 + n.len() + v.len()).sum();
    HEAD + RECORD_FIXED + headers + record.key.len() + record.value.as_ref().map_or(0, Bytes::len)
}

/// Looks at the bytes that stand at `pos` of `segment`. With `verify` false the CRC is not computed (the reader skips the frame).
pub fn parse(bytes: &[u8], segment: u64, pos: u64, verify: bool) -> Parsed<'_> {
    if bytes.len() < HEAD {
        return if MARKER.starts_with(&bytes[..bytes.len().min(4)]) {
            Parsed::Short { total: HEAD }
        } else {
            Parsed::Bad
        };
    }
    if bytes[..4] != MARKER {
        return Parsed::Bad;
    }
    let len = u32_at(bytes, 4) as usize;
    if len == 0 || len > MAX_BODY {
        return Parsed::Bad;
    }
    let total = HEAD + len;
    let Some(body) = bytes.get(HEAD..total) else { return Parsed::Short { total } };
    if verify && crc(segment, pos, body) != u32_at(bytes, 8) {
        return Parsed::Bad;
    }
    Parsed::Frame { body, total }
}

/// The first good frame at or after `bytes[from]`; `bytes[0]` stands at `base`.
pub fn resync(bytes: &[u8], segment: u64, base: u64, from: usize) -> Option<usize> {
    memmem::find_iter(bytes.get(from..)?, &MARKER)
        .map(|at| from + at)
        .find(|at| matches!(parse(&bytes[*at..], segment, base + *at as u64, true), Parsed::Frame { .. }))
}

pub fn record_head(body: &[u8]) -> Option<RecordHead> {
    if body.len() < RECORD_FIXED || body[0] != KIND_RECORD {
        return None;
    }
    Some(RecordHead {
        topic: u16_at(body, 1),
        partition: u16_at(body, 3),
        offset: i64_at(body, 5),
        timestamp_us: i64_at(body, 13),
    })
}

pub struct RecordBody {
    pub key: Bytes,
    pub value: Option<Bytes>,
    pub headers: Headers,
}

/// Key, value and headers of a record's body, as slices of it. `None` when the lengths do not add up.
pub fn record_body(body: &Bytes) -> Option<RecordBody> {
    let count = u16_at(body.get(..RECORD_FIXED)?, 21);
    let key_len = u32_at(body, 23) as usize;
    let value_len = u32_at(body, 27);
    let mut at = RECORD_FIXED;
    let mut take = |n: usize| {
        let end = at.checked_add(n).filter(|end| *end <= body.len())?;
        let range = at..end;
        at = end;
        Some(range)
    };
    let mut headers = Headers::with_capacity(usize::from(count).min(64));
    for _ in 0..count {
        let len = u16_at(&body[take(2)?], 0);
        let name = std::str::from_utf8(&body[take(len.into())?]).ok()?;
        let len = u32_at(&body[take(4)?], 0);
        headers.push((header::name(name), body.slice(take(len as usize)?)));
    }
    let key = body.slice(take(key_len)?);
    let value = if value_len == TOMBSTONE { None } else { Some(body.slice(take(value_len as usize)?)) };
    Some(RecordBody { key, value, headers })
}

/// Number at a place that the caller knows to exist.
pub fn u16_at(b: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([b[at], b[at + 1]])
}

pub fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

pub fn i64_at(b: &[u8], at: usize) -> i64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(&b[at..at + 8]);
    i64::from_le_bytes(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(segment: u64, base: u64, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, segment, base, |out| out.extend_from_slice(payload));
        out
    }

    #[test]
    fn a_frame_is_good_only_where_it_was_written() {
        let bytes = frame(3, 100, b"payload");
        assert!(matches!(parse(&bytes, 3, 100, true), Parsed::Frame { body: b"payload", total: 19 }));
        assert_eq!(parse(&bytes, 3, 101, true), Parsed::Bad);
        assert_eq!(parse(&bytes, 4, 100, true), Parsed::Bad);
    }

    #[test]
    fn every_single_bit_flip_is_noticed() {
        let good = frame(1, 0, b"some bytes");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(parse(&bad, 1, 0, true), Parsed::Frame { .. }), "bit {bit}");
        }
    }

    #[test]
    fn every_cut_is_short_and_never_a_frame() {
        let good = frame(1, 0, b"some bytes");
        for len in 0..good.len() {
            assert!(matches!(parse(&good[..len], 1, 0, true), Parsed::Short { .. }), "{len}");
        }
    }

    #[test]
    fn resync_skips_a_frame_that_hides_in_a_payload() {
        let inner = frame(1, 0, b"forged");
        let mut file = frame(1, 0, &inner);
        let second = file.len();
        file.extend_from_slice(&frame(1, second as u64, b"next"));
        file[HEAD + 3] ^= 0xff;
        assert_eq!(resync(&file, 1, 0, 1), Some(second));
    }
}
