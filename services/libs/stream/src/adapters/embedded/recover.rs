//! Opening a log: rebuilds the catalogue from saved indexes and from the segments that have none (the last one never has), cuts the torn
//! tail, reports damage.
//!
//! Cutting is allowed in one place only: behind the last good frame of the last segment, where nothing was acknowledged. Anything
//! unreadable elsewhere is reported and left as it is, and what follows it is read.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    checkpoint::{self, Checkpoint},
    files::Files,
    frame::{self, HEAD, KIND_CHECKPOINT, KIND_RECORD, Parsed},
    index::{Part, SegmentIndex},
    saved::{self, Saved},
    scan::{Scan, Step},
    shared::{Damage, Segment, State},
};
use crate::LogError;

/// First bytes of a segment file; the first frame stands behind.
pub const MAGIC: [u8; 8] = *b"TRKSEG01";
pub const FIRST_FRAME: u64 = MAGIC.len() as u64;

/// Key → offset of its newest record, per partition of the compacted topics.
pub type Latest = HashMap<Part, HashMap<Box<[u8]>, i64>>;

#[derive(Default)]
pub struct Loaded {
    pub state: State,
    pub latest: Latest,
    pub damage: Vec<Damage>,
}

pub fn segment_path(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("{id:020}.seg"))
}

/// Ids of the segment files, rising.
pub fn segment_ids(dir: &Path) -> io::Result<Vec<u64>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let is_segment = path.extension().is_some_and(|e| e == "seg");
        let id = path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse().ok());
        if let (true, Some(id)) = (is_segment, id) {
            ids.push(id);
        }
    }
    ids.sort_unstable();
    Ok(ids)
}

struct Found {
    id: u64,
    file: Arc<File>,
    /// Its first frame, if that can be read.
    head: Option<Checkpoint>,
}

/// Builds the catalogue: from the saved indexes where they fit, else by reading the segment. With `repair` (the writer) the torn tail is
/// cut, a last segment that never got its first frame is removed, and missing indexes are written.
pub fn load(files: &dyn Files, dir: &Path, repair: bool) -> Result<Loaded, LogError> {
    let mut found = find(files, dir)?;
    if repair {
        remove_unborn(files, dir, &mut found)?;
        reopen_last(files, dir, &mut found)?;
    }
    let mut loaded = Loaded::default();
    name_topics(&mut loaded.state, saved::load_names(dir));
    name_topics(&mut loaded.state, found.iter().rev().find_map(|f| f.head.clone()));
    let mut begins = None;
    for (at, Found { id, file, head }) in found.iter().enumerate() {
        let next = found.get(at + 1);
        let start = take_segment(files, dir, repair, &mut loaded, (*id, file, head.as_ref()), next)?;
        if at == 0 {
            begins = start.or_else(|| (*id == 0).then(Checkpoint::default));
        }
    }
    set_begins(&mut loaded.state, begins.as_ref());
    Ok(loaded)
}

