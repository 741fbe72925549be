//! INVITE server transaction: RFC 3261 §17.2.1 and RFC 6026 §7.1. The 100 is the caller's to send at once.

use super::{Action, Pending, Timers};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Proceeding,
    Completed,
    Confirmed,
    /// A 2xx was sent: repeated INVITEs are absorbed, further 2xx pass.
    Accepted,
    Ended,
}

#[derive(Clone, Copy, Debug)]
pub enum Input {
    /// The same INVITE again.
    Retransmission,
    /// An ACK for our non-2xx.
    Ack,
    /// The proxy sends this status upstream.
    Respond(u16),
    Tick,
}

#[derive(Clone, Debug)]
pub struct InviteServer {
    timers: Timers,
    state: State,
    resend_at: u64,
    interval: u64,
    ends_at: u64,
    pending: Pending,
}

impl InviteServer {
    #[must_use]
    pub fn new(timers: Timers) -> InviteServer {
        InviteServer {
            timers,
            state: State::Proceeding,
            resend_at: u64::MAX,
            interval: 0,
            ends_at: u64::MAX,
            pending: Pending::default(),
        }
    }

    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    pub fn handle(&mut self, now: u64, input: Input) {
        match (self.state, input) {
            (State::Proceeding | State::Completed, Input::Retransmission) => self.pending.push(Action::Resend),
            (State::Proceeding, Input::Respond(200..=299)) => {
                self.state = State::Accepted;
                self.ends_at = now + self.timers.give_up();
            }
            (State::Proceeding, Input::Respond(300..)) => {
                self.state = State::Completed;
                self.interval = self.timers.t1;
                self.resend_at = now + self.interval;
                self.ends_at = now + self.timers.give_up();
            }
            (State::Completed, Input::Ack) => {
                self.state = State::Confirmed;
                self.resend_at = u64::MAX;
                self.ends_at = now + self.timers.t4;
            }
            (State::Completed | State::Confirmed | State::Accepted, Input::Tick) => self.tick(now),
            _ => {}
        }
    }

    fn tick(&mut self, now: u64) {
        if now >= self.ends_at {
            self.pending.push(if self.state == State::Completed { Action::NoAck } else { Action::Done });
            self.state = State::Ended;
            self.resend_at = u64::MAX;
            self.ends_at = u64::MAX;
        } else if now >= self.resend_at {
            self.pending.push(Action::Resend);
            self.interval = (self.interval * 2).min(self.timers.t2);
            self.resend_at = now + self.interval;
        }
    }

    pub fn poll(&mut self) -> Option<Action> {
        self.pending.pop()
    }

    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        let at = self.resend_at.min(self.ends_at);
        (at != u64::MAX).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_repeated_with_doubling_until_the_ack() {
        let mut t = InviteServer::new(Timers::STANDARD);
        t.handle(0, Input::Respond(180));
        assert_eq!(t.deadline(), None);
        t.handle(0, Input::Respond(486));
        let mut at = Vec::new();
        while at.len() < 6 {
            let now = t.deadline().unwrap();
            t.handle(now, Input::Tick);
            assert_eq!(t.poll(), Some(Action::Resend));
            at.push(now / 1000);
        }
        assert_eq!(at, [500, 1500, 3500, 7500, 11500, 15500]);
        t.handle(16_000_000, Input::Ack);
        assert_eq!(t.deadline(), Some(21_000_000));
        t.handle(21_000_000, Input::Tick);
        assert_eq!(t.poll(), Some(Action::Done));
    }

    #[test]
    fn an_unacknowledged_failure_ends_after_64_t1_and_an_accepted_one_absorbs() {
        let mut t = InviteServer::new(Timers::STANDARD);
        t.handle(0, Input::Respond(503));
        t.handle(32_000_000, Input::Tick);
        assert_eq!(t.poll(), Some(Action::NoAck));
        let mut t = InviteServer::new(Timers::STANDARD);
        t.handle(0, Input::Respond(200));
        t.handle(1, Input::Retransmission);
        t.handle(2, Input::Respond(200));
        assert_eq!((t.poll(), t.state(), t.deadline()), (None, State::Accepted, Some(32_000_000)));
    }
}
