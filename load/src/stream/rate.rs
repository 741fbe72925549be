//! How many events per second the embedded log writes and reads.
//!
//! The bare loop writes as many bytes with as many syncs to a file beside the log, in turns with it, so that a busy disk slows both alike.

use std::{
    fs::{self, File},
    hint::black_box,
    io::Write,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::ensure;
use bytes::Bytes;
use futures::StreamExt;
use stream::{EmbeddedConfig, EmbeddedLog, EventLog, Outgoing, Start, Subscription};
use tokio::runtime::Runtime;

use super::{Size, events};
use crate::figures::{Figures, Gate, median};

const BATCH: usize = 1500;
/// Appends that wait for the same sync, as several services' publishers do.
const IN_FLIGHT: usize = 4;
const MIN_WRITTEN: f64 = 300_000.0;
const MIN_RATIO: f64 = 0.5;
const MIN_READ: f64 = 1_000_000.0;

pub fn run(runtime: &Runtime, dir: &Path, size: Size, figures: &mut Figures) -> anyhow::Result<()> {
    let (rounds, per_round) = if size == Size::Smoke { (2, 60_000) } else { (7, 300_000) };
    println!(
        "embedded log, values of {} bytes, batches of {BATCH}, {IN_FLIGHT} in flight, median of {rounds} rounds",
        events::VALUE_BYTES
    );
    let log = EmbeddedLog::open(EmbeddedConfig::new(dir.join("log")))?;
    let batches = events::batches(per_round, BATCH);
    let events = batches.len() * BATCH;
    let (mut ours, mut bare, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let before = log.stats();
        let started = Instant::now();
        runtime.block_on(write(&log, &batches))?;
        let rate = events as f64 / started.elapsed().as_secs_f64();
        let after = log.stats();
        let took = bare_write(&dir.join("bare"), after.bytes - before.bytes, after.syncs - before.syncs)?;
        let bare_rate = events as f64 / took.as_secs_f64();
        println!(
            "    round {}: {rate:.0} events/s, bare {bare_rate:.0}, {} syncs",
            round + 1,
            after.syncs - before.syncs
        );
        ours.push(rate);
        bare.push(bare_rate);
        ratios.push(rate / bare_rate);
    }
    let mut read_rates = Vec::new();
    for _ in 0..if size == Size::Smoke { 1 } else { 3 } {
        read_rates.push(runtime.block_on(read(&log, rounds * events))?);
    }
    figures.check("written_per_s", "written with group commit", median(&ours), "events/s", Gate::AtLeast(MIN_WRITTEN));
    figures.show("bare_per_s", "bare sequential write, same syncs", median(&bare), "events/s");
    // Neighbours in time are compared: a disk that is slow for a minute is slow for both.
    figures.check("write_ratio", "ratio to bare, median of the rounds", median(&ratios), "", Gate::AtLeast(MIN_RATIO));
    figures.check("read_per_s", "read", median(&read_rates), "events/s", Gate::AtLeast(MIN_READ));
    log.close();
    Ok(())
}

pub async fn write(log: &EmbeddedLog, batches: &[Arc<Vec<Outgoing>>]) -> anyhow::Result<()> {
    let appends = futures::stream::iter(batches.iter().cloned().map(|batch| log.append_shared(batch)));
    let mut answers = appends.buffered(IN_FLIGHT);
    while let Some(answer) = answers.next().await {
        answer?;
    }
    Ok(())
}

fn bare_write(path: &Path, bytes: u64, syncs: u64) -> anyhow::Result<Duration> {
    let mut file = File::create(path)?;
    let piece = usize::try_from(bytes / syncs.max(1))?;
    let buffer: Vec<u8> = (0..piece).map(|n| (n * 31 % 251) as u8).collect();
    let started = Instant::now();
    for _ in 0..syncs {
        file.write_all(&buffer)?;
        file.sync_data()?;
    }
    let took = started.elapsed();
    fs::remove_file(path)?;
    Ok(took)
}

async fn read(log: &EmbeddedLog, events: usize) -> anyhow::Result<f64> {
    let topics = vec![events::topic()];
    let mut source = log.subscribe(Subscription { group: None, topics, start: Start::Beginning }).await?;
    let (mut seen, mut bytes) = (0, 0);
    let started = Instant::now();
    while seen < events {
        let records = source.poll(5000, Duration::from_secs(1)).await?;
        ensure!(!records.is_empty(), "only {seen} of {events} events came back");
        seen += records.len();
        bytes += records.iter().map(|r| r.value.as_ref().map_or(0, Bytes::len)).sum::<usize>();
    }
    black_box(bytes);
    Ok(seen as f64 / started.elapsed().as_secs_f64())
}
