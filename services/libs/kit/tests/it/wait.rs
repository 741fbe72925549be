//! Waiting for a condition, never for time to pass.

use std::time::{Duration, Instant};

pub const LONG: Duration = Duration::from_secs(20);

/// Polls until the condition holds; panics with `what` when it does not within [`LONG`].
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub async fn until_async(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
