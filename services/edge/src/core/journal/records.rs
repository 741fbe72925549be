//! What the records say. Peers and listeners stand in them by the hash of their id, since their places in the settings may change
//! between two lives.

use bytes::Bytes;
use domain::{CallId, LegId, Now};

use super::{Found, Journal, MARKS, Place, Reader, Writer};
use crate::core::dialog::dialogs::{Dialog, Ending, Far, Hold, Phase};
use crate::core::set_up::challenge::Continuation;
use crate::core::set_up::invite::{Branch, End, Invite};
use crate::core::topology::{Peer, Topology};
use crate::core::{Flow, Hop};

const OPEN: u8 = 1;
const FINAL: u8 = 2;
const DIALOG: u8 = 3;
const CHALLENGE: u8 = 4;
const NODE: u8 = 5;

/// Marks of an open INVITE: attempts told · flags, status and time of the end · times of responses, two in one.
pub const TOLD: usize = 0;
const PROGRESS: usize = 1;
const TIMES: [usize; 3] = [2, 3, 4];

/// Flags beside the number of attempts in `PROGRESS`.
const CANCELLED: u64 = 1;
const RESPONDED: u64 = 2;
const ENDED: u64 = 4;

/// The `TOLD` mark when the end of the INVITE was told too.
pub const ALL_TOLD: u64 = u64::MAX;

/// Marks of a dialog.
const ACK: usize = 0;
const BYE_AT: usize = 1;
const BYE: usize = 2;
const BYE_WALL: usize = 3;
const REINVITES: usize = 4;
const MOVED: usize = 5;
const SESSION: usize = 6;
const HOLD: usize = 7;

/// A record that was read; `None` where it names what the settings no longer have.
#[derive(Debug)]
pub enum Record {
    Open(Box<OpenInvite>),
    Final(FinalAnswer),
    Dialog { dialog: Box<Dialog>, server_key: u128 },
    Challenge { key: u128, until: u64, continuation: Continuation },
    Node { place: Place, node: usize, core_uuid: String },
}

#[derive(Debug)]
pub struct OpenInvite {
    pub place: Place,
    pub call: CallId,
    pub parent: Option<String>,
    pub continues: Option<(u32, u16)>,
    pub peer: Peer,
    pub hop: Hop,
    pub received: Now,
    pub pop_routes: u8,
    pub attempts: Vec<Attempt>,
    pub request: Bytes,
    /// How many attempts were certainly told; `ALL_TOLD` when the end was too.
    pub told: u64,
    pub cancelled: bool,
    /// What is known of the last attempt.
    pub responded: bool,
    pub ended: bool,
    /// Microseconds after the receipt; zero when it did not happen.
    pub first_180: u64,
    pub first_18x: u64,
    pub first_183_sdp: u64,
    pub ringing: u64,
    pub first_response: u64,
    pub cancel: u64,
}

#[derive(Debug)]
pub struct Attempt {
    pub target: Peer,
    pub hop: Hop,
    pub branch: String,
    pub forwarded: u64,
    pub sent: Bytes,
    pub abandoned: bool,
    pub end: Option<End>,
    pub status: Option<u16>,
    pub failover_reason: bool,
}

#[derive(Debug)]
pub struct FinalAnswer {
    pub place: Place,
    pub server_key: u128,
    pub status: u16,
    pub at: Now,
    pub bytes: Bytes,
}

/// Two times in one mark: each at most 71 minutes.
fn pair(one: Option<u64>, other: Option<u64>) -> u64 {
    let half = |t: Option<u64>| t.map_or(0, |t| u64::from(u32::try_from(t.max(1)).unwrap_or(u32::MAX)));
    half(one) << 32 | half(other)
}

fn unpair(mark: u64) -> (u64, u64) {
    (mark >> 32, mark & 0xFFFF_FFFF)
}

/// A session's interval (s, at most 194 days) and its end (ms since boot, at most 34 years) in one mark: they change together.
fn put_session((seconds, until_us): (u32, u64)) -> u64 {
    u64::from(seconds.min(0x00FF_FFFF)) << 40 | (until_us / 1_000).min(0xFF_FFFF_FFFF)
}

fn session(mark: u64) -> Option<(u32, u64)> {
    (mark > 0).then_some(((mark >> 40) as u32, (mark & 0xFF_FFFF_FFFF) * 1_000))
}

