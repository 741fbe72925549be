//! Everything that this edge knows about one node beside its probes: its calls, how they went, and what others want of it.

use super::breaker::Breaker;
use super::latency::Latency;
use super::load::{Load, Own};
use super::ramp::Ramp;
use super::view::{Evidence, View};
use super::{Health, Probe, State};
use crate::core::control::{Effective, Wanted};
use crate::core::journal::Place;
use crate::core::topology::{Node, PoolSpec};

/// Counters run since the edge started, over all settings.
#[derive(Debug, Default)]
pub struct Standing {
    pub calls_now: i64,
    pub attempts: u64,
    pub answered: u64,
    pub ended: u64,
    pub failed_5xx: u64,
    pub timeouts: u64,
    pub retransmits: u64,
    pub probe: Probe,
    /// The journal's record of which life it is in.
    pub kept: Option<Place>,
    pub breaker: Breaker,
    pub latency: Latency,
    pub load: Load,
    pub ramp: Ramp,
    /// What the control topics and the settings want of it, read once a second and when they change: a choice looks at many
    /// nodes and must not search.
    pub wanted: Effective,
    /// The state that was last told.
    pub told: &'static str,
}

impl Standing {
    #[must_use]
    pub fn own(&self) -> Own {
        Own { now: u32::try_from(self.calls_now).unwrap_or(0), started: self.attempts, ended: self.ended }
    }

    /// For people and events: up, suspect, draining, down or disabled. What its calls say is no state: others take a suspect
    /// node for a silent one.
    #[must_use]
    pub fn state(&self, health: &Health) -> &'static str {
        match (self.wanted.state, health.state()) {
            (Wanted::Disabled, _) => "disabled",
            (Wanted::Draining, State::Up | State::Suspect) => "draining",
            (_, state) => state.as_str(),
        }
    }

    /// Whether it may get a new call at all.
    #[must_use]
    pub fn is_out(&self, node: &Node, health: &Health) -> bool {
        node.gone.is_some() || !node.is_known() || self.wanted.state != Wanted::Active || health.is_dead()
    }

    /// Soft evidence that panic ignores: what it says of itself, what its calls say, and what a program computed.
    #[must_use]
    pub fn is_shut(&self, health: &Health) -> bool {
        health.is_full() || self.breaker.is_open() || (self.wanted.factor <= 0.0 && !self.wanted.ordered)
    }

    /// How it looks to a choice now.
    #[must_use]
    pub fn view(&self, now: u64, node: &Node, health: &Health, pool: &PoolSpec, panic: bool) -> View {
        let own = self.own();
        let (used, capacity) = (self.load.used(now, own), self.load.capacity(now, node.capacity));
        let factor = if panic && !self.wanted.ordered { 1.0 } else { self.wanted.factor };
        let soft = if panic { 1.0 } else { self.breaker.cut() * self.ramp.factor(now, pool.slow_start_us) };
        let evidence = match health.state() {
            _ if self.is_out(node, health) => Evidence::Out,
            _ if factor <= 0.0 => Evidence::Weightless,
            // What probes say stands, also in panic: another node is up, or this one is asked anyway.
            State::Suspect | State::Down => Evidence::Suspect,
            State::Up if self.breaker.is_open() && !panic => Evidence::Suspect,
            State::Up if health.is_full() && !panic => Evidence::Full,
            State::Up if capacity > 0 && used >= capacity => Evidence::Full,
            State::Up => Evidence::Up,
        };
        View {
            id: node.key,
            weight: node.weight * factor * soft,
            priority: node.priority,
            evidence,
            used,
            capacity,
            latency_us: self.latency.smoothed_us(),
        }
    }
}
