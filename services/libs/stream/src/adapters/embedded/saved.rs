//! What opening would have to scan a closed segment for, kept beside it in `<number>.idx`; and the names of the topics in `topics`.
//!
//! Both are only a help. They are written without a sync and believed only when everything fits: the sum, the segment's number, its
//! length as the next segment states it, and a fingerprint of its bytes. Otherwise the segment is scanned and the file written anew.
//! Damage inside a segment whose index is good is found when it is read.
//!
//! ```text
//! magic | segment u64 | length u64 | fingerprint u32 | crc u32 of all other bytes | body       all numbers little endian
//! body = checkpoint at the segment's start, checkpoint at its end (u32 length each), newest timestamp i64, records u64, then, each
//!        with its u32 count: partitions, newest offset per key of the state topics, damaged ranges
//! ```

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{
    checkpoint::{Checkpoint, Rest},
    files::Files,
    frame::{self, HEAD, Parsed},
    index::{Part, PartIndex, SegmentIndex},
    recover::{FIRST_FRAME, Latest},
    shared::Damage,
};

const MAGIC: [u8; 8] = *b"TRKIDX01";
const CRC_AT: usize = 28;
const BODY_AT: usize = 32;
/// Bytes at a segment's end that its fingerprint covers.
const TAIL: u64 = 64;
/// The frame in `topics` is bound to this number and to no segment's.
const NAMES: u64 = u64::MAX;

#[derive(Debug, Default)]
pub struct Saved {
    pub len: u64,
    pub index: SegmentIndex,
    /// What the checkpoints before and behind the segment say of topics and groups.
    pub start: Checkpoint,
    pub end: Checkpoint,
    /// Of the segment's records of state topics, the newest of each key.
    pub latest: Vec<(Part, Box<[u8]>, i64)>,
    pub damage: Vec<(u64, u64)>,
}

pub fn index_path(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("{id:020}.idx"))
}

impl Saved {
    /// Writes the file of segment `id`. Whoever has no file scans, so a failure costs time only.
    pub fn store(&self, files: &dyn Files, dir: &Path, id: u64, segment: &File) -> io::Result<()> {
        put(files, &index_path(dir, id), &self.encode(id, fingerprint(segment, self.len)?))
    }

    /// The file of segment `id`, if it fits this segment with this length.
    pub fn load(dir: &Path, id: u64, segment: &File, len: u64) -> Option<Self> {
        let bytes = fs::read(index_path(dir, id)).ok()?;
        let print = fingerprint(segment, len).ok()?;
        Self::decode(&bytes, id, len, print)
    }

    fn encode(&self, id: u64, print: u32) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&id.to_le_bytes());
        out.extend_from_slice(&self.len.to_le_bytes());
        out.extend_from_slice(&print.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for checkpoint in [&self.start, &self.end] {
            let at = out.len();
            out.extend_from_slice(&[0; 4]);
            checkpoint.encode(&mut out);
            let len = (out.len() - at - 4) as u32;
            out[at..at + 4].copy_from_slice(&len.to_le_bytes());
        }
        out.extend_from_slice(&self.index.newest_us.to_le_bytes());
        out.extend_from_slice(&self.index.records.to_le_bytes());
        out.extend_from_slice(&(self.index.parts().count() as u32).to_le_bytes());
        for ((topic, partition), part) in self.index.parts() {
            out.extend_from_slice(&topic.to_le_bytes());
            out.extend_from_slice(&partition.to_le_bytes());
            out.extend_from_slice(&part.first.to_le_bytes());
            out.extend_from_slice(&part.next.to_le_bytes());
            out.extend_from_slice(&(part.entries().len() as u32).to_le_bytes());
            for (delta, pos) in part.entries() {
                out.extend_from_slice(&delta.to_le_bytes());
                out.extend_from_slice(&pos.to_le_bytes());
            }
        }
        out.extend_from_slice(&(self.latest.len() as u32).to_le_bytes());
        for ((topic, partition), key, offset) in &self.latest {
            out.extend_from_slice(&topic.to_le_bytes());
            out.extend_from_slice(&partition.to_le_bytes());
            out.extend_from_slice(&offset.to_le_bytes());
            out.extend_from_slice(&(key.len() as u32).to_le_bytes());
            out.extend_from_slice(key);
        }
        out.extend_from_slice(&(self.damage.len() as u32).to_le_bytes());
        for (from, to) in &self.damage {
            out.extend_from_slice(&from.to_le_bytes());
            out.extend_from_slice(&to.to_le_bytes());
        }
        let sum = sum(&out);
        out[CRC_AT..BODY_AT].copy_from_slice(&sum.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8], id: u64, len: u64, print: u32) -> Option<Self> {
        let body = bytes.get(BODY_AT..)?;
        let fits = bytes.starts_with(&MAGIC)
            && frame::i64_at(bytes, 8).cast_unsigned() == id
            && frame::i64_at(bytes, 16).cast_unsigned() == len
            && frame::u32_at(bytes, 24) == print
            && frame::u32_at(bytes, CRC_AT) == sum(bytes);
        if !fits {
            return None;
        }
        let mut rest = Rest(body);
        let mut saved = Self { len, ..Self::default() };
        for checkpoint in [&mut saved.start, &mut saved.end] {
            let size = rest.u32()? as usize;
            *checkpoint = Checkpoint::read(rest.take(size)?)?;
        }
        saved.index.newest_us = rest.i64()?;
        saved.index.records = rest.i64()?.cast_unsigned();
        for _ in 0..rest.u32()? {
            let part = (rest.u16()?, rest.u16()?);
            let (first, next, count) = (rest.i64()?, rest.i64()?, rest.u32()? as usize);
            let entries = rest.take(count.checked_mul(8)?)?;
            let entries = entries.chunks_exact(8).map(|e| (frame::u32_at(e, 0), frame::u32_at(e, 4))).collect();
            saved.index.put(part, PartIndex::new(first, next, entries));
        }
        for _ in 0..rest.u32()? {
            let part = (rest.u16()?, rest.u16()?);
            let (offset, size) = (rest.i64()?, rest.u32()? as usize);
            saved.latest.push((part, rest.take(size)?.into(), offset));
        }
        for _ in 0..rest.u32()? {
            saved.damage.push((rest.i64()?.cast_unsigned(), rest.i64()?.cast_unsigned()));
        }
        Some(saved)
    }
}

