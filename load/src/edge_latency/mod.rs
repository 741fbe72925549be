//! What the edge adds to the way of a message, and what it costs in memory to keep many calls for long.
//!
//! The edge is a process of its own; callers and nodes are one thread of ours on loopback. Latency is what lies between the kernel's
//! receipt of a message and the edge's sending it on, seen from outside: see `calls::samples` for the two bounds; the larger is reported,
//! and nothing is taken off. A thread that does nothing but send datagrams on is measured in the same way in the same run.
//!
//! Gates: p99 ≤ 1 ms of each kind of message at 500 calls/s; at most 0.5 ms more with Kafka away and the disk full; p99 ≤ 1 ms inside
//! `standalone` at 100 calls/s; 1,000 calls/s beside 60,000 open dialogs of ≤ 4 KiB; resident memory flat over 10 minutes.

mod added;
mod dialogs;
mod flat;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::calls::{Fleet, Kind, Plan, Tally, quantile};
use crate::edge_process::{EMBEDDED, Edge, Settings};
use crate::figures::Figures;
use crate::process::Binary;

const USAGE: &str = "edge-latency [--gate] [--smoke] [--only PART,…] [--minutes N] [--turns N] [--binary FILE|shipped]";
const PARTS: [&str; 4] = ["added", "standalone", "dialogs", "flat"];

struct Asked {
    gate: bool,
    only: Vec<String>,
    binary: Binary,
    scale: Scale,
}

/// How long and how much; a smoke run's figures mean nothing.
#[derive(Debug, Clone, Copy)]
struct Scale {
    turns: usize,
    /// Before anything is counted: longer than the small ring takes to fill.
    warm_up: Duration,
    window: Duration,
    open: u64,
    open_rate: f64,
    /// Each of the two windows beside which the dialogs are counted.
    sustained: Duration,
    flat: Duration,
}

const FULL: Scale = Scale {
    turns: 3,
    warm_up: Duration::from_secs(8),
    window: Duration::from_secs(15),
    open: 60_000,
    open_rate: 1_500.0,
    sustained: Duration::from_secs(45),
    flat: Duration::from_secs(600),
};
const SMOKE: Scale = Scale {
    turns: 1,
    warm_up: Duration::from_secs(1),
    window: Duration::from_secs(1),
    open: 500,
    open_rate: 500.0,
    sustained: Duration::from_secs(2),
    flat: Duration::from_secs(6),
};

pub fn run(args: &[String]) -> anyhow::Result<bool> {
    let asked = parse(args)?;
    let binary = asked.binary.ready()?;
    let wanted = |part: &str| asked.only.is_empty() || asked.only.iter().any(|p| p == part);
    let mut figures = Figures::default();
    if wanted("added") {
        added::run(&binary, asked.scale, &mut figures)?;
    }
    if wanted("standalone") {
        added::in_standalone(&binary, asked.scale, &mut figures)?;
    }
    if wanted("dialogs") {
        dialogs::run(&binary, asked.scale, &mut figures)?;
    }
    if wanted("flat") {
        flat::run(&binary, asked.scale, &mut figures)?;
    }
    let pass = figures.pass();
    println!("{}", figures.finish("edge-latency", "p99_ms"));
    Ok(pass || !asked.gate)
}

fn parse(args: &[String]) -> anyhow::Result<Asked> {
    let mut asked = Asked { gate: false, only: Vec::new(), binary: Binary::default(), scale: FULL };
    if args.iter().any(|arg| arg == "--smoke") {
        asked.scale = SMOKE;
    }
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} needs a value: {USAGE}"));
        match arg.as_str() {
            "--gate" => asked.gate = true,
            "--smoke" => {}
            "--only" => asked.only = value()?.split(',').map(str::to_owned).collect(),
            "--turns" => asked.scale.turns = value()?.parse().context("--turns takes a number")?,
            "--minutes" => {
                let minutes: f64 = value()?.parse().context("--minutes takes a number")?;
                asked.scale.flat = Duration::from_secs_f64(minutes * 60.0);
            }
            "--binary" => asked.binary = Binary::named(value()?)?,
            _ => bail!("unknown argument {arg:?}: {USAGE}"),
        }
    }
    if let Some(part) = asked.only.iter().find(|part| !PARTS.contains(&part.as_str())) {
        bail!("no part {part:?}: {PARTS:?}");
    }
    ensure!(asked.scale.turns > 0, "{USAGE}");
    Ok(asked)
}

const HOLD: Duration = Duration::from_secs(1);

/// Calls that begin evenly over the time, counted or not.
fn plan(rate: f64, time: Duration, counted: bool) -> Plan {
    Plan { rates: vec![rate], time, hold: Some(HOLD), counted }
}

/// One trunk and two nodes, and the settings for an edge between them.
struct Stand {
    caller: std::net::SocketAddrV4,
    nodes: [std::net::SocketAddrV4; 2],
}

impl Stand {
    fn new() -> anyhow::Result<Self> {
        use crate::edge_process::free;
        Ok(Self { caller: free()?, nodes: [free()?, free()?] })
    }

    fn edge(&self, binary: &Path, stream: &str, edge: &str, small_disk: Option<u64>) -> anyhow::Result<Edge> {
        let trunks = format!("[[edge.trunks]]\nid = \"caller\"\nsources = [\"{}\"]\n", self.caller);
        // The nodes answer probes only while calls run.
        let edge = format!("probe.enabled = false\n{edge}");
        Edge::start(binary, &Settings { stream, edge: &edge, trunks: &trunks, nodes: &self.nodes, small_disk })
    }

    fn synced_edge(&self, binary: &Path, edge: &str) -> anyhow::Result<Edge> {
        self.edge(binary, EMBEDDED, edge, None)
    }

    fn fleet(&self, to: std::net::SocketAddrV4) -> anyhow::Result<Fleet> {
        Fleet::new(&[(self.caller, to)], &self.nodes, false)
    }
}

/// A turn in which calls fail, or in which messages are lost, measures something else than calls.
fn all_good(who: &str, tally: &Tally) -> anyhow::Result<()> {
    let Tally { placed, ended, timed_out, resent, refused, .. } = tally;
    ensure!(
        ended == placed && *placed > 0,
        "void: {who}: of {placed} calls {ended} ended well, {timed_out} timed out, refused {refused:?}"
    );
    let messages = placed * Kind::ALL.len() as u64;
    // A smoke run has too few of them for a share.
    let few = messages < 10_000;
    ensure!(few || resent * 1_000 <= messages, "void: {who}: {resent} of {messages} messages had to be sent again");
    Ok(())
}

fn ms(us: f64) -> f64 {
    us / 1e3
}

/// The largest p99 of all kinds, in microseconds, and whose it is.
fn worst_p99(tally: &Tally) -> (f64, &'static str) {
    let p99 = |(kind, name): (Kind, &'static str)| (quantile(tally.samples.of(kind), 99.0), name);
    Kind::ALL.map(p99).into_iter().max_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((f64::NAN, ""))
}
