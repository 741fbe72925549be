//! The promises of the kit, one test each.

#![expect(clippy::unwrap_used, reason = "helpers outside #[test] functions; a test fails where it stands")]

mod admin;
mod http;
mod instance;
mod lifecycle;
mod metrics;
mod net;
mod settings;
mod signals;
mod telemetry;
mod wait;
