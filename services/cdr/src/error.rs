//! What can go wrong in the call log, by whose fault it is.

use std::path::PathBuf;

/// A stored or received fact that cannot be read back: the file was changed by something else, or a build is older.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("a stored fact is not readable: {0}")]
    Fact(#[from] serde_json::Error),
}

/// The call-log database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the call log at {path} cannot be opened: {source}")]
    Open { path: PathBuf, source: sqlx::Error },
    #[error("the call log's tables cannot be brought up to date: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    #[error("the call log refused a statement: {0}")]
    Sql(#[from] sqlx::Error),
    #[error("column {column} of {table} holds a value of another type")]
    Column { table: &'static str, column: &'static str },
    #[error(transparent)]
    State(#[from] StateError),
    #[error("{path} exists already: a replay writes into a new file")]
    Exists { path: PathBuf },
    #[error("a file could not be read or written: {0}")]
    Io(#[from] std::io::Error),
}

impl StoreError {
    /// Whether trying again can help: the disk is full or busy, and may not be so later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, StoreError::Sql(_) | StoreError::Open { .. } | StoreError::Io(_))
    }
}
