//! Where a call goes: pools of nodes, what is known of each node, and which one is asked next.
//!
//! [`Health`] is what probes say, [`Standing`] everything else about a node. A [`Pool`] makes [`View`]s of both and its
//! [`Chooser`] picks one. Hard evidence (refused, down, draining, disabled) takes a node out; soft evidence (full, failing
//! calls, a computed weight, a slow start) only puts it behind others, so it never removes the last one.

mod announced;
mod breaker;
mod carrier;
#[cfg(test)]
mod choice_tests;
mod chooser;
mod failover;
mod hashed;
mod health;
mod key;
mod latency;
mod least_used;
mod load;
mod pool;
mod probe;
mod ramp;
mod round_robin;
mod sharing;
mod standing;
mod two_choices;
mod view;
mod weighted;

pub use announced::{Announced, AnnouncedView, Announcement, OPTIONS_S, Reply, id_from};
pub use breaker::{Outcome, Share};
pub use carrier::Carrier;
pub use chooser::{Algorithm, Chooser};
pub use failover::{Failover, is_nodes_fault};
pub use hashed::key_of;
pub use health::{Health, Order, State};
pub use key::{HashBy, of_uri as key_of_uri};
pub use load::Reported;
pub use pool::{Nodes, Pool};
pub use probe::Probe;
pub use sharing::{Member, Sharing};
pub use standing::Standing;
pub use view::{Candidate, Choice, Evidence, Open, View};
