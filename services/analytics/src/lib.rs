//! Analytics: attempts, answers, ASR, ACD and post-dial delay, per minute, trunk and node.
//!
//! Reads `sip.transactions`. Every call has one record of its own here, joined from its events as a set ([`core::record`]); a
//! minute in which a record changed is counted again from the records ([`core::rollup`]). Nothing is ever added up from events, so
//! copies and disorder cannot move a total.

pub mod adapters;
mod app;
pub mod config;
pub mod core;
pub mod error;
mod metrics;

pub use adapters::clickhouse::migrate;
pub use app::{FILE, GROUP, Running, run};
pub use config::Config;
