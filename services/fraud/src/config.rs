//! `[fraud]` in the settings. Rules ship in shadow: they say what they would block, and block nothing.

use kit::settings::{Check, Problem, join};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Alerts only.
    #[default]
    Shadow,
    /// Alerts and block rules.
    Enforce,
}

impl Mode {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Shadow => "shadow",
            Mode::Enforce => "enforce",
        }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub velocity: Velocity,
    /// Trunks that are never blocked, whatever a rule says.
    pub pinned_trunks: Vec<String>,
    /// Called numbers that are never counted nor blocked.
    pub emergency: Emergency,
}

/// Too many attempts by one caller on one trunk.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Velocity {
    pub mode: Mode,
    /// Attempts in the window that trigger the rule.
    pub attempts: u32,
    pub window_s: u32,
    /// Life of the first block; each one that follows at once is twice as long, up to `max_block_s`.
    pub block_s: u32,
    pub max_block_s: u32,
    /// Callers watched at once; more than that are counted as unwatched.
    pub max_subjects: usize,
}

impl Default for Velocity {
    fn default() -> Velocity {
        Velocity {
            mode: Mode::Shadow,
            attempts: 20,
            window_s: 10,
            block_s: 60,
            max_block_s: 3600,
            max_subjects: 100_000,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Emergency(pub Vec<String>);

impl Default for Emergency {
    fn default() -> Emergency {
        Emergency(["112", "911", "999", "000", "110", "118", "119"].map(str::to_owned).to_vec())
    }
}

impl Check for Config {
    fn check(&self, at: &str, out: &mut Vec<Problem>) {
        let v = &self.velocity;
        let at = join(at, "velocity");
        let mut range = |key: &str, value: u64, low: u64, high: u64, unit: &str| {
            if !(low..=high).contains(&value) {
                out.push(Problem::new(join(&at, key), value, format!("{low} to {high} {unit}")));
            }
        };
        range("attempts", v.attempts.into(), 2, 10_000, "attempts");
        range("window_s", v.window_s.into(), 1, 3600, "seconds");
        range("block_s", v.block_s.into(), 1, 86_400, "seconds");
        range("max_block_s", v.max_block_s.into(), v.block_s.into(), 86_400, "seconds, at least block_s");
        range("max_subjects", v.max_subjects as u64, 100, 10_000_000, "callers");
    }
}
