//! What the machine says of itself: the events, why a call went where it went, and the picture for the outside.

pub mod decisions;
pub mod explain;
pub(super) mod facts;
pub(super) mod links;
pub(super) mod sent;
pub(super) mod snapshot;
pub(super) mod story;
