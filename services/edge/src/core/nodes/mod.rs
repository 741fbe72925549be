//! What becomes of nodes and carriers: they come by themselves, answer probes or not, get calls, and are lost.

pub(super) mod announce;
pub(super) mod dispatching;
pub(super) mod lost;
pub(super) mod probing;
pub(super) mod watch;
