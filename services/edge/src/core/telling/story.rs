//! The events of `sip.transactions`, exactly by the grammar of DESIGN §5. One function per kind of event; each takes what
//! the machine knows and changes nothing in it.

use domain::{LegId, Now};
use schemas::{
    SipBranch, SipCorrelation, SipDecision, SipDialogEnd, SipIdentity, SipOutcome, SipParties, SipPolicy, SipResponse,
    SipTiming, SipTransaction,
};
use sip::Message;

use crate::core::dialog::dialogs::{Dialog, Ending};
use crate::core::policy::{Denied, Direction};
use crate::core::receive::trunk_index;
use crate::core::requests::relay::Relay;
use crate::core::set_up::invite::{Branch, End, Invite};
use crate::core::telling::facts;
use crate::core::telling::links;
use crate::core::topology::Peer;
use crate::core::{Action, Cx, Hop, Proxy};

/// What a BYE says about the end of a dialog.
#[derive(Debug)]
pub(in crate::core) struct ByeFacts {
    pub by_caller: bool,
    pub status: u16,
    pub cseq: u32,
    pub received: Now,
    pub reason: Option<Box<facts::Reason>>,
}

impl From<Ending> for ByeFacts {
    /// Of a BYE that an earlier life received, or whose answer passed without a transaction.
    fn from(e: Ending) -> ByeFacts {
        let status = if e.status == 0 { 408 } else { e.status };
        ByeFacts { by_caller: e.by_caller, status, cseq: e.cseq, received: e.received, reason: None }
    }
}

