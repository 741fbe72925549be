//! `[capacity]` in the settings.

use kit::settings::{Check, Problem, join};
use serde::{Deserialize, Serialize};

use crate::core::Tuning;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// A node that was started anew rises from a tenth to all of its weight in this time; 0 switches slow start off.
    pub ramp_s: u32,
    /// With its link down, a node is dead when its last heartbeat is older than this.
    pub link_dead_ms: u32,
    /// Without any sign of life a node is dead after this (and after two and a half of its heartbeats).
    pub silent_s: u32,
    /// Most that a weight falls in 5 s, in parts of the full weight.
    pub down_per_5s: f64,
    /// Most that a weight rises in 5 s.
    pub up_per_5s: f64,
    /// A smaller change waits for the next repetition.
    pub change: f64,
    /// Each weight is written again after this.
    pub repeat_s: u32,
    /// A written weight ends by itself after this: edges then use their configured weights.
    pub valid_s: u32,
    /// A node unseen for this long is forgotten.
    pub forget_s: u32,
    /// Open legs remembered at once; the end of more is noticed with the next heartbeat only.
    pub max_calls: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            ramp_s: 60,
            link_dead_ms: 3000,
            silent_s: 10,
            down_per_5s: 0.2,
            up_per_5s: 0.1,
            change: 0.02,
            repeat_s: 5,
            valid_s: 60,
            forget_s: 3600,
            max_calls: 200_000,
        }
    }
}

impl Config {
    #[must_use]
    pub fn tuning(&self) -> Tuning {
        let seconds = |s: u32| u64::from(s) * 1_000_000;
        Tuning {
            ramp_us: seconds(self.ramp_s),
            link_dead_us: u64::from(self.link_dead_ms) * 1000,
            silent_us: seconds(self.silent_s),
            down_per_5s: self.down_per_5s,
            up_per_5s: self.up_per_5s,
            change: self.change,
            repeat_us: seconds(self.repeat_s),
            forget_us: seconds(self.forget_s),
            max_calls: self.max_calls,
        }
    }
}

impl Check for Config {
    fn check(&self, at: &str, out: &mut Vec<Problem>) {
        let mut range = |key: &str, value: u64, low: u64, high: u64, unit: &str| {
            if !(low..=high).contains(&value) {
                out.push(Problem::new(join(at, key), value, format!("{low} to {high} {unit}")));
            }
        };
        range("ramp_s", self.ramp_s.into(), 0, 3600, "seconds");
        range("link_dead_ms", self.link_dead_ms.into(), 500, 60_000, "milliseconds");
        range("silent_s", self.silent_s.into(), 2, 300, "seconds");
        range("repeat_s", self.repeat_s.into(), 1, 60, "seconds");
        let thrice = u64::from(self.repeat_s) * 3;
        range("valid_s", self.valid_s.into(), thrice, 3600, "seconds, at least three times repeat_s");
        range("forget_s", self.forget_s.into(), 60, 604_800, "seconds");
        range("max_calls", self.max_calls as u64, 1000, 10_000_000, "calls");
        let mut part = |key: &str, value: f64, low: f64, high: f64| {
            if !(low..=high).contains(&value) {
                out.push(Problem::new(join(at, key), value, format!("{low} to {high}")));
            }
        };
        part("down_per_5s", self.down_per_5s, 0.01, 1.0);
        part("up_per_5s", self.up_per_5s, 0.01, 1.0);
        part("change", self.change, 0.0, 0.5);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_allowed_and_every_mistake_is_named() {
        let problems = |config: Config| {
            let mut out = Vec::new();
            config.check("capacity", &mut out);
            out.len()
        };
        assert_eq!(problems(Config::default()), 0);
        assert_eq!(Config::default().tuning(), Tuning::default());
        let wrong = Config { valid_s: 14, down_per_5s: f64::NAN, change: -0.1, silent_s: 0, ..Config::default() };
        assert_eq!(problems(wrong), 4);
    }
}
