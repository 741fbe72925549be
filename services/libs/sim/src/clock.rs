//! The one place of this crate that reads the wall clock.
//!
//! The simulation keeps its own time so that a mistake in the platform's clock cannot hide in the books it is checked against.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// One moment as the simulation saw it: UTC for comparing with records, monotonic for durations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// Microseconds since the Unix epoch.
    pub wall_us: i64,
    /// Microseconds since this process first asked.
    pub mono_us: u64,
}

impl Stamp {
    #[must_use]
    pub fn now() -> Self {
        Self { wall_us: wall_us(), mono_us: mono_us() }
    }
}

#[expect(clippy::disallowed_methods, reason = "the simulation's single reading of the wall clock")]
fn wall_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

fn mono_us() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_micros()).unwrap_or(u64::MAX)
}
