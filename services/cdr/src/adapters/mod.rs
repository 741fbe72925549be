//! Translation and I/O: events to facts, facts and rows to the store, rows to `cdr.*`.

pub mod decode;
pub mod export;
pub mod handler;
pub mod link;
pub mod migrate;
pub mod outbox;
pub mod place;
pub mod publish;
pub mod sql;
pub mod store;
