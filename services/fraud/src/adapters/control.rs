//! `control.blocks` and `control.acks`, from their beginning: which of our blocks live, and which an edge has in force.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use schemas::{ControlAck, ControlBlock, Event};
use stream::{Bad, Failure, Handler, Poison, Record, decode};
use tokio::sync::watch;

use crate::adapters::Writer;
use crate::adapters::publish::AUTHOR;
use crate::core::{Acks, Block, Confirmed, Velocity};
use crate::metrics::Metrics;

pub struct Control {
    pub rule: Arc<Mutex<Velocity>>,
    pub acks: Acks,
    pub writer: Writer,
    pub metrics: Metrics,
    pub read_to_end: watch::Sender<bool>,
}

#[async_trait]
impl Handler for Control {
    async fn handle(&mut self, batch: &[Record]) -> Result<Vec<Poison>, Failure> {
        let mut poison = Vec::new();
        for (index, record) in batch.iter().enumerate().filter(|(_, r)| r.value.is_some()) {
            let taken = if record.topic == ControlBlock::TOPIC {
                decode::<ControlBlock>(index, record).map(|block| self.block(&block, record))
            } else {
                decode::<ControlAck>(index, record).map(|ack| self.ack(&ack))
            };
            match taken {
                Ok(()) => {}
                Err(Bad::Poison(p)) => poison.push(p),
                Err(Bad::Wait(error)) => return Err(Failure::Transient(error)),
            }
        }
        Ok(poison)
    }

    async fn tick(&mut self) -> Result<(), Failure> {
        let now_us = self.writer.now_us();
        let unconfirmed = self.acks.expire(now_us);
        self.metrics.unconfirmed.inc_by(unconfirmed as u64);
        self.writer.bury(now_us);
        Ok(())
    }

    fn caught_up(&mut self) {
        self.read_to_end.send_replace(true);
    }
}

impl Control {
    fn block(&mut self, event: &ControlBlock, record: &Record) {
        if event.author != AUTHOR || event.event_type != "block" {
            return;
        }
        self.writer.remember(&event.key(), event.expires_us);
        let now_us = self.writer.now_us();
        if event.expires_us <= now_us {
            return;
        }
        if let (Some(trunk), Some(caller)) = (event.scope.trunk.clone(), event.scope.caller.clone()) {
            let life_us = event.expires_us - event.made_us;
            self.rule.lock().restore(Block { trunk, caller, expires_us: event.expires_us, life_us });
        }
        let triggered_us = event.triggered_us.unwrap_or(event.made_us);
        let done = self.acks.placed(&event.block_id, record.partition, record.offset, triggered_us, event.expires_us);
        self.confirmed(&done);
    }

    fn ack(&mut self, event: &ControlAck) {
        for place in event.applied.iter().filter(|a| a.topic == ControlBlock::TOPIC.name) {
            let done = self.acks.applied(&event.applier_id, place.partition, place.offset, event.since_us);
            self.confirmed(&done);
        }
    }

    fn confirmed(&self, done: &[Confirmed]) {
        for c in done {
            self.metrics.confirm_seconds.observe(c.latency_us as f64 / 1e6);
            self.writer.confirmed(c);
            tracing::info!(
                block.id = c.block_id,
                edge = c.applier,
                latency_ms = c.latency_us / 1000,
                "an edge refuses now"
            );
        }
    }
}
