//! What the engine decides, without a socket, a clock or a runtime.

mod act;
mod channel;
mod health;
mod link;
mod menu;
mod node;
mod snapshot;
mod subscription;
mod tally;

#[cfg(test)]
mod tests;

pub(crate) use health::Observer;
pub(crate) use link::{Closing, Rhythm};
pub use menu::{Menu, MenuError};
pub(crate) use node::{Action, Input, Node, Setup};
pub(crate) use subscription::subscription;
pub use tally::Tally;
