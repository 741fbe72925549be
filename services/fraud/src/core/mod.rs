//! Decisions: what an attempt means, and what became of the blocks that followed.

mod acks;
mod velocity;

pub use acks::{Acks, Confirmed};
pub use velocity::{Attempt, Block, Rule, Trigger, Velocity};
