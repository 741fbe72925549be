//! The event log: publish, consume, account for what was lost. Kafka and an embedded log behind one port.

mod adapters;
mod error;
mod log;
mod record;

pub use adapters::embedded::{Damage, EmbeddedConfig, EmbeddedLog, EmbeddedStats, MAX_RECORD_BYTES};
pub use error::LogError;
pub use log::{EventLog, Source};
pub use record::{Bounds, Commit, Headers, Lag, Outgoing, Record, Start, Subscription, header};
