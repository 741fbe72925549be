//! Appends in flight. They are answered in the order in which they began; when one fails, everything from it on is repeated in order,
//! so the last copy of every key is the right one.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures::{
    Future, StreamExt,
    future::{Either, ready},
    stream::FuturesOrdered,
};

use crate::{Commit, EventLog, LogError, Outgoing};

const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Records on their way, and what of the spool is done when they arrived.
pub struct Batch {
    pub records: Arc<Vec<Outgoing>>,
    pub done: Vec<Commit>,
    pub bytes: usize,
}

type Answer = (Batch, Result<(), LogError>);

pub struct Flight {
    log: Arc<dyn EventLog>,
    open: FuturesOrdered<Pin<Box<dyn Future<Output = Answer> + Send>>>,
    bytes: usize,
    /// Timestamps of the first record of each batch, oldest first.
    began: std::collections::VecDeque<i64>,
}

/// What is in flight is bounded: by memory, and so that an outage does not leave much to be sent twice.
const MAX_BYTES: usize = 16 << 20;
const MAX_BATCHES: usize = 64;

impl Flight {
    pub fn new(log: Arc<dyn EventLog>) -> Self {
        Self { log, open: FuturesOrdered::new(), bytes: 0, began: std::collections::VecDeque::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub fn has_room(&self) -> bool {
        self.bytes < MAX_BYTES && self.open.len() < MAX_BATCHES
    }

    pub fn oldest_us(&self) -> Option<i64> {
        self.began.front().copied()
    }

    /// Begins an append: it is polled here once, which gives it its place behind the ones before.
    pub async fn push(&mut self, batch: Batch) {
        self.bytes += batch.bytes;
        self.began.push_back(batch.records.first().map_or(0, |r| r.timestamp_us));
        let (log, records) = (self.log.clone(), batch.records.clone());
        let mut append = Box::pin(async move { log.append_shared(records).await });
        let begun = match futures::poll!(&mut append) {
            std::task::Poll::Ready(answer) => Either::Left(ready(answer)),
            std::task::Poll::Pending => Either::Right(append),
        };
        self.open.push_back(Box::pin(async move { (batch, begun.await) }));
    }

    /// The oldest batch, when it is answered.
    pub async fn next(&mut self) -> Option<Answer> {
        let answer = self.open.next().await?;
        self.bytes -= answer.0.bytes;
        self.began.pop_front();
        Some(answer)
    }

    /// Sends everything from a failed batch on again, one after the other, until it is there. `tell` hears of each failure and says
    /// whether to go on; `refused` of each record that nobody will ever take.
    pub async fn repair(
        &mut self,
        failed: Batch,
        mut tell: impl FnMut(&LogError) -> bool,
        mut refused: impl FnMut(&Outgoing, &LogError),
    ) -> Vec<Batch> {
        let mut again = vec![failed];
        while let Some((batch, _)) = self.next().await {
            again.push(batch);
        }
        let mut done = Vec::new();
        for batch in again {
            if !self.insist(&batch.records, &mut tell, &mut refused).await {
                break;
            }
            done.push(batch);
        }
        done
    }

    async fn insist(
        &self,
        records: &Arc<Vec<Outgoing>>,
        tell: &mut impl FnMut(&LogError) -> bool,
        refused: &mut impl FnMut(&Outgoing, &LogError),
    ) -> bool {
        let mut backoff = BACKOFF_MIN;
        loop {
            let error = match self.log.append_shared(records.clone()).await {
                Ok(()) => return true,
                Err(error) => error,
            };
            if is_the_records_fault(&error) {
                if records.len() == 1 {
                    refused(&records[0], &error);
                    return true;
                }
                for record in records.iter() {
                    if !Box::pin(self.insist(&Arc::new(vec![record.clone()]), tell, refused)).await {
                        return false;
                    }
                }
                return true;
            }
            if !tell(&error) {
                return false;
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }
}

/// Everything else is waited out: a missing topic can be made, a setting mended.
pub fn is_the_records_fault(error: &LogError) -> bool {
    matches!(error, LogError::TooLarge { .. } | LogError::NoPartition { .. })
}
