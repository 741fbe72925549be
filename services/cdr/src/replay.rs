//! All records again, from the beginning of the topics into an empty file, and the comparison of two files.
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

pub use crate::adapters::export::{Export, canonical_export};
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

/// A copy of a live call log as of one transaction, and how far of the topics that transaction had read.
///
/// A replay up to these positions has to give the same rows. The live service is not paused.
pub async fn snapshot(live: &Path, copy: &Path) -> anyhow::Result<Positions> {
    ensure!(live.exists(), "{} does not exist: there is no call log to compare with", live.display());
    ensure!(!copy.exists(), "{} exists already", copy.display());
    Store::copy(live, copy).await?;
    let mut store = Store::open(copy).await?;
    let offsets = store.offsets().await?;
    store.close().await?;
    let calls: Vec<&str> = call_topics().iter().map(|t| t.name).collect();
    let read = offsets.into_iter().filter(|((topic, _), _)| calls.contains(&topic.as_str()));
    Ok(read.map(|((topic, partition), end)| (topic, partition, end)).collect())
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
    let mut books = Books::open(into, false).await?;
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
    let export = canonical_export(into, std::io::sink()).await?;
    Ok(Report { calls: export.calls, legs: export.legs, facts, records, unreadable, sha256: export.sha256 })
}

#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    pub left: Export,
    pub right: Export,
    pub equal: bool,
}

/// Hashes two call logs in the canonical form.
pub async fn compare(left: &Path, right: &Path) -> anyhow::Result<Comparison> {
    let left = canonical_export(left, std::io::sink()).await?;
    let right = canonical_export(right, std::io::sink()).await?;
    let equal = left.sha256 == right.sha256;
    Ok(Comparison { left, right, equal })
}
