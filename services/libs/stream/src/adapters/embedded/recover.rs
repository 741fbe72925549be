//! Opening a log: reads every segment, rebuilds the catalogue, cuts the torn tail, reports damage.
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

/// Reads everything. With `repair` (the writer) the torn tail is cut and a last segment that never got its first frame is removed.
pub fn load(files: &dyn Files, dir: &Path, repair: bool) -> Result<Loaded, LogError> {
    let failed = |what: &str, path: &Path, e: &io::Error| LogError::io(format!("{what} {}", path.display()), e);
    let mut found = Vec::new();
    for id in segment_ids(dir).map_err(|e| failed("cannot list", dir, &e))? {
        let path = segment_path(dir, id);
        let file = files.open(&path, repair).map_err(|e| failed("cannot open", &path, &e))?;
        let head = peek(&file, id).map_err(|e| failed("cannot read", &path, &e))?;
        found.push((id, Arc::new(file), head));
    }
    if repair {
        remove_unborn(files, dir, &mut found)?;
    }

    let mut loaded = Loaded::default();
    let lens: Vec<Option<u64>> =
        found.iter().skip(1).map(|(_, _, head)| head.as_ref().map(|h| h.previous_len)).collect();
    let last = found.len().saturating_sub(1);
    for (at, (id, file, _)) in found.into_iter().enumerate() {
        let path = segment_path(dir, id);
        let file_len = file.metadata().map_err(|e| failed("cannot stat", &path, &e))?.len();
        let stated = lens.get(at).copied().flatten();
        let end = stated.map_or(file_len, |len| len.min(file_len));
        if let Some(missing) = stated.filter(|len| *len > file_len) {
            loaded.damage.push(Damage { segment: id, from: file_len, to: missing });
        }
        loaded.state.segments.insert(id, Segment { file: file.clone(), len: 0, index: SegmentIndex::default() });
        let tail =
            absorb(&mut loaded, id, &file, FIRST_FRAME.min(end), end).map_err(|e| failed("cannot read", &path, &e))?;
        let len = match tail {
            Some(from) if at == last && repair => {
                tracing::warn!(
                    segment = id,
                    from,
                    bytes = end - from,
                    "cut an interrupted write off the end of the event log"
                );
                files
                    .set_len(&file, from)
                    .and_then(|()| files.sync(&file))
                    .map_err(|e| failed("cannot cut the tail of", &path, &e))?;
                from
            }
            Some(from) if at == last => from,
            Some(from) => {
                loaded.damage.push(Damage { segment: id, from, to: end });
                end
            }
            None => end,
        };
        if let Some(segment) = loaded.state.segments.get_mut(&id) {
            segment.len = len;
        }
    }
    set_begins(&mut loaded.state);
    Ok(loaded)
}

/// A crash while a segment was being made leaves a last file without one good frame: it never held anything.
fn remove_unborn(
    files: &dyn Files,
    dir: &Path,
    found: &mut Vec<(u64, Arc<File>, Option<Checkpoint>)>,
) -> Result<(), LogError> {
    while let Some((id, file, None)) = found.last() {
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

/// The first frame of a segment, if it is readable.
fn peek(file: &File, id: u64) -> io::Result<Option<Checkpoint>> {
    let len = file.metadata()?.len();
    let mut size = (64 << 10).min(len.saturating_sub(FIRST_FRAME)) as usize;
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

/// A partition begins with the first record that is still there, or is empty.
pub fn set_begins(state: &mut State) {
    let mut first: HashMap<Part, i64> = HashMap::new();
    for segment in state.segments.values() {
        for (part, index) in segment.index.parts() {
            first.entry(part).or_insert(index.first);
        }
    }
    for (id, topic) in state.topics.iter_mut().enumerate() {
        for (partition, bounds) in topic.parts.iter_mut().enumerate() {
            bounds.begin = first.get(&(id as u16, partition as u16)).copied().unwrap_or(bounds.end);
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
    if !gone.is_empty() {
        set_begins(&mut loaded.state);
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
        let stated = match ids.get(at + 1) {
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
