//! Where the machine meets the policies of a trunk: every request and answer that crosses between it and a node comes by here.

use bytes::Bytes;
use domain::Now;
use schemas::SdpSummary;
use sip::edit::reason_phrase;
use sip::transaction::ServerInput;
use sip::{Index, Message};

use super::policy::{self, Denied, Direction, Effect, Kind, Passage, Passed, TrunkPolicy};
use super::slab::Slot;
use super::topology::Peer;
use crate::core::dialog::in_dialog::Next;
use crate::core::set_up::answers::upstream;
use crate::core::set_up::invite::{Invite, Kind as InviteKind};
use crate::core::telling::facts;
use crate::core::{Cx, Hop, Proxy, ServerRef};

/// What policies did to one INVITE so far, for its events.
#[derive(Debug, Default)]
pub struct Changes {
    pub effects: Vec<Effect>,
    pub caller: Option<String>,
    pub callee: Option<String>,
    pub offer: Option<SdpSummary>,
    pub answer: Option<SdpSummary>,
}

/// Effects told of one INVITE: a failover over many trunks must not fill an event.
const MOST_EFFECTS: usize = 16;

impl Changes {
    fn take(&mut self, passed: &mut Passed) {
        self.effects.append(&mut passed.effects);
        self.effects.truncate(MOST_EFFECTS);
        self.caller = passed.caller.take().or(self.caller.take());
        self.callee = passed.callee.take().or(self.callee.take());
    }

    /// Most calls are changed in nothing, and keep nothing.
    pub fn kept(self) -> Option<Box<Changes>> {
        let is_empty = self.effects.is_empty()
            && self.caller.is_none()
            && self.callee.is_none()
            && self.offer.is_none()
            && self.answer.is_none();
        (!is_empty).then(|| Box::new(self))
    }
}

impl Proxy {
    /// The trunk between two peers, and which way a message from one to the other goes.
    fn trunk_between(&self, from: Peer, to: Peer) -> Option<(&TrunkPolicy, Direction)> {
        let (trunk, direction) = match (from, to) {
            (_, Peer::Trunk(t)) => (t, Direction::ToTrunk),
            (Peer::Trunk(t), _) => (t, Direction::FromTrunk),
            _ => return None,
        };
        Some((&self.topology.trunks[trunk].policy, direction))
    }

    /// Applies the policies to what was written for `to`. `trunk_hop` is the way on the trunk's side.
    fn pass(&self, bytes: &[u8], ways: [(Peer, Hop); 2], kind: Kind<'_>) -> Passed {
        let [(from, came), (to, goes)] = ways;
        let Some((policy, direction)) = self.trunk_between(from, to).filter(|(p, d)| !p.is_idle(*d)) else {
            return Passed::default();
        };
        let outside = self.topology.listener(if direction == Direction::ToTrunk { goes } else { came });
        let via = format!("SIP/2.0/{} {}", outside.transport.as_via(), outside.host);
        let passage = Passage {
            policy,
            direction,
            kind,
            source: came.addr,
            host: &outside.host,
            tail: outside.transport.as_uri_param(),
            via: &via,
            keys: &self.keys,
            is_inner: &|address| self.topology.is_inner(address),
        };
        policy::pass(&passage, bytes, &mut Index::new())
    }

    /// An initial INVITE, written for `target`.
    pub(super) fn pass_invite(&self, invite: &mut Invite, target: (Peer, Hop), bytes: Vec<u8>) -> Bytes {
        let mut passed = self.pass(&bytes, [(invite.peer, invite.hop), target], Kind::Initial);
        let mut changes = Changes::default();
        changes.take(&mut passed);
        let bytes: Bytes = passed.bytes.unwrap_or(bytes).into();
        if passed.body_changed {
            changes.offer = Index::new().parse(&bytes).ok().and_then(|m| facts::session(&m));
        }
        invite.changes = changes.kept();
        bytes
    }

    /// A request inside a dialog, written for the other side of it.
    pub(super) fn pass_in_dialog(&self, cx: &Cx, next: &Next, hop: Hop, bytes: Vec<u8>) -> (Bytes, Changes) {
        let kind = Kind::InDialog { from_caller: next.verified.from_caller };
        let mut passed = self.pass(&bytes, [(cx.peer, cx.hop), (next.target, hop)], kind);
        let mut changes = Changes::default();
        changes.take(&mut passed);
        let bytes: Bytes = passed.bytes.unwrap_or(bytes).into();
        if passed.body_changed {
            changes.offer = Index::new().parse(&bytes).ok().and_then(|m| facts::session(&m));
        }
        (bytes, changes)
    }

    /// An answer on its way to whoever sent the request, which stands here as it was received.
    pub(super) fn pass_answer(
        &self,
        request: &Bytes,
        ways: [(Peer, Hop); 2],
        m: &Message<'_>,
        status: Option<u16>,
    ) -> (Bytes, Passed) {
        let bytes = upstream(m, status.map(|s| (s, reason_phrase(s))));
        if self.trunk_between(ways[0].0, ways[1].0).is_none_or(|(p, d)| p.is_idle(d)) {
            return (bytes, Passed::default());
        }
        let mut index = Index::new();
        let Ok(request) = index.parse(request) else { return (bytes, Passed::default()) };
        let mut passed = self.pass(&bytes, ways, Kind::Answer { request: &request });
        let bytes = passed.bytes.take().map_or(bytes, Bytes::from);
        (bytes, passed)
    }

