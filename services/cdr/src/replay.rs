//! All records again, from the beginning of the topics into an empty file, and what the live call log held at one moment.
//!
//! A replay runs the same code as the live service with two parts missing: no reconciler (its decisions are events in the
//! topics already) and no outbox (nobody is told twice). It works beside a live consumer: it reads without a group up to the ends
//! that it saw at its start.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Serialize;
use stream::{EventLog, Record, Start, Subscription};

pub use crate::adapters::export::{Export, Exported, canonical_export};
use crate::adapters::link;
use crate::adapters::place::Place;
use crate::adapters::store::Store;
use crate::app::{call_topics, ends};
use crate::books::Books;

const BATCH: usize = 20_000;
/// The log says nothing although its ends are not reached: something else is wrong.
const SILENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub calls: u64,
    pub legs: u64,
    /// Distinct facts joined.
    pub facts: u64,
    /// Records read, copies included.
    pub records: u64,
    pub unreadable: u64,
    pub sha256: String,
}

#[derive(Debug, Clone, Copy)]
pub struct Progress {
    pub records: u64,
    pub of: u64,
}

/// (topic, partition, end): how far of the call topics a call log has read, or is to read.
pub type Positions = Vec<(String, i32, i64)>;

/// A live call log as of one transaction: what it held then, and how far of the topics it had read.
///
/// A replay up to these positions has to give the same rows. The live service is not paused.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub export: Export,
    pub read: Positions,
}

/// Takes a snapshot. A file is first copied to `copy`, which stays to be looked at; Postgres is read where it is.
pub async fn snapshot(live: &Place, copy: &Path) -> anyhow::Result<Snapshot> {
    let from = match live {
        Place::Sqlite(path) => {
            ensure!(path.exists(), "{} does not exist: there is no call log to compare with", path.display());
            ensure!(!copy.exists(), "{} exists already", copy.display());
            link::copy(path, copy.to_owned()).await?;
            Place::Sqlite(copy.to_owned())
        }
        Place::Postgres(_) => live.clone(),
    };
    let Exported { export, read } = canonical_export(&from, std::io::sink()).await?;
    let calls: Vec<&str> = call_topics().iter().map(|t| t.name).collect();
    Ok(Snapshot { export, read: read.into_iter().filter(|(topic, ..)| calls.contains(&topic.as_str())).collect() })
}

/// Rebuilds the call log from everything that the topics hold now. `into` must not exist.
pub async fn replay(log: Arc<dyn EventLog>, into: &Path, progress: impl FnMut(Progress)) -> anyhow::Result<Report> {
    let ends = ends(&*log).await?;
    replay_to(log, into, ends, progress).await
}

/// Rebuilds the call log from the topics up to `ends`. `into` must not exist.
pub async fn replay_to(
    log: Arc<dyn EventLog>,
    into: &Path,
    ends: Positions,
    mut progress: impl FnMut(Progress),
) -> anyhow::Result<Report> {
    ensure!(!into.exists(), "{} exists already: a replay writes into a new file", into.display());
    if let Some(folder) = into.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let ends: HashMap<(String, i32), i64> =
        ends.into_iter().map(|(topic, partition, end)| ((topic, partition), end)).collect();
    let mut begins = HashMap::new();
    for topic in call_topics() {
        for (partition, bounds) in log.bounds(topic).await?.iter().enumerate() {
            begins.insert((topic.name.to_owned(), i32::try_from(partition)?), bounds.begin);
        }
    }
    let of: u64 =
        ends.iter().map(|(part, end)| u64::try_from(end - begins.get(part).copied().unwrap_or(0)).unwrap_or(0)).sum();

    let mut source =
        log.subscribe(Subscription { group: None, topics: call_topics(), start: Start::Beginning }).await?;
    let place = Place::Sqlite(into.to_owned());
    let mut books = Books::new(Store::open(&place, true).await?, false);
    let mut next: HashMap<(String, i32), i64> = begins;
    let (mut records, mut unreadable) = (0, 0);
    let mut quiet = Duration::ZERO;
    const WAIT: Duration = Duration::from_millis(250);
    while ends.iter().any(|(part, end)| next.get(part).copied().unwrap_or(0) < *end) {
        let batch: Vec<Record> = source.poll(BATCH, WAIT).await?;
        if batch.is_empty() {
            quiet += WAIT;
            ensure!(
                quiet < SILENCE,
                "the topics gave nothing for {SILENCE:?} although {} of {of} records are missing",
                of - records
            );
            continue;
        }
        quiet = Duration::ZERO;
        let mine: Vec<&Record> = batch
            .iter()
            .filter(|r| ends.get(&(r.topic.name.to_owned(), r.partition)).is_some_and(|end| r.offset < *end))
            .collect();
        for record in &batch {
            next.insert((record.topic.name.to_owned(), record.partition), record.offset + 1);
        }
        let applied = books.apply(mine.iter().copied().enumerate(), Vec::new(), Vec::new()).await?;
        ensure!(applied.wait.is_none(), "{}", applied.wait.unwrap_or_default());
        records += mine.len() as u64;
        unreadable += applied.unreadable.len() as u64;
        progress(Progress { records, of });
    }
    let facts = books.facts();
    books.into_store().close().await?;
    let Exported { export, .. } = canonical_export(&place, std::io::sink()).await?;
    Ok(Report { calls: export.calls, legs: export.legs, facts, records, unreadable, sha256: export.sha256 })
}
