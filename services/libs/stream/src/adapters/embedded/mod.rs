//! The embedded event log: one write-ahead file in segments for all topics, one writer process, any number of read-only openers.
//!
//! What it promises: an append is answered after `fdatasync`, so it survives a kill and a power failure; the order of each partition is
//! the order of its acknowledged appends; whatever cannot be read is reported ([`EmbeddedLog::damage`]), never passed over in silence.
//! What it does not: replication. The disk is the single point of failure; Kafka is the answer to that.

mod checkpoint;
mod config;
mod cursor;
mod files;
mod frame;
mod index;
mod lock;
mod queue;
mod recover;
mod reserve;
mod retain;
mod saved;
mod scan;
mod shared;
mod source;
mod syncer;
mod writer;

use std::{
    fs,
    path::Path,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use schemas::TopicSpec;
use tokio::sync::Notify;

pub use self::{
    config::{Ack, EmbeddedConfig, Keep},
    files::{Files, RealFiles},
    shared::Damage,
};
use self::{
    cursor::Cursor,
    lock::WriterLock,
    queue::{Queue, Work},
    reserve::Reserve,
    shared::{Shared, Waiter, topic_bit},
    source::{EmbeddedSource, Reading},
    syncer::Syncer,
    writer::Writer,
};
use crate::{Assigned, Bounds, EventLog, LogError, Outgoing, Source, Start, Subscription};

#[derive(Debug, Clone, Copy, Default)]
pub struct EmbeddedStats {
    pub appended: u64,
    pub bytes: u64,
    pub syncs: u64,
    /// Commits and background syncs that failed.
    pub failures: u64,
    /// Of these, the background syncs.
    pub failed_syncs: u64,
    /// Bytes that are answered and not on the disk yet ([`Ack::Written`]).
    pub unsynced_bytes: u64,
    /// What the group of [`Keep::Uncommitted`] has not committed yet; zero otherwise.
    pub backlog_records: u64,
    pub backlog_bytes: u64,
    pub segments: u64,
    pub total_bytes: u64,
    pub dropped_segments: u64,
    /// Records that retention took, over the life of the log.
    pub dropped_records: u64,
    /// Records that readers wanted and that retention or damage had taken.
    pub skipped: u64,
    /// Ranges of bytes that could not be read.
    pub damaged_ranges: u64,
}

/// What retention has taken from a partition. Of a compacted topic these are versions: the newest of each key was written again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    pub topic: String,
    pub partition: i32,
    pub records: i64,
}

pub struct EmbeddedLog {
    shared: Arc<Shared>,
    writing: Option<Writing>,
}

struct Writing {
    queue: Arc<Queue>,
    syncer: Option<Arc<Syncer>>,
    reserve: Reserve,
    keep: Keep,
    threads: Mutex<Option<Threads>>,
}

struct Threads {
    writer: JoinHandle<()>,
    syncer: Option<JoinHandle<()>>,
    lock: WriterLock,
}

/// A record may not be larger: a dead letter that holds a whole record of Kafka's default limit fits.
pub const MAX_RECORD_BYTES: usize = 4 << 20;

impl EmbeddedLog {
    /// Opens for writing: takes the lock, repairs the tail, starts the writer thread.
    pub fn open(config: EmbeddedConfig) -> Result<Arc<Self>, LogError> {
        let dir = config.dir.clone();
        fs::create_dir_all(&dir).map_err(|e| LogError::io(format!("cannot create {}", dir.display()), &e))?;
        let lock = WriterLock::take(&dir)?;
        let loaded = recover::load(&*config.files, &dir, true)?;
        let reserve = Reserve::new(&dir, config.reserve_bytes, config.files.clone());
        if let Err(error) = reserve.restore() {
            tracing::warn!(dir = %dir.display(), %error, "the event log has no reserve for a full disk");
        }
        let shared = Arc::new(Shared::new(dir, loaded.state, loaded.damage));
        let queue = Arc::new(Queue::new(config.max_pending_bytes));
        let keep = config.keep.clone();
        let syncer = match config.ack {
            Ack::Synced => None,
            Ack::Written if config.sync_every.is_zero() => Some(EmbeddedConfig::MAX_SYNC_EVERY),
            Ack::Written => Some(config.sync_every.min(EmbeddedConfig::MAX_SYNC_EVERY)),
        };
        let syncer = syncer.map(|every| Arc::new(Syncer::new(every)));
        let files = config.files.clone();
        let writer = Writer::new(shared.clone(), queue.clone(), syncer.clone(), config, loaded.latest)?;
        let sync_thread = match syncer.clone() {
            None => None,
            Some(syncer) => {
                let shared = shared.clone();
                Some(start_thread("event-log-sync", move || syncer.run(&shared, &*files))?)
            }
        };
        let writer = start_thread("event-log", move || writer.run())?;
        let threads = Mutex::new(Some(Threads { writer, syncer: sync_thread, lock }));
        let writing = Writing { queue, syncer, reserve, keep, threads };
        Ok(Arc::new(Self { shared, writing: Some(writing) }))
    }

