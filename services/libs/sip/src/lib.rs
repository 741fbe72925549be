//! SIP as an edge proxy needs it: spans over the received bytes, edits that keep every untouched byte, transactions.
//!
//! Pure: no socket, no clock, nothing of ours below it. Times are microseconds of a monotonic clock, given by the caller.
//! The parser copies nothing and never re-serialises a header: what the proxy does not mean to change leaves as it came, and
//! what another parser could read differently is refused with a reason ([`Reject`]).

mod address;
mod check;
mod class;
mod controls;
pub mod digest;
pub mod edit;
pub mod framing;
mod header;
mod host;
mod index;
pub mod limits;
mod message;
mod method;
mod reject;
mod same;
mod scan;
pub mod sdp;
mod span;
pub mod transaction;
mod uri;
mod verdict;
mod via;

pub use address::{NameAddr, Params};
pub use digest::{Challenge, Credentials};
pub use header::Name;
pub use host::host_ip;
pub use index::{Header, Index, Start};
pub use limits::{MAX_HEADERS, MAX_MESSAGE};
pub use message::Message;
pub use method::Method;
pub use reject::Reject;
pub use same::unescaped;
pub use scan::{comma_values, trim};
pub use span::Span;
pub use uri::{Uri, UriError};
pub use verdict::{Judged, Verdict, inspect, judge, judge_broken, unsupported};
pub use via::{Rport, Via};
