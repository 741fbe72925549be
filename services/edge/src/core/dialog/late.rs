//! Dialogs from their answer to their end, and answers that come too late.

use domain::Now;
use sip::edit::Request;
use sip::transaction::NonInviteClient;
use sip::{Index, Message, Name, NameAddr, Uri};

use crate::core::dialog::dialogs::{Dialog, Far, Hold, Phase};
use crate::core::proof::branch::Branch as BranchName;
use crate::core::requests::relay::{Client, Purpose, Relay};
use crate::core::set_up::invite::{Invite, Kind, Route, Success};
use crate::core::slab::Slot;
use crate::core::telling::facts;
use crate::core::telling::story::ByeFacts;
use crate::core::timers::Armed;
use crate::core::topology::Peer;
use crate::core::{ClientRef, Cx, Hop, Proxy};

impl Proxy {
    /// A 2xx that goes upstream made a dialog; `late` when it is not the first of its INVITE.
    pub(in crate::core) fn open_dialog(
        &mut self,
        now: Now,
        invite: &mut Invite,
        at: usize,
        m: &Message<'_>,
        late: bool,
    ) {
        if self.dialogs.open() >= self.config.limits.dialogs
            && let Some(oldest) = self.dialogs.oldest()
        {
            self.lose_dialog(now, oldest, "table_full");
        }
        if let Some(same) = self.dialogs.find(m.call_id(), m.from_tag(), m.to_tag()) {
            // A callee that uses its tag twice: the older call has no name of its own any more.
            self.lose_dialog(now, same, "replaced");
        }
        let far = if self.config.orphan_bye { self.far_party(invite, at, m) } else { None };
        let branch = &invite.branches[at];
        let boxed = |text: &Option<String>| text.clone().unwrap_or_default().into_boxed_str();
        let parties = invite.parties();
        let mut dialog = Dialog {
            call: invite.call,
            leg: branch.leg,
            parent: invite.parent.clone(),
            attempt: branch.attempt,
            sip_call_id: invite.identity.call_id.clone().into(),
            caller_tag: invite.identity.from_tag.clone().into(),
            callee_tag: facts::text(m.to_tag()).into(),
            cseq: invite.identity.cseq,
            from_uri: boxed(&invite.identity.from_uri),
            to_uri: boxed(&invite.identity.to_uri),
            caller: invite.peer,
            callee: branch.target,
            caller_hop: invite.back,
            callee_hop: branch.hop,
            caller_bound: self.is_bound(invite.hop, invite.peer),
            callee_bound: matches!(invite.route, Route::Flow { .. }) || self.is_bound(branch.hop, branch.target),
            account: self.account_of(invite).map(String::into_boxed_str),
            caller_number: boxed(&parties.caller_raw),
            callee_number: boxed(&parties.callee_raw),
            received: invite.received,
            answered: now,
            ack_us: None,
            reinvites: 0,
            session: None,
            hold: Hold::default(),
            phase: Phase::Open,
            ending: None,
            moved_to: None,
            late,
            far,
            kept: None,
            key: 0,
        };
        dialog.kept = self.journal.dialog(&self.topology, &dialog, invite.server_key);
        let slot = self.dialogs.insert(dialog);
        if !late {
            invite.dialog = Some(slot);
        }
    }

    /// Of the trunk, or of the client that speaks for it.
    fn account_of(&self, invite: &Invite) -> Option<String> {
        let parties = invite.parties();
        match invite.branches.last().map(|b| b.target) {
            Some(Peer::Trunk(t)) if parties.trunk_id.is_none() => self.topology.trunks[t].account.clone(),
            _ => parties.account.clone(),
        }
    }

