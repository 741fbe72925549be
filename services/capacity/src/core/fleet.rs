//! All nodes: takes signals, says what to write and whom to forget.
//!
//! What must hold:
//! - a node that never sent a heartbeat is never written about;
//! - a dead node has weight 0 at the next decision; when more than half of several nodes fall silent together, with nobody saying
//!   that a link broke, their observers are gone rather than they, and nobody is emptied for it;
//! - a report older than [`STALE_US`] changes nothing: a replay of yesterday moves no call today;
//! - the time in which nobody asked for decisions (this process stood still) makes nobody older.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::Now;

use super::calls::Legs;
use super::formula::Tuning;
use super::node::{Death, Node, Weighed};
use super::signal::{Report, Step};

/// Older than this on arrival is history.
pub const STALE_US: u64 = 30_000_000;
/// Decisions come each quarter of a second; a gap as long as this means that we were not listening either.
const BLIND_US: u64 = 2_000_000;
const SWEEP_US: u64 = 60_000_000;
const MAX_NODES: usize = 10_000;

/// The weight of one node now.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    pub node: Arc<str>,
    pub weighed: Weighed,
    /// Of the heartbeat, and calls since.
    pub sessions: Option<i32>,
    pub beat_age_us: u64,
    /// Changed enough, or due for repetition.
    pub write: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    Write(Box<Decision>),
    /// Unseen for so long that its record is to be deleted.
    Forget(Arc<str>),
}

#[derive(Debug, Clone, Copy)]
struct Written {
    weight: f64,
    dead: bool,
    at_us: u64,
}

#[derive(Debug)]
struct Entry {
    node: Node,
    written: Option<Written>,
    /// Arrival of anything about it.
    heard_us: u64,
}

#[derive(Debug)]
pub struct Fleet {
    tuning: Tuning,
    nodes: BTreeMap<Arc<str>, Entry>,
    legs: Legs,
    decided_us: Option<u64>,
    swept_us: u64,
    stale: u64,
}

impl Fleet {
    #[must_use]
    pub fn new(tuning: Tuning) -> Fleet {
        let legs = Legs::new(tuning.max_calls);
        Fleet { tuning, nodes: BTreeMap::new(), legs, decided_us: None, swept_us: 0, stale: 0 }
    }

    /// Takes what somebody observed about a node.
    pub fn handle(&mut self, now: Now, report: Report) {
        let Some((at_us, age_us)) = self.timed(now, report.at_us) else { return };
        if !self.nodes.contains_key(report.node.as_str()) {
            if self.nodes.len() >= MAX_NODES {
                return;
            }
            let fresh = Entry { node: Node::default(), written: None, heard_us: now.mono_us };
            self.nodes.insert(Arc::from(report.node.as_str()), fresh);
        }
        if let Some(entry) = self.nodes.get_mut(report.node.as_str()) {
            entry.heard_us = now.mono_us;
            entry.node.handle(now, &report.observer, at_us, age_us, report.what);
        }
    }

    /// Takes a step of a call.
    pub fn call(&mut self, now: Now, step: Step) {
        match step {
            Step::Started { leg, node, at_us } => {
                let Some((at_us, _)) = self.timed(now, at_us) else { return };
                let name = match self.nodes.get_key_value(node.as_str()) {
                    Some((name, _)) => Arc::clone(name),
                    None => return,
                };
                self.legs.started(leg, &name, at_us);
                self.count(&name, leg, true, at_us);
            }
            Step::Ended { leg, at_us } => {
                let node = self.legs.ended(leg);
                let Some((at_us, _)) = self.timed(now, at_us) else { return };
                if let Some(node) = node {
                    self.count(&node, leg, false, at_us);
                }
            }
        }
    }

    fn count(&mut self, node: &str, leg: u64, started: bool, at_us: i64) {
        if let Some(entry) = self.nodes.get_mut(node) {
            entry.node.since.note(leg, started, at_us);
        }
    }

    /// The time of an event, never in the future, and its age; nothing when it is history.
    fn timed(&mut self, now: Now, at_us: i64) -> Option<(i64, u64)> {
        let age_us = u64::try_from(now.wall_us.saturating_sub(at_us)).unwrap_or(0);
        if age_us > STALE_US {
            self.stale += 1;
            return None;
        }
        Some((at_us.min(now.wall_us), age_us))
    }

    /// The weight of every known node now, in the order of their names, and whom to forget. Those to be written are taken as written.
    pub fn decide(&mut self, now: Now) -> Vec<Action> {
        let gap_us = self.decided_us.map_or(0, |at| now.mono_us.saturating_sub(at));
        self.decided_us = Some(now.mono_us);
        if gap_us > BLIND_US {
            for entry in self.nodes.values_mut() {
                entry.node.forgive(gap_us, now);
            }
        }
        if now.mono_us.saturating_sub(self.swept_us) >= SWEEP_US {
            self.swept_us = now.mono_us;
            self.legs.sweep(now.wall_us);
        }
        let mut actions = self.forget(now);
        let tuning = &self.tuning;
        let known = || self.nodes.values().filter(|e| e.node.is_known());
        let silent = known().filter(|e| e.node.death(now, tuning) == Some(Death::Silent)).count();
        let total = known().count();
        let panic = total >= 2 && silent * 2 > total;
        for (name, entry) in self.nodes.iter_mut().filter(|(_, e)| e.node.is_known()) {
            actions.push(Action::Write(Box::new(decide_one(name, entry, now, panic, tuning))));
        }
        actions
    }

    fn forget(&mut self, now: Now) -> Vec<Action> {
        let mut gone = Vec::new();
        let forget_us = self.tuning.forget_us;
        self.nodes.retain(|name, entry| {
            let unseen_us = match entry.node.sign_age_us(now) {
                Some(age) if entry.node.is_known() => age,
                _ => now.mono_us.saturating_sub(entry.heard_us),
            };
            let keep = unseen_us <= forget_us;
            if !keep && entry.written.is_some() {
                gone.push(Action::Forget(Arc::clone(name)));
            }
            keep
        });
        gone
    }

    #[must_use]
    pub fn knows(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|entry| entry.node.is_known())
    }

    /// Open legs, untracked legs, events that were history on arrival.
    #[must_use]
    pub fn counts(&self) -> (usize, u64, u64) {
        let (open, untracked) = self.legs.size();
        (open, untracked, self.stale)
    }
}

fn decide_one(name: &Arc<str>, entry: &mut Entry, now: Now, panic: bool, tuning: &Tuning) -> Decision {
    let death = entry.node.death(now, tuning);
    // A link that broke is evidence about the node itself; only silence can be that of the witness.
    let spared = panic && death == Some(Death::Silent);
    let mut weighed = entry.node.weigh(now, death, spared, tuning);
    weighed.inputs.previous_weight = entry.written.map(|w| w.weight);
    let fresh = Written { weight: weighed.weight, dead: weighed.rule == "dead", at_us: now.mono_us };
    let write = entry.written.is_none_or(|last| {
        (last.weight - fresh.weight).abs() > tuning.change
            || last.dead != fresh.dead
            || (last.weight == 0.0) != (fresh.weight == 0.0)
            || now.mono_us.saturating_sub(last.at_us) >= tuning.repeat_us
    });
    if write {
        entry.written = Some(fresh);
    }
    let (sessions, _) = entry.node.sessions();
    let beat_age_us = entry.node.beat_age_us(now).unwrap_or(u64::MAX);
    Decision { node: Arc::clone(name), weighed, sessions, beat_age_us, write }
}
