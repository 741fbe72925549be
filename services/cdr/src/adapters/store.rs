//! The call log in SQLite: rows, the facts behind them, the positions in the topics and the outbox, one transaction per batch.
//!
//! Invariants:
//! * rows, facts, offsets and outbox of a batch become visible together or not at all;
//! * one writer: the consumer that holds this store. Readers use their own connections and see a snapshot (WAL);
//! * `synchronous = NORMAL`: a power cut may take the last transactions with it, their offsets too, so they are read again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::CallId;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection, Row, SqliteConnection};

use crate::adapters::sql;
use crate::core::row::{CallRow, LegRow, Value};
use crate::core::state::CallState;
use crate::error::StoreError;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// A call as it goes into the store.
pub struct Changed {
    pub id: CallId,
    pub facts: String,
    pub published: Option<String>,
    pub call: CallRow,
    pub legs: Vec<LegRow>,
    /// Legs may have been renamed since the last write: remove what is there.
    pub replace_legs: bool,
}

/// A record to publish after the commit.
pub struct Queued {
    pub topic: &'static str,
    pub payload: String,
}

#[derive(Debug, Clone)]
pub struct NodeRow {
    pub node: String,
    pub core_uuid: Option<String>,
    pub last_proof_us: i64,
    pub heartbeat_ms: Option<i64>,
}

/// Everything that one batch changes.
#[derive(Default)]
pub struct Batch {
    pub changed: Vec<Changed>,
    /// (topic, partition, next offset).
    pub offsets: Vec<(String, i32, i64)>,
    pub outbox: Vec<Queued>,
    pub nodes: Vec<NodeRow>,
}

pub struct Stored {
    pub state: CallState,
    pub published: Option<String>,
}

pub struct Store {
    conn: SqliteConnection,
    path: PathBuf,
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(Duration::from_secs(10))
        .statement_cache_capacity(64)
        // The write-ahead file is copied back every 32 MiB instead of every 4: fewer syncs on the one core that has work to do.
        .pragma("wal_autocheckpoint", "8192")
        .pragma("cache_size", "-16384")
        .pragma("temp_store", "MEMORY")
}

impl Store {
    /// Opens the call log, makes it if it is not there, and brings its tables up to date.
    pub async fn open(path: &Path) -> Result<Store, StoreError> {
        let mut conn = connect(path, options(path).create_if_missing(true)).await?;
        MIGRATIONS.run(&mut conn).await?;
        Ok(Store { conn, path: path.to_owned() })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A second connection that may write (the outbox). It waits for the first one's transactions.
    pub async fn second(path: &Path) -> Result<SqliteConnection, StoreError> {
        connect(path, options(path)).await
    }

    /// A connection for reading: never blocks the writer and is not blocked by it.
    pub async fn reader(path: &Path) -> Result<SqliteConnection, StoreError> {
        connect(path, SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(Duration::from_secs(10)))
            .await
    }

    /// A consistent copy of a call log that may be in use.
    pub async fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
        let mut conn = Store::reader(from).await?;
        sqlx::query("VACUUM INTO ?").bind(to.to_string_lossy().into_owned()).execute(&mut conn).await?;
        conn.close().await?;
        Ok(())
    }

    pub async fn states(&mut self, ids: &[CallId]) -> Result<HashMap<CallId, Stored>, StoreError> {
        let mut out = HashMap::with_capacity(ids.len());
        for part in ids.chunks(2000) {
            let rows = sqlx::query(sql::SELECT_STATES).bind(json(part)).fetch_all(&mut self.conn).await?;
            for row in rows {
                let id: String = row.try_get(0)?;
                let Ok(id) = id.parse() else {
                    return Err(StoreError::Column { table: "call_state", column: "call_id" });
                };
                let facts: String = row.try_get(2)?;
                out.insert(id, Stored { state: CallState::decode(&facts)?, published: row.try_get(1)? });
            }
        }
        Ok(out)
    }

