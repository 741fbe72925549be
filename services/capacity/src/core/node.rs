//! What is known of one node, and its weight.
//!
//! Ages count on our own monotonic clock from the arrival of a report, less the age it already had. A copy of a heartbeat, or one
//! that was overtaken, refreshes nothing. A node is as dead as its best witness says: one engine with a link up is enough to live.

use std::collections::BTreeMap;

use domain::Now;
use schemas::WeightInputs;

use super::calls::Since;
use super::formula::{self, Tuning, Uses};
use super::reason;
use super::signal::{Beat, Resources, What};

/// Used until an engine has seen two heartbeats. FreeSWITCH can send them each 20 s at most usefully.
const INTERVAL_US: u64 = 1_000_000;
const INTERVAL_RANGE_US: (u64, u64) = (200_000, 60_000_000);
/// An agent that is silent for longer no longer says how full the machine is.
const RESOURCES_VALID_US: u64 = 15_000_000;

/// How a node came to be dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    LinkDown,
    Silent,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Link {
    up: bool,
    at_us: i64,
    /// Arrival.
    since_us: u64,
}

/// The last heartbeat.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Pulse {
    at_us: i64,
    sequence: i64,
    /// When it was observed, on our clock.
    seen_us: u64,
    sessions: Option<i32>,
    max_sessions: Option<i32>,
}

#[derive(Debug, Default)]
pub struct Node {
    core: Option<String>,
    epoch_at_us: i64,
    active_since_us: Option<u64>,
    pulse: Option<Pulse>,
    interval_us: Option<u64>,
    cpu: Option<f64>,
    resources: Option<(Resources, u64)>,
    agent_cpu: Option<f64>,
    links: BTreeMap<String, Link>,
    /// Last sign of life of any kind, on our clock.
    sign_us: Option<u64>,
    pub since: Since,
    /// The weight now and when it was computed; nothing before the first one of an epoch.
    current: Option<(f64, u64)>,
}

/// A weight with its reasons.
#[derive(Debug, Clone, PartialEq)]
pub struct Weighed {
    pub weight: f64,
    pub rule: &'static str,
    pub reason: String,
    pub inputs: WeightInputs,
}

impl Node {
    /// Takes a report that had this age when it arrived.
    pub fn handle(&mut self, now: Now, observer: &str, at_us: i64, age_us: u64, what: What) {
        let seen_us = now.mono_us.saturating_sub(age_us);
        match what {
            What::Beat(beat) => {
                self.link(now, observer, at_us, true, true);
                self.beat(seen_us, at_us, &beat);
            }
            What::LinkUp => {
                self.link(now, observer, at_us, true, false);
                self.sign(seen_us);
            }
            What::LinkDown => self.link(now, observer, at_us, false, false),
            What::Epoch(core) => {
                self.epoch(seen_us, at_us, core, None);
            }
            What::Sign => self.sign(seen_us),
            What::Resources(r) => {
                let cpu = r.cpu.and_then(formula::sane);
                self.agent_cpu = cpu.map(|cpu| formula::smooth(self.agent_cpu, cpu)).or(self.agent_cpu);
                self.resources = Some((r, seen_us));
            }
        }
    }

    fn sign(&mut self, seen_us: u64) {
        self.sign_us = self.sign_us.max(Some(seen_us));
    }

    /// A heartbeat proves a link; at the same instant the explicit word wins.
    fn link(&mut self, now: Now, observer: &str, at_us: i64, up: bool, implied: bool) {
        let link = Link { up, at_us, since_us: now.mono_us };
        match self.links.get_mut(observer) {
            Some(known) if known.at_us > at_us || (implied && known.at_us == at_us) => {}
            Some(known) if known.up == up => known.at_us = at_us,
            Some(known) => *known = link,
            None => {
                self.links.insert(observer.to_owned(), link);
            }
        }
    }

