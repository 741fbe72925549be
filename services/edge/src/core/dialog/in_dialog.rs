//! Requests inside a dialog: routed by the cookie alone, so they need no memory of the call.
//!
//! A cookie that holds names the node and the trunk; the sender must be one of them, the request goes to the other, and
//! only to an address that belongs to it. So neither a Route nor a request URI can make the edge an open relay.

use std::net::SocketAddr;

use sip::edit::{Forward, forward};
use sip::transaction::{InviteClient, NonInviteClient, NonInviteServer};
use sip::{Index, Message, Method, Name, NameAddr, Uri, sdp};

use crate::core::dialog::dialogs::{Ending, Phase};
use crate::core::flow::way::Narrow;
use crate::core::passing::Changes;
use crate::core::proof::branch::Branch as BranchName;
use crate::core::proof::cookie::{Cookie, Verified};
use crate::core::requests::relay::{Client, Purpose, Relay, Server};
use crate::core::set_up::answers::STRIP;
use crate::core::set_up::invite::{Branch, BranchFacts, Cancel, Kind};
use crate::core::slab::Slot;
use crate::core::telling::facts;
use crate::core::timers::Armed;
use crate::core::topology::Peer;
use crate::core::{ClientRef, Cx, Hop, Proxy, ServerRef};

/// Where a request inside a dialog goes.
#[derive(Clone, Copy, Debug)]
pub(in crate::core) struct Next {
    pub verified: Verified,
    pub pop_routes: usize,
    pub target: Peer,
    pub hop: Hop,
    pub dialog: Option<Slot>,
}

/// A request as it goes on.
struct Written {
    name: BranchName,
    hop: Hop,
    bytes: bytes::Bytes,
    changes: Changes,
    narrow: Option<Box<Narrow>>,
}

impl Proxy {
    pub(in crate::core) fn in_dialog(&mut self, cx: &Cx, m: &Message<'_>, key: u128) {
        if let Some(opened) = self.opened(cx, m) {
            return match Index::new().parse(&opened) {
                Ok(m) => self.route_in_dialog(cx, &m, key),
                Err(_) => self.reject(cx, m, 400, "request_uri"),
            };
        }
        self.route_in_dialog(cx, m, key);
    }

    fn route_in_dialog(&mut self, cx: &Cx, m: &Message<'_>, key: u128) {
        let next = match self.next_in_dialog(cx, m) {
            Ok(next) => next,
            Err((430, _)) if m.method() == Method::Bye => return self.bye_to_nobody(cx, m, key),
            Err((status, reason)) => return self.refuse_in_dialog(cx, m, key, status, reason),
        };
        self.note_recovery(cx.peer, &next);
        if let (Some(dialog), Some(_)) = (next.dialog, cx.hop.flow) {
            // A client that connected again goes on with its dialogs by the new connection.
            self.dialogs.rebind(dialog, next.verified.from_caller, cx.hop);
        }
        let full = match m.method() {
            Method::Invite => self.invites_are_full(),
            _ => self.relays_are_full(),
        };
        if full {
            return self.reject(cx, m, 503, "overload");
        }
        if let Err(denied) = self.policies_admit(cx.peer, next.target, m) {
            return self.deny_in_dialog(cx, m, key, &next, denied);
        }
        match m.method() {
            Method::Invite => self.reinvite(cx, m, key, &next),
            Method::Bye => self.bye(cx, m, key, &next),
            _ => self.pass_on(cx, m, key, &next, Purpose::Other),
        }
    }

    /// An ACK: for a failure it ends the server transaction here, for a 2xx it goes through.
    pub(in crate::core) fn ack(&mut self, cx: &Cx, m: &Message<'_>) {
        use sip::transaction::{InviteServerState, ServerInput};
        let key = self.server_key(cx.peer, m, Method::Invite);
        if let Some(&ServerRef::Invite(slot)) = self.servers.get(&key)
            && let Some(mut invite) = self.invites.take(slot)
        {
            let state = invite.server.state();
            if matches!(state, InviteServerState::Completed | InviteServerState::Confirmed) {
                invite.times.ack.get_or_insert(cx.now.mono_us.saturating_sub(invite.received.mono_us));
                invite.server.handle(cx.now.mono_us, ServerInput::Ack);
            }
            self.put_invite(slot, invite);
            if state != InviteServerState::Accepted {
                return;
            }
        }
        if self.acknowledges_us(m) {
            return;
        }
        if let Some(opened) = self.opened(cx, m)
            && let Ok(opened) = Index::new().parse(&opened)
        {
            return self.pass_ack(cx, &opened);
        }
        self.pass_ack(cx, m);
    }

