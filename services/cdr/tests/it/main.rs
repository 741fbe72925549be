//! The call log as a service, over a log on disk and a real SQLite file.

#![expect(clippy::unwrap_used, reason = "a test stops where something is missing")]

mod platform;
mod schema;
mod service;
mod traffic;
