//! The simulation's own books: what the carriers really did and saw.
//!
//! One entry per call a carrier placed, by its SIP Call-ID, and one per INVITE a carrier received as callee. A call that repeats its
//! INVITE after a challenge is one entry. Entries only move forward (offered → answered → ended, or offered → failed), and the
//! counters move with them, so that a live status line never scans.
//!
//! A call is *closed* when the carrier has nothing left to do for it; its `end` is when it was released, which is earlier.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;

use crate::carrier::Kind;
use crate::clock::Stamp;

/// Who let go of an answered call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Released {
    Caller,
    Far,
}

/// One call that a carrier placed.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub call_id: Arc<str>,
    pub trunk: Arc<str>,
    pub from: String,
    pub to: String,
    pub kind: Kind,
    pub attack: bool,
    pub invite: Stamp,
    /// First 18x.
    pub ringing: Option<Stamp>,
    pub answer: Option<Stamp>,
    /// BYE sent or received, or the final failure.
    pub end: Option<Stamp>,
    /// The final answer as this carrier saw it, a repeated INVITE's for its challenge; none when there was none in time.
    pub final_code: Option<u16>,
    pub challenged: bool,
    /// A CANCEL was wanted, whether or not it won.
    pub cancelled: bool,
    pub released: Option<Released>,
    pub closed: bool,
}

impl Call {
    #[must_use]
    pub fn answered(&self) -> bool {
        self.answer.is_some()
    }
}

/// One INVITE that a carrier received as callee.
#[derive(Clone, Debug, PartialEq)]
pub struct Leg {
    pub call_id: Arc<str>,
    pub trunk: Arc<str>,
    pub from: String,
    pub to: String,
    /// The Contact (else the last Via) of the INVITE: which switch it came from.
    pub node: Option<SocketAddr>,
    pub invite: Stamp,
    pub answer: Option<Stamp>,
    pub end: Option<Stamp>,
    /// What this carrier answered; 487 after a CANCEL.
    pub final_code: Option<u16>,
    pub cancelled: bool,
    pub closed: bool,
}

/// Handle of a call, valid for the ledger that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallKey(usize);

/// Handle of a leg, as [`CallKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LegKey(usize);

/// `offered = open + ended + failed`; `answered` are those of the first two that were answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    pub offered: u64,
    pub answered: u64,
    /// Closed without an answer.
    pub failed: u64,
    pub open: u64,
    /// Answered and closed.
    pub ended: u64,
}

impl Tally {
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            offered: self.offered + other.offered,
            answered: self.answered + other.answered,
            failed: self.failed + other.failed,
            open: self.open + other.open,
            ended: self.ended + other.ended,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    pub ordinary: Tally,
    pub attack: Tally,
    /// Calls that carriers received as callee.
    pub legs: Tally,
    /// Calls that met a challenge and repeated their INVITE.
    pub challenged: u64,
}

impl Counters {
    /// All placed calls, ordinary and attack.
    #[must_use]
    pub fn calls(&self) -> Tally {
        self.ordinary.plus(self.attack)
    }

    /// The same figures counted from entries: what the running counters must equal.
    #[must_use]
    pub fn recount(snapshot: &Snapshot) -> Self {
        let mut counters = Self::default();
        for call in &snapshot.calls {
            let tally = if call.attack { &mut counters.attack } else { &mut counters.ordinary };
            tally.count(call.answered(), call.closed);
            counters.challenged += u64::from(call.challenged);
        }
        for leg in &snapshot.legs {
            counters.legs.count(leg.answer.is_some(), leg.closed);
        }
        counters
    }
}

impl Tally {
    fn count(&mut self, answered: bool, closed: bool) {
        self.offered += 1;
        self.answered += u64::from(answered);
        self.open += u64::from(!closed);
        self.ended += u64::from(closed && answered);
        self.failed += u64::from(closed && !answered);
    }

    fn close(&mut self, answered: bool) {
        self.open -= 1;
        if answered {
            self.ended += 1;
        } else {
            self.failed += 1;
        }
    }
}

/// All entries at one moment, calls and legs each ordered by Call-ID.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub calls: Vec<Call>,
    pub legs: Vec<Leg>,
}

/// What is known when a call is placed.
#[derive(Clone, Debug)]
pub struct NewCall {
    pub call_id: Arc<str>,
    pub trunk: Arc<str>,
    pub from: String,
    pub to: String,
    pub kind: Kind,
    pub attack: bool,
}

/// What is known when a carrier receives an INVITE.
#[derive(Clone, Debug)]
pub struct NewLeg {
    pub call_id: Arc<str>,
    pub trunk: Arc<str>,
    pub from: String,
    pub to: String,
    pub node: Option<SocketAddr>,
}

