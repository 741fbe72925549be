//! The call log: rows, the facts behind them, the positions in the topics and the outbox, one transaction per batch.
//!
//! Invariants:
//! * rows, facts, offsets and outbox of a batch become visible together or not at all;
//! * one writer: the consumer that holds this store. Readers use their own connections and see a snapshot;
//! * SQLite runs with `synchronous = NORMAL`: a power cut may take the last transactions with it, their offsets too, so they are
//!   read again.

use std::collections::HashMap;

use domain::CallId;

use crate::adapters::link::{Link, Role, Step};
use crate::adapters::migrate::migrate;
use crate::adapters::place::Place;
use crate::adapters::sql;
use crate::core::row::{CallRow, LegRow, Value};
use crate::core::state::CallState;
use crate::error::StoreError;

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
    link: Link,
}

impl Store {
    /// Opens the call log and brings its tables up to date. A file that is not there is made; Postgres is migrated when `may_migrate`.
    pub async fn open(place: &Place, may_migrate: bool) -> Result<Store, StoreError> {
        let mut link = Link::open(place, Role::Writer).await?;
        let schema = match place {
            Place::Postgres(schema) => Some(schema),
            Place::Sqlite(_) => None,
        };
        migrate(&mut link, schema, may_migrate).await?;
        Ok(Store { link })
    }

    pub async fn states(&mut self, ids: &[CallId]) -> Result<HashMap<CallId, Stored>, StoreError> {
        let mut out = HashMap::with_capacity(ids.len());
        let sql = sql::SELECT_STATES.of(self.link.dialect());
        for part in ids.chunks(2000) {
            for row in self.link.rows(sql, vec![text(json(part))], sql::STATES).await? {
                let mut cells = Cells::new("call_state", sql::STATES, row);
                let id =
                    cells.text()?.parse().map_err(|_| StoreError::Column { table: "call_state", column: "call_id" })?;
                let published = cells.maybe_text()?;
                out.insert(id, Stored { state: CallState::decode(&cells.text()?)?, published });
            }
        }
        Ok(out)
    }

    /// Calls that had not ended when the log was last written.
    pub async fn open_calls(&mut self) -> Result<Vec<CallId>, StoreError> {
        let rows = self.link.rows(sql::SELECT_OPEN, Vec::new(), sql::OPEN).await?;
        rows.into_iter()
            .map(|row| {
                let id = Cells::new("calls", sql::OPEN, row).text()?;
                id.parse().map_err(|_| StoreError::Column { table: "calls", column: "call_id" })
            })
            .collect()
    }

    /// Next offset by (topic, partition), as of the last transaction.
    pub async fn offsets(&mut self) -> Result<HashMap<(String, i32), i64>, StoreError> {
        let rows = self.link.rows(sql::SELECT_OFFSETS, Vec::new(), sql::OFFSETS).await?;
        rows.into_iter().map(offset).collect()
    }

    pub async fn nodes(&mut self) -> Result<Vec<NodeRow>, StoreError> {
        let rows = self.link.rows(sql::SELECT_NODES, Vec::new(), sql::NODES).await?;
        rows.into_iter()
            .map(|row| {
                let mut cells = Cells::new("nodes_seen", sql::NODES, row);
                Ok(NodeRow {
                    node: cells.text()?,
                    core_uuid: cells.maybe_text()?,
                    last_proof_us: cells.int()?,
                    heartbeat_ms: cells.maybe_int()?,
                })
            })
            .collect()
    }

    pub async fn write(&mut self, batch: Batch) -> Result<(), StoreError> {
        let dialect = self.link.dialect();
        let mut steps = Vec::new();
        let replaced: Vec<&CallId> = batch.changed.iter().filter(|c| c.replace_legs).map(|c| &c.id).collect();
        if !replaced.is_empty() {
            steps.push(Step { sql: sql::DELETE_LEGS.of(dialect), values: vec![text(json(&replaced))] });
        }
        let calls = batch.changed.iter().map(|c| c.call.values()).collect();
        let legs = batch.changed.iter().flat_map(|c| c.legs.iter().map(LegRow::values)).collect();
        let state =
            |c: Changed| vec![text(c.call.call_id), int(c.call.revision), Value::Text(c.published), text(c.facts)];
        rows(&mut steps, &sql::UPSERT_STATES, batch.changed.into_iter().map(state).collect());
        rows(&mut steps, &sql::UPSERT_CALLS, calls);
        rows(&mut steps, &sql::UPSERT_LEGS, legs);
        let queued = batch.outbox.into_iter().map(|q| vec![text(q.topic), text(q.payload)]).collect();
        rows(&mut steps, &sql::INSERT_OUTBOX, queued);
        for node in batch.nodes {
            let (core, beat) = (Value::Text(node.core_uuid), Value::Int(node.heartbeat_ms));
            steps.push(Step {
                sql: sql::UPSERT_NODE,
                values: vec![text(node.node), core, int(node.last_proof_us), beat],
            });
        }
        if !batch.offsets.is_empty() {
            steps.push(Step { sql: sql::UPSERT_OFFSETS.of(dialect), values: vec![text(json(&batch.offsets))] });
        }
        self.link.write(steps).await
    }

    pub async fn close(self) -> Result<(), StoreError> {
        self.link.close().await
    }
}

/// A row of the positions.
pub fn offset(row: Vec<Value>) -> Result<((String, i32), i64), StoreError> {
    let mut cells = Cells::new("consumer_offsets", sql::OFFSETS, row);
    let topic = cells.text()?;
    let shard =
        i32::try_from(cells.int()?).map_err(|_| StoreError::Column { table: "consumer_offsets", column: "shard" })?;
    Ok(((topic, shard), cells.int()?))
}

/// The cells of one row, taken from left to right.
pub struct Cells {
    table: &'static str,
    columns: sql::Columns,
    cells: std::vec::IntoIter<Value>,
}

impl Cells {
    #[must_use]
    pub fn new(table: &'static str, columns: sql::Columns, row: Vec<Value>) -> Cells {
        Cells { table, columns, cells: row.into_iter() }
    }

    fn bad(&self) -> StoreError {
        let at = self.columns.len() - self.cells.len() - 1;
        StoreError::Column { table: self.table, column: self.columns[at].0 }
    }

    pub fn maybe_text(&mut self) -> Result<Option<String>, StoreError> {
        if let Some(Value::Text(v)) = self.cells.next() { Ok(v) } else { Err(self.bad()) }
    }

    pub fn text(&mut self) -> Result<String, StoreError> {
        self.maybe_text()?.ok_or_else(|| self.bad())
    }

    pub fn maybe_int(&mut self) -> Result<Option<i64>, StoreError> {
        if let Some(Value::Int(v)) = self.cells.next() { Ok(v) } else { Err(self.bad()) }
    }

    pub fn int(&mut self) -> Result<i64, StoreError> {
        self.maybe_int()?.ok_or_else(|| self.bad())
    }
}

fn text(value: impl Into<String>) -> Value {
    Value::Text(Some(value.into()))
}

fn int(value: i64) -> Value {
    Value::Int(Some(value))
}

fn json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("ids, numbers and texts have a JSON form")
}

/// Rows in the fewest statements of the known sizes.
fn rows(steps: &mut Vec<Step>, statements: &[sql::Statement], rows: Vec<Vec<Value>>) {
    let mut left = rows.len();
    let mut rows = rows.into_iter();
    for (size, sql) in statements {
        while left >= *size {
            steps.push(Step { sql, values: rows.by_ref().take(*size).flatten().collect() });
            left -= size;
        }
    }
}