    /// Reads again from the request what went away with the `answered` event.
    pub(in crate::core) fn recall(&mut self, invite: &mut Invite) {
        if !std::mem::take(&mut invite.is_told) {
            return;
        }
        let request = invite.request.clone();
        let mut index = Index::new();
        // It was read once, so it can be read again.
        let Ok(m) = index.parse(&request) else { return };
        let cx = Cx { now: invite.received, hop: invite.hop, back: invite.back, peer: invite.peer };
        invite.identity = facts::identity(&m);
        let mut parties = self.parties(&cx, &m);
        if let Route::Flow { trunk, .. } = invite.route {
            parties.trunk_id = Some(self.topology.trunks[trunk].id.clone());
        }
        // Whose connection it was may be forgotten by now; the first dialog is not.
        if let Some(dialog) = invite.dialog.and_then(|slot| self.dialogs.get(slot)) {
            parties.account = dialog.account.as_deref().map(str::to_owned);
        }
        invite.parties = Some(Box::new(parties));
        invite.auth = facts::auth(&m, &self.keys);
        invite.offer = facts::session(&m).map(Box::new);
    }

    /// The party on the trunk's side: from its INVITE when it called, from its 2xx when it was called.
    fn far_party(&self, invite: &Invite, at: usize, answer: &Message<'_>) -> Option<Box<Far>> {
        let far = |m: &Message<'_>, routes: Vec<String>| {
            let target = facts::text(m.contact()?.uri);
            Some(Box::new(Far { target, routes }))
        };
        if let Peer::Trunk(_) = invite.peer {
            let mut index = Index::new();
            let request = index.parse(&invite.request).ok()?;
            return far(&request, request.values(Name::RecordRoute).map(facts::text).collect());
        }
        if let Peer::Node(_) = invite.branches[at].target {
            return None;
        }
        far(answer, self.routes_above_ours(answer).into_iter().map(facts::text).collect())
    }

    /// Record-Routes that the far side of an answer put above ours, in the order of a route set.
    fn routes_above_ours<'a>(&self, m: &Message<'a>) -> Vec<&'a [u8]> {
        let mut above: Vec<&[u8]> = Vec::new();
        for value in m.values(Name::RecordRoute) {
            let uri = NameAddr::parse(value).and_then(|a| Uri::parse(a.uri).ok());
            let address = uri.and_then(|u| Some(std::net::SocketAddr::new(u.ip()?, u.port.unwrap_or(5060))));
            if address.is_some_and(|a| self.topology.is_own(a)) {
                break;
            }
            above.push(value);
        }
        above.reverse();
        above
    }

    /// The end of a dialog by a BYE; the first one counts.
    pub(in crate::core) fn end_dialog(&mut self, now: Now, slot: Slot, bye: &ByeFacts) {
        if !self.dialogs.close(slot, now.mono_us) {
            return;
        }
        self.tell_end(now, slot, Ok(bye));
    }

    /// A dialog that is given up without a BYE.
    pub(in crate::core) fn lose_dialog(&mut self, now: Now, slot: Slot, reason: &'static str) {
        if !self.dialogs.close(slot, now.mono_us) {
            return;
        }
        self.counters.lost += 1;
        self.tell_end(now, slot, Err(reason));
    }

    fn tell_end(&mut self, now: Now, slot: Slot, how: Result<&ByeFacts, &'static str>) {
        let Some(dialog) = self.dialogs.get_mut(slot) else { return };
        self.journal.remove_later(dialog.kept.take());
        let Some(dialog) = self.dialogs.get(slot) else { return };
        let (caller, callee) = (dialog.caller, dialog.callee);
        let event = self.end_event(now, dialog, how);
        self.counters.ended += 1;
        self.uncount(caller, callee, true);
        self.out.push_back(crate::core::Action::Transaction(Box::new(event)));
    }

    /// A 2xx that does not go upstream, because a final failure did, or because the trunk wants one answer only (a stated
    /// departure from §16.7): acknowledged and released by us, so that nobody is left talking to nobody. Its copies get the
    /// ACK again. Of a re-INVITE it is acknowledged only: the dialog itself lives on.
    pub(in crate::core) fn release_answer(
        &mut self,
        cx: &Cx,
        invite: &mut Invite,
        at: usize,
        m: &Message<'_>,
        rule: Option<String>,
    ) {
        let (hop, ack, bye) = self.write_release(invite, at, m);
        let branch = &mut invite.branches[at];
        branch.answered = true;
        branch.successes.push(Success { to_tag: m.to_tag().to_vec(), ack: Some((hop, ack.clone())) });
        branch.facts.finished = Some(cx.now.mono_us.saturating_sub(invite.received.mono_us));
        branch.facts.status = Some(m.status());
        branch.facts.to_tag = Some(facts::text(m.to_tag()));
        let (target, counted) = (branch.target, std::mem::take(&mut branch.counted));
        self.uncount(invite.peer, target, counted);
        self.send(hop, ack);
        if invite.kind == Kind::Initial {
            self.counters.late_answers += 1;
            self.tell_late(cx.now, invite, at, m, "acked_and_released", rule);
            self.send_release(cx, invite, at, hop, bye);
        }
    }

    /// The ACK and the BYE for a 2xx, as the caller would have sent them.
    fn write_release(
        &mut self,
        invite: &Invite,
        at: usize,
        m: &Message<'_>,
    ) -> (Hop, bytes::Bytes, (BranchName, bytes::Bytes)) {
        let branch = &invite.branches[at];
        // Without a Contact, which a 2xx must have, it goes where the INVITE went.
        let asked = branch.sent.split(|&b| b == b' ').nth(1).unwrap_or_default();
        let contact = m.contact().map_or(asked, |c| c.uri);
        let above = self.routes_above_ours(m);
        let target = above.first().and_then(|v| NameAddr::parse(v)).map_or(contact, |a| a.uri);
        let literal =
            Uri::parse(target).ok().and_then(|u| Some(std::net::SocketAddr::new(u.ip()?, u.port.unwrap_or(5060))));
        let literal = literal.filter(|&a| self.topology.owns(branch.target, a));
        let hop =
            literal.filter(|&a| a != branch.hop.addr).map_or(branch.hop, |a| self.topology.hop_to(branch.target, a));
        let routes: Vec<(&str, &[u8])> = above.iter().map(|v| ("Route", *v)).collect();
        let write = |method: &str, cseq: u32, nonce: u64| {
            let name = BranchName::own(&self.keys, nonce);
            let via = self.topology.via(hop, &name.text);
            let mut out = Vec::with_capacity(512);
            let request = Request {
                method,
                uri: contact,
                via: via.as_bytes(),
                from: m.header(Name::From).unwrap_or_default(),
                to: m.header(Name::To).unwrap_or_default(),
                call_id: m.call_id(),
                cseq,
                max_forwards: 70,
                add: &routes,
            };
            request.write(&mut out);
            (name, bytes::Bytes::from(out))
        };
        let (ack_nonce, bye_nonce) = (self.random.next(), self.random.next());
        let (_, ack) = write("ACK", m.cseq(), ack_nonce);
        let bye = write("BYE", m.cseq().saturating_add(1), bye_nonce);
        (hop, ack, bye)
    }

    fn send_release(&mut self, cx: &Cx, invite: &Invite, at: usize, hop: Hop, bye: (BranchName, bytes::Bytes)) {
        let target = invite.branches[at].target;
        self.send_own(cx.now, invite.call, invite.identity.call_id.clone(), target, hop, bye);
    }

    /// A request of our own, for which nobody upstream waits.
    pub(in crate::core) fn send_own(
        &mut self,
        now: Now,
        call: domain::CallId,
        sip_call_id: String,
        target: Peer,
        hop: Hop,
        (name, bytes): (BranchName, bytes::Bytes),
    ) {
        let slot = self.relays.reserve();
        self.clients.insert(name.key, ClientRef::Relay(slot));
        let machine = NonInviteClient::new(now.mono_us, self.sip_timers(hop));
        let relay = Relay {
            purpose: Purpose::Release,
            received: now,
            server: None,
            client: Some(Client::new(name, target, hop, bytes.clone(), machine)),
            effects: Vec::new(),
            request: bytes.clone(),
            finished: None,
            silent_until: None,
            reason: None,
            call: Some(call),
            sip_call_id: sip_call_id.into(),
            cseq: 0,
            identity: None,
            parties: None,
            said: None,
            register: None,
            decision: None,
            ways: Vec::new(),
            armed: Armed::default(),
        };
        self.send(hop, bytes);
        self.put_relay(slot, Box::new(relay));
    }
}
