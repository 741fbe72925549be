//! Non-INVITE client transaction: RFC 3261 §17.1.2.

use super::clockwork::{Clockwork, machine};
use super::{Action, ClientInput as Input, Timers};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Trying,
    Proceeding,
    Completed,
    Ended,
}

#[derive(Clone, Debug)]
pub struct NonInviteClient {
    state: State,
    clock: Clockwork,
}

machine!(NonInviteClient);

impl NonInviteClient {
    /// The request goes out at `now`.
    #[must_use]
    pub fn new(now: u64, timers: Timers) -> NonInviteClient {
        let mut clock = Clockwork::new(timers);
        clock.repeat_after(now, timers.t1);
        clock.end_at(now + timers.give_up());
        NonInviteClient { state: State::Trying, clock }
    }

    pub fn handle(&mut self, now: u64, input: Input) {
        let timers = self.clock.timers;
        match (self.state, input) {
            (State::Trying | State::Proceeding, Input::Response(100..=199)) => {
                if self.state == State::Trying {
                    self.state = State::Proceeding;
                    self.clock.repeat_after(now, timers.t2);
                }
                self.clock.push(Action::Deliver);
            }
            (State::Trying | State::Proceeding, Input::Response(200..)) => {
                self.state = State::Completed;
                self.clock.push(Action::Deliver);
                self.clock.stop_repeating();
                self.clock.end_at(now + timers.t4);
                if timers.is_reliable {
                    self.end(Action::Done);
                }
            }
            (State::Trying | State::Proceeding, Input::Silence) => self.clock.stop_repeating(),
            (State::Trying | State::Proceeding, Input::TransportError) => self.end(Action::Failed),
            (State::Ended, _) => {}
            (_, Input::Tick) if self.clock.tick(now, timers.t2) => {
                let waiting = self.state != State::Completed;
                self.end(if waiting { Action::TimedOut } else { Action::Done });
            }
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
        assert_eq!([t.poll(), t.poll()], [Some(Action::Deliver), None], "a repetition stays here");
        assert_eq!(t.deadline(), Some(5_000_009));
        t.handle(5_000_009, Input::Tick);
        assert_eq!(t.poll(), Some(Action::Done));
        let mut t = NonInviteClient::new(0, Timers::STANDARD.reliable());
        t.handle(9, Input::Response(200));
        assert_eq!([t.poll(), t.poll(), t.poll()], [Some(Action::Deliver), Some(Action::Done), None]);
    }
}
