//! The disk fails while events flow: callers notice nothing, Kafka is still fed, and what had to go is declared to the last event.
//!
//! A faulty file layer inside the child stands for a full, a read-only and a slow disk; a tmpfs of limited size, mounted where only the child
//! sees it, is a disk that really is full. Where everything refuses (disk and Kafka, or the disk under the embedded log), a small ring makes
//! sure that events are shed: the scenario is void when none was.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use super::{
    Options,
    child::Life,
    keeper::Keeper,
    notes::Notes,
    reader::Reader,
    target::{Target, Wish},
};
use crate::{clock::wall_us, place};

const EVENTS_PER_S: u64 = 2_000;
const LARGE_RING: usize = 16 << 20;
/// Full within two seconds.
const SMALL_RING: usize = 3 << 20;
const SMALL_DISK_MIB: u64 = 256;
const HEALTHY: Duration = Duration::from_secs(3);
const DRAIN_LIMIT: Duration = Duration::from_secs(60);
/// The switch from the spool to Kafka takes up to a second.
const SWITCH_US: i64 = 2_000_000;
const FRESH_MS: i64 = 5_000;
/// A call is unaffected when its p99 stays below twice the healthy one and this; a call that waited for the disk would take a thousand
/// times as long.
const SLACK_US: f64 = 50.0;
/// Nor may the slowest of a thousand wait; other processes of this machine may take the core for a few time slices.
const MAX_P999_US: f64 = 50_000.0;

struct Scenario {
    name: &'static str,
    wish: Wish,
    trouble: Trouble,
    kafka_away: bool,
    losses: Losses,
}

/// Whatever is lost is declared; here is what must be, too.
#[derive(Clone, Copy, PartialEq)]
enum Losses {
    None,
    /// Everything refuses: some events have to go.
    Some,
    /// Depends on how much waits for one sync.
    Any,
}

