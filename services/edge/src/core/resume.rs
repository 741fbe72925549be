//! The start of a life after another one: INVITEs and dialogs from the journal become what they were.
//!
//! An INVITE is read from its own bytes again, so it knows all that a new one knows; its branches are those that were sent,
//! byte for byte. What the life before decided but may not have told or sent is told and sent again: an event with the same
//! logical id, a packet with the same branch. A next hop gets its whole first-response time anew, since it may have
//! answered while nobody was here; so the restart itself never sends a call to a second one.

use std::collections::HashMap;

use bytes::Bytes;
use domain::{LegId, Now};
use schemas::SipDecision;
use sip::transaction::{ClientInput, InviteClient, ServerInput};
use sip::{Index, Message, Method};

use super::journal::records::{ALL_TOLD, Attempt, FinalAnswer, OpenInvite, Record, read};
use super::slab::Slot;
use super::topology::Peer;
use crate::core::flow::way::sent_by;
use crate::core::proof::branch;
use crate::core::set_up::invite::{Branch, BranchFacts, Cancel, End, Invite, Kept, Kind, Success};
use crate::core::{ClientRef, Cx, Hop, Proxy, ServerRef};

/// How an INVITE had ended, when it had.
enum Ended {
    Answered(Slot),
    Failed(FinalAnswer),
}

impl Proxy {
    pub(super) fn resume(&mut self, now: Now) {
        let mut opens: HashMap<u128, Box<OpenInvite>> = HashMap::new();
        let mut ends: HashMap<u128, Ended> = HashMap::new();
        let mut order = Vec::new();
        for found in self.journal.take_found() {
            match read(&self.topology, &found) {
                Some(Record::Open(open)) => match self.key_of_open(&open) {
                    // Oldest first: with a second attempt the record was written anew.
                    Some(key) => match opens.insert(key, open) {
                        Some(older) => self.journal.remove_later(Some(older.place)),
                        None => order.push(key),
                    },
                    None => self.pass_over(found.place),
                },
                Some(Record::Final(end)) => drop(ends.insert(end.server_key, Ended::Failed(end))),
                Some(Record::Dialog { dialog, server_key }) => {
                    if let Peer::Node(n) = dialog.callee {
                        self.nodes[n].calls_now += 1;
                    }
                    self.trunk_call_begins(dialog.caller, dialog.callee);
                    self.remember_admitted(dialog.caller, dialog.received, now);
                    self.remember_sent(dialog.callee, dialog.received);
                    let (until, late) = (dialog.answered.mono_us + self.times.sip.give_up(), dialog.late);
                    let mut dialog = dialog;
                    if let Some((_, session_until)) = &mut dialog.session {
                        // A refresh may have come while nobody was here: its copies come for so long.
                        *session_until = (*session_until).max(now.mono_us + self.times.sip.give_up());
                    }
                    let slot = self.dialogs.insert(*dialog);
                    self.counters.resumed_dialogs += 1;
                    if !late {
                        ends.insert(server_key, Ended::Answered(slot));
                    }
                    if until > now.mono_us {
                        self.servers.insert(server_key, ServerRef::Absorbed);
                        self.absorbed.push_back((until, server_key));
                    }
                }
                Some(Record::Challenge { key, until, continuation }) => {
                    self.challenges.remember(now.mono_us, until, key, continuation);
                }
                Some(Record::Node { place, node, core_uuid }) => {
                    self.watch.remember(node, &core_uuid);
                    let older = self.nodes[node].kept.replace(place);
                    self.journal.remove_later(older);
                }
                None => self.pass_over(found.place),
            }
        }
        let mut index = Index::new();
        for key in order {
            let Some(open) = opens.remove(&key) else { continue };
            let request = open.request.clone();
            if let Ok(m) = index.parse(&request) {
                self.resume_invite(now, *open, &m, key, ends.remove(&key));
            }
        }
        // Failures whose INVITE is forgotten: acknowledged long ago.
        for end in ends.into_values() {
            if let Ended::Failed(end) = end {
                self.journal.remove_later(Some(end.place));
            }
        }
        self.counters.journal_damaged += self.journal.damaged;
    }

    /// A record that means nothing here.
    fn pass_over(&mut self, place: super::journal::Place) {
        self.counters.journal_damaged += 1;
        self.journal.remove_later(Some(place));
    }

    fn key_of_open(&self, open: &OpenInvite) -> Option<u128> {
        let mut index = Index::new();
        index.parse(&open.request).ok().map(|m| self.server_key(open.peer, &m, Method::Invite))
    }

    /// Copies of answered INVITEs come for 64 × T1.
    pub(super) fn forget_absorbed(&mut self, now: Now) {
        while self.absorbed.front().is_some_and(|&(until, _)| until <= now.mono_us) {
            let Some((_, key)) = self.absorbed.pop_front() else { return };
            if matches!(self.servers.get(&key), Some(ServerRef::Absorbed)) {
                self.servers.remove(&key);
            }
        }
        for place in std::mem::take(&mut self.challenges.dropped) {
            self.journal.remove_later(Some(place));
        }
    }

