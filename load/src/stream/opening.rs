//! How long a large log takes to open, after its writer was killed and after it was closed in order.
//!
//! A child process writes the log and is killed with SIGKILL, because that is the start that hurts: nothing was put in order. Before each
//! opening the files are pushed out of the page cache, so what is timed is reading from the disk.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, ensure};
use rustix::fs::{Advice, fadvise};
use stream::{EmbeddedConfig, EmbeddedLog};
use tokio::runtime::Runtime;

use super::{Size, events, rate};
use crate::figures::{Figures, Gate};

/// The promise is about a log of this size.
const PROMISED_GIB: f64 = 10.0;
const MAX_SECONDS: f64 = 1.0;
const BATCH: usize = 1500;

pub fn run(dir: &Path, size: Size, gib: Option<f64>, figures: &mut Figures) -> anyhow::Result<()> {
    let gib = gib.unwrap_or(if size == Size::Smoke { 0.125 } else { 1.0 });
    println!("opening a log of {gib} GiB whose files are not in memory");
    let log = dir.join("large");
    let started = Instant::now();
    fill(&log, (gib * f64::from(1 << 30)) as u64)?;
    figures.show("open_fill_s", "writing it", started.elapsed().as_secs_f64(), "s");
    let killed = open(&log)?;
    let closed = open(&log)?;
    let read_only = {
        forget(&log)?;
        let started = Instant::now();
        let opened = EmbeddedLog::open_read_only(&log)?;
        let took = started.elapsed().as_secs_f64();
        drop(opened);
        took
    };
    fs::remove_dir_all(&log)?;
    figures.show("open_gib", "size", gib, "GiB");
    figures.show("open_closed_s", "after an orderly close", closed, "s");
    figures.show("open_read_only_s", "read-only", read_only, "s");
    // A part that does not grow with the log is scaled with it: the estimate errs upwards.
    let scale = (PROMISED_GIB / gib).max(1.0);
    figures.show("open_killed_s", "after kill -9", killed, "s");
    let worst = killed.max(closed).max(read_only) * scale;
    let what = if scale > 1.0 { "the slowest, scaled to 10 GiB" } else { "the slowest" };
    if size == Size::Smoke {
        figures.show("open_10_gib_s", what, worst, "s");
    } else {
        figures.check("open_10_gib_s", what, worst, "s", Gate::AtMost(MAX_SECONDS));
    }
    Ok(())
}

fn open(dir: &Path) -> anyhow::Result<f64> {
    forget(dir)?;
    let started = Instant::now();
    let log = EmbeddedLog::open(EmbeddedConfig::new(dir))?;
    let took = started.elapsed().as_secs_f64();
    ensure!(log.damage().is_empty(), "the log is damaged: {:?}", log.damage());
    log.close();
    Ok(took)
}

/// Takes the files out of the page cache. What is dirty stays there, so it is synced first.
fn forget(dir: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_file() {
            let file = File::open(&path)?;
            file.sync_all()?;
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}

fn fill(dir: &Path, bytes: u64) -> anyhow::Result<()> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["stream", "--fill"])
        .arg(dir)
        .arg(bytes.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the process that fills the log")?;
    let stdout = child.stdout.take().context("piped")?;
    let said = BufReader::new(stdout).lines().next();
    child.kill()?;
    child.wait()?;
    ensure!(matches!(&said, Some(Ok(line)) if line == "full"), "the log was not filled: {said:?}");
    Ok(())
}

/// The child's part: writes until the log has that size, says so, and waits for its end.
pub fn fill_and_wait(args: &[String]) -> anyhow::Result<bool> {
    let [dir, bytes] = args else { anyhow::bail!("--fill DIR BYTES") };
    let bytes: u64 = bytes.parse()?;
    let runtime = Runtime::new()?;
    let log = EmbeddedLog::open(EmbeddedConfig::new(dir))?;
    let batches = events::batches(30_000, BATCH);
    while log.stats().total_bytes < bytes {
        runtime.block_on(rate::write(&log, &batches))?;
    }
    println!("full");
    std::io::stdout().flush()?;
    let mut nothing = Vec::new();
    std::io::stdin().read_to_end(&mut nothing)?;
    Ok(true)
}
