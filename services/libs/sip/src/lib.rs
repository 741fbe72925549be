//! SIP as an edge proxy needs it: spans over the received bytes, edits that keep every untouched byte, transactions.
//!
//! Pure: no socket, no clock, nothing of ours below it. Times are microseconds of a monotonic clock, given by the caller.
//! The parser copies nothing and never re-serialises a header: what the proxy does not mean to change leaves as it came, and
//! what another parser could read differently is refused with a reason ([`Reject`]).

mod address;
mod digest;
pub mod edit;
mod header;
mod message;
mod method;
mod reject;
mod scan;
pub mod sdp;
mod span;
pub mod transaction;
mod uri;
mod via;

pub use address::{NameAddr, Params};
pub use digest::{Challenge, Credentials};
pub use header::Name;
pub use message::{Header, Index, MAX_HEADERS, MAX_MESSAGE, Message, Start};
pub use method::Method;
pub use reject::Reject;
pub use scan::{comma_values, trim};
pub use span::Span;
pub use uri::{Uri, UriError, host_ip};
pub use via::{Rport, Via};