    fn resume_invite(&mut self, now: Now, open: OpenInvite, m: &Message<'_>, key: u128, end: Option<Ended>) {
        let hop = open.hop;
        // The connection that it came by is gone.
        let is_stream = self.topology.listener(hop).transport.is_stream();
        let back = if is_stream { Hop::to(hop.listener, sent_by(hop, m)) } else { self.way_back(hop, m) };
        let cx = Cx { now: open.received, hop, back, peer: open.peer };
        let mut invite = self.new_invite(&cx, m, key, Kind::Initial);
        // For a failover; whether there is a next hop is asked when one is wanted.
        let _no_next_hop_now = self.choose_route(&cx, m, &mut invite, &mut SipDecision::default());
        let merged = self.seed.key(&[b"merged", m.call_id(), m.from_tag(), &m.cseq().to_be_bytes()]);
        invite.merged_key = Some(merged);
        invite.call = open.call;
        invite.parent.clone_from(&open.parent);
        invite.continues = open.continues;
        invite.pop_routes = usize::from(open.pop_routes);
        invite.cancelled = open.cancelled;
        invite.kept = Kept { open: Some(open.place), end: None };
        let some = |t: u64| (t > 0).then_some(t);
        let times = &mut invite.times;
        times.first_180 = some(open.first_180);
        times.first_18x = some(open.first_18x);
        times.first_183_sdp = some(open.first_183_sdp);
        times.cancel = some(open.cancel);
        self.remember_admitted(open.peer, open.received, now);
        let slot = self.invites.reserve();
        for (at, attempt) in open.attempts.iter().enumerate() {
            let branch = self.resume_branch(now, &open, at, attempt, m, &invite);
            self.remember_sent(branch.target, open.received);
            invite.tried.push(branch.target);
            self.clients.insert(branch.key, ClientRef::Invite(slot, at));
            invite.branches.push(branch);
        }
        self.servers.insert(key, ServerRef::Invite(slot));
        self.merged.insert(merged, slot);
        self.counters.resumed_invites += 1;
        self.tell_attempt_again(now, &invite, m, open.told);
        match end {
            Some(Ended::Answered(dialog)) => self.resume_answered(now, &mut invite, dialog),
            Some(Ended::Failed(end)) => self.resume_failed(now, &mut invite, &open, end),
            None => self.resume_open(now, &mut invite, m),
        }
        self.put_invite(slot, invite);
    }

    fn resume_branch(
        &mut self,
        now: Now,
        open: &OpenInvite,
        at: usize,
        attempt: &Attempt,
        m: &Message<'_>,
        invite: &Invite,
    ) -> Branch {
        let last = at + 1 == open.attempts.len();
        let number = at as u32 + 1;
        let sent_at = open.received.mono_us + attempt.forwarded;
        let mut client = InviteClient::new(sent_at, self.sip_timers(attempt.hop));
        let responded = attempt.status.is_some() || (last && open.responded);
        let heard = match attempt.status {
            Some(status) => Some(ClientInput::Response(status)),
            None if responded => Some(ClientInput::Response(100)),
            None if attempt.abandoned => Some(ClientInput::Silence),
            None => None,
        };
        if let Some(input) = heard {
            client.handle(sent_at, input);
            while client.poll().is_some() {}
        }
        let end = attempt.end;
        let wait = match attempt.target {
            Peer::Node(_) => self.times.first_response_node,
            Peer::Trunk(_) => self.times.first_response_trunk,
        };
        let waits = end.is_none() && !attempt.abandoned;
        let rang = open.received.mono_us + if last { open.ringing } else { 0 };
        let counted = waits;
        if counted {
            self.trunk_call_begins(open.peer, attempt.target);
        }
        if let (Peer::Node(n), true) = (attempt.target, counted) {
            self.nodes[n].calls_now += 1;
        }
        let some = |t: u64| (last && t > 0).then_some(t);
        Branch {
            attempt: number,
            leg: LegId::edge(&open.call, &invite.identity.call_id, &invite.identity.from_tag, m.cseq(), number),
            target: attempt.target,
            hop: attempt.hop,
            // A branch that is not ours finds no response; its timers end it.
            key: branch::parse(attempt.branch.as_bytes()).unwrap_or_else(|| branch::Branch::own(&self.keys, 0).key),
            text: attempt.branch.clone(),
            sent: attempt.sent.clone(),
            narrow: None,
            client,
            first_by: if waits && !responded { (sent_at + wait).max(now.mono_us + wait) } else { u64::MAX },
            ring_by: if waits { (rang + self.times.timer_c).max(now.mono_us + wait) } else { u64::MAX },
            cancel: Cancel::No,
            abandoned: attempt.abandoned,
            end,
            answered: false,
            counted,
            dead: false,
            response: None,
            successes: Vec::new(),
            facts: BranchFacts {
                forwarded: attempt.forwarded,
                first_response: some(open.first_response),
                ringing: some(open.ringing),
                status: attempt.status,
                failover_reason: end.filter(|_| attempt.failover_reason).map(End::label),
                ..BranchFacts::default()
            },
        }
    }

