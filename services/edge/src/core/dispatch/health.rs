//! What we believe about one node, from our probes and from every packet that it sends.
//!
//! An OPTIONS goes out each second and again after 250 ms. It counts as missed when no SIP of any kind came from the node
//! within 500 ms of it: a node that talks is alive, whatever it answers. Two misses in a row make it suspect, a refused
//! port or three of the last four down. Three answered in a row make it good again; a node that falls again and again must
//! wait longer each time. While it waits and answers it is *held*: still called down, but asked when there is no better one,
//! because damping is an opinion and an answer is a fact.

use crate::config::ProbeConfig;

const SECOND: u64 = 1_000_000;
/// Two falls so close together are flapping.
const FLAPPING_US: u64 = 300 * SECOND;
/// How long a node is held after its second fall; doubled with each further one.
const HOLD_US: u64 = 10 * SECOND;
const LONGEST_HOLD_US: u64 = 300 * SECOND;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Up,
    Suspect,
    Down,
}

impl State {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            State::Up => "up",
            State::Suspect => "suspect",
            State::Down => "down",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// A new probe.
    Send,
    /// The same bytes again.
    Resend,
    /// The state is another one now.
    Changed { before: State },
}

/// Counts since the last report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    pub sent: i32,
    pub answered: i32,
    pub lost: i32,
    pub rtt_max_us: u64,
}

#[derive(Clone, Debug)]
pub struct Health {
    interval: u64,
    timeout: u64,
    resend: u64,
    enabled: bool,
    state: State,
    next_probe: u64,
    sent_at: Option<u64>,
    resent: bool,
    last_life: Option<u64>,
    born: u64,
    /// The last four results, newest lowest; 1 = missed.
    misses: u8,
    hits_in_row: i32,
    misses_in_row: i32,
    suspect_misses: i32,
    down_misses: u32,
    up_answers: i32,
    falls: u32,
    fell_at: u64,
    held_until: u64,
    full: bool,
    pub window: Window,
    pub last_status: Option<u16>,
    pub rtt_us: Option<u64>,
    pub reason: &'static str,
}

impl Health {
    /// Nodes begin as up: refusing calls until the first probe came back would make every restart an outage.
    #[must_use]
    pub fn new(now: u64, config: &ProbeConfig) -> Health {
        let mut health = Health {
            interval: 0,
            timeout: 0,
            resend: 0,
            enabled: false,
            suspect_misses: 0,
            down_misses: 0,
            up_answers: 0,
            falls: 0,
            fell_at: 0,
            held_until: 0,
            full: false,
            state: State::Up,
            next_probe: now,
            sent_at: None,
            resent: false,
            last_life: None,
            born: now,
            misses: 0,
            hits_in_row: 0,
            misses_in_row: 0,
            window: Window::default(),
            last_status: None,
            rtt_us: None,
            reason: "start",
        };
        health.configure(config);
        health
    }

    /// Other settings; what is known stays known.
    pub fn configure(&mut self, config: &ProbeConfig) {
        self.interval = config.interval_ms * 1000;
        self.timeout = config.timeout_ms * 1000;
        self.resend = config.resend_ms * 1000;
        self.enabled = config.enabled;
        self.suspect_misses = i32::try_from(config.suspect_misses).unwrap_or(i32::MAX);
        self.down_misses = config.down_misses;
        self.up_answers = i32::try_from(config.up_answers).unwrap_or(i32::MAX);
    }

    /// No longer asked: it is no member of anything.
    pub fn retire(&mut self) {
        self.enabled = false;
        self.sent_at = None;
    }