fn us(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Proxy {
    /// Who calls whom, and whose account it is: a client's own, where its connection says it.
    pub(in crate::core) fn parties(&self, cx: &Cx, m: &Message<'_>) -> SipParties {
        let trunk = trunk_index(cx.peer);
        let parties = facts::parties(m, &self.topology, trunk);
        SipParties { account: trunk.and_then(|t| self.account_at(cx.hop, t)), ..parties }
    }

    fn emit(&mut self, event: SipTransaction) {
        self.out.push_back(Action::Transaction(Box::new(event)));
    }

    /// What every event of an INVITE carries.
    fn invite_event(&self, now: Now, invite: &Invite, event_type: &str) -> SipTransaction {
        SipTransaction {
            identity: invite.identity.clone(),
            parties: Some(self.with_target(invite.parties().clone(), invite)),
            ..self.progress_event(now, invite, event_type)
        }
    }

    /// How far an INVITE has come, without who calls whom.
    fn progress_event(&self, now: Now, invite: &Invite, event_type: &str) -> SipTransaction {
        let last = invite.branches.last();
        SipTransaction {
            event_type: event_type.to_owned(),
            call_root_id: invite.call.to_string(),
            leg_id: last.map_or_else(String::new, |b| b.leg.to_string()),
            parent_leg_id: invite.parent.clone(),
            edge_id: self.topology.edge_id.clone(),
            occurred_us: now.wall_us,
            occurred_mono_us: us(now.mono_us),
            source_side: invite.peer.side().as_str().to_owned(),
            source_id: self.topology.id_of(invite.peer).to_owned(),
            attempt: last.map_or(0, |b| b.attempt as i32),
            timing: Some(timing(invite)),
            sent: self.sent_of_invite(invite),
            correlation: invite.continues.map(|(cseq, status)| SipCorrelation {
                continues_cseq: Some(cseq),
                continues_status: Some(status),
                ..SipCorrelation::default()
            }),
            branches: invite.branches.iter().map(|b| self.branch(b)).collect(),
            ..SipTransaction::default()
        }
    }

    fn transport(&self, m: &Message<'_>, hop: Hop) -> schemas::SipTransport {
        facts::transport(m, hop.addr, self.topology.listener(hop), self.flows.identity(hop))
    }

    /// A call from a node belongs to the trunk that it goes to.
    fn with_target(&self, mut parties: SipParties, invite: &Invite) -> SipParties {
        if parties.trunk_id.is_none()
            && let Some(Peer::Trunk(t)) = invite.branches.last().map(|b| b.target)
        {
            facts::trunk_parties(&mut parties, &self.topology.trunks[t], Direction::ToTrunk);
        }
        parties
    }

    fn branch(&self, b: &Branch) -> SipBranch {
        SipBranch {
            attempt: b.attempt as i32,
            leg_id: b.leg.to_string(),
            branch: b.text.clone(),
            target_side: b.target.side().as_str().to_owned(),
            target_id: self.topology.id_of(b.target).to_owned(),
            address: b.hop.addr.to_string(),
            t_fwd_us: us(b.facts.forwarded),
            t_first_resp_us: b.facts.first_response.map(us),
            t_18x_us: b.facts.ringing.map(us),
            t_final_us: b.facts.finished.map(us),
            status: b.facts.status,
            to_tag: b.facts.to_tag.clone(),
            retransmits: b.facts.retransmits,
            failover_reason: b.facts.failover_reason.map(str::to_owned),
        }
    }

    pub(in crate::core) fn tell_attempt(
        &mut self,
        now: Now,
        invite: &Invite,
        m: &Message<'_>,
        decision: SipDecision,
        header: Option<String>,
    ) {
        let mut event = self.invite_event(now, invite, "attempt");
        event.transport = Some(self.transport(m, invite.hop));
        event.headers = Some(facts::headers(m, &mut self.digests, &self.config.event_headers));
        event.offer = invite.offer.as_deref().cloned();
        event.decision = Some(decision);
        event.outcome = invite.auth.clone().map(|auth| SipOutcome { auth: Some(auth), ..SipOutcome::default() });
        if let Some(header) = header {
            event.correlation.get_or_insert_default().trunkline_header = Some(header);
        }
        links::note_previous(m, &mut event);
        links::note_channel(m, invite.peer, &mut event);
        self.emit(event);
    }

    pub(in crate::core) fn tell_refused(
        &mut self,
        cx: &Cx,
        m: &Message<'_>,
        invite: &Invite,
        decision: SipDecision,
        status: u16,
    ) {
        let mut event = self.invite_event(cx.now, invite, "refused");
        let (call_id, from_tag) = (&invite.identity.call_id, &invite.identity.from_tag);
        event.leg_id = LegId::edge(&invite.call, call_id, from_tag, invite.identity.cseq, 0).to_string();
        event.transport = Some(self.transport(m, invite.hop));
        event.headers = Some(facts::headers(m, &mut self.digests, &self.config.event_headers));
        event.offer = invite.offer.as_deref().cloned();
        event.decision = Some(decision);
        let phrase = sip::edit::reason_phrase(status);
        event.outcome = Some(self.outcome(invite, status, phrase.to_owned(), "edge"));
        links::note_previous(m, &mut event);
        links::note_channel(m, invite.peer, &mut event);
        self.emit(event);
    }

    fn outcome(&self, invite: &Invite, status: u16, phrase: String, produced_by: &str) -> SipOutcome {
        let challenge = schemas::grammar::is_challenge(status);
        let auth = facts::auth_outcome(invite.auth.clone(), status, None);
        SipOutcome {
            status: Some(status),
            status_class: Some(i32::from(status / 100)),
            reason_phrase: Some(phrase),
            produced_by: Some(produced_by.to_owned()),
            timer_fired: invite.timer_fired.map(str::to_owned),
            retransmits_in: invite.retransmits_in,
            retransmits_out: invite.branches.iter().map(|b| b.facts.retransmits).sum(),
            responses: invite.responses.iter().map(|&(code, t)| SipResponse { code, t_us: us(t) }).collect(),
            cancelled: invite.cancelled,
            challenge,
            auth,
            late_action: None,
        }
    }

    /// What the story was told from goes with this event: nearly always it is the last one, and 32 s later the memory would be cold.
    /// A further answer reads it from the request again, see [`Proxy::recall`].
    pub(in crate::core) fn tell_answered(&mut self, now: Now, invite: &mut Invite, at: usize, m: &Message<'_>) {
        let mut event = self.progress_event(now, invite, "answered");
        let phrase = facts::text(m.reason_phrase());
        event.outcome = Some(self.outcome(invite, m.status(), phrase, "upstream"));
        let parties = invite.parties.take().map(|p| *p).unwrap_or_default();
        event.parties = Some(self.with_target(parties, invite));
        let kept = SipIdentity {
            call_id: invite.identity.call_id.clone(),
            from_tag: invite.identity.from_tag.clone(),
            cseq: invite.identity.cseq,
            ..SipIdentity::default()
        };
        event.identity = std::mem::replace(&mut invite.identity, kept);
        invite.offer = None;
        invite.auth = None;
        invite.is_told = true;
        let branch = &invite.branches[at];
        event.leg_id = branch.leg.to_string();
        event.attempt = branch.attempt as i32;
        event.identity.to_tag = Some(facts::text(m.to_tag()));
        event.headers = Some(facts::headers(m, &mut self.digests, &self.config.event_headers));
        event.answer = facts::session(m);
        links::note_channel(m, branch.target, &mut event);
        self.emit(event);
    }

    /// The same of an answer that an earlier life may not have told any more; a copy has the same logical id.
    pub(in crate::core) fn tell_answered_again(&mut self, now: Now, invite: &Invite, at: usize, to_tag: &str) {
        let mut event = self.invite_event(now, invite, "answered");
        let branch = &invite.branches[at];
        event.leg_id = branch.leg.to_string();
        event.attempt = branch.attempt as i32;
        event.identity.to_tag = Some(to_tag.to_owned());
        let status = branch.facts.status.unwrap_or(200);
        event.outcome = Some(self.outcome(invite, status, sip::edit::reason_phrase(status).to_owned(), "upstream"));
        self.emit(event);
    }

    pub(in crate::core) fn tell_final(
        &mut self,
        now: Now,
        invite: &Invite,
        status: u16,
        chosen: Option<usize>,
        m: Option<&Message<'_>>,
    ) {
        let mut event = self.invite_event(now, invite, "final");
        if let Some(branch) = chosen.and_then(|at| invite.branches.get(at)) {
            event.leg_id = branch.leg.to_string();
            event.attempt = branch.attempt as i32;
        }
        let (phrase, by) = match m {
            Some(m) if m.status() == status => (facts::text(m.reason_phrase()), "upstream"),
            Some(_) => (sip::edit::reason_phrase(status).to_owned(), "edge"),
            None => {
                let timeout =
                    invite.branches.iter().any(|b| matches!(b.end, Some(End::TimedOut | End::NoFirstResponse)));
                let by = if timeout && !invite.cancelled { "timeout" } else { "edge" };
                (sip::edit::reason_phrase(status).to_owned(), by)
            }
        };
        let mut outcome = self.outcome(invite, status, phrase, by);
        if let Some(m) = m {
            event.headers = Some(facts::headers(m, &mut self.digests, &self.config.event_headers));
            event.identity.to_tag = Some(facts::text(m.to_tag())).filter(|t| !t.is_empty());
            if let Some(branch) = chosen.and_then(|at| invite.branches.get(at)) {
                links::note_channel(m, branch.target, &mut event);
            }
            if let (Some(auth), Some(realm)) = (&mut outcome.auth, facts::challenge_realm(m)) {
                auth.realm = Some(realm);
            }
        }
        event.outcome = Some(outcome);
        self.emit(event);
    }

    /// A 2xx after the first final response, what was done about it, and the setting that asked for that.
    pub(in crate::core) fn tell_late(
        &mut self,
        now: Now,
        invite: &Invite,
        at: usize,
        m: &Message<'_>,
        action: &str,
        rule: Option<String>,
    ) {
        let mut event = self.invite_event(now, invite, "late_answer");
        let branch = &invite.branches[at];
        event.leg_id = branch.leg.to_string();
        event.attempt = branch.attempt as i32;
        event.identity.to_tag = Some(facts::text(m.to_tag()));
        let mut outcome = self.outcome(invite, m.status(), facts::text(m.reason_phrase()), "upstream");
        outcome.late_action = Some(action.to_owned());
        event.outcome = Some(outcome);
        event.answer = facts::session(m);
        if let Some(rule) = rule {
            let (policy, effect) = ("late_2xx".to_owned(), "edge_bye".to_owned());
            event.sent.get_or_insert_default().policies.push(SipPolicy { policy, rule, effect });
        }
        links::note_dialog(&mut event);
        self.emit(event);
    }

    /// The one event of a re-INVITE.
    pub(in crate::core) fn tell_in_dialog(&mut self, now: Now, invite: &Invite, at: usize, m: Option<&Message<'_>>) {
        let mut event = self.invite_event(now, invite, "transaction");
        if let Some(branch) = invite.branches.get(at) {
            event.leg_id = branch.leg.to_string();
        }
        self.tell_request(invite, &mut event);
        let status = invite.finished.unwrap_or(408);
        event.outcome = Some(match m {
            Some(m) => {
                event.answer = facts::session(m);
                self.outcome(invite, status, facts::text(m.reason_phrase()), "upstream")
            }
            None => {
                let by = if status == 408 { "timeout" } else { "edge" };
                self.outcome(invite, status, sip::edit::reason_phrase(status).to_owned(), by)
            }
        });
        if *invite.call.as_bytes() == [0; 16] {
            // Outside every call: the cookie was no good.
            event.call_root_id.clear();
        }
        self.emit(event);
    }

    /// What the one event of a re-INVITE says about the request: nothing else tells of it.
    fn tell_request(&mut self, invite: &Invite, event: &mut SipTransaction) {
        event.offer = invite.offer.as_deref().cloned();
        let mut index = sip::Index::new();
        if let Ok(m) = index.parse(&invite.request) {
            event.transport = Some(self.transport(&m, invite.hop));
            event.headers = Some(facts::headers(&m, &mut self.digests, &self.config.event_headers));
        }
        links::note_dialog(event);
    }

    /// A re-INVITE that a policy did not let pass.
    pub(in crate::core) fn tell_denied(&mut self, now: Now, invite: &Invite, denied: Denied) {
        let mut event = self.invite_event(now, invite, "transaction");
        self.tell_request(invite, &mut event);
        let phrase = sip::edit::reason_phrase(denied.status).to_owned();
        event.outcome = Some(self.outcome(invite, denied.status, phrase, "edge"));
        event.decision = Some(SipDecision { reason: Some(denied.reason.to_owned()), ..SipDecision::default() });
        self.emit(event);
    }

    /// The one event of any other transaction.
    pub(in crate::core) fn tell_transaction(
        &mut self,
        now: Now,
        relay: &mut Relay,
        status: u16,
        m: Option<&Message<'_>>,
    ) {
        let (identity, parties) = (relay.identity.take(), relay.parties.take());
        let Some(server) = &relay.server else { return };
        let mut index = sip::Index::new();
        let request = index.parse(&relay.request).ok();
        let produced_by = match (m, &relay.client) {
            (Some(_), _) => "upstream",
            (None, Some(_)) => "timeout",
            (None, None) => "edge",
        };
        let auth = request.as_ref().and_then(|m| facts::auth(m, &self.keys));
        let auth = facts::auth_outcome(auth, status, m);
        let mut event = SipTransaction {
            event_type: "transaction".to_owned(),
            call_root_id: relay.call.map(|c| c.to_string()).unwrap_or_default(),
            edge_id: self.topology.edge_id.clone(),
            occurred_us: now.wall_us,
            occurred_mono_us: us(now.mono_us),
            source_side: server.peer.side().as_str().to_owned(),
            source_id: self.topology.id_of(server.peer).to_owned(),
            attempt: relay.register.as_ref().map_or(i32::from(relay.client.is_some()), |r| r.tried.len() as i32),
            identity: identity.map(|i| *i).unwrap_or_default(),
            transport: request.as_ref().map(|m| self.transport(m, server.hop)),
            parties: Some(parties.map(|p| *p).unwrap_or_default()),
            headers: request.as_ref().map(|m| facts::headers(m, &mut self.digests, &self.config.event_headers)),
            timing: Some(SipTiming {
                received_us: Some(relay.received.wall_us),
                received_mono_us: Some(us(relay.received.mono_us)),
                t_final_us: Some(us(relay.since(now))),
                ..SipTiming::default()
            }),
            outcome: Some(SipOutcome {
                status: Some(status),
                status_class: Some(i32::from(status / 100)),
                reason_phrase: Some(
                    m.map_or_else(|| sip::edit::reason_phrase(status).to_owned(), |m| facts::text(m.reason_phrase())),
                ),
                produced_by: Some(produced_by.to_owned()),
                timer_fired: (produced_by == "timeout").then(|| "F".to_owned()),
                retransmits_in: server.retransmits,
                retransmits_out: relay.client.as_ref().map_or(0, |c| c.retransmits),
                auth,
                ..SipOutcome::default()
            }),
            decision: decision_of(relay),
            offer: request.as_ref().and_then(facts::session),
            answer: m.and_then(facts::session),
            sent: self.sent_of_relay(relay),
            branches: relay
                .client
                .iter()
                .map(|c| SipBranch {
                    attempt: relay.register.as_ref().map_or(1, |r| r.tried.len() as i32),
                    branch: c.text.clone(),
                    target_side: c.target.side().as_str().to_owned(),
                    target_id: self.topology.id_of(c.target).to_owned(),
                    address: c.hop.addr.to_string(),
                    t_fwd_us: us(c.forwarded_us),
                    t_first_resp_us: c.first_response_us.map(us),
                    t_final_us: Some(us(relay.since(now))),
                    status: Some(status),
                    retransmits: c.retransmits,
                    ..SipBranch::default()
                })
                .collect(),
            ..SipTransaction::default()
        };
        if let Some(m) = &request {
            links::note_previous(m, &mut event);
        }
        links::note_dialog(&mut event);
        self.emit(event);
    }

    /// `ended` by a BYE, or `lost` for a reason.
    pub(in crate::core) fn end_event(
        &self,
        now: Now,
        d: &Dialog,
        how: Result<&ByeFacts, &'static str>,
    ) -> SipTransaction {
        let from = trunk_index(d.caller);
        let mut parties = facts::number_parties(&d.caller_number, &d.callee_number, &self.topology, from);
        if let (None, Peer::Trunk(t)) = (from, d.callee) {
            facts::trunk_parties(&mut parties, &self.topology.trunks[t], Direction::ToTrunk);
        }
        let ended = how.map_or(now, |bye| bye.received);
        let (event_type, end) = match how {
            Ok(bye) => {
                let (protocol, cause, said) =
                    bye.reason.as_deref().cloned().map_or((None, None, None), |r| (Some(r.protocol), r.cause, r.text));
                let end = SipDialogEnd {
                    released_by: Some(if bye.by_caller { "caller" } else { "callee" }.to_owned()),
                    bye_status: Some(bye.status),
                    bye_cseq: Some(bye.cseq),
                    reason_protocol: protocol,
                    reason_cause: cause,
                    reason_text: said,
                    ..SipDialogEnd::default()
                };
                ("ended", end)
            }
            Err(reason) => {
                let end = SipDialogEnd {
                    released_by: Some("edge".to_owned()),
                    lost_reason: Some(reason.to_owned()),
                    lost_evidence: self.evidence(d, reason),
                    ..SipDialogEnd::default()
                };
                ("lost", end)
            }
        };
        SipTransaction {
            event_type: event_type.to_owned(),
            call_root_id: d.call.to_string(),
            leg_id: d.leg.to_string(),
            parent_leg_id: d.parent.clone(),
            edge_id: self.topology.edge_id.clone(),
            occurred_us: now.wall_us,
            occurred_mono_us: us(now.mono_us),
            source_side: d.caller.side().as_str().to_owned(),
            source_id: self.topology.id_of(d.caller).to_owned(),
            attempt: d.attempt as i32,
            identity: SipIdentity {
                method: "INVITE".to_owned(),
                call_id: d.sip_call_id.to_string(),
                cseq: d.cseq,
                from_tag: d.caller_tag.to_string(),
                to_tag: Some(d.callee_tag.to_string()),
                from_uri: Some(d.from_uri.to_string()),
                to_uri: Some(d.to_uri.to_string()),
                ..SipIdentity::default()
            },
            parties: Some(SipParties { account: d.account.as_deref().map(str::to_owned), ..parties }),
            timing: Some(SipTiming {
                received_us: Some(d.received.wall_us),
                received_mono_us: Some(us(d.received.mono_us)),
                t_final_us: Some(us(d.answered.mono_us.saturating_sub(d.received.mono_us))),
                t_ack_us: d.ack_us.map(us),
                t_bye_us: how.is_ok().then(|| us(ended.mono_us.saturating_sub(d.received.mono_us))),
                ..SipTiming::default()
            }),
            dialog: Some(SipDialogEnd {
                late: d.late,
                ended_us: Some(ended.wall_us),
                talk_us: Some(us(ended.mono_us.saturating_sub(d.answered.mono_us))),
                reinvites: d.reinvites,
                hold_us: d.hold.total(ended.mono_us).map(us),
                session_expires_s: d.session.and_then(|(seconds, _)| i32::try_from(seconds).ok()),
                ..end
            }),
            ..SipTransaction::default()
        }
    }

    /// What an end without a BYE rests on; of a lost node its watch says it.
    fn evidence(&self, d: &Dialog, reason: &str) -> Option<String> {
        match (reason, d.session) {
            ("session_expired", Some((seconds, _))) => Some(format!("no refresh within {seconds} s")),
            ("max_call", _) => Some(format!("older than {} s", self.times.max_call / 1_000_000)),
            ("table_full", _) => Some(format!("the oldest of {} dialogs", self.dialogs.open() + 1)),
            ("replaced", _) => Some("another dialog with the same Call-ID and tags".to_owned()),
            _ => None,
        }
    }
}

/// Where it was sent and by which rule, and why we answered it ourselves.
fn decision_of(relay: &Relay) -> Option<SipDecision> {
    let decision = relay.decision.as_deref().cloned();
    match relay.reason {
        Some(why) => Some(SipDecision { reason: Some(why.to_owned()), ..decision.unwrap_or_default() }),
        None => decision,
    }
}

fn timing(invite: &Invite) -> SipTiming {
    let t = &invite.times;
    SipTiming {
        received_us: Some(invite.received.wall_us),
        received_mono_us: Some(us(invite.received.mono_us)),
        t_100_sent_us: t.trying.map(us),
        t_first_180_us: t.first_180.map(us),
        t_first_18x_us: t.first_18x.map(us),
        t_first_183_sdp_us: t.first_183_sdp.map(us),
        t_final_us: t.finished.map(us),
        t_ack_us: t.ack.map(us),
        t_cancel_us: t.cancel.map(us),
        t_bye_us: None,
    }
}
