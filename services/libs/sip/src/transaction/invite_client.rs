//! INVITE client transaction: RFC 3261 §17.1.1 and RFC 6026 §7.2. Timer C belongs to the proxy above.

use super::clockwork::{Clockwork, machine};
use super::{Action, ClientInput as Input, Timers};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Calling,
    Proceeding,
    Completed,
    /// A 2xx came: its repetitions and further 2xx belong to this transaction until timer M.
    Accepted,
    Ended,
}

#[derive(Clone, Debug)]
pub struct InviteClient {
    state: State,
    clock: Clockwork,
}

machine!(InviteClient);

impl InviteClient {
    /// The request goes out at `now`.
    #[must_use]
    pub fn new(now: u64, timers: Timers) -> InviteClient {
        let mut clock = Clockwork::new(timers);
        clock.repeat_after(now, timers.t1);
        clock.end_at(now + timers.give_up());
        InviteClient { state: State::Calling, clock }
    }

    pub fn handle(&mut self, now: u64, input: Input) {
        match (self.state, input) {
            (State::Calling | State::Proceeding, Input::Response(100..=199)) => {
                self.state = State::Proceeding;
                self.clock.stop_repeating();
                self.clock.never_end();
                self.clock.push(Action::Deliver);
            }
            (State::Calling | State::Proceeding, Input::Response(200..=299)) => {
                self.clock.push(Action::Deliver);
                self.finish(now, State::Accepted, self.clock.timers.give_up());
            }
            (State::Accepted, Input::Response(200..=299)) => self.clock.push(Action::Deliver),
            (State::Calling | State::Proceeding, Input::Response(300..)) => {
                self.clock.push(Action::Deliver);
                self.clock.push(Action::Ack);
                self.finish(now, State::Completed, self.clock.timers.absorb(self.clock.timers.d));
            }
            (State::Completed, Input::Response(300..)) => self.clock.push(Action::Ack),
            (State::Calling, Input::Silence) => self.clock.stop_repeating(),
            (State::Calling | State::Completed, Input::TransportError) => self.end(Action::Failed),
            (State::Ended, _) => {}
            // Only timer A repeats here, and nothing bounds its interval but timer B.
            (_, Input::Tick) if self.clock.tick(now, u64::MAX) => {
                let waiting = self.state == State::Calling;
                self.end(if waiting { Action::TimedOut } else { Action::Done });
            }
            _ => {}
        }
    }

    fn finish(&mut self, now: u64, state: State, wait: u64) {
        self.state = state;
        self.clock.stop_repeating();
        self.clock.end_at(now + wait);
        if wait == 0 {
            self.end(Action::Done);
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
        assert_eq!(t.poll(), Some(Action::Deliver));
        assert_eq!(t.deadline(), None);
        t.handle(2, Input::Response(486));
        t.handle(3, Input::Response(486));
        assert_eq!([t.poll(), t.poll(), t.poll()], [Some(Action::Deliver), Some(Action::Ack), Some(Action::Ack)]);
        t.handle(32_000_002, Input::Tick);
        assert_eq!(t.poll(), Some(Action::Done));
    }

    #[test]
    fn a_2xx_keeps_the_transaction_for_its_repetitions() {
        let mut t = InviteClient::new(0, Timers::STANDARD);
        t.handle(5, Input::Response(200));
        t.handle(6, Input::Response(200));
        assert_eq!([t.poll(), t.poll(), t.poll()], [Some(Action::Deliver), Some(Action::Deliver), None]);
        assert_eq!((t.state(), t.deadline()), (State::Accepted, Some(32_000_005)));
        t.handle(7, Input::Response(486));
        assert_eq!(t.poll(), None, "a failure after a 2xx is nobody's");
    }

    #[test]
    fn on_a_reliable_transport_nothing_is_repeated_and_a_failure_ends_it_at_once() {
        let mut t = InviteClient::new(0, Timers::STANDARD.reliable());
        assert_eq!(t.deadline(), Some(32_000_000));
        t.handle(5, Input::Response(486));
        assert_eq!([t.poll(), t.poll(), t.poll()], [Some(Action::Deliver), Some(Action::Ack), Some(Action::Done)]);
        assert_eq!((t.state(), t.deadline()), (State::Ended, None));
        let mut t = InviteClient::new(0, Timers::STANDARD.reliable());
        t.handle(5, Input::Response(200));
        assert_eq!(t.deadline(), Some(32_000_005), "timer M waits on every transport");
        let mut t = InviteClient::new(0, Timers::STANDARD);
        t.handle(5, Input::TransportError);
        assert_eq!((t.poll(), t.state(), t.deadline()), (Some(Action::Failed), State::Ended, None));
    }
}