    /// The last attempt may have been decided and not told.
    fn tell_attempt_again(&mut self, now: Now, invite: &Invite, m: &Message<'_>, told: u64) {
        let Some(branch) = invite.branches.last().filter(|_| told < invite.branches.len() as u64) else { return };
        let target = branch.target;
        let decision = SipDecision {
            algorithm: Some("resumed".to_owned()),
            reason: Some("routed".to_owned()),
            chosen_side: Some(target.side().as_str().to_owned()),
            chosen_id: Some(self.topology.id_of(target).to_owned()),
            config_digest: Some(self.topology.digest.clone()),
            ..SipDecision::default()
        };
        let header = matches!(target, Peer::Node(_)).then(|| self.keys.sign(&invite.call, &branch.leg));
        self.tell_attempt(now, invite, m, decision, header);
    }

    fn resume_open(&mut self, now: Now, invite: &mut Invite, m: &Message<'_>) {
        self.setting_up += 1;
        invite.last = self.local_answer(m, invite.hop.addr, 100, &[]);
        if let Some(place) = invite.kept.open {
            self.journal.mark_later(place, super::journal::records::TOLD, invite.branches.len() as u64);
        }
        if invite.cancelled {
            for at in 0..invite.branches.len() {
                if invite.branches[at].end.is_none() {
                    self.cancel_branch(now, invite, at);
                }
            }
        }
    }

    /// Answered, and the life before may not have told it.
    fn resume_answered(&mut self, now: Now, invite: &mut Invite, slot: Slot) {
        let Some(dialog) = self.dialogs.get(slot) else { return };
        let (answered, tag, attempt) = (dialog.answered, dialog.callee_tag.clone(), dialog.attempt);
        let since = invite.since(answered);
        invite.finished = Some(200);
        invite.times.finished = Some(since);
        invite.dialog = Some(slot);
        invite.server.handle(answered.mono_us, ServerInput::Respond(200));
        while invite.server.poll().is_some() {}
        let (at, mut given_back) = ((attempt as usize).clamp(1, invite.branches.len()) - 1, Vec::new());
        for (place, branch) in invite.branches.iter_mut().enumerate() {
            if place == at {
                branch.answered = true;
                branch.end = None;
                branch.facts.status = Some(200);
                branch.facts.finished = Some(since);
                branch.facts.to_tag = Some(tag.to_string());
                branch.successes.push(Success { to_tag: tag.as_bytes().to_vec(), ack: None });
                branch.client.handle(answered.mono_us, ClientInput::Response(200));
                while branch.client.poll().is_some() {}
            } else if branch.end.is_none() {
                branch.dead = true;
                branch.end = Some(End::Cancelled);
            }
            // The dialog counts the call.
            if std::mem::take(&mut branch.counted) {
                given_back.push(branch.target);
            }
        }
        self.give_back(invite.peer, given_back);
        self.tell_answered_again(now, invite, at, &tag);
    }

    /// What branches counted that were over when the life before ended.
    fn give_back(&mut self, caller: Peer, targets: Vec<Peer>) {
        for target in targets {
            self.trunk_call_ends(caller, target);
            if let Peer::Node(n) = target {
                self.nodes[n].calls_now -= 1;
            }
        }
    }

    /// Failed, and not acknowledged yet.
    fn resume_failed(&mut self, now: Now, invite: &mut Invite, open: &OpenInvite, end: FinalAnswer) {
        let since = invite.since(end.at);
        invite.finished = Some(end.status);
        invite.times.finished = Some(since);
        invite.last = end.bytes.clone();
        invite.kept.end = Some(end.place);
        invite.server.handle(end.at.mono_us, ServerInput::Respond(end.status));
        while invite.server.poll().is_some() {}
        let (last, mut given_back) = (invite.branches.len() - 1, Vec::new());
        for (at, branch) in invite.branches.iter_mut().enumerate() {
            if at == last && open.responded {
                branch.client.handle(end.at.mono_us, ClientInput::Response(end.status));
                while branch.client.poll().is_some() {}
                branch.facts.status = Some(end.status);
                branch.facts.finished = Some(since);
                branch.end = Some(End::Status { status: end.status, q850: false });
            } else if branch.end.is_none() {
                branch.dead = true;
                branch.end = Some(End::TimedOut);
            }
            branch.first_by = u64::MAX;
            branch.ring_by = u64::MAX;
            if std::mem::take(&mut branch.counted) {
                given_back.push(branch.target);
            }
        }
        self.give_back(invite.peer, given_back);
        if open.told != ALL_TOLD {
            let mut index = Index::new();
            let bytes: Bytes = end.bytes;
            let response = index.parse(&bytes).ok().filter(|_| open.responded);
            self.tell_final(now, invite, end.status, open.responded.then_some(last), response.as_ref());
            self.journal.mark_later(open.place, super::journal::records::TOLD, ALL_TOLD);
        }
    }
}
