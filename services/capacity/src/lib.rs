//! Capacity: turns what is known about each node into how much traffic it should get.
//!
//! Job: node.health, sip.transactions → control.weights. See `README.md`.

mod adapters;
mod app;
mod config;
pub mod core;
mod metrics;

pub use app::{NodeView, Running, run};
pub use config::Config;
