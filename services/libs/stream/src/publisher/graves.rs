//! Dead epochs: their rings are emptied first, oldest first; then the account of each is closed; and when that is safe too, the file
//! goes.

use std::collections::VecDeque;

use super::epoch::Epoch;

pub struct Graves {
    /// With events that have to be moved.
    full: VecDeque<Epoch>,
    /// Closed; the file goes when the live ring is safe up to this position.
    closed: Vec<(Epoch, u64)>,
}

impl Graves {
    pub fn new(dead: VecDeque<Epoch>) -> Self {
        Self { full: dead, closed: Vec::new() }
    }

    pub fn next(&mut self) -> Option<Epoch> {
        self.full.pop_front()
    }

    /// The account of this one is closed by an event below `position` of the live ring.
    pub fn close(&mut self, epoch: Epoch, position: u64) {
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
        self.full.is_empty() && self.closed.is_empty()
    }
}
