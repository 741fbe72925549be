//! The call log as text in one defined order, and its hash: what "the same records, byte for byte" means.
//!
//! Form: UTF-8 lines. First one line `{"call":{…}}` per row of `calls` in order of call id, then one line `{"leg":{…}}` per row of
//! `legs` in order of (call id, leg id). Keys stand in the order of the table's columns; every column is there, unknown ones as
//! null. Nothing in it says when or by whom the row was written, so a rebuild from the topics gives the same text.

use std::io::Write;
use std::path::Path;

use futures::TryStreamExt;
use serde::Serialize;
use sha2::{Digest, Sha256};
use sqlx::Connection;

use crate::adapters::sql;
use crate::adapters::store::Store;
use crate::core::row::{CallRow, LegRow};
use crate::error::StoreError;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Export {
    pub calls: u64,
    pub legs: u64,
    /// 64 hex digits over all lines, each with its line feed.
    pub sha256: String,
}

#[derive(Serialize)]
enum Line<'a> {
    #[serde(rename = "call")]
    Call(&'a CallRow),
    #[serde(rename = "leg")]
    Leg(&'a LegRow),
}

/// Writes the export of the call log at `path`, also while it is being written to: what is read is one snapshot.
pub async fn canonical_export(path: &Path, out: impl Write + Send) -> Result<Export, StoreError> {
    let mut conn = Store::reader(path).await?;
    let mut sink = Sink { out, hash: Sha256::new(), line: Vec::with_capacity(4096) };
    let (mut calls, mut legs) = (0, 0);
    {
        let mut tx = conn.begin().await?;
        {
            let mut rows = sqlx::query(*sql::SELECT_CALLS).fetch(&mut *tx);
            while let Some(row) = rows.try_next().await? {
                let row = CallRow::from_values(sql::values(&row, "calls", CallRow::COLUMNS)?)
                    .map_err(|column| StoreError::Column { table: "calls", column })?;
                sink.line(&Line::Call(&row))?;
                calls += 1;
            }
        }
        {
            let mut rows = sqlx::query(*sql::SELECT_LEGS).fetch(&mut *tx);
            while let Some(row) = rows.try_next().await? {
                let row = LegRow::from_values(sql::values(&row, "legs", LegRow::COLUMNS)?)
                    .map_err(|column| StoreError::Column { table: "legs", column })?;
                sink.line(&Line::Leg(&row))?;
                legs += 1;
            }
        }
        tx.rollback().await?;
    }
    conn.close().await?;
    sink.out.flush()?;
    Ok(Export { calls, legs, sha256: hex(&sink.hash.finalize()) })
}

struct Sink<W> {
    out: W,
    hash: Sha256,
    line: Vec<u8>,
}

impl<W: Write> Sink<W> {
    fn line(&mut self, line: &Line<'_>) -> Result<(), StoreError> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, line).map_err(std::io::Error::from)?;
        self.line.push(b'\n');
        self.hash.update(&self.line);
        self.out.write_all(&self.line)?;
        Ok(())
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
