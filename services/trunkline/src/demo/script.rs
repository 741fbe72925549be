//! When the demo stages what: an attack, a node failure, a rebuild of all records from the topics.
//!
//! Without a number of calls the clock decides (20 s, 40 s, 60 s). With `--calls N` progress decides (a quarter, half, after
//! the last call has ended), so that each stage has calls before and after it whatever the rate. A run that would be over
//! in less than 15 s stages only the rebuild: nobody could watch the rest.

use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cue {
    Attack,
    NodeFailure,
    Rebuild,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    At(Duration),
    Offered(u64),
}

/// The staged events that are still to come.
#[derive(Debug)]
pub struct Script {
    waiting: Vec<(When, Cue)>,
    short: bool,
}

pub const SHORT: Duration = Duration::from_secs(15);

impl Script {
    #[must_use]
    pub fn new(calls: Option<u64>, rate: f64) -> Script {
        let Some(calls) = calls else {
            let at = |s, cue| (When::At(Duration::from_secs(s)), cue);
            return Script {
                waiting: vec![at(20, Cue::Attack), at(40, Cue::NodeFailure), at(60, Cue::Rebuild)],
                short: false,
            };
        };
        let expected = Duration::from_secs_f64(calls as f64 / rate.max(0.1));
        if expected < SHORT {
            return Script { waiting: Vec::new(), short: true };
        }
        let waiting = vec![
            (When::Offered((calls / 4).max(1)), Cue::Attack),
            (When::Offered((calls / 2).max(1)), Cue::NodeFailure),
        ];
        Script { waiting, short: false }
    }

    /// Whether the run is too short for anything but the rebuild.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.short
    }

    /// The next staged event whose time has come. Call again until it gives nothing.
    pub fn due(&mut self, elapsed: Duration, offered: u64) -> Option<Cue> {
        let at = self.waiting.iter().position(|(when, _)| match when {
            When::At(t) => elapsed >= *t,
            When::Offered(n) => offered >= *n,
        })?;
        Some(self.waiting.remove(at).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_number_the_clock_decides() {
        let mut script = Script::new(None, 20.0);
        assert_eq!(script.due(Duration::from_secs(19), 1_000_000), None);
        assert_eq!(script.due(Duration::from_secs(20), 0), Some(Cue::Attack));
        assert_eq!(script.due(Duration::from_secs(61), 0), Some(Cue::NodeFailure));
        assert_eq!(script.due(Duration::from_secs(61), 0), Some(Cue::Rebuild));
        assert_eq!(script.due(Duration::from_secs(600), 0), None);
    }

    #[test]
    fn with_a_number_progress_decides_and_the_rebuild_is_left_to_the_end() {
        let mut script = Script::new(Some(2000), 100.0);
        assert!(!script.is_short());
        assert_eq!(script.due(Duration::from_secs(900), 499), None);
        assert_eq!(script.due(Duration::ZERO, 500), Some(Cue::Attack));
        assert_eq!(script.due(Duration::ZERO, 999), None);
        assert_eq!(script.due(Duration::ZERO, 1000), Some(Cue::NodeFailure));
        assert_eq!(script.due(Duration::from_secs(900), 2000), None);
    }

    #[test]
    fn a_short_run_stages_nothing_on_the_way() {
        let mut script = Script::new(Some(10), 10.0);
        assert!(script.is_short());
        assert_eq!(script.due(Duration::from_secs(900), 10), None);
    }
}
