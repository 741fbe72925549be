//! Open dialogs: only what the end of a call has to say. Routing inside a dialog needs none of this, the cookie does it.

use std::collections::{HashMap, VecDeque};

use domain::{CallId, LegId, Now};

use crate::core::journal::Place;
use crate::core::proof::hash::{KeyedMap, Seed};
use crate::core::slab::{Slab, Slot};
use crate::core::topology::Peer;
use crate::core::{Flow, Hop};

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

/// When a party has the other one on hold, and for how long in all (µs).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hold {
    pub since: Option<u64>,
    pub before: u64,
}

impl Hold {
    /// What an accepted offer of that direction makes of it. Media that flows one way only, towards the one who offers, is no hold.
    pub fn offered(&mut self, now: u64, direction: &str) {
        match (direction, self.since) {
            ("sendonly" | "inactive", None) => self.since = Some(now),
            ("sendonly" | "inactive", Some(_)) => {}
            (_, Some(since)) => *self = Hold { since: None, before: self.before + now.saturating_sub(since) },
            _ => {}
        }
    }

    /// In all until then; none when there never was one.
    #[must_use]
    pub fn total(&self, now: u64) -> Option<u64> {
        let total = self.before + self.since.map_or(0, |since| now.saturating_sub(since));
        (self.since.is_some() || self.before > 0).then_some(total)
    }
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
    pub hold: Hold,
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
    /// When each was answered, oldest first; what is over is taken out when it comes to the front or when it is half of all.
    ages: VecDeque<(u64, Slot)>,
}

impl Dialogs {
    #[must_use]
    pub fn new(seed: Seed) -> Dialogs {
        Dialogs {
            slab: Slab::default(),
            by_key: KeyedMap::default(),
            seed,
            sweep: 0,
            open: 0,
            flows: HashMap::new(),
            ages: VecDeque::new(),
        }
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
        let answered = dialog.answered.mono_us;
        let slot = self.slab.insert(dialog);
        self.remember_age(answered, slot);
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
    pub fn oldest(&mut self) -> Option<Slot> {
        while let Some(&(_, slot)) = self.ages.front() {
            if self.is_open(slot) {
                return Some(slot);
            }
            self.ages.pop_front();
        }
        None
    }

    fn is_open(&self, slot: Slot) -> bool {
        self.slab.get(slot).is_some_and(|d| !matches!(d.phase, Phase::Over { .. }))
    }

    fn remember_age(&mut self, answered: u64, slot: Slot) {
        if self.ages.len() >= 2 * self.open + 1_024 {
            let mut ages = std::mem::take(&mut self.ages);
            ages.retain(|&(_, slot)| self.is_open(slot));
            self.ages = ages;
        }
        // Answers come in the order of time; only a journal may give them in another one.
        let at = match self.ages.back() {
            Some(&(newest, _)) if newest > answered => self.ages.partition_point(|&(at, _)| at <= answered),
            _ => self.ages.len(),
        };
        self.ages.insert(at, (answered, slot));
    }

    fn forget(&mut self, slot: Slot) {
        if let Some(dialog) = self.slab.remove(slot)
            && self.by_key.get(&dialog.key) == Some(&slot)
        {
            self.by_key.remove(&dialog.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialog(number: u64, answered_us: u64) -> Dialog {
        let at = Now { wall_us: 0, mono_us: answered_us };
        let call = CallId::new(1, [0; 10]);
        let hop = Hop::to(0, "192.0.2.1:5060".parse().unwrap());
        Dialog {
            call,
            leg: LegId::edge(&call, "c", "f", 1, 1),
            parent: None,
            attempt: 1,
            sip_call_id: number.to_string().into(),
            caller_tag: "a".into(),
            callee_tag: "b".into(),
            cseq: 1,
            from_uri: "".into(),
            to_uri: "".into(),
            caller: Peer::Trunk(0),
            callee: Peer::Node(0),
            caller_hop: hop,
            callee_hop: hop,
            caller_bound: false,
            callee_bound: false,
            account: None,
            caller_number: "".into(),
            callee_number: "".into(),
            received: at,
            answered: at,
            ack_us: None,
            reinvites: 0,
            session: None,
            hold: Hold::default(),
            phase: Phase::Open,
            ending: None,
            moved_to: None,
            far: None,
            kept: None,
            late: false,
            key: 0,
        }
    }

    #[test]
    fn the_oldest_one_is_found_at_once_in_a_full_table() {
        let mut dialogs = Dialogs::new(Seed::new([1; 32]));
        let full = 60_000;
        // A journal gives the first ones in another order.
        for n in 0..1_000 {
            dialogs.insert(dialog(n, 1_000 - n));
        }
        for n in 1_000..full {
            dialogs.insert(dialog(n, 1_000 + n));
        }
        let start = std::time::Instant::now();
        let mut before = 0;
        for n in full..full + 20_000 {
            let oldest = dialogs.oldest().unwrap();
            let answered = dialogs.get(oldest).unwrap().answered.mono_us;
            assert!(answered >= before, "oldest first");
            before = answered;
            assert!(dialogs.close(oldest, n));
            dialogs.insert(dialog(n, 2_000 + n));
        }
        // A look through the whole table for each would be a thousand million steps.
        assert!(start.elapsed() < std::time::Duration::from_secs(5), "{:?}", start.elapsed());
    }

    #[test]
    fn one_call_that_never_ends_does_not_make_the_ages_of_all_others_stay() {
        let mut dialogs = Dialogs::new(Seed::new([1; 32]));
        let first = dialogs.insert(dialog(0, 0));
        for n in 1..20_000 {
            let slot = dialogs.insert(dialog(n, n));
            dialogs.close(slot, n);
        }
        assert!(dialogs.ages.len() < 2_048, "{}", dialogs.ages.len());
        assert_eq!(dialogs.oldest(), Some(first));
    }

    #[test]
    fn a_hold_counts_from_the_first_offer_of_silence_to_the_first_of_speech() {
        let mut hold = Hold::default();
        hold.offered(1, "sendrecv");
        assert_eq!(hold.total(5), None);
        hold.offered(10, "sendonly");
        hold.offered(15, "inactive");
        assert_eq!(hold.total(20), Some(10));
        hold.offered(30, "recvonly");
        hold.offered(40, "sendrecv");
        assert_eq!(hold.total(100), Some(20));
    }
}
