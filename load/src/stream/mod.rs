//! What the event log costs: writing, reading, latency, `publish`, opening a large log, and the whole path to Kafka. Each figure stands
//! beside the bare limit of the same run.

mod events;
mod kafka;
mod latency;
mod opening;
mod publish;
mod rate;

use anyhow::{Context, bail};

use crate::{figures::Figures, place};

pub use self::events::Random;

const USAGE: &str = "stream [--gate] [--smoke] [--kafka HOST:PORT] [--open-gib N] [--only PART,…]";
const PARTS: [&str; 5] = ["rate", "latency", "publish", "open", "kafka"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Size {
    /// Shows that it works.
    Smoke,
    Full,
}

struct Asked {
    gate: bool,
    size: Size,
    kafka: Option<String>,
    open_gib: Option<f64>,
    only: Vec<String>,
}

/// Runs the measurements; `Ok(false)` when a gate was asked for and missed.
pub fn run(args: &[String]) -> anyhow::Result<bool> {
    if args.first().is_some_and(|a| a == "--fill") {
        return opening::fill_and_wait(&args[1..]);
    }
    let asked = parse(args)?;
    let wanted = |part: &str| asked.only.is_empty() || asked.only.iter().any(|p| p == part);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let dir = place::on_disk()?;
    let mut figures = Figures::default();
    if wanted("rate") {
        rate::run(&runtime, dir.path(), asked.size, &mut figures)?;
    }
    if wanted("latency") {
        latency::run(&runtime, dir.path(), asked.size, &mut figures)?;
    }
    if wanted("publish") {
        publish::run(&runtime, dir.path(), asked.size, &mut figures)?;
    }
    if wanted("open") {
        opening::run(dir.path(), asked.size, asked.open_gib, &mut figures)?;
    }
    if wanted("kafka") {
        match &asked.kafka {
            Some(bootstrap) => kafka::run(&runtime, dir.path(), asked.size, bootstrap, &mut figures)?,
            None => {
                figures.note("kafka_skipped", "SKIPPED: Kafka (name a broker with --kafka or TRUNKLINE_TEST_KAFKA)")
            }
        }
    }
    let pass = figures.pass();
    println!("{}", figures.finish("stream", "write_ratio"));
    Ok(pass || !asked.gate)
}

fn parse(args: &[String]) -> anyhow::Result<Asked> {
    let kafka = std::env::var("TRUNKLINE_TEST_KAFKA").ok().filter(|address| !address.is_empty());
    let mut asked = Asked { gate: false, size: Size::Full, kafka, open_gib: None, only: Vec::new() };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} needs a value: {USAGE}"));
        match arg.as_str() {
            "--gate" => asked.gate = true,
            "--smoke" => asked.size = Size::Smoke,
            "--kafka" => asked.kafka = Some(value()?.clone()),
            "--open-gib" => asked.open_gib = Some(value()?.parse().context("--open-gib takes a number")?),
            "--only" => asked.only = value()?.split(',').map(str::to_owned).collect(),
            _ => bail!("unknown argument {arg:?}: {USAGE}"),
        }
    }
    let unknown = asked.only.iter().find(|part| !PARTS.contains(&part.as_str()));
    if let Some(part) = unknown {
        bail!("no part {part:?}: {PARTS:?}");
    }
    Ok(asked)
}
