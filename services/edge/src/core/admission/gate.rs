//! What one trunk may do at once and per second, how many calls a second may go to it, and what is kept for emergencies beside it.
//!
//! Calls are counted, not estimated: one more when an INVITE of it is forwarded, or one is forwarded to it, one less when that
//! fails or the dialog ends. A restart counts again what the journal holds. Emergency calls come first out of their own reserve, then
//! out of what everybody has: no ordinary call can take the reserve.

use super::bucket::{Bucket, Rate};
use super::shares::Share;
use super::window::Window;
use crate::config::TrunkConfig;

/// The limits of a trunk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// New calls per second from it; 0 = no limit.
    pub cps: f64,
    /// New calls per second to it; 0 = no limit.
    pub cps_out: f64,
    /// Calls at once, from it and to it; 0 = no limit.
    pub calls: u32,
    pub emergency_cps: f64,
    pub emergency_calls: u32,
}

impl Limits {
    #[must_use]
    pub fn of(config: &TrunkConfig) -> Limits {
        Limits {
            cps: config.cps,
            cps_out: config.cps_out,
            calls: config.calls,
            emergency_cps: config.emergency_cps,
            emergency_calls: config.emergency_calls,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Gate {
    limits: Limits,
    /// What of the limits is this edge's, where several edges share them.
    share: Share,
    cps: Rate,
    emergency_cps: Rate,
    bucket: Bucket,
    emergency: Bucket,
    /// Calls that went to it.
    out: Window,
    /// Open calls, in set-up and established.
    calls: u32,
    /// Calls that asked to pass since the start, and those that did.
    asked: u64,
    passed: u64,
    /// Calls that went to it, and that would have but for its limit.
    asked_out: u64,
}

/// What stood in the way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Held {
    /// `cps` or `calls`.
    pub limit: &'static str,
    pub left: f64,
}

impl Gate {
    #[must_use]
    pub fn new(limits: Limits) -> Gate {
        let mut gate = Gate {
            limits,
            share: Share::WHOLE,
            cps: Rate::NONE,
            emergency_cps: Rate::NONE,
            bucket: Bucket::default(),
            emergency: Bucket::default(),
            out: Window::default(),
            calls: 0,
            asked: 0,
            passed: 0,
            asked_out: 0,
        };
        gate.set(limits);
        gate
    }

    /// New limits; what was counted stays.
    pub fn set(&mut self, limits: Limits) {
        self.limits = limits;
        self.emergency_cps = Rate::per_second(limits.emergency_cps);
        self.take_share(self.share);
    }

    /// What this edge may use of the limits from now on.
    pub fn take_share(&mut self, share: Share) {
        self.share = share;
        self.cps = Rate::per_second(self.limits.cps * share.cps);
        self.out.set(self.limits.cps_out * share.cps_out);
    }

    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    fn has_room(&self, reserve: u32) -> bool {
        let allowed = self.share.calls(self.limits.calls).saturating_add(reserve);
        self.limits.calls == 0 || self.calls < allowed
    }

    /// Whether a call may go to it now; its `cps` is about what it sends. Else the limit that stands in the way. `again`: its second
    /// is counted already.
    pub fn may_send(&self, now: u64, again: bool) -> Result<(), &'static str> {
        if !self.has_room(0) {
            return Err("calls");
        }
        if again || self.out.is_open(now) { Ok(()) } else { Err("cps_out") }
    }

    /// A call did not go to it, because it was at its limit.
    pub fn passed_over(&mut self) {
        self.asked_out += 1;
    }

    /// A call goes to it.
    pub fn sends(&mut self, now: u64) {
        self.asked_out += 1;
        self.out.take(now);
    }

    /// A call that an earlier life sent to it.
    pub fn remember_sent(&mut self, at: u64) {
        self.out.take(at);
    }

    /// A new call from it. Tells the limit that was asked and what is left of it.
    pub fn admit(&mut self, now: u64, is_emergency: bool) -> Result<f64, Held> {
        self.asked += 1;
        let reserve = if is_emergency { self.limits.emergency_calls } else { 0 };
        if !self.has_room(reserve) {
            return Err(Held { limit: "calls", left: 0.0 });
        }
        let reserved =
            is_emergency && self.emergency_cps.is_limited() && self.emergency.take(now, self.emergency_cps).is_ok();
        let left = if reserved {
            self.bucket.left(now, self.cps)
        } else {
            self.bucket.take(now, self.cps).map_err(|left| Held { limit: "cps", left })?
        };
        self.passed += 1;
        Ok(left)
    }

    /// Whether the reserve has a token for an emergency call whose source sends too much.
    pub fn emergency_may_ask(&mut self, now: u64) -> bool {
        self.emergency_cps.is_limited() && self.emergency.left(now, self.emergency_cps) >= 1.0
    }

    /// A call that an earlier life let in.
    pub fn remember(&mut self, at: u64) {
        let _ = self.bucket.take(at, self.cps);
    }

    pub fn call_begins(&mut self) {
        self.calls += 1;
    }

    pub fn call_ends(&mut self) {
        // Never below nothing: a call that was counted twice at its end must not let others in.
        self.calls = self.calls.saturating_sub(1);
    }

    #[must_use]
    pub fn calls(&self) -> u32 {
        self.calls
    }

    /// Calls that asked since the start, and those that passed.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.asked, self.passed)
    }

