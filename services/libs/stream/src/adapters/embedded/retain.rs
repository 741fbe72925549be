//! Retention: whole segments go from the front, by size and age; what state topics still need is carried forward first. Or, in a log
//! that is a way and not a store, when they are done with.

use std::{fs::File, io, sync::atomic::Ordering};

use super::{
    Keep,
    frame::{self, KIND_RECORD},
    recover::{self, FIRST_FRAME, segment_path},
    saved,
    scan::{Scan, Step},
    shared::Damage,
    writer::{Additions, Touch, Writer},
};
use crate::LogError;

impl Writer {
    /// Drops what may go, never the last segment.
    pub fn retain(&mut self) {
        // What is carried forward needs a segment that takes it: the next commit begins one and comes here again.
        if self.active.abandoned {
            return;
        }
        match self.config.keep.clone() {
            Keep::Age { age, bytes } => self.drop_old(i64::try_from(age.as_micros()).unwrap_or(i64::MAX), bytes),
            Keep::Uncommitted { group, .. } => {
                let done = self.shared.state.read().groups.get(&group).cloned().unwrap_or_default();
                self.drop_done(&done);
            }
        }
    }

    fn drop_old(&mut self, age_us: i64, bytes: u64) {
        if self.shared.counters.bytes.load(Ordering::Relaxed) < self.carry_again_at {
            return;
        }
        let last_candidate = self.active.id;
        loop {
            let oldest = {
                let state = self.shared.state.read();
                let total = state.total_bytes();
                state.segments.first_key_value().and_then(|(id, segment)| {
                    let too_much = total > bytes;
                    let too_old = segment.index.newest_us < super::wall_us().saturating_sub(age_us);
                    (*id < last_candidate && (too_much || too_old)).then(|| (*id, segment.file.clone(), segment.len))
                })
            };
            let Some((id, file, len)) = oldest else { return };
            match self.drop_segment(id, &file, len) {
                // Mostly state that lives: going on would write it anew again and again. First as much else has to come.
                Ok(carried) if carried > len / 2 => {
                    self.carry_again_at = self.shared.counters.bytes.load(Ordering::Relaxed) + carried;
                    return;
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(segment = id, %error, "could not drop an old segment of the event log; trying again later");
                    return;
                }
            }
        }
    }

    /// Answers how many bytes of it were written again.
    fn drop_segment(&mut self, id: u64, file: &File, len: u64) -> Result<u64, LogError> {
        let carried = self.carry_forward(id, file, len)?;
        self.remove_segment(id)?;
        Ok(carried)
    }

    pub(super) fn remove_segment(&mut self, id: u64) -> Result<(), LogError> {
        let path = segment_path(&self.shared.dir, id);
        match self.config.files.remove(&path) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(LogError::io(format!("cannot remove {}", path.display()), &e)),
        }
        let _was_not_there = self.config.files.remove(&saved::index_path(&self.shared.dir, id));
        let next = self.shared.state.read().segments.range(id + 1..).next().map(|(id, s)| (*id, s.file.clone()));
        // Nobody knows better where each partition stood when the next segment was begun.
        let start = next.and_then(|(id, file)| recover::peek(&file, id).ok().flatten());
        let mut state = self.shared.state.write();
        if let Some(segment) = state.segments.remove(&id) {
            for ((topic, partition), index) in segment.index.parts() {
                let stood = start.as_ref().and_then(|s| s.topics.get(usize::from(topic)));
                let stood = stood.and_then(|t| t.ends.get(usize::from(partition))).copied().unwrap_or(0);
                if let Some(bounds) = state.bounds_mut(topic, partition) {
                    bounds.begin = bounds.begin.max(index.next).max(stood);
                }
            }
        }
        drop(state);
        self.shared.counters.dropped_segments.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// State topics keep the newest value of each key: what stands in the segment to be dropped is appended again, with a new offset.
    /// A newest tombstone too, but once only: everything that it deletes is older and already gone, yet a reader that has had it and
    /// has not come to the tombstone would believe it for ever. After a restart it may be carried once more.
    fn carry_forward(&mut self, id: u64, file: &File, len: u64) -> Result<u64, LogError> {
        let has_state = {
            let state = self.shared.state.read();
            state.segments.get(&id).is_some_and(|s| {
                s.index.parts().any(|((topic, _), _)| state.topics.get(usize::from(topic)).is_some_and(|t| t.compacted))
            })
        };
        if !has_state {
            return Ok(0);
        }
        // For its segment it is as young as any other record there: else state alone would be written anew in every round.
        let now_us = super::wall_us();
        self.buffer.clear();
        let mut additions = Additions::default();
        let (mut ended, mut buried) = (Vec::new(), Vec::new());
        let mut scan = Scan::new(file, id, FIRST_FRAME.min(len), len);
        loop {
            let body = match scan.step().map_err(|e| LogError::io("cannot read a segment before dropping it", &e))? {
                Step::Frame { body, .. } if body[0] == KIND_RECORD => body,
                Step::Frame { .. } => continue,
                // Nobody can read it later: what lived there is lost, and that is said.
                Step::Damage { from, to } => {
                    self.shared.report(Damage { segment: id, from, to });
                    continue;
                }
                Step::Tail { from } => {
                    self.shared.report(Damage { segment: id, from, to: len });
                    break;
                }
                Step::End => break,
            };
            let Some(head) = frame::record_head(body) else { continue };
            let part = (head.topic, head.partition);
            let Some(keys) = self.latest.get(&part) else { continue };
            let Some(record) = frame::record_body(&bytes::Bytes::copy_from_slice(body)) else { continue };
            if keys.get(record.key.as_ref()) != Some(&head.offset) {
                continue;
            }
            let is_tombstone = record.value.is_none();
            if is_tombstone && self.buried.get(&part).and_then(|k| k.get(record.key.as_ref())) == Some(&head.offset) {
                ended.push((part, record.key));
                continue;
            }
            let end = &mut self.plan.topics[usize::from(head.topic)].ends[usize::from(head.partition)];
            let offset = *end;
            *end += 1;
            let pos = self.pos();
            frame::write(&mut self.buffer, self.active.id, self.active.len, |out| {
                let start = out.len();
                out.extend_from_slice(body);
                frame::set_record_offset(&mut out[start..], offset);
            });
            additions.records.push(Touch { part, offset, pos, timestamp_us: now_us });
            if is_tombstone {
                buried.push((part, record.key.clone(), offset));
            }
            additions.keys.push((part, record.key.as_ref().into(), offset));
        }
        let carried = self.buffer.len() as u64;
        if carried > 0 {
            self.write_out(additions)?;
        }
        for (part, key) in ended {
            self.latest.entry(part).or_default().remove(key.as_ref());
        }
        for (part, key, offset) in buried {
            self.buried.entry(part).or_default().insert(key.as_ref().into(), offset);
        }
        // Those that are gone, or whose key has been given a value since.
        for (part, keys) in &mut self.buried {
            let latest = self.latest.get(part);
            keys.retain(|key, offset| latest.and_then(|l| l.get(key)) == Some(offset));
        }
        Ok(carried)
    }
}
