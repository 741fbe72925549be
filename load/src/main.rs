//! Benchmarks: `cargo run --release -p load -- <name> [--gate] [--smoke]`.
//!
//! Each prints a table for people and one JSON object as its last line. With `--gate` a missed gate ends with exit
//! code 1; `--smoke` only shows within seconds that the benchmark still works.

mod avro;
mod stream;

use std::process::ExitCode;

const USAGE: &str = "usage: load avro|stream [--gate] [--smoke]";

fn main() -> anyhow::Result<ExitCode> {
    let mut args = std::env::args().skip(1);
    let name = args.next();
    let rest: Vec<String> = args.collect();
    let pass = match name.as_deref() {
        Some("avro") => avro::run(&rest)?,
        Some("stream") => stream::run(&rest)?,
        _ => {
            eprintln!("{USAGE}");
            return Ok(ExitCode::from(2));
        }
    };
    Ok(if pass { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
