//! An initial INVITE: whose call it is, whether it may go on, and where to.
//!
//! The order of the checks is the order of the brief: what no proxy may forward (loop, hops, scheme, extension, route),
//! then drain and limits, then blocks, then the route. Each refusal is one `refused` event with its reason.

use bytes::Bytes;
use domain::CallId;
use domain::identity::{HEADER, HeaderClaim};
use schemas::SipDecision;
use sip::transaction::{InviteServer, ServerInput};
use sip::{Message, Method, Uri, Verdict, host_ip};

use crate::core::policy::Denied;
use crate::core::proof::branch;
use crate::core::requests::down::Down;
use crate::core::set_up::challenge::Continuation;
use crate::core::set_up::invite::{Invite, Kept, Kind, Route, Times};
use crate::core::telling::facts;
use crate::core::timers::Armed;
use crate::core::topology::Peer;
use crate::core::{Cx, Proxy, ServerRef};

/// Why a call is not forwarded, and what to say.
#[derive(Debug)]
pub(in crate::core) struct Refusal {
    pub status: u16,
    /// One word for machines.
    pub reason: &'static str,
    pub unsupported: Option<String>,
    /// With a 422: the shortest session (s).
    pub min_se: Option<u32>,
    /// With a 503 of the whole edge (s).
    pub retry_after: Option<u32>,
}

impl Refusal {
    pub(in crate::core) fn new(status: u16, reason: &'static str) -> Refusal {
        Refusal { status, reason, unsupported: None, min_se: None, retry_after: None }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Refusal {
        Refusal { min_se: denied.min_se, ..Refusal::new(denied.status, denied.reason) }
    }
}

/// How many INVITEs are remembered per one that may be in set-up: repeated and refused ones included.
pub(in crate::core) const REMEMBERED_PER_OPEN: usize = 4;

impl Proxy {
    pub(in crate::core) fn invites_are_full(&self) -> bool {
        self.invites.len() >= self.config.limits.open_invites.saturating_mul(REMEMBERED_PER_OPEN)
    }

    pub(in crate::core) fn initial_invite(&mut self, cx: &Cx, m: &Message<'_>, key: u128, judged: Verdict) {
        self.counters.invites += 1;
        let merged = self.seed.key(&[b"merged", m.call_id(), m.from_tag(), &m.cseq().to_be_bytes()]);
        if self.merged.contains_key(&merged) {
            // The story of this transaction is being told already: it came back to us, or by two ways.
            return self.reject(cx, m, 482, "loop");
        }
        if self.invites_are_full() {
            self.counters.refused += 1;
            return self.reject(cx, m, 503, "overload");
        }
        let mut invite = self.new_invite(cx, m, key, Kind::Initial);
        invite.merged_key = Some(merged);
        let mut decision = SipDecision {
            acl_rule: Some(format!("{}/{}", cx.peer.side().as_str(), self.topology.id_of(cx.peer))),
            acl_result: Some("allow".to_owned()),
            config_digest: Some(self.topology.digest.clone()),
            ..SipDecision::default()
        };
        let verdict = self.admit(cx, m, judged, &mut invite, &mut decision);
        if let (Err(refusal), Peer::Trunk(trunk)) = (&verdict, cx.peer)
            && !self.trunks[trunk].refused.take(cx.now.mono_us, self.config.limits.refused_events)
        {
            return self.refuse_lightly(cx, m, trunk, refusal);
        }
        let slot = self.invites.reserve();
        self.servers.insert(key, ServerRef::Invite(slot));
        self.merged.insert(merged, slot);
        self.setting_up += 1;
        match verdict {
            Err(refusal) => self.refuse(cx, m, &mut invite, decision, refusal),
            Ok(()) => {
                self.trying(cx, m, &mut invite);
                if !self.attempt(cx.now, slot, &mut invite, m, decision, None) {
                    let refusal = Refusal::new(503, "no_node");
                    self.refuse(cx, m, &mut invite, SipDecision::default(), refusal);
                }
            }
        }
        self.put_invite(slot, invite);
    }

    /// The 100 that stops the sender from repeating itself.
    pub(in crate::core) fn trying(&mut self, cx: &Cx, m: &Message<'_>, invite: &mut Invite) {
        invite.last = self.local_answer(m, cx.hop.addr, 100, &[]);
        invite.times.trying = Some(invite.since(cx.now));
        self.send(cx.back, invite.last.clone());
    }

