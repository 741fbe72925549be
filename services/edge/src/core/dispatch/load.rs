//! How many calls are on a node: what it said itself, and what came and went since.
//!
//! A heartbeat counts the calls of all edges, but is old by the time it is used; so our own calls since then are added, and not
//! those before it, which are in it (counting them twice is a known fault of other load balancers). Everything stops at zero.

/// A heartbeat's figures are used for so long (µs).
const FRESH_US: u64 = 60_000_000;

/// What a heartbeat of FreeSWITCH says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reported {
    pub sessions: u32,
    pub max_sessions: Option<u32>,
}

/// Our own calls so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Own {
    pub now: u32,
    pub started: u64,
    pub ended: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    last: Option<(u64, Reported, Own)>,
}

impl Load {
    pub fn heard(&mut self, now: u64, reported: Reported, own: Own) {
        self.last = Some((now, reported, own));
    }

    fn fresh(&self, now: u64) -> Option<&(u64, Reported, Own)> {
        self.last.as_ref().filter(|(at, ..)| now.saturating_sub(*at) < FRESH_US)
    }

    /// Never less than our own calls: a node that has just started anew has forgotten them, we have not.
    #[must_use]
    pub fn used(&self, now: u64, own: Own) -> u32 {
        let Some((_, reported, then)) = self.fresh(now) else { return own.now };
        let came = i128::from(own.started) - i128::from(then.started);
        let went = i128::from(own.ended) - i128::from(then.ended);
        let used = i128::from(reported.sessions) + came - went;
        u32::try_from(used.max(0)).unwrap_or(u32::MAX).max(own.now)
    }

    /// What the settings say, else what the node says of itself; 0 = not known.
    #[must_use]
    pub fn capacity(&self, now: u64, configured: u32) -> u32 {
        let said = || self.fresh(now).and_then(|(_, reported, _)| reported.max_sessions).unwrap_or(0);
        if configured > 0 { configured } else { said() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(now: u32, started: u64, ended: u64) -> Own {
        Own { now, started, ended }
    }

    #[test]
    fn calls_since_the_heartbeat_are_added_and_those_before_it_are_not() {
        let mut load = Load::default();
        assert_eq!((load.used(0, own(7, 7, 0)), load.capacity(0, 0)), (7, 0));
        load.heard(0, Reported { sessions: 40, max_sessions: Some(1_000) }, own(10, 110, 100));
        assert_eq!(load.used(1, own(10, 110, 100)), 40, "ours are among them");
        assert_eq!(load.used(1, own(13, 115, 102)), 43);
        assert_eq!(load.used(1, own(0, 110, 160)), 0, "never below zero");
        assert_eq!((load.capacity(1, 0), load.capacity(1, 200)), (1_000, 200));
        assert_eq!((load.used(FRESH_US, own(13, 115, 102)), load.capacity(FRESH_US, 0)), (13, 0), "too old");
        load.heard(0, Reported { sessions: 0, max_sessions: None }, own(10, 110, 100));
        assert_eq!(load.used(1, own(10, 110, 100)), 10);
    }
}
