//! What can go wrong in analytics.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the analytics store at {path} cannot be opened: {source}")]
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
        matches!(self, StoreError::Sql(_))
    }
}

/// A sink for raw rows. Every failure is worth another attempt: the batch has a token, so a repetition does no harm.
#[derive(Debug, thiserror::Error)]
#[error("batch {token} was not taken: {source}")]
pub struct SinkError {
    pub token: String,
    #[source]
    pub source: clickhouse::error::Error,
}