#[derive(Debug, Default)]
struct Books {
    calls: Vec<Call>,
    by_call_id: HashMap<Arc<str>, CallKey>,
    legs: Vec<Leg>,
    counters: Counters,
}

impl Books {
    /// The entry with the tally it counts in.
    fn call(&mut self, key: CallKey) -> Option<(&mut Call, &mut Tally)> {
        let call = self.calls.get_mut(key.0)?;
        let tally = if call.attack { &mut self.counters.attack } else { &mut self.counters.ordinary };
        Some((call, tally))
    }
}

/// Shared by all carriers of a run. Each call locks for the time of one entry's update, never over an await.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    books: Arc<Mutex<Books>>,
}

impl Ledger {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens an entry. `None` when this Call-ID was placed before: it would be a call that nobody could tell apart.
    pub fn offered(&self, new: NewCall, now: Stamp) -> Option<CallKey> {
        let mut books = self.books.lock();
        if books.by_call_id.contains_key(&new.call_id) {
            return None;
        }
        let key = CallKey(books.calls.len());
        books.by_call_id.insert(new.call_id.clone(), key);
        books.calls.push(Call {
            call_id: new.call_id,
            trunk: new.trunk,
            from: new.from,
            to: new.to,
            kind: new.kind,
            attack: new.attack,
            invite: now,
            ringing: None,
            answer: None,
            end: None,
            final_code: None,
            challenged: false,
            cancelled: false,
            released: None,
            closed: false,
        });
        if let Some((_, tally)) = books.call(key) {
            tally.offered += 1;
            tally.open += 1;
        }
        Some(key)
    }

    pub fn ringing(&self, key: CallKey, now: Stamp) {
        if let Some((call, _)) = self.books.lock().call(key) {
            call.ringing.get_or_insert(now);
        }
    }

    pub fn challenged(&self, key: CallKey) {
        let mut books = self.books.lock();
        let Some((call, _)) = books.call(key) else { return };
        if !std::mem::replace(&mut call.challenged, true) {
            books.counters.challenged += 1;
        }
    }

    pub fn cancelled(&self, key: CallKey) {
        if let Some((call, _)) = self.books.lock().call(key) {
            call.cancelled = true;
        }
    }

    pub fn answered(&self, key: CallKey, code: u16, now: Stamp) {
        let mut books = self.books.lock();
        let Some((call, tally)) = books.call(key) else { return };
        if call.closed || call.answer.is_some() {
            return;
        }
        call.answer = Some(now);
        call.final_code = Some(code);
        tally.answered += 1;
    }

    /// Closes a call that was never answered; no code when nothing came in time.
    pub fn failed(&self, key: CallKey, code: Option<u16>, now: Stamp) {
        let mut books = self.books.lock();
        let Some((call, tally)) = books.call(key) else { return };
        if call.closed || call.answer.is_some() {
            return;
        }
        call.final_code = code;
        call.end = Some(now);
        call.closed = true;
        tally.close(false);
    }

    /// An answered call was let go; the first to do so counts.
    pub fn released(&self, key: CallKey, by: Released, now: Stamp) {
        if let Some((call, _)) = self.books.lock().call(key)
            && call.answer.is_some()
            && call.end.is_none()
        {
            call.released = Some(by);
            call.end = Some(now);
        }
    }

    /// The carrier is done with a call that was released.
    pub fn closed(&self, key: CallKey) {
        let mut books = self.books.lock();
        let Some((call, tally)) = books.call(key) else { return };
        if !call.closed && call.end.is_some() {
            call.closed = true;
            tally.close(true);
        }
    }

    pub fn leg_offered(&self, new: NewLeg, now: Stamp) -> LegKey {
        let mut books = self.books.lock();
        let key = LegKey(books.legs.len());
        books.legs.push(Leg {
            call_id: new.call_id,
            trunk: new.trunk,
            from: new.from,
            to: new.to,
            node: new.node,
            invite: now,
            answer: None,
            end: None,
            final_code: None,
            cancelled: false,
            closed: false,
        });
        books.counters.legs.offered += 1;
        books.counters.legs.open += 1;
        key
    }

    pub fn leg_answered(&self, key: LegKey, now: Stamp) {
        let mut books = self.books.lock();
        let Some(leg) = books.legs.get_mut(key.0) else { return };
        if leg.closed || leg.answer.is_some() {
            return;
        }
        leg.answer = Some(now);
        leg.final_code = Some(200);
        books.counters.legs.answered += 1;
    }

    /// Closes a leg. `code` is the failure this carrier answered with; ignored when it had answered the call.
    pub fn leg_closed(&self, key: LegKey, code: Option<u16>, cancelled: bool, now: Stamp) {
        let mut books = self.books.lock();
        let Some(leg) = books.legs.get_mut(key.0) else { return };
        if leg.closed {
            return;
        }
        leg.closed = true;
        leg.end = Some(now);
        leg.cancelled = cancelled;
        let answered = leg.answer.is_some();
        if !answered {
            leg.final_code = code;
        }
        books.counters.legs.close(answered);
    }

