//! What a call costs at the edge against Kamailio: CPU of all processes and threads, user and system, at the same rate.
//!
//! Equal features: static allow-list, Max-Forwards, sanity, Record-Route, stateful relay, two nodes in turn with failover. The edge
//! also publishes every event through its ring into the embedded log, synced. Both are driven by the same SIPp scenarios, in turns,
//! each turn a fresh process; the median turn counts. A turn is void when a call failed, when the edge published anything but three
//! events per call, or when Kamailio costs more than 600 µs per call: then it was set up badly and the ratio would flatter us.
//!
//! Gate: ratio ≤ 0.35.

mod cpu;
mod peers;
mod sipp;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::json;

use self::peers::{Peer, Scene};
use self::sipp::Load;

const MAX_RATIO: f64 = 0.35;
const MAX_KAMAILIO_US: f64 = 600.0;
const WARM_UP: u64 = 500;

pub fn run(args: &[String]) -> anyhow::Result<bool> {
    let flag = |name: &str| args.iter().any(|a| a == name);
    let unknown = args.iter().find(|a| !["--gate", "--smoke"].contains(&a.as_str()));
    ensure!(unknown.is_none(), "unknown argument {unknown:?}: edge-vs-kamailio [--gate] [--smoke]");
    for (program, package) in [("kamailio", "kamailio"), ("sipp", "sip-tester")] {
        let found = Command::new(program).arg("-v").output().is_ok();
        ensure!(found, "{program} is missing: apt-get install {package}");
    }
    let (turns, load) = if flag("--smoke") {
        (1, Load { rate: 200, calls: 600, hold: Duration::from_millis(300) })
    } else {
        (3, Load { rate: 1000, calls: 12_000, hold: Duration::from_secs(1) })
    };
    let binary = build()?;
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for turn in 1..=turns {
        theirs.push(turn_of_kamailio(load).with_context(|| format!("kamailio, turn {turn}"))?);
        ours.push(turn_of_edge(load, &binary).with_context(|| format!("edge, turn {turn}"))?);
        println!("turn {turn}: kamailio {:.0} µs per call, edge {:.0} µs", theirs[turn - 1], ours[turn - 1]);
    }
    let (theirs, ours) = (median(&mut theirs), median(&mut ours));
    ensure!(flag("--smoke") || theirs <= MAX_KAMAILIO_US, "void: kamailio costs {theirs:.0} µs per call");
    let ratio = ours / theirs;
    let pass = ratio <= MAX_RATIO;
    println!("{} calls at {} calls/s, median of {turns} turns each", load.calls, load.rate);
    println!("{:10} {theirs:>7.0} µs CPU per call", "kamailio");
    println!("{:10} {ours:>7.0} µs CPU per call, three events each published and synced", "edge");
    println!("ratio {ratio:.2} (gate {MAX_RATIO}): {}", if pass { "pass" } else { "MISSED" });
    println!(
        "{}",
        json!({
            "bench": "edge-vs-kamailio", "ratio": (ratio * 1000.0).round() / 1000.0, "gate": MAX_RATIO, "pass": pass,
            "kamailio_us": theirs.round(), "edge_us": ours.round(), "calls": load.calls, "rate": load.rate,
        })
    );
    Ok(pass || !flag("--gate"))
}

/// The binary, brought up to date first: nobody measures yesterday's code.
fn build() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("where this benchmark's executable is")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let built =
        Command::new(cargo).args(["build", "--release", "--quiet", "-p", "trunkline"]).current_dir(root).status();
    ensure!(built.context("cargo does not start")?.success(), "trunkline does not build");
    Ok(own.with_file_name("trunkline"))
}

fn scene(dir: &Path) -> anyhow::Result<(Scene, [sipp::Process; 2])> {
    let nodes = [sipp::free()?, sipp::free()?];
    let scene = Scene { caller: sipp::free()?, nodes };
    Ok((scene, [sipp::node(nodes[0], dir)?, sipp::node(nodes[1], dir)?]))
}

fn turn_of_kamailio(load: Load) -> anyhow::Result<f64> {
    let dir = crate::place::on_disk()?;
    let (scene, _nodes) = scene(dir.path())?;
    let peer = peers::kamailio(scene, dir.path())?;
    measure(&peer, scene, load, dir.path())
}

fn turn_of_edge(load: Load, binary: &Path) -> anyhow::Result<f64> {
    let dir = crate::place::on_disk()?;
    let (scene, _nodes) = scene(dir.path())?;
    let run_dir = crate::place::in_memory()?;
    let (peer, log) = peers::edge(scene, binary, dir.path(), run_dir.path())?;
    let cost = measure(&peer, scene, load, dir.path())?;
    peers::published(&log)?.complete(load.calls + WARM_UP.min(load.calls))?;
    Ok(cost)
}

/// Microseconds of CPU per call, after a warm-up that is not counted.
fn measure(peer: &Peer, scene: Scene, load: Load, dir: &Path) -> anyhow::Result<f64> {
    let warm_up = Load { calls: WARM_UP.min(load.calls), ..load };
    sipp::call(scene.caller, peer.at, warm_up, dir)?.all_good(warm_up)?;
    let before = cpu::of_group(peer.group())?;
    sipp::call(scene.caller, peer.at, load, dir)?.all_good(load)?;
    let used = cpu::of_group(peer.group())?.saturating_sub(before);
    Ok(used.as_secs_f64() * 1e6 / load.calls as f64)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
