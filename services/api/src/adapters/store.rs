//! A read-only look into another service's store: a SQLite file that may not be there yet, or a schema of a Postgres database.
//!
//! Nobody waits for a store: few connections, short waits, a deadline per query. A store that is missing or new is not an
//! error but a notice. Queries are in words that both databases understand; every row is JSON by its column's name.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use serde_json::{Map, Value};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteRow};
use sqlx::{AssertSqlSafe, Column, Row, TypeInfo, ValueRef};

use crate::error::Error;

/// The page has one reader at a time for most of its life; two more for programs.
const CONNECTIONS: u32 = 3;
const DEADLINE: Duration = Duration::from_secs(3);
const IDLE: Duration = Duration::from_secs(60);

/// Lists that are kept as JSON text.
const JSON_COLUMNS: [&str; 9] =
    ["legs", "edges", "ivr_path", "decision_ids", "estimated", "flags", "codes", "reasons", "recordings"];

pub type Object = Map<String, Value>;

/// Where a store is.
pub enum Place {
    File(PathBuf),
    Postgres(Box<PgConnectOptions>),
}

impl Place {
    pub fn postgres(settings: &kit::Postgres) -> anyhow::Result<Place> {
        // The parser's own words could repeat a part of the address, the password among it.
        let options = PgConnectOptions::from_str(settings.url.expose())
            .map_err(|_| anyhow::anyhow!("api.calls_postgres.url is not postgres://user@host:5432/database"))?;
        let options = match settings.password().map_err(anyhow::Error::msg)? {
            Some(password) => options.password(password.expose()),
            None => options,
        };
        let options = options.application_name("trunkline-api").options([
            ("search_path", settings.schema.as_str()),
            ("default_transaction_read_only", "on"),
            ("statement_timeout", "3s"),
        ]);
        Ok(Place::Postgres(Box::new(options)))
    }
}

/// A value of a query's `$1`, `$2` …
#[derive(Debug, Clone)]
pub enum Arg {
    Text(Option<String>),
    Int(i64),
}

impl From<&str> for Arg {
    fn from(text: &str) -> Arg {
        Arg::Text(Some(text.to_owned()))
    }
}

#[derive(Clone)]
enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

pub struct Store {
    /// For people: "the call log".
    name: &'static str,
    owner: &'static str,
    place: Place,
    pool: Mutex<Option<(Pool, FileId)>>,
    errors: Counter,
}

/// Device and inode of a file; nothing of a database.
type FileId = Option<(u64, u64)>;

/// Rows, or why there are none yet.
pub enum Found<T> {
    Rows(T),
    Nothing { notice: String },
}

impl<T> Found<T> {
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Found<U> {
        match self {
            Found::Rows(rows) => Found::Rows(change(rows)),
            Found::Nothing { notice } => Found::Nothing { notice },
        }
    }
}

impl Store {
    pub fn new(name: &'static str, owner: &'static str, place: Place, errors: Counter) -> Store {
        Store { name, owner, place, pool: Mutex::new(None), errors }
    }