/// What was on hold before, and since when it is now, in milliseconds; the latter counts from the call's INVITE, plus one.
fn put_hold(hold: Hold, received_us: u64) -> u64 {
    let ms = |us: u64| u64::from(u32::try_from(us / 1_000).unwrap_or(u32::MAX));
    ms(hold.before) << 32 | hold.since.map_or(0, |since| ms(since.saturating_sub(received_us)).saturating_add(1))
}

fn hold(mark: u64, received_us: u64) -> Hold {
    let since = (mark & 0xFFFF_FFFF).checked_sub(1).map(|ms| received_us + ms * 1_000);
    Hold { since, before: (mark >> 32) * 1_000 }
}

fn progress(invite: &Invite) -> [(usize, u64); 4] {
    let last = invite.branches.last();
    let facts = last.map(|b| &b.facts);
    let flag = |on: bool, bit: u64| if on { bit } else { 0 };
    let flags = flag(invite.cancelled, CANCELLED)
        | flag(facts.is_some_and(|f| f.first_response.is_some()), RESPONDED)
        | flag(last.is_some_and(|b| b.end.is_some() || b.abandoned), ENDED);
    let times = &invite.times;
    [
        (PROGRESS, flags),
        (TIMES[0], pair(times.first_180, times.first_18x)),
        (TIMES[1], pair(times.first_183_sdp, facts.and_then(|f| f.ringing))),
        (TIMES[2], pair(facts.and_then(|f| f.first_response), times.cancel)),
    ]
}

fn put_peer(w: &mut Writer<'_>, topology: &Topology, peer: Peer) {
    w.u8(u8::from(matches!(peer, Peer::Node(_))));
    w.u32(topology.hash_of(peer));
}

fn put_hop(w: &mut Writer<'_>, topology: &Topology, hop: Hop) {
    // A connection does not outlive the process; the address does, and that there was one.
    w.u32(topology.listeners.get(hop.place()).map_or(0, |l| domain::hash32(&l.id)));
    w.u8(u8::from(hop.flow.is_some()));
    w.address(hop.addr);
}

fn put_end(w: &mut Writer<'_>, end: Option<End>) {
    match end {
        None => w.u8(0),
        Some(End::Status { status, q850 }) => {
            w.u8(if q850 { 2 } else { 1 });
            w.u16(status);
        }
        Some(End::NoFirstResponse) => w.u8(3),
        Some(End::TimedOut) => w.u8(4),
        Some(End::Unreachable) => w.u8(5),
        Some(End::NodeDown) => w.u8(6),
        Some(End::Cancelled) => w.u8(7),
    }
}

fn put_branch(w: &mut Writer<'_>, topology: &Topology, b: &Branch) {
    put_peer(w, topology, b.target);
    put_hop(w, topology, b.hop);
    w.text(&b.text);
    w.u64(b.facts.forwarded);
    w.bytes(&b.sent);
    w.u8(u8::from(b.abandoned) | u8::from(b.facts.failover_reason.is_some()) << 1);
    put_end(w, b.end);
    w.u16(b.facts.status.unwrap_or(0));
}

impl Journal {
    /// A forwarded INVITE, with all its attempts so far; replaces what was written of it before.
    pub fn invite(&mut self, topology: &Topology, invite: &mut Invite) {
        if !self.is_on() {
            return;
        }
        let mut marks = [0; MARKS];
        progress(invite).into_iter().for_each(|(which, value)| marks[which] = value);
        // The attempts before this one were told long ago.
        marks[TOLD] = invite.branches.len().saturating_sub(1) as u64;
        let place = self.put(OPEN, marks, |w| {
            w.raw(invite.call.as_bytes());
            w.option(invite.parent.as_deref());
            let (cseq, status) = invite.continues.unwrap_or((0, 0));
            w.u32(cseq);
            w.u16(status);
            put_peer(w, topology, invite.peer);
            put_hop(w, topology, invite.hop);
            w.now(invite.received);
            w.u8(u8::try_from(invite.pop_routes).unwrap_or(u8::MAX));
            w.u8(u8::try_from(invite.branches.len()).unwrap_or(u8::MAX));
            invite.branches.iter().take(usize::from(u8::MAX)).for_each(|b| put_branch(w, topology, b));
            w.bytes(&invite.request);
        });
        let before = std::mem::replace(&mut invite.kept.open, place);
        self.remove_later(before);
        if let Some(place) = place {
            self.mark_later(place, TOLD, invite.branches.len() as u64);
        }
    }

