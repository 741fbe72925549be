//! The events and the accounts of one epoch: its ring, what the ring's lines are, and what was lost. There is one that lives and,
//! after a death, some that only have to be emptied and closed.

use parking_lot::{Mutex, RwLock};
use schemas::{Class, ManifestLine, ManifestLoss, StreamManifest, TopicSpec, stream_manifest};

use crate::{
    Outgoing, Reason,
    ring::{Buffer, Frame, Loss, Losses},
};

pub struct Epoch {
    pub ring: Buffer,
    /// By the ring's line: what it is. `None`: a topic that this build does not know.
    lines: RwLock<Vec<Option<(&'static TopicSpec, i32)>>>,
    losses: Mutex<Losses>,
}

impl Epoch {
    /// The one that lives: empty.
    pub fn fresh(ring: Buffer) -> Self {
        Self { ring, lines: RwLock::default(), losses: Mutex::default() }
    }

    /// One that a dead process left.
    pub fn dead(ring: Buffer) -> Self {
        let known = |line: crate::ring::LineEntry| Some((schemas::by_name(&line.topic)?, line.partition));
        let lines = ring.lines().into_iter().map(known).collect();
        let losses = Losses::of(ring.losses());
        Self { ring, lines: RwLock::new(lines), losses: Mutex::new(losses) }
    }

    /// Takes a line for every partition of a topic. `None`: the ring's table is full. The caller adds one topic at a time.
    pub fn add_topic(&self, topic: &'static TopicSpec) -> Option<Vec<u16>> {
        let mut lines = self.lines.write();
        let mut taken = Vec::new();
        for partition in 0..topic.partitions.max(1) {
            taken.push(self.ring.add_line(topic.name, partition)?);
            lines.push(Some((topic, partition)));
        }
        Some(taken)
    }

    /// A topic that holds events here and that this build does not know.
    pub fn unknown_topic(&self) -> Option<String> {
        let lines = self.lines.read();
        let unknown = |(at, entry): (usize, crate::ring::LineEntry)| (lines[at].is_none()).then_some(entry.topic);
        self.ring.lines().into_iter().enumerate().take(lines.len()).find_map(unknown)
    }

    /// The frames as records of a log. The caller has seen to it that every line is known.
    pub fn records(&self, frames: &[Frame]) -> Vec<Outgoing> {
        let lines = self.lines.read();
        let record = |frame: &Frame| {
            let (topic, partition) = lines.get(usize::from(frame.meta.line)).copied().flatten()?;
            Some(Outgoing {
                topic,
                partition,
                timestamp_us: frame.meta.timestamp_us,
                key: frame.key.clone(),
                value: frame.value.clone(),
                headers: frame.headers.clone(),
            })
        };
        frames.iter().filter_map(record).collect()
    }

    pub fn line(&self, line: u16) -> Option<(&'static TopicSpec, i32)> {
        self.lines.read().get(usize::from(line)).copied().flatten()
    }

    /// A number that will not arrive, in memory and in the file.
    pub fn lost(&self, line: u16, class: Class, reason: Reason, first: i64, last: i64) {
        let mut losses = self.losses.lock();
        let events = (last - first + 1).max(0).cast_unsigned();
        let changed = losses.add(Loss { line, class, reason, first, last, events });
        for at in changed.into_iter().flatten() {
            self.ring.set_loss(at, &losses.ranges()[at]);
        }
    }

    pub fn losses(&self) -> Vec<Loss> {
        self.losses.lock().ranges().to_vec()
    }

    pub fn events_lost(&self) -> u64 {
        self.losses.lock().total()
    }

    /// Declares every number that was given, is not safe and is not in the ring: what a damaged ring took with it.
    pub fn declare_the_unreadable(&self) -> u64 {
        let mut declared = 0;
        let losses = self.losses();
        for (at, entry) in self.ring.lines().into_iter().enumerate() {
            let (line, class) = (at as u16, self.line(at as u16).map_or(Class::Life, |(topic, _)| topic.class));
            let known = losses.iter().filter(|l| l.line == line).map(|l| (l.first, l.last));
            for (first, last) in uncovered(entry.safe_seq, entry.next_seq, known.collect()) {
                declared += (last - first + 1).cast_unsigned();
                self.lost(line, class, Reason::Damaged, first, last);
            }
        }
        declared
    }

    /// The account of this epoch as it stands. Numbers are read before losses, so that no loss below a number is missing.
    pub fn manifest(&self, producer: &str, epoch: i64, closed_by: Option<&str>, made_us: i64) -> StreamManifest {
        let entries = self.ring.lines();
        let mut losses = self.losses();
        losses.sort_by_key(|l| l.first);
        let mut lines = Vec::new();
        for (at, entry) in entries.into_iter().enumerate() {
            let own = apart(losses.iter().filter(|l| usize::from(l.line) == at));
            let next_seq = own.iter().map(|l| l.last + 1).max().unwrap_or(0).max(entry.next_seq);
            if next_seq > 0 && entry.topic != stream_manifest::TOPIC.name {
                lines.push(ManifestLine { topic: entry.topic, partition: entry.partition, next_seq, losses: own });
            }
        }
        StreamManifest {
            event_type: if closed_by.is_some() { stream_manifest::CLOSED } else { stream_manifest::OPEN }.to_owned(),
            producer: producer.to_owned(),
            epoch,
            closed_by: closed_by.map(str::to_owned),
            made_us,
            lines,
            ..StreamManifest::default()
        }
    }
}

/// Losses of one line as a manifest has them: in order, and none over another. Only ranges of a full table ever overlap.
fn apart<'a>(losses: impl Iterator<Item = &'a Loss>) -> Vec<ManifestLoss> {
    let mut out: Vec<ManifestLoss> = Vec::new();
    for loss in losses {
        let events = loss.events.cast_signed();
        match out.last_mut() {
            Some(before) if loss.first <= before.last => {
                before.last = before.last.max(loss.last);
                before.events = (before.events + events).min(before.last - before.first + 1);
            }
            _ => out.push(ManifestLoss {
                first: loss.first,
                last: loss.last,
                events,
                reason: loss.reason.as_str().to_owned(),
                class: loss.class.as_str().to_owned(),
            }),
        }
    }
    out
}

/// The parts of `from..to` that none of the ranges (both ends inclusive) covers: pure.
fn uncovered(from: i64, to: i64, mut ranges: Vec<(i64, i64)>) -> Vec<(i64, i64)> {
    ranges.sort_unstable();
    let mut at = from;
    let mut out = Vec::new();
    for (first, last) in ranges {
        if first >= to {
            break;
        }
        if first > at {
            out.push((at, first - 1));
        }
        at = at.max(last + 1);
    }
    if at < to {
        out.push((at, to - 1));
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_uncovered_and_what_is_covered_are_all_numbers_once(
            from in 0_i64..30, length in 0_i64..30,
            ranges in proptest::collection::vec((0_i64..60, 0_i64..8), 0..8),
        ) {
            let to = from + length;
            let ranges: Vec<(i64, i64)> = ranges.into_iter().map(|(first, more)| (first, first + more)).collect();
            let found = uncovered(from, to, ranges.clone());
            for number in 0..100 {
                let covered = ranges.iter().any(|(f, l)| (*f..=*l).contains(&number));
                let expected = (from..to).contains(&number) && !covered;
                let count = found.iter().filter(|(f, l)| (*f..=*l).contains(&number)).count();
                prop_assert_eq!(count, usize::from(expected), "{}", number);
            }
        }
    }
}
