//! The formulas. Every function takes any number there is, infinities and NaN included, and gives one in its range.
//!
//! ```text
//! u_ch   = (sessions of the heartbeat + own calls since it) / max sessions
//! p      = max(u_ch, u_cpu / 0.8, u_rtp, u_mem / 0.9, u_fds)
//! weight = (1 − p) × (0.2 + 0.8 × freshness) × ramp
//! ```
//!
//! Damping counts in points of the full weight, not in shares of the present one: otherwise nothing would ever rise from zero.

/// Numbers that an operator may set.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuning {
    pub ramp_us: u64,
    /// With its link down, a node is dead when its last heartbeat is older than this.
    pub link_dead_us: u64,
    /// Without any sign for this long a node is dead.
    pub silent_us: u64,
    /// Most that a weight falls, and rises, in 5 s.
    pub down_per_5s: f64,
    pub up_per_5s: f64,
    /// A smaller change waits for the next repetition.
    pub change: f64,
    pub repeat_us: u64,
    /// Without any sign for this long a node is forgotten.
    pub forget_us: u64,
    pub max_calls: usize,
}

impl Default for Tuning {
    fn default() -> Tuning {
        Tuning {
            ramp_us: 60_000_000,
            link_dead_us: 3_000_000,
            silent_us: 10_000_000,
            down_per_5s: 0.2,
            up_per_5s: 0.1,
            change: 0.02,
            repeat_us: 5_000_000,
            forget_us: 3_600_000_000,
            max_calls: 200_000,
        }
    }
}

/// Above this a CPU counts as full, because audio suffers before it is.
const CPU_FULL: f64 = 0.8;
const MEMORY_FULL: f64 = 0.9;
const CPU_SMOOTHING: f64 = 0.3;
const RAMP_FROM: f64 = 0.1;
const FRESHNESS_FLOOR: f64 = 0.2;
/// Heartbeats old at which trust begins to fade, and at which it has faded to its floor.
const FRESH_UNTIL: f64 = 2.0;
const STALE_AT: f64 = 10.0;
const WINDOW_US: f64 = 5_000_000.0;

/// Parts of a whole as a share; nothing when that has no meaning.
#[must_use]
pub fn share(used: f64, whole: f64) -> Option<f64> {
    let share = used / whole;
    (whole > 0.0 && share.is_finite()).then(|| share.clamp(0.0, 1.0))
}

/// A share that somebody else computed.
#[must_use]
pub fn sane(share: f64) -> Option<f64> {
    share.is_finite().then(|| share.clamp(0.0, 1.0))
}

/// Sessions of the heartbeat plus calls since, against what is allowed.
#[must_use]
pub fn channels(sessions: Option<i32>, since: i32, max: Option<i32>) -> Option<f64> {
    let used = i64::from(sessions.unwrap_or(0).max(0)) + i64::from(since);
    share(used.max(0) as f64, f64::from(max?))
}

#[must_use]
pub fn cpu_of_idle(idle_percent: f64) -> Option<f64> {
    sane(1.0 - idle_percent / 100.0)
}

/// Exponential average; the first value stands for itself.
#[must_use]
pub fn smooth(before: Option<f64>, value: f64) -> f64 {
    before.map_or(value, |before| before + CPU_SMOOTHING * (value - before))
}

/// Shares in use, as far as known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Uses {
    pub channels: Option<f64>,
    pub cpu: Option<f64>,
    pub rtp: Option<f64>,
    pub memory: Option<f64>,
    pub fds: Option<f64>,
}

impl Uses {
    /// The tightest resource with its pressure and its share in use. What is not known presses nobody.
    #[must_use]
    pub fn tightest(&self) -> Option<(&'static str, f64, f64)> {
        [
            ("channels", self.channels, 1.0),
            ("cpu", self.cpu, CPU_FULL),
            ("rtp ports", self.rtp, 1.0),
            ("memory", self.memory, MEMORY_FULL),
            ("file descriptors", self.fds, 1.0),
        ]
        .into_iter()
        .filter_map(|(name, used, full)| used.map(|used| (name, (used / full).min(1.0), used)))
        .max_by(|a, b| a.1.total_cmp(&b.1))
    }

    #[must_use]
    pub fn pressure(&self) -> f64 {
        self.tightest().map_or(0.0, |(_, pressure, _)| pressure)
    }
}