    /// True when the node runs under this Core-UUID now; false for a word from an epoch that is over.
    fn epoch(&mut self, seen_us: u64, at_us: i64, core: String, uptime_us: Option<u64>) -> bool {
        match &self.core {
            Some(known) if *known == core => return true,
            Some(_) if at_us <= self.pulse.map_or(i64::MIN, |p| p.at_us).max(self.epoch_at_us) => return false,
            // Restarted before our eyes: it starts slowly from now, and nothing that it had counts any more.
            Some(_) => {
                self.active_since_us = Some(seen_us);
                self.pulse = self.pulse.map(|p| Pulse { sessions: Some(0), sequence: 0, ..p });
                self.cpu = None;
                self.since.counted(at_us);
                self.current = None;
            }
            // First seen: it may have been up for days, and then this process is new, not the node.
            None => self.active_since_us = uptime_us.map(|up| seen_us.saturating_sub(up)),
        }
        self.core = Some(core);
        self.epoch_at_us = at_us;
        self.sign(seen_us);
        true
    }

    fn beat(&mut self, seen_us: u64, at_us: i64, beat: &Beat) {
        let uptime_us = beat.uptime_ms.and_then(|ms| u64::try_from(ms).ok()).map(|ms| ms.saturating_mul(1000));
        if !self.epoch(seen_us, at_us, beat.core.clone(), uptime_us) {
            return;
        }
        if let Some(last) = &self.pulse {
            let known = if beat.sequence > 0 && last.sequence > 0 {
                beat.sequence <= last.sequence
            } else {
                at_us <= last.at_us
            };
            if known {
                return;
            }
        }
        if self.active_since_us.is_none() {
            self.active_since_us = uptime_us.map(|up| seen_us.saturating_sub(up));
        }
        if let Some(cpu) = beat.idle_cpu_percent.and_then(formula::cpu_of_idle) {
            self.cpu = Some(formula::smooth(self.cpu, cpu));
        }
        let (low, high) = INTERVAL_RANGE_US;
        let told = beat.interval_us.and_then(|us| u64::try_from(us).ok()).filter(|us| (low..=high).contains(us));
        self.interval_us = told.or(self.interval_us);
        let max_sessions = beat.max_sessions.or(self.pulse.and_then(|p| p.max_sessions));
        self.pulse = Some(Pulse { at_us, sequence: beat.sequence, seen_us, sessions: beat.sessions, max_sessions });
        self.since.counted(at_us);
        self.sign(seen_us);
    }