    pub(in crate::core) fn new_invite(&mut self, cx: &Cx, m: &Message<'_>, key: u128, kind: Kind) -> Box<Invite> {
        let challenge_key = self.seed.key(&[
            b"challenge",
            self.topology.id_of(cx.peer).as_bytes(),
            &[cx.peer.side() as u8],
            m.call_id(),
            m.from_tag(),
        ]);
        Box::new(Invite {
            kind,
            peer: cx.peer,
            hop: cx.hop,
            back: cx.back,
            request: Bytes::copy_from_slice(m.bytes()),
            received: cx.now,
            server_key: key,
            merged_key: None,
            challenge_key,
            server: InviteServer::new(self.sip_timers(cx.hop)),
            last: Bytes::new(),
            call: CallId::from_bytes([0; 16]),
            parent: None,
            // Nearly every call has one.
            branches: Vec::with_capacity(1),
            tried: Vec::with_capacity(1),
            walk: Vec::new(),
            next: None,
            forced: None,
            route: Route::Dialog,
            pop_routes: 0,
            finished: None,
            cancelled: false,
            dialog: None,
            kept: Kept::default(),
            ways: Vec::new(),
            armed: Armed::default(),
            is_told: false,
            identity: facts::identity(m),
            parties: Some(Box::new(self.parties(cx, m))),
            auth: facts::auth(m, &self.keys),
            offer: facts::session(m).map(Box::new),
            continues: None,
            times: Times::default(),
            responses: Vec::new(),
            changes: None,
            retransmits_in: 0,
            timer_fired: None,
        })
    }

    fn admit(
        &mut self,
        cx: &Cx,
        m: &Message<'_>,
        judged: Verdict,
        invite: &mut Invite,
        decision: &mut SipDecision,
    ) -> Result<(), Refusal> {
        self.identify(cx, m, invite);
        let preloaded = self.preloaded(cx, m);
        check_message(m, judged, matches!(preloaded, Ok((_, Some(_)))))?;
        if branch::is_loop(m, |host| self.is_own_host(host)) {
            return Err(Refusal::new(482, "loop"));
        }
        let (own, down) = preloaded?;
        invite.pop_routes = own;
        if self.draining {
            return Err(Refusal::new(503, "draining"));
        }
        self.may_call(cx, m, invite, decision)?;
        match down {
            Some(down) => {
                self.go_down(down, invite, decision);
                Ok(())
            }
            None => self.choose_route(cx, m, invite, decision),
        }
    }

    /// The client registered with us in between: it is called over the flow that it keeps.
    fn go_down(&self, down: Down, invite: &mut Invite, decision: &mut SipDecision) {
        decision.route_rule = Some("path".to_owned());
        decision.algorithm = Some("flow".to_owned());
        let parties = invite.parties.get_or_insert_default();
        parties.trunk_id = Some(self.topology.trunks[down.trunk].id.clone());
        parties.account = self.account_at(down.hop, down.trunk);
        invite.route = Route::Flow { trunk: down.trunk, hop: down.hop };
    }

    /// Call id and parent: a node's signed header, else the challenged call that this continues, else a new one.
    fn identify(&mut self, cx: &Cx, m: &Message<'_>, invite: &mut Invite) {
        if let Some(found) = self.challenges.take(cx.now.mono_us, invite.challenge_key, m.cseq()) {
            let Continuation { call, parent, cseq, status, next_hop, kept } = found;
            self.journal.remove_later(kept);
            invite.continues = Some((cseq, status));
            invite.forced = next_hop;
            (invite.call, invite.parent) = (call, parent);
            return;
        }
        match self.claim(cx, m) {
            Some(Some(claim)) => {
                invite.call = claim.call;
                invite.parent = Some(claim.leg.to_string());
                return;
            }
            Some(None) => self.counters.forged_headers += 1,
            None => {}
        }
        invite.call = CallId::new(cx.now.wall_us, self.random.ten_bytes());
    }

    /// Which call an INVITE says that it belongs to; `None` inside when the header is not to be believed.
    fn claim(&self, cx: &Cx, m: &Message<'_>) -> Option<Option<HeaderClaim>> {
        let value = std::str::from_utf8(m.named(HEADER)?).ok();
        let is_node = matches!(cx.peer, Peer::Node(_));
        Some(value.filter(|_| is_node).and_then(|v| self.keys.verify(v).ok()))
    }

    /// The next leg of a call that an edge gave to a node, from a node that may begin nothing any more: it goes on with its calls,
    /// and dialling further is part of them. Without a call of its own here it has nothing to go on with.
    pub(in crate::core) fn goes_on_with_a_call(&self, cx: &Cx, m: &Message<'_>) -> bool {
        let Peer::Node(node) = cx.peer else { return false };
        let is_recent = |claim: &HeaderClaim| {
            let age_us = cx.now.wall_us.saturating_sub(claim.call.unix_ms().saturating_mul(1_000));
            u64::try_from(age_us).unwrap_or(0) <= self.times.max_call
        };
        m.method() == Method::Invite
            && self.nodes[node].calls_now > 0
            && self.claim(cx, m).flatten().as_ref().is_some_and(is_recent)
    }

