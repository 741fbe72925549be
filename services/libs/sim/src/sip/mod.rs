//! The simulation's own SIP: small, readable, and on purpose not ours.
//!
//! The platform's `sip` crate is checked against this one, so a misreading in it cannot hide in its own tests. It does what an
//! honest far end does over UDP (RFC 3261 §17 transactions, §12 dialogs, RFC 2617/7616 MD5 digest), and nothing more.
//!
//! * [`Message`] – parse and print.
//! * [`Agent`] – all transactions of one socket as a pure machine: datagrams and requests in, datagrams and events out.
//! * [`Endpoint`] – an `Agent` on a UDP socket, driven by the one task that owns the calls.
//! * [`Dialog`] – route set, remote target, sequence numbers.

pub mod agent;
mod client;
pub mod dialog;
pub mod digest;
pub mod endpoint;
pub mod message;
mod server;
pub mod uri;

pub use agent::{Agent, AgentConfig, AgentStats, ClientTx, Incoming, ServerTx, Timing};
pub use dialog::Dialog;
pub use digest::{Challenge, Credentials};
pub use endpoint::Endpoint;
pub use message::{Message, ParseError, StartLine, Via};
