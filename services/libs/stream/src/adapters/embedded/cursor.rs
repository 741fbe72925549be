//! Where a reader stands: one place in the file for all its partitions, which it reads in file order, each byte once.
//!
//! Invariant: for every wanted partition, each record with an offset in `next..end` stands at or behind the cursor. A parked partition is
//! not wanted; when it is wanted again, the cursor goes back to where its next record may stand, and the others skip what they had.

use std::{fs::File, os::unix::fs::FileExt, sync::Arc};

use bytes::Bytes;
use schemas::TopicSpec;

use super::{
    frame::{self, HEAD, Parsed, RecordHead},
    index::{BLOCK, Part},
    recover::FIRST_FRAME,
    shared::{Damage, Shared, State},
};
use crate::{Assigned, Held, Lag, LogError, Record, Room};

pub struct Cursor {
    /// All partitions of a topic stand together, in order.
    wants: Vec<Want>,
    /// Topic id → place of its partition 0 in `wants`.
    bases: Vec<Option<usize>>,
    segment: u64,
    pos: u64,
    /// Bytes of the file from `pos` on that were read and not yet looked at.
    chunk: Bytes,
    /// A frame that the last block cut in two needs this many bytes.
    need: usize,
}

#[derive(Clone, Copy)]
pub struct Want {
    pub topic: &'static TopicSpec,
    part: Part,
    pub next: i64,
    /// False: nothing of this partition is handed out (parked, or not assigned).
    open: bool,
    /// False: not this reader's partition at all.
    ours: bool,
}

