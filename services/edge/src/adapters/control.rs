//! The control topics, read from their beginning at start and followed from then on.
//!
//! Every batch goes over the [`Desk`], which puts it in force as one snapshot; when the shard is busy this consumer waits, never the
//! shard. The acknowledgement travels with the snapshot and is published when it is in force.

use std::sync::Arc;

use async_trait::async_trait;
use schemas::{ControlBlock, ControlNode, ControlRoute, ControlWeight, Event, TopicSpec};
use stream::{Failure, Handler, Poison, Record};

use crate::desk::Desk;

pub fn topics() -> Vec<&'static TopicSpec> {
    vec![ControlBlock::TOPIC, ControlWeight::TOPIC, ControlRoute::TOPIC, ControlNode::TOPIC]
}

pub struct ControlHandler {
    pub desk: Arc<Desk>,
    pub life: kit::Lifecycle,
}

#[async_trait]
impl Handler for ControlHandler {
    async fn handle(&mut self, batch: &[Record]) -> Result<Vec<Poison>, Failure> {
        self.desk.take(batch).await
    }

    fn caught_up(&mut self) {
        let (desk, life) = (Arc::clone(&self.desk), self.life.clone());
        self.life.spawn("control-caught-up", kit::TaskOptions::default(), move |_task| async move {
            let rules = desk.caught_up().await;
            life.set_ready("control", true);
            tracing::info!(rules, "blocks, weights, routes and nodes of the topics are in force");
            Ok(())
        });
    }
}
