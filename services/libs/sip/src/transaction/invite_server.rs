//! INVITE server transaction: RFC 3261 §17.2.1 and RFC 6026 §7.1. The 100 is the caller's to send at once.

use super::clockwork::{Clockwork, machine};
use super::{Action, ServerInput as Input, Timers};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Proceeding,
    Completed,
    Confirmed,
    /// A 2xx was sent: repeated INVITEs are absorbed, further 2xx pass.
    Accepted,
    Ended,
}

#[derive(Clone, Debug)]
pub struct InviteServer {
    state: State,
    clock: Clockwork,
}

machine!(InviteServer);

impl InviteServer {
    #[must_use]
    pub fn new(timers: Timers) -> InviteServer {
        InviteServer { state: State::Proceeding, clock: Clockwork::new(timers) }
    }

    pub fn handle(&mut self, now: u64, input: Input) {
        let timers = self.clock.timers;
        match (self.state, input) {
            (State::Proceeding | State::Completed, Input::Retransmission) => self.clock.push(Action::Resend),
            (State::Proceeding, Input::Respond(100..=199)) | (State::Accepted, Input::Respond(200..=299)) => {
                self.clock.push(Action::Send);
            }
            (State::Proceeding, Input::Respond(200..=299)) => {
                self.state = State::Accepted;
                self.clock.push(Action::Send);
                self.clock.end_at(now + timers.give_up());
            }
            (State::Proceeding, Input::Respond(300..)) => {
                self.state = State::Completed;
                self.clock.push(Action::Send);
                self.clock.repeat_after(now, timers.t1);
                self.clock.end_at(now + timers.give_up());
            }
            (State::Completed, Input::Ack) => {
                self.state = State::Confirmed;
                self.clock.stop_repeating();
                self.clock.end_at(now + timers.absorb(timers.t4));
                if timers.is_reliable {
                    self.end(Action::Done);
                }
            }
            (State::Proceeding | State::Completed | State::Accepted, Input::TransportError) => {
                self.clock.push(Action::Unsent);
            }
            (State::Ended, _) => {}
            (_, Input::Tick) if self.clock.tick(now, timers.t2) => {
                let unheard = self.state == State::Completed;
                self.end(if unheard { Action::NoAck } else { Action::Done });
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
    fn a_failure_is_repeated_with_doubling_until_the_ack() {
        let mut t = InviteServer::new(Timers::STANDARD);
        t.handle(0, Input::Respond(180));
        assert_eq!((t.poll(), t.deadline()), (Some(Action::Send), None));
        t.handle(0, Input::Respond(486));
        assert_eq!(t.poll(), Some(Action::Send));
        t.handle(0, Input::Respond(487));
        assert_eq!(t.poll(), None, "one final response");
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
        assert_eq!(t.poll(), Some(Action::Send));
        t.handle(32_000_000, Input::Tick);
        assert_eq!(t.poll(), Some(Action::NoAck));
        let mut t = InviteServer::new(Timers::STANDARD);
        t.handle(0, Input::Respond(200));
        t.handle(1, Input::Retransmission);
        t.handle(2, Input::Respond(200));
        t.handle(3, Input::Respond(500));
        assert_eq!([t.poll(), t.poll(), t.poll()], [Some(Action::Send), Some(Action::Send), None]);
        assert_eq!((t.state(), t.deadline()), (State::Accepted, Some(32_000_000)));
    }

    #[test]
    fn a_response_that_could_not_be_sent_is_told_and_the_machine_stays() {
        let mut t = InviteServer::new(Timers::STANDARD);
        t.handle(0, Input::TransportError);
        assert_eq!((t.poll(), t.state()), (Some(Action::Unsent), State::Proceeding));
        t.handle(0, Input::Respond(486));
        t.handle(1, Input::TransportError);
        assert_eq!([t.poll(), t.poll(), t.poll()], [Some(Action::Send), Some(Action::Unsent), None]);
        assert_eq!((t.state(), t.deadline()), (State::Completed, Some(500_000)), "it is tried again");
    }

    #[test]
    fn on_a_reliable_transport_the_failure_goes_once_and_the_ack_ends_it() {
        let mut t = InviteServer::new(Timers::STANDARD.reliable());
        t.handle(0, Input::Respond(486));
        assert_eq!((t.poll(), t.deadline()), (Some(Action::Send), Some(32_000_000)));
        t.handle(1, Input::Ack);
        assert_eq!((t.poll(), t.state()), (Some(Action::Done), State::Ended));
    }
}
