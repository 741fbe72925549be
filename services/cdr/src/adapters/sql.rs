//! The statements of the call log, made once per process from the column lists of the rows.
//!
//! Rows go in as multi-row `VALUES` (seven times faster than one statement per row). Their number is one of [`CHUNKS`], so
//! SQLite's prepared statements are few and stay cached. A list of keys goes in as one JSON parameter.

use std::sync::LazyLock;

use sqlx::Sqlite;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Row, ValueRef};

use crate::core::row::{CallRow, LegRow, Value};
use crate::error::StoreError;

/// Rows per statement, the largest first. 64 rows of about 90 columns stay far below SQLite's 32,766 parameters.
pub const CHUNKS: [usize; 3] = [64, 8, 1];

pub type Statement = (usize, &'static str);
type Columns = &'static [(&'static str, &'static str)];

pub static UPSERT_CALLS: LazyLock<Vec<Statement>> = LazyLock::new(|| upserts("calls", CallRow::COLUMNS, &["call_id"]));
pub static UPSERT_LEGS: LazyLock<Vec<Statement>> =
    LazyLock::new(|| upserts("legs", LegRow::COLUMNS, &["call_id", "leg_id"]));
pub static SELECT_CALLS: LazyLock<&'static str> = LazyLock::new(|| select("calls", CallRow::COLUMNS, "call_id"));
pub static SELECT_LEGS: LazyLock<&'static str> = LazyLock::new(|| select("legs", LegRow::COLUMNS, "call_id, leg_id"));

pub const UPSERT_STATE: &str = "INSERT INTO call_state (call_id, revision, published, facts) VALUES (?, ?, ?, ?) \
     ON CONFLICT (call_id) DO UPDATE SET revision = excluded.revision, published = excluded.published, \
     facts = excluded.facts WHERE excluded.revision >= call_state.revision";
pub const DELETE_LEGS: &str = "DELETE FROM legs WHERE call_id IN (SELECT value FROM json_each(?))";
pub const SELECT_STATES: &str =
    "SELECT call_id, published, facts FROM call_state WHERE call_id IN (SELECT value FROM json_each(?))";
pub const SELECT_OPEN: &str = "SELECT call_id FROM calls WHERE finality = 'open'";
pub const UPSERT_OFFSETS: &str = "INSERT INTO consumer_offsets (topic, shard, next_offset) \
     SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]') FROM json_each(?) \
     WHERE true ON CONFLICT (topic, shard) DO UPDATE SET next_offset = excluded.next_offset";
pub const UPSERT_NODE: &str = "INSERT INTO nodes_seen (node, core_uuid, last_proof_us, heartbeat_ms) VALUES (?, ?, ?, ?) \
     ON CONFLICT (node) DO UPDATE SET core_uuid = excluded.core_uuid, last_proof_us = excluded.last_proof_us, \
     heartbeat_ms = excluded.heartbeat_ms";
pub const INSERT_OUTBOX: &str = "INSERT INTO outbox (topic, payload) VALUES (?, ?)";

/// SQL that is made from constants alone and lives as long as the process.
fn keep(sql: String) -> &'static str {
    Box::leak(sql.into_boxed_str())
}

fn names(columns: Columns) -> String {
    columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

fn select(table: &str, columns: Columns, order: &str) -> &'static str {
    keep(format!("SELECT {} FROM {table} ORDER BY {order}", names(columns)))
}

/// A higher or equal revision replaces the row; a lower one is a late writer and changes nothing.
fn upserts(table: &str, columns: Columns, key: &[&str]) -> Vec<Statement> {
    let row = format!("({})", vec!["?"; columns.len()].join(", "));
    let sets: Vec<String> = columns
        .iter()
        .filter(|(name, _)| !key.contains(name))
        .map(|(name, _)| format!("{name} = excluded.{name}"))
        .collect();
    let tail = format!(
        "ON CONFLICT ({}) DO UPDATE SET {} WHERE excluded.revision >= {table}.revision",
        key.join(", "),
        sets.join(", ")
    );
    let insert = format!("INSERT INTO {table} ({}) VALUES", names(columns));
    CHUNKS.iter().map(|n| (*n, keep(format!("{insert} {} {tail}", vec![row.as_str(); *n].join(", "))))).collect()
}

pub type Bound<'q> = Query<'q, Sqlite, SqliteArguments>;

pub fn bind<'q>(query: Bound<'q>, value: Value) -> Bound<'q> {
    match value {
        Value::Text(v) => query.bind(v),
        Value::Int(v) => query.bind(v),
        Value::Real(v) => query.bind(v),
    }
}

/// Reads a row in column order.
pub fn values(row: &SqliteRow, table: &'static str, columns: Columns) -> Result<Vec<Value>, StoreError> {
    let mut out = Vec::with_capacity(columns.len());
    for (i, (column, sql)) in columns.iter().enumerate() {
        let null = row.try_get_raw(i)?.is_null();
        let value = match *sql {
            "TEXT" => Value::Text(if null { None } else { Some(row.try_get(i)?) }),
            "INTEGER" => Value::Int(if null { None } else { Some(row.try_get(i)?) }),
            "REAL" => Value::Real(if null { None } else { Some(row.try_get(i)?) }),
            _ => return Err(StoreError::Column { table, column }),
        };
        out.push(value);
    }
    Ok(out)
}
