//! Decisions: what a node can take, from signals and a moment. No clock, no I/O.
//!
//! - [`formula`]: the numbers (use, pressure, freshness, ramp, damping), each a pure function that no input can turn into NaN;
//! - [`calls`]: calls accepted and ended since a heartbeat, whatever the order and number of copies of their events;
//! - [`node`]: what is known of one node, and its weight;
//! - [`fleet`]: all nodes, what to write, when to forget.

pub mod calls;
pub mod fleet;
pub mod formula;
pub mod node;
mod reason;
pub mod signal;

#[cfg(test)]
mod properties;

pub use fleet::{Action, Decision, Fleet};
pub use formula::Tuning;
pub use signal::{Beat, Report, Resources, Step, What};
