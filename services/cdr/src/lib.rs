//! The call log: a record per leg and per call, whatever fails.
//!
//! Reads `sip.transactions`, `channel.events`, `ivr.decisions`, `call.reconciled` and `node.health`; writes SQLite or Postgres and publishes
//! finished records on `cdr.calls` and `cdr.legs`. The record of a call is a pure function of the set of its facts
//! ([`core::call`]); what only time can tell is decided once by the reconciler ([`core::reconcile`]) and told as an event.

pub mod adapters;
mod app;
mod books;
pub mod config;
pub mod core;
pub mod error;
mod metrics;
mod progress;
pub mod replay;

pub use adapters::place::{FILE, Place, Schema};
pub use app::{GROUP, Running, call_topics, migrate, run};
pub use config::Config;
