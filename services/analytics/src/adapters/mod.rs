//! Translation and I/O: the store of records and minutes, the consumer, and the raw rows for ClickHouse.

pub mod clickhouse;
pub mod handler;
pub mod sink;
pub mod store;