    /// What has become of an INVITE since: called whenever it was touched.
    pub fn follow(&mut self, invite: &mut Invite) {
        use sip::transaction::InviteServerState::{Confirmed, Ended};
        let Some(open) = invite.kept.open else { return };
        let over = matches!(invite.server.state(), Confirmed | Ended);
        match invite.finished {
            // Answered: the dialog has a record of its own. Refused and acknowledged: nothing waits for us any more.
            Some(200..300) => self.forget(invite),
            Some(_) if over => self.forget(invite),
            Some(status) if invite.kept.end.is_none() => {
                let finished = invite.times.finished.unwrap_or(0);
                invite.kept.end = self.put(FINAL, [0; MARKS], |w| {
                    w.raw(&invite.server_key.to_be_bytes());
                    w.u16(status);
                    w.now(invite.received.plus_us(finished));
                    w.bytes(&invite.last);
                });
                self.mark_later(open, TOLD, ALL_TOLD);
            }
            Some(_) => {}
            None => progress(invite).into_iter().for_each(|(which, value)| self.mark(open, which, value)),
        }
    }

    pub fn forget(&mut self, invite: &mut Invite) {
        self.remove_later(invite.kept.open.take());
        self.remove_later(invite.kept.end.take());
    }

    /// An answered call. `server_key` is the INVITE's, whose copies must be known after a restart too.
    pub fn dialog(&mut self, topology: &Topology, dialog: &Dialog, server_key: u128) -> Option<Place> {
        self.put(DIALOG, [0; MARKS], |w| {
            w.raw(&server_key.to_be_bytes());
            w.raw(dialog.call.as_bytes());
            w.option(dialog.parent.as_deref());
            w.u32(dialog.attempt);
            w.text(&dialog.sip_call_id);
            w.text(&dialog.caller_tag);
            w.text(&dialog.callee_tag);
            w.u32(dialog.cseq);
            w.text(&dialog.from_uri);
            w.text(&dialog.to_uri);
            put_peer(w, topology, dialog.caller);
            put_peer(w, topology, dialog.callee);
            put_hop(w, topology, dialog.caller_hop);
            put_hop(w, topology, dialog.callee_hop);
            w.text(&dialog.caller_number);
            w.text(&dialog.callee_number);
            w.now(dialog.received);
            w.now(dialog.answered);
            let flags = [(!dialog.late, 1), (dialog.caller_bound, 2), (dialog.callee_bound, 4)];
            w.u8(flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, bit)| bit).sum());
            w.option(dialog.account.as_deref());
            let far = dialog.far.as_deref();
            w.option(far.map(|far| far.target.as_str()));
            let routes = far.map_or(&[][..], |far| &far.routes);
            w.u8(u8::try_from(routes.len()).unwrap_or(u8::MAX));
            routes.iter().take(usize::from(u8::MAX)).for_each(|route| w.text(route));
        })
    }

    /// What has become of a dialog since.
    pub fn follow_dialog(&self, topology: &Topology, dialog: &Dialog) {
        let Some(place) = dialog.kept else { return };
        self.mark(place, ACK, dialog.ack_us.map_or(0, |t| t + 1));
        self.mark(place, REINVITES, u64::try_from(dialog.reinvites).unwrap_or(0));
        self.mark(place, MOVED, dialog.moved_to.map_or(0, |n| u64::from(topology.hash_of(Peer::Node(n))) + 1));
        self.mark(place, SESSION, dialog.session.map_or(0, put_session));
        self.mark(place, HOLD, put_hold(dialog.hold, dialog.received.mono_us));
        let ending = dialog.ending;
        if let Some(e) = ending {
            self.mark(place, BYE_WALL, e.received.wall_us.cast_unsigned());
            self.mark(place, BYE, u64::from(e.cseq) << 32 | u64::from(e.status) << 8 | u64::from(e.by_caller));
        }
        // Last: it says that the others count.
        self.mark(place, BYE_AT, ending.map_or(0, |e| e.received.mono_us));
    }

    pub fn challenge(&mut self, topology: &Topology, key: u128, until: u64, c: &Continuation) -> Option<Place> {
        self.put(CHALLENGE, [0; MARKS], |w| {
            w.raw(&key.to_be_bytes());
            w.u64(until);
            w.raw(c.call.as_bytes());
            w.option(c.parent.as_deref());
            w.u32(c.cseq);
            w.u16(c.status);
            w.u8(u8::from(c.next_hop.is_some()));
            if let Some(peer) = c.next_hop {
                put_peer(w, topology, peer);
            }
        })
    }

    /// Which life of a node is known.
    pub fn node(&mut self, topology: &Topology, node: usize, core_uuid: &str) -> Option<Place> {
        self.put(NODE, [0; MARKS], |w| {
            put_peer(w, topology, Peer::Node(node));
            w.text(core_uuid);
        })
    }
}

