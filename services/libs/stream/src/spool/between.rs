//! What forwarder and sender agree on.
//!
//! Only one of them sends to Kafka at a time, or a stale event of the spool could overtake a newer one that went past it. The turn is
//! the sender's; the forwarder asks for it when the spool fails, and gets it once everything in the spool is sent.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;

use super::figures::Figures;
use crate::{Commit, EmbeddedLog};

#[derive(Debug, Clone, Default)]
pub enum Turn {
    /// The spool is not open yet: nobody sends.
    #[default]
    Nobody,
    Sender,
    /// The forwarder wants it.
    Asked,
    Forwarder,
    /// The sender's again, and what stands below in the spool was sent past it.
    Skip(Vec<Commit>),
}

/// More batches than this on their way are told apart less finely.
const MARKS: usize = 1024;

#[derive(Default)]
pub struct Between {
    turn: Mutex<Turn>,
    spool: Mutex<Option<Arc<EmbeddedLog>>>,
    /// (position in the ring, events that were spooled up to there), rising.
    marks: Mutex<VecDeque<(u64, u64)>>,
    /// The disk is full and lives on its reserve.
    pub emergency: AtomicBool,
    stop: AtomicBool,
}

impl Between {
    pub fn turn(&self) -> Turn {
        self.turn.lock().clone()
    }

    /// The spool is open. Whoever has the turn keeps it.
    pub fn opened(&self, spool: Arc<EmbeddedLog>) {
        *self.spool.lock() = Some(spool);
        let mut turn = self.turn.lock();
        if matches!(*turn, Turn::Nobody | Turn::Asked) {
            *turn = Turn::Sender;
        }
    }

    pub fn spool(&self) -> Option<Arc<EmbeddedLog>> {
        self.spool.lock().clone()
    }

    /// The forwarder wants to send by itself. True: it may.
    pub fn ask(&self) -> bool {
        let mut turn = self.turn.lock();
        match *turn {
            Turn::Forwarder => return true,
            // Nothing was ever sent out of this spool by this process, and nothing will be until it is open.
            Turn::Nobody => *turn = Turn::Forwarder,
            Turn::Sender => *turn = Turn::Asked,
            Turn::Asked | Turn::Skip(_) => {}
        }
        matches!(*turn, Turn::Forwarder)
    }

    /// For the sender, when all is sent and nothing is in flight.
    pub fn grant(&self) {
        let mut turn = self.turn.lock();
        if matches!(*turn, Turn::Asked) {
            *turn = Turn::Forwarder;
        }
    }

    /// For the forwarder: the spool takes events, so it does not want the turn any more, whether it had it, knew that it had it, or only
    /// asked. What stands below `skip` in the spool was sent past it.
    pub fn hand_back(&self, skip: Vec<Commit>) {
        let mut turn = self.turn.lock();
        if !skip.is_empty() {
            *turn = Turn::Skip(skip);
        } else if matches!(*turn, Turn::Asked | Turn::Forwarder) {
            *turn = Turn::Sender;
        }
    }

    pub fn skipped(&self) {
        *self.turn.lock() = Turn::Sender;
    }

    /// Everything in the ring below `position` is in the spool, which took so many events until then.
    pub fn mark(&self, position: u64, spooled: u64) {
        let mut marks = self.marks.lock();
        if marks.len() >= MARKS {
            marks.pop_back();
        }
        marks.push_back((position, spooled));
    }

    /// The position in the ring below which everything is sent, if it is a new one.
    pub fn reached(&self, figures: &Figures) -> Option<u64> {
        let mut marks = self.marks.lock();
        let sent = figures.all_sent();
        let mut reached = None;
        while let Some((position, _)) = marks.front().filter(|(_, spooled)| *spooled <= sent) {
            reached = Some(*position);
            marks.pop_front();
        }
        reached
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_turn_goes_to_the_forwarder_only_when_the_sender_grants_it() {
        let between = Between { turn: Mutex::new(Turn::Sender), ..Between::default() };
        assert!(!between.ask() && !between.ask());
        between.grant();
        assert!(between.ask());
        between.hand_back(Vec::new());
        between.grant();
        assert!(matches!(between.turn(), Turn::Sender), "nobody asked");
        between.ask();
        between.grant();
        between.hand_back(Vec::new());
        assert!(matches!(between.turn(), Turn::Sender), "given back before the forwarder saw that it had it");
    }

    #[test]
    fn a_spool_that_never_opened_holds_up_nobody() {
        assert!(Between::default().ask());
    }

    #[test]
    fn marks_are_reached_in_order_and_never_too_early() {
        let (between, figures) = (Between::default(), Figures::default());
        for n in 1..=3000 {
            between.mark(n * 100, figures.spooled(10));
        }
        figures.sent(25);
        assert_eq!(between.reached(&figures), Some(200));
        assert_eq!(between.reached(&figures), None);
        figures.sent(3000 * 10 - 26);
        assert!(between.reached(&figures).is_some_and(|at| at < 3000 * 100));
        figures.sent(1);
        assert_eq!(between.reached(&figures), Some(3000 * 100));
    }
}
