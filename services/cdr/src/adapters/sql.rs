//! The statements of the call log, made once per process from the column lists of the rows, the same for SQLite and Postgres.
//!
//! Rows go in as multi-row `VALUES` (seven times faster than one statement per row). Their number is one of [`CHUNKS`], so
//! prepared statements are few and stay cached. A list of keys goes in as one JSON parameter; reading it is all that the two
//! databases do in different words.

use std::sync::LazyLock;

use crate::core::row::{CallRow, LegRow};

/// Rows per statement, the largest first. 64 rows of about 90 columns stay far below SQLite's 32,766 parameters.
pub const CHUNKS: [usize; 3] = [64, 8, 1];

pub type Statement = (usize, &'static str);
/// Name and type of each column that a query gives, in its order.
pub type Columns = &'static [(&'static str, &'static str)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
}

/// A statement in the words of each.
pub struct Both {
    sqlite: &'static str,
    postgres: &'static str,
}

impl Both {
    #[must_use]
    pub fn of(&self, dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Sqlite => self.sqlite,
            Dialect::Postgres => self.postgres,
        }
    }
}

pub static UPSERT_CALLS: LazyLock<Vec<Statement>> = LazyLock::new(|| upserts("calls", CallRow::COLUMNS, &["call_id"]));
pub static UPSERT_LEGS: LazyLock<Vec<Statement>> =
    LazyLock::new(|| upserts("legs", LegRow::COLUMNS, &["call_id", "leg_id"]));
pub static SELECT_CALLS: LazyLock<&'static str> = LazyLock::new(|| select("calls", CallRow::COLUMNS, "call_id"));
pub static SELECT_LEGS: LazyLock<&'static str> = LazyLock::new(|| select("legs", LegRow::COLUMNS, "call_id, leg_id"));

pub static UPSERT_STATES: LazyLock<Vec<Statement>> = LazyLock::new(|| upserts("call_state", STATE, &["call_id"]));
const STATE: Columns = &[("call_id", "TEXT"), ("revision", "INTEGER"), ("published", "TEXT"), ("facts", "TEXT")];
pub const DELETE_LEGS: Both = Both {
    sqlite: "DELETE FROM legs WHERE call_id IN (SELECT value FROM json_each($1))",
    postgres: "DELETE FROM legs WHERE call_id IN (SELECT json_array_elements_text($1::json))",
};
pub const SELECT_STATES: Both = Both {
    sqlite: "SELECT call_id, published, facts FROM call_state WHERE call_id IN (SELECT value FROM json_each($1))",
    postgres: "SELECT call_id, published, facts FROM call_state WHERE call_id IN (SELECT json_array_elements_text($1::json))",
};
pub const STATES: Columns = &[("call_id", "TEXT"), ("published", "TEXT"), ("facts", "TEXT")];
pub const SELECT_OPEN: &str = "SELECT call_id FROM calls WHERE finality = 'open'";
pub const OPEN: Columns = &[("call_id", "TEXT")];
pub const SELECT_OFFSETS: &str = "SELECT topic, shard, next_offset FROM consumer_offsets";
pub const OFFSETS: Columns = &[("topic", "TEXT"), ("shard", "INTEGER"), ("next_offset", "INTEGER")];
pub const UPSERT_OFFSETS: Both = Both {
    sqlite: "INSERT INTO consumer_offsets (topic, shard, next_offset) \
     SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]') FROM json_each($1) \
     WHERE true ON CONFLICT (topic, shard) DO UPDATE SET next_offset = excluded.next_offset",
    postgres: "INSERT INTO consumer_offsets (topic, shard, next_offset) \
     SELECT value ->> 0, (value ->> 1)::bigint, (value ->> 2)::bigint FROM json_array_elements($1::json) \
     ON CONFLICT (topic, shard) DO UPDATE SET next_offset = excluded.next_offset",
};
pub const SELECT_NODES: &str = "SELECT node, core_uuid, last_proof_us, heartbeat_ms FROM nodes_seen";
pub const NODES: Columns =
    &[("node", "TEXT"), ("core_uuid", "TEXT"), ("last_proof_us", "INTEGER"), ("heartbeat_ms", "INTEGER")];
pub const UPSERT_NODE: &str = "INSERT INTO nodes_seen (node, core_uuid, last_proof_us, heartbeat_ms) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (node) DO UPDATE SET core_uuid = excluded.core_uuid, last_proof_us = excluded.last_proof_us, \
     heartbeat_ms = excluded.heartbeat_ms";
pub static INSERT_OUTBOX: LazyLock<Vec<Statement>> =
    LazyLock::new(|| inserts("outbox", &[("topic", "TEXT"), ("payload", "TEXT")], ""));
pub const SELECT_OUTBOX: &str = "SELECT id, topic, payload FROM outbox ORDER BY id LIMIT $1";
pub const OUTBOX: Columns = &[("id", "INTEGER"), ("topic", "TEXT"), ("payload", "TEXT")];
pub const DELETE_OUTBOX: &str = "DELETE FROM outbox WHERE id <= $1";

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
    inserts(table, columns, &tail)
}

fn inserts(table: &str, columns: Columns, tail: &str) -> Vec<Statement> {
    let values = |rows: usize| {
        let row = |at: usize| {
            let places: Vec<String> = (1..=columns.len()).map(|n| format!("${}", at * columns.len() + n)).collect();
            format!("({})", places.join(", "))
        };
        (0..rows).map(row).collect::<Vec<_>>().join(", ")
    };
    let insert = format!("INSERT INTO {table} ({}) VALUES", names(columns));
    CHUNKS.iter().map(|n| (*n, keep(format!("{insert} {} {tail}", values(*n))))).collect()
}
