//! The four transaction machines of RFC 3261 §17 for unreliable transport, INVITE with the accepted states of RFC 6026.
//!
//! One contract: `handle(now, input)`, then `poll()` until it gives nothing, and `handle(now, Tick)` at `deadline()`. Times
//! are microseconds of a monotonic clock. A machine holds no message: *resend* means the caller's last bytes.

mod invite_client;
mod invite_server;
mod non_invite_client;
mod non_invite_server;

pub use invite_client::{Input as InviteClientInput, InviteClient, State as InviteClientState};
pub use invite_server::{Input as InviteServerInput, InviteServer, State as InviteServerState};
pub use non_invite_client::{Input as NonInviteClientInput, NonInviteClient, State as NonInviteClientState};
pub use non_invite_server::{Input as NonInviteServerInput, NonInviteServer, State as NonInviteServerState};

/// The base times of RFC 3261 §17.1.1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    pub t1: u64,
    pub t2: u64,
    pub t4: u64,
    /// How long a client waits in Completed for repeated final responses.
    pub d: u64,
}

impl Timers {
    /// T1 = 500 ms.
    pub const STANDARD: Timers = Timers { t1: 500_000, t2: 4_000_000, t4: 5_000_000, d: 32_000_000 };

    /// 64 × T1: how long one side tries before it gives up.
    #[must_use]
    pub fn give_up(&self) -> u64 {
        64 * self.t1
    }
}

/// What a machine wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The last bytes once more: the request of a client, the response of a server.
    Resend,
    /// An ACK for the final response that was just given (non-2xx only).
    Ack,
    /// Nobody answered in time; the machine has ended.
    TimedOut,
    /// The final response was never acknowledged; the machine has ended.
    NoAck,
    /// The machine has ended and can be forgotten.
    Done,
}

/// At most two actions follow from one input.
#[derive(Clone, Copy, Debug, Default)]
struct Pending([Option<Action>; 2]);

impl Pending {
    fn push(&mut self, action: Action) {
        let slot = if self.0[0].is_none() { 0 } else { 1 };
        self.0[slot] = Some(action);
    }

    fn pop(&mut self) -> Option<Action> {
        let first = self.0[0].take();
        self.0[0] = self.0[1].take();
        first
    }
}
