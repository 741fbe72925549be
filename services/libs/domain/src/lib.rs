//! Words that every part of Trunkline shares: ids, numbers, hang-up causes, time.
//!
//! Pure: nothing here reads a clock, a socket or the environment. What a service alone needs stays in that service; a type
//! moves here when a second one needs it.

mod calendar;
pub mod cause;
mod clock;
mod disposition;
mod hex;
pub mod identity;
mod ids;
mod number;
pub mod partition;

pub use calendar::Utc;
pub use clock::{Clock, Now};
pub use disposition::Disposition;
pub use hex::hex;
pub use ids::{CallId, IdError, LegId, hash32};
pub use number::{mask_number, normalize_number};
