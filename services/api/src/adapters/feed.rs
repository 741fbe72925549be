//! From the topics into the board.

use std::sync::Arc;

use async_trait::async_trait;
use domain::Clock;
use parking_lot::RwLock;
use schemas::{ControlAck, ControlAudit, ControlBlock, ControlWeight, Event, FraudAlert, NodeHealth, TopicSpec};
use stream::{Bad, Failure, Handler, Poison, Publisher, Record};

use crate::core::board::Board;
use crate::core::change::AUTHOR;

/// State: small or compacted, read from the beginning at every start.
#[must_use]
pub fn state_topics() -> Vec<&'static TopicSpec> {
    vec![ControlBlock::TOPIC, ControlWeight::TOPIC, ControlAck::TOPIC, ControlAudit::TOPIC, FraudAlert::TOPIC]
}

/// Health is only worth something while it is new.
#[must_use]
pub fn health_topics() -> Vec<&'static TopicSpec> {
    vec![NodeHealth::TOPIC]
}

pub struct Feed {
    pub board: Arc<RwLock<Board>>,
    pub clock: Arc<dyn Clock>,
    /// Buries what ended an hour ago; `None` for the feed that does not hold the state.
    pub publisher: Option<Publisher>,
    pub on_caught_up: Option<Box<dyn FnOnce() + Send>>,
}

#[async_trait]
impl Handler for Feed {
    async fn handle(&mut self, batch: &[Record]) -> Result<Vec<Poison>, Failure> {
        let mut poison = Vec::new();
        for (index, record) in batch.iter().enumerate() {
            match self.take(index, record) {
                Ok(()) => {}
                Err(Bad::Poison(bad)) => poison.push(bad),
                Err(Bad::Wait(error)) => return Err(Failure::Transient(error)),
            }
        }
        Ok(poison)
    }

    async fn tick(&mut self) -> Result<(), Failure> {
        // Not while the past is still being read: what looks ended may be followed by something newer.
        let (Some(publisher), None) = (&self.publisher, &self.on_caught_up) else { return Ok(()) };
        let now = self.clock.now();
        let (blocks, weights) = {
            let mut board = self.board.write();
            (board.blocks.sweep(now, AUTHOR), board.nodes.ended(now, AUTHOR))
        };
        for key in blocks {
            publisher.tombstone(ControlBlock::TOPIC, &key);
        }
        for key in weights {
            publisher.tombstone(ControlWeight::TOPIC, &key);
        }
        Ok(())
    }

    fn caught_up(&mut self) {
        if let Some(tell) = self.on_caught_up.take() {
            tell();
        }
    }
}

impl Feed {
    fn take(&self, index: usize, record: &Record) -> Result<(), Bad> {
        let topic = record.topic;
        if record.value.is_none() {
            self.bury(topic, &record.key);
            return Ok(());
        }
        if topic == ControlBlock::TOPIC {
            let event = stream::decode::<ControlBlock>(index, record)?;
            self.board.write().blocks.apply(event, record.partition, record.offset);
        } else if topic == ControlWeight::TOPIC {
            let event = stream::decode::<ControlWeight>(index, record)?;
            self.board.write().nodes.apply_weight(event);
        } else if topic == ControlAck::TOPIC {
            let event = stream::decode::<ControlAck>(index, record)?;
            self.board.write().acks.apply(event);
        } else if topic == ControlAudit::TOPIC {
            let event = stream::decode::<ControlAudit>(index, record)?;
            self.board.write().audit.apply(event);
        } else if topic == FraudAlert::TOPIC {
            let event = stream::decode::<FraudAlert>(index, record)?;
            self.board.write().alerts.apply(event);
        } else if topic == NodeHealth::TOPIC {
            let event = stream::decode::<NodeHealth>(index, record)?;
            self.board.write().nodes.apply_health(self.clock.now(), event);
        }
        Ok(())
    }

    fn bury(&self, topic: &'static TopicSpec, key: &[u8]) {
        let Ok(key) = std::str::from_utf8(key) else { return };
        let mut board = self.board.write();
        if topic == ControlBlock::TOPIC {
            board.blocks.tombstone(key);
        } else if topic == ControlWeight::TOPIC {
            board.nodes.tombstone_weight(key);
        }
    }
}
