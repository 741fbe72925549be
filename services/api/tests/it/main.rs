//! The api as its users see it: over HTTP, with a real event log and a call log made by the migrations of its owner.

#![expect(clippy::unwrap_used, reason = "helpers outside #[test] functions; a test fails where it stands")]

mod calls;
mod control;
mod documents;
mod guard;
mod harness;
mod http;
mod live;
mod topics;
