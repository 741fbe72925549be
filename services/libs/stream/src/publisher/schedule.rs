//! When the next manifest is due: pure.

use std::time::Duration;

/// While numbers move, so often.
const EVERY: Duration = Duration::from_secs(10);
/// After a loss, so soon.
const AFTER_A_LOSS: Duration = Duration::from_secs(1);

/// What the last manifest said, and when.
#[derive(Debug, Default)]
pub struct Schedule {
    last: Option<Said>,
}

#[derive(Debug, Clone, Copy)]
struct Said {
    at_us: u64,
    numbers: u64,
    losses: u64,
}

impl Schedule {
    /// How long until one is due; zero: now; `None`: not until something changes. `numbers` and `losses` are how many there are.
    pub fn due_in(&self, now_us: u64, numbers: u64, losses: u64) -> Option<Duration> {
        let Some(last) = self.last else { return Some(Duration::ZERO) };
        let wait = if losses != last.losses {
            AFTER_A_LOSS
        } else if numbers != last.numbers {
            EVERY
        } else {
            return None;
        };
        Some(wait.saturating_sub(Duration::from_micros(now_us.saturating_sub(last.at_us))))
    }

    pub fn said(&mut self, now_us: u64, numbers: u64, losses: u64) {
        self.last = Some(Said { at_us: now_us, numbers, losses });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_start_at_once_then_by_what_changed() {
        let mut schedule = Schedule::default();
        assert_eq!(schedule.due_in(5, 0, 0), Some(Duration::ZERO));
        schedule.said(1_000_000, 10, 0);
        assert_eq!(schedule.due_in(60_000_000, 10, 0), None);
        assert_eq!(schedule.due_in(2_000_000, 11, 0), Some(Duration::from_secs(9)));
        assert_eq!(schedule.due_in(2_000_000, 11, 1), Some(Duration::ZERO));
        assert_eq!(schedule.due_in(1_400_000, 11, 1), Some(Duration::from_millis(600)));
        assert_eq!(schedule.due_in(11_000_000, 11, 0), Some(Duration::ZERO));
    }
}
