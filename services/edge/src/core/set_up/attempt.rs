//! Choosing the next hop and sending the INVITE there: the first attempt and each failover.

use std::fmt::Write;
use std::net::SocketAddr;

use domain::identity::HEADER;
use domain::{LegId, Now};
use schemas::{SipCandidate, SipDecision};
use sip::edit::{Forward, forward};
use sip::transaction::InviteClient;
use sip::{Message, Uri};

use crate::config::Transport;
use crate::core::flow::way::Narrow;
use crate::core::names;
use crate::core::proof::branch::Branch as BranchName;
use crate::core::proof::cookie::Cookie;
use crate::core::set_up::answers::STRIP;
use crate::core::set_up::invite::{Branch, BranchFacts, Cancel, Invite, Route};
use crate::core::slab::Slot;
use crate::core::topology::{Carried, Peer};
use crate::core::{ClientRef, Hop, Proxy};

impl Proxy {
    /// Whether there is a next hop that was not tried yet.
    pub(in crate::core) fn has_next(&self, invite: &Invite) -> bool {
        if !invite.walk.is_empty() {
            return true;
        }
        match &invite.route {
            Route::Pool(pool) => self.has_other_node(*pool, &invite.tried),
            Route::Trunks { carriers, .. } => carriers.iter().any(|c| !invite.tried.contains(&Peer::Trunk(c.trunk))),
            Route::Flow { .. } => invite.tried.is_empty(),
            Route::Dialog => false,
        }
    }

    fn next_hop(&mut self, now: Now, invite: &mut Invite, m: &Message<'_>, decision: &mut SipDecision) -> Option<Peer> {
        if let Some(next) = self.walk_on(invite, decision) {
            return Some(next);
        }
        let forced = invite.forced.take();
        match &invite.route {
            Route::Pool(pool) => self.next_node(now, *pool, invite, forced, m, decision),
            Route::Trunks { carriers, .. } => {
                let mut open = carriers.clone();
                open.retain(|carrier| {
                    let peer = Peer::Trunk(carrier.trunk);
                    let again = forced == Some(peer);
                    !invite.tried.contains(&peer) && self.carrier_has_room(now, (carrier.trunk, again), m)
                });
                open.sort_by_key(|carrier| self.carrier_rank(now.mono_us, carrier.trunk));
                let first = match forced {
                    Some(Peer::Trunk(t)) if open.iter().any(|carrier| carrier.trunk == t) => {
                        decision.algorithm = Some("same_as_challenged".to_owned());
                        t
                    }
                    _ => open.first()?.trunk,
                };
                if forced != Some(Peer::Trunk(first)) {
                    self.trunks[first].gate.sends(now.mono_us);
                }
                let candidate = |(at, carrier): (usize, &Carried)| SipCandidate {
                    weight: carrier.share.map(f64::from),
                    ..self.candidate(Peer::Trunk(carrier.trunk), 1.0 / (at + 1) as f64)
                };
                decision.candidates = open.iter().take(3).enumerate().map(candidate).collect();
                invite.walk = self.begin_walk(now, first);
                invite.next = invite.walk.pop();
                Some(Peer::Trunk(first))
            }
            Route::Flow { trunk, .. } => {
                let target = Peer::Trunk(*trunk);
                decision.candidates = vec![self.candidate(target, 1.0)];
                (!invite.tried.contains(&target)).then_some(target)
            }
            Route::Dialog => None,
        }
    }

    pub(in crate::core) fn candidate(&self, peer: Peer, score: f64) -> SipCandidate {
        let (state, calls) = match peer {
            Peer::Node(n) => {
                (Some(self.nodes[n].state(&self.health[n]).to_owned()), i32::try_from(self.nodes[n].calls_now).ok())
            }
            Peer::Trunk(t) => (Some(self.carrier_state(self.last.mono_us, t).to_owned()), None),
        };
        SipCandidate { id: self.topology.id_of(peer).to_owned(), score, weight: None, state, calls }
    }

    pub(in crate::core) fn address_of(&self, peer: Peer) -> Option<SocketAddr> {
        match peer {
            Peer::Node(n) => Some(&self.topology.nodes[n]).filter(|node| node.is_known()).map(|node| node.address),
            Peer::Trunk(t) => self.topology.trunks[t].address,
        }
    }

    /// The addresses behind a trunk's name, in the order in which this call tries them. Those that just failed come last.
    fn begin_walk(&mut self, now: Now, trunk: usize) -> Vec<Hop> {
        let order = names::order(&self.topology.trunks[trunk].targets, &mut self.random);
        let way = |t: &names::Target| self.topology.hop_by(Peer::Trunk(trunk), t.address, t.transport);
        let mut walk: Vec<Hop> = order.iter().rev().filter_map(way).collect();
        // The next one is the last one in the list.
        walk.sort_by_key(|hop| !self.shunned.is_shunned(now.mono_us, hop.addr));
        walk
    }