impl Cursor {
    /// Starts each partition at the offset that `start` gives (already inside its bounds).
    pub fn new(state: &State, topics: &[(u16, &'static TopicSpec)], start: impl Fn(Part) -> i64) -> Self {
        let mut cursor =
            Self { wants: Vec::new(), bases: Vec::new(), segment: 0, pos: FIRST_FRAME, chunk: Bytes::new(), need: 0 };
        for (id, topic) in topics {
            cursor.bases.resize(cursor.bases.len().max(usize::from(*id) + 1), None);
            cursor.bases[usize::from(*id)] = Some(cursor.wants.len());
            let partitions = state.topics.get(usize::from(*id)).map_or(0, |t| t.parts.len());
            for partition in 0..partitions {
                let part = (*id, partition as u16);
                cursor.wants.push(Want { topic, part, next: start(part), open: true, ours: true });
            }
        }
        (cursor.segment, cursor.pos) = cursor.place(state);
        cursor
    }

    /// Only these partitions, each where it says.
    pub fn of_parts(state: &State, topics: &[(u16, &'static TopicSpec)], parts: &[Assigned]) -> Result<Self, LogError> {
        let mut cursor = Self::new(state, topics, |_| 0);
        for want in &mut cursor.wants {
            (want.open, want.ours) = (false, false);
        }
        for part in parts {
            let want = cursor.want_mut(part)?;
            let bounds = state.bounds(want.part.0, part.partition).unwrap_or(crate::Bounds { begin: 0, end: 0 });
            want.next = part.next_offset.map_or(bounds.begin, |next| next.clamp(bounds.begin, bounds.end));
            (want.open, want.ours) = (true, true);
        }
        (cursor.segment, cursor.pos) = cursor.place(state);
        Ok(cursor)
    }

    fn want_mut(&mut self, part: &Assigned) -> Result<&mut Want, LogError> {
        let no_partition = || LogError::NoPartition { topic: part.topic.name.to_owned(), partition: part.partition };
        let number = u16::try_from(part.partition).map_err(|_| no_partition())?;
        self.wants.iter_mut().find(|w| w.topic == part.topic && w.part.1 == number).ok_or_else(no_partition)
    }

    /// Hands out nothing of this partition until it is opened again.
    pub fn close_part(&mut self, part: &Assigned) -> Result<(), LogError> {
        let want = self.want_mut(part)?;
        want.open = false;
        want.next = part.next_offset.unwrap_or(want.next);
        Ok(())
    }

    /// Goes on with this partition, and therefore back in the file.
    pub fn open_part(&mut self, state: &State, part: &Assigned) -> Result<(), LogError> {
        let want = self.want_mut(part)?;
        want.open = want.ours;
        want.next = part.next_offset.unwrap_or(want.next);
        (self.segment, self.pos) = self.place(state);
        self.chunk = Bytes::new();
        self.need = 0;
        Ok(())
    }

    /// Takes back everything that was read since these positions.
    pub fn rewind(&mut self, state: &State, to: &[Want]) {
        self.wants.copy_from_slice(to);
        (self.segment, self.pos) = self.place(state);
        self.chunk = Bytes::new();
        self.need = 0;
    }

    /// All its partitions, for good: this reader's share never changes.
    pub fn held(&self) -> Held {
        let ours = self.wants.iter().filter(|w| w.ours);
        let parts = ours.map(|w| ((w.topic.name, i32::from(w.part.1)), 1)).collect();
        Held { epoch: 1, parts: Arc::new(parts) }
    }

    /// The first place in the file where a wanted record may stand.
    fn place(&self, state: &State) -> (u64, u64) {
        for (id, segment) in &state.segments {
            let open = self.wants.iter().filter(|w| w.open);
            let here = open.filter_map(|w| segment.index.part(w.part)?.seek(w.next)).min();
            if let Some(pos) = here {
                return (*id, pos);
            }
        }
        state.segments.last_key_value().map_or((0, FIRST_FRAME), |(id, segment)| (*id, segment.len))
    }

    /// Whether the next read would go to an older segment on disk rather than to what was just written.
    pub fn is_cold(&self, shared: &Shared) -> bool {
        self.chunk.is_empty()
            && shared.state.read().segments.keys().next_back().is_some_and(|last| *last != self.segment)
    }

    pub fn wants(&self) -> &[Want] {
        &self.wants
    }

    pub fn read(&mut self, shared: &Shared, room: Room) -> Result<Vec<Record>, LogError> {
        let mut out = Vec::new();
        let mut left = Left { events: room.events.max(1), bytes: room.bytes.max(1) };
        while left.any() {
            if self.chunk.is_empty() && !self.next_chunk(shared)? {
                break;
            }
            while left.any() && !self.chunk.is_empty() {
                match frame::parse(&self.chunk, self.segment, self.pos, true) {
                    Parsed::Frame { body, total } => {
                        if let Some(head) = frame::record_head(body) {
                            let body = self.chunk.slice(HEAD..total);
                            if let Some(record) = self.take(shared, head, &body) {
                                let size = record.size_bytes();
                                if !out.is_empty() && size > left.bytes {
                                    self.put_back(&record);
                                    return Ok(out);
                                }
                                left.take(size);
                                out.push(record);
                            }
                        }
                        self.advance(total);
                    }
                    Parsed::Short { total } if self.fits(shared, total) => {
                        self.need = total;
                        self.chunk = Bytes::new();
                    }
                    Parsed::Short { .. } | Parsed::Bad => self.skip_damage(shared)?,
                }
            }
        }
        Ok(out)
    }

    /// The record did not fit any more: the cursor stays before it.
    fn put_back(&mut self, record: &Record) {
        let number = record.partition;
        if let Some(want) = self.wants.iter_mut().find(|w| w.topic == record.topic && i32::from(w.part.1) == number) {
            want.next = record.offset;
        }
    }

    fn advance(&mut self, bytes: usize) {
        self.pos += bytes as u64;
        self.chunk = self.chunk.slice(bytes..);
    }

    fn fits(&self, shared: &Shared, total: usize) -> bool {
        shared.state.read().segments.get(&self.segment).is_some_and(|s| self.pos + total as u64 <= s.len)
    }

    /// The record, if this reader wants it and has not had it.
    fn take(&mut self, shared: &Shared, head: RecordHead, body: &Bytes) -> Option<Record> {
        let base = (*self.bases.get(usize::from(head.topic))?)?;
        let want =
            self.wants.get_mut(base + usize::from(head.partition)).filter(|w| w.part.0 == head.topic && w.open)?;
        if head.offset < want.next {
            return None;
        }
        let content = frame::record_body(body)?;
        if head.offset > want.next {
            gap(shared, want, head.offset);
        }
        want.next = head.offset + 1;
        Some(Record {
            topic: want.topic,
            partition: i32::from(head.partition),
            offset: head.offset,
            timestamp_us: head.timestamp_us,
            key: content.key,
            value: content.value,
            headers: content.headers,
        })
    }

    /// Reads on, to the end of the block at most. False: there is nothing more for now.
    fn next_chunk(&mut self, shared: &Shared) -> Result<bool, LogError> {
        let state = shared.state.read();
        let Some((file, from, end)) = self.plan(&state) else {
            self.settle(shared, &state);
            return Ok(false);
        };
        drop(state);
        self.pos = from;
        self.chunk = read_bytes(&file, from, end)?;
        self.need = 0;
        Ok(true)
    }

    /// The cursor is at the end of the log: what a partition should still have is gone (damage, or a missing segment at its end).
    fn settle(&mut self, shared: &Shared, state: &State) {
        for want in self.wants.iter_mut().filter(|w| w.open && w.ours) {
            let end = state.bounds(want.part.0, i32::from(want.part.1)).map_or(want.next, |b| b.end);
            if want.next < end {
                gap(shared, want, end);
                want.next = end;
            }
        }
    }

    /// The next bytes to read; steps over segments that hold nothing more for this reader.
    fn plan(&mut self, state: &State) -> Option<(Arc<File>, u64, u64)> {
        let mut segments = state.segments.range(self.segment..).peekable();
        while let Some((id, segment)) = segments.next() {
            if *id != self.segment {
                self.segment = *id;
                self.pos = FIRST_FRAME;
                self.need = 0;
            }
            let wanted = self.wants.iter().filter(|w| w.open).map(|w| w.part);
            if let Some(from) = segment.index.next_wanted(wanted, self.pos).filter(|from| *from < segment.len) {
                let block_end = (from / BLOCK + 1) * BLOCK;
                let end = block_end.max(from + self.need as u64).min(segment.len);
                return Some((segment.file.clone(), from, end));
            }
            segments.peek()?;
            // Step on in the next turn.
            self.segment = id + 1;
            self.pos = FIRST_FRAME;
        }
        None
    }

    /// The bytes here are no frame: report them and go on with the next good one.
    fn skip_damage(&mut self, shared: &Shared) -> Result<(), LogError> {
        let Some((file, len)) = shared.state.read().segments.get(&self.segment).map(|s| (s.file.clone(), s.len)) else {
            self.chunk = Bytes::new();
            return Ok(());
        };
        let rest = read_bytes(&file, self.pos, len)?;
        let skip = frame::resync(&rest, self.segment, self.pos, 1).unwrap_or(rest.len());
        shared.report(Damage { segment: self.segment, from: self.pos, to: self.pos + skip as u64 });
        self.pos += skip as u64;
        self.chunk = Bytes::new();
        self.need = 0;
        Ok(())
    }
}

/// What may still be handed out.
struct Left {
    events: usize,
    bytes: usize,
}

impl Left {
    fn any(&self) -> bool {
        self.events > 0 && self.bytes > 0
    }

    fn take(&mut self, bytes: usize) {
        self.events -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

fn read_bytes(file: &File, from: u64, end: u64) -> Result<Bytes, LogError> {
    let mut bytes = vec![0; end.saturating_sub(from) as usize];
    file.read_exact_at(&mut bytes, from).map_err(|e| LogError::io("cannot read the event log", &e))?;
    Ok(bytes.into())
}

/// Records that were there and that this reader can no longer get: retention or damage took them.
fn gap(shared: &Shared, want: &Want, found: i64) {
    let missing = found.abs_diff(want.next);
    shared.skipped(missing);
    tracing::error!(
        kafka.topic = want.topic.name,
        kafka.partition = want.part.1,
        from = want.next,
        to = found,
        missing,
        "records are gone before they were read (retention or damage); reading on behind them"
    );
}

impl Want {
    pub fn is_ours(&self) -> bool {
        self.ours
    }

    pub fn lag(&self, state: &State) -> Lag {
        let end = state.bounds(self.part.0, i32::from(self.part.1)).map_or(self.next, |b| b.end);
        Lag { topic: self.topic, partition: i32::from(self.part.1), position: self.next, end }
    }
}
