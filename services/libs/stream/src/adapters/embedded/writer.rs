//! The writer thread: the only code that changes a log.
//!
//! One commit = everything that waits, one write, one `fdatasync`, then the catalogue, then the answers. A commit starts when the
//! previous one ended, so load makes the groups larger by itself. A failed commit leaves no trace: its bytes are cut off (or, when even
//! that fails or the sync itself did, the segment is left at its last good position and the next append begins a new one), its offsets
//! are given again, its callers get the error.

use std::{
    collections::HashMap,
    fs::File,
    io,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use schemas::TopicSpec;

use super::{
    EmbeddedConfig, Keep,
    checkpoint::{self, Change, Commits},
    files::Files,
    frame,
    index::{Part, SegmentIndex},
    queue::{Queue, Reply, Request, Work},
    recover::{self, Latest, MAGIC, segment_path},
    saved::{self, Saved},
    shared::{Segment, Shared, topic_bit},
    syncer::Syncer,
};
use crate::{LogError, Outgoing};

/// How often retention by age is looked at when no segment fills up.
const RETENTION_EVERY: Duration = Duration::from_secs(30);

pub struct Writer {
    pub(super) shared: Arc<Shared>,
    queue: Arc<Queue>,
    /// `None`: a commit syncs by itself.
    syncer: Option<Arc<Syncer>>,
    pub(super) config: EmbeddedConfig,
    pub(super) latest: Latest,
    /// Newest tombstones that retention has written anew (see `carry_forward`).
    pub(super) buried: Latest,
    pub(super) active: Active,
    /// Topics and next offsets as they will be when the commit in the making succeeds.
    pub(super) plan: Plan,
    pub(super) buffer: Vec<u8>,
    /// Retention waits until this many bytes have been written (see `drop_old`).
    pub(super) carry_again_at: u64,
}

pub(super) struct Active {
    pub(super) id: u64,
    file: Arc<File>,
    pub(super) len: u64,
    /// Nothing may be written behind `len` any more.
    pub(super) abandoned: bool,
}

#[derive(Default)]
pub(super) struct Plan {
    ids: HashMap<String, u16>,
    pub(super) topics: Vec<PlannedTopic>,
}

pub(super) struct PlannedTopic {
    compacted: bool,
    pub(super) ends: Vec<i64>,
}

/// What a commit adds to the catalogue once it is synced.
#[derive(Default)]
pub(super) struct Additions {
    changes: Vec<Change>,
    pub(super) records: Vec<Touch>,
    pub(super) keys: Vec<(Part, Box<[u8]>, i64)>,
}

pub(super) struct Touch {
    pub(super) part: Part,
    pub(super) offset: i64,
    pub(super) pos: u64,
    pub(super) timestamp_us: i64,
}

/// When this thread ends, however it ends, nobody waits for it.
struct StopWithUs(Arc<Queue>, Option<Arc<Syncer>>);

impl Drop for StopWithUs {
    fn drop(&mut self) {
        self.0.stop();
        self.0.abandon();
        if let Some(syncer) = &self.1 {
            syncer.stop();
        }
    }
}

/// What a commit did, for the housekeeping after it.
#[derive(Default)]
struct Done {
    /// A new segment was begun.
    rolled: bool,
    /// A group's positions moved.
    committed: bool,
}

impl Writer {
    pub fn new(
        shared: Arc<Shared>,
        queue: Arc<Queue>,
        syncer: Option<Arc<Syncer>>,
        config: EmbeddedConfig,
        latest: Latest,
    ) -> Result<Self, LogError> {
        let last = shared.state.read().segments.last_key_value().map(|(id, s)| (*id, s.file.clone(), s.len));
        let active = match last {
            Some((id, file, len)) => Active { id, file, len, abandoned: false },
            None => make_segment(&shared, &*config.files, syncer.as_deref(), 0, 0)?,
        };
        let (plan, buffer, buried) = (Plan::default(), Vec::new(), Latest::default());
        let mut writer =
            Self { shared, queue, syncer, config, latest, buried, active, plan, buffer, carry_again_at: 0 };
        writer.reset_plan();
        Ok(writer)
    }

    pub fn run(mut self) {
        let _whoever_asks_gets_an_answer = StopWithUs(self.queue.clone(), self.syncer.clone());
        // Without a sync of its own a commit costs so little that waiting would only make records late.
        let every = if self.syncer.is_some() { Duration::ZERO } else { self.config.sync_every };
        let every = every.min(EmbeddedConfig::MAX_SYNC_EVERY);
        let mut not_before = Instant::now();
        let mut next_retention = Instant::now();
        loop {
            let group = self.queue.take(not_before, RETENTION_EVERY);
            if group.as_ref().is_some_and(Vec::is_empty) {
                return;
            }
            not_before = Instant::now() + every;
            let done = group.map(|group| self.commit(group)).unwrap_or_default();
            let sent = done.committed && matches!(self.config.keep, Keep::Uncommitted { .. });
            if done.rolled || sent || Instant::now() >= next_retention {
                next_retention = Instant::now() + RETENTION_EVERY;
                self.retain();
            }
        }
    }

    fn commit(&mut self, group: Vec<Request>) -> Done {
        let mut done = Done::default();
        self.active.abandoned |= self.syncer.as_ref().is_some_and(|s| s.failed(self.active.id));
        if self.active.abandoned || self.active.len >= self.config.segment_bytes {
            if let Err(error) = self.roll() {
                self.shared.counters.failures.fetch_add(1, Ordering::Relaxed);
                self.make_room_for(&group);
                group.into_iter().for_each(|request| {
                    let _gone = request.reply.send(Err(error.clone()));
                });
                return done;
            }
            done.rolled = true;
        }
        self.buffer.clear();
        let full = self.is_over_limit();
        let mut additions = Additions::default();
        let mut replies: Vec<(Reply, Result<(), LogError>)> = Vec::with_capacity(group.len());
        // Batches stay alive until they are answered: their room in the queue is freed with them.
        let mut kept = Vec::with_capacity(group.len());
        for Request { work, reply } in group {
            let result = match &work {
                Work::Append { .. } if full.is_some() => Err(full.clone().expect("looked at in the guard")),
                Work::Append { batch, .. } => self.stage_batch(batch, &mut additions),
                Work::Topics(topics) => topics.iter().try_for_each(|t| self.stage_topic(t, &mut additions).map(drop)),
                Work::Changes(changes) => {
                    changes.iter().for_each(|c| self.stage_change(c, &mut additions));
                    Ok(())
                }
            };
            kept.push(work);
            replies.push((reply, result));
        }
        done.committed = additions.changes.iter().any(|c| matches!(c, Change::Commit { .. }));
        let changes = if done.committed { additions.changes.clone() } else { Vec::new() };
        let outcome = if self.buffer.is_empty() { Ok(()) } else { self.write_out(additions) };
        if outcome.is_err() {
            self.make_room(&changes);
        }
        drop(kept);
        for (reply, result) in replies {
            // The caller may be gone; the batch is durable all the same.
            let _gone = reply.send(result.and_then(|()| outcome.clone()));
        }
        done
    }

    fn roll(&mut self) -> Result<(), LogError> {
        let id = self.active.id + 1;
        let active = make_segment(&self.shared, &*self.config.files, self.syncer.as_deref(), id, self.active.len)?;
        let closed = std::mem::replace(&mut self.active, active);
        self.save_index(&closed);
        Ok(())
    }

    /// So that opening need not scan the segment that was just closed. The catalogue stands at its end.
    fn save_index(&self, closed: &Active) {
        let (index, end) = {
            let state = self.shared.state.read();
            let Some(segment) = state.segments.get(&closed.id) else { return };
            (segment.index.clone(), state.checkpoint(0))
        };
        let start = recover::peek(&closed.file, closed.id).ok().flatten();
        // Without it nothing tells where the partitions began: the scan at the next start reports the damage.
        let Some(start) = start else { return };
        let latest = saved::latest_of(&index, &self.latest);
        let damage = saved::damage_of(closed.id, &self.shared.damage());
        let saved = Saved { len: closed.len, index, start, end, latest, damage };
        if let Err(error) = saved.store(&*self.config.files, &self.shared.dir, closed.id, &closed.file) {
            tracing::debug!(segment = closed.id, %error, "could not save an index of the event log; the next start scans");
        }
    }

    /// A log that may drop nothing says so as a full disk would.
    fn is_over_limit(&self) -> Option<LogError> {
        let Keep::Uncommitted { bytes, .. } = &self.config.keep else { return None };
        let total = self.shared.state.read().total_bytes();
        (total >= *bytes).then(|| LogError::Io {
            what: "cannot write the event log".to_owned(),
            kind: io::ErrorKind::StorageFull,
            message: format!("{total} bytes wait in it, its limit is {bytes}"),
        })
    }

    fn make_room_for(&mut self, group: &[Request]) {
        let works = group.iter().map(|request| &request.work);
        let changes: Vec<Change> =
            works.filter_map(|w| if let Work::Changes(c) = w { Some(c.clone()) } else { None }).flatten().collect();
        self.make_room(&changes);
    }

    /// A full disk may keep a commit from being written, though what it names could go: it goes, and the caller tries again.
    fn make_room(&mut self, changes: &[Change]) {
        let Keep::Uncommitted { group, .. } = &self.config.keep else { return };
        let mut done = self.shared.state.read().groups.get(group).cloned().unwrap_or_default();
        for change in changes {
            if let Change::Commit { group: g, topic, partition, next } = change
                && g == group
            {
                done.insert((*topic, *partition), *next);
            }
        }
        self.drop_done(&done);
        let state = self.shared.state.read();
        let all_done = state.segments.get(&self.active.id).is_some_and(|s| s.is_done(&done) && s.index.records > 0);
        drop(state);
        self.active.abandoned |= all_done;
    }

    /// Drops the segments of which every record is below these positions.
    pub(super) fn drop_done(&mut self, done: &Commits) {
        loop {
            let state = self.shared.state.read();
            let first = state.segments.first_key_value();
            let first = first.and_then(|(id, s)| (*id < self.active.id && s.is_done(done)).then_some(*id));
            drop(state);
            let Some(id) = first else { return };
            if let Err(error) = self.remove_segment(id) {
                tracing::warn!(segment = id, %error, "could not drop a segment that is done with; trying again later");
                return;
            }
        }
    }

    pub(super) fn pos(&self) -> u64 {
        self.active.len + self.buffer.len() as u64
    }

    /// All of a batch or nothing: its partitions are checked before the first frame.
    fn stage_batch(&mut self, batch: &[Outgoing], additions: &mut Additions) -> Result<(), LogError> {
        let mut last: Option<(&'static TopicSpec, u16)> = None;
        for record in batch {
            let id = match last {
                Some((spec, id)) if std::ptr::eq(spec, record.topic) => id,
                _ => self.stage_topic(record.topic, additions)?,
            };
            last = Some((record.topic, id));
            let ends = &self.plan.topics[usize::from(id)].ends;
            if usize::try_from(record.partition).ok().is_none_or(|p| p >= ends.len()) {
                return Err(LogError::NoPartition { topic: record.topic.name.to_owned(), partition: record.partition });
            }
        }
        for record in batch {
            let id = match last {
                Some((spec, id)) if std::ptr::eq(spec, record.topic) => id,
                _ => self.plan.ids.get(record.topic.name).copied().expect("staged in the loop above"),
            };
            last = Some((record.topic, id));
            let part: Part = (id, record.partition as u16);
            let pos = self.pos();
            let topic = &mut self.plan.topics[usize::from(id)];
            let end = &mut topic.ends[usize::from(part.1)];
            let offset = *end;
            *end += 1;
            if topic.compacted {
                additions.keys.push((part, record.key.as_ref().into(), offset));
            }
            frame::write_record(&mut self.buffer, self.active.id, self.active.len, id, offset, record);
            additions.records.push(Touch { part, offset, pos, timestamp_us: record.timestamp_us });
        }
        Ok(())
    }

    fn stage_topic(&mut self, spec: &'static TopicSpec, additions: &mut Additions) -> Result<u16, LogError> {
        if let Some(id) = self.plan.ids.get(spec.name) {
            let found = self.plan.topics[usize::from(*id)].ends.len() as i32;
            if found != spec.partitions {
                return Err(LogError::Partitions { topic: spec.name.to_owned(), found, wanted: spec.partitions });
            }
            return Ok(*id);
        }
        let full = || LogError::Config(format!("topic {} does not fit into the log", spec.name));
        let id = u16::try_from(self.plan.topics.len()).map_err(|_| full())?;
        let partitions = u16::try_from(spec.partitions).ok().filter(|p| *p > 0).ok_or_else(full)?;
        self.plan.ids.insert(spec.name.to_owned(), id);
        self.plan.topics.push(PlannedTopic { compacted: spec.compacted, ends: vec![0; partitions.into()] });
        let change = Change::Topic { id, name: spec.name.to_owned(), partitions, compacted: spec.compacted };
        self.stage_change(&change, additions);
        Ok(id)
    }

    fn stage_change(&mut self, change: &Change, additions: &mut Additions) {
        checkpoint::write_change(&mut self.buffer, self.active.id, self.active.len, change);
        additions.changes.push(change.clone());
    }

    /// Writes and syncs the buffer, then makes it visible.
    pub(super) fn write_out(&mut self, additions: Additions) -> Result<(), LogError> {
        if let Err(error) = self.write_and_sync() {
            self.shared.counters.failures.fetch_add(1, Ordering::Relaxed);
            self.reset_plan();
            return Err(error);
        }
        self.active.len = self.pos();
        let counters = &self.shared.counters;
        if self.syncer.is_none() {
            counters.syncs.fetch_add(1, Ordering::Relaxed);
        }
        counters.appended.fetch_add(additions.records.len() as u64, Ordering::Relaxed);
        counters.bytes.fetch_add(self.buffer.len() as u64, Ordering::Relaxed);

        let mut touched = 0;
        {
            let mut state = self.shared.state.write();
            let state = &mut *state;
            for change in &additions.changes {
                state.apply(change);
            }
            let segment = state.segments.get_mut(&self.active.id).expect("the active segment is in the catalogue");
            segment.len = self.active.len;
            for touch in &additions.records {
                segment.index.note(touch.part, touch.offset, touch.pos, touch.timestamp_us);
                touched |= topic_bit(touch.part.0);
                let topic = &mut state.topics[usize::from(touch.part.0)];
                topic.parts[usize::from(touch.part.1)].end = touch.offset + 1;
            }
        }
        if additions.changes.iter().any(|c| matches!(c, Change::Topic { .. })) {
            let names = self.shared.state.read().checkpoint(0);
            if let Err(error) = saved::store_names(&*self.config.files, &self.shared.dir, &names) {
                tracing::debug!(%error, "could not save the topics' names once more");
            }
        }
        for (part, key, offset) in additions.keys {
            self.latest.entry(part).or_default().insert(key, offset);
        }
        self.shared.wake(touched);
        Ok(())
    }

    fn write_and_sync(&mut self) -> Result<(), LogError> {
        let (file, files) = (&self.active.file, &self.config.files);
        if let Err(e) = files.write_at(file, &self.buffer, self.active.len) {
            // Cut the half-written group off; if that fails too, nothing may follow it here.
            self.active.abandoned = files.set_len(file, self.active.len).is_err();
            return Err(LogError::io("cannot write the event log", &e));
        }
        if let Some(syncer) = &self.syncer {
            syncer.note(self.active.id, file, self.buffer.len() as u64, false);
            return Ok(());
        }
        if let Err(e) = files.sync(file) {
            // After a failed sync the kernel may call pages clean that never reached the disk: this file takes no more.
            self.active.abandoned = true;
            let _best_effort = files.set_len(file, self.active.len);
            return Err(LogError::io("cannot sync the event log", &e));
        }
        Ok(())
    }

    /// Topics and ends as the catalogue has them: what a failed commit planned never happened.
    fn reset_plan(&mut self) {
        let state = self.shared.state.read();
        self.plan.ids.clone_from(&state.by_name);
        self.plan.topics = state
            .topics
            .iter()
            .map(|t| PlannedTopic { compacted: t.compacted, ends: t.parts.iter().map(|b| b.end).collect() })
            .collect();
    }
}

/// Makes a segment with its first frame, durably unless a syncer will see to that, and puts it into the catalogue.
fn make_segment(
    shared: &Shared,
    files: &dyn Files,
    syncer: Option<&Syncer>,
    id: u64,
    previous_len: u64,
) -> Result<Active, LogError> {
    let path = segment_path(&shared.dir, id);
    let mut bytes = MAGIC.to_vec();
    shared.state.read().checkpoint(previous_len).write(&mut bytes, id, 0);
    let len = bytes.len() as u64;
    let make = || -> io::Result<File> {
        let file = files.make(&path)?;
        files.write_at(&file, &bytes, 0)?;
        if syncer.is_none() {
            files.sync(&file)?;
            files.sync_dir(&shared.dir)?;
        }
        Ok(file)
    };
    let file = match make() {
        Ok(file) => Arc::new(file),
        Err(e) => {
            let _best_effort = files.remove(&path);
            return Err(LogError::io(format!("cannot make {}", path.display()), &e));
        }
    };
    if let Some(syncer) = syncer {
        syncer.note(id, &file, len, true);
    }
    let segment = Segment { file: file.clone(), len, index: SegmentIndex::default() };
    shared.state.write().segments.insert(id, segment);
    Ok(Active { id, file, len, abandoned: false })
}