    /// Sent a heartbeat at least once.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.pulse.is_some()
    }

    #[must_use]
    pub fn sessions(&self) -> (Option<i32>, Option<i32>) {
        self.pulse.map_or((None, None), |p| (p.sessions, p.max_sessions))
    }

    #[must_use]
    pub fn beat_age_us(&self, now: Now) -> Option<u64> {
        self.pulse.map(|p| now.mono_us.saturating_sub(p.seen_us))
    }

    #[must_use]
    pub fn sign_age_us(&self, now: Now) -> Option<u64> {
        self.sign_us.map(|at| now.mono_us.saturating_sub(at))
    }

    /// Time in which we ourselves stood still makes nobody older.
    pub fn forgive(&mut self, blind_us: u64, now: Now) {
        let later = |at: u64| at.saturating_add(blind_us).min(now.mono_us);
        self.pulse = self.pulse.map(|p| Pulse { seen_us: later(p.seen_us), ..p });
        self.sign_us = self.sign_us.map(later);
        for link in self.links.values_mut() {
            link.since_us = later(link.since_us);
        }
    }

    fn interval(&self) -> u64 {
        self.interval_us.unwrap_or(INTERVAL_US)
    }

    #[must_use]
    pub fn death(&self, now: Now, tuning: &Tuning) -> Option<Death> {
        let beat_age = self.beat_age_us(now)?;
        let sign_age = self.sign_age_us(now)?;
        // Heartbeats that come seldom say nothing by being old.
        let silent = tuning.silent_us.max(self.interval().saturating_mul(5) / 2);
        if sign_age > silent {
            return Some(Death::Silent);
        }
        if self.links.is_empty() || self.links.values().any(|link| link.up) {
            return None;
        }
        let down_since = self.links.values().map(|link| link.since_us).max().unwrap_or(0);
        let down_for = now.mono_us.saturating_sub(down_since);
        let quiet = if self.interval() <= tuning.link_dead_us { beat_age } else { beat_age.min(down_for) };
        (quiet > tuning.link_dead_us).then_some(Death::LinkDown)
    }

    /// The weight now. Dead, full and first weights take effect at once, everything else is damped.
    pub fn weigh(&mut self, now: Now, death: Option<Death>, panic: bool, tuning: &Tuning) -> Weighed {
        let beat_age_us = self.beat_age_us(now).unwrap_or(u64::MAX);
        let own = self.since.net();
        let (sessions, max_sessions) = self.sessions();
        let fresh = self.resources.filter(|(_, at)| now.mono_us.saturating_sub(*at) <= RESOURCES_VALID_US);
        let agent = fresh.map(|(r, _)| r).unwrap_or_default();
        let uses = Uses {
            channels: formula::channels(sessions, own, max_sessions),
            // The node's own figure is that of its host when it runs in a container: an agent knows better.
            cpu: fresh.and(self.agent_cpu).or(self.cpu),
            rtp: agent.rtp.and_then(formula::sane),
            memory: agent.memory.and_then(formula::sane),
            fds: agent.fds.and_then(formula::sane),
        };
        let pressure = uses.pressure();
        let freshness = formula::freshness(beat_age_us, self.interval());
        let active_us = self.active_since_us.map_or(u64::MAX, |since| now.mono_us.saturating_sub(since));
        let ramp = formula::ramp(active_us, tuning.ramp_us);
        let dead = death.is_some() && !panic;
        let target = if dead { 0.0 } else { formula::target(pressure, freshness, ramp) };
        let full = uses.channels.is_some_and(|used| used >= 1.0);
        let weight = match self.current {
            Some((before, at)) if !dead && !full => {
                formula::damp(before, target, now.mono_us.saturating_sub(at), tuning)
            }
            _ => target,
        };
        self.current = Some((weight, now.mono_us));

        let factors = [("pressure", 1.0 - pressure), ("freshness", formula::trust(freshness)), ("ramp", ramp)];
        let rule = match (dead, panic, (weight - target).abs() > 1e-6) {
            (true, ..) => "dead",
            (_, true, _) => "panic",
            (.., true) => "damping",
            _ => factors.iter().min_by(|a, b| a.1.total_cmp(&b.1)).map_or("pressure", |(name, _)| name),
        };
        let told = reason::Told {
            rule,
            death,
            tightest: uses.tightest(),
            beat_age_us,
            sign_age_us: self.sign_age_us(now).unwrap_or(u64::MAX),
            fresh: freshness >= 1.0,
            active_us: (ramp < 1.0).then_some(active_us),
            falling: weight > target,
            tuning,
        };
        Weighed {
            weight,
            rule,
            reason: told.to_string(),
            inputs: WeightInputs {
                configured_weight: Some(1.0),
                previous_weight: None,
                heartbeat_age_us: i64::try_from(beat_age_us).ok(),
                sessions,
                max_sessions,
                own_since_heartbeat: Some(own),
                other_edges_since_heartbeat: Some(0),
                u_channels: uses.channels,
                u_cpu: uses.cpu,
                u_rtp: uses.rtp,
                u_memory: uses.memory,
                u_fds: uses.fds,
                quality: None,
                pressure: Some(pressure),
                freshness: Some(freshness),
                ramp: Some(ramp),
                target_weight: Some(target),
            },
        }
    }
}
