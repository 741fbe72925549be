//! Analytics as a service over a log on disk, and its ClickHouse writer against a server that only listens.

#![expect(clippy::unwrap_used, reason = "a test stops where something is missing")]

mod clickhouse;
mod service;
