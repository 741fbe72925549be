//! What can go wrong in analytics.

use std::path::PathBuf;

use sqlx::error::DatabaseError as _;
use sqlx::sqlite::SqliteError;

const MEND: &str =
    " (the file is damaged: move it away with its -wal and -shm; the figures are built again from the topics)";

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the analytics store at {path} cannot be opened: {source}{}", if is_damaged(source) { MEND } else { "" })]
    Open { path: PathBuf, source: sqlx::Error },
    #[error("the tables of the analytics store cannot be brought up to date: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    #[error("the analytics store refused a statement: {0}")]
    Sql(#[from] sqlx::Error),
    #[error("the record of call {call} is not readable: {reason}")]
    Record { call: String, reason: String },
}

impl StoreError {
    /// Whether trying again can help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, StoreError::Sql(error) if !is_damaged(error))
    }
}

fn is_damaged(error: &sqlx::Error) -> bool {
    let said = error.as_database_error().and_then(|e| e.try_downcast_ref::<SqliteError>()).and_then(|e| e.code());
    said.is_some_and(|code| kit::sqlite::is_damaged(&code))
}

/// A sink for raw rows. Every failure is worth another attempt: the batch has a token, so a repetition does no harm.
#[derive(Debug, thiserror::Error)]
#[error("batch {token} was not taken: {source}")]
pub struct SinkError {
    pub token: String,
    #[source]
    pub source: clickhouse::error::Error,
}
