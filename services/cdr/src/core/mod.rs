//! Decisions of the call log: what a call's facts mean, and what only time can tell. No I/O, no clock, no async.

pub mod call;
pub mod channel;
pub mod edge_leg;
pub mod ending;
pub mod fact;
pub mod join;
pub mod leg;
mod leg_outcome;
pub mod reconcile;
pub mod row;
pub mod state;
pub mod topology;
mod watch;

#[cfg(test)]
mod examples;
#[cfg(test)]
mod laws;
