//! Non-INVITE client transaction: RFC 3261 §17.1.2.

use super::{Action, Pending, Timers};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Trying,
    Proceeding,
    Completed,
    Ended,
}

#[derive(Clone, Copy, Debug)]
pub enum Input {
    Response(u16),
    Tick,
}

#[derive(Clone, Debug)]
pub struct NonInviteClient {
    timers: Timers,
    state: State,
    resend_at: u64,
    interval: u64,
    ends_at: u64,
    pending: Pending,
}

impl NonInviteClient {
    /// The request goes out at `now`.
    #[must_use]
    pub fn new(now: u64, timers: Timers) -> NonInviteClient {
        NonInviteClient {
            timers,
            state: State::Trying,
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
            (State::Trying, Input::Response(100..=199)) => {
                self.state = State::Proceeding;
                self.interval = self.timers.t2;
                self.resend_at = now + self.interval;
            }
            (State::Trying | State::Proceeding, Input::Response(200..)) => {
                self.state = State::Completed;
                self.resend_at = u64::MAX;
                self.ends_at = now + self.timers.t4;
            }
            (_, Input::Tick) => self.tick(now),
            _ => {}
        }
    }

    fn tick(&mut self, now: u64) {
        if now >= self.ends_at {
            let waiting = matches!(self.state, State::Trying | State::Proceeding);
            self.pending.push(if waiting { Action::TimedOut } else { Action::Done });
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
    fn retransmissions_double_up_to_t2_and_stop_at_timer_f() {
        let mut t = NonInviteClient::new(0, Timers::STANDARD);
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
        assert_eq!(at, [0, 500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
    }

    #[test]
    fn a_final_response_ends_it_after_t4() {
        let mut t = NonInviteClient::new(0, Timers::STANDARD);
        t.handle(9, Input::Response(200));
        t.handle(10, Input::Response(200));
        assert_eq!(t.deadline(), Some(5_000_009));
        t.handle(5_000_009, Input::Tick);
        assert_eq!(t.poll(), Some(Action::Done));
    }
}
