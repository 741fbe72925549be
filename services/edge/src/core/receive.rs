//! From a datagram to the part that deals with it. The order is the order of cost: who sent it, can it be read, is it
//! known already, and only then what it wants.

use std::net::SocketAddr;

use bytes::Bytes;
use domain::Now;
use schemas::RejectionSample;
use sip::edit::{Answer, answer, reason_phrase};
use sip::transaction::ServerInput;
use sip::{Judged, Message, Method, Name, Reject, Uri, Verdict, judge, judge_broken, unsupported};

use super::admission::{Class, Look, Refused, UNKNOWN_SOURCE, look};
use super::topology::Peer;
use crate::config::Admit;
use crate::core::flow::way::sent_by;
use crate::core::nodes::announce::is_announcement;
use crate::core::proof::branch;
use crate::core::telling::facts::text;
use crate::core::{Action, ClientRef, Cx, Hop, Proxy, ServerRef};

/// What we understand outside a dialog; anything else is answered with this list.
pub const ALLOW: &[u8] = b"INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, PRACK, UPDATE, REFER, NOTIFY, MESSAGE, SUBSCRIBE";

impl Proxy {
    /// A message, whatever it came by; or the head of one that broke its stream.
    pub(super) fn receive(&mut self, now: Now, hop: Hop, bytes: &[u8], broken: Option<Reject>) {
        self.counters.packets_in += 1;
        let Some(admit) = self.topology.listeners.get(hop.place()).map(|l| l.admit) else {
            return;
        };
        let peer = match admit {
            Admit::Address => self.topology.identify(hop, None, self.subject_of(hop)),
            _ => self.registered.enter(&self.topology, hop, self.flows.identity(hop)),
        };
        let Some(peer) = peer else {
            if broken.is_none() && self.hear_stranger(now, hop, bytes) {
                return;
            }
            self.refused_unread(now, hop, bytes.len(), UNKNOWN_SOURCE);
            // The address was right, and the transport or the certificate is not.
            return self.out.extend(hop.flow.map(|flow| Action::CloseFlow { flow }));
        };
        let mut cx = Cx { now, hop, back: hop, peer };
        self.note_speaker(now, peer, hop);
        if hop.flow.is_none() {
            match look(bytes) {
                Look::Message => {}
                Look::KeepAlive => return self.counters.keep_alives += 1,
                Look::Nonsense => return self.nonsense(&cx, bytes.len()),
            }
        }
        let mut index = self.index.take().unwrap_or_default();
        let judged = match broken {
            None => judge(&mut index, bytes),
            Some(reject) => judge_broken(&mut index, bytes, reject),
        };
        match judged {
            Judged { verdict: Verdict::KeepAlive, .. } => self.counters.keep_alives += 1,
            Judged { message: Some(message), reject: None, verdict } => {
                if hop.flow.is_some() && message.is_request() && admit == Admit::Address {
                    self.know_sender(&mut cx, &message);
                }
                match cx.peer {
                    Peer::Node(n) => self.health[n].life(now.mono_us),
                    // What it sends from elsewhere says nothing about the address that it is called at.
                    Peer::Trunk(t) if self.topology.trunks[t].address == Some(hop.addr) => {
                        self.carriers[t].health.life(now.mono_us);
                    }
                    Peer::Trunk(_) => {}
                }
                match message.is_request() {
                    true => {
                        cx.back = if self.is_behind_nat(cx.peer) { hop } else { self.way_back(hop, &message) };
                        self.request(&cx, &message, verdict);
                    }
                    false => self.response(&cx, &message, verdict),
                }
            }
            _ => self.malformed(&cx, bytes, &judged),
        }
        self.index = Some(index);
    }

    /// What is not even looked at.
    pub(super) fn refused_unread(&mut self, now: Now, hop: Hop, bytes: usize, reason: &'static str) {
        self.counters.denied_packets += 1;
        let refused = Refused { hop, trunk: None, bytes, reason, method: None, answered: false };
        self.admission.rejections.count(now.wall_us, &refused, || None);
    }

    fn subject_of(&self, hop: Hop) -> Option<&str> {
        hop.flow.and_then(|_| self.flows.identity(hop)).and_then(|i| i.subject.as_deref())
    }

