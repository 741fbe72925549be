//! How many handshakes may be under way, and how fast new ones may begin: in all, and for one source.
//!
//! A handshake is the one thing that a stranger can make the edge pay for: some hundred microseconds of arithmetic each. So
//! they are few at once and few per second for a source that is not in the settings, and for all such sources together; whoever
//! is over its share is closed without a word. Sources of the settings share the bound in all only, and have a quarter of it for
//! themselves: strangers cannot keep a carrier out. Pure: time and addresses come from the caller.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeLimits {
    /// Under way, in all; three quarters of it for sources that are not in the settings.
    pub open: usize,
    /// Under way, of one source.
    pub open_per_source: u32,
    /// Begun per second, of one source; twice as many at once.
    pub rate_per_source: u32,
    /// The same for all of them together.
    pub rate: u32,
    /// Sources remembered. One that is as it was before its first handshake is forgotten; when all others are busy, a new
    /// one is refused.
    pub sources: usize,
}

impl Default for HandshakeLimits {
    fn default() -> HandshakeLimits {
        HandshakeLimits { open: 512, open_per_source: 8, rate_per_source: 10, rate: 500, sources: 8_192 }
    }
}

/// Why a connection is closed before its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    All,
    Source,
    Rate,
}

#[derive(Debug)]
struct Share {
    open: u32,
    tokens: f64,
    at: u64,
}

#[derive(Debug)]
struct State {
    open: usize,
    /// Of sources that are not in the settings, all together.
    strangers: Share,
    sources: HashMap<IpAddr, Share>,
    /// When the sources were last looked through.
    swept_at: Option<u64>,
}

/// A full table is looked through so often at most: in a flood each connection would pay for that otherwise.
const SWEEP_US: u64 = 100_000;

#[derive(Debug, Clone)]
pub struct Handshakes {
    limits: HandshakeLimits,
    state: Arc<Mutex<State>>,
}

/// A handshake under way; over when it is dropped.
#[derive(Debug)]
pub struct Permit {
    state: Arc<Mutex<State>>,
    source: Option<IpAddr>,
}

impl Handshakes {
    #[must_use]
    pub fn new(limits: HandshakeLimits) -> Handshakes {
        let strangers = Share { open: 0, tokens: 2.0 * f64::from(limits.rate), at: 0 };
        let state = State { open: 0, strangers, sources: HashMap::new(), swept_at: None };
        Handshakes { limits, state: Arc::new(Mutex::new(state)) }
    }

    /// Whether a handshake with that address may begin. `is_known`: the address is one of the settings.
    pub fn begin(&self, now_us: u64, from: IpAddr, is_known: bool) -> Result<Permit, Busy> {
        let limits = &self.limits;
        let mut state = self.state.lock();
        if state.open >= limits.open {
            return Err(Busy::All);
        }
        let source = (!is_known).then(|| source(from));
        if let Some(source) = source {
            let state = &mut *state;
            if state.strangers.open as usize >= limits.open - limits.open / 4 {
                return Err(Busy::All);
            }
            if !state.strangers.has_token(now_us, limits.rate) {
                return Err(Busy::All);
            }
            let rate = limits.rate_per_source;
            if state.sources.len() >= limits.sources && !state.sources.contains_key(&source) {
                if state.swept_at.is_none_or(|at| now_us >= at + SWEEP_US) {
                    state.swept_at = Some(now_us);
                    state.sources.retain(|_, share| share.open > 0 || !share.is_full(now_us, rate));
                }
                if state.sources.len() >= limits.sources {
                    return Err(Busy::All);
                }
            }
            let share = state.sources.entry(source).or_insert_with(|| Share::full(now_us, rate));
            let has_token = share.has_token(now_us, rate);
            if share.open >= limits.open_per_source {
                return Err(Busy::Source);
            }
            if !has_token {
                return Err(Busy::Rate);
            }
            for share in [share, &mut state.strangers] {
                share.tokens -= 1.0;
                share.open += 1;
            }
        }
        state.open += 1;
        Ok(Permit { state: Arc::clone(&self.state), source })
    }

    /// Under way now.
    #[cfg(test)]
    fn open(&self) -> usize {
        self.state.lock().open
    }
}

impl Share {
    fn full(now_us: u64, rate: u32) -> Share {
        Share { open: 0, tokens: 2.0 * f64::from(rate), at: now_us }
    }

