//! The process that the labs torment: a publisher that publishes at a steady rate from several threads, as a service does, and notes each
//! accepted event in its parent's memory.
//!
//! It is told what to do on standard input, a line each, and answers each with a line of JSON; the end of its input is its end:
//!
//! | line | does |
//! |---|---|
//! | `fault none\|full\|read-only\|slow-sync` | what the disk does from now on |
//! | `ballast` / `free` | fills the rest of the data's file system / makes room again |
//! | `phase` | gives what `publish` cost since the last `phase` |
//! | `stop` | no more events; everything on its way, closing manifests, end |

use std::{
    fs::{self, File},
    io::{BufRead, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use parking_lot::Mutex;
use rustix::process::{Signal, set_parent_process_death_signal};
use schemas::SipTransaction;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stream::{EmbeddedConfig, Publisher, PublisherConfig, Ring, SpoolConfig};

use super::{
    disk_layer::{Fault, FaultyDisk},
    notes::{Note, Pen},
    target::Way,
};
use crate::{clock, figures::percentile};

const FIXTURE: &str = include_str!("../../../schemas/sip.transactions/examples/full-invite.json");
pub const PRODUCER: &str = "lab/1";
const TICK: Duration = Duration::from_millis(1);
/// A child that is told to stop has so long to bring everything to the log.
pub const STOP_LIMIT: Duration = Duration::from_secs(120);

/// What a child is given as its one argument.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Life {
    /// Counts the children of one lab.
    pub life: u64,
    pub way: Way,
    /// Where the parent reads what was accepted.
    pub notes: PathBuf,
    /// On a tmpfs.
    pub ring: PathBuf,
    pub ring_bytes: usize,
    /// The embedded log, or the spool.
    pub data: PathBuf,
    pub events_per_s: u64,
    pub threads: usize,
}

/// What `publish` took, in nanoseconds, by thread.
type Costs = Vec<Arc<Mutex<Vec<f64>>>>;

pub fn run(argument: &str) -> anyhow::Result<bool> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let life: Life = serde_json::from_str(argument).context("a child is started by its lab")?;
    let disk = FaultyDisk::default();
    let embedded = EmbeddedConfig { files: Arc::new(disk.clone()), ..EmbeddedConfig::new(&life.data) };
    let log = life.way.open(embedded)?;
    let spool = SpoolConfig { files: Arc::new(disk.clone()), ..SpoolConfig::new(life.data.join("spool")) };
    let config = PublisherConfig {
        ring: Ring::Shared { dir: life.ring.clone(), bytes: life.ring_bytes },
        spool: life.way.is_kafka().then_some(spool),
        manifests: true,
        ..PublisherConfig::new(PRODUCER, clock::wall_us(), clock::shared())
    };
    let epoch = config.epoch;
    let publisher = Publisher::start(log, config)?;
    let stop = Arc::<AtomicBool>::default();
    let mut costs = Costs::new();
    let mut threads = Vec::new();
    for thread in 0..life.threads {
        let cost = Arc::<Mutex<Vec<f64>>>::default();
        costs.push(cost.clone());
        let pen = Pen::open(&life.notes, life.life, thread)?;
        let (publisher, stop, life) = (publisher.clone(), stop.clone(), life.clone());
        let work = move || publish(&publisher, epoch, &life, thread, pen, &cost, &stop);
        threads.push(std::thread::Builder::new().name(format!("caller-{thread}")).spawn(work)?);
    }
    obey(&life, &disk, &costs)?;
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().map_err(|_| anyhow::anyhow!("a caller panicked"))??;
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let flushed = runtime.block_on(publisher.flush(STOP_LIMIT));
    let stats = publisher.stats();
    let declared: u64 = publisher.declared().iter().map(|loss| loss.events).sum();
    let left = runtime.block_on(publisher.close(STOP_LIMIT));
    say(&json!({
        "flushed": flushed.is_ok(), "accepted": stats.accepted, "delivered": stats.delivered, "declared": declared,
        "shed": stats.shed, "errors": stats.errors, "dead_epochs": stats.dead_epochs, "left_in_ring": left.in_ring,
        "left_in_spool": left.in_spool,
    }));
    Ok(true)
}

