//! Two trunks with loopback addresses of their own, two nodes, an edge between them, and somebody who floods.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::Scale;
use super::flood::{Flooder, Sprayed, Wish};
use crate::calls::{Fleet, Plan, Tally};
use crate::edge_process::{EMBEDDED, Edge, Settings, free};

/// Legitimate calls per second of a trunk.
pub const RATE: f64 = 50.0;
/// What the first trunk may begin per second.
pub const CPS: f64 = 100.0;
pub const HOLD: Duration = Duration::from_secs(1);
/// A call that is set up so much later than without a flood did not succeed.
const LATE: Duration = Duration::from_secs(1);
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 2, 1);

pub struct Stand {
    pub edge: Edge,
    pub fleet: Fleet,
    pub flooder: Flooder,
}

/// What happened in one window, by trunk.
pub struct Window {
    pub tallies: [Tally; 2],
    pub strangers: u64,
    /// Used by the edge.
    pub cpu: Duration,
    /// Seconds that calls were placed.
    pub time: Duration,
    pub flood: Option<Sprayed>,
}

impl Stand {
    pub fn new(binary: &Path) -> anyhow::Result<Self> {
        let flooder = Flooder::new()?;
        let callers = [SocketAddrV4::new(FIRST, flooder.port), SocketAddrV4::new(SECOND, free()?.port())];
        let nodes = [free()?, free()?];
        let trunks = format!(
            "[[edge.trunks]]\nid = \"first\"\nsources = [\"{FIRST}\"]\ncps = {CPS}\n\n\
             [[edge.trunks]]\nid = \"second\"\nsources = [\"{SECOND}\"]\n"
        );
        // The nodes answer probes only while calls run.
        let edge = "probe.enabled = false\n";
        let edge = Edge::start(
            binary,
            &Settings { stream: EMBEDDED, edge, trunks: &trunks, nodes: &nodes, small_disk: None },
        )?;
        let fleet = Fleet::new(&callers.map(|at| (at, edge.trunk_side)), &nodes, true)?;
        Ok(Self { edge, fleet, flooder })
    }

    /// The first trunk's address, which a flood may forge.
    pub fn forged(&self) -> Ipv4Addr {
        FIRST
    }

    /// Calls at both rates, with or without a flood. The flood begins before the calls that count and ends after the last of them.
    pub fn window(
        &mut self,
        rates: [f64; 2],
        time: Duration,
        scale: Scale,
        wish: Option<Wish>,
    ) -> anyhow::Result<Window> {
        let flood = wish.map(|wish| self.flooder.start(wish)).transpose()?;
        let plan = |time, counted| Plan { rates: rates.to_vec(), time, hold: Some(HOLD), counted };
        self.fleet.run(&plan(scale.warm_up, false), |_| Ok(()))?;
        self.fleet.take_strangers();
        let before = self.edge.cpu()?;
        self.fleet.run(&plan(time, true), |_| Ok(()))?;
        let cpu = self.edge.cpu()?.saturating_sub(before);
        let strangers = self.fleet.take_strangers();
        self.fleet.finish(Duration::from_secs(40))?;
        let flood = flood.map(super::flood::Running::stop).transpose()?;
        if let (Some(flood), Some(wish)) = (&flood, wish) {
            let reached = flood.per_second() / wish.per_second;
            ensure!(scale.smoke || reached > 0.95, "void: the flood sent {:.0} packets/s", flood.per_second());
        }
        Ok(Window { tallies: [self.fleet.take(0), self.fleet.take(1)], strangers, cpu, time, flood })
    }

    /// Rules in force. Nobody wrote any: each would be the edge's own idea.
    pub fn rules(&self) -> anyhow::Result<u64> {
        Ok(self.edge.page("/v1/blocks")?.as_array().context("/v1/blocks is no list")?.len() as u64)
    }
}

/// Per cent of the calls that ended well, set up at most a second later than `usual` (µs).
pub fn success(tally: &Tally, usual: f64) -> f64 {
    let limit = (usual + LATE.as_micros() as f64) as f32;
    let late = tally.setups.iter().filter(|&&setup| setup > limit).count() as u64;
    tally.ended.saturating_sub(late) as f64 / tally.placed as f64 * 100.0
}

/// Calls alone must be good, or nothing is said by those beside a flood.
pub fn all_good(tallies: &[Tally; 2]) -> anyhow::Result<()> {
    for tally in tallies {
        let Tally { placed, ended, refused, timed_out, .. } = tally;
        ensure!(
            placed == ended,
            "void: without a flood {ended} of {placed} ended well, {refused:?}, {timed_out} timed out"
        );
    }
    Ok(())
}
