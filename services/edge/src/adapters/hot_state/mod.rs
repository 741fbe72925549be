//! What edges tell each other about the use of their trunks: the hot-state port and its two adapters.
//!
//! Written behind the calls: a task of its own says a few times a second what the last picture of the shard shows, takes what the
//! others said and puts it into the shard's mailbox. No call ever waits for it. When the store is away, the shard notices by itself
//! that nothing new comes, and keeps to this edge's part of the limits.

mod in_process;
mod redis;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use tokio::sync::mpsc;

pub use self::redis::Redis;
pub use in_process::InProcess;

use super::bell::Bell;
use super::mail::Update;
use crate::core::Snapshot;
use crate::core::admission::{Told, Use};

/// An edge that said nothing for so long is not counted any more.
pub const LEASE: Duration = Duration::from_secs(3);
/// One exchange; a store that takes longer is as good as away.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum HotError {
    #[error("the store of shared limits cannot be reached: {0}")]
    Away(String),
    #[error("the store of shared limits holds what is not ours: {0}")]
    Foreign(String),
}

#[async_trait]
pub trait HotState: Send + Sync {
    /// Says what this edge uses of each trunk, and gives what every edge said within the lease, this one among them.
    async fn exchange(&self, edge: &str, uses: &BTreeMap<String, Use>) -> Result<Told, HotError>;
}

/// Tells and listens until the service stops.
pub async fn keep(
    store: Arc<dyn HotState>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    interval: Duration,
    (updates, bell): (mpsc::Sender<Update>, Bell),
    task: kit::Task,
) -> anyhow::Result<()> {
    let (stop, mut is_away) = (task.shutdown(), false);
    let mut tick = tokio::time::interval(interval);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = tick.tick() => {}
        }
        task.beat();
        let picture = snapshot.load_full();
        let uses = picture
            .trunks
            .iter()
            .filter(|t| t.cps > 0.0 || t.cps_out > 0.0 || t.calls_max > 0)
            .map(|t| {
                let uses = Use { calls: t.calls_now, asked_per_s: t.asked_per_s, asked_out_per_s: t.asked_out_per_s };
                (t.id.clone(), uses)
            })
            .collect();
        let exchange = tokio::time::timeout(PATIENCE, store.exchange(&picture.edge_id, &uses)).await;
        match exchange.unwrap_or_else(|_| Err(HotError::Away("it does not answer".to_owned()))) {
            Ok(told) => {
                if std::mem::take(&mut is_away) {
                    tracing::info!(
                        edges = told.edges.len(),
                        "the limits of trunks are shared with the other edges again"
                    );
                }
                // A full mailbox: the next exchange says the same.
                if updates.try_send(Update::Shared(Arc::new(told))).is_ok() {
                    bell.ring();
                }
            }
            Err(error) if !is_away => {
                is_away = true;
                tracing::warn!(%error, "each edge keeps to its own part of the trunks' limits until then");
            }
            Err(_) => {}
        }
    }
}
