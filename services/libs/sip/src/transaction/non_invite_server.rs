//! Non-INVITE server transaction: RFC 3261 §17.2.2. No provisional is invented (RFC 4320).

use super::clockwork::{Clockwork, machine};
use super::{Action, ServerInput as Input, Timers};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Trying,
    Proceeding,
    Completed,
    Ended,
}

#[derive(Clone, Debug)]
pub struct NonInviteServer {
    state: State,
    clock: Clockwork,
}

machine!(NonInviteServer);

impl NonInviteServer {
    #[must_use]
    pub fn new(timers: Timers) -> NonInviteServer {
        NonInviteServer { state: State::Trying, clock: Clockwork::new(timers) }
    }

    pub fn handle(&mut self, now: u64, input: Input) {
        match (self.state, input) {
            (State::Proceeding | State::Completed, Input::Retransmission) => self.clock.push(Action::Resend),
            (State::Trying | State::Proceeding, Input::Respond(100..=199)) => {
                self.state = State::Proceeding;
                self.clock.push(Action::Send);
            }
            (State::Trying | State::Proceeding, Input::Respond(200..)) => {
                self.state = State::Completed;
                self.clock.push(Action::Send);
                self.clock.end_at(now + self.clock.timers.give_up());
                if self.clock.timers.is_reliable {
                    self.end(Action::Done);
                }
            }
            (State::Proceeding | State::Completed, Input::TransportError) => self.clock.push(Action::Unsent),
            (State::Ended, _) => {}
            (_, Input::Tick) if self.clock.tick(now, u64::MAX) => self.end(Action::Done),
            _ => {}
        }
    }

    fn end(&mut self, last: Action) {
        self.state = State::Ended;
        self.clock.end(last);
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
        assert_eq!(t.poll(), Some(Action::Send));
        t.handle(1, Input::TransportError);
        assert_eq!(t.poll(), Some(Action::Unsent));
        t.handle(2, Input::Retransmission);
        assert_eq!(t.poll(), Some(Action::Resend));
        t.handle(32_000_001, Input::Tick);
        assert_eq!((t.poll(), t.deadline()), (Some(Action::Done), None));
    }
}
