//! Fraud: watches attempts, says what looks wrong, and (only where settings say `enforce`) publishes block rules that expire.
//!
//! Job: sip.transactions → fraud.alerts, control.blocks. See `README.md`.

mod adapters;
mod app;
mod config;
pub mod core;
mod error;
mod metrics;

pub use app::{Latest, Running, run};
pub use config::{Config, Mode};
pub use error::Error;
