//! A decision as a record of `control.weights`.

use std::sync::Arc;

use domain::Clock;
use schemas::{ControlWeight, Event as _};
use stream::Publisher;

use crate::core::Decision;
use crate::metrics::Metrics;

pub const AUTHOR: &str = "capacity";

#[derive(Clone)]
pub struct Writer {
    pub publisher: Publisher,
    pub clock: Arc<dyn Clock>,
    pub valid_us: i64,
    pub metrics: Metrics,
}

impl Writer {
    pub fn weight(&self, decision: &Decision, wall_us: i64) {
        let weighed = &decision.weighed;
        self.publisher.publish(ControlWeight {
            event_type: "weight".to_owned(),
            node_id: decision.node.to_string(),
            author: AUTHOR.to_owned(),
            weight: weighed.weight,
            // Draining and disabling are an operator's to decide.
            state: "active".to_owned(),
            inputs: Some(weighed.inputs.clone()),
            rule: Some(weighed.rule.to_owned()),
            reason: Some(weighed.reason.clone()),
            made_us: wall_us,
            until_us: Some(wall_us + self.valid_us),
            ..ControlWeight::default()
        });
        self.metrics.weights.inc();
    }

    pub fn bury(&self, node: &str) {
        self.publisher.tombstone(ControlWeight::TOPIC, &format!("{node}/{AUTHOR}"));
        self.metrics.tombstones.inc();
    }
}