/// Trust in a heartbeat of this age: full for two intervals, down to a fifth after ten.
#[must_use]
pub fn freshness(age_us: u64, interval_us: u64) -> f64 {
    let beats = age_us as f64 / interval_us.max(1) as f64;
    let faded = ((beats - FRESH_UNTIL) / (STALE_AT - FRESH_UNTIL)).clamp(0.0, 1.0);
    (1.0 - faded * (1.0 - FRESHNESS_FLOOR)).max(FRESHNESS_FLOOR)
}

/// Share of the trust that is left of a weight.
#[must_use]
pub fn trust(freshness: f64) -> f64 {
    FRESHNESS_FLOOR + (1.0 - FRESHNESS_FLOOR) * freshness
}

/// Slow start: from a tenth to all, in a straight line.
#[must_use]
pub fn ramp(active_us: u64, ramp_us: u64) -> f64 {
    if active_us >= ramp_us {
        return 1.0;
    }
    RAMP_FROM + (1.0 - RAMP_FROM) * (active_us as f64 / ramp_us as f64)
}

#[must_use]
pub fn target(pressure: f64, freshness: f64, ramp: f64) -> f64 {
    ((1.0 - pressure) * trust(freshness) * ramp).clamp(0.0, 1.0)
}

/// As near to `target` as `elapsed_us` allows.
#[must_use]
pub fn damp(before: f64, target: f64, elapsed_us: u64, tuning: &Tuning) -> f64 {
    let windows = elapsed_us as f64 / WINDOW_US;
    target.clamp(before - tuning.down_per_5s * windows, before + tuning.up_per_5s * windows).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn channels_count_the_calls_since_the_heartbeat_and_never_go_below_zero() {
        assert_eq!(channels(Some(40), 10, Some(100)), Some(0.5));
        assert_eq!(channels(Some(3), -7, Some(100)), Some(0.0));
        assert_eq!(channels(Some(i32::MAX), i32::MAX, Some(1)), Some(1.0));
        assert_eq!(channels(None, 5, Some(10)), Some(0.5));
        for nonsense in [None, Some(0), Some(-4)] {
            assert_eq!(channels(Some(5), 0, nonsense), None);
        }
    }

    #[test]
    fn the_tightest_resource_presses() {
        let uses = Uses { channels: Some(0.5), cpu: Some(0.6), memory: Some(0.45), ..Uses::default() };
        let (name, pressure, used) = uses.tightest().unwrap();
        assert_eq!((name, used), ("cpu", 0.6));
        assert!(close(pressure, 0.75));
        assert_eq!(Uses::default().pressure(), 0.0);
    }

    #[test]
    fn trust_holds_for_two_heartbeats_and_fades_until_the_tenth() {
        let s = 1_000_000;
        assert!(close(freshness(0, s), 1.0));
        assert!(close(freshness(2 * s, s), 1.0));
        assert!(close(freshness(6 * s, s), 0.6));
        assert!(close(freshness(10 * s, s), 0.2));
        assert!(close(freshness(u64::MAX, 0), 0.2));
        assert!(close(trust(1.0), 1.0) && close(trust(0.2), 0.36));
    }

    #[test]
    fn a_start_is_slow_and_linear() {
        assert!(close(ramp(0, 60), 0.1));
        assert!(close(ramp(30, 60), 0.55));
        assert!(close(ramp(60, 60), 1.0));
        assert!(close(ramp(0, 0), 1.0));
    }

    #[test]
    fn a_weight_falls_by_a_fifth_and_rises_by_a_tenth_in_five_seconds() {
        let t = Tuning::default();
        assert!(close(damp(0.9, 0.0, 5_000_000, &t), 0.7));
        assert!(close(damp(0.1, 1.0, 5_000_000, &t), 0.2));
        assert!(close(damp(0.5, 0.55, 5_000_000, &t), 0.55));
        assert!(close(damp(0.5, 0.0, 0, &t), 0.5));
        assert!(close(damp(0.5, 1.0, u64::MAX, &t), 1.0));
    }

    #[test]
    fn nonsense_is_no_cpu_load() {
        assert_eq!(cpu_of_idle(f64::NAN), None);
        assert_eq!(cpu_of_idle(f64::NEG_INFINITY), None);
        assert_eq!(cpu_of_idle(250.0), Some(0.0));
        assert_eq!(cpu_of_idle(-30.0), Some(1.0));
        assert_eq!(share(1.0, f64::NAN), None);
    }
}
