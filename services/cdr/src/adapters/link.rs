//! One connection to the call log, whichever database it is in: rows out, steps in, a snapshot read row by row.
//!
//! The statements are the same for both; only binding and reading values differ. Postgres connections break, so that one is made
//! again at the next use after an error; the writer's holds an advisory lock for as long as it lives, so a call log has one writer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::TryStreamExt;
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{Connection, Postgres, Row, Sqlite, SqliteConnection, ValueRef};

use crate::adapters::place::{Place, Schema};
use crate::adapters::sql::{Columns, Dialect};
use crate::core::row::Value;
use crate::error::StoreError;

const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// A writer that was killed keeps its lock until the server notices.
const LOCK_WITHIN: Duration = Duration::from_secs(10);
const LOCK_EVERY: Duration = Duration::from_millis(200);

/// A statement with its values.
pub struct Step {
    pub sql: &'static str,
    pub values: Vec<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The one writer of calls and legs.
    Writer,
    /// May write; the outbox.
    Second,
    Reader,
}

pub enum Link {
    Sqlite(SqliteConnection),
    Postgres(Box<PgLink>),
}

pub struct PgLink {
    schema: Schema,
    role: Role,
    connection: Option<PgConnection>,
}

impl Link {
    pub async fn open(place: &Place, role: Role) -> Result<Link, StoreError> {
        match place {
            Place::Sqlite(path) => {
                let source = |source| StoreError::Open { path: path.clone(), source };
                SqliteConnection::connect_with(&sqlite(path, role)).await.map(Link::Sqlite).map_err(source)
            }
            Place::Postgres(schema) => {
                let mut link = PgLink { schema: schema.clone(), role, connection: None };
                link.connected().await?;
                Ok(Link::Postgres(Box::new(link)))
            }
        }
    }

    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match self {
            Link::Sqlite(_) => Dialect::Sqlite,
            Link::Postgres(_) => Dialect::Postgres,
        }
    }

    /// All rows of a query.
    pub async fn rows(
        &mut self,
        sql: &'static str,
        values: Vec<Value>,
        columns: Columns,
    ) -> Result<Vec<Vec<Value>>, StoreError> {
        match self {
            Link::Sqlite(connection) => {
                let query = values.into_iter().fold(sqlx::query(sql), to_sqlite);
                query.fetch_all(connection).await?.iter().map(|row| from_sqlite(row, columns)).collect()
            }
            Link::Postgres(link) => {
                let query = values.into_iter().fold(sqlx::query(sql), to_postgres);
                let rows = query.fetch_all(link.connected().await?).await;
                link.heed(rows)?.iter().map(|row| from_postgres(row, columns)).collect()
            }
        }
    }

    /// All steps in one transaction: visible together or not at all.
    pub async fn write(&mut self, steps: Vec<Step>) -> Result<(), StoreError> {
        match self {
            Link::Sqlite(connection) => {
                // The write lock is taken at once: a transaction that reads first could not wait for another writer.
                let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
                for step in steps {
                    step.values.into_iter().fold(sqlx::query(step.sql), to_sqlite).execute(&mut *tx).await?;
                }
                Ok(tx.commit().await?)
            }
            Link::Postgres(link) => {
                let connection = link.connected().await?;
                let written = async {
                    let mut tx = connection.begin().await?;
                    for step in steps {
                        step.values.into_iter().fold(sqlx::query(step.sql), to_postgres).execute(&mut *tx).await?;
                    }
                    tx.commit().await
                };
                let written = written.await;
                link.heed(written)
            }
        }
    }

    /// Several queries on one snapshot, row by row; `look` is told which query a row is of.
    pub async fn snapshot(
        &mut self,
        queries: &[(&'static str, Columns)],
        mut look: impl FnMut(usize, Vec<Value>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        match self {
            Link::Sqlite(connection) => {
                let mut tx = connection.begin().await?;
                for (at, (sql, columns)) in queries.iter().enumerate() {
                    let mut rows = sqlx::query(*sql).fetch(&mut *tx);
                    while let Some(row) = rows.try_next().await? {
                        look(at, from_sqlite(&row, columns)?)?;
                    }
                }
                Ok(tx.rollback().await?)
            }
            Link::Postgres(link) => {
                let begin = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY";
                let mut tx = link.connected().await?.begin_with(begin).await?;
                for (at, (sql, columns)) in queries.iter().enumerate() {
                    let mut rows = sqlx::query(*sql).fetch(&mut *tx);
                    while let Some(row) = rows.try_next().await? {
                        look(at, from_postgres(&row, columns)?)?;
                    }
                }
                Ok(tx.rollback().await?)
            }
        }
    }

    /// A file's write-ahead part is copied back and removed.
    pub async fn close(self) -> Result<(), StoreError> {
        match self {
            Link::Sqlite(connection) => Ok(connection.close().await?),
            Link::Postgres(link) => match link.connection {
                Some(connection) => Ok(connection.close().await?),
                None => Ok(()),
            },
        }
    }
}

fn sqlite(path: &Path, role: Role) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(Duration::from_secs(10));
    if role == Role::Reader {
        return options.read_only(true);
    }
    options
        .create_if_missing(role == Role::Writer)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .statement_cache_capacity(64)
        // The write-ahead file is copied back every 32 MiB instead of every 4: fewer syncs on the one core that has work to do.
        .pragma("wal_autocheckpoint", "8192")
        .pragma("cache_size", "-16384")
        .pragma("temp_store", "MEMORY")
}

impl PgLink {
    pub async fn connected(&mut self) -> Result<&mut PgConnection, StoreError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        Ok(self.connection.insert(connection))
    }

    async fn connect(&self) -> Result<PgConnection, StoreError> {
        let name = || self.schema.name.clone();
        let connecting = PgConnection::connect_with(&self.schema.options);
        let mut connection = tokio::time::timeout(CONNECT_WITHIN, connecting)
            .await
            .unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
            .map_err(|source| StoreError::Connect { schema: name(), source })?;
        if self.role == Role::Writer {
            let lock = format!("trunkline call log {}", self.schema.name);
            let began = tokio::time::Instant::now();
            while !sqlx::query_scalar::<_, bool>("SELECT pg_try_advisory_lock(hashtextextended($1, 0))")
                .bind(&lock)
                .fetch_one(&mut connection)
                .await?
            {
                if began.elapsed() > LOCK_WITHIN {
                    return Err(StoreError::Taken { schema: name() });
                }
                tokio::time::sleep(LOCK_EVERY).await;
            }
        }
        Ok(connection)
    }

    /// After an error the connection is not trusted any more.
    fn heed<T>(&mut self, outcome: Result<T, sqlx::Error>) -> Result<T, StoreError> {
        if outcome.is_err() {
            self.connection = None;
        }
        Ok(outcome?)
    }
}

