//! What every Trunkline process needs and no service should write again: settings, logs, metrics, lifecycle, the admin
//! server, sockets whose errors explain themselves, the instance id and the keys.
//!
//! Adapters and `app.rs` of a service use this crate; a `core` module never does.

pub mod admin;
pub mod clock;
mod instance;
pub mod keys;
pub mod lifecycle;
mod metrics;
pub mod net;
mod postgres;
mod secret;
mod service;
pub mod settings;
pub mod sqlite;
pub mod telemetry;

pub use instance::{Instance, InstanceError};
pub use lifecycle::{Health, Lifecycle, Outcome, Task, TaskOptions};
pub use metrics::Metrics;
pub use postgres::Postgres;
pub use secret::Secret;
pub use service::{Host, Service, default_run_dir};
pub use telemetry::LogConfig;
