//! Open dialogs: only what the end of a call has to say. Routing inside a dialog needs none of this, the cookie does it.

use std::collections::HashMap;

use domain::{CallId, LegId, Now};

use super::hash::{KeyedMap, Seed};
use super::journal::Place;
use super::slab::{Slab, Slot};
use super::topology::Peer;
use super::{Flow, Hop};

/// How long an ended dialog is remembered, for crossing and repeated BYEs (64 × T1).
const REMEMBER_US: u64 = 32_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Open,
    /// A BYE is on its way; the first one counts.
    Ending,
    Over {
        until: u64,
    },
}

/// What the end of a dialog has to say about its BYE, known before the BYE is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    pub by_caller: bool,
    pub cseq: u32,
    /// Of the answer; zero while there is none.
    pub status: u16,
    pub received: Now,
}

/// How a request of our own would reach the party on the trunk's side; kept only when it may be needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Far {
    /// Its Contact.
    pub target: String,
    pub routes: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Dialog {
    pub call: CallId,
    pub leg: LegId,
    pub parent: Option<String>,
    pub attempt: u32,
    pub sip_call_id: Box<str>,
    pub caller_tag: Box<str>,
    pub callee_tag: Box<str>,
    pub cseq: u32,
    pub from_uri: Box<str>,
    pub to_uri: Box<str>,
    pub caller: Peer,
    pub callee: Peer,
    /// Where the parties' packets came from and went to, for requests whose target is no usable literal.
    pub caller_hop: Hop,
    pub callee_hop: Hop,
    /// That party can be reached over its hop only, whatever its Contact says.
    pub caller_bound: bool,
    pub callee_bound: bool,
    pub account: Option<Box<str>>,
    pub caller_number: Box<str>,
    pub callee_number: Box<str>,
    pub received: Now,
    pub answered: Now,
    pub ack_us: Option<u64>,
    pub reinvites: i32,
    /// The session's interval (s) and when it will have passed without a refresh (RFC 4028).
    pub session: Option<(u32, u64)>,
    pub phase: Phase,
    /// The BYE that ends it.
    pub ending: Option<Ending>,
    /// The node that goes on with it after its own was lost.
    pub moved_to: Option<usize>,
    pub far: Option<Box<Far>>,
    /// Its record in the journal.
    pub kept: Option<Place>,
    /// Made by a 2xx that came after the first one of its INVITE; its end says so.
    pub late: bool,
    /// Set by the table.
    pub key: u128,
}

#[derive(Debug)]
pub struct Dialogs {
    slab: Slab<Dialog>,
    by_key: KeyedMap<u128, Slot>,
    seed: Seed,
    sweep: usize,
    open: usize,
    /// Open dialogs by the connections that they are bound to.
    flows: HashMap<Flow, u32>,
}

impl Dialogs {
    #[must_use]
    pub fn new(seed: Seed) -> Dialogs {
        Dialogs { slab: Slab::default(), by_key: KeyedMap::default(), seed, sweep: 0, open: 0, flows: HashMap::new() }
    }

    /// The same for both directions: tags in the order of their bytes.
    fn key(&self, call_id: &[u8], one: &[u8], other: &[u8]) -> u128 {
        let (first, second) = if one <= other { (one, other) } else { (other, one) };
        self.seed.key(&[b"dialog", call_id, first, second])
    }

    #[must_use]
    pub fn find(&self, call_id: &[u8], one: &[u8], other: &[u8]) -> Option<Slot> {
        self.by_key.get(&self.key(call_id, one, other)).copied()
    }

    pub fn insert(&mut self, mut dialog: Dialog) -> Slot {
        let key = self.key(dialog.sip_call_id.as_bytes(), dialog.caller_tag.as_bytes(), dialog.callee_tag.as_bytes());
        dialog.key = key;
        let ends = [dialog.caller_hop, dialog.callee_hop];
        let slot = self.slab.insert(dialog);
        self.open += 1;
        ends.into_iter().for_each(|hop| self.hold(hop));
        if let Some(old) = self.by_key.insert(key, slot) {
            self.close(old, 0);
            self.slab.remove(old);
        }
        slot
    }

