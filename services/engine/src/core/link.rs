//! The state of one connection: greeting, authentication, subscription, then signs of life.
//!
//! Invariants: commands and replies pair up in order; a connection that says nothing for `dead_after` while it is pinged is dead,
//! and so is one whose heartbeats, once their rhythm is known, stay out three times as long; a refused password is told once and
//! tried again only after a long pause.

use std::collections::VecDeque;

use domain::Now;
use esl::command::AnsweredBy;

/// Commands that may be unanswered at once. A node that lets more pile up is not answering.
const MAX_UNANSWERED: usize = 4096;

/// The rhythm of a link, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rhythm {
    pub ping_ms: u64,
    pub dead_after_ms: u64,
    pub backoff_min_ms: u64,
    pub backoff_max_ms: u64,
    /// Pause after a refused password or address: long, or the node's log fills and its guards lock us out.
    pub refused_ms: u64,
}

/// Why a connection ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Closing {
    #[error("the node refused the password (setting {setting})")]
    BadPassword { setting: String },
    #[error("the node's access list refuses us (apply-inbound-acl of its event_socket.conf.xml, setting {setting})")]
    NotAllowed { setting: String },
    #[error("the node refused the subscription: {0}")]
    NoSubscription(String),
    #[error("no sign of life for {0} ms")]
    Silent(u64),
    #[error("heartbeats stopped: the last is {0} ms old")]
    NoHeartbeat(u64),
    #[error("{0} commands are unanswered")]
    Unanswered(usize),
    #[error("the node said goodbye: {0}")]
    Goodbye(String),
    #[error("the peer does not speak ESL: {0}")]
    NotEsl(String),
    /// The socket's own end: refused, reset, closed.
    #[error("{0}")]
    Io(String),
}

impl Closing {
    /// Trying again at once would only be refused again.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::BadPassword { .. } | Self::NotAllowed { .. })
    }
}

/// What a reply will answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sent {
    Password,
    Subscription,
    Ping,
    Snapshot,
    /// A command to a channel.
    Channel(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Down,
    Greeting,
    Authenticating,
    Subscribing,
    Up,
}

#[derive(Debug)]
pub(crate) struct Link {
    rhythm: Rhythm,
    pub phase: Phase,
    heard: Now,
    pinged: Now,
    heartbeat: Option<Now>,
    /// Between the last two heartbeats of this connection.
    interval_us: Option<u64>,
    unanswered: VecDeque<(Sent, AnsweredBy)>,
    /// Failed tries since the link was last up.
    failures: u32,
    down_since: Option<Now>,
    pub connections: u64,
}

impl Link {
    pub fn new(rhythm: Rhythm, now: Now) -> Self {
        Self {
            rhythm,
            phase: Phase::Down,
            heard: now,
            pinged: now,
            heartbeat: None,
            interval_us: None,
            unanswered: VecDeque::new(),
            failures: 0,
            down_since: None,
            connections: 0,
        }
    }

    pub fn connected(&mut self, now: Now) {
        self.phase = Phase::Greeting;
        self.heard = now;
        self.heartbeat = None;
        self.interval_us = None;
        self.unanswered.clear();
    }

    /// Subscribed. Returns how long the link was down, if it was up before.
    pub fn up(&mut self, now: Now) -> Option<u64> {
        self.phase = Phase::Up;
        self.failures = 0;
        self.connections += 1;
        self.pinged = now;
        self.down_since.take().map(|since| micros(now, since))
    }

    /// Returns whether it was up.
    pub fn lost(&mut self, now: Now) -> bool {
        let was_up = self.phase == Phase::Up;
        self.phase = Phase::Down;
        self.failures += 1;
        if was_up {
            self.down_since = Some(now);
        }
        was_up
    }

    /// How long to wait before the next try.
    pub fn pause_ms(&self, refused: bool) -> u64 {
        if refused {
            return self.rhythm.refused_ms;
        }
        let doubled = self.rhythm.backoff_min_ms.saturating_mul(1 << self.failures.saturating_sub(1).min(16));
        doubled.min(self.rhythm.backoff_max_ms)
    }

    pub fn heard(&mut self, now: Now) {
        self.heard = now;
    }

    pub fn last_heard(&self) -> Now {
        self.heard
    }

    /// Notes a heartbeat; returns the one before on this connection.
    pub fn beat(&mut self, now: Now) -> Option<Now> {
        let before = self.heartbeat.replace(now);
        self.interval_us = before.map(|before| micros(now, before)).or(self.interval_us);
        before
    }

    pub fn sent(&mut self, what: Sent, answered_by: AnsweredBy) -> Result<(), Closing> {
        self.unanswered.push_back((what, answered_by));
        if self.unanswered.len() > MAX_UNANSWERED { Err(Closing::Unanswered(self.unanswered.len())) } else { Ok(()) }
    }

