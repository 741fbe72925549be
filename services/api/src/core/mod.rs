//! What the api knows and decides. No I/O, no clock: everything takes `now` and an event or a request.

pub mod acks;
pub mod alerts;
pub mod audit;
pub mod blocks;
pub mod board;
pub mod change;
pub mod ladder;
pub mod mask;
pub mod nodes;
pub mod registry;
