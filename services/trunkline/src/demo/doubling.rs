//! "Deliver everything twice": a log that, while switched on, appends each event a second time.
//!
//! The copies carry the same producer, epoch and sequence number, as a producer's retry after a lost acknowledgement would.
//! Every consumer has to show the same books as without them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use schemas::TopicSpec;
use stream::{Assigned, Bounds, EventLog, LogError, Outgoing, Source, Subscription};

pub struct Doubling {
    inner: Arc<dyn EventLog>,
    on: Arc<AtomicBool>,
}

impl Doubling {
    #[must_use]
    pub fn new(inner: Arc<dyn EventLog>) -> (Arc<Doubling>, Arc<AtomicBool>) {
        let on = Arc::new(AtomicBool::new(false));
        (Arc::new(Doubling { inner, on: Arc::clone(&on) }), on)
    }
}

#[async_trait]
impl EventLog for Doubling {
    async fn ensure_topics(&self, topics: &[&'static TopicSpec]) -> Result<(), LogError> {
        self.inner.ensure_topics(topics).await
    }

    async fn append_shared(&self, batch: Arc<Vec<Outgoing>>) -> Result<(), LogError> {
        if self.on.load(Ordering::Relaxed) {
            self.inner.append_shared(Arc::clone(&batch)).await?;
        }
        self.inner.append_shared(batch).await
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Source>, LogError> {
        self.inner.subscribe(subscription).await
    }

    async fn assign(&self, parts: Vec<Assigned>) -> Result<Box<dyn Source>, LogError> {
        self.inner.assign(parts).await
    }

    async fn bounds(&self, topic: &'static TopicSpec) -> Result<Vec<Bounds>, LogError> {
        self.inner.bounds(topic).await
    }

    async fn committed(&self, group: &str, topic: &'static TopicSpec) -> Result<Vec<Option<i64>>, LogError> {
        self.inner.committed(group, topic).await
    }
}
