//! What a publisher tells of itself.

use std::fmt;

use schemas::Class;

use crate::{Reason, spool::Way};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    pub partition: i32,
    /// −1 when the filter took the event, or the publisher was closed.
    pub seq: i64,
}

/// Numbers of one partition that will never arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LossRange {
    pub topic: &'static str,
    pub partition: i32,
    pub class: Class,
    pub reason: Reason,
    /// Both inclusive.
    pub first: i64,
    pub last: i64,
    /// How many of them; fewer than the range is wide only when there were too many ranges to keep apart.
    pub events: u64,
}

/// Counts since the start. `accepted = delivered + shed + unfit + refused + queued` at rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublisherStats {
    pub accepted: u64,
    pub delivered: u64,
    /// By class, in [`SHED_ORDER`](crate::SHED_ORDER).
    pub shed: [u64; 5],
    /// Could not be encoded or too large.
    pub unfit: u64,
    /// The log refused them for good, or they were abandoned or damaged.
    pub refused: u64,
    /// In the ring, in the spool, or on their way.
    pub queued_events: u64,
    pub queued_bytes: u64,
    /// Age of the oldest event that is not delivered.
    pub oldest_us: u64,
    /// Failed attempts to append.
    pub errors: u64,
    /// Came after the end; they have no number and went nowhere.
    pub after_close: u64,
    pub ring_bytes: u64,
    pub ring_capacity: u64,
    /// All that waits in the spool, that of earlier epochs too.
    pub spool_events: u64,
    pub spool_bytes: u64,
    /// Which way events take now.
    pub way: Way,
    /// Epochs of killed processes that were drained and closed.
    pub dead_epochs: u64,
}

/// What is not delivered when the time is up. In a ring file or a spool it is safe and goes on with the next start.
#[derive(Debug, Clone, Default)]
pub struct Abandoned {
    /// In the ring.
    pub events: u64,
    pub bytes: u64,
    /// Of this epoch, in the spool.
    pub spooled: u64,
    /// Of what is in the ring.
    pub ranges: Vec<LossRange>,
}

impl fmt::Display for Abandoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} events ({} bytes) are not delivered", self.events, self.bytes)?;
        if self.spooled > 0 {
            write!(f, ", {} more wait in the spool", self.spooled)?;
        }
        for range in self.ranges.iter().take(20) {
            write!(f, " {}/{} {}..={}", range.topic, range.partition, range.first, range.last)?;
        }
        if self.ranges.len() > 20 {
            write!(f, " and {} more ranges", self.ranges.len() - 20)?;
        }
        Ok(())
    }
}

impl std::error::Error for Abandoned {}

/// What `close` leaves behind.
#[derive(Debug, Clone, Default)]
pub struct Left {
    /// In the ring: the next start drains it.
    pub in_ring: u64,
    /// In the spool: the next start sends it.
    pub in_spool: u64,
    /// True: the ring was this process's own memory, so what is left in it is lost.
    pub lost: bool,
}

impl Left {
    pub fn is_nothing(&self) -> bool {
        self.in_ring == 0 && self.in_spool == 0
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let then = if self.lost { "which is lost with this process" } else { "which the next start drains" };
        write!(
            f,
            "{} events in the ring, {then}, and {} in the spool, which the next start sends",
            self.in_ring, self.in_spool
        )
    }
}