    /// What a reply of this kind answers. One that was skipped (it cannot happen on a sane node) is dropped.
    pub fn replied(&mut self, by: AnsweredBy) -> Option<Sent> {
        while let Some((sent, answered_by)) = self.unanswered.pop_front() {
            if answered_by == by {
                return Some(sent);
            }
        }
        None
    }

    pub fn ping_due(&mut self, now: Now) -> bool {
        let due = self.phase == Phase::Up && micros(now, self.pinged) >= self.rhythm.ping_ms * 1000;
        if due {
            self.pinged = now;
        }
        due
    }

    /// Why the connection must be given up, if it must.
    pub fn dead(&self, now: Now) -> Option<Closing> {
        if self.phase == Phase::Down {
            return None;
        }
        let silent = micros(now, self.heard);
        if silent >= self.rhythm.dead_after_ms * 1000 {
            return Some(Closing::Silent(silent / 1000));
        }
        let age = micros(now, self.heartbeat?);
        let patience = (self.rhythm.dead_after_ms * 1000).max(3 * self.interval_us?);
        (age > patience).then_some(Closing::NoHeartbeat(age / 1000))
    }

    /// When something is due next, in monotonic microseconds.
    pub fn deadline(&self) -> Option<u64> {
        let dead = self.heard.mono_us + self.rhythm.dead_after_ms * 1000;
        match self.phase {
            Phase::Down => None,
            Phase::Up => Some(dead.min(self.pinged.mono_us + self.rhythm.ping_ms * 1000)),
            _ => Some(dead),
        }
    }
}

fn micros(now: Now, since: Now) -> u64 {
    now.mono_us.saturating_sub(since.mono_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RHYTHM: Rhythm =
        Rhythm { ping_ms: 1000, dead_after_ms: 3000, backoff_min_ms: 100, backoff_max_ms: 2000, refused_ms: 30_000 };

    fn at(ms: u64) -> Now {
        Now { wall_us: 1_795_226_344_000_000, mono_us: 5_000_000 }.plus_us(ms * 1000)
    }

    fn up() -> Link {
        let mut link = Link::new(RHYTHM, at(0));
        link.connected(at(0));
        link.up(at(0));
        link
    }

    #[test]
    fn pauses_grow_from_100_ms_to_2_s_and_start_again_after_success() {
        let mut link = up();
        let pauses: Vec<u64> = (0..7)
            .map(|_| {
                link.lost(at(0));
                link.pause_ms(false)
            })
            .collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(link.pause_ms(true), 30_000);
        link.connected(at(1));
        assert_eq!(link.up(at(500)), Some(500_000));
        link.lost(at(600));
        assert_eq!(link.pause_ms(false), 100);
    }

    #[test]
    fn silence_of_three_seconds_is_death_and_any_byte_is_life() {
        let mut link = up();
        assert_eq!(link.dead(at(2999)), None);
        assert_eq!(link.dead(at(3000)), Some(Closing::Silent(3000)));
        link.heard(at(2900));
        assert_eq!(link.dead(at(3000)), None);
    }

    #[test]
    fn heartbeats_that_stop_are_death_although_pings_are_answered() {
        let mut link = up();
        link.beat(at(1000));
        link.heard(at(9000));
        assert_eq!(link.dead(at(9000)), None, "one heartbeat is no rhythm");
        link.beat(at(2000));
        assert_eq!(link.dead(at(5000)), None);
        link.heard(at(5001));
        assert_eq!(link.dead(at(5001)), Some(Closing::NoHeartbeat(3001)));
        let mut slow = up();
        slow.beat(at(0));
        slow.beat(at(20_000));
        slow.heard(at(70_000));
        assert_eq!(slow.dead(at(70_000)), None, "a node that beats every 20 s is given a minute");
    }

    #[test]
    fn replies_answer_commands_in_their_order() {
        let mut link = up();
        link.sent(Sent::Ping, AnsweredBy::ApiResponse).expect("room");
        link.sent(Sent::Channel("a".into()), AnsweredBy::CommandReply).expect("room");
        assert_eq!(link.replied(AnsweredBy::ApiResponse), Some(Sent::Ping));
        assert_eq!(link.replied(AnsweredBy::CommandReply), Some(Sent::Channel("a".into())));
        assert_eq!(link.replied(AnsweredBy::CommandReply), None);
        for _ in 0..MAX_UNANSWERED {
            link.sent(Sent::Ping, AnsweredBy::ApiResponse).expect("room");
        }
        assert!(link.sent(Sent::Ping, AnsweredBy::ApiResponse).is_err());
    }

    #[test]
    fn a_ping_is_due_once_per_second() {
        let mut link = up();
        assert!(!link.ping_due(at(999)));
        assert!(link.ping_due(at(1000)));
        assert!(!link.ping_due(at(1001)));
        assert_eq!(link.deadline(), Some(at(2000).mono_us));
    }
}
