//! How long one small append takes, against a bare write and `fdatasync` of the same bytes.
//!
//! One after another, in short rounds that take turns: what the disk does in the background (a journal commit, somebody else's sync) then
//! falls on both. All samples of a side make its distribution.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    time::Instant,
};

use stream::{EmbeddedConfig, EmbeddedLog, EventLog};
use tokio::runtime::Runtime;

use super::{Size, events};
use crate::figures::{Figures, Gate, percentile};

const PER_ROUND: usize = 50;
const MAX_RATIO: f64 = 2.5;

pub fn run(runtime: &Runtime, dir: &Path, size: Size, figures: &mut Figures) -> anyhow::Result<()> {
    let rounds = if size == Size::Smoke { 2 } else { 60 };
    println!(
        "one small append after another, {rounds} rounds of {PER_ROUND} in turns with write + fdatasync of the same bytes"
    );
    let log = EmbeddedLog::open(EmbeddedConfig::new(dir.join("small")))?;
    let path = dir.join("small-bare");
    let mut file = File::create(&path)?;
    let records = events::some(PER_ROUND);
    runtime.block_on(log.append(records.clone()))?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let before = log.stats().bytes;
        for record in &records {
            let batch = vec![record.clone()];
            let started = Instant::now();
            runtime.block_on(log.append(batch))?;
            ours.push(started.elapsed().as_nanos() as f64 / 1e3);
        }
        let piece = vec![0x5a; usize::try_from((log.stats().bytes - before) / PER_ROUND as u64)?];
        for _ in &records {
            let started = Instant::now();
            file.write_all(&piece)?;
            file.sync_data()?;
            bare.push(started.elapsed().as_nanos() as f64 / 1e3);
        }
    }
    log.close();
    fs::remove_file(path)?;
    let p99 = |side: &[f64]| percentile(side, 99.0);
    figures.show("append_p50_us", "append, median", percentile(&ours, 50.0), "µs");
    figures.show("sync_p50_us", "bare write + fdatasync, median", percentile(&bare, 50.0), "µs");
    figures.show("append_p99_us", "append, p99", p99(&ours), "µs");
    figures.show("sync_p99_us", "bare write + fdatasync, p99", p99(&bare), "µs");
    figures.check(
        "append_p99_ratio",
        "p99 of append to p99 of the bare sync",
        p99(&ours) / p99(&bare),
        "",
        Gate::AtMost(MAX_RATIO),
    );
    Ok(())
}
