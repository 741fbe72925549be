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

/// What SQLite says of a file that is none of its own any more. It stays so, and whoever has it open sees no other.
fn is_damaged(error: &sqlx::Error) -> bool {
    const CORRUPT: i32 = 11;
    const NOT_A_DATABASE: i32 = 26;
    let said = error.as_database_error().and_then(|e| e.try_downcast_ref::<SqliteError>()).and_then(|e| e.code());
    // The low byte is the kind, the rest tells which of its cases.
    let kind = said.and_then(|code| code.parse::<i32>().ok()).map(|code| code & 0xff);
    matches!(kind, Some(CORRUPT | NOT_A_DATABASE))
}

/// A sink for raw rows. Every failure is worth another attempt: the batch has a token, so a repetition does no harm.
#[derive(Debug, thiserror::Error)]
#[error("batch {token} was not taken: {source}")]
pub struct SinkError {
    pub token: String,
    #[source]
    pub source: clickhouse::error::Error,
}