    /// Opens for reading beside a writer in another process (or none). It sees what the writer has written, at the latest
    /// 50 ms after; it cannot commit.
    pub fn open_read_only(dir: impl AsRef<Path>) -> Result<Arc<Self>, LogError> {
        let dir = dir.as_ref();
        let loaded = recover::load(&RealFiles, dir, false)?;
        let shared = Shared::new(dir.to_owned(), loaded.state, loaded.damage);
        Ok(Arc::new(Self { shared: Arc::new(shared), writing: None }))
    }

    /// Writes what waits, stops the threads and frees the lock. Readers get `Closed` from then on. Blocks for one sync.
    pub fn close(&self) {
        if let Some(writing) = &self.writing {
            writing.queue.stop();
            if let Some(Threads { writer, syncer, lock }) = writing.threads.lock().take() {
                let dir = self.shared.dir.display();
                // The writer's end ends the syncer.
                for thread in [Some(writer), syncer].into_iter().flatten() {
                    if thread.join().is_err() {
                        tracing::error!(%dir, "a thread of the event log had panicked");
                    }
                }
                drop(lock);
            }
        }
        self.shared.state.write().closed = true;
        self.shared.wake(u128::MAX);
    }

    /// How many records retention has taken from each partition so far, as `begin` counts them; partitions that are whole are left out.
    pub fn dropped(&self) -> Vec<Dropped> {
        let state = self.shared.state.read();
        let parts = state.topics.iter().flat_map(|t| t.parts.iter().zip(0..).map(move |(b, p)| (t, p, b.begin)));
        let dropped = parts.filter(|(_, _, begin)| *begin > 0);
        dropped.map(|(t, partition, records)| Dropped { topic: t.name.clone(), partition, records }).collect()
    }

    /// Waits until everything that was answered is on the disk; at once with [`Ack::Synced`].
    pub async fn synced(&self) -> Result<(), LogError> {
        match self.writing.as_ref().ok_or(LogError::ReadOnly)?.syncer.as_ref() {
            Some(syncer) => syncer.synced().await,
            None => Ok(()),
        }
    }

    /// Whether the room of `reserve_bytes` is held.
    pub fn has_reserve(&self) -> bool {
        self.writing.as_ref().is_some_and(|w| w.reserve.is_held())
    }

    /// Frees the reserve, so that the next appends fit on a full disk. False: there was none. May block as long as the disk does.
    pub fn give_up_reserve(&self) -> Result<bool, LogError> {
        self.writing.as_ref().ok_or(LogError::ReadOnly)?.reserve.give_up()
    }

    /// Takes the reserve again; `Ok` when it is held. May block as long as the disk does.
    pub fn restore_reserve(&self) -> Result<(), LogError> {
        self.writing.as_ref().ok_or(LogError::ReadOnly)?.reserve.restore()
    }

    /// Places that could not be read, so far.
    pub fn damage(&self) -> Vec<Damage> {
        self.shared.damage()
    }

    pub fn stats(&self) -> EmbeddedStats {
        let counters = &self.shared.counters;
        let dropped_records = self.dropped().iter().map(|d| d.records.cast_unsigned()).sum();
        let (segments, total_bytes, (backlog_records, backlog_bytes)) = {
            let state = self.shared.state.read();
            let backlog = match self.writing.as_ref().map(|w| &w.keep) {
                Some(Keep::Uncommitted { group, .. }) => state.backlog(group),
                _ => (0, 0),
            };
            (state.segments.len() as u64, state.total_bytes(), backlog)
        };
        EmbeddedStats {
            appended: counters.appended.load(Ordering::Relaxed),
            bytes: counters.bytes.load(Ordering::Relaxed),
            syncs: counters.syncs.load(Ordering::Relaxed),
            failures: counters.failures.load(Ordering::Relaxed),
            failed_syncs: counters.failed_syncs.load(Ordering::Relaxed),
            unsynced_bytes: self.writing.as_ref().and_then(|w| w.syncer.as_ref()).map_or(0, |s| s.unsynced()),
            backlog_records,
            backlog_bytes,
            segments,
            total_bytes,
            dropped_segments: counters.dropped_segments.load(Ordering::Relaxed),
            dropped_records,
            skipped: counters.skipped.load(Ordering::Relaxed),
            damaged_ranges: self.shared.damage().len() as u64,
        }
    }

    fn queue(&self) -> Result<&Queue, LogError> {
        self.writing.as_ref().map(|w| &*w.queue).ok_or(LogError::ReadOnly)
    }

