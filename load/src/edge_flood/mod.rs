//! The edge under floods, over real sockets, while legitimate calls go on beside them.
//!
//! `unknown`: 60,000 packets/s from a million addresses that no peer has. `spoofed`: 20,000 packets/s from a trunk's own address and port,
//! with garbage, OPTIONS, REGISTER, or INVITEs that never come twice. `mimic`: INVITEs that nobody can tell from the trunk's own.
//! `overload`: one trunk calls ten times as often as it may.
//!
//! A call succeeds when every request of it was answered as it should be and it was set up at most a second later than without a flood.
//! Flood, calls and edge share the machine; a run is void when the flood did not reach its rate.

mod flood;
mod overload;
mod packets;
mod sink;
mod spoofed;
mod stand;
mod unknown;

use std::time::Duration;

use anyhow::{Context, bail};

use crate::figures::Figures;
use crate::process::Binary;

const USAGE: &str = "edge-flood [--gate] [--smoke] [--only PART,…] [--binary FILE|shipped]";
const PARTS: [&str; 4] = ["unknown", "spoofed", "mimic", "overload"];

/// How hard and how long; a smoke run's figures mean nothing.
#[derive(Debug, Clone, Copy)]
struct Scale {
    unknown_per_s: f64,
    spoofed_per_s: f64,
    warm_up: Duration,
    window: Duration,
    overload: Duration,
    smoke: bool,
}

const FULL: Scale = Scale {
    unknown_per_s: 60_000.0,
    spoofed_per_s: 20_000.0,
    warm_up: Duration::from_secs(3),
    window: Duration::from_secs(20),
    overload: Duration::from_secs(60),
    smoke: false,
};
const SMOKE: Scale = Scale {
    unknown_per_s: 2_000.0,
    spoofed_per_s: 1_000.0,
    warm_up: Duration::from_millis(300),
    window: Duration::from_secs(1),
    overload: Duration::from_secs(2),
    smoke: true,
};

pub fn run(args: &[String]) -> anyhow::Result<bool> {
    let (mut gate, mut scale, mut only, mut binary) = (false, FULL, Vec::new(), Binary::default());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} needs a value: {USAGE}"));
        match arg.as_str() {
            "--gate" => gate = true,
            "--smoke" => scale = SMOKE,
            "--only" => only = value()?.split(',').map(str::to_owned).collect::<Vec<_>>(),
            "--binary" => binary = Binary::named(value()?)?,
            _ => bail!("unknown argument {arg:?}: {USAGE}"),
        }
    }
    if let Some(part) = only.iter().find(|part| !PARTS.contains(&part.as_str())) {
        bail!("no part {part:?}: {PARTS:?}");
    }
    let binary = binary.ready()?;
    let wanted = |part: &str| only.is_empty() || only.iter().any(|p| p == part);
    let mut figures = Figures::default();
    if wanted("unknown") {
        unknown::run(&binary, scale, &mut figures)?;
    }
    if wanted("spoofed") {
        spoofed::run(&binary, scale, &mut figures)?;
    }
    if wanted("mimic") {
        spoofed::mimic(&binary, scale, &mut figures)?;
    }
    if wanted("overload") {
        overload::run(&binary, scale, &mut figures)?;
    }
    let pass = figures.pass();
    println!("{}", figures.finish("edge-flood", "unknown_us_per_packet"));
    Ok(pass || !gate)
}
