//! How much waits in the spool, and which way events take: counters that forwarder and sender keep and everybody may read.
//!
//! What goes into the spool comes out in the same order, so two running counts tell whose events are still inside: those of earlier
//! epochs went in first.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering::Relaxed};

/// Which way events take from the ring.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Way {
    /// Straight into the log that serves this machine; there is no spool.
    #[default]
    Log,
    /// Into the spool, from there to Kafka.
    Spool,
    /// Straight to Kafka, because the spool does not take them.
    Direct,
    /// Nowhere: neither spool nor Kafka takes them. The ring fills.
    Stuck,
}

impl Way {
    pub const ALL: [Self; 4] = [Self::Log, Self::Spool, Self::Direct, Self::Stuck];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Spool => "spool",
            Self::Direct => "direct",
            Self::Stuck => "stuck",
        }
    }
}

#[derive(Default)]
pub struct Figures {
    way: AtomicU8,
    /// Events that ever went in, those that were there at the start too, and that ever came out.
    spooled: AtomicU64,
    sent: AtomicU64,
    /// The first so many of them are of earlier epochs.
    inherited: AtomicU64,
    bytes: AtomicU64,
    /// Wall time of the oldest event that is inside; 0: none.
    oldest_us: AtomicI64,
    /// In thousandths.
    fill: AtomicU64,
}

/// A moment of the spool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Inside {
    pub way: Way,
    pub events: u64,
    /// Of the epoch that lives.
    pub own_events: u64,
    pub bytes: u64,
    pub oldest_us: Option<i64>,
}

impl Figures {
    pub fn read(&self) -> Inside {
        let sent = self.sent.load(Relaxed);
        let events = self.spooled.load(Relaxed).saturating_sub(sent);
        let others = self.inherited.load(Relaxed).saturating_sub(sent);
        Inside {
            way: Way::ALL.get(usize::from(self.way.load(Relaxed))).copied().unwrap_or_default(),
            events,
            own_events: events.saturating_sub(others),
            bytes: self.bytes.load(Relaxed),
            oldest_us: Some(self.oldest_us.load(Relaxed)).filter(|at| *at > 0),
        }
    }

    /// Events of earlier epochs that were found, or went in before our own.
    pub fn inherit(&self, events: u64) {
        self.inherited.fetch_add(events, Relaxed);
        self.spooled.fetch_add(events, Relaxed);
    }

    /// Our own went in. Gives how many ever did.
    pub fn spooled(&self, events: u64) -> u64 {
        self.spooled.fetch_add(events, Relaxed) + events
    }

    /// The next ones came out. Gives how many of them were our own.
    pub fn sent(&self, events: u64) -> u64 {
        let before = self.sent.fetch_add(events, Relaxed);
        (before + events).saturating_sub(before.max(self.inherited.load(Relaxed)))
    }

    /// How many ever came out.
    pub fn all_sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    pub fn all_spooled(&self) -> u64 {
        self.spooled.load(Relaxed)
    }

    pub fn set_oldest(&self, wall_us: Option<i64>) {
        self.oldest_us.store(wall_us.unwrap_or(0), Relaxed);
    }

    pub fn set_bytes(&self, bytes: u64, fill: u64) {
        self.bytes.store(bytes, Relaxed);
        self.fill.store(fill, Relaxed);
    }

    pub fn fill(&self) -> u64 {
        self.fill.load(Relaxed)
    }

    pub fn set_way(&self, way: Way) {
        let at = Way::ALL.iter().position(|w| *w == way).unwrap_or(0);
        self.way.store(at as u8, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_earlier_epochs_come_out_first_and_are_not_ours() {
        let figures = Figures::default();
        figures.inherit(10);
        figures.spooled(5);
        assert_eq!((figures.read().events, figures.read().own_events), (15, 5));
        assert_eq!(figures.sent(8), 0);
        assert_eq!((figures.read().events, figures.read().own_events), (7, 5));
        assert_eq!(figures.sent(4), 2);
        assert_eq!(figures.sent(3), 3);
        assert_eq!(figures.read(), Inside { way: Way::Log, ..Inside::default() });
    }
}
