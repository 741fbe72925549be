//! The embedded event log: one write-ahead file in segments for all topics, one writer process, any number of read-only openers.
//!
//! What it promises: an append is answered after `fdatasync`, so it survives a kill and a power failure; the order of each partition is
//! the order of its acknowledged appends; whatever cannot be read is reported ([`EmbeddedLog::damage`]), never passed over in silence.
//! What it does not: replication. The disk is the single point of failure; Kafka is the answer to that.

mod checkpoint;
mod cursor;
mod frame;
mod index;
mod lock;
mod queue;
mod recover;
mod retain;
mod scan;
mod shared;
mod source;
mod writer;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use schemas::TopicSpec;
use tokio::sync::Notify;

pub use self::shared::Damage;
use self::{
    cursor::Cursor,
    lock::WriterLock,
    queue::{Queue, Work},
    shared::{Shared, Waiter, topic_bit},
    source::{EmbeddedSource, Reading},
    writer::Writer,
};
use crate::{Assigned, Bounds, EventLog, LogError, Outgoing, Source, Start, Subscription};

#[derive(Debug, Clone)]
pub struct EmbeddedConfig {
    pub dir: PathBuf,
    /// Shortest time between two syncs; zero syncs as often as there is something. At most [`EmbeddedConfig::MAX_SYNC_EVERY`].
    pub sync_every: Duration,
    pub segment_bytes: u64,
    pub retention_age: Duration,
    pub retention_bytes: u64,
    /// Bytes that may wait for the disk; beyond, `append` waits.
    pub max_pending_bytes: usize,
}

impl EmbeddedConfig {
    pub const MAX_SYNC_EVERY: Duration = Duration::from_millis(50);

    /// The defaults of the platform: 30 days or 20 GiB.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            sync_every: Duration::ZERO,
            segment_bytes: 64 << 20,
            retention_age: Duration::from_secs(30 * 24 * 3600),
            retention_bytes: 20 << 30,
            max_pending_bytes: 32 << 20,
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub struct EmbeddedStats {
    pub appended: u64,
    pub bytes: u64,
    pub syncs: u64,
    pub failures: u64,
    pub segments: u64,
    pub total_bytes: u64,
    pub dropped_segments: u64,
    /// Records that readers wanted and that retention or damage had taken.
    pub skipped: u64,
    /// Ranges of bytes that could not be read.
    pub damaged_ranges: u64,
}

pub struct EmbeddedLog {
    shared: Arc<Shared>,
    writing: Option<Writing>,
}

struct Writing {
    queue: Arc<Queue>,
    thread: Mutex<Option<(JoinHandle<()>, WriterLock)>>,
}

/// A record may not be larger: a dead letter that holds a whole record of Kafka's default limit fits.
pub const MAX_RECORD_BYTES: usize = 4 << 20;

impl EmbeddedLog {
    /// Opens for writing: takes the lock, repairs the tail, starts the writer thread.
    pub fn open(config: EmbeddedConfig) -> Result<Arc<Self>, LogError> {
        let dir = config.dir.clone();
        fs::create_dir_all(&dir).map_err(|e| LogError::io(format!("cannot create {}", dir.display()), &e))?;
        let lock = WriterLock::take(&dir)?;
        let loaded = recover::load(&dir, true)?;
        let shared = Arc::new(Shared::new(dir, loaded.state, loaded.damage));
        let queue = Arc::new(Queue::new(config.max_pending_bytes));
        let writer = Writer::new(shared.clone(), queue.clone(), config, loaded.latest)?;
        let thread = std::thread::Builder::new()
            .name("event-log".into())
            .spawn(move || writer.run())
            .map_err(|e| LogError::io("cannot start the event log's writer thread", &e))?;
        let writing = Writing { queue, thread: Mutex::new(Some((thread, lock))) };
        Ok(Arc::new(Self { shared, writing: Some(writing) }))
    }

    /// Opens for reading beside a writer in another process (or none). It sees what the writer has written, at the latest
    /// 50 ms after; it cannot commit.
    pub fn open_read_only(dir: impl AsRef<Path>) -> Result<Arc<Self>, LogError> {
        let dir = dir.as_ref();
        let loaded = recover::load(dir, false)?;
        let shared = Shared::new(dir.to_owned(), loaded.state, loaded.damage);
        Ok(Arc::new(Self { shared: Arc::new(shared), writing: None }))
    }

    /// Writes what waits, stops the writer and frees the lock. Readers get `Closed` from then on. Blocks for one sync.
    pub fn close(&self) {
        if let Some(writing) = &self.writing {
            writing.queue.stop();
            if let Some((thread, lock)) = writing.thread.lock().take() {
                if thread.join().is_err() {
                    tracing::error!(dir = %self.shared.dir.display(), "the event log's writer thread had panicked");
                }
                drop(lock);
            }
        }
        self.shared.state.write().closed = true;
        self.shared.wake(u128::MAX);
    }

    /// Places that could not be read, so far.
    pub fn damage(&self) -> Vec<Damage> {
        self.shared.damage()
    }

    pub fn stats(&self) -> EmbeddedStats {
        let counters = &self.shared.counters;
        let (segments, total_bytes) = {
            let state = self.shared.state.read();
            (state.segments.len() as u64, state.total_bytes())
        };
        EmbeddedStats {
            appended: counters.appended.load(Ordering::Relaxed),
            bytes: counters.bytes.load(Ordering::Relaxed),
            syncs: counters.syncs.load(Ordering::Relaxed),
            failures: counters.failures.load(Ordering::Relaxed),
            segments,
            total_bytes,
            dropped_segments: counters.dropped_segments.load(Ordering::Relaxed),
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
    async fn ensure_topics(&self, topics: &[&'static TopicSpec]) -> Result<(), LogError> {
        if self.writing.is_none() {
            self.refresh()?;
            let state = self.shared.state.read();
            return topics.iter().try_for_each(|t| state.require_topic(t.name).map(drop));
        }
        self.queue()?.ask(Work::Topics(topics.to_vec())).await
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

/// The one clock reading of this adapter: retention by age compares record timestamps, which are wall time, with it.
fn wall_us() -> i64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "the writer thread has no input that carries the time; see the comment above"
    )]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX))
}
