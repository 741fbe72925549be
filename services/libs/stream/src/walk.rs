//! Topics read through, from their first record to the end that they had when the walk began: for tools and look-ups.
//!
//! A walk has no group and commits nothing, so it can run beside everything else. What is appended meanwhile may be read too; the walk
//! does not wait for it. Offsets that give no record (compaction, retention, damage) are passed over.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use schemas::TopicSpec;

use crate::{Assigned, Bounds, EventLog, LogError, Record, Room, Source};

const ROOM: Room = Room { events: 8192, bytes: 8 << 20 };
const WAIT: Duration = Duration::from_millis(250);
/// Nothing came and the positions do not say why: in a compacted topic the last offsets may be gone.
const GONE_AFTER: Duration = Duration::from_secs(3);
/// Elsewhere something is wrong with the log or the way to it.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);

/// A partition on the way.
#[derive(Debug, Clone, Copy)]
pub struct Stretch {
    pub topic: &'static TopicSpec,
    pub partition: i32,
    /// What was there when the walk began.
    pub bounds: Bounds,
    /// The next offset to be read.
    pub next: i64,
}

pub struct Walk {
    source: Option<Box<dyn Source>>,
    stretches: Vec<Stretch>,
    index: HashMap<(&'static str, i32), usize>,
    left: usize,
    last_progress: Instant,
}

impl Walk {
    /// Through all partitions of these topics. A topic that is not there has nothing to read.
    pub async fn through(log: &Arc<dyn EventLog>, topics: &[&'static TopicSpec]) -> Result<Self, LogError> {
        let mut stretches = Vec::new();
        for topic in topics {
            stretches.extend(Self::stretches_of(log, topic).await?);
        }
        Self::over(log, stretches).await
    }

    /// Through one partition.
    pub async fn through_part(
        log: &Arc<dyn EventLog>,
        topic: &'static TopicSpec,
        partition: i32,
    ) -> Result<Self, LogError> {
        let mut walk = Self::stretches_of(log, topic).await?;
        walk.retain(|stretch| stretch.partition == partition);
        Self::over(log, walk).await
    }

    /// On from where an earlier walk ended, to the end of today.
    pub async fn on_from(log: &Arc<dyn EventLog>, earlier: &Walk) -> Result<Self, LogError> {
        let mut topics: Vec<&'static TopicSpec> = Vec::new();
        for stretch in &earlier.stretches {
            if !topics.contains(&stretch.topic) {
                topics.push(stretch.topic);
            }
        }
        let mut stretches = Vec::with_capacity(earlier.stretches.len());
        for topic in topics {
            for mut stretch in Self::stretches_of(log, topic).await? {
                if let Some(at) = earlier.index.get(&(topic.name, stretch.partition)) {
                    stretch.next = earlier.stretches[*at].next.max(stretch.bounds.begin);
                }
                stretches.push(stretch);
            }
        }
        Self::over(log, stretches).await
    }

    async fn stretches_of(log: &Arc<dyn EventLog>, topic: &'static TopicSpec) -> Result<Vec<Stretch>, LogError> {
        let bounds = match log.bounds(topic).await {
            Err(LogError::NoTopic { .. }) => Vec::new(),
            other => other?,
        };
        let stretch = |(partition, bounds): (i32, Bounds)| Stretch { topic, partition, bounds, next: bounds.begin };
        Ok((0..).zip(bounds).map(stretch).collect())
    }

    async fn over(log: &Arc<dyn EventLog>, stretches: Vec<Stretch>) -> Result<Self, LogError> {
        let wanted = stretches.iter().filter(|s| s.next < s.bounds.end);
        let parts: Vec<Assigned> =
            wanted.map(|s| Assigned { topic: s.topic, partition: s.partition, next_offset: Some(s.next) }).collect();
        let left = parts.len();
        let source = if left == 0 { None } else { Some(log.assign(parts).await?) };
        let index = stretches.iter().enumerate().map(|(i, s)| ((s.topic.name, s.partition), i)).collect();
        Ok(Self { source, stretches, index, left, last_progress: Instant::now() })
    }

    /// The next records; `None` at the end. Several partitions come mixed, each in its order.
    pub async fn next(&mut self) -> Result<Option<Vec<Record>>, LogError> {
        while self.left > 0 {
            let Some(source) = &mut self.source else { break };
            let records = source.poll_within(ROOM, WAIT).await?;
            if records.is_empty() {
                self.nothing_came().await?;
                continue;
            }
            self.last_progress = Instant::now();
            for record in &records {
                self.reach((record.topic.name, record.partition), record.offset + 1);
            }
            return Ok(Some(records));
        }
        self.source = None;
        Ok(None)
    }

    /// Every partition with what was there at the beginning and how far the walk came.
    pub fn stretches(&self) -> &[Stretch] {
        &self.stretches
    }

    fn reach(&mut self, part: (&'static str, i32), next: i64) {
        let Some(stretch) = self.index.get(&part).and_then(|at| self.stretches.get_mut(*at)) else { return };
        let was_short = stretch.next < stretch.bounds.end;
        stretch.next = stretch.next.max(next);
        if was_short && stretch.next >= stretch.bounds.end {
            self.left -= 1;
        }
    }

    /// The reader may stand at the end without having given a record of it.
    async fn nothing_came(&mut self) -> Result<(), LogError> {
        let Some(source) = &mut self.source else { return Ok(()) };
        let lag = source.lag().await?;
        for lag in lag.iter().filter(|lag| lag.position >= lag.end) {
            self.reach((lag.topic.name, lag.partition), lag.end);
        }
        let silence = self.last_progress.elapsed();
        if silence < GONE_AFTER {
            return Ok(());
        }
        let short: Vec<Stretch> = self.stretches.iter().copied().filter(|s| s.next < s.bounds.end).collect();
        for stretch in short.iter().filter(|s| s.topic.compacted) {
            self.reach((stretch.topic.name, stretch.partition), stretch.bounds.end);
        }
        match short.iter().find(|s| !s.topic.compacted) {
            Some(stuck) if silence >= GIVE_UP_AFTER => Err(LogError::Io {
                what: format!("cannot read {}/{} to its end", stuck.topic.name, stuck.partition),
                kind: std::io::ErrorKind::TimedOut,
                message: format!("nothing came for {} s at offset {}", silence.as_secs(), stuck.next),
            }),
            _ => Ok(()),
        }
    }
}