    fn refill(&mut self, now_us: u64, rate: u32) {
        let seconds = now_us.saturating_sub(self.at) as f64 / 1_000_000.0;
        self.tokens = (self.tokens + seconds * f64::from(rate)).min(2.0 * f64::from(rate));
        self.at = now_us;
    }

    fn has_token(&mut self, now_us: u64, rate: u32) -> bool {
        self.refill(now_us, rate);
        self.tokens >= 1.0
    }

    fn is_full(&mut self, now_us: u64, rate: u32) -> bool {
        self.refill(now_us, rate);
        self.tokens >= 2.0 * f64::from(rate)
    }
}

/// Whoever has one IPv6 address has a /64 of them.
fn source(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        state.open -= 1;
        let state = &mut *state;
        if let Some(source) = self.source {
            state.strangers.open -= 1;
            if let Some(share) = state.sources.get_mut(&source) {
                share.open -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn gate() -> Handshakes {
        Handshakes::new(HandshakeLimits { open: 6, open_per_source: 2, rate_per_source: 2, rate: 50, sources: 3 })
    }

    #[test]
    fn a_source_has_its_share_at_once_and_per_second_and_gets_it_back() {
        let gate = gate();
        let begin = |now| gate.begin(now, ip("198.51.100.1"), false);
        let one = begin(0).unwrap();
        let two = begin(0).unwrap();
        assert_eq!(begin(0).unwrap_err(), Busy::Source);
        drop((one, two));
        drop((begin(0).unwrap(), begin(0).unwrap()));
        assert_eq!(begin(0).unwrap_err(), Busy::Rate);
        assert_eq!(begin(499_999).unwrap_err(), Busy::Rate);
        drop(begin(500_000).unwrap());
        assert_eq!(gate.open(), 0);
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_source() {
        let gate = gate();
        let _one = gate.begin(0, ip("2001:db8::1"), false).unwrap();
        let _two = gate.begin(0, ip("2001:db8::2"), false).unwrap();
        assert_eq!(gate.begin(0, ip("2001:db8::3"), false).unwrap_err(), Busy::Source);
        assert!(gate.begin(0, ip("2001:db8:0:1::3"), false).is_ok());
    }

    #[test]
    fn strangers_fill_the_table_but_not_the_place_of_the_settings_sources() {
        let gate = gate();
        let held: Vec<Permit> =
            (1..=3).map(|i| gate.begin(0, ip(&format!("198.51.100.{i}")), false).unwrap()).collect();
        assert_eq!(gate.begin(0, ip("198.51.100.9"), false).unwrap_err(), Busy::All, "the table is full");
        let known: Vec<Permit> = (0..3).map(|_| gate.begin(0, ip("192.0.2.1"), true).unwrap()).collect();
        assert_eq!(gate.begin(0, ip("192.0.2.1"), true).unwrap_err(), Busy::All, "six in all");
        drop((held, known));
        assert!(gate.begin(2_000_000, ip("198.51.100.9"), false).is_ok(), "the idle ones are forgotten");
    }

    #[test]
    fn many_strangers_together_leave_a_quarter_to_the_sources_of_the_settings_and_have_one_rate() {
        let limits = HandshakeLimits { open: 8, open_per_source: 8, rate_per_source: 9, rate: 10, sources: 8_192 };
        let gate = Handshakes::new(limits);
        let stranger = |now, i: u32| gate.begin(now, IpAddr::V4((0xC633_6400 + i).into()), false);
        let held: Vec<Permit> = (0..6).map(|i| stranger(0, i).unwrap()).collect();
        assert_eq!(stranger(0, 6).unwrap_err(), Busy::All);
        let known: Vec<Permit> = (0..2).map(|_| gate.begin(0, ip("192.0.2.1"), true).unwrap()).collect();
        drop((held, known));
        // Of twenty at once six were begun.
        let begun = (0..1_000).filter(|i| stranger(0, 10 + i).is_ok()).count();
        assert_eq!(begun, 14);
        let begun = (0..1_000).filter(|i| stranger(500_000, 5_000 + i).is_ok()).count();
        assert_eq!(begun, 5, "half a second later half a second's worth");
        assert!(gate.begin(500_000, ip("192.0.2.1"), true).is_ok());
    }
}
