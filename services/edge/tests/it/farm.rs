//! A trunk that calls steadily and nodes with moods, in virtual time: what callers notice of nodes that fail.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use edge::core::Input;
use edge::{Config, NodeConfig, ProbeConfig};

use super::peers::Rng;
use super::text::{Dialog, Msg, invite};
use super::world::*;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mood {
    Well,
    /// Nobody listens at its port.
    Refuses,
    /// Stands still.
    Hangs,
    /// Answers probes, and so many percent of its INVITEs with 503.
    Fails(u64),
    /// Answers probes, and swallows INVITEs.
    Swallows,
    /// Says 503 to probes, and takes calls all the same.
    Full,
    /// Whatever is behind it is dead, and it says so by Q.850.
    FarSide,
}

/// What became of a call.
#[derive(Clone, Debug, Default)]
pub struct Call {
    pub placed_ms: u64,
    pub ended_ms: Option<u64>,
    pub status: u16,
    /// Branches that reached any node.
    pub attempts: BTreeSet<String>,
}

pub struct Farm {
    pub w: World,
    pub moods: BTreeMap<SocketAddr, Mood>,
    pub calls: BTreeMap<String, Call>,
    /// INVITEs by node since they were last cleared.
    pub invites: BTreeMap<SocketAddr, usize>,
    /// State changes: when (ms), who, into what.
    pub changes: Vec<(u64, String, String)>,
    pub now_ms: u64,
    pub loss_percent: u64,
    rng: Rng,
    placed: u64,
}

/// One step of the clock.
const STEP_MS: u64 = 10;

pub fn node_at(number: usize) -> SocketAddr {
    addr(&format!("10.0.0.{}:5080", 10 + number))
}

pub fn node(number: usize) -> NodeConfig {
    NodeConfig { id: format!("n{number}"), address: node_at(number).into(), ..NodeConfig::default() }
}

/// Probes on, so many nodes.
pub fn farm_config(nodes: usize) -> Config {
    Config { probe: ProbeConfig::default(), nodes: (1..=nodes).map(node).collect(), ..config() }
}

impl Farm {
    pub fn new(nodes: usize) -> Farm {
        Farm::with(farm_config(nodes))
    }

    pub fn with(config: Config) -> Farm {
        Farm {
            w: World::with(config),
            moods: (1..=9).map(|n| (node_at(n), Mood::Well)).collect(),
            calls: BTreeMap::new(),
            invites: BTreeMap::new(),
            changes: Vec::new(),
            now_ms: 0,
            loss_percent: 0,
            rng: Rng(7),
            placed: 0,
        }
    }

    pub fn mood(&mut self, number: usize, mood: Mood) {
        self.moods.insert(node_at(number), mood);
    }

    /// So long, with so many calls in each second.
    pub fn run(&mut self, ms: u64, per_second: u64) {
        let end = self.now_ms + ms;
        let mut due = 0;
        while self.now_ms < end {
            due += per_second * STEP_MS;
            while due >= 1_000 {
                due -= 1_000;
                self.place();
            }
            self.deliver_all();
            self.w.pass_ms(STEP_MS);
            self.now_ms += STEP_MS;
            self.deliver_all();
            for h in self.w.health.drain(..).filter(|h| h.state != h.state_before) {
                self.changes.push((self.now_ms, h.node_id, h.state.unwrap()));
            }
            // Of millions of packets none is looked at again.
            self.w.raw.clear();
        }
    }

    fn place(&mut self) {
        self.placed += 1;
        let id = format!("call{}", self.placed);
        let m = invite(t1(), edge_trunk(), &id, "+4930123456", 1);
        self.calls.insert(id, Call { placed_ms: self.now_ms, ..Call::default() });
        self.w.send(t1(), &m);
    }

    fn deliver_all(&mut self) {
        while let Some((hop, m)) = self.w.wire.pop_front() {
            if hop.addr == t1() {
                self.hand_to_caller(&m);
            } else if !self.rng.chance(self.loss_percent) {
                self.hand_to_node(hop.addr, &m);
            }
        }
    }

    fn hand_to_caller(&mut self, m: &Msg) {
        if m.method() != "INVITE" || m.status() < 200 {
            return;
        }
        let Some(call) = self.calls.get_mut(m.call_id()) else { return };
        if call.ended_ms.is_none() {
            (call.ended_ms, call.status) = (Some(self.now_ms), m.status());
        }
        if m.status() >= 300 {
            let sent = invite(t1(), edge_trunk(), m.call_id(), "+4930123456", 1);
            self.w.send(t1(), &sent.ack_failure(m));
        } else {
            let mut dialog = Dialog::caller(t1(), m);
            let ack = dialog.request("ACK");
            self.w.send(t1(), &ack);
            let bye = dialog.request("BYE");
            self.w.send(t1(), &bye);
        }
    }

    fn hand_to_node(&mut self, at: SocketAddr, m: &Msg) {
        let mood = self.moods.get(&at).copied().unwrap_or(Mood::Hangs);
        if m.is("INVITE", 0) {
            let call = self.calls.entry(m.call_id().to_owned()).or_default();
            // Not its repetitions.
            if call.attempts.insert(m.branch().to_owned()) {
                *self.invites.entry(at).or_default() += 1;
            }
        }
        let tag = format!("b{}", m.call_id().split('@').next().unwrap());
        let busy = || m.reply(503, "Service Unavailable", &tag);
        let answer = match (mood, m.method(), m.status()) {
            (Mood::Hangs, ..) | (_, "ACK", _) | (_, _, 1..) => return,
            (Mood::Refuses, ..) => return self.w.give(Input::Unreachable { to: at }),
            (Mood::Full, "OPTIONS", _) => busy(),
            (_, "OPTIONS", _) => m.reply(200, "OK", "p"),
            (Mood::Swallows, "INVITE", _) => return,
            (Mood::Fails(percent), "INVITE", _) if self.rng.chance(percent) => busy(),
            (Mood::FarSide, "INVITE", _) => {
                m.reply(502, "Bad Gateway", &tag).with("Reason", "Q.850;cause=27;text=\"DESTINATION_OUT_OF_ORDER\"")
            }
            (_, "INVITE", _) => m.reply(200, "OK", &tag).with("Contact", &format!("<sip:n@{at}>")),
            _ => m.reply(200, "OK", &tag),
        };
        if !self.rng.chance(self.loss_percent) {
            self.w.send(at, &answer);
        }
    }

    /// Calls that ended with another status than 200, or not at all.
    pub fn failed(&self) -> usize {
        self.calls.values().filter(|c| c.status != 200).count()
    }

    /// Calls that reached more than one node, or one twice.
    pub fn retried(&self) -> usize {
        self.calls.values().filter(|c| c.attempts.len() > 1).count()
    }

    pub fn slowest_ms(&self) -> u64 {
        let took = |c: &Call| c.ended_ms.map_or(u64::MAX, |at| at - c.placed_ms);
        self.calls.values().map(took).max().unwrap_or(0)
    }

    pub fn share(&self, number: usize) -> f64 {
        let all: usize = self.invites.values().sum();
        self.invites.get(&node_at(number)).copied().unwrap_or(0) as f64 / all.max(1) as f64
    }

    pub fn forget(&mut self) {
        self.calls.clear();
        self.invites.clear();
        self.changes.clear();
    }
}
