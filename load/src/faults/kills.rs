//! `kill -9` at random points while events flow: no accepted event may be lost.
//!
//! Each child opens the same ring, spool and log, so that it meets what the killed one left. Most kills fall while events flow; one in
//! eight falls into the start, where a dead ring is drained, and is counted apart. The run is void when too few kills found something in
//! the ring, or when fewer events flowed than promised: then it proved nothing.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::json;

use super::{
    Options,
    child::Life,
    keeper::Keeper,
    notes::Notes,
    reader::{Reader, Sightings},
    target::Target,
};
use crate::{clock::wall_us, place, stream::Random};

const EVENTS_PER_S: u64 = 4_000;
const MIN_PER_S: f64 = 2_000.0;
/// At least this part of the kills has to find events in the ring.
const MIN_NON_EMPTY: f64 = 0.25;
/// One child in so many is killed while it starts.
const EARLY: u64 = 8;
const DRAIN_LIMIT: Duration = Duration::from_secs(120);

pub fn run(options: &Options) -> anyhow::Result<bool> {
    let wish = options.target_or("embedded")?;
    let kills = options.number("--kills", 20.0)? as u64;
    let seed = options.number("--seed", (wall_us() % 1_000_000) as f64)? as u64;
    println!("{kills} × kill -9 at random points, {} events/s, target {}, seed {seed}", EVENTS_PER_S, wish.name());
    let (disk, memory) = (place::on_disk()?, place::in_memory()?);
    let target = Target::start(&wish, disk.path())?;
    let notes = Notes::new(memory.path().join("notes"))?;
    let mut life = Life {
        life: 0,
        way: target.way.clone(),
        notes: notes.folder.clone(),
        ring: memory.path().join("ring"),
        ring_bytes: 16 << 20,
        data: disk.path().join("data"),
        events_per_s: EVENTS_PER_S,
        threads: 2,
    };
    // Kafka is read all the time; the embedded log when its last writer has closed it.
    let reader = life.way.is_kafka().then(|| life.way.open_to_read(&life.data).and_then(Reader::start)).transpose()?;
    let mut random = Random::new(seed);
    let (mut done, mut early, mut non_empty, mut in_ring, mut flow) = (0, 0, 0, 0, Flow::default());
    while done < kills {
        life.life += 1;
        let mut child = Keeper::start(&life)?;
        if random.between(0, EARLY) == 0 {
            std::thread::sleep(Duration::from_micros(random.between(0, 60_000)));
            child.kill()?;
            early += 1;
            continue;
        }
        child.wait_until_it_publishes(&notes, life.life)?;
        let (before, started) = (notes.count(life.life), Instant::now());
        std::thread::sleep(Duration::from_micros(random.between(5_000, 300_000)));
        child.kill()?;
        flow.add(notes.count(life.life) - before, started.elapsed());
        let left: u64 = stream::ring::inspect(&life.ring)?.iter().map(|ring| ring.events).sum();
        done += 1;
        non_empty += u64::from(left > 0);
        in_ring += left;
        if done % 20 == 0 {
            println!("  {done} kills, {non_empty} found the ring non-empty, {} events accepted", flow.events);
        }
    }
    life.life += 1;
    let mut child = Keeper::start(&life)?;
    child.wait_until_it_publishes(&notes, life.life)?;
    child.stop().context("the last child, which is to bring everything to the log")?;
    let accepted = notes.all()?;
    let sightings = read_to_the_end(reader, &life, &accepted)?;
    let account = sightings.seen.settle(&accepted);

    let per_s = flow.per_s();
    let is_void = (non_empty as f64) < kills as f64 * MIN_NON_EMPTY || per_s < MIN_PER_S;
    let pass = account.balances() && !is_void;
    println!(
        "  {kills} kills while {per_s:.0} events/s flowed (at least {MIN_PER_S}), {non_empty} found the ring non-empty (at least \
         {:.0}), {in_ring} events in it together; {early} more kills during the start",
        kills as f64 * MIN_NON_EMPTY
    );
    account.print();
    println!(
        "{}",
        if pass {
            "pass"
        } else if is_void {
            "VOID: it proved nothing"
        } else {
            "FAILED"
        }
    );
    let mut all = json!({
        "lab": "kill", "target": wish.name(), "pass": pass, "void": is_void, "seed": seed, "kills": kills, "early_kills": early,
        "ring_non_empty": non_empty, "events_in_rings": in_ring, "events_per_s": per_s.round(),
    });
    super::join(&mut all, account.json());
    println!("{all}");
    Ok(pass)
}

/// Stops reading when everything that is owed has come, or when nothing of it comes any more.
fn read_to_the_end(reader: Option<Reader>, life: &Life, accepted: &[super::notes::Note]) -> anyhow::Result<Sightings> {
    let mut reader = match reader {
        Some(reader) => reader,
        None => Reader::start(life.way.open_to_read(&life.data)?)?,
    };
    let epochs: std::collections::BTreeSet<i64> = accepted.iter().map(|note| note.epoch).collect();
    let settled =
        |s: &Sightings| s.seen.closed_epochs() >= epochs.len() && accepted.iter().all(|note| s.seen.has(note));
    // Asking each time whether all is there would be slow; first wait until enough is there.
    let enough = |s: &Sightings| s.seen.count() >= accepted.len() as u64 && settled(s);
    let complete = reader.wait_until(DRAIN_LIMIT.min(Duration::from_secs(30)), enough)?;
    ensure!(complete || reader.sightings.lock().seen.count() > 0, "nothing at all arrived");
    // Copies may still come.
    std::thread::sleep(Duration::from_millis(500));
    reader.finish()
}

#[derive(Default)]
struct Flow {
    events: u64,
    time: Duration,
}

impl Flow {
    fn add(&mut self, events: u64, time: Duration) {
        self.events += events;
        self.time += time;
    }

    fn per_s(&self) -> f64 {
        self.events as f64 / self.time.as_secs_f64().max(1e-9)
    }
}
