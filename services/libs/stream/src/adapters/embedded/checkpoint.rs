//! The first frame of every segment: what a reader must know if all earlier segments are gone.
//!
//! It names the topics, the next offset of every partition at that moment, every group's commits, and how many bytes of the segment
//! before it count: after a failed write the rest of that file is dead.

use std::collections::BTreeMap;

use super::frame::{self, KIND_CHECKPOINT, KIND_COMMIT, KIND_TOPIC};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicState {
    pub name: String,
    pub compacted: bool,
    /// Next offset per partition.
    pub ends: Vec<i64>,
}

/// (topic id, partition) → next offset.
pub type Commits = BTreeMap<(u16, u16), i64>;
pub type Groups = BTreeMap<String, Commits>;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checkpoint {
    /// Valid length of the segment before; 0 for the first.
    pub previous_len: u64,
    pub topics: Vec<TopicState>,
    pub groups: Groups,
}

/// The small frames that change what the next checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Topic { id: u16, name: String, partitions: u16, compacted: bool },
    Commit { group: String, topic: u16, partition: u16, next: i64 },
}

pub fn write_change(out: &mut Vec<u8>, segment: u64, base: u64, change: &Change) {
    frame::write(out, segment, base, |out| match change {
        Change::Topic { id, name, partitions, compacted } => {
            out.push(KIND_TOPIC);
            out.extend_from_slice(&id.to_le_bytes());
            out.extend_from_slice(&partitions.to_le_bytes());
            out.push(u8::from(*compacted));
            out.extend_from_slice(name.as_bytes());
        }
        Change::Commit { group, topic, partition, next } => {
            out.push(KIND_COMMIT);
            out.extend_from_slice(&topic.to_le_bytes());
            out.extend_from_slice(&partition.to_le_bytes());
            out.extend_from_slice(&next.to_le_bytes());
            out.extend_from_slice(group.as_bytes());
        }
    });
}

pub fn read_change(body: &[u8]) -> Option<Change> {
    match *body.first()? {
        KIND_TOPIC if body.len() >= 6 => Some(Change::Topic {
            id: frame::u16_at(body, 1),
            partitions: frame::u16_at(body, 3),
            compacted: body[5] != 0,
            name: std::str::from_utf8(&body[6..]).ok()?.to_owned(),
        }),
        KIND_COMMIT if body.len() >= 13 => Some(Change::Commit {
            topic: frame::u16_at(body, 1),
            partition: frame::u16_at(body, 3),
            next: frame::i64_at(body, 5),
            group: std::str::from_utf8(&body[13..]).ok()?.to_owned(),
        }),
        _ => None,
    }
}

impl Checkpoint {
    pub fn write(&self, out: &mut Vec<u8>, segment: u64, base: u64) {
        frame::write(out, segment, base, |out| self.encode(out));
    }

    /// The body of the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(KIND_CHECKPOINT);
        out.extend_from_slice(&self.previous_len.to_le_bytes());
        out.extend_from_slice(&(self.topics.len() as u16).to_le_bytes());
        for topic in &self.topics {
            put_text(out, &topic.name);
            out.push(u8::from(topic.compacted));
            out.extend_from_slice(&(topic.ends.len() as u16).to_le_bytes());
            for end in &topic.ends {
                out.extend_from_slice(&end.to_le_bytes());
            }
        }
        out.extend_from_slice(&(self.groups.len() as u16).to_le_bytes());
        for (group, commits) in &self.groups {
            put_text(out, group);
            out.extend_from_slice(&(commits.len() as u32).to_le_bytes());
            for ((topic, partition), next) in commits {
                out.extend_from_slice(&topic.to_le_bytes());
                out.extend_from_slice(&partition.to_le_bytes());
                out.extend_from_slice(&next.to_le_bytes());
            }
        }
    }

    pub fn read(body: &[u8]) -> Option<Self> {
        let mut rest = Rest(body.strip_prefix(&[KIND_CHECKPOINT])?);
        let previous_len = rest.i64()?.cast_unsigned();
        let mut topics = Vec::new();
        for _ in 0..rest.u16()? {
            let name = rest.text()?;
            let compacted = rest.take(1)?[0] != 0;
            let ends = (0..rest.u16()?).map(|_| rest.i64()).collect::<Option<_>>()?;
            topics.push(TopicState { name, compacted, ends });
        }
        let mut groups = Groups::new();
        for _ in 0..rest.u16()? {
            let group = rest.text()?;
            let mut commits = Commits::new();
            for _ in 0..rest.u32()? {
                let at = (rest.u16()?, rest.u16()?);
                commits.insert(at, rest.i64()?);
            }
            groups.insert(group, commits);
        }
        Some(Self { previous_len, topics, groups })
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Takes numbers and texts off the front of bytes; `None` when they end.
pub struct Rest<'a>(pub &'a [u8]);

impl<'a> Rest<'a> {
    pub fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n)?;
        self.0 = tail;
        Some(head)
    }
    pub fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|b| frame::u16_at(b, 0))
    }
    pub fn u32(&mut self) -> Option<u32> {
        self.take(4).map(|b| frame::u32_at(b, 0))
    }
    pub fn i64(&mut self) -> Option<i64> {
        self.take(8).map(|b| frame::i64_at(b, 0))
    }
    pub fn text(&mut self) -> Option<String> {
        let len = self.u16()?;
        self.take(len.into()).and_then(|b| std::str::from_utf8(b).ok()).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{Parsed, parse};
    use super::*;

    #[test]
    fn a_checkpoint_reads_back_as_written() {
        let mut groups = Groups::new();
        groups.entry("g".into()).or_default().insert((1, 2), 77);
        let checkpoint = Checkpoint {
            previous_len: 4711,
            topics: vec![
                TopicState { name: "a".into(), compacted: false, ends: vec![0, 5, 9] },
                TopicState { name: "b.c".into(), compacted: true, ends: vec![i64::MAX] },
            ],
            groups,
        };
        let mut out = Vec::new();
        checkpoint.write(&mut out, 9, 8);
        let Parsed::Frame { body, .. } = parse(&out, 9, 8, true) else { panic!("no frame") };
        assert_eq!(Checkpoint::read(body), Some(checkpoint));
    }

    #[test]
    fn changes_read_back_as_written() {
        for change in [
            Change::Topic { id: 3, name: "sip.transactions".into(), partitions: 12, compacted: false },
            Change::Commit { group: "trunkline-cdr".into(), topic: 3, partition: 11, next: 1 << 40 },
        ] {
            let mut out = Vec::new();
            write_change(&mut out, 1, 0, &change);
            let Parsed::Frame { body, .. } = parse(&out, 1, 0, true) else { panic!("no frame") };
            assert_eq!(read_change(body), Some(change));
        }
    }
}