    /// An answer from a peer whose request is forgotten, without our Via: what was hidden in it is shown, so that it can be routed.
    pub(super) fn pass_lone_in(&self, cx: &Cx, bytes: Bytes) -> Bytes {
        match cx.peer {
            // Any node stands for the other side: the policies are the trunk's.
            Peer::Trunk(_) => self.pass_lone(cx, (Peer::Node(0), cx.hop), bytes),
            Peer::Node(_) => bytes,
        }
    }

    /// The same towards a trunk, once the answer says which.
    pub(super) fn pass_lone_out(&self, cx: &Cx, hop: Hop, bytes: Bytes) -> Bytes {
        match (cx.peer, self.topology.classify(self.topology.listener(hop).side, hop.addr)) {
            (Peer::Node(_), Some(trunk @ Peer::Trunk(_))) => self.pass_lone(cx, (trunk, hop), bytes),
            _ => bytes,
        }
    }

    fn pass_lone(&self, cx: &Cx, to: (Peer, Hop), bytes: Bytes) -> Bytes {
        self.pass(&bytes, [(cx.peer, cx.hop), to], Kind::LoneAnswer).bytes.map_or(bytes, Bytes::from)
    }

    /// The same for an INVITE's branch; notes what events tell. With it the session's interval after a 2xx.
    pub(super) fn upstream_of(
        &self,
        invite: &mut Invite,
        at: usize,
        m: &Message<'_>,
        status: Option<u16>,
    ) -> (Bytes, Option<u32>) {
        let (bytes, mut passed) = self.pass_answer(&invite.request, invite.ways_back(at), m, status);
        let mut changes = invite.changes.take().map(|changes| *changes).unwrap_or_default();
        if passed.body_changed {
            changes.answer = Index::new().parse(&bytes).ok().and_then(|m| facts::session(&m));
        }
        changes.take(&mut passed);
        invite.changes = changes.kept();
        (bytes, passed.interval)
    }

    /// After a 2xx the session lives for its interval, or without end when there is none any more (RFC 4028 §8.2).
    pub(super) fn watch_session(&mut self, now: Now, ways: [(Peer, Hop); 2], m: &Message<'_>, interval: Option<u32>) {
        let is_success = (200..300).contains(&m.status());
        let refreshes = matches!(m.method(), sip::Method::Invite | sip::Method::Update);
        let is_watched = self.trunk_between(ways[0].0, ways[1].0).is_some_and(|(p, _)| p.session_timer.is_some());
        if !(is_success && refreshes && is_watched) {
            return;
        }
        let slot = self.dialogs.find(m.call_id(), m.from_tag(), m.to_tag());
        if let Some(dialog) = slot.and_then(|slot| self.dialogs.get_mut(slot)) {
            dialog.session = interval.map(|seconds| (seconds, now.mono_us + u64::from(seconds) * 1_000_000));
            self.journal.follow_dialog(&self.topology, dialog);
        }
    }

    /// An offer inside a dialog was accepted: it may have put somebody on hold, or taken back.
    pub(super) fn note_hold(&mut self, now: Now, dialog: Option<Slot>, offer: Option<&SdpSummary>) {
        let direction = offer.and_then(|offer| offer.direction.as_deref());
        if let (Some(direction), Some(dialog)) = (direction, dialog.and_then(|slot| self.dialogs.get_mut(slot))) {
            let before = dialog.hold;
            dialog.hold.offered(now.mono_us, direction);
            if dialog.hold != before {
                self.journal.follow_dialog(&self.topology, dialog);
            }
        }
    }

    /// Whether the policies between two peers let a request pass.
    pub(super) fn policies_admit(&self, from: Peer, to: Peer, m: &Message<'_>) -> Result<(), Denied> {
        self.trunk_between(from, to).map_or(Ok(()), |(policy, _)| policy.admit(m))
    }

    /// A re-INVITE or UPDATE that a policy does not let pass: answered by us, with its one event.
    pub(super) fn deny_in_dialog(&mut self, cx: &Cx, m: &Message<'_>, key: u128, next: &Next, denied: Denied) {
        let min_se = denied.min_se.map(|s| s.to_string()).unwrap_or_default();
        let extra = [("Min-SE", min_se.as_bytes())];
        let add: &[(&str, &[u8])] = if denied.min_se.is_some() { &extra } else { &[] };
        if m.method() != sip::Method::Invite {
            return self.answer_in_call(cx, m, key, next.verified.cookie.call, denied.status, add);
        }
        let mut invite = self.new_invite(cx, m, key, InviteKind::InDialog);
        invite.call = next.verified.cookie.call;
        invite.dialog = next.dialog;
        let slot = self.invites.reserve();
        self.servers.insert(key, ServerRef::Invite(slot));
        invite.finished = Some(denied.status);
        invite.times.finished = Some(0);
        invite.server.handle(cx.now.mono_us, ServerInput::Respond(denied.status));
        while invite.server.poll().is_some() {}
        invite.last = self.local_answer(m, cx.hop.addr, denied.status, add);
        self.send(cx.back, invite.last.clone());
        self.tell_denied(cx.now, &invite, denied);
        self.put_invite(slot, invite);
    }

    /// A request inside a dialog from a trunk that the node side is hidden from, as the node side would have it. `None` when
    /// nothing is hidden in it.
    pub(super) fn opened(&self, cx: &Cx, m: &Message<'_>) -> Option<Vec<u8>> {
        match cx.peer {
            Peer::Trunk(t) if self.topology.trunks[t].policy.hides => policy::open_request(&self.keys, m),
            _ => None,
        }
    }
}
