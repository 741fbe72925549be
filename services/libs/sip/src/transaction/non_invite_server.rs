//! Non-INVITE server transaction: RFC 3261 §17.2.2. No provisional is invented (RFC 4320).

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
    Retransmission,
    Respond(u16),
    Tick,
}

#[derive(Clone, Debug)]
pub struct NonInviteServer {
    timers: Timers,
    state: State,
    ends_at: u64,
    pending: Pending,
}

impl NonInviteServer {
    #[must_use]
    pub fn new(timers: Timers) -> NonInviteServer {
        NonInviteServer { timers, state: State::Trying, ends_at: u64::MAX, pending: Pending::default() }
    }

    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    pub fn handle(&mut self, now: u64, input: Input) {
        match (self.state, input) {
            (State::Proceeding | State::Completed, Input::Retransmission) => self.pending.push(Action::Resend),
            (State::Trying, Input::Respond(100..=199)) => self.state = State::Proceeding,
            (State::Trying | State::Proceeding, Input::Respond(200..)) => {
                self.state = State::Completed;
                self.ends_at = now + self.timers.give_up();
            }
            (State::Completed, Input::Tick) if now >= self.ends_at => {
                self.state = State::Ended;
                self.ends_at = u64::MAX;
                self.pending.push(Action::Done);
            }
            _ => {}
        }
    }

    pub fn poll(&mut self) -> Option<Action> {
        self.pending.pop()
    }

    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        (self.ends_at != u64::MAX).then_some(self.ends_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_request_gets_the_answer_again_for_32_seconds() {
        let mut t = NonInviteServer::new(Timers::STANDARD);
        t.handle(0, Input::Retransmission);
        assert_eq!(t.poll(), None);
        t.handle(1, Input::Respond(200));
        t.handle(2, Input::Retransmission);
        assert_eq!(t.poll(), Some(Action::Resend));
        t.handle(32_000_001, Input::Tick);
        assert_eq!((t.poll(), t.deadline()), (Some(Action::Done), None));
    }
}