fn sum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..CRC_AT]);
    hasher.update(&bytes[BODY_AT..]);
    hasher.finalize()
}

/// Tells segments of the same number and length apart: the head of its first frame, with that frame's sum, and its last bytes.
fn fingerprint(segment: &File, len: u64) -> io::Result<u32> {
    let mut bytes = [0; HEAD + TAIL as usize];
    let (head, tail) = bytes.split_at_mut(HEAD);
    segment.read_exact_at(head, FIRST_FRAME)?;
    segment.read_exact_at(tail, len.checked_sub(TAIL).ok_or(io::ErrorKind::UnexpectedEof)?)?;
    Ok(crc32fast::hash(&bytes))
}

/// The newest offsets that stand in this segment, when it is the newest one of its partitions so far.
pub fn latest_of(index: &SegmentIndex, latest: &Latest) -> Vec<(Part, Box<[u8]>, i64)> {
    let mut out = Vec::new();
    for (part, keys) in latest {
        let Some(here) = index.part(*part) else { continue };
        let inside = keys.iter().filter(|(_, offset)| (here.first..here.next).contains(*offset));
        out.extend(inside.map(|(key, offset)| (*part, key.clone(), *offset)));
    }
    out
}

pub fn damage_of(id: u64, damage: &[Damage]) -> Vec<(u64, u64)> {
    damage.iter().filter(|d| d.segment == id).map(|d| (d.from, d.to)).collect()
}

/// The names of all topics once more, for a log whose only other mention of them, in its one segment, is damaged.
pub fn store_names(files: &dyn Files, dir: &Path, topics: &Checkpoint) -> io::Result<()> {
    let mut bytes = Vec::new();
    topics.write(&mut bytes, NAMES, 0);
    put(files, &dir.join("topics"), &bytes)
}

pub fn load_names(dir: &Path) -> Option<Checkpoint> {
    let bytes = fs::read(dir.join("topics")).ok()?;
    let Parsed::Frame { body, .. } = frame::parse(&bytes, NAMES, 0, true) else { return None };
    Checkpoint::read(body)
}

fn put(files: &dyn Files, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let written = files.make(path).and_then(|file| files.write_at(&file, bytes, 0));
    if written.is_err() {
        // Half a file is never believed; without it the disk has a little more room.
        let _best_effort = files.remove(path);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Saved {
        let mut saved = Saved { len: 4096, ..Saved::default() };
        for n in 0..50 {
            saved.index.note((1, (n % 3) as u16), n, 100 + n.cast_unsigned() * 100_000, n * 7);
        }
        saved.end.groups.entry("g".into()).or_default().insert((1, 2), 40);
        saved.latest.push(((1, 0), b"key"[..].into(), 12));
        saved.damage.push((7, 9));
        saved
    }

    #[test]
    fn an_index_reads_back_as_written() {
        let (saved, bytes) = (sample(), sample().encode(3, 99));
        let read = Saved::decode(&bytes, 3, 4096, 99).expect("its own bytes");
        assert_eq!(
            (read.start, read.end, read.latest, read.damage),
            (saved.start, saved.end, saved.latest, saved.damage)
        );
        assert_eq!((read.index.newest_us, read.index.records), (saved.index.newest_us, saved.index.records));
        for (part, index) in saved.index.parts() {
            assert_eq!(read.index.part(part), Some(index));
        }
    }

    #[test]
    fn an_index_that_does_not_fit_is_not_believed() {
        let bytes = sample().encode(3, 99);
        assert!(Saved::decode(&bytes, 4, 4096, 99).is_none(), "another segment");
        assert!(Saved::decode(&bytes, 3, 4097, 99).is_none(), "another length");
        assert!(Saved::decode(&bytes, 3, 4096, 98).is_none(), "other bytes");
        for cut in 0..bytes.len() {
            assert!(Saved::decode(&bytes[..cut], 3, 4096, 99).is_none(), "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Saved::decode(&bad, 3, 4096, 99).is_none(), "bit {bit}");
        }
    }
}