    /// By a stream a peer comes from any port of its address; which of several peers there it is, its Via says. `alias` in it
    /// offers the connection for requests to the port that it listens on.
    fn know_sender(&mut self, cx: &mut Cx, m: &Message<'_>) {
        let listening = sent_by(cx.hop, m);
        if let Some(peer) = self.topology.identify(cx.hop, Some(listening), self.subject_of(cx.hop)) {
            cx.peer = peer;
        }
        let via = m.via().value.of(m.bytes());
        let params = via.iter().position(|&b| b == b';').map_or(&[][..], |at| &via[at..]);
        if sip::Params::new(params).find(b"alias").is_some() {
            self.flows.alias(cx.hop, listening);
        }
    }

    /// From somebody whom we hear, but no SIP; there is nothing that could be answered.
    fn nonsense(&mut self, cx: &Cx, bytes: usize) {
        self.counters.malformed += 1;
        let (hop, trunk) = (cx.hop, trunk_index(cx.peer));
        let refused = Refused { hop, trunk, bytes, reason: "not_sip", method: None, answered: false };
        self.admission.rejections.count(cx.now.wall_us, &refused, || None);
    }

    /// What could not be read; the verdict already says whether an answer is safe.
    fn malformed(&mut self, cx: &Cx, bytes: &[u8], judged: &Judged<'_>) {
        self.counters.malformed += 1;
        let Some(reject) = judged.reject else { return };
        let mut status = None;
        if let (Verdict::Answer { status: code, .. }, Some(message)) = (judged.verdict, &judged.message)
            && self.topology.may_begin(cx.peer, cx.hop)
            && !self.topology.is_only_named(cx.hop, sent_by(cx.hop, message))
            && self.may_answer(cx, Class::Malformed)
        {
            self.answer_statelessly(cx, message, code, &[]);
            status = Some(code);
        }
        // One word for all methods that we do not know: the sender must not choose how many are counted.
        let method = judged.message.map(|m| m.method().as_str());
        let refused = Refused {
            hop: cx.hop,
            trunk: trunk_index(cx.peer),
            bytes: bytes.len(),
            reason: reject.label(),
            method,
            answered: status.is_some(),
        };
        self.admission.rejections.count(cx.now.wall_us, &refused, || {
            Some(RejectionSample { error: Some(reject.to_string()), status, ..RejectionSample::default() })
        });
    }

    fn request(&mut self, cx: &Cx, m: &Message<'_>, verdict: Verdict) {
        if m.to_tag().is_empty() && self.topology.is_only_named(cx.hop, sent_by(cx.hop, m)) {
            return self.refused_unread(cx.now, cx.hop, m.bytes().len(), "unknown_source");
        }
        if !self.may_send(cx, m.method()) {
            return match m.method() {
                Method::Ack => self.note_rejected(cx, m, "not_registered", None),
                _ => self.reject(cx, m, 403, "not_registered"),
            };
        }
        match (m.method(), verdict) {
            (_, Verdict::Drop { why }) => return self.note_rejected(cx, m, why, None),
            (Method::Ack, _) => return self.ack(cx, m),
            // Two requests with this branch could not be told apart, so none of them may become a transaction.
            (_, Verdict::Answer { status, why: why @ "bad_branch" }) => return self.reject(cx, m, status, why),
            (Method::Cancel, Verdict::Answer { status, why }) => return self.reject(cx, m, status, why),
            (Method::Cancel, _) => return self.cancel(cx, m),
            _ => {}
        }
        let key = self.server_key(cx.peer, m, m.method());
        if let Some(&known) = self.servers.get(&key) {
            return self.repeated(cx, known);
        }
        if let Some(allow) = self.denied_method(cx, m) {
            return self.method_denied(cx, m, key, &allow);
        }
        if !m.to_tag().is_empty() {
            return match verdict {
                Verdict::Answer { status, why } => self.refuse_in_dialog(cx, m, key, status, why),
                _ => self.in_dialog(cx, m, key),
            };
        }
        if !self.topology.may_begin(cx.peer, cx.hop) && !self.goes_on_with_a_call(cx, m) {
            if let Some(rule) = self.join_rule(cx.hop).filter(|_| is_announcement(m)) {
                return self.announced_by(cx.now, cx.hop, rule, m);
            }
            // As for any stranger: no answer.
            return self.note_rejected(cx, m, "left", None);
        }
        if !self.may_ask(cx, m, key) {
            return;
        }
        match m.method() {
            // A refused call has a story too.
            Method::Invite => self.initial_invite(cx, m, key, verdict),
            _ if let Verdict::Answer { status, .. } = verdict => {
                let unknown = unsupported(m);
                let extra = [("Unsupported", unknown.as_bytes())];
                self.answer_locally(cx, m, key, status, if status == 420 { &extra } else { &[] });
            }
            _ if self.sent_down(cx, m, key) => {}
            Method::Options => self.options(cx, m, key),
            Method::Register => self.register(cx, m, key),
            Method::Message | Method::Subscribe | Method::Refer | Method::Publish | Method::Notify => {
                self.answer_locally(cx, m, key, 405, &[("Allow", ALLOW)]);
            }
            Method::Bye | Method::Info | Method::Prack | Method::Update => self.answer_locally(cx, m, key, 481, &[]),
            _ => self.answer_locally(cx, m, key, 501, &[("Allow", ALLOW)]),
        }
    }