    fn source(
        &self,
        topics: &[(u16, &'static TopicSpec)],
        cursor: Cursor,
        member: Option<(String, u64)>,
    ) -> Box<dyn Source> {
        let mask = topics.iter().fold(0, |mask, (id, _)| mask | topic_bit(*id));
        let waiter = Arc::new(Waiter { topics: mask, notify: Notify::new() });
        self.shared.add_waiter(&waiter);
        Box::new(EmbeddedSource {
            shared: self.shared.clone(),
            queue: self.writing.as_ref().map(|w| w.queue.clone()),
            member,
            waiter,
            held: cursor.held(),
            positions: cursor.wants().to_vec(),
            reading: Reading::Idle(cursor),
            orders: Vec::new(),
            paused: false,
        })
    }

    fn refresh(&self) -> Result<(), LogError> {
        if self.writing.is_some() {
            return Ok(());
        }
        recover::refresh(&self.shared.dir, &mut self.shared.state.write())
            .map_err(|e| LogError::io("cannot look for new data in the event log", &e))
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl EventLog for EmbeddedLog {
    fn meter(self: Arc<Self>, meters: &crate::metrics::Meters) {
        meters.log(&self);
    }

    async fn ensure_topics(&self, topics: &[&'static TopicSpec]) -> Result<(), LogError> {
        if self.writing.is_none() {
            self.refresh()?;
            let state = self.shared.state.read();
            return topics.iter().try_for_each(|t| state.require_topic(t.name).map(drop));
        }
        let queue = self.queue()?;
        // A disk in trouble must not keep readers from topics that are there.
        let known = |t: &&'static TopicSpec| {
            let state = self.shared.state.read();
            let parts = state.topic_id(t.name).and_then(|id| state.topics.get(usize::from(id))).map(|t| t.parts.len());
            parts == usize::try_from(t.partitions).ok()
        };
        if topics.iter().all(known) && !self.shared.state.read().closed {
            return Ok(());
        }
        queue.ask(Work::Topics(topics.to_vec())).await
    }

    async fn append_shared(&self, batch: Arc<Vec<Outgoing>>) -> Result<(), LogError> {
        let mut bytes = 0;
        for record in batch.iter() {
            let size = frame::record_size(record);
            if size > MAX_RECORD_BYTES || record.headers.len() > usize::from(u16::MAX) {
                let topic = record.topic.name.to_owned();
                return Err(LogError::TooLarge { topic, bytes: size, limit: MAX_RECORD_BYTES });
            }
            bytes += size;
        }
        let queue = self.queue()?;
        if batch.is_empty() { Ok(()) } else { queue.append(batch, bytes).await }
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Source>, LogError> {
        self.ensure_topics(&subscription.topics).await?;
        let mut state = self.shared.state.write();
        let mut topics = Vec::with_capacity(subscription.topics.len());
        for spec in &subscription.topics {
            topics.push((state.require_topic(spec.name)?, *spec));
        }
        let group = subscription.group;
        let member = group.clone().map(|group| {
            let member = state.members.entry(group.clone()).or_default();
            *member += 1;
            (group, *member)
        });
        let commits = group.as_ref().and_then(|g| state.groups.get(g));
        let cursor = Cursor::new(&state, &topics, |part| {
            let Some(bounds) = state.bounds(part.0, i32::from(part.1)) else { return 0 };
            match subscription.start {
                Start::End => bounds.end,
                Start::Beginning => bounds.begin,
                // A commit below `begin` stays: reading then shows and counts the gap.
                Start::Committed => {
                    commits.and_then(|c| c.get(&part)).map_or(bounds.begin, |next| (*next).min(bounds.end))
                }
            }
        });
        drop(state);
        Ok(self.source(&topics, cursor, member))
    }

    async fn assign(&self, parts: Vec<Assigned>) -> Result<Box<dyn Source>, LogError> {
        let mut specs: Vec<&'static TopicSpec> = Vec::new();
        for part in &parts {
            if !specs.contains(&part.topic) {
                specs.push(part.topic);
            }
        }
        self.ensure_topics(&specs).await?;
        let state = self.shared.state.read();
        let mut topics = Vec::with_capacity(specs.len());
        for spec in specs {
            topics.push((state.require_topic(spec.name)?, spec));
        }
        let cursor = Cursor::of_parts(&state, &topics, &parts)?;
        drop(state);
        Ok(self.source(&topics, cursor, None))
    }

    async fn bounds(&self, topic: &'static TopicSpec) -> Result<Vec<Bounds>, LogError> {
        self.refresh()?;
        let state = self.shared.state.read();
        let id = state.require_topic(topic.name)?;
        Ok(state.topics[usize::from(id)].parts.clone())
    }

    async fn committed(&self, group: &str, topic: &'static TopicSpec) -> Result<Vec<Option<i64>>, LogError> {
        self.refresh()?;
        let state = self.shared.state.read();
        let id = state.require_topic(topic.name)?;
        let commits = state.groups.get(group);
        let partitions = state.topics[usize::from(id)].parts.len() as u16;
        Ok((0..partitions).map(|p| commits.and_then(|c| c.get(&(id, p)).copied())).collect())
    }
}

fn start_thread(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, LogError> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map_err(|e| LogError::io(format!("cannot start the thread {name}"), &e))
}

/// The one clock reading of this adapter: retention by age compares record timestamps, which are wall time, with it.
fn wall_us() -> i64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "the writer thread has no input that carries the time; see the comment above"
    )]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX))
}