    /// How this database says "where in `$text` is `$part`, from 1".
    #[must_use]
    pub fn position_in(&self) -> &'static str {
        match self.place {
            Place::File(_) => "instr",
            Place::Postgres(_) => "strpos",
        }
    }

    /// Runs a query with a deadline. A missing file or view gives [`Found::Nothing`]. What a client gave belongs into `args`.
    pub async fn rows(&self, sql: String, args: Vec<Arg>) -> Result<Found<Vec<Object>>, Error> {
        let Some(pool) = self.pool() else { return Ok(self.nothing("does not exist yet")) };
        match tokio::time::timeout(DEADLINE, pool.rows(sql, args)).await {
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

    /// Opened at the first use after a file is there, and again when another file stands in its place (a call log that was built
    /// again); sqlx opens connections by itself.
    fn pool(&self) -> Option<Pool> {
        let mut open = self.pool.lock();
        let file = match &self.place {
            Place::File(path) => {
                let Ok(found) = std::fs::metadata(path) else {
                    *open = None;
                    return None;
                };
                Some((found.dev(), found.ino()))
            }
            Place::Postgres(_) => None,
        };
        if let Some((pool, of)) = &*open
            && *of == file
        {
            return Some(pool.clone());
        }
        let pool = match &self.place {
            Place::File(path) => Pool::of_file(path),
            Place::Postgres(options) => Pool::of_postgres(options),
        };
        *open = Some((pool.clone(), file));
        Some(pool)
    }

    fn nothing<T>(&self, why: &str) -> Found<T> {
        Found::Nothing { notice: format!("{} {why}: is the {} service running?", self.name, self.owner) }
    }
}

impl Pool {
    fn of_file(path: &std::path::Path) -> Pool {
        let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(Duration::from_secs(1));
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(DEADLINE).idle_timeout(IDLE);
        Pool::Sqlite(pool.connect_lazy_with(options))
    }

    fn of_postgres(options: &PgConnectOptions) -> Pool {
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(DEADLINE).idle_timeout(IDLE);
        Pool::Postgres(pool.connect_lazy_with(options.clone()))
    }

    async fn rows(&self, sql: String, args: Vec<Arg>) -> Result<Vec<Object>, sqlx::Error> {
        // Everything that a client gave is bound; the text is ours.
        let sql = AssertSqlSafe(sql);
        match self {
            Pool::Sqlite(pool) => {
                let query = args.into_iter().fold(sqlx::query(sql), |query, arg| match arg {
                    Arg::Text(text) => query.bind(text),
                    Arg::Int(number) => query.bind(number),
                });
                Ok(query.fetch_all(pool).await?.iter().map(of_sqlite).collect())
            }
            Pool::Postgres(pool) => {
                let query = args.into_iter().fold(sqlx::query(sql), |query, arg| match arg {
                    // What holds a zero byte is found nowhere there; the byte itself would be an error.
                    Arg::Text(text) => query.bind(text.map(|text| text.replace('\0', "\u{fffd}"))),
                    Arg::Int(number) => query.bind(number),
                });
                Ok(query.fetch_all(pool).await?.iter().map(of_postgres).collect())
            }
        }
    }
}

fn is_missing(error: &sqlx::Error) -> bool {
    match error {
        // SQLite: cannot open. Postgres: no such table.
        sqlx::Error::Database(error) => {
            error.message().starts_with("no such table") || error.code().is_some_and(|c| c == "14" || c == "42P01")
        }
        _ => false,
    }
}

/// One row, column by column, as the owner's view defines them.
fn of_sqlite(row: &SqliteRow) -> Object {
    let value = |index: usize, name: &str| {
        let kind = row.try_get_raw(index).map(|raw| raw.type_info().name().to_owned()).unwrap_or_default();
        // Of a null the type is that of the column, and a plain type would read it as zero.
        match kind.as_str() {
            "INTEGER" => row.try_get::<Option<i64>, _>(index).ok().flatten().map(Value::from),
            "REAL" => row.try_get::<Option<f64>, _>(index).ok().flatten().map(Value::from),
            "TEXT" => row.try_get::<Option<String>, _>(index).ok().flatten().map(|text| text_value(name, text)),
            _ => None,
        }
    };
    object(row.columns().iter().map(Column::name), value)
}

fn of_postgres(row: &PgRow) -> Object {
    let value = |index: usize, name: &str| match row.column(index).type_info().name() {
        "INT8" => row.try_get::<Option<i64>, _>(index).ok().flatten().map(Value::from),
        "FLOAT8" => row.try_get::<Option<f64>, _>(index).ok().flatten().map(Value::from),
        "TEXT" => row.try_get::<Option<String>, _>(index).ok().flatten().map(|text| text_value(name, text)),
        _ => None,
    };
    object(row.columns().iter().map(Column::name), value)
}

fn object<'n>(names: impl Iterator<Item = &'n str>, value: impl Fn(usize, &str) -> Option<Value>) -> Object {
    names.enumerate().map(|(index, name)| (name.to_owned(), value(index, name).unwrap_or(Value::Null))).collect()
}

fn text_value(column: &str, text: String) -> Value {
    if JSON_COLUMNS.contains(&column)
        && let Ok(list) = serde_json::from_str(&text)
    {
        return list;
    }
    Value::String(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn write(path: &std::path::Path, number: i64) {
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
        let pool = SqlitePool::connect_with(options).await.expect("a file");
        let fill = format!("CREATE TABLE t (n INTEGER); INSERT INTO t VALUES ({number})");
        sqlx::raw_sql(AssertSqlSafe(fill)).execute(&pool).await.expect("a table");
        pool.close().await;
    }

    async fn read(store: &Store) -> Option<Value> {
        match store.rows("SELECT n FROM t".to_owned(), Vec::new()).await.expect("an answer") {
            Found::Rows(rows) => Some(rows[0]["n"].clone()),
            Found::Nothing { .. } => None,
        }
    }

    #[tokio::test]
    async fn a_file_that_takes_the_place_of_another_is_read_from_then_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let [live, rebuilt] = ["calls.sqlite", "rebuilt.sqlite"].map(|name| folder.path().join(name));
        let store = Store::new("the call log", "cdr", Place::File(live.clone()), Counter::default());
        assert_eq!(read(&store).await, None);
        write(&live, 1).await;
        assert_eq!(read(&store).await, Some(1.into()));
        write(&rebuilt, 2).await;
        std::fs::rename(&rebuilt, &live).expect("exchanged");
        assert_eq!(read(&store).await, Some(2.into()));
        std::fs::remove_file(&live).expect("removed");
        assert_eq!(read(&store).await, None, "a file that is gone is not read on from memory");
    }
}