/// Reads a record.
pub fn read(topology: &Topology, found: &Found) -> Option<Record> {
    let mut r = Reading { r: Reader(&found.bytes), topology };
    match found.kind {
        OPEN => r.open(found).map(|open| Record::Open(Box::new(open))),
        FINAL => Some(Record::Final(FinalAnswer {
            place: found.place,
            server_key: r.key()?,
            status: r.r.u16()?,
            at: r.r.now()?,
            bytes: Bytes::copy_from_slice(r.r.bytes()?),
        })),
        DIALOG => r.dialog(found),
        CHALLENGE => Some(Record::Challenge {
            key: r.key()?,
            until: r.r.u64()?,
            continuation: Continuation {
                call: r.call()?,
                parent: r.r.option()?,
                cseq: r.r.u32()?,
                status: r.r.u16()?,
                next_hop: if r.r.u8()? == 1 { Some(r.peer()?) } else { None },
                kept: Some(found.place),
            },
        }),
        NODE => match r.peer()? {
            Peer::Node(node) => Some(Record::Node { place: found.place, node, core_uuid: r.r.text()?.to_owned() }),
            Peer::Trunk(_) => None,
        },
        _ => None,
    }
}

struct Reading<'a> {
    r: Reader<'a>,
    topology: &'a Topology,
}

