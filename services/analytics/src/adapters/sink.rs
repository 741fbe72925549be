//! Where raw rows go at scale: one method, so that a test or a dry run can stand in.

use async_trait::async_trait;
use schemas::{Event, SipTransaction};

use crate::adapters::clickhouse::SipRow;
use crate::core::batch::{Span, runs};
use crate::error::SinkError;

/// Rows of one partition with the identity that makes a repetition harmless.
pub struct RawBatch {
    pub span: Span,
    pub rows: Vec<SipRow>,
}

#[async_trait]
pub trait Sink: Send {
    /// `Ok` = the rows are there. May be called again with the same batch.
    async fn write(&mut self, batch: &RawBatch) -> Result<(), SinkError>;
}

/// Cuts what was read into batches: by partition, in order of offset, at the fixed places of [`runs`].
#[must_use]
pub fn batches(mut records: Vec<(i32, i64, SipTransaction)>) -> Vec<RawBatch> {
    records.sort_by_key(|(partition, offset, _)| (*partition, *offset));
    let mut out = Vec::new();
    let mut rest = records.as_slice();
    while let Some((partition, ..)) = rest.first() {
        let same = rest.iter().take_while(|(p, ..)| p == partition).count();
        let (part, after) = rest.split_at(same);
        rest = after;
        let offsets: Vec<i64> = part.iter().map(|(_, offset, _)| *offset).collect();
        for run in runs(&offsets) {
            let span = Span {
                topic: SipTransaction::TOPIC.name,
                partition: *partition,
                first: offsets[run.start],
                last: offsets[run.end - 1],
                schema_id: SipTransaction::TOPIC.schema_id,
            };
            out.push(RawBatch { span, rows: part[run].iter().map(|(_, _, event)| SipRow::from(event)).collect() });
        }
    }
    out
}