    /// The next address behind the name that was tried last.
    fn walk_on(&mut self, invite: &mut Invite, decision: &mut SipDecision) -> Option<Peer> {
        let Some(&Peer::Trunk(trunk)) = invite.tried.last() else { return None };
        invite.next = Some(invite.walk.pop()?);
        decision.algorithm = Some("srv".to_owned());
        decision.candidates = vec![self.candidate(Peer::Trunk(trunk), 1.0)];
        Some(Peer::Trunk(trunk))
    }

    fn way_of(&self, invite: &mut Invite, peer: Peer) -> Option<Hop> {
        if let Some(hop) = invite.next.take() {
            return Some(self.flows.reuse(hop));
        }
        match invite.route {
            Route::Flow { hop, .. } => Some(hop),
            _ => Some(self.flows.reuse(self.topology.hop_to(peer, self.address_of(peer)?))),
        }
    }

    /// Sends the INVITE to the next hop, after its `attempt` event. False when there is none left.
    pub(in crate::core) fn attempt(
        &mut self,
        now: Now,
        slot: Slot,
        invite: &mut Invite,
        m: &Message<'_>,
        mut decision: SipDecision,
        failover: Option<&'static str>,
    ) -> bool {
        let Some(target) = self.next_hop(now, invite, m, &mut decision) else { return false };
        let Some(hop) = self.way_of(invite, target) else { return false };
        invite.tried.push(target);
        let attempt = invite.branches.len() as u32 + 1;
        let leg = LegId::edge(&invite.call, &invite.identity.call_id, &invite.identity.from_tag, m.cseq(), attempt);
        let name =
            BranchName::derive(&self.keys, m, u8::try_from(attempt).unwrap_or(u8::MAX), self.topology.hash_of(target));
        let signed = matches!(target, Peer::Node(_)).then(|| self.keys.sign(&invite.call, &leg));
        let (mut hop, mut bytes) = (hop, self.write_forward(invite, m, target, hop, &name.text, signed.as_deref()));
        let mut narrow = None;
        if !matches!(invite.route, Route::Flow { .. })
            && let Some(wider) = self.wider_way(target, hop, bytes.len())
        {
            narrow = Some(Box::new(Narrow { hop, bytes }));
            hop = wider;
            bytes = self.write_forward(invite, m, target, hop, &name.text, signed.as_deref());
        }
        let wait = match target {
            Peer::Node(_) => self.times.first_response_node,
            Peer::Trunk(_) => self.times.first_response_trunk,
        };
        if let Peer::Node(n) = target {
            self.nodes[n].calls_now += 1;
            self.nodes[n].attempts += 1;
        }
        self.trunk_call_begins(invite.peer, target);
        self.clients.insert(name.key, ClientRef::Invite(slot, invite.branches.len()));
        invite.branches.push(Branch {
            attempt,
            leg,
            target,
            hop,
            key: name.key,
            text: name.text,
            sent: bytes.clone(),
            narrow,
            client: InviteClient::new(now.mono_us, self.sip_timers(hop)),
            first_by: now.mono_us + wait,
            ring_by: now.mono_us + self.times.timer_c,
            cancel: Cancel::No,
            abandoned: false,
            end: None,
            answered: false,
            counted: true,
            dead: false,
            response: None,
            successes: Vec::new(),
            facts: BranchFacts { forwarded: invite.since(now), ..BranchFacts::default() },
        });
        self.journal.invite(&self.topology, invite);
        self.counters.attempts += 1;
        if failover.is_some() {
            self.counters.failovers += 1;
        }
        decision.reason = Some("routed".to_owned());
        decision.chosen_side = Some(target.side().as_str().to_owned());
        decision.chosen_id = Some(self.topology.id_of(target).to_owned());
        decision.failover_reason = failover.map(str::to_owned);
        self.tell_attempt(now, invite, m, decision, signed);
        self.send(hop, bytes);
        true
    }

    /// The next attempt of an INVITE whose request was stored.
    pub(in crate::core) fn fail_over(
        &mut self,
        now: Now,
        slot: Slot,
        invite: &mut Invite,
        reason: &'static str,
    ) -> bool {
        if !self.may_try_again(now, invite) || !self.has_next(invite) {
            return false;
        }
        let request = invite.request.clone();
        let mut index = self.scratch.take().unwrap_or_default();
        let done = match index.parse(&request) {
            Ok(m) => {
                let decision = SipDecision {
                    route_rule: match &invite.route {
                        Route::Trunks { prefix, .. } => Some(format!("prefix/{prefix}")),
                        _ => None,
                    },
                    algorithm: Some("ordered".to_owned()),
                    weight_version: self.control.weight_version.clone(),
                    config_digest: Some(self.topology.digest.clone()),
                    ..SipDecision::default()
                };
                self.attempt(now, slot, invite, &m, decision, Some(reason))
            }
            Err(_) => false,
        };
        self.scratch = Some(index);
        done
    }

