//! What becomes of poison: pure. A poison record is a dead letter, unless it is one of too many.
//!
//! A run of poison is held back until it ends, because a run that never ends is a bad deploy: then the pump stops at the run's first
//! record and none of it was thrown away. A good record ends the run, and so does a second without another record, so that one poison
//! record at the end of a quiet topic does not wait for ever.

use std::time::{Duration, Instant};

use super::{
    Part, Poison,
    caps::{CapHit, CapLimits, Caps},
};
use crate::Record;

/// A run that does not grow for so long is decided.
const HOLD: Duration = Duration::from_secs(1);

/// A poison record that is not yet a dead letter.
pub struct Suspect {
    pub record: Record,
    pub poison: Poison,
    pub attempts: u32,
    /// The assignment of its partition under which it was read.
    pub number: u64,
}

impl Suspect {
    pub fn part(&self) -> Part {
        (self.record.topic.name, self.record.partition)
    }
}

pub struct Jury {
    caps: Caps,
    held: Vec<Suspect>,
    /// When the newest of them came.
    since: Instant,
}

/// The cap was hit; this is where to go on after the fix.
pub struct Stop {
    pub hit: CapHit,
    pub first: Record,
    pub error: String,
}

impl Jury {
    pub fn new(limits: CapLimits, now: Instant) -> Self {
        Self { caps: Caps::new(limits), held: Vec::new(), since: now }
    }

    /// A record that was handled: ends a run. The suspects are dead letters.
    pub fn good(&mut self) -> Vec<Suspect> {
        // A good record never hits a cap.
        let _no_hit = self.caps.note(false);
        std::mem::take(&mut self.held)
    }

    pub fn suspect(&mut self, suspect: Suspect, now: Instant) -> Result<(), Box<Stop>> {
        if let Some(hit) = self.caps.note(true) {
            let error = suspect.poison.error.clone();
            let first = self.held.drain(..).next().map_or(suspect.record, |first| first.record);
            return Err(Box::new(Stop { hit, first, error }));
        }
        self.since = now;
        self.held.push(suspect);
        Ok(())
    }

    /// The suspects, when it is time: the run does not grow any more, or there is no room to wait for its end.
    pub fn due(&mut self, now: Instant, no_room: bool) -> Vec<Suspect> {
        let due = no_room || now.saturating_duration_since(self.since) >= HOLD;
        if due { std::mem::take(&mut self.held) } else { Vec::new() }
    }

    pub fn is_waiting(&self) -> bool {
        !self.held.is_empty()
    }

    /// Work of partitions that are not ours any more.
    pub fn forget(&mut self, ours: impl Fn(&Suspect) -> bool) {
        self.held.retain(ours);
    }
}