    fn is_own_host(&self, host: &[u8]) -> bool {
        if self.topology.listeners.iter().any(|l| l.host.as_bytes() == host) {
            return true;
        }
        // A sent-by without a port means 5060.
        host_ip(host).is_some_and(|ip| self.topology.is_own(std::net::SocketAddr::new(ip, 5060)))
    }

    pub(in crate::core) fn choose_route(
        &mut self,
        cx: &Cx,
        m: &Message<'_>,
        invite: &mut Invite,
        decision: &mut SipDecision,
    ) -> Result<(), Refusal> {
        match cx.peer {
            Peer::Trunk(t) => {
                self.topology.trunks[t].policy.admit(m)?;
                let parties = invite.parties();
                let dialled = parties.callee_raw.as_deref().unwrap_or_default();
                let pool = self.topology.pool(t, dialled, parties.callee_e164.as_deref());
                decision.pool = Some(self.topology.pools[pool].id.clone());
                decision.weight_version.clone_from(&self.control.weight_version);
                invite.route = Route::Pool(pool);
                if self.has_next(invite) { Ok(()) } else { Err(Refusal::new(503, "no_node")) }
            }
            Peer::Node(_) => self.choose_carriers(cx.now, m, invite, decision),
        }
    }

    /// Answers an INVITE that was never forwarded, and tells it.
    pub(in crate::core) fn refuse(
        &mut self,
        cx: &Cx,
        m: &Message<'_>,
        invite: &mut Invite,
        mut decision: SipDecision,
        refusal: Refusal,
    ) {
        self.counters.refused += 1;
        let extra = self.extra(cx, &refusal);
        let add = extra.as_ref().map(|(name, value)| (*name, value.as_bytes()));
        invite.last = self.local_answer(m, cx.hop.addr, refusal.status, add.as_slice());
        invite.finished = Some(refusal.status);
        invite.times.finished = Some(invite.since(cx.now));
        self.setting_up -= 1;
        invite.server.handle(cx.now.mono_us, ServerInput::Respond(refusal.status));
        if schemas::grammar::is_challenge(refusal.status) {
            self.remember_challenge(cx.now, invite, refusal.status, None);
        }
        decision.reason = Some(refusal.reason.to_owned());
        self.tell_refused(cx, m, invite, decision, refusal.status);
        self.send(cx.back, invite.last.clone());
    }

    /// The same for what is above so many per second and trunk: without state and event, so that no flood of calls that are refused
    /// anyway takes the room of others.
    fn refuse_lightly(&mut self, cx: &Cx, m: &Message<'_>, trunk: usize, refusal: &Refusal) {
        self.counters.refused += 1;
        let extra = self.extra(cx, refusal);
        let add = extra.as_ref().map(|(name, value)| (*name, value.as_bytes()));
        self.answer_statelessly(cx, m, refusal.status, add.as_slice());
        let refused = crate::core::admission::Refused {
            hop: cx.hop,
            trunk: Some(trunk),
            bytes: m.bytes().len(),
            reason: refusal.reason,
            method: Some("INVITE"),
            answered: true,
        };
        self.admission.rejections.count_trunk(cx.now.wall_us, trunk, &refused);
    }

    /// The header that goes with a refusal.
    fn extra(&self, cx: &Cx, refusal: &Refusal) -> Option<(&'static str, String)> {
        match (refusal.unsupported.clone(), refusal.min_se, refusal.retry_after) {
            (Some(unsupported), ..) => Some(("Unsupported", unsupported)),
            (None, Some(min_se), _) => Some(("Min-SE", min_se.to_string())),
            (None, None, Some(seconds)) => Some(("Retry-After", seconds.to_string())),
            _ if refusal.status == 405 => {
                let trunk = crate::core::receive::trunk_index(cx.peer)?;
                Some(("Allow", self.topology.trunks[trunk].methods.allow.clone()))
            }
            _ => None,
        }
    }
}

/// What no proxy may forward, whoever sent it, and what this one has no listener or number for.
fn check_message(m: &Message<'_>, judged: Verdict, to_client: bool) -> Result<(), Refusal> {
    if let Verdict::Answer { status, why } = judged {
        let unsupported = (status == 420).then(|| sip::unsupported(m));
        return Err(Refusal { unsupported, ..Refusal::new(status, why) });
    }
    let uri = Uri::parse(m.uri()).map_err(|_| Refusal::new(400, "request_uri"))?;
    if to_client && (uri.is_sip() || uri.is_sips()) {
        // The contact of somebody who registered: it need not be a number.
        return Ok(());
    }
    if uri.is_service_sos() {
        return Ok(());
    }
    if !(uri.is_sip() || uri.is_tel()) {
        return Err(Refusal::new(416, "scheme"));
    }
    if uri.user.is_none_or(<[u8]>::is_empty) {
        return Err(Refusal::new(404, "no_number"));
    }
    Ok(())
}
