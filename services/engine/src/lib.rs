//! The engine: FreeSWITCH's events in our words, and callers led through menus.
//!
//! It holds one event-socket connection per node. Every channel event becomes a record of `channel.events` under the call that it
//! belongs to; every pulse and every loss of a link a record of `node.health`; every step of a caller in a menu a record of
//! `ivr.decisions`. It commands only channels that our dialplan marked. See README.md.

mod adapters;
mod app;
mod config;
mod core;
mod error;
mod metrics;
mod status;

pub use app::{Running, run};
pub use config::{Config, Control, LinkConfig, NodeConfig};
pub use core::{Menu, MenuError, Tally};
pub use error::StartError;
pub use status::{NodeHandle, NodeState};