    /// The ACK of a 2xx, whose route the sender was told by us.
    fn pass_ack(&mut self, cx: &Cx, m: &Message<'_>) {
        let next = match self.next_in_dialog(cx, m) {
            Ok(next) if m.max_forwards() != Some(0) => next,
            Ok(_) => return self.note_rejected(cx, m, "max_forwards", None),
            Err((_, reason)) => return self.note_rejected(cx, m, reason, None),
        };
        if let Some(dialog) = next.dialog.and_then(|slot| self.dialogs.get_mut(slot)) {
            dialog.ack_us.get_or_insert(cx.now.mono_us.saturating_sub(dialog.received.mono_us));
            self.journal.follow_dialog(&self.topology, dialog);
        }
        let written = self.write_in_dialog(cx, m, &next);
        self.send(written.hop, written.bytes);
    }

    /// Verifies the cookie and finds the other side.
    fn next_in_dialog(&self, cx: &Cx, m: &Message<'_>) -> Result<Next, (u16, &'static str)> {
        let (pop_routes, verified, next) = self.own_routes(m);
        let verified = verified.or_else(|| self.without_route(m)).ok_or((481, "bad_cookie"))?;
        let node = self.topology.node_by_hash(verified.cookie.node).ok_or((481, "unknown_node"))?;
        let trunk = self.topology.trunk_by_hash(verified.cookie.trunk).ok_or((481, "unknown_trunk"))?;
        let (node, trunk) = (Peer::Node(node), Peer::Trunk(trunk));
        let sender_side = cx.peer.side();
        let (sender, target) = if sender_side == trunk.side() { (trunk, node) } else { (node, trunk) };
        if cx.peer != sender && !self.topology.owns(sender, cx.hop.addr) && !self.may_recover(sender, cx.peer) {
            return Err((481, "foreign_cookie"));
        }
        let dialog = self.dialogs.find(m.call_id(), m.from_tag(), m.to_tag());
        let stand_in = match target {
            Peer::Node(n) => self.stands_in(n, dialog).filter(|&other| other != n).map(Peer::Node),
            Peer::Trunk(_) => None,
        };
        if let Some(target) = stand_in {
            let hop = self.hop_to_stand_in(m, next, target)?;
            return Ok(Next { verified, pop_routes, target, hop, dialog });
        }
        let hop = self.target_hop(m, next, target, verified, dialog)?;
        Ok(Next { verified, pop_routes, target, hop, dialog })
    }

    /// A node named in `recovers_to` speaks for the node that names it.
    fn may_recover(&self, sender: Peer, by: Peer) -> bool {
        match (sender, by) {
            (Peer::Node(n), Peer::Node(by)) => self.topology.nodes[n].recovers_to == Some(by),
            _ => false,
        }
    }

    /// By speaking for another node's dialog it has taken that over.
    fn note_recovery(&mut self, by: Peer, next: &Next) {
        let Peer::Node(by) = by else { return };
        let own = self.topology.hash_of(Peer::Node(by)) == next.verified.cookie.node;
        if let Some(dialog) = next.dialog.and_then(|slot| self.dialogs.get_mut(slot))
            && !own
            && dialog.moved_to != Some(by)
            && self
                .topology
                .node_by_hash(next.verified.cookie.node)
                .is_some_and(|n| self.topology.nodes[n].recovers_to == Some(by))
        {
            dialog.moved_to = Some(by);
            self.journal.follow_dialog(&self.topology, dialog);
            self.counters.moved_dialogs += 1;
        }
    }

