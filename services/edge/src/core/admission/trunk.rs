//! What the admission keeps per trunk.

use super::bucket::Budget;
use super::gate::Gate;
use super::meters::Rates;
use crate::config::AdmissionConfig;
use crate::core::topology::Trunk;

/// Seconds in a row that a flood lasts before it is told.
const SECONDS: u8 = 3;
const HOUR_US: u64 = 3_600_000_000;

#[derive(Debug)]
pub struct TrunkState {
    pub gate: Gate,
    /// `refused` events of this second.
    pub refused: Budget,
    /// What each of its sources may send.
    pub rates: Rates,
    /// In this second: new INVITEs by UDP above the bucket of their source, and calls above `cps` that came by UDP.
    pub above_rate: u32,
    pub above_cps: u32,
    flooded_s: u8,
    told_at: Option<u64>,
    /// Calls that asked to pass, and that wanted to go to it, for the rates that other edges are told.
    pub asked: PerSecond,
    pub asked_out: PerSecond,
}

/// How much a count grew in the last second.
#[derive(Clone, Copy, Debug, Default)]
pub struct PerSecond {
    before: u64,
    pub rate: f64,
}

impl PerSecond {
    fn second(&mut self, count: u64) {
        self.rate = (count - self.before) as f64;
        self.before = count;
    }
}

impl TrunkState {
    #[must_use]
    pub fn new(config: &AdmissionConfig, trunk: &Trunk) -> TrunkState {
        TrunkState {
            gate: Gate::new(trunk.limits),
            refused: Budget::default(),
            rates: Rates::of_trunk(config, trunk.limits.cps),
            above_rate: 0,
            above_cps: 0,
            flooded_s: 0,
            told_at: None,
            asked: PerSecond::default(),
            asked_out: PerSecond::default(),
        }
    }

    /// New settings; what was counted stays.
    pub fn set(&mut self, config: &AdmissionConfig, trunk: &Trunk) {
        self.gate.set(trunk.limits);
        self.rates = Rates::of_trunk(config, trunk.limits.cps);
    }

    /// Closes a second. True when it is time to say that somebody else may be sending under this trunk's address: for a while
    /// now its INVITEs come faster than its bucket, and so many of them twice that its calls per second are used up.
    pub fn second(&mut self, now: u64) -> bool {
        self.asked.second(self.gate.counts().0);
        self.asked_out.second(self.gate.asked_out());
        let (rate, cps) = (std::mem::take(&mut self.above_rate), std::mem::take(&mut self.above_cps));
        // Ten times as much may be a trunk that does not know its limit.
        let much = f64::from(rate) > 20.0 * self.gate.limits().cps.max(10.0);
        self.flooded_s = if much && cps > 0 { self.flooded_s.saturating_add(1) } else { 0 };
        let tells = self.flooded_s >= SECONDS && self.told_at.is_none_or(|at| now >= at + HOUR_US);
        if tells {
            self.told_at = Some(now);
        }
        tells
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, TrunkConfig};
    use crate::core::Topology;

    #[test]
    fn a_flood_that_looks_like_the_trunk_is_told_once_an_hour_and_one_that_only_knocks_never() {
        let trunk = TrunkConfig { id: "t".into(), cps: 100.0, ..TrunkConfig::default() };
        let config = Config { trunks: vec![trunk], ..Config::default() };
        let bound = ["127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap()];
        let topology = Topology::new(&config, &bound);
        let mut state = TrunkState::new(&config.admission, &topology.trunks[0]);
        let mut told = |above_rate: u32, above_cps: u32, seconds: std::ops::Range<u64>| {
            let second = |s: u64| {
                (state.above_rate, state.above_cps) = (above_rate, above_cps);
                state.second(s * 1_000_000)
            };
            seconds.map(second).filter(|told| *told).count()
        };
        assert_eq!(told(20_000, 0, 0..60), 0, "never repeated: it takes nothing from the trunk");
        assert_eq!(told(900, 800, 60..120), 0, "ten times the limit");
        assert_eq!(told(10_000, 9_900, 120..122), 0, "two seconds are no flood");
        assert_eq!(told(10_000, 9_900, 122..3_000), 1);
        assert_eq!(told(10_000, 9_900, 3_000..4_000), 1, "an hour later once more");
    }
}
