//! The call log as a service, over a log on disk and a real SQLite file.

mod platform;
mod schema;
mod service;
mod traffic;