    /// Down, and not even answering while it is held.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.state == State::Down && !self.is_held()
    }

    /// It answers as it should and only waits for its time.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.state != State::Up && self.hits_in_row >= self.up_answers
    }

    /// It answered its last probe with 503.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.full
    }

    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// When it last gave a sign of life by SIP, or we began to listen for one.
    #[must_use]
    pub fn quiet_since(&self) -> u64 {
        self.last_life.unwrap_or(self.born)
    }

    #[must_use]
    pub fn streaks(&self) -> (i32, i32) {
        (self.misses_in_row, self.hits_in_row)
    }

    /// Any SIP from the node.
    pub fn life(&mut self, now: u64) {
        self.last_life = Some(now);
    }

    /// The answer to our probe, whatever its status: 503 means full, not dead.
    pub fn answered(&mut self, now: u64, status: u16) {
        self.last_status = Some(status);
        self.full = status == 503;
        if let Some(sent) = self.sent_at {
            let rtt = now.saturating_sub(sent);
            self.rtt_us = Some(rtt);
            self.window.rtt_max_us = self.window.rtt_max_us.max(rtt);
        }
    }

    /// Its port refuses: there is no process behind it.
    pub fn refused(&mut self, now: u64) -> Option<Order> {
        if self.last_life.is_some_and(|life| now.saturating_sub(life) < 1_000) {
            // An error of an older packet that arrives together with an answer.
            return None;
        }
        self.misses = 0b1111;
        self.hits_in_row = 0;
        self.misses_in_row = self.misses_in_row.saturating_add(1);
        self.sent_at = None;
        self.turn(now, State::Down, "refused")
    }

    /// To be called at `deadline`; each order is to be carried out, in turn, until there is none.
    pub fn tick(&mut self, now: u64) -> Option<Order> {
        if !self.enabled {
            return None;
        }
        if let Some(sent) = self.sent_at {
            let alive = self.last_life.is_some_and(|life| life >= sent);
            if alive || now >= sent + self.timeout {
                self.sent_at = None;
                return self.judge(now, alive);
            }
            if !self.resent && now >= sent + self.resend {
                self.resent = true;
                return Some(Order::Resend);
            }
            return None;
        }
        if now >= self.next_probe {
            self.next_probe = now + self.interval;
            self.sent_at = Some(now);
            self.resent = false;
            self.window.sent += 1;
            return Some(Order::Send);
        }
        None
    }

    fn judge(&mut self, now: u64, alive: bool) -> Option<Order> {
        self.misses = (self.misses << 1) | u8::from(!alive);
        if alive {
            self.window.answered += 1;
            self.hits_in_row = self.hits_in_row.saturating_add(1);
            self.misses_in_row = 0;
            let returns = self.hits_in_row >= self.up_answers && now >= self.held_until;
            return if returns { self.turn(now, State::Up, "answered") } else { None };
        }
        self.window.lost += 1;
        self.misses_in_row = self.misses_in_row.saturating_add(1);
        self.hits_in_row = 0;
        if (self.misses & 0b1111).count_ones() >= self.down_misses {
            self.turn(now, State::Down, "too many of the last four probes missed")
        } else if self.misses_in_row >= self.suspect_misses && self.state == State::Up {
            self.turn(now, State::Suspect, "probes missed in a row")
        } else {
            None
        }
    }

    fn turn(&mut self, now: u64, state: State, reason: &'static str) -> Option<Order> {
        if self.state == state {
            return None;
        }
        if state == State::Up {
            self.misses = 0;
        } else if self.state == State::Up {
            self.fall(now);
        }
        self.reason = reason;
        let before = std::mem::replace(&mut self.state, state);
        Some(Order::Changed { before })
    }

    fn fall(&mut self, now: u64) {
        let flaps = self.falls > 0 && now.saturating_sub(self.fell_at) < FLAPPING_US;
        self.falls = if flaps { self.falls.saturating_add(1) } else { 1 };
        self.fell_at = now;
        let hold = match self.falls {
            0 | 1 => 0,
            // Beyond a shift of eight it is the longest anyway.
            again => (HOLD_US << (again - 2).min(8)).min(LONGEST_HOLD_US),
        };
        self.held_until = now + hold;
    }

    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        if !self.enabled {
            return None;
        }
        Some(match self.sent_at {
            Some(sent) if self.last_life.is_some_and(|life| life >= sent) => sent,
            Some(sent) if !self.resent => sent + self.resend,
            Some(sent) => sent + self.timeout,
            None => self.next_probe,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs until `end`, answering probes sent before `dies` and from `returns` on; gives the state changes with their time.
    fn run(dies: u64, returns: u64, end: u64) -> Vec<(u64, State)> {
        let mut h = Health::new(0, &ProbeConfig::default());
        let mut changes = Vec::new();
        let mut now = 0;
        while now <= end {
            while let Some(order) = h.tick(now) {
                match order {
                    Order::Send if now < dies || now >= returns => {
                        h.life(now);
                        h.answered(now, 200);
                    }
                    Order::Changed { .. } => changes.push((now / 1000, h.state())),
                    _ => {}
                }
            }
            now = h.deadline().unwrap().max(now + 1);
        }
        changes
    }

    #[test]
    fn a_silent_node_is_suspect_after_two_misses_and_down_after_three() {
        let changes = run(5_000_000, u64::MAX, 20_000_000);
        assert_eq!(changes, [(6_500, State::Suspect), (7_500, State::Down)]);
    }

    #[test]
    fn a_node_that_returns_needs_three_answers() {
        let changes = run(5_000_000, 10_000_000, 20_000_000);
        assert_eq!(changes.len(), 3);
        assert_eq!(changes[2].1, State::Up);
        assert!((12_000..12_600).contains(&changes[2].0), "{changes:?}");
    }

    #[test]
    fn any_packet_counts_as_life_and_one_lost_probe_as_nothing() {
        let mut h = Health::new(0, &ProbeConfig::default());
        assert_eq!(h.tick(0), Some(Order::Send));
        assert_eq!(h.tick(250_000), Some(Order::Resend));
        h.life(300_000);
        assert_eq!(h.tick(500_000), None);
        assert_eq!((h.state(), h.window.answered, h.window.lost), (State::Up, 1, 0));
    }

    #[test]
    fn a_refused_port_is_down_at_once() {
        let mut h = Health::new(0, &ProbeConfig::default());
        h.tick(0);
        assert_eq!(h.refused(2_000), Some(Order::Changed { before: State::Up }));
        assert_eq!(h.refused(3_000), None);
        assert_eq!(h.state(), State::Down);
    }
    /// Silent and talking by turns of that length, for ten minutes.
    fn flap(turn: u64, refuses: bool) -> Vec<(u64, State)> {
        let mut h = Health::new(0, &ProbeConfig::default());
        let (mut changes, mut now) = (Vec::new(), 0);
        while now <= 600 * SECOND {
            let silent = (now / turn) % 2 == 1;
            while let Some(order) = h.tick(now) {
                let next = match order {
                    Order::Send | Order::Resend if !silent => {
                        h.life(now);
                        h.answered(now, 200);
                        None
                    }
                    Order::Send if refuses => h.refused(now + 2_000),
                    other => Some(other),
                };
                if let Some(Order::Changed { .. }) = next {
                    changes.push((now / 1000, h.state()));
                }
            }
            now = h.deadline().unwrap().max(now + 1);
        }
        changes
    }

    #[test]
    fn a_flapping_node_changes_its_state_rarely() {
        for (turn, refuses) in [(2, false), (2, true), (4, false), (4, true), (7, false), (15, true)] {
            let changes = flap(turn * SECOND, refuses);
            assert!(changes.len() <= 60, "{turn} s, refusing {refuses}: {changes:?}");
            let returns: Vec<u64> = changes.iter().filter(|(_, s)| *s == State::Up).map(|(at, _)| *at).collect();
            assert!(returns.windows(2).all(|pair| pair[1] - pair[0] >= 10_000), "{returns:?}");
        }
    }

    #[test]
    fn a_held_node_that_answers_is_not_dead_and_one_that_stops_is() {
        let mut h = Health::new(0, &ProbeConfig::default());
        for fall in 0..2u64 {
            let at = fall * 20 * SECOND;
            h.refused(at + 5_000);
            assert!(h.is_dead());
            for probe in 1..4 {
                while h.tick(at + probe * SECOND).is_some() {}
                h.life(at + probe * SECOND + 10);
                while h.tick(at + probe * SECOND + 10).is_some() {}
            }
        }
        assert_eq!((h.state(), h.is_dead()), (State::Down, false), "its second fall in a minute");
        h.refused(25 * SECOND);
        assert!(h.is_dead());
    }

    #[test]
    fn a_503_means_full_and_not_dead() {
        let mut h = Health::new(0, &ProbeConfig::default());
        h.tick(0);
        h.life(10);
        h.answered(10, 503);
        assert_eq!(h.tick(10), None);
        assert_eq!((h.state(), h.is_full()), (State::Up, true));
        h.answered(20, 200);
        assert!(!h.is_full());
    }
}