fn to_sqlite(query: Query<'_, Sqlite, SqliteArguments>, value: Value) -> Query<'_, Sqlite, SqliteArguments> {
    match value {
        Value::Text(v) => query.bind(v),
        Value::Int(v) => query.bind(v),
        Value::Real(v) => query.bind(v),
    }
}

fn to_postgres(query: Query<'_, Postgres, PgArguments>, value: Value) -> Query<'_, Postgres, PgArguments> {
    match value {
        // A text there cannot hold the zero byte, and one stranger's odd header must not stop all records.
        Value::Text(Some(v)) if v.contains('\0') => query.bind(v.replace('\0', "\u{fffd}")),
        Value::Text(v) => query.bind(v),
        Value::Int(v) => query.bind(v),
        Value::Real(v) => query.bind(v),
    }
}

fn from_sqlite(row: &SqliteRow, columns: Columns) -> Result<Vec<Value>, StoreError> {
    let value = |(at, (_, kind)): (usize, &(&str, &str))| {
        let null = row.try_get_raw(at)?.is_null();
        Ok(match *kind {
            "INTEGER" => Value::Int(if null { None } else { Some(row.try_get(at)?) }),
            "REAL" => Value::Real(if null { None } else { Some(row.try_get(at)?) }),
            _ => Value::Text(if null { None } else { Some(row.try_get(at)?) }),
        })
    };
    columns.iter().enumerate().map(value).collect()
}

fn from_postgres(row: &PgRow, columns: Columns) -> Result<Vec<Value>, StoreError> {
    let value = |(at, (_, kind)): (usize, &(&str, &str))| {
        Ok(match *kind {
            "INTEGER" => Value::Int(row.try_get(at)?),
            "REAL" => Value::Real(row.try_get(at)?),
            _ => Value::Text(row.try_get(at)?),
        })
    };
    columns.iter().enumerate().map(value).collect()
}

/// A consistent copy of a file that may be in use.
pub async fn copy(from: &Path, to: PathBuf) -> Result<(), StoreError> {
    let mut link = Link::open(&Place::Sqlite(from.to_owned()), Role::Reader).await?;
    if let Link::Sqlite(connection) = &mut link {
        sqlx::query("VACUUM INTO ?").bind(to.to_string_lossy().into_owned()).execute(connection).await?;
    }
    link.close().await
}
