//! A log that hangs, fails and refuses as it is told, and events for it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use schemas::{IvrDecision, SipTransaction, TopicSpec};
use stream::{Bounds, EventLog, LogError, Outgoing, Source, Subscription};

pub fn id(key: usize) -> String {
    format!("00000000-0000-7000-8000-{key:012}")
}

pub fn call(key: usize) -> SipTransaction {
    SipTransaction { call_root_id: id(key), event_type: "attempt".to_owned(), ..SipTransaction::default() }
}

pub fn decision(key: usize) -> IvrDecision {
    IvrDecision { call_root_id: id(key), event_type: "input".to_owned(), ..IvrDecision::default() }
}

/// What a log can do to a publisher.
#[derive(Default)]
pub struct FakeLog {
    pub hang: AtomicBool,
    pub fail: AtomicBool,
    /// A record that it will never take.
    pub refuse_key: Mutex<Option<String>>,
    pub calls: AtomicUsize,
    /// Appends are taken in the order in which they began.
    pub turn: tokio::sync::Mutex<()>,
    pub taken: Mutex<Vec<Outgoing>>,
}

#[async_trait]
impl EventLog for FakeLog {
    async fn ensure_topics(&self, _: &[&'static TopicSpec]) -> Result<(), LogError> {
        Ok(())
    }
    async fn append_shared(&self, batch: Arc<Vec<Outgoing>>) -> Result<(), LogError> {
        let _turn = self.turn.lock().await;
        self.calls.fetch_add(1, Ordering::SeqCst);
        while self.hang.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if self.fail.load(Ordering::SeqCst) {
            let message = "no space left on device".to_owned();
            return Err(LogError::Io { what: "write".into(), kind: std::io::ErrorKind::StorageFull, message });
        }
        if let Some(key) = &*self.refuse_key.lock()
            && batch.iter().any(|r| r.key == key.as_bytes())
        {
            return Err(LogError::TooLarge { topic: "t".into(), bytes: 1, limit: 0 });
        }
        self.taken.lock().extend(batch.iter().cloned());
        Ok(())
    }
    async fn subscribe(&self, _: Subscription) -> Result<Box<dyn Source>, LogError> {
        Err(LogError::Closed)
    }
    async fn assign(&self, _: Vec<stream::Assigned>) -> Result<Box<dyn Source>, LogError> {
        Err(LogError::Closed)
    }
    async fn bounds(&self, _: &'static TopicSpec) -> Result<Vec<Bounds>, LogError> {
        Ok(Vec::new())
    }
    async fn committed(&self, _: &str, _: &'static TopicSpec) -> Result<Vec<Option<i64>>, LogError> {
        Ok(Vec::new())
    }
}

impl FakeLog {
    /// Numbers of each line of one epoch, in the order of arrival.
    pub fn numbers(&self, epoch: i64) -> BTreeMap<(&'static str, i32), Vec<i64>> {
        let mut out: BTreeMap<(&'static str, i32), Vec<i64>> = BTreeMap::new();
        for record in self.taken.lock().iter() {
            let Some(value) = record.value.as_deref() else { continue };
            let identity = schemas::identity(value).expect("ours");
            if identity.epoch == epoch {
                out.entry((record.topic.name, record.partition)).or_default().push(identity.seq);
            }
        }
        out
    }

    pub fn count(&self) -> usize {
        self.taken.lock().len()
    }
}
