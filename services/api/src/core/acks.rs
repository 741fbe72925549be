//! Which edge or engine has applied the control topics how far.

use std::collections::BTreeMap;

use schemas::ControlAck;
use serde::Serialize;

/// Edges and engines together; more would be a fault of ids.
const MAX_APPLIERS: usize = 1_000;

#[derive(Debug, Default)]
pub struct Acks {
    newest: BTreeMap<String, ControlAck>,
}

/// One who applied a record, for the page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Applied {
    pub id: String,
    pub kind: String,
    pub since_us: i64,
}

impl Acks {
    pub fn apply(&mut self, ack: ControlAck) {
        let known = self.newest.get(&ack.applier_id);
        if known.is_some_and(|known| known.since_us > ack.since_us)
            || (known.is_none() && self.newest.len() >= MAX_APPLIERS)
        {
            return;
        }
        self.newest.insert(ack.applier_id.clone(), ack);
    }

    /// Who says that this record is in force for them.
    #[must_use]
    pub fn of(&self, topic: &str, partition: i32, offset: i64) -> Vec<Applied> {
        let covers = |ack: &&ControlAck| {
            ack.applied.iter().any(|a| a.topic == topic && a.partition == partition && a.offset >= offset)
        };
        let applied = |ack: &ControlAck| Applied {
            id: ack.applier_id.clone(),
            kind: ack.applier_kind.clone(),
            since_us: ack.since_us,
        };
        self.newest.values().filter(covers).map(applied).collect()
    }
}