    /// To the address that the request names, when the recovering node owns it, else to that node: what the party knows is the
    /// lost one's.
    fn hop_to_stand_in(
        &self,
        m: &Message<'_>,
        next: Option<NameAddr<'_>>,
        target: Peer,
    ) -> Result<Hop, (u16, &'static str)> {
        let uri = Uri::parse(next.map_or(m.uri(), |route| route.uri)).map_err(|_| (400, "request_uri"))?;
        let named = uri.ip().map(|ip| SocketAddr::new(ip, uri.port.unwrap_or(5060)));
        match named.filter(|&to| self.topology.owns(target, to)) {
            Some(to) => self.way_to(target, &uri, to, None),
            None => {
                let to = self.address_of(target).ok_or((403, "route"))?;
                Ok(self.flows.reuse(self.topology.hop_to(target, to)))
            }
        }
    }

    /// A user agent that ignores Record-Route sends the rest of its dialog to our own address without any Route. The dialog that
    /// we still remember then stands in for the cookie; the sender is checked as ever (`infra/decisions/0001`).
    fn without_route(&self, m: &Message<'_>) -> Option<Verified> {
        let uri = Uri::parse(m.uri()).ok()?;
        let address = SocketAddr::new(uri.ip()?, uri.port.unwrap_or(5060));
        let to_us = self.topology.is_own(address);
        if !to_us || m.values(Name::Route).next().is_some() {
            return None;
        }
        let dialog = self.dialogs.get(self.dialogs.find(m.call_id(), m.from_tag(), m.to_tag())?)?;
        let from_caller = m.from_tag() == dialog.caller_tag.as_bytes();
        let (node, trunk) = match (dialog.caller, dialog.callee) {
            (node @ Peer::Node(_), trunk @ Peer::Trunk(_)) | (trunk @ Peer::Trunk(_), node @ Peer::Node(_)) => {
                (node, trunk)
            }
            _ => return None,
        };
        let cookie =
            Cookie { call: dialog.call, node: self.topology.hash_of(node), trunk: self.topology.hash_of(trunk) };
        Some(Verified { cookie, from_caller })
    }

    /// The call that a valid cookie names, wherever the request may go.
    pub(in crate::core) fn call_of_cookie(&self, m: &Message<'_>) -> Option<domain::CallId> {
        self.own_routes(m).1.map(|verified| verified.cookie.call)
    }

