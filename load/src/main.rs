//! Benchmarks and fault labs: `cargo run --release -p load -- <name> …`.
//!
//! Each prints a table for people and one JSON object as its last line. A benchmark's `--gate` ends with exit code 1 when a gate is missed,
//! its `--smoke` only shows within seconds that it still works; a lab ends with 1 when a promise was broken.

mod avro;
mod calls;
mod clock;
mod cpu;
mod dispatcher;
mod edge_flood;
mod edge_latency;
mod edge_process;
mod edge_vs_kamailio;
mod faults;
mod figures;
mod leftovers;
mod memory;
mod place;
mod process;
mod relay;
mod sip_parse;
mod stream;

use std::process::ExitCode;

const USAGE: &str =
    "usage: load avro|dispatcher|edge-flood|edge-latency|edge-vs-kamailio|sip-parse|stream [--gate] [--smoke] …
       load stream-faults kill|outage|disk …
       load relay AT CALLER NODE (what edge-vs-kamailio starts beside the two)";

fn main() -> anyhow::Result<ExitCode> {
    let mut args = std::env::args().skip(1);
    let name = args.next();
    let rest: Vec<String> = args.collect();
    let pass = match name.as_deref() {
        Some("avro") => avro::run(&rest)?,
        Some("stream") => stream::run(&rest)?,
        Some("dispatcher") => dispatcher::run(&rest)?,
        Some("edge-flood") => edge_flood::run(&rest)?,
        Some("edge-latency") => edge_latency::run(&rest)?,
        Some("edge-vs-kamailio") => edge_vs_kamailio::run(&rest)?,
        Some("relay") => relay::run(&rest)?,
        Some("sip-parse") => sip_parse::run(&rest)?,
        Some("stream-faults") => faults::run(&rest)?,
        _ => {
            eprintln!("{USAGE}");
            return Ok(ExitCode::from(2));
        }
    };
    Ok(if pass { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