/// Takes one segment into the catalogue; answers what was known at its start, if that can be told.
fn take_segment(
    files: &dyn Files,
    dir: &Path,
    repair: bool,
    loaded: &mut Loaded,
    (id, file, head): (u64, &Arc<File>, Option<&Checkpoint>),
    next: Option<&Found>,
) -> Result<Option<Checkpoint>, LogError> {
    let path = segment_path(dir, id);
    let failed = |what: &str, e: &io::Error| LogError::io(format!("{what} {}", path.display()), e);
    let file_len = file.metadata().map_err(|e| failed("cannot stat", &e))?.len();
    // The next segment says how much of this one counts; when that one is gone, nobody does.
    let stated = next.filter(|n| n.id == id + 1).and_then(|n| n.head.as_ref()).map(|h| h.previous_len);
    if let Some(saved) = stated.filter(|len| *len <= file_len).and_then(|len| Saved::load(dir, id, file, len)) {
        let start = saved.start.clone();
        take_saved(loaded, id, file, saved);
        report_missing(loaded, id, next);
        return Ok(Some(start));
    }
    let start = head.cloned();
    // What the segment before ended with; without one nobody knows.
    let known = id == 0 || loaded.state.segments.contains_key(&(id - 1));
    let known = known.then(|| loaded.state.checkpoint(0));
    let end = stated.map_or(file_len, |len| len.min(file_len));
    if let Some(missing) = stated.filter(|len| *len > file_len) {
        loaded.damage.push(Damage { segment: id, from: file_len, to: missing });
    }
    loaded.state.segments.insert(id, Segment { file: file.clone(), len: 0, index: SegmentIndex::default() });
    let tail = absorb(loaded, id, file, FIRST_FRAME.min(end), end).map_err(|e| failed("cannot read", &e))?;
    let len = match (tail, next) {
        (Some(from), None) if repair => {
            let bytes = end - from;
            tracing::warn!(segment = id, from, bytes, "cut an interrupted write off the end of the event log");
            let cut = files.set_len(file, from).and_then(|()| files.sync(file));
            cut.map_err(|e| failed("cannot cut the tail of", &e))?;
            from
        }
        (Some(from), None) => from,
        (Some(from), Some(_)) => {
            loaded.damage.push(Damage { segment: id, from, to: end });
            end
        }
        (None, _) => end,
    };
    loaded.state.segments.get_mut(&id).expect("inserted above").len = len;
    if let (true, Some(_), Some(start)) = (repair, next, start.clone().or(known)) {
        let damage = saved::damage_of(id, &loaded.damage);
        save_index(files, dir, id, loaded, start, damage);
    }
    report_missing(loaded, id, next);
    Ok(start)
}

fn take_saved(loaded: &mut Loaded, id: u64, file: &Arc<File>, saved: Saved) {
    take_checkpoint(&mut loaded.state, saved.end);
    loaded.state.segments.insert(id, Segment { file: file.clone(), len: saved.len, index: saved.index });
    for (part, key, offset) in saved.latest {
        loaded.latest.entry(part).or_default().insert(key, offset);
    }
    loaded.damage.extend(saved.damage.into_iter().map(|(from, to)| Damage { segment: id, from, to }));
}

/// Segments are numbered without gaps, so a number that is missing between two was taken away.
fn report_missing(loaded: &mut Loaded, id: u64, next: Option<&Found>) {
    let Some(next) = next else { return };
    // Whoever renamed a file far away gets a bounded report.
    for segment in (id + 1..next.id).take(1000) {
        let len = next.head.as_ref().filter(|_| segment + 1 == next.id).map_or(0, |h| h.previous_len);
        loaded.damage.push(Damage { segment, from: 0, to: len });
    }
}

/// Called when a segment has been taken in and is the newest so far: the catalogue stands at its end.
fn save_index(files: &dyn Files, dir: &Path, id: u64, loaded: &Loaded, start: Checkpoint, damage: Vec<(u64, u64)>) {
    let state = &loaded.state;
    let Some(segment) = state.segments.get(&id) else { return };
    let latest = saved::latest_of(&segment.index, &loaded.latest);
    let end = state.checkpoint(0);
    let saved = Saved { len: segment.len, index: segment.index.clone(), start, end, latest, damage };
    if let Err(error) = saved.store(files, dir, id, &segment.file) {
        tracing::debug!(segment = id, %error, "could not save an index of the event log; the next start scans the segment");
    }
}

fn find(files: &dyn Files, dir: &Path) -> Result<Vec<Found>, LogError> {
    let failed = |what: &str, path: &Path, e: &io::Error| LogError::io(format!("{what} {}", path.display()), e);
    let mut found = Vec::new();
    for id in segment_ids(dir).map_err(|e| failed("cannot list", dir, &e))? {
        let path = segment_path(dir, id);
        let file = files.open(&path, false).map_err(|e| failed("cannot open", &path, &e))?;
        let head = peek(&file, id).map_err(|e| failed("cannot read", &path, &e))?;
        found.push(Found { id, file: Arc::new(file), head });
    }
    Ok(found)
}

