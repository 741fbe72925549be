//! The time of benchmarks and fault labs, and of the publishers that they start.

use std::sync::Arc;

use domain::Clock;
use kit::clock::SystemClock;

pub fn shared() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// UTC in microseconds.
pub fn wall_us() -> i64 {
    SystemClock.now().wall_us
}
