//! Takes finished records from the outbox to the log. At least once: a row is deleted only when the log has the record, and two
//! copies of a record have the same content, therefore the same logical id.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use schemas::{CdrCall, CdrLeg};
use stream::Publisher;
use tokio::sync::Notify;

use crate::adapters::link::{Link, Role, Step};
use crate::adapters::place::Place;
use crate::adapters::sql;
use crate::adapters::store::Cells;
use crate::core::row::Value;
use crate::error::StoreError;

/// Rows taken at once: bounds what is in the publisher's queue because of us.
const TAKE: i64 = 500;
const DURABLE_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Shared with whoever fills the outbox.
#[derive(Clone, Default)]
pub struct Bell {
    notify: Arc<Notify>,
    published: Arc<AtomicU64>,
}

impl Bell {
    pub fn ring(&self) {
        self.notify.notify_one();
    }

    /// Records that the log has taken since the start.
    #[must_use]
    pub fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }
}

pub struct Outbox {
    link: Link,
    place: Place,
    publisher: Publisher,
    bell: Bell,
}

impl Outbox {
    pub async fn open(place: Place, publisher: Publisher, bell: Bell) -> Result<Outbox, StoreError> {
        Ok(Outbox { link: Link::open(&place, Role::Second).await?, place, publisher, bell })
    }

    /// Publishes until told to stop; then once more, so that an orderly stop leaves nothing behind.
    pub async fn run(mut self, task: kit::Task) -> anyhow::Result<()> {
        let shutdown = task.shutdown();
        loop {
            task.beat();
            match self.drain().await {
                Ok(()) => {}
                Err(error) => {
                    tracing::warn!(place = %self.place, %error, "the outbox of the call log cannot be read, trying again");
                }
            }
            if shutdown.is_cancelled() {
                return Ok(());
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = self.bell.notify.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    async fn drain(&mut self) -> Result<(), StoreError> {
        loop {
            let rows = self.link.rows(sql::SELECT_OUTBOX, vec![Value::Int(Some(TAKE))], sql::OUTBOX).await?;
            let (mut last, taken) = (None, rows.len() as u64);
            for row in rows {
                let mut cells = Cells::new("outbox", sql::OUTBOX, row);
                last = Some(cells.int()?);
                self.publish(&cells.text()?, &cells.text()?);
            }
            let Some(last) = last else { return Ok(()) };
            if let Err(waiting) = self.publisher.flush(DURABLE_WITHIN).await {
                // The rows stay and go out again later; consumers know copies by their content.
                tracing::warn!(events = waiting.events, "the log has not taken the finished records yet");
                return Ok(());
            }
            self.link.write(vec![Step { sql: sql::DELETE_OUTBOX, values: vec![Value::Int(Some(last))] }]).await?;
            self.bell.published.fetch_add(taken, Ordering::Relaxed);
        }
    }

    fn publish(&self, topic: &str, payload: &str) {
        let sent = match topic {
            "cdr.calls" => serde_json::from_str::<CdrCall>(payload).map(|e| self.publisher.publish(e)),
            _ => serde_json::from_str::<CdrLeg>(payload).map(|e| self.publisher.publish(e)),
        };
        if let Err(error) = sent {
            tracing::error!(topic, %error, "a record in the outbox is not readable and is dropped; the row in the call log is intact");
        }
    }
}
