//! What writer and readers share: the catalogue of topics, segments and commits as of the last successful commit.
//!
//! With [`super::Ack::Synced`] only synced records are in here, so a consumer never acts on one that a power failure could take back.
//! The lock is held for the time of a look-up; no I/O under it.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    path::PathBuf,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::{
    checkpoint::{Change, Checkpoint, Commits, Groups, TopicState},
    index::{Part, SegmentIndex},
};
use crate::{Bounds, LogError};

pub struct Shared {
    pub dir: PathBuf,
    pub state: RwLock<State>,
    pub counters: Counters,
    waiters: Mutex<Vec<Weak<Waiter>>>,
    damage: Mutex<Vec<Damage>>,
}

#[derive(Default)]
pub struct State {
    pub topics: Vec<Topic>,
    pub by_name: HashMap<String, u16>,
    pub segments: BTreeMap<u64, Segment>,
    pub groups: Groups,
    /// The newest member of each group; an older one is fenced.
    pub members: HashMap<String, u64>,
    pub closed: bool,
}

pub struct Topic {
    pub name: String,
    pub compacted: bool,
    pub parts: Vec<Bounds>,
}

pub struct Segment {
    pub file: Arc<File>,
    /// Bytes that count; beyond is unsynced or dead.
    pub len: u64,
    pub index: SegmentIndex,
}

/// Bytes of a segment that hold no readable frame though good ones follow. The offsets that are missing were there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub segment: u64,
    pub from: u64,
    pub to: u64,
}

#[derive(Debug, Default)]
pub struct Counters {
    pub appended: AtomicU64,
    pub bytes: AtomicU64,
    pub syncs: AtomicU64,
    pub failures: AtomicU64,
    /// Of the failures: syncs behind the caller's back.
    pub failed_syncs: AtomicU64,
    pub dropped_segments: AtomicU64,
    /// Records that readers wanted and that retention or damage had taken.
    pub skipped: AtomicU64,
}

/// A reader's wake-up: set by the writer when one of its topics grew.
pub struct Waiter {
    /// Bit `id % 128` per topic; a false hit costs one look.
    pub topics: u128,
    pub notify: Notify,
}

pub fn topic_bit(id: u16) -> u128 {
    1 << (id % 128)
}

impl Shared {
    pub fn new(dir: PathBuf, state: State, damage: Vec<Damage>) -> Self {
        let shared = Self {
            dir,
            state: RwLock::new(state),
            counters: Counters::default(),
            waiters: Mutex::new(Vec::new()),
            damage: Mutex::new(Vec::new()),
        };
        for d in damage {
            shared.report(d);
        }
        shared
    }

    /// Notes damage once; the same place met again is not news.
    pub fn report(&self, damage: Damage) {
        let mut known = self.damage.lock();
        let met = known.iter().any(|k| k.segment == damage.segment && k.from <= damage.from && damage.to <= k.to);
        if met {
            return;
        }
        tracing::error!(
            dir = %self.dir.display(), segment = damage.segment, from = damage.from, to = damage.to,
            "the event log is damaged: these bytes of the segment hold no readable record; everything else stays readable"
        );
        known.push(damage);
    }

    pub fn damage(&self) -> Vec<Damage> {
        self.damage.lock().clone()
    }

    pub fn add_waiter(&self, waiter: &Arc<Waiter>) {
        let mut waiters = self.waiters.lock();
        waiters.retain(|w| w.strong_count() > 0);
        waiters.push(Arc::downgrade(waiter));
    }

    pub fn wake(&self, topics: u128) {
        for waiter in self.waiters.lock().iter().filter_map(Weak::upgrade) {
            if waiter.topics & topics != 0 {
                waiter.notify.notify_one();
            }
        }
    }

    pub fn skipped(&self, records: u64) {
        self.counters.skipped.fetch_add(records, Ordering::Relaxed);
    }
}

impl Segment {
    /// Whether every record here is below these positions.
    pub fn is_done(&self, commits: &Commits) -> bool {
        self.index.parts().all(|(part, index)| commits.get(&part).is_some_and(|next| *next >= index.next))
    }
}

impl State {
    pub fn topic_id(&self, name: &str) -> Option<u16> {
        self.by_name.get(name).copied()
    }

    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Topic { id, name, partitions, compacted } => {
                self.declare(*id, name, usize::from(*partitions), *compacted);
            }
            Change::Commit { group, topic, partition, next } => {
                self.groups.entry(group.clone()).or_default().insert((*topic, *partition), *next);
            }
        }
    }

    /// Ids are given in order and never reused; a gap can only come from damage and is filled with a nameless topic.
    pub fn declare(&mut self, id: u16, name: &str, partitions: usize, compacted: bool) {
        while self.topics.len() <= usize::from(id) {
            self.topics.push(Topic { name: String::new(), compacted: false, parts: Vec::new() });
        }
        let topic = &mut self.topics[usize::from(id)];
        name.clone_into(&mut topic.name);
        topic.compacted = compacted;
        if topic.parts.len() < partitions {
            topic.parts.resize(partitions, Bounds { begin: 0, end: 0 });
        }
        self.by_name.insert(name.to_owned(), id);
    }

    pub fn bounds(&self, topic: u16, partition: i32) -> Option<Bounds> {
        let part = usize::try_from(partition).ok()?;
        self.topics.get(usize::from(topic))?.parts.get(part).copied()
    }

    pub fn bounds_mut(&mut self, topic: u16, partition: u16) -> Option<&mut Bounds> {
        self.topics.get_mut(usize::from(topic))?.parts.get_mut(usize::from(partition))
    }

    /// What the first frame of the next segment says.
    pub fn checkpoint(&self, previous_len: u64) -> Checkpoint {
        let topics = self
            .topics
            .iter()
            .map(|t| TopicState {
                name: t.name.clone(),
                compacted: t.compacted,
                ends: t.parts.iter().map(|b| b.end).collect(),
            })
            .collect();
        Checkpoint { previous_len, topics, groups: self.groups.clone() }
    }

    pub fn require_topic(&self, name: &str) -> Result<u16, LogError> {
        self.topic_id(name).ok_or_else(|| LogError::NoTopic { topic: name.to_owned() })
    }

    pub fn total_bytes(&self) -> u64 {
        self.segments.values().map(|s| s.len).sum()
    }

    /// Records and bytes that the group has not committed yet; the bytes from the first such record on.
    pub fn backlog(&self, group: &str) -> (u64, u64) {
        let commits = self.groups.get(group);
        let next = |part: Part| commits.and_then(|c| c.get(&part)).copied().unwrap_or(0);
        let parts =
            self.topics.iter().zip(0..).flat_map(|(t, id)| t.parts.iter().zip(0..).map(move |(b, p)| ((id, p), b)));
        let records = parts.map(|(part, b)| (b.end - next(part).max(b.begin)).max(0).cast_unsigned()).sum();
        let mut bytes = 0;
        for segment in self.segments.values() {
            if bytes > 0 {
                bytes += segment.len;
                continue;
            }
            let open = segment.index.parts().filter_map(|(part, index)| index.seek(next(part))).min();
            bytes = open.map_or(0, |pos| segment.len.saturating_sub(pos));
        }
        (records, bytes)
    }
}