/// Does what the parent says, until it says `stop`.
fn obey(life: &Life, disk: &FaultyDisk, costs: &Costs) -> anyhow::Result<()> {
    let ballast = life.data.join("ballast");
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let answer = match line.split_once(' ') {
            Some(("fault", name)) => {
                disk.set(Fault::parse(name).with_context(|| format!("no fault {name:?}"))?);
                json!({ "fault": name })
            }
            None if line == "phase" => cost_since_last(costs),
            None if line == "ballast" => json!({ "ballast_bytes": fill(&ballast)? }),
            None if line == "free" => {
                fs::remove_file(&ballast)?;
                json!({ "ballast_bytes": 0 })
            }
            None if line == "stop" => return Ok(()),
            _ => bail!("{line:?} is no order"),
        };
        say(&answer);
    }
    bail!("the lab is gone")
}

fn say(answer: &Value) {
    let mut out = std::io::stdout().lock();
    // A parent that does not listen any more kills us anyway.
    let _deaf = writeln!(out, "{answer}").and_then(|()| out.flush());
}

fn cost_since_last(costs: &Costs) -> Value {
    let all: Vec<f64> = costs.iter().flat_map(|cost| std::mem::take(&mut *cost.lock())).collect();
    let us = |percent| (percentile(&all, percent) / 100.0).round() / 10.0;
    json!({ "calls": all.len(), "p50_us": us(50.0), "p99_us": us(99.0), "p999_us": us(99.9), "max_us": us(100.0) })
}

/// Writes until there is no room; returns how much there was.
fn fill(path: &Path) -> anyhow::Result<u64> {
    let mut file = File::create(path)?;
    let mut total = 0;
    for size in [1 << 20, 4096, 1] {
        let piece = vec![0_u8; size];
        while file.write(&piece).is_ok_and(|n| n > 0) {
            total += size as u64;
        }
    }
    Ok(total)
}

/// One caller: so many events each millisecond, by the clock, so that what a stall held up follows at once.
fn publish(
    publisher: &Publisher,
    epoch: i64,
    life: &Life,
    thread: usize,
    mut pen: Pen,
    cost: &Mutex<Vec<f64>>,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    let file: Value = serde_json::from_str(FIXTURE)?;
    let event: SipTransaction = serde_json::from_value(file["events"][0].clone())?;
    let per_second = life.events_per_s as f64 / life.threads as f64;
    let started = Instant::now();
    let mut count = 0_i64;
    while !stop.load(Ordering::Relaxed) {
        let due = (started.elapsed().as_secs_f64() * per_second) as i64;
        while count < due {
            let n = (life.life as i64) << 40 | (thread as i64) << 36 | count;
            let mut event = event.clone();
            event.call_root_id = key(n);
            let before = Instant::now();
            let published = publisher.publish(event);
            let took = before.elapsed().as_nanos() as f64;
            pen.note(Note { epoch, partition: published.partition, seq: published.seq, n })?;
            cost.lock().push(took);
            count += 1;
        }
        std::thread::sleep(TICK);
    }
    Ok(())
}

/// The key of event `n`: what it is recognised by.
fn key(n: i64) -> String {
    format!("lab-{n:016x}")
}

pub fn number_in(key: &[u8]) -> Option<i64> {
    let hex = std::str::from_utf8(key).ok()?.strip_prefix("lab-")?;
    i64::from_str_radix(hex, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_recognised_by_its_key() {
        let n = (199_i64 << 40) | (1 << 36) | 12345;
        assert_eq!(number_in(key(n).as_bytes()), Some(n));
        assert_eq!(number_in(b"somebody's call"), None);
    }
}