/// A crash while a segment was being made leaves a last file without one good frame: it never held anything.
fn remove_unborn(files: &dyn Files, dir: &Path, found: &mut Vec<Found>) -> Result<(), LogError> {
    while let Some(Found { id, file, head: None }) = found.last() {
        let path = segment_path(dir, *id);
        let failed = |e: &io::Error| LogError::io(format!("cannot remove the unfinished {}", path.display()), e);
        let len = file.metadata().map_err(|e| failed(&e))?.len();
        let first =
            Scan::new(file, *id, FIRST_FRAME.min(len), len).step().map(|s| matches!(s, Step::End | Step::Tail { .. }));
        if !first.map_err(|e| failed(&e))? {
            return Ok(());
        }
        files.remove(&path).map_err(|e| failed(&e))?;
        found.pop();
    }
    Ok(())
}

/// The last segment will be written to: then its index, if it has one from a time when it was closed, is of no use any more.
fn reopen_last(files: &dyn Files, dir: &Path, found: &mut [Found]) -> Result<(), LogError> {
    let Some(last) = found.last_mut() else { return Ok(()) };
    let path = segment_path(dir, last.id);
    let file = files.open(&path, true).map_err(|e| LogError::io(format!("cannot open {}", path.display()), &e))?;
    last.file = Arc::new(file);
    let _was_not_there = files.remove(&saved::index_path(dir, last.id));
    Ok(())
}

/// Topics are known before any record is read: the frame that declared one may be damaged, and its records are not.
fn name_topics(state: &mut State, known: Option<Checkpoint>) {
    for (id, topic) in known.into_iter().flat_map(|c| c.topics).enumerate() {
        if !topic.name.is_empty() {
            state.declare(id as u16, &topic.name, topic.ends.len(), topic.compacted);
        }
    }
}

/// The first frame of a segment, if it is readable.
pub fn peek(file: &File, id: u64) -> io::Result<Option<Checkpoint>> {
    let len = file.metadata()?.len();
    let mut size = (16 << 10).min(len.saturating_sub(FIRST_FRAME)) as usize;
    loop {
        let mut bytes = vec![0; size];
        file.read_exact_at(&mut bytes, FIRST_FRAME)?;
        match frame::parse(&bytes, id, FIRST_FRAME, true) {
            Parsed::Frame { body, .. } => return Ok(Checkpoint::read(body)),
            Parsed::Short { total } if FIRST_FRAME + total as u64 <= len && total > size => size = total,
            Parsed::Short { .. } | Parsed::Bad => return Ok(None),
        }
    }
}

/// Takes the frames of `from..end` into the catalogue. Answers where the unreadable tail begins, if there is one.
pub fn absorb(loaded: &mut Loaded, id: u64, file: &File, from: u64, end: u64) -> io::Result<Option<u64>> {
    let mut scan = Scan::new(file, id, from, end);
    loop {
        match scan.step()? {
            Step::End => return Ok(None),
            Step::Tail { from } => return Ok(Some(from)),
            Step::Damage { from, to } => loaded.damage.push(Damage { segment: id, from, to }),
            Step::Frame { pos, body } => {
                let known = match body[0] {
                    KIND_RECORD => take_record(&mut loaded.state, &mut loaded.latest, id, pos, body),
                    KIND_CHECKPOINT => Checkpoint::read(body).map(|c| take_checkpoint(&mut loaded.state, c)),
                    _ => checkpoint::read_change(body).map(|c| loaded.state.apply(&c)),
                };
                if known.is_none() {
                    loaded.damage.push(Damage { segment: id, from: pos, to: pos + (HEAD + body.len()) as u64 });
                }
            }
        }
    }
}

