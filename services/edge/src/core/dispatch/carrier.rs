//! Whether a carrier is worth a call's first attempt: what its probes say, when its settings ask for them, and what the last call
//! met. All of it is soft: a route whose carriers are all bad is tried in its own order.

use super::{Health, Probe, State};
use crate::config::ProbeConfig;

#[derive(Debug)]
pub struct Carrier {
    pub health: Health,
    pub probe: Probe,
}

impl Carrier {
    #[must_use]
    pub fn new(now: u64, probes: &ProbeConfig) -> Carrier {
        Carrier { health: Health::new(now, probes), probe: Probe::default() }
    }

    /// For people and events. `is_silent`: it left a call without an answer a moment ago.
    #[must_use]
    pub fn state(&self, is_silent: bool) -> &'static str {
        self.judged(is_silent).1
    }

    /// The smallest is tried first; those alike in the order of the route.
    #[must_use]
    pub fn rank(&self, is_silent: bool) -> u8 {
        self.judged(is_silent).0
    }

    fn judged(&self, is_silent: bool) -> (u8, &'static str) {
        match self.health.state() {
            State::Up if self.health.is_full() => (1, "full"),
            State::Up if is_silent => (1, "silent"),
            State::Up => (0, State::Up.as_str()),
            State::Down if self.health.is_dead() => (2, State::Down.as_str()),
            // Or it was down, answers again and only waits for its time.
            State::Suspect | State::Down => (1, State::Suspect.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::dispatch::Order;

    const S: u64 = 1_000_000;

    fn missed(carrier: &mut Carrier, at: u64) {
        assert_eq!(carrier.health.tick(at), Some(Order::Send));
        assert_eq!(carrier.health.tick(at + S / 2), Some(Order::Resend));
        while carrier.health.tick(at + 2 * S).is_some() {}
    }

    #[test]
    fn a_carrier_that_is_not_asked_is_known_by_its_calls_alone() {
        let mut carrier = Carrier::new(0, &ProbeConfig::of_carrier(0));
        assert_eq!(carrier.health.tick(100 * S), None);
        assert_eq!((carrier.state(false), carrier.rank(false)), ("up", 0));
        assert_eq!((carrier.state(true), carrier.rank(true)), ("silent", 1));
    }

    #[test]
    fn one_missed_probe_puts_it_behind_the_others_two_last_and_one_answer_back() {
        let mut carrier = Carrier::new(0, &ProbeConfig::of_carrier(30));
        missed(&mut carrier, 0);
        assert_eq!((carrier.state(false), carrier.rank(false)), ("suspect", 1));
        missed(&mut carrier, 30 * S);
        assert_eq!((carrier.state(true), carrier.rank(true)), ("down", 2));
        assert_eq!(carrier.health.tick(60 * S), Some(Order::Send));
        carrier.health.life(60 * S + 1);
        carrier.health.answered(60 * S + 1, 404);
        while carrier.health.tick(60 * S + 1).is_some() {}
        assert_eq!((carrier.state(false), carrier.rank(false)), ("up", 0));
    }
}
