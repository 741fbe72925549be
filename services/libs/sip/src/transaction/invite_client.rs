//! INVITE client transaction: RFC 3261 §17.1.1 and RFC 6026 §7.2. Timer C belongs to the proxy above.

use super::{Action, Pending, Timers};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Calling,
    Proceeding,
    Completed,
    /// A 2xx came: its repetitions and further 2xx belong to this transaction until timer M.
    Accepted,
    Ended,
}

#[derive(Clone, Copy, Debug)]
pub enum Input {
    Response(u16),
    /// Nobody waits for a first response any more, but a late one must still find us: no more retransmissions.
    Silence,
    Tick,
}

#[derive(Clone, Debug)]
pub struct InviteClient {
    timers: Timers,
    state: State,
    resend_at: u64,
    interval: u64,
    ends_at: u64,
    pending: Pending,
}

impl InviteClient {
    /// The request goes out at `now`.
    #[must_use]
    pub fn new(now: u64, timers: Timers) -> InviteClient {
        InviteClient {
            timers,
            state: State::Calling,
            resend_at: now + timers.t1,
            interval: timers.t1,
            ends_at: now + timers.give_up(),
            pending: Pending::default(),
        }
    }

    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    pub fn handle(&mut self, now: u64, input: Input) {
        match (self.state, input) {
            (State::Calling, Input::Response(100..=199)) => {
                self.state = State::Proceeding;
                self.resend_at = u64::MAX;
                self.ends_at = u64::MAX;
            }
            (State::Calling | State::Proceeding, Input::Response(200..=299)) => {
                self.finish(State::Accepted, now + self.timers.give_up());
            }
            (State::Calling | State::Proceeding, Input::Response(300..)) => {
                self.finish(State::Completed, now + self.timers.d);
                self.pending.push(Action::Ack);
            }
            (State::Completed, Input::Response(300..)) => self.pending.push(Action::Ack),
            (State::Calling, Input::Silence) => self.resend_at = u64::MAX,
            (_, Input::Tick) => self.tick(now),
            _ => {}
        }
    }

    fn finish(&mut self, state: State, ends_at: u64) {
        self.state = state;
        self.resend_at = u64::MAX;
        self.ends_at = ends_at;
    }

    fn tick(&mut self, now: u64) {
        if now >= self.ends_at {
            self.pending.push(if self.state == State::Calling { Action::TimedOut } else { Action::Done });
            self.finish(State::Ended, u64::MAX);
        } else if now >= self.resend_at {
            self.pending.push(Action::Resend);
            self.interval *= 2;
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
    fn an_unanswered_invite_is_sent_seven_times_in_32_seconds() {
        let mut t = InviteClient::new(0, Timers::STANDARD);
        let mut at = vec![0];
        loop {
            let now = t.deadline().unwrap();
            t.handle(now, Input::Tick);
            match t.poll() {
                Some(Action::Resend) => at.push(now / 1000),
                Some(Action::TimedOut) => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(at, [0, 500, 1500, 3500, 7500, 15500, 31500]);
        assert_eq!(t.deadline(), None);
    }

    #[test]
    fn each_repeated_failure_is_acknowledged_again() {
        let mut t = InviteClient::new(0, Timers::STANDARD);
        t.handle(1, Input::Response(100));
        assert_eq!(t.deadline(), None);
        t.handle(2, Input::Response(486));
        t.handle(3, Input::Response(486));
        assert_eq!([t.poll(), t.poll(), t.poll()], [Some(Action::Ack), Some(Action::Ack), None]);
        t.handle(32_000_002, Input::Tick);
        assert_eq!(t.poll(), Some(Action::Done));
    }

    #[test]
    fn a_2xx_keeps_the_transaction_for_its_repetitions() {
        let mut t = InviteClient::new(0, Timers::STANDARD);
        t.handle(5, Input::Response(200));
        t.handle(6, Input::Response(200));
        assert_eq!((t.poll(), t.state(), t.deadline()), (None, State::Accepted, Some(32_000_005)));
    }
}