    /// Takes our own Routes from the top (there are two), reads the cookie of the first that has one, and gives the Route
    /// that comes next.
    fn own_routes<'a>(&self, m: &Message<'a>) -> (usize, Option<Verified>, Option<NameAddr<'a>>) {
        let (mut own, mut verified) = (0, None);
        for value in m.values(Name::Route) {
            let Some(address) = NameAddr::parse(value) else { return (own, None, None) };
            let uri = Uri::parse(address.uri).ok();
            let host = uri.and_then(|u| Some(SocketAddr::new(u.ip()?, u.port.unwrap_or(5060))));
            if own == 2 || !host.is_some_and(|host| self.topology.is_own(host)) {
                return (own, verified, Some(address));
            }
            own += 1;
            if verified.is_none()
                && let Some(cookie) = uri.and_then(|u| u.user)
            {
                verified = Cookie::open(&self.keys, cookie, m.call_id(), m.from_tag(), m.to_tag());
            }
        }
        (own, verified, None)
    }

    /// The next Route or the request URI when it names the target's own address; else where the dialog's packets went.
    fn target_hop(
        &self,
        m: &Message<'_>,
        next: Option<NameAddr<'_>>,
        target: Peer,
        verified: Verified,
        dialog: Option<Slot>,
    ) -> Result<Hop, (u16, &'static str)> {
        let owned = |uri: &'_ [u8]| {
            let uri = Uri::parse(uri).ok()?;
            let to = SocketAddr::new(uri.ip()?, uri.port.unwrap_or(5060));
            self.topology.owns(target, to).then_some(to)
        };
        if let Some(bound) = self.bound_hop(verified, dialog) {
            // After a restart the connection is gone, and nobody listens at its far end.
            let can_stand = bound.flow.is_some() || !self.topology.listener(bound).transport.is_stream();
            return self.open(bound).filter(|_| can_stand).ok_or((430, "flow_gone"));
        }
        let known = dialog.and_then(|slot| self.dialogs.get(slot)).map(|d| {
            // The sender is the caller: the request goes to the callee, and the other way round.
            if verified.from_caller { d.callee_hop } else { d.caller_hop }
        });
        let uri = next.map_or(m.uri(), |route| route.uri);
        match (owned(uri), known) {
            (Some(to), known) => {
                let uri = Uri::parse(uri).map_err(|_| (400, "request_uri"))?;
                self.way_to(target, &uri, to, known)
            }
            (None, _) if next.is_some() => Err((403, "route")),
            (None, Some(known)) => self.open(known).ok_or((430, "flow_gone")),
            (None, None) => {
                let to = self.address_of(target).ok_or((403, "route"))?;
                Ok(self.flows.reuse(self.topology.hop_to(target, to)))
            }
        }
    }

    /// The way to a party that can be reached by nothing else, whatever a Route or its Contact says.
    fn bound_hop(&self, verified: Verified, dialog: Option<Slot>) -> Option<Hop> {
        let d = self.dialogs.get(dialog?)?;
        let (hop, bound) =
            if verified.from_caller { (d.callee_hop, d.callee_bound) } else { (d.caller_hop, d.caller_bound) };
        bound.then_some(hop)
    }

    fn write_in_dialog(&self, cx: &Cx, m: &Message<'_>, next: &Next) -> Written {
        let name = BranchName::derive(&self.keys, m, 1, self.topology.hash_of(next.target));
        let write = |hop: Hop| {
            let via = self.topology.via(hop, &name.text);
            let mut out = Vec::with_capacity(m.bytes().len() + 160);
            let edit = Forward {
                uri: None,
                via: Some(via.as_bytes()),
                record_routes: &[],
                pop_routes: next.pop_routes,
                max_forwards: m.max_forwards().map_or(70, |n| n.saturating_sub(1)),
                source: Some(cx.hop.addr),
                strip: STRIP,
                add: &[],
            };
            forward(m, &edit, &mut out);
            out
        };
        let out = write(next.hop);
        let may_widen = self.bound_hop(next.verified, next.dialog).is_none();
        let wider = may_widen.then(|| self.wider_way(next.target, next.hop, out.len())).flatten();
        let (bytes, changes) = self.pass_in_dialog(cx, next, next.hop, out);
        let Some(wider) = wider else { return Written { name, hop: next.hop, bytes, changes, narrow: None } };
        let narrow = Some(Box::new(Narrow { hop: next.hop, bytes }));
        let (bytes, changes) = self.pass_in_dialog(cx, next, wider, write(wider));
        Written { name, hop: wider, bytes, changes, narrow }
    }

    fn reinvite(&mut self, cx: &Cx, m: &Message<'_>, key: u128, next: &Next) {
        if self.setting_up >= self.config.limits.open_invites {
            return self.reject(cx, m, 503, "overload");
        }
        let mut invite = self.new_invite(cx, m, key, Kind::InDialog);
        invite.call = next.verified.cookie.call;
        invite.dialog = next.dialog;
        invite.identity.reinvite_kind = self.reinvite_kind(m, next.dialog);
        if let Some(dialog) = next.dialog.and_then(|slot| self.dialogs.get_mut(slot)) {
            dialog.reinvites += 1;
            self.journal.follow_dialog(&self.topology, dialog);
        }
        let slot = self.invites.reserve();
        self.servers.insert(key, ServerRef::Invite(slot));
        self.setting_up += 1;
        self.trying(cx, m, &mut invite);
        let Written { name, hop, bytes, changes, narrow } = self.write_in_dialog(cx, m, next);
        invite.changes = changes.kept();
        self.clients.insert(name.key, ClientRef::Invite(slot, 0));
        let leg = domain::LegId::edge(&invite.call, &invite.identity.call_id, &invite.identity.from_tag, m.cseq(), 1);
        invite.branches.push(Branch {
            attempt: 1,
            leg,
            target: next.target,
            hop,
            key: name.key,
            text: name.text,
            sent: bytes.clone(),
            narrow,
            client: InviteClient::new(cx.now.mono_us, self.sip_timers(hop)),
            first_by: u64::MAX,
            ring_by: cx.now.mono_us + self.times.timer_c,
            cancel: Cancel::No,
            abandoned: false,
            end: None,
            answered: false,
            counted: false,
            dead: false,
            response: None,
            successes: Vec::new(),
            facts: BranchFacts { forwarded: invite.since(cx.now), ..BranchFacts::default() },
        });
        self.send(hop, bytes);
        self.put_invite(slot, invite);
    }

    /// What a re-INVITE is for, as far as its session description tells.
    fn reinvite_kind(&self, m: &Message<'_>, dialog: Option<Slot>) -> Option<String> {
        let on_hold = dialog.and_then(|slot| self.dialogs.get(slot)).is_some_and(|d| d.hold.since.is_some());
        let kind = match sdp::Summary::parse(m.body()).map(|s| s.direction) {
            None => "session_refresh",
            Some("sendonly" | "inactive") => "hold",
            Some(_) if on_hold => "resume",
            Some(_) => "codec",
        };
        Some(kind.to_owned())
    }

    fn bye(&mut self, cx: &Cx, m: &Message<'_>, key: u128, next: &Next) {
        let by_caller = next.verified.from_caller;
        if let Some(dialog) = next.dialog.and_then(|slot| self.dialogs.get_mut(slot))
            && dialog.phase == Phase::Open
        {
            dialog.phase = Phase::Ending;
            dialog.ending = Some(Ending { by_caller, cseq: m.cseq(), status: 0, received: cx.now });
            self.journal.follow_dialog(&self.topology, dialog);
        }
        let purpose = Purpose::Bye { dialog: next.dialog, by_caller };
        if let Peer::Node(n) = next.target
            && self.health[n].is_dead()
        {
            // Nobody will answer there, and the sender should not hang for half a minute.
            let mut relay = self.new_relay(cx, m, key, purpose);
            relay.call = Some(next.verified.cookie.call);
            let slot = self.relays.reserve();
            self.servers.insert(key, ServerRef::Relay(slot));
            // Not 408, which RFC 4320 forbids; for the node's dialogs it is the truth.
            self.finish_relay_locally(cx.now, &mut relay, m, 481, &[]);
            return self.put_relay(slot, relay);
        }
        self.pass_on(cx, m, key, next, purpose);
    }

    /// Forwards a non-INVITE request inside a dialog.
    fn pass_on(&mut self, cx: &Cx, m: &Message<'_>, key: u128, next: &Next, purpose: Purpose) {
        let mut relay = self.new_relay(cx, m, key, purpose);
        relay.call = Some(next.verified.cookie.call);
        let Written { name, hop, bytes, changes, narrow } = self.write_in_dialog(cx, m, next);
        relay.effects = changes.effects;
        let slot = self.relays.reserve();
        self.servers.insert(key, ServerRef::Relay(slot));
        self.clients.insert(name.key, ClientRef::Relay(slot));
        let machine = NonInviteClient::new(cx.now.mono_us, self.sip_timers(hop));
        relay.client = Some(Client { narrow, ..Client::new(name, next.target, hop, bytes.clone(), machine) });
        self.send(hop, bytes);
        self.put_relay(slot, relay);
    }

    pub(in crate::core) fn new_relay(&self, cx: &Cx, m: &Message<'_>, key: u128, purpose: Purpose) -> Box<Relay> {
        let told = purpose == Purpose::Other;
        Box::new(Relay {
            purpose,
            received: cx.now,
            server: Some(Server {
                key,
                peer: cx.peer,
                hop: cx.hop,
                back: cx.back,
                machine: NonInviteServer::new(self.sip_timers(cx.hop)),
                last: bytes::Bytes::new(),
                retransmits: 0,
            }),
            client: None,
            request: bytes::Bytes::copy_from_slice(m.bytes()),
            finished: None,
            silent_until: None,
            reason: None,
            call: None,
            effects: Vec::new(),
            sip_call_id: facts::text(m.call_id()).into(),
            cseq: m.cseq(),
            identity: told.then(|| Box::new(facts::identity(m))),
            parties: told.then(|| Box::new(self.parties(cx, m))),
            said: if told { None } else { facts::reason(m).map(Box::new) },
            register: None,
            decision: None,
            ways: Vec::new(),
            armed: Armed::default(),
        })
    }
}