#[derive(Clone, Copy, PartialEq)]
enum Trouble {
    /// By the name that the child knows.
    Layer(&'static str),
    /// A file system without room.
    SmallDisk,
}

fn scenarios() -> Vec<Scenario> {
    let spool = |name, trouble, kafka_away| Scenario {
        name,
        wish: Wish::Mock,
        trouble,
        kafka_away,
        losses: if kafka_away { Losses::Some } else { Losses::None },
    };
    let log = |name, trouble, losses| Scenario { name, wish: Wish::Embedded, trouble, kafka_away: false, losses };
    vec![
        spool("spool-full", Trouble::Layer("full"), false),
        spool("spool-quota", Trouble::SmallDisk, false),
        spool("spool-read-only", Trouble::Layer("read-only"), false),
        spool("spool-slow-sync", Trouble::Layer("slow-sync"), false),
        spool("spool-full-kafka-away", Trouble::Layer("full"), true),
        log("log-full", Trouble::Layer("full"), Losses::Some),
        log("log-read-only", Trouble::Layer("read-only"), Losses::Some),
        log("log-slow-sync", Trouble::Layer("slow-sync"), Losses::Any),
    ]
}

pub fn run(options: &Options) -> anyhow::Result<bool> {
    let holds = Duration::from_secs_f64(options.number("--seconds", 10.0)?);
    let only = options.get("--only");
    let wanted: Vec<Scenario> = scenarios().into_iter().filter(|s| only.is_none_or(|name| name == s.name)).collect();
    ensure!(!wanted.is_empty(), "no scenario {only:?}");
    println!("disk faults for {} s each at {EVENTS_PER_S} events/s", holds.as_secs());
    let mut results = Vec::new();
    for scenario in &wanted {
        println!("{}", scenario.name);
        results.push(scenario.run(holds)?);
    }
    let skipped = results.iter().filter(|r| r["skipped"] == true).count();
    let pass = results.iter().all(|r| r["pass"] == true || r["skipped"] == true) && skipped < results.len();
    println!("{}", if pass { "pass" } else { "FAILED" });
    println!("{}", json!({ "lab": "disk", "pass": pass, "skipped": skipped, "scenarios": results }));
    Ok(pass)
}

impl Scenario {
    fn run(&self, holds: Duration) -> anyhow::Result<Value> {
        let (disk, memory) = (place::on_disk()?, place::in_memory()?);
        if self.trouble == Trouble::SmallDisk && !Keeper::can_mount(disk.path()) {
            println!("  SKIPPED: no namespace to mount a tmpfs in");
            return Ok(json!({ "scenario": self.name, "skipped": true }));
        }
        let mut target = Target::start(&self.wish, disk.path())?;
        let notes = Notes::new(memory.path().join("notes"))?;
        let life = Life {
            life: 1,
            way: target.way.clone(),
            notes: notes.folder.clone(),
            ring: memory.path().join("ring"),
            ring_bytes: if self.losses == Losses::Some { SMALL_RING } else { LARGE_RING },
            data: disk.path().join("data"),
            events_per_s: EVENTS_PER_S,
            threads: 2,
        };
        let mut reader = None;
        if life.way.is_kafka() {
            reader = Some(Reader::start(life.way.open_to_read(&life.data)?)?);
        }
        let mut child = match self.trouble {
            Trouble::SmallDisk => Keeper::start_on_small_disk(&life, SMALL_DISK_MIB)?,
            Trouble::Layer(_) => Keeper::start(&life)?,
        };
        child.wait_until_it_publishes(&notes, life.life)?;
        child.ask("phase")?;
        std::thread::sleep(HEALTHY);
        let healthy = child.ask("phase")?;
        self.begin(&mut child, &mut target)?;
        let began_us = wall_us();
        let published_before = notes.count(life.life);
        std::thread::sleep(holds);
        let (ended_us, published) = (wall_us(), notes.count(life.life) - published_before);
        let fed = reader.as_ref().map(|r| r.sightings.lock().between(began_us + SWITCH_US, ended_us));
        let faulty = child.ask("phase")?;
        self.end(&mut child, &mut target)?;
        std::thread::sleep(HEALTHY);
        let said = child.stop()?;
        let accepted = notes.all()?;
        let mut reader = match reader {
            Some(reader) => reader,
            None => Reader::start(life.way.open_to_read(&life.data)?)?,
        };
        let owed = accepted.len() as u64 - said["declared"].as_u64().unwrap_or(0);
        reader.wait_until(DRAIN_LIMIT, |s| s.seen.count() >= owed && s.seen.closed_epochs() == 1)?;
        let account = reader.finish()?.seen.settle(&accepted);

        let us = |cost: &Value, key: &str| cost[key].as_f64().unwrap_or(f64::NAN);
        let limit = us(&healthy, "p99_us") * 2.0 + SLACK_US;
        let callers = us(&faulty, "p99_us") <= limit && us(&faulty, "p999_us") <= MAX_P999_US;
        let kept_pace = published as f64 >= 0.9 * EVENTS_PER_S as f64 * holds.as_secs_f64();
        let is_fed = self.is_fed(fed, ended_us - began_us);
        let declared = match self.losses {
            Losses::None => account.declared == 0,
            Losses::Some => account.declared > 0,
            Losses::Any => true,
        };
        let pass = account.balances() && callers && kept_pace && is_fed && declared;
        println!(
            "  publish with encoding: p99 {} µs healthy, {} µs in the fault (at most {limit:.0}), of a thousand the slowest {} µs",
            healthy["p99_us"], faulty["p99_us"], faulty["p999_us"]
        );
        if let Some((count, oldest_ms)) = fed.filter(|_| !self.kafka_away) {
            println!("  Kafka during the fault: {count} events consumed, the oldest {oldest_ms} ms old");
        }
        account.print();
        println!("  {}", if pass { "pass" } else { "FAILED" });
        let mut all = json!({
            "scenario": self.name, "pass": pass, "callers_unaffected": callers, "kept_pace": kept_pace, "fed": is_fed,
            "declared_as_expected": declared, "healthy": healthy, "faulty": faulty, "child": said,
        });
        super::join(&mut all, account.json());
        Ok(all)
    }

    fn begin(&self, child: &mut Keeper, target: &mut Target) -> anyhow::Result<()> {
        if self.kafka_away {
            target.cut()?;
        }
        match self.trouble {
            Trouble::Layer(name) => child.ask(&format!("fault {name}"))?,
            Trouble::SmallDisk => child.ask("ballast")?,
        };
        Ok(())
    }

    fn end(&self, child: &mut Keeper, target: &mut Target) -> anyhow::Result<()> {
        match self.trouble {
            Trouble::Layer(_) => child.ask("fault none")?,
            Trouble::SmallDisk => child.ask("free")?,
        };
        if self.kafka_away { target.mend() } else { Ok(()) }
    }

    /// Kafka got the events while the fault held: at least half of them after the switch, and none of them stale.
    fn is_fed(&self, fed: Option<(u64, i64)>, held_us: i64) -> bool {
        let Some((count, oldest_ms)) = fed else { return true };
        let expected = EVENTS_PER_S as f64 * ((held_us - SWITCH_US).max(0) as f64 / 1e6);
        self.kafka_away || (count as f64 >= 0.5 * expected && oldest_ms < FRESH_MS)
    }
}
