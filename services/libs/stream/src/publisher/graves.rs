//! Dead epochs that are emptied: the account of each is closed by a manifest in the live ring, and when that is safe too, its file goes.

use std::sync::Arc;

use super::epoch::Epoch;

/// Closed epochs; the file of each goes when the live ring is safe up to its position.
#[derive(Default)]
pub struct Graves {
    closed: Vec<(Arc<Epoch>, u64)>,
}

impl Graves {
    /// The account of this one is closed by an event below `position` of the live ring.
    pub fn close(&mut self, epoch: Arc<Epoch>, position: u64) {
        self.closed.push((epoch, position));
    }

    /// Removes what is safe. Gives how many went.
    pub fn clear(&mut self, safe_to: u64) -> u64 {
        let before = self.closed.len();
        self.closed.retain(|(epoch, position)| {
            let keep = *position > safe_to;
            if !keep {
                epoch.ring.remove();
            }
            keep
        });
        (before - self.closed.len()) as u64
    }

    pub fn is_empty(&self) -> bool {
        self.closed.is_empty()
    }
}
