//! The fault labs of the stream: processes that publish are killed, Kafka goes away, the disk fails; the account is made from outside.
//!
//! Each lab starts this binary again as its child, reads the log with a reader of its own, and compares: accepted, arrived, declared. The
//! last line is one JSON object; the exit code is 1 when a promise was broken or the run proved nothing.

mod account;
mod broker;
mod child;
mod disk;
mod disk_layer;
mod keeper;
mod kills;
mod notes;
mod outage;
mod reader;
mod target;

use std::os::unix::process::CommandExt;

use anyhow::{Context, bail, ensure};
use rustix::process::{Signal, set_parent_process_death_signal};
use serde_json::Value;

use self::target::Wish;

const USAGE: &str = "stream-faults kill [--kills N] [--target embedded|mock|broker|HOST:PORT] [--seed N]
       stream-faults outage [--minutes M] [--target broker|mock]
       stream-faults disk [--seconds S] [--only SCENARIO]";

pub fn run(args: &[String]) -> anyhow::Result<bool> {
    let (lab, rest) = args.split_first().with_context(|| format!("usage: {USAGE}"))?;
    match lab.as_str() {
        "kill" => kills::run(&Options::parse(rest, &["--kills", "--target", "--seed"])?),
        "outage" => outage::run(&Options::parse(rest, &["--minutes", "--target"])?),
        "disk" => disk::run(&Options::parse(rest, &["--seconds", "--only"])?),
        "child" => child::run(rest.first().context("a child is started by its lab")?),
        "leashed" => leashed(rest),
        other => bail!("no lab {other:?}; usage: {USAGE}"),
    }
}

/// Becomes another program that dies with the process that started this one.
fn leashed(args: &[String]) -> anyhow::Result<bool> {
    let (program, args) = args.split_first().context("a program to run")?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    Err(std::process::Command::new(program).args(args).exec()).with_context(|| format!("running {program}"))
}

/// `--name value` pairs.
struct Options(Vec<(String, String)>);

impl Options {
    fn parse(args: &[String], known: &[&str]) -> anyhow::Result<Self> {
        let mut options = Vec::new();
        for pair in args.chunks(2) {
            ensure!(known.contains(&pair[0].as_str()), "unknown argument {:?}; usage: {USAGE}", pair[0]);
            let value = pair.get(1).with_context(|| format!("{} needs a value", pair[0]))?;
            options.push((pair[0].clone(), value.clone()));
        }
        Ok(Self(options))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    fn number(&self, name: &str, default: f64) -> anyhow::Result<f64> {
        let number: f64 =
            self.get(name).map_or(Ok(default), str::parse).with_context(|| format!("{name} takes a number"))?;
        ensure!(number.is_finite() && number >= 0.0, "{name} takes a number that is not negative");
        Ok(number)
    }

    fn target_or(&self, default: &str) -> anyhow::Result<Wish> {
        Wish::parse(self.get("--target").unwrap_or(default))
    }
}

fn join(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(mut more)) = (into, more) {
        into.append(&mut more);
    }
}