    /// Where the registrar decides who is let in, nothing but REGISTER goes before its yes.
    fn may_send(&self, cx: &Cx, method: Method) -> bool {
        method == Method::Register
            || self.topology.listener(cx.hop).admit != Admit::Registrar
            || cx.hop.flow.is_some_and(|flow| self.registered.is_admitted(flow, cx.now.mono_us))
    }

    /// A request that is known already is absorbed; the last answer goes out again.
    fn repeated(&mut self, cx: &Cx, known: ServerRef) {
        self.counters.retransmissions_in += 1;
        match known {
            ServerRef::Absorbed => {}
            ServerRef::Invite(slot) => {
                let Some(mut invite) = self.invites.take(slot) else { return };
                invite.retransmits_in += 1;
                invite.server.handle(cx.now.mono_us, ServerInput::Retransmission);
                self.run_invite_server(&mut invite);
                self.put_invite(slot, invite);
            }
            ServerRef::Relay(slot) => {
                let Some(mut relay) = self.relays.take(slot) else { return };
                if let Some(server) = &mut relay.server {
                    server.retransmits += 1;
                    server.machine.handle(cx.now.mono_us, ServerInput::Retransmission);
                }
                self.run_relay(&mut relay);
                self.put_relay(slot, relay);
            }
        }
    }

    fn response(&mut self, cx: &Cx, m: &Message<'_>, verdict: Verdict) {
        if let Verdict::Drop { why } = verdict {
            return self.stray(cx, m, why);
        }
        let Some(key) = branch::parse(m.branch()) else {
            return self.stray(cx, m, "foreign_branch");
        };
        match self.clients.get(&key).copied() {
            Some(ClientRef::Probe(peer)) => self.probe_answered(cx, peer, m.status()),
            Some(ClientRef::Invite(slot, at)) => {
                let Some(mut invite) = self.invites.take(slot) else { return };
                let fits = invite.branches.get(at).is_some_and(|b| b.target == cx.peer || b.hop.addr == cx.hop.addr)
                    && m.call_id() == invite.identity.call_id.as_bytes();
                if !fits {
                    self.stray(cx, m, "wrong_source");
                } else if m.method() == Method::Cancel {
                    self.cancel_answered(cx.now, &mut invite, at, m.status());
                } else if m.method() == Method::Invite {
                    self.invite_response(cx, slot, &mut invite, at, m);
                }
                self.put_invite(slot, invite);
            }
            Some(ClientRef::Relay(slot)) => {
                let Some(mut relay) = self.relays.take(slot) else { return };
                let fits = relay.client.as_ref().is_some_and(|c| c.target == cx.peer || c.hop.addr == cx.hop.addr)
                    && m.call_id() == relay.sip_call_id.as_bytes();
                if fits {
                    self.relay_response(cx, slot, &mut relay, m)
                } else {
                    self.stray(cx, m, "wrong_source")
                }
                self.put_relay(slot, relay);
            }
            None if self.is_pong(m) => self.counters.keep_alives += 1,
            None => self.stateless_response(cx, m),
        }
    }

