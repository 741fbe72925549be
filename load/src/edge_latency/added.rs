//! Latency: the bare relay, the edge with a healthy log, with Kafka away, and with everything downstream dead, in turns.

use std::path::Path;

use anyhow::ensure;

use super::{Scale, Stand, all_good, ms, plan, worst_p99};
use crate::calls::{Fleet, Kind, Tally, quantile};
use crate::edge_process::{Edge, can_mount, free};
use crate::figures::{Figures, Gate};
use crate::relay::Relay;

const RATE: f64 = 500.0;
const STANDALONE_RATE: f64 = 100.0;
const MAX_P99_MS: f64 = 1.0;
const MAX_MORE_MS: f64 = 0.5;
/// Nobody listens on this port.
const KAFKA_AWAY: &str = "[stream]\nadapter = \"kafka\"\nring_mib = 4\nkafka.bootstrap = \"127.0.0.1:1\"\n";
const SMALL_DISK_MIB: u64 = 256;

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Relay,
    Healthy,
    /// Events wait on the disk.
    KafkaAway,
    /// The disk is full too: the ring fills, and events are shed.
    AllDead,
}

impl Side {
    const ALL: [(Side, &'static str); 4] = [
        (Side::Relay, "bare relay"),
        (Side::Healthy, "edge, synced log"),
        (Side::KafkaAway, "edge, Kafka away"),
        (Side::AllDead, "edge, Kafka away, disk full"),
    ];
}

pub fn run(binary: &Path, scale: Scale, figures: &mut Figures) -> anyhow::Result<()> {
    println!("latency added at {RATE:.0} calls/s, {} turns of {} s each", scale.turns, scale.window.as_secs());
    let mountable = can_mount();
    if !mountable {
        figures.note("disk_full_skipped", "SKIPPED: a full disk (no namespace to mount a tmpfs in)");
    }
    let mut tallies = Side::ALL.map(|_| Tally::default());
    for turn in 1..=scale.turns {
        let mut line = Vec::new();
        for (at, (side, name)) in Side::ALL.into_iter().enumerate().filter(|(_, s)| mountable || s.0 != Side::AllDead) {
            let tally = turn_of(side, binary, scale)?;
            all_good(name, &tally)?;
            line.push(format!("{name} {:.0} µs", quantile(&tally.samples.all(), 99.0)));
            tallies[at].join(tally);
        }
        println!("  turn {turn}, p99: {}", line.join(", "));
    }
    for ((_, name), tally) in Side::ALL.iter().zip(&tallies).filter(|(_, tally)| tally.placed > 0) {
        table(name, tally);
    }
    let [relay, healthy, away, dead] = tallies;
    let p99 = |tally: &Tally| quantile(&tally.samples.all(), 99.0);
    let (worst, whose) = worst_p99(&healthy);
    println!("  the slowest kind of message is {whose}");
    figures.check("p99_ms", "p99 of the slowest kind of message", ms(worst), "ms", Gate::AtMost(MAX_P99_MS));
    figures.show("p50_us", "median of all messages", quantile(&healthy.samples.all(), 50.0), "µs");
    figures.show("p99_us", "p99 of all messages", p99(&healthy), "µs");
    figures.show("p999_us", "p99.9 of all messages", quantile(&healthy.samples.all(), 99.9), "µs");
    let least = quantile(healthy.samples.least(), 99.0);
    figures.show("p99_least_us", "p99 counted from after the send (lower bound)", least, "µs");
    figures.show("relay_p99_us", "p99 of the bare relay", p99(&relay), "µs");
    figures.show("relay_ratio", "p99 to that of the bare relay", p99(&healthy) / p99(&relay), "");
    let more = |tally: &Tally| ms(p99(tally) - p99(&healthy));
    let gate = Gate::AtMost(MAX_MORE_MS);
    figures.check("kafka_away_more_ms", "p99 more with Kafka away", more(&away), "ms", gate);
    if mountable {
        figures.check("all_dead_more_ms", "p99 more with Kafka away and the disk full", more(&dead), "ms", gate);
    }
    Ok(())
}

fn turn_of(side: Side, binary: &Path, scale: Scale) -> anyhow::Result<Tally> {
    let stand = Stand::new()?;
    let kafka_away = |small_disk| stand.edge(binary, KAFKA_AWAY, "", small_disk);
    let edge = match side {
        Side::Relay => {
            let at = free()?;
            let _relay = Relay::start(at, stand.caller, stand.nodes[0])?;
            return measure(&mut stand.fleet(at)?, RATE, scale);
        }
        Side::Healthy => stand.synced_edge(binary, "")?,
        Side::KafkaAway => kafka_away(None)?,
        Side::AllDead => kafka_away(Some(SMALL_DISK_MIB))?,
    };
    if side == Side::AllDead {
        edge.fill_disk()?;
    }
    let tally = measure(&mut stand.fleet(edge.trunk_side)?, RATE, scale)?;
    proves(side, &edge, scale)?;
    Ok(tally)
}

/// That the trouble was there.
fn proves(side: Side, edge: &Edge, scale: Scale) -> anyhow::Result<()> {
    let (spooled, lost) = (edge.metric("edge_stream_spool_events")?, edge.metric("edge_stream_lost")?);
    match side {
        Side::KafkaAway => ensure!(spooled > 0.0 && lost == 0.0, "void: Kafka away, {spooled} spooled, {lost} lost"),
        // A smoke run is over before the ring is full.
        Side::AllDead if scale.window.as_secs() > 5 => {
            ensure!(lost > 0.0, "void: the disk is full and nothing was shed");
        }
        _ => {}
    }
    Ok(())
}

fn measure(fleet: &mut Fleet, rate: f64, scale: Scale) -> anyhow::Result<Tally> {
    fleet.run(&plan(rate, scale.warm_up, false), |_| Ok(()))?;
    fleet.run(&plan(rate, scale.window, true), |_| Ok(()))?;
    fleet.finish(super::HOLD * 40)?;
    Ok(fleet.take(0))
}

fn table(who: &str, tally: &Tally) {
    println!("  {who:30} {:>9} {:>9} {:>9} {:>9}", "messages", "p50 µs", "p99 µs", "p99.9 µs");
    for (kind, name) in Kind::ALL {
        let values = tally.samples.of(kind);
        let at = |percent| quantile(values, percent);
        println!("    {name:28} {:>9} {:>9.0} {:>9.0} {:>9.0}", values.len(), at(50.0), at(99.0), at(99.9));
    }
}

/// The same beside all the other services, with the settings that are shipped.
pub fn in_standalone(binary: &Path, scale: Scale, figures: &mut Figures) -> anyhow::Result<()> {
    println!("inside standalone at {STANDALONE_RATE:.0} calls/s");
    let stand = Stand::new()?;
    let edge = Edge::standalone(binary, stand.nodes[0])?;
    let tally =
        measure(&mut stand.fleet(edge.trunk_side)?, STANDALONE_RATE, Scale { window: scale.window * 2, ..scale })?;
    all_good("standalone", &tally)?;
    table("standalone", &tally);
    let (worst, whose) = worst_p99(&tally);
    println!("  the slowest kind of message is {whose}");
    figures.check(
        "standalone_p99_ms",
        "p99 of the slowest kind inside standalone",
        ms(worst),
        "ms",
        Gate::AtMost(MAX_P99_MS),
    );
    figures.show("standalone_p99_us", "p99 of all messages", quantile(&tally.samples.all(), 99.0), "µs");
    Ok(())
}