impl Reading<'_> {
    fn key(&mut self) -> Option<u128> {
        self.r.array().map(u128::from_be_bytes)
    }

    fn call(&mut self) -> Option<CallId> {
        self.r.array().map(CallId::from_bytes)
    }

    fn peer(&mut self) -> Option<Peer> {
        let is_node = self.r.u8()? == 1;
        let hash = self.r.u32()?;
        if is_node {
            self.topology.node_by_hash(hash).map(Peer::Node)
        } else {
            self.topology.trunk_by_hash(hash).map(Peer::Trunk)
        }
    }

    fn hop(&mut self) -> Option<Hop> {
        let hash = self.r.u32()?;
        let place = self.topology.listeners.iter().position(|l| domain::hash32(&l.id) == hash)?;
        let flow = (self.r.u8()? == 1).then_some(Flow::GONE);
        Some(Hop { flow, ..Hop::to(u16::try_from(place).ok()?, self.r.address()?) })
    }

    fn end(&mut self) -> Option<Option<End>> {
        Some(match self.r.u8()? {
            0 => None,
            q @ (1 | 2) => Some(End::Status { status: self.r.u16()?, q850: q == 2 }),
            3 => Some(End::NoFirstResponse),
            4 => Some(End::TimedOut),
            5 => Some(End::Unreachable),
            6 => Some(End::NodeDown),
            7 => Some(End::Cancelled),
            _ => return None,
        })
    }

    fn attempt(&mut self) -> Option<Attempt> {
        let (target, hop) = (self.peer()?, self.hop()?);
        let branch = self.r.text()?.to_owned();
        let forwarded = self.r.u64()?;
        let sent = Bytes::copy_from_slice(self.r.bytes()?);
        let flags = self.r.u8()?;
        let end = self.end()?;
        let status = Some(self.r.u16()?).filter(|&s| s > 0);
        let (abandoned, failover_reason) = (flags & 1 == 1, flags & 2 == 2);
        Some(Attempt { target, hop, branch, forwarded, sent, abandoned, end, status, failover_reason })
    }

    fn open(&mut self, found: &Found) -> Option<OpenInvite> {
        let (call, parent) = (self.call()?, self.r.option()?);
        let (cseq, status) = (self.r.u32()?, self.r.u16()?);
        let (peer, hop, received, pop_routes) = (self.peer()?, self.hop()?, self.r.now()?, self.r.u8()?);
        let count = self.r.u8()?;
        let attempts = (0..count).map(|_| self.attempt()).collect::<Option<Vec<Attempt>>>()?;
        let flags = found.marks[PROGRESS];
        let (first_180, first_18x) = unpair(found.marks[TIMES[0]]);
        let (first_183_sdp, ringing) = unpair(found.marks[TIMES[1]]);
        let (first_response, cancel) = unpair(found.marks[TIMES[2]]);
        (count > 0).then_some(())?;
        Some(OpenInvite {
            place: found.place,
            call,
            parent,
            continues: (status > 0).then_some((cseq, status)),
            peer,
            hop,
            received,
            pop_routes,
            attempts,
            request: Bytes::copy_from_slice(self.r.bytes()?),
            told: found.marks[TOLD],
            cancelled: flags & CANCELLED > 0,
            responded: flags & RESPONDED > 0,
            ended: flags & ENDED > 0,
            first_180,
            first_18x,
            first_183_sdp,
            ringing,
            first_response,
            cancel,
        })
    }

    fn far(&mut self) -> Option<Option<Box<Far>>> {
        let target = self.r.option()?;
        let count = self.r.u8()?;
        let routes = (0..count).map(|_| self.r.text().map(str::to_owned)).collect::<Option<Vec<String>>>()?;
        Some(target.map(|target| Box::new(Far { target, routes })))
    }

    fn dialog(&mut self, found: &Found) -> Option<Record> {
        let server_key = self.key()?;
        let (call, parent, attempt) = (self.call()?, self.r.option()?, self.r.u32()?);
        let (sip_call_id, caller_tag, callee_tag) = (self.r.boxed()?, self.r.boxed()?, self.r.boxed()?);
        let cseq = self.r.u32()?;
        let leg = LegId::edge(&call, &sip_call_id, &caller_tag, cseq, attempt);
        let bye = found.marks[BYE];
        let ending = (found.marks[BYE_AT] > 0).then(|| Ending {
            by_caller: bye & 1 == 1,
            cseq: (bye >> 32) as u32,
            status: (bye >> 8) as u16,
            received: Now { wall_us: found.marks[BYE_WALL].cast_signed(), mono_us: found.marks[BYE_AT] },
        });
        let from_uri = self.r.boxed()?;
        let to_uri = self.r.boxed()?;
        let (caller, callee) = (self.peer()?, self.peer()?);
        let (caller_hop, callee_hop) = (self.hop()?, self.hop()?);
        let (caller_number, callee_number) = (self.r.boxed()?, self.r.boxed()?);
        let (received, answered) = (self.r.now()?, self.r.now()?);
        let flags = self.r.u8()?;
        let moved = u32::try_from(found.marks[MOVED].wrapping_sub(1)).ok();
        let dialog = Dialog {
            call,
            leg,
            parent,
            attempt,
            sip_call_id,
            caller_tag,
            callee_tag,
            cseq,
            from_uri,
            to_uri,
            caller,
            callee,
            caller_hop,
            callee_hop,
            caller_bound: flags & 2 > 0,
            callee_bound: flags & 4 > 0,
            account: self.r.option()?.map(String::into_boxed_str),
            caller_number,
            callee_number,
            received,
            answered,
            ack_us: found.marks[ACK].checked_sub(1),
            reinvites: i32::try_from(found.marks[REINVITES]).unwrap_or(i32::MAX),
            session: session(found.marks[SESSION]),
            hold: hold(found.marks[HOLD], received.mono_us),
            phase: if ending.is_some() { Phase::Ending } else { Phase::Open },
            ending,
            moved_to: moved.and_then(|hash| self.topology.node_by_hash(hash)),
            late: flags & 1 == 0,
            far: self.far()?,
            kept: Some(found.place),
            key: 0,
        };
        Some(Record::Dialog { dialog: Box::new(dialog), server_key })
    }
}