    #[must_use]
    pub fn get(&self, slot: Slot) -> Option<&Dialog> {
        self.slab.get(slot)
    }

    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut Dialog> {
        self.slab.get_mut(slot)
    }

    fn hold(&mut self, hop: Hop) {
        if let Some(flow) = hop.flow {
            *self.flows.entry(flow).or_default() += 1;
        }
    }

    fn let_go(&mut self, hop: Hop) {
        if let Some(flow) = hop.flow
            && let Some(count) = self.flows.get_mut(&flow)
        {
            *count -= 1;
            if *count == 0 {
                self.flows.remove(&flow);
            }
        }
    }

    /// Whether an open dialog is bound to that connection.
    #[must_use]
    pub fn use_flow(&self, flow: Flow) -> bool {
        self.flows.contains_key(&flow)
    }

    /// A party of an open dialog speaks by another connection from now on.
    pub fn rebind(&mut self, slot: Slot, is_caller: bool, hop: Hop) {
        let Some(dialog) = self.slab.get_mut(slot) else { return };
        let end = if is_caller { &mut dialog.caller_hop } else { &mut dialog.callee_hop };
        if *end == hop || matches!(dialog.phase, Phase::Over { .. }) {
            return;
        }
        let old = std::mem::replace(end, hop);
        self.let_go(old);
        self.hold(hop);
    }

    /// Every place of the table from that one on.
    pub fn iter_from(&self, place: usize) -> impl Iterator<Item = Option<&Dialog>> {
        self.slab.places_from(place)
    }

    pub fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.slab.slots()
    }

    /// Dialogs that are not over.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open
    }

    /// Marks the end; false when it had ended before.
    pub fn close(&mut self, slot: Slot, now: u64) -> bool {
        match self.slab.get_mut(slot) {
            Some(dialog) if !matches!(dialog.phase, Phase::Over { .. }) => {
                dialog.phase = Phase::Over { until: now + REMEMBER_US };
                let ends = [dialog.caller_hop, dialog.callee_hop];
                self.open -= 1;
                ends.into_iter().for_each(|hop| self.let_go(hop));
                true
            }
            _ => false,
        }
    }

    /// Looks at a sixteenth of the table: forgets what is long over, and gives the dialogs that are older than `max_age`, whose
    /// session was not refreshed in time, or whose BYE is older than `max_bye` (its answer went past us), each with the reason.
    pub fn sweep(&mut self, now: u64, max_age: u64, max_bye: u64, expired: &mut Vec<(Slot, &'static str)>) {
        let places = self.slab.places();
        let part = places / 16 + 1;
        for _ in 0..part.min(places) {
            self.sweep = (self.sweep + 1) % places;
            let Some(slot) = self.slab.at(self.sweep) else { continue };
            let Some(dialog) = self.slab.get(slot) else { continue };
            match dialog.phase {
                Phase::Over { until } if until <= now => self.forget(slot),
                Phase::Over { .. } => {}
                _ if dialog.ending.is_some_and(|e| e.received.mono_us + max_bye <= now) => expired.push((slot, "bye")),
                _ if dialog.answered.mono_us + max_age <= now => expired.push((slot, "max_call")),
                _ if dialog.session.is_some_and(|(_, until)| until <= now) => expired.push((slot, "session_expired")),
                _ => {}
            }
        }
    }

    /// The open dialog that was answered first: what has to go when the table is full.
    #[must_use]
    pub fn oldest(&self) -> Option<Slot> {
        let open = |slot: &Slot| self.slab.get(*slot).is_some_and(|d| !matches!(d.phase, Phase::Over { .. }));
        self.slab.slots().filter(open).min_by_key(|slot| self.slab.get(*slot).map(|d| d.answered.mono_us))
    }

    fn forget(&mut self, slot: Slot) {
        if let Some(dialog) = self.slab.remove(slot)
            && self.by_key.get(&dialog.key) == Some(&slot)
        {
            self.by_key.remove(&dialog.key);
        }
    }
}
