//! The call log as a service, over a log on disk, on a real SQLite file and on a real Postgres where there is one.

#![expect(clippy::unwrap_used, reason = "a test stops where something is missing")]

mod platform;
mod schema;
mod service;
mod traffic;
