//! Time as an input: two readings taken together, one for people and one for durations.

use std::time::Duration;

/// One reading of both clocks.
///
/// `wall_us` is UTC and may step; it is shown and stored, never subtracted. `mono_us` is the boot-time clock (it counts
/// through suspend and survives a restart of the process); every duration comes from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Now {
    pub wall_us: i64,
    pub mono_us: u64,
}

impl Now {
    /// Both clocks moved forward by the same span. Tests and deadlines use it.
    #[must_use]
    pub fn plus(self, span: Duration) -> Now {
        let us = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        self.plus_us(us)
    }

    #[must_use]
    pub fn plus_us(self, us: u64) -> Now {
        Now {
            wall_us: self.wall_us.saturating_add(i64::try_from(us).unwrap_or(i64::MAX)),
            mono_us: self.mono_us.saturating_add(us),
        }
    }

    /// Monotonic time since `earlier`; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Now) -> Duration {
        Duration::from_micros(self.mono_us.saturating_sub(earlier.mono_us))
    }
}

/// Where adapters get the time from. `core` modules take a [`Now`] instead.
pub trait Clock: Send + Sync {
    fn now(&self) -> Now;
}
