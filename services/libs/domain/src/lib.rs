//! Words that every part of Trunkline shares: ids, numbers, hang-up causes, time.
//!
//! Pure: nothing here reads a clock, a socket or the environment. What a service alone needs stays in that service; a type
//! moves here when a second one needs it.

pub mod cause;
mod clock;
mod disposition;
pub mod identity;
mod ids;
mod number;
pub mod partition;

pub use clock::{Clock, Now};
pub use disposition::Disposition;
pub use ids::{CallId, IdError, LegId, hash32};
pub use number::{mask_number, normalize_number};
