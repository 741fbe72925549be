//! The api: search, live view, control and audit, as JSON for programs and as one page for people.
//!
//! It reads stores only through the views that their owners define, and changes things only by publishing to control topics.
//! What it knows of nodes, blocks and alerts is read from the topics into bounded memory.

mod adapters;
mod app;
mod config;
pub mod core;
mod error;
mod metrics;

pub use adapters::http::{ROUTES, Route};
pub use app::{Running, run};
pub use config::Config;