    #[must_use]
    pub fn counters(&self) -> Counters {
        self.books.lock().counters
    }

    #[must_use]
    pub fn get(&self, call_id: &str) -> Option<Call> {
        let books = self.books.lock();
        books.by_call_id.get(call_id).and_then(|key| books.calls.get(key.0)).cloned()
    }

    /// Legs that carriers saw under this Call-ID.
    #[must_use]
    pub fn legs_of(&self, call_id: &str) -> Vec<Leg> {
        self.books.lock().legs.iter().filter(|leg| &*leg.call_id == call_id).cloned().collect()
    }

    /// Looks at the calls in the order they were offered, from the `skip`-th on, without copying them all. Keep `look` short.
    pub fn for_each_from(&self, skip: usize, mut look: impl FnMut(&Call)) {
        for call in self.books.lock().calls.iter().skip(skip) {
            look(call);
        }
    }

    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let (mut calls, mut legs) = {
            let books = self.books.lock();
            (books.calls.clone(), books.legs.clone())
        };
        calls.sort_by(|a, b| a.call_id.cmp(&b.call_id));
        legs.sort_by(|a, b| a.call_id.cmp(&b.call_id).then(a.invite.cmp(&b.invite)));
        Snapshot { calls, legs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn new_call(index: usize, attack: bool) -> NewCall {
        NewCall {
            call_id: format!("c{index}").into(),
            trunk: "north".into(),
            from: "+4930".into(),
            to: "+4922".into(),
            kind: Kind::Echo,
            attack,
        }
    }

    fn new_leg(index: usize) -> NewLeg {
        NewLeg {
            call_id: format!("b{index}").into(),
            trunk: "north".into(),
            from: String::new(),
            to: String::new(),
            node: None,
        }
    }

    #[test]
    fn a_call_id_is_placed_once() {
        let ledger = Ledger::new();
        assert!(ledger.offered(new_call(1, false), Stamp::default()).is_some());
        assert!(ledger.offered(new_call(1, false), Stamp::default()).is_none());
        assert_eq!(ledger.counters().calls().offered, 1);
    }

    #[test]
    fn a_late_failure_does_not_undo_an_answer() {
        let ledger = Ledger::new();
        let key = ledger.offered(new_call(1, false), Stamp::default()).unwrap();
        ledger.answered(key, 200, Stamp { wall_us: 5, mono_us: 5 });
        ledger.failed(key, Some(487), Stamp::default());
        ledger.released(key, Released::Far, Stamp { wall_us: 9, mono_us: 9 });
        ledger.released(key, Released::Caller, Stamp { wall_us: 10, mono_us: 10 });
        ledger.closed(key);
        let call = ledger.get("c1").unwrap();
        assert_eq!((call.final_code, call.released, call.closed), (Some(200), Some(Released::Far), true));
        assert_eq!(call.end.map(|end| end.wall_us), Some(9));
    }

    proptest! {
        /// Whatever order the carriers report in, the running counters are what a recount of the entries gives.
        #[test]
        fn counters_always_equal_a_recount(steps in prop::collection::vec((0_u8..10, 0_usize..12), 0..200)) {
            let ledger = Ledger::new();
            let now = Stamp::default();
            let (mut calls, mut legs) = (Vec::new(), Vec::new());
            for (step, pick) in steps {
                let call = calls.get(pick % calls.len().max(1)).copied();
                let leg = legs.get(pick % legs.len().max(1)).copied();
                match (step, call, leg) {
                    (0 | 1, _, _) => calls.extend(ledger.offered(new_call(calls.len(), pick % 3 == 0), now)),
                    (2, Some(call), _) => ledger.ringing(call, now),
                    (3, Some(call), _) => ledger.answered(call, 200, now),
                    (4, Some(call), _) => ledger.failed(call, Some(486), now),
                    (5, Some(call), _) => { ledger.released(call, Released::Caller, now); ledger.closed(call) }
                    (6, Some(call), _) => ledger.challenged(call),
                    (7, _, _) => legs.push(ledger.leg_offered(new_leg(legs.len()), now)),
                    (8, _, Some(leg)) => ledger.leg_answered(leg, now),
                    (9, _, Some(leg)) => ledger.leg_closed(leg, Some(487), true, now),
                    _ => {}
                }
                prop_assert_eq!(ledger.counters(), Counters::recount(&ledger.snapshot()));
                let all = ledger.counters().calls();
                prop_assert_eq!(all.offered, all.open + all.ended + all.failed);
            }
        }
    }
}