    pub(super) fn stray(&mut self, cx: &Cx, m: &Message<'_>, reason: &'static str) {
        self.counters.stray_responses += 1;
        self.note_rejected(cx, m, reason, None);
    }

    /// The key of a server transaction (RFC 3261 §17.2.3), bound to the peer, so that nobody cancels another's calls.
    pub(super) fn server_key(&self, peer: Peer, m: &Message<'_>, method: Method) -> u128 {
        let via = m.via();
        // Without the magic cookie the branch says nothing; the whole Via and the dialled URI stand in for it.
        let modern = m.branch().starts_with(b"z9hG4bK");
        let branch = if modern { m.branch() } else { via.value.of(m.bytes()) };
        let (side, place) = match peer {
            Peer::Trunk(i) => (0u8, i),
            Peer::Node(i) => (1, i),
        };
        let token: &[u8] = if method == Method::Other { m.method_token() } else { method.as_str().as_bytes() };
        self.seed.key(&[
            branch,
            via.host.of(m.bytes()),
            &via.port.unwrap_or(5060).to_be_bytes(),
            m.call_id(),
            &m.cseq().to_be_bytes(),
            token,
            &[side],
            &place.to_be_bytes(),
        ])
    }

    /// Answers without keeping state and counts the refusal: for what has no story of its own.
    pub(super) fn reject(&mut self, cx: &Cx, m: &Message<'_>, status: u16, reason: &'static str) {
        let told = self.may_answer(cx, Class::Stray).then_some(status);
        if told.is_some() {
            self.answer_statelessly(cx, m, status, &[]);
        }
        self.note_rejected(cx, m, reason, told);
    }

    pub(super) fn note_rejected(&mut self, cx: &Cx, m: &Message<'_>, reason: &'static str, status: Option<u16>) {
        let refused = Refused {
            hop: cx.hop,
            trunk: trunk_index(cx.peer),
            bytes: m.bytes().len(),
            reason,
            method: Some(m.method().as_str()),
            answered: status.is_some(),
        };
        let user = |uri: &[u8]| Uri::parse(uri).ok().and_then(|u| u.user).map(text);
        self.admission.rejections.count(cx.now.wall_us, &refused, || {
            Some(RejectionSample {
                method: Some(text(m.method_token())),
                request_user: user(m.uri()),
                from_user: user(m.from().uri),
                to_user: user(m.to().uri),
                call_id: Some(text(m.call_id())),
                user_agent: m.text(Name::UserAgent),
                error: None,
                status,
            })
        });
    }

    pub(super) fn answer_statelessly(&mut self, cx: &Cx, m: &Message<'_>, status: u16, add: &[(&str, &[u8])]) {
        let bytes = self.local_answer(m, cx.hop.addr, status, add);
        self.send(cx.back, bytes);
    }

    fn own_tag(&self, m: &Message<'_>) -> String {
        format!("tl{:016x}", self.seed.key(&[b"tag", m.call_id(), m.from_tag(), m.branch()]) as u64)
    }

    /// Whether an ACK is for an answer of ours that we keep nothing of.
    pub(super) fn acknowledges_us(&self, m: &Message<'_>) -> bool {
        m.to_tag().starts_with(b"tl") && m.to_tag() == self.own_tag(m).as_bytes()
    }

    /// An answer of our own; its tag is the same for every copy of the request.
    pub(super) fn local_answer(
        &self,
        m: &Message<'_>,
        source: SocketAddr,
        status: u16,
        add: &[(&str, &[u8])],
    ) -> Bytes {
        let tag = self.own_tag(m);
        let mut out = Vec::with_capacity(m.bytes().len().min(1_024));
        let to_tag = (status > 100).then_some(tag.as_str());
        answer(m, &Answer { status, reason: reason_phrase(status), to_tag, source: Some(source), add }, &mut out);
        out.into()
    }
}

pub(super) fn trunk_index(peer: Peer) -> Option<usize> {
    match peer {
        Peer::Trunk(t) => Some(t),
        Peer::Node(_) => None,
    }
}
