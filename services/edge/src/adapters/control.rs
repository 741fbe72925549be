//! The control topics, read from their beginning at start and followed from then on.
//!
//! Every batch becomes one snapshot, handed to the shard through a bounded mailbox; when the shard is busy this consumer
//! waits, never the shard. The acknowledgement travels with the snapshot and is published when it is in force.

use std::sync::Arc;

use async_trait::async_trait;
use domain::Clock;
use schemas::{ControlAck, ControlBlock, ControlWeight, Event, TopicSpec};
use stream::{Bad, Failure, Handler, Poison, Record};
use tokio::sync::mpsc;

use super::bell::Bell;
use super::shard::Update;
use crate::core::control::Store;

/// Keys named in one acknowledgement.
const CHANGED: usize = 100;

pub fn topics() -> Vec<&'static TopicSpec> {
    vec![ControlBlock::TOPIC, ControlWeight::TOPIC]
}

pub struct ControlHandler {
    pub edge_id: String,
    pub clock: Arc<dyn Clock>,
    pub max_rules: usize,
    pub store: Store,
    pub updates: mpsc::Sender<Update>,
    /// Wakes the shard.
    pub bell: Bell,
    pub life: kit::Lifecycle,
    pub rules_in_force: usize,
}

impl ControlHandler {
    fn take(&mut self, index: usize, record: &Record) -> Result<Option<String>, Bad> {
        let key = String::from_utf8_lossy(&record.key).into_owned();
        let invalid = |e: schemas::Invalid| Bad::Poison(Poison { index, class: "invalid", error: e.to_string() });
        if record.topic == ControlBlock::TOPIC {
            let block = match record.value {
                Some(_) => Some(stream::decode::<ControlBlock>(index, record)?),
                None => None,
            };
            block.as_ref().map_or(Ok(()), Event::check).map_err(invalid)?;
            self.store.block(&key, block);
        } else if record.topic == ControlWeight::TOPIC {
            let weight = match record.value {
                Some(_) => Some(stream::decode::<ControlWeight>(index, record)?),
                None => None,
            };
            weight.as_ref().map_or(Ok(()), Event::check).map_err(invalid)?;
            self.store.weight(&key, weight);
        } else {
            return Ok(None);
        }
        Ok(Some(key))
    }

    async fn apply(&mut self, changed: Vec<String>) -> Result<(), Failure> {
        let wall = self.clock.now().wall_us;
        let control = Arc::new(self.store.snapshot(wall, self.max_rules));
        if control.dropped > 0 {
            tracing::error!(
                dropped = control.dropped,
                "block rules beyond limits.blocks, or unreadable, are not applied"
            );
        }
        self.rules_in_force = control.rules.len();
        let count = |enforce: bool| control.rules.iter().filter(|r| r.enforce == enforce).count() as i32;
        let ack = ControlAck {
            event_type: "applied".to_owned(),
            applier_id: self.edge_id.clone(),
            applier_kind: "edge".to_owned(),
            source: "topic".to_owned(),
            applied: control.applied.clone(),
            changed: changed.into_iter().take(CHANGED).collect(),
            blocks_enforced: count(true),
            blocks_shadow: count(false),
            weights_active: control.nodes_weighted() as i32,
            made_us: (control.made_us > 0).then_some(control.made_us),
            since_us: wall,
            ..ControlAck::default()
        };
        let update = Update::Control { control, ack: Some(Box::new(ack)) };
        // The shard is gone only when the process stops.
        self.updates.send(update).await.map_err(|_| Failure::Transient(anyhow::anyhow!("the shard has stopped")))?;
        self.bell.ring();
        Ok(())
    }
}

#[async_trait]
impl Handler for ControlHandler {
    async fn handle(&mut self, batch: &[Record]) -> Result<Vec<Poison>, Failure> {
        let (mut poison, mut changed) = (Vec::new(), Vec::new());
        for (index, record) in batch.iter().enumerate() {
            match self.take(index, record) {
                Ok(key) => changed.extend(key),
                Err(Bad::Poison(bad)) => poison.push(bad),
                Err(Bad::Wait(error)) => return Err(Failure::Transient(error)),
            }
            self.store.applied(record.topic.name, record.partition, record.offset);
        }
        self.apply(changed).await?;
        Ok(poison)
    }

    async fn tick(&mut self) -> Result<(), Failure> {
        if self.store.expire(self.clock.now().wall_us) {
            self.apply(Vec::new()).await?;
        }
        Ok(())
    }

    fn caught_up(&mut self) {
        self.life.set_ready("control", true);
        tracing::info!(rules = self.rules_in_force, "blocks and weights are in force");
    }
}
