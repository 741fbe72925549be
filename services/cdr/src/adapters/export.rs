//! The call log as text in one defined order, and its hash: what "the same records, byte for byte" means.
//!
//! Form: UTF-8 lines. First one line `{"call":{…}}` per row of `calls` in order of call id, then one line `{"leg":{…}}` per row of
//! `legs` in order of (call id, leg id). Keys stand in the order of the table's columns; every column is there, unknown ones as
//! null. Nothing in it says when or by whom the row was written, so a rebuild from the topics gives the same text.

use std::io::Write;

use domain::hex;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::adapters::link::{Link, Role};
use crate::adapters::place::Place;
use crate::adapters::sql;
use crate::adapters::store::offset;
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

/// The export of a call log that may be written to meanwhile, and how far of the topics it had read: one snapshot of both.
pub struct Exported {
    pub export: Export,
    /// (topic, partition, next offset).
    pub read: Vec<(String, i32, i64)>,
}

pub async fn canonical_export(place: &Place, out: impl Write + Send) -> Result<Exported, StoreError> {
    let mut link = Link::open(place, Role::Reader).await?;
    let mut sink = Sink { out, hash: Sha256::new(), line: Vec::with_capacity(4096) };
    let (mut calls, mut legs, mut read) = (0, 0, Vec::new());
    let queries = [
        (*sql::SELECT_CALLS, CallRow::COLUMNS),
        (*sql::SELECT_LEGS, LegRow::COLUMNS),
        (sql::SELECT_OFFSETS, sql::OFFSETS),
    ];
    link.snapshot(&queries, |query, values| {
        match query {
            0 => {
                let row = CallRow::from_values(values);
                sink.line(&Line::Call(&row.map_err(|column| StoreError::Column { table: "calls", column })?))?;
                calls += 1;
            }
            1 => {
                let row = LegRow::from_values(values);
                sink.line(&Line::Leg(&row.map_err(|column| StoreError::Column { table: "legs", column })?))?;
                legs += 1;
            }
            _ => {
                let ((topic, partition), next) = offset(values)?;
                read.push((topic, partition, next));
            }
        }
        Ok(())
    })
    .await?;
    link.close().await?;
    sink.out.flush()?;
    let export = Export { calls, legs, sha256: hex(&sink.hash.finalize()) };
    Ok(Exported { export, read })
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
