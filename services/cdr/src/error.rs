//! What can go wrong in the call log, by whose fault it is.

use std::path::PathBuf;

use sqlx::error::DatabaseError as _;
use sqlx::postgres::PgDatabaseError;
use sqlx::sqlite::SqliteError;

/// A stored or received fact that cannot be read back: the file was changed by something else, or a build is older.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("a stored fact is not readable: {0}")]
    Fact(#[from] serde_json::Error),
}

const MEND: &str =
    " (the file is damaged: move it away with its -wal and -shm; the log is built again from the topics)";

/// The call-log database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the call log at {path} cannot be opened: {source}{}", if is_damaged(source) { MEND } else { "" })]
    Open { path: PathBuf, source: sqlx::Error },
    #[error("the call log in schema {schema} cannot be reached: {source}")]
    Connect { schema: String, source: sqlx::Error },
    #[error("another process writes the call log in schema {schema}")]
    Taken { schema: String },
    #[error("the tables in schema {schema} are missing or older than this build: run `trunkline migrate`")]
    Outdated { schema: String },
    #[error("the settings of the call log's database: {0}")]
    Settings(String),
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
    /// Whether trying again can help: the disk is full, the server is away, and may not be so later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            StoreError::Sql(error) => !is_ours(error) && !is_damaged(error),
            StoreError::Open { .. } | StoreError::Connect { .. } | StoreError::Taken { .. } | StoreError::Io(_) => true,
            _ => false,
        }
    }
}

/// A statement or a value that Postgres will never take: bad data, a broken constraint, a missing table, a limit.
fn is_ours(error: &sqlx::Error) -> bool {
    const CLASSES: [&str; 4] = ["22", "23", "42", "54"];
    let state =
        error.as_database_error().and_then(|e| e.try_downcast_ref::<PgDatabaseError>()).map(PgDatabaseError::code);
    state.is_some_and(|state| CLASSES.iter().any(|class| state.starts_with(class)))
}

fn is_damaged(error: &sqlx::Error) -> bool {
    let said = error.as_database_error().and_then(|e| e.try_downcast_ref::<SqliteError>()).and_then(|e| e.code());
    said.is_some_and(|code| kit::sqlite::is_damaged(&code))
}
