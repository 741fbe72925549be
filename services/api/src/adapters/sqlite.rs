//! A read-only look into another service's SQLite file, which may not be there yet.
//!
//! Nobody waits for a store: few connections, short waits, a deadline per query. A store that is missing or new is not an
//! error but a notice.

use std::path::PathBuf;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use serde_json::{Map, Value};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteRow};
use sqlx::{Column, Row, TypeInfo, ValueRef};

use crate::error::Error;

/// The page has one reader at a time for most of its life; two more for programs.
const CONNECTIONS: u32 = 3;
const DEADLINE: Duration = Duration::from_secs(3);

/// Lists that are kept as JSON text.
const JSON_COLUMNS: [&str; 9] =
    ["legs", "edges", "ivr_path", "decision_ids", "estimated", "flags", "codes", "reasons", "recordings"];

pub struct Store {
    /// For people: "the call log".
    name: &'static str,
    owner: &'static str,
    path: PathBuf,
    pool: Mutex<Option<SqlitePool>>,
    errors: Counter,
}

/// Rows, or why there are none yet.
pub enum Found<T> {
    Rows(T),
    Nothing { notice: String },
}

impl Store {
    pub fn new(name: &'static str, owner: &'static str, path: PathBuf, errors: Counter) -> Store {
        Store { name, owner, path, pool: Mutex::new(None), errors }
    }

    /// Runs a query with a deadline. A missing file or view gives [`Found::Nothing`].
    pub async fn read<T, F>(&self, query: impl FnOnce(SqlitePool) -> F) -> Result<Found<T>, Error>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        let Some(pool) = self.pool() else { return Ok(self.nothing("does not exist yet")) };
        match tokio::time::timeout(DEADLINE, query(pool)).await {
            Ok(Ok(rows)) => Ok(Found::Rows(rows)),
            Ok(Err(error)) if is_missing(&error) => Ok(self.nothing("has no tables yet")),
            Ok(Err(error)) => {
                self.errors.inc();
                tracing::warn!(store = self.name, %error, "a store did not answer");
                Err(Error::Busy(format!("{} did not answer", self.name)))
            }
            Err(_) => {
                self.errors.inc();
                tracing::warn!(store = self.name, duration_ms = 3_000, "a store took too long");
                Err(Error::Busy(format!("{} took too long", self.name)))
            }
        }
    }

    /// Opened at the first use after the file is there; sqlx opens connections by itself.
    fn pool(&self) -> Option<SqlitePool> {
        let mut pool = self.pool.lock();
        if pool.is_none() && self.path.exists() {
            let options =
                SqliteConnectOptions::new().filename(&self.path).read_only(true).busy_timeout(Duration::from_secs(1));
            *pool = Some(
                SqlitePoolOptions::new()
                    .max_connections(CONNECTIONS)
                    .acquire_timeout(DEADLINE)
                    .idle_timeout(Duration::from_secs(60))
                    .connect_lazy_with(options),
            );
        }
        pool.clone()
    }

    fn nothing<T>(&self, why: &str) -> Found<T> {
        Found::Nothing { notice: format!("{} {why}: is the {} service running?", self.name, self.owner) }
    }
}

fn is_missing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            error.message().starts_with("no such table") || error.code().is_some_and(|c| c == "14")
        }
        _ => false,
    }
}

/// One row as JSON, column by column, as the owner's view defines them.
pub fn to_json(row: &SqliteRow) -> Map<String, Value> {
    let mut object = Map::new();
    for (index, column) in row.columns().iter().enumerate() {
        let kind = row.try_get_raw(index).map(|raw| raw.type_info().name().to_owned()).unwrap_or_default();
        // Of a null the type is that of the column, and a plain type would read it as zero.
        let value = match kind.as_str() {
            "INTEGER" => row.try_get::<Option<i64>, _>(index).ok().flatten().map(Value::from),
            "REAL" => row.try_get::<Option<f64>, _>(index).ok().flatten().map(Value::from),
            "TEXT" => {
                row.try_get::<Option<String>, _>(index).ok().flatten().map(|text| text_value(column.name(), text))
            }
            _ => None,
        };
        object.insert(column.name().to_owned(), value.unwrap_or(Value::Null));
    }
    object
}

fn text_value(column: &str, text: String) -> Value {
    if JSON_COLUMNS.contains(&column)
        && let Ok(list) = serde_json::from_str(&text)
    {
        return list;
    }
    Value::String(text)
}
