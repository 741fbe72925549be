//! Kafka is away while events flow: nothing is lost, everything drains, and soon events are fresh again.
//!
//! Fresh: less than 5 s from the event's time to its consumption through our source. What counts is the last second after the return in which
//! an older event came; it must be within 60 s of the return, and fresh ones must come from then on.

use std::time::Duration;

use serde_json::json;

use super::{Options, broker::Broker, child::Life, keeper::Keeper, notes::Notes, reader::Reader, target::Target};
use crate::{clock::wall_us, place};

const EVENTS_PER_S: u64 = 2_000;
const BEFORE: Duration = Duration::from_secs(5);
const FRESH_MS: i64 = 5_000;
const FRESH_WITHIN_S: f64 = 60.0;
/// Fresh for so long counts as fresh again.
const STEADY: Duration = Duration::from_secs(10);
const DRAIN_LIMIT: Duration = Duration::from_secs(180);

pub fn run(options: &Options) -> anyhow::Result<bool> {
    let wish = options.target_or(if Broker::available() { "broker" } else { "mock" })?;
    let away = Duration::from_secs_f64(options.number("--minutes", 1.0)? * 60.0);
    println!("Kafka away for {} s at {EVENTS_PER_S} events/s, target {}", away.as_secs(), wish.name());
    let (disk, memory) = (place::on_disk()?, place::in_memory()?);
    let mut target = Target::start(&wish, disk.path())?;
    let notes = Notes::new(memory.path().join("notes"))?;
    let life = Life {
        life: 1,
        way: target.way.clone(),
        notes: notes.folder.clone(),
        ring: memory.path().join("ring"),
        ring_bytes: 16 << 20,
        data: disk.path().join("data"),
        events_per_s: EVENTS_PER_S,
        threads: 2,
    };
    let mut reader = Reader::start(life.way.open_to_read(&life.data)?)?;
    let mut child = Keeper::start(&life)?;
    child.wait_until_it_publishes(&notes, life.life)?;
    std::thread::sleep(BEFORE);
    let before = child.ask("phase")?;
    let fed_before = reader.sightings.lock().seen.count();
    target.cut()?;
    let cut_us = wall_us();
    println!("  Kafka is gone after {fed_before} events");
    std::thread::sleep(away);
    let during = child.ask("phase")?;
    target.mend()?;
    let returned_us = wall_us();
    let waiting = notes.count(life.life).saturating_sub(reader.sightings.lock().seen.count());
    println!("  Kafka is back {:.0} s later; {waiting} events wait", (returned_us - cut_us) as f64 / 1e6);
    let steady_us = STEADY.as_micros() as i64;
    let settled = reader.wait_until(DRAIN_LIMIT, |sightings| {
        let now = wall_us();
        let (came, oldest) = sightings.between(now - steady_us, now);
        now - returned_us > steady_us && came > EVENTS_PER_S * STEADY.as_secs() / 2 && oldest < FRESH_MS
    })?;
    let after = child.ask("phase")?;
    let said = child.stop()?;
    let accepted = notes.all()?;
    reader.wait_until(DRAIN_LIMIT, |s| s.seen.count() >= accepted.len() as u64 && s.seen.closed_epochs() == 1)?;
    let sightings = reader.finish()?;
    let account = sightings.seen.settle(&accepted);

    // The end of that second.
    let fresh_after_s = match sightings.last_older_than(FRESH_MS) {
        Some(second) => ((second + 1) as f64 - returned_us as f64 / 1e6).max(0.0),
        None => 0.0,
    };
    let held = away.as_secs() * EVENTS_PER_S / 2;
    let is_void = waiting < held || fed_before == 0;
    let lossless = account.balances() && account.declared == 0;
    let pass = lossless && settled && fresh_after_s <= FRESH_WITHIN_S && !is_void;
    println!("  fresh again (under 5 s) {fresh_after_s:.1} s after the return (at most {FRESH_WITHIN_S})");
    for (when, cost) in [("before", &before), ("while it was away", &during), ("afterwards", &after)] {
        println!(
            "  publish with encoding, {when}: median {} µs, p99 {}, longest {}",
            cost["p50_us"], cost["p99_us"], cost["max_us"]
        );
    }
    account.print();
    println!(
        "{}",
        if pass {
            "pass"
        } else if is_void {
            "VOID: Kafka was not away"
        } else {
            "FAILED"
        }
    );
    let mut all = json!({
        "lab": "outage", "target": wish.name(), "pass": pass, "void": is_void, "away_s": (returned_us - cut_us) as f64 / 1e6,
        "events_per_s": EVENTS_PER_S, "waiting": waiting, "fresh_after_s": (fresh_after_s * 10.0).round() / 10.0,
        "gate_fresh_after_s": FRESH_WITHIN_S, "publish_before": before, "publish_during": during, "publish_after": after,
        "child": said,
    });
    super::join(&mut all, account.json());
    println!("{all}");
    Ok(pass)
}
