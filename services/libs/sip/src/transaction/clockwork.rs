//! What the four machines have in common: one timer that repeats, one that ends, and the actions that wait to be polled.

use super::{Action, Timers};

/// The most that one input can cause: deliver, acknowledge, end.
const MOST: usize = 3;

#[derive(Clone, Debug)]
pub(super) struct Clockwork {
    pub timers: Timers,
    resend_at: u64,
    interval: u64,
    ends_at: u64,
    pending: [Option<Action>; MOST],
}

impl Clockwork {
    pub(super) fn new(timers: Timers) -> Clockwork {
        Clockwork { timers, resend_at: u64::MAX, interval: 0, ends_at: u64::MAX, pending: [None; MOST] }
    }

    /// Repeats after `interval`, if the transport does not repeat by itself.
    pub(super) fn repeat_after(&mut self, now: u64, interval: u64) {
        if !self.timers.is_reliable {
            self.interval = interval;
            self.resend_at = now + interval;
        }
    }

    pub(super) fn stop_repeating(&mut self) {
        self.resend_at = u64::MAX;
    }

    pub(super) fn end_at(&mut self, at: u64) {
        self.ends_at = at;
    }

    pub(super) fn never_end(&mut self) {
        self.ends_at = u64::MAX;
    }

    /// Nothing more will happen but what is pending and this.
    pub(super) fn end(&mut self, last: Action) {
        self.stop_repeating();
        self.never_end();
        self.push(last);
    }

    /// Repeats when it is time to, at most `longest` apart. True when the end has come instead.
    pub(super) fn tick(&mut self, now: u64, longest: u64) -> bool {
        if now >= self.ends_at {
            return true;
        }
        if now >= self.resend_at {
            self.push(Action::Resend);
            self.interval = (self.interval * 2).min(longest);
            self.resend_at = now + self.interval;
        }
        false
    }

    /// Actions that the caller never polled give way to newer ones, oldest first.
    pub(super) fn push(&mut self, action: Action) {
        match self.pending.iter().position(Option::is_none) {
            Some(free) => self.pending[free] = Some(action),
            None => {
                self.pending.rotate_left(1);
                self.pending[MOST - 1] = Some(action);
            }
        }
    }

    pub(super) fn pop(&mut self) -> Option<Action> {
        let first = self.pending[0].take();
        self.pending.rotate_left(1);
        first
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        let at = self.resend_at.min(self.ends_at);
        (at != u64::MAX).then_some(at)
    }
}

/// The three methods that every machine has in the same words.
macro_rules! machine {
    ($name:ident) => {
        impl $name {
            #[must_use]
            pub fn state(&self) -> State {
                self.state
            }

            pub fn poll(&mut self) -> Option<Action> {
                self.clock.pop()
            }

            #[must_use]
            pub fn deadline(&self) -> Option<u64> {
                self.clock.deadline()
            }
        }
    };
}
pub(super) use machine;
