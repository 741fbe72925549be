//! Simulated switches and carriers, with their own books.
//!
//! Everything here speaks SIP and ESL with its own small code and depends on no other crate of ours, so that a mistake in the
//! platform cannot hide in the thing it is checked against.

pub mod carrier;
pub mod clock;
pub mod ledger;
pub mod oracle;
pub mod rng;
pub mod sip;
pub mod switch;
mod task;
pub mod timers;
