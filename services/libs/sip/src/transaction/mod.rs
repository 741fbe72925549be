//! The four transaction machines of RFC 3261 §17, INVITE with the accepted states of RFC 6026.
//!
//! One contract: `handle(now, input)`, then `poll()` until it gives nothing, and `handle(now, Tick)` at `deadline()`. Times
//! are microseconds of a monotonic clock. A machine holds no message: *send* means the response that the caller just
//! offered, *resend* the caller's last bytes.
//!
//! | timer | machine | what it does | unreliable | reliable |
//! |---|---|---|---|---|
//! | A | INVITE client | repeats the request | T1, doubling | never |
//! | B | INVITE client | gives up | 64 T1 | 64 T1 |
//! | C | proxy core, not here | gives up a ringing branch | | |
//! | D | INVITE client | absorbs repeated failures | ≥ 32 s | 0 |
//! | E | non-INVITE client | repeats the request | T1, doubling to T2 | never |
//! | F | non-INVITE client | gives up | 64 T1 | 64 T1 |
//! | G | INVITE server | repeats a failure | T1, doubling to T2 | never |
//! | H | INVITE server | stops waiting for the ACK | 64 T1 | 64 T1 |
//! | I | INVITE server | absorbs repeated ACKs | T4 | 0 |
//! | J | non-INVITE server | absorbs repeated requests | 64 T1 | 0 |
//! | K | non-INVITE client | absorbs repeated responses | T4 | 0 |
//! | L | INVITE server | absorbs INVITEs after a 2xx (RFC 6026) | 64 T1 | 64 T1 |
//! | M | INVITE client | takes further 2xx (RFC 6026) | 64 T1 | 64 T1 |

mod clockwork;
mod invite_client;
mod invite_server;
mod non_invite_client;
mod non_invite_server;

pub use invite_client::{InviteClient, State as InviteClientState};
pub use invite_server::{InviteServer, State as InviteServerState};
pub use non_invite_client::{NonInviteClient, State as NonInviteClientState};
pub use non_invite_server::{NonInviteServer, State as NonInviteServerState};

/// The base times of RFC 3261 §17.1.1.1, and what the transport does by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    pub t1: u64,
    pub t2: u64,
    pub t4: u64,
    /// Timer D on unreliable transport.
    pub d: u64,
    /// The transport repeats what is lost: nothing is sent twice and nothing is waited for that only repetition brings.
    pub is_reliable: bool,
}

impl Timers {
    /// T1 = 500 ms, over UDP.
    pub const STANDARD: Timers =
        Timers { t1: 500_000, t2: 4_000_000, t4: 5_000_000, d: 32_000_000, is_reliable: false };

    /// The same times over TCP, TLS or WebSocket.
    #[must_use]
    pub fn reliable(self) -> Timers {
        Timers { is_reliable: true, ..self }
    }

    /// 64 × T1: how long one side tries before it gives up.
    #[must_use]
    pub fn give_up(&self) -> u64 {
        64 * self.t1
    }

    /// A wait that is there for repetitions only.
    fn absorb(&self, time: u64) -> u64 {
        if self.is_reliable { 0 } else { time }
    }
}

/// What happens to a client transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientInput {
    Response(u16),
    /// Nobody waits for a first response any more, but a late one must still find us: no more retransmissions.
    Silence,
    /// The transport could not send.
    TransportError,
    Tick,
}

/// What happens to a server transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerInput {
    /// The same request again.
    Retransmission,
    /// An ACK for our non-2xx; means nothing to a non-INVITE.
    Ack,
    /// The proxy has this response for upstream.
    Respond(u16),
    /// The transport could not send.
    TransportError,
    Tick,
}

/// What a machine wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The response that was just given goes up to the proxy core.
    Deliver,
    /// The response that was just offered goes on the wire. When this does not come, it must not go.
    Send,
    /// The last bytes once more: the request of a client, the response of a server.
    Resend,
    /// An ACK for the final response that was just given (non-2xx only).
    Ack,
    /// Nobody answered in time; the machine has ended.
    TimedOut,
    /// The final response was never acknowledged; the machine has ended.
    NoAck,
    /// The transport failed; the client machine has ended.
    Failed,
    /// The transport could not send the response. The server machine stays as it is (RFC 6026 on §17.2.4): a repeated request
    /// must not be taken for a new one.
    Unsent,
    /// The machine has ended and can be forgotten.
    Done,
}
