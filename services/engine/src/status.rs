//! What the engine shows of each node while it runs: to the demo, the metrics and whoever holds [`crate::Running`].

use std::sync::Arc;

use parking_lot::Mutex;

use crate::core::Tally;

/// A node's link and counters, as of its last batch of events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeState {
    pub up: bool,
    /// Since the engine started.
    pub connections: u64,
    /// Why the last connection ended or could not be made.
    pub last_error: Option<String>,
    pub core_uuid: Option<String>,
    pub channels: usize,
    /// Channels that are led through a menu now.
    pub callers: usize,
    /// From the node's time stamp to our reading, latest.
    pub event_lag_us: Option<i64>,
    pub tally: Tally,
}

/// A view on one node; cheap to clone.
#[derive(Debug, Clone)]
pub struct NodeHandle {
    pub id: String,
    pub address: String,
    state: Arc<Mutex<NodeState>>,
}

impl NodeHandle {
    pub(crate) fn new(id: &str, address: &str) -> Self {
        Self { id: id.to_owned(), address: address.to_owned(), state: Arc::default() }
    }

    pub fn state(&self) -> NodeState {
        self.state.lock().clone()
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut NodeState)) {
        change(&mut self.state.lock());
    }
}