fn take_record(state: &mut State, latest: &mut Latest, id: u64, pos: u64, body: &[u8]) -> Option<()> {
    let head = frame::record_head(body)?;
    let part = (head.topic, head.partition);
    let compacted = state.topics.get(usize::from(head.topic))?.compacted;
    let bounds = state.bounds_mut(head.topic, head.partition)?;
    bounds.end = bounds.end.max(head.offset + 1);
    state.segments.get_mut(&id)?.index.note(part, head.offset, pos, head.timestamp_us);
    if compacted {
        let key = frame::record_body(&bytes::Bytes::copy_from_slice(body))?.key;
        latest.entry(part).or_default().insert(key.as_ref().into(), head.offset);
    }
    Some(())
}

fn take_checkpoint(state: &mut State, checkpoint: Checkpoint) {
    for (id, topic) in checkpoint.topics.iter().enumerate() {
        let id = id as u16;
        if topic.name.is_empty() {
            continue;
        }
        state.declare(id, &topic.name, topic.ends.len(), topic.compacted);
        for (partition, end) in topic.ends.iter().enumerate() {
            if let Some(bounds) = state.bounds_mut(id, partition as u16) {
                bounds.end = bounds.end.max(*end);
            }
        }
    }
    state.groups = checkpoint.groups;
}

/// A partition begins where it stood when the oldest segment was begun. When that cannot be told, with the first record that is there.
pub fn set_begins(state: &mut State, start: Option<&Checkpoint>) {
    let mut first: HashMap<Part, i64> = HashMap::new();
    for segment in state.segments.values() {
        for (part, index) in segment.index.parts() {
            first.entry(part).or_insert(index.first);
        }
    }
    for (id, topic) in state.topics.iter_mut().enumerate() {
        for (partition, bounds) in topic.parts.iter_mut().enumerate() {
            bounds.begin = match start {
                Some(start) => start.topics.get(id).and_then(|t| t.ends.get(partition)).copied().unwrap_or(0),
                None => first.get(&(id as u16, partition as u16)).copied().unwrap_or(bounds.end),
            };
            bounds.end = bounds.end.max(bounds.begin);
        }
    }
}

/// Brings a read-only catalogue up to date with what the writer, another process, has written since.
pub fn refresh(dir: &Path, state: &mut State) -> io::Result<()> {
    let ids = segment_ids(dir)?;
    let gone: Vec<u64> =
        state.segments.keys().copied().filter(|id| ids.first().is_some_and(|first| id < first)).collect();
    let mut loaded = Loaded { state: std::mem::take(state), ..Loaded::default() };
    let result = follow(dir, &ids, &mut loaded);
    for id in &gone {
        loaded.state.segments.remove(id);
    }
    if let (false, Some((id, first))) = (gone.is_empty(), loaded.state.segments.first_key_value()) {
        let start = peek(&first.file, *id).ok().flatten();
        set_begins(&mut loaded.state, start.as_ref());
    }
    *state = loaded.state;
    result
}

fn follow(dir: &Path, ids: &[u64], loaded: &mut Loaded) -> io::Result<()> {
    let known = loaded.state.segments.keys().next_back().copied().unwrap_or(0);
    for (at, id) in ids.iter().enumerate().filter(|(_, id)| **id >= known) {
        if !loaded.state.segments.contains_key(id) {
            let file = Arc::new(File::open(segment_path(dir, *id))?);
            loaded.state.segments.insert(*id, Segment { file, len: FIRST_FRAME, index: SegmentIndex::default() });
        }
        let Some((file, from)) = loaded.state.segments.get(id).map(|s| (s.file.clone(), s.len)) else { continue };
        let stated = match ids.get(at + 1).filter(|next| **next == id + 1) {
            Some(next) => peek(&File::open(segment_path(dir, *next))?, *next)?.map(|c| c.previous_len),
            None => None,
        };
        let end = file.metadata()?.len();
        let end = stated.map_or(end, |len| len.min(end));
        if end <= from {
            continue;
        }
        let tail = absorb(loaded, *id, &file, from, end)?;
        if let Some(segment) = loaded.state.segments.get_mut(id) {
            segment.len = tail.unwrap_or(end);
        }
    }
    Ok(())
}
