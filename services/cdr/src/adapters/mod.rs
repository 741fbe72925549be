//! Translation and I/O: events to facts, facts and rows to SQLite, rows to `cdr.*`.

pub mod decode;
pub mod export;
pub mod handler;
pub mod outbox;
pub mod publish;
pub mod sql;
pub mod store;