    /// Calls that had not ended when the log was last written.
    pub async fn open_calls(&mut self) -> Result<Vec<CallId>, StoreError> {
        let rows: Vec<String> = sqlx::query_scalar(sql::SELECT_OPEN).fetch_all(&mut self.conn).await?;
        rows.iter().map(|id| id.parse().map_err(|_| StoreError::Column { table: "calls", column: "call_id" })).collect()
    }

    /// Next offset by (topic, partition), as of the last transaction.
    pub async fn offsets(&mut self) -> Result<HashMap<(String, i32), i64>, StoreError> {
        let rows =
            sqlx::query("SELECT topic, shard, next_offset FROM consumer_offsets").fetch_all(&mut self.conn).await?;
        rows.iter().map(|row| Ok(((row.try_get(0)?, row.try_get(1)?), row.try_get(2)?))).collect()
    }

    pub async fn nodes(&mut self) -> Result<Vec<NodeRow>, StoreError> {
        let rows = sqlx::query("SELECT node, core_uuid, last_proof_us, heartbeat_ms FROM nodes_seen")
            .fetch_all(&mut self.conn)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(NodeRow {
                    node: row.try_get(0)?,
                    core_uuid: row.try_get(1)?,
                    last_proof_us: row.try_get(2)?,
                    heartbeat_ms: row.try_get(3)?,
                })
            })
            .collect()
    }

    pub async fn write(&mut self, batch: Batch) -> Result<(), StoreError> {
        // The write lock is taken at once: a transaction that reads first could not wait for another writer.
        let mut tx = self.conn.begin_with("BEGIN IMMEDIATE").await?;
        let replaced: Vec<&CallId> = batch.changed.iter().filter(|c| c.replace_legs).map(|c| &c.id).collect();
        if !replaced.is_empty() {
            sqlx::query(sql::DELETE_LEGS).bind(json(&replaced)).execute(&mut *tx).await?;
        }
        for call in &batch.changed {
            sqlx::query(sql::UPSERT_STATE)
                .bind(call.call.call_id.as_str())
                .bind(call.call.revision)
                .bind(call.published.as_deref())
                .bind(call.facts.as_str())
                .execute(&mut *tx)
                .await?;
        }
        rows(&mut tx, &sql::UPSERT_CALLS, batch.changed.iter().map(|c| c.call.values()).collect()).await?;
        let legs = batch.changed.iter().flat_map(|c| c.legs.iter().map(LegRow::values)).collect();
        rows(&mut tx, &sql::UPSERT_LEGS, legs).await?;
        for queued in &batch.outbox {
            sqlx::query(sql::INSERT_OUTBOX).bind(queued.topic).bind(queued.payload.as_str()).execute(&mut *tx).await?;
        }
        for node in &batch.nodes {
            sqlx::query(sql::UPSERT_NODE)
                .bind(node.node.as_str())
                .bind(node.core_uuid.as_deref())
                .bind(node.last_proof_us)
                .bind(node.heartbeat_ms)
                .execute(&mut *tx)
                .await?;
        }
        if !batch.offsets.is_empty() {
            sqlx::query(sql::UPSERT_OFFSETS).bind(json(&batch.offsets)).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Closes the file; the write-ahead file is copied back and removed.
    pub async fn close(self) -> Result<(), StoreError> {
        Ok(self.conn.close().await?)
    }
}

async fn connect(path: &Path, options: SqliteConnectOptions) -> Result<SqliteConnection, StoreError> {
    SqliteConnection::connect_with(&options).await.map_err(|source| StoreError::Open { path: path.to_owned(), source })
}

fn json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("ids, numbers and texts have a JSON form")
}

/// Sends rows in the fewest statements of the known sizes.
async fn rows(
    conn: &mut SqliteConnection,
    statements: &[sql::Statement],
    rows: Vec<Vec<Value>>,
) -> Result<(), StoreError> {
    let mut left = rows.len();
    let mut rows = rows.into_iter();
    for (size, text) in statements {
        while left >= *size {
            let mut query = sqlx::query(*text);
            for row in rows.by_ref().take(*size) {
                for value in row {
                    query = sql::bind(query, value);
                }
            }
            query.execute(&mut *conn).await?;
            left -= size;
        }
    }
    Ok(())
}