    #[must_use]
    pub fn asked_out(&self) -> u64 {
        self.asked_out
    }

    #[must_use]
    pub fn has_cps(&self) -> bool {
        self.limits.cps > 0.0
    }

    #[must_use]
    pub fn has_calls(&self) -> bool {
        self.limits.calls > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits { cps: 10.0, cps_out: 3.0, calls: 5, emergency_cps: 2.0, emergency_calls: 3 }
    }

    #[test]
    fn calls_at_once_are_held_and_emergencies_have_their_own_places() {
        let mut gate = Gate::new(limits());
        for _ in 0..5 {
            gate.admit(0, false).unwrap();
            gate.call_begins();
        }
        assert_eq!(gate.admit(1_000_000, false).unwrap_err().limit, "calls");
        for _ in 0..3 {
            gate.admit(1_000_000, true).unwrap();
            gate.call_begins();
        }
        assert_eq!(gate.admit(9_000_000, true).unwrap_err().limit, "calls");
        (0..4).for_each(|_| gate.call_ends());
        assert!(gate.admit(9_000_000, false).is_ok(), "four of eight are open");
        (0..9).for_each(|_| gate.call_ends());
        assert_eq!(gate.calls(), 0);
    }

    #[test]
    fn calls_to_it_have_a_rate_of_their_own() {
        let mut gate = Gate::new(limits());
        for _ in 0..3 {
            assert_eq!(gate.may_send(0, false), Ok(()));
            gate.sends(0);
        }
        assert_eq!(gate.may_send(999_999, false), Err("cps_out"));
        assert_eq!(gate.may_send(999_999, true), Ok(()));
        assert!(gate.admit(0, false).is_ok(), "what it sends is counted apart");
        assert_eq!(gate.may_send(1_000_000, false), Ok(()));
        gate.take_share(Share::equal(3));
        gate.sends(1_000_000);
        assert_eq!(
            (gate.may_send(1_999_999, false), gate.may_send(2_000_000, false)),
            (Err("cps_out"), Ok(())),
            "a third of it"
        );
        (0..5).for_each(|_| gate.call_begins());
        assert_eq!(gate.may_send(9_000_000, false), Err("calls"));
    }

    #[test]
    fn an_ordinary_flood_leaves_the_emergency_reserve_alone() {
        let mut gate = Gate::new(Limits { calls: 0, ..limits() });
        assert_eq!((0..1_000).filter(|_| gate.admit(0, false).is_ok()).count(), 10);
        assert_eq!((0..10).filter(|_| gate.admit(0, true).is_ok()).count(), 2);
        let mut gate = Gate::new(Limits { calls: 0, ..limits() });
        assert_eq!(
            (0..100).filter(|_| gate.admit(0, true).is_ok()).count(),
            12,
            "first the reserve, then what all have"
        );
    }

    #[test]
    fn counting_is_within_two_percent() {
        let mut gate = Gate::new(Limits { cps: 100.0, calls: 0, ..limits() });
        let passed = (0..60_000u64).filter(|i| gate.admit(i * 1_000, false).is_ok()).count();
        assert!((5_880..=6_120).contains(&passed), "{passed} in a minute at ten times the limit");
        let steady = (60_000..160_000u64).filter(|i| gate.admit(i * 1_000, false).is_ok()).count();
        assert!((9_800..=10_200).contains(&steady), "{steady} in 100 s");
    }
}