    fn write_forward(
        &self,
        invite: &mut Invite,
        m: &Message<'_>,
        target: Peer,
        hop: Hop,
        branch: &str,
        signed: Option<&str>,
    ) -> bytes::Bytes {
        let hash = |side: fn(Peer) -> bool| {
            [invite.peer, target].into_iter().find(|p| side(*p)).map_or(0, |p| self.topology.hash_of(p))
        };
        let cookie = Cookie {
            call: invite.call,
            node: hash(|p| matches!(p, Peer::Node(_))),
            trunk: hash(|p| matches!(p, Peer::Trunk(_))),
        };
        let cookie = cookie.seal(&self.keys, m.call_id(), m.from_tag());
        let route = |hop: Hop| {
            let listener = self.topology.listener(hop);
            format!("<sip:{cookie}@{}{};lr>", listener.host, listener.transport.as_uri_param())
        };
        // RFC 5658: the side that the request leaves by is on top.
        let (outer, inner) = (route(hop), route(invite.hop));
        let via = self.topology.via(hop, branch);
        // A client that registered is called by its own contact.
        let to_client = matches!(invite.route, Route::Flow { .. });
        let uri = (!to_client).then(|| rewrite_uri(m.uri(), hop.addr, self.topology.listener(hop).transport));
        let header = [(HEADER, signed.unwrap_or_default().as_bytes())];
        let mut out = Vec::with_capacity(m.bytes().len() + 480);
        let edit = Forward {
            uri: uri.as_deref(),
            via: Some(via.as_bytes()),
            record_routes: &[outer.as_bytes(), inner.as_bytes()],
            pop_routes: invite.pop_routes,
            max_forwards: m.max_forwards().map_or(70, |n| n.saturating_sub(1)),
            source: Some(invite.hop.addr),
            strip: STRIP,
            add: if signed.is_some() { &header } else { &[] },
        };
        forward(m, &edit, &mut out);
        self.pass_invite(invite, (target, hop), out)
    }
}

/// The dialled user at the next hop's address. Parameters that would send it elsewhere are left out; a tel URI becomes a
/// sip URI with `user=phone`.
fn rewrite_uri(uri: &[u8], to: SocketAddr, transport: Transport) -> Vec<u8> {
    let mut text = String::with_capacity(uri.len() + 24);
    if let Ok(old) = Uri::parse(uri) {
        if old.is_service_sos() {
            // Whoever is next knows who helps there.
            return uri.to_vec();
        }
        let user = if old.is_tel() { old.number() } else { old.user.unwrap_or_default() };
        let _ = write!(text, "sip:{}@{to}{}", String::from_utf8_lossy(user), transport.as_uri_param());
        if old.is_tel() {
            text.push_str(";user=phone");
        } else {
            for param in old.params.split(|&b| b == b';').filter(|p| !p.is_empty()) {
                let name = param.split(|&b| b == b'=').next().unwrap_or_default();
                let routing = [&b"transport"[..], b"maddr", b"ttl", b"lr"].iter().any(|n| name.eq_ignore_ascii_case(n));
                if !routing {
                    let _ = write!(text, ";{}", String::from_utf8_lossy(param));
                }
            }
        }
    }
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_host_changes_and_nothing_can_redirect_the_request() {
        let to: SocketAddr = "10.0.0.1:5080".parse().unwrap();
        let new = |uri: &str| String::from_utf8(rewrite_uri(uri.as_bytes(), to, Transport::Udp)).unwrap();
        assert_eq!(
            new("sip:+4930@edge.example;user=phone;maddr=6.6.6.6;transport=tcp"),
            "sip:+4930@10.0.0.1:5080;user=phone"
        );
        assert_eq!(new("sip:a;b=c%40d:pw@edge:5070"), "sip:a;b=c%40d:pw@10.0.0.1:5080");
        assert_eq!(new("tel:+4930;phone-context=x"), "sip:+4930@10.0.0.1:5080;user=phone");
        let tcp = rewrite_uri(b"sip:1@x;transport=udp;user=phone", to, Transport::Tcp);
        assert_eq!(String::from_utf8(tcp).unwrap(), "sip:1@10.0.0.1:5080;transport=tcp;user=phone");
        assert_eq!(new("sip:1@x").len(), "sip:1@10.0.0.1:5080".len());
    }
}
