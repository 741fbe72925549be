//! Requests by which a node says that it is there: REGISTER or OPTIONS to a node listener.
//!
//! From a node of the settings they are a proof of life and answered. From anybody else on that side they are heard only out of
//! the networks of `join.rules`; the rest is denied unread, as ever. The answer to a newcomer says whether it is a node: 200, or
//! 503 while it waits for an operator, so that it keeps asking.

use domain::Now;
use schemas::NodeHealth;
use sip::edit::{Answer, answer, reason_phrase};
use sip::{Judged, Message, Method, Name, NameAddr, Uri, Verdict, judge};

use crate::config::{NodeConfig, Side};
use crate::core::dispatch::{Announcement, OPTIONS_S, Reply, id_from};
use crate::core::flow::way::sent_by;
use crate::core::{Action, Cx, Hop, Proxy};

/// Longest and usual time of a registration (s).
const LONGEST_S: u32 = 3_600;

/// A node that wants in.
#[derive(Debug, Clone, PartialEq)]
pub struct Newcomer {
    /// As it would stand in the settings.
    pub node: NodeConfig,
    /// Its rule says so; else an operator has to.
    pub taken: bool,
}

impl Proxy {
    /// The rule for announcements from there.
    pub(in crate::core) fn join_rule(&self, hop: Hop) -> Option<usize> {
        let listener = self.topology.listeners.get(hop.place())?;
        if listener.side != Side::Node {
            return None;
        }
        self.config.join.rules.iter().position(|rule| rule.sources.iter().any(|source| source.contains(hop.addr)))
    }

    /// A packet from somebody unknown on the node side. True when it was an announcement.
    pub(in crate::core) fn hear_stranger(&mut self, now: Now, hop: Hop, bytes: &[u8]) -> bool {
        let Some(rule) = self.join_rule(hop) else { return false };
        let mut index = self.index.take().unwrap_or_default();
        let heard = match judge(&mut index, bytes) {
            Judged { message: Some(m), reject: None, verdict: Verdict::Forward } if is_announcement(&m) => {
                self.announced_by(now, hop, rule, &m);
                true
            }
            _ => false,
        };
        self.index = Some(index);
        heard
    }

    pub(in crate::core) fn announced_by(&mut self, now: Now, hop: Hop, rule: usize, m: &Message<'_>) {
        // Over UDP a node sends from where it listens.
        let address = if hop.flow.is_some() { sent_by(hop, m) } else { hop.addr };
        let registers = m.method() == Method::Register;
        // An OPTIONS names whatever its sender calls itself by default, a REGISTER the account that it was given.
        let user = Uri::parse(m.to().uri).ok().and_then(|u| u.user).unwrap_or_default();
        let known = || self.announced.id_at(address).map(str::to_owned);
        let said = Announcement {
            id: if registers { id_from(user, address) } else { known().unwrap_or_else(|| id_from(b"", address)) },
            address,
            transport: self.topology.listener(hop).transport,
            expires_s: if registers { expiry_s(m) } else { OPTIONS_S },
        };
        let settled = self.topology.nodes.iter().find(|n| n.id == said.id && n.gone.is_none()).map(|n| n.address);
        let reply = self.announced.hear(now.mono_us, (&self.config.join.rules[rule], rule), &said, settled);
        let is_member = self.topology.nodes.iter().any(|n| n.id == said.id && n.gone.is_none());
        if let (Reply::New { taken }, Some(node)) = (reply, self.announced.node(&said.id)) {
            self.counters.announced_nodes += 1;
            let node = node.clone();
            let what = if taken { "is taken by its rule" } else { "waits for an operator" };
            let by = m.method().as_str();
            self.tell_newcomer(now, &node.id, format!("announced itself by {by} from {address}, {what}"));
            self.out.push_back(Action::Announced(Box::new(Newcomer { node, taken })));
        }
        let status = match reply {
            Reply::Clash | Reply::Full => 403,
            Reply::Leaves => 200,
            Reply::New { taken: true } | Reply::Known { taken: true } => 200,
            Reply::New { .. } | Reply::Known { .. } if is_member => 200,
            Reply::New { .. } | Reply::Known { .. } => 503,
        };
        let back = self.way_back(hop, m);
        self.answer_announcement(m, hop, back, status, said.expires_s);
    }

    fn answer_announcement(&mut self, m: &Message<'_>, hop: Hop, back: Hop, status: u16, expires_s: u32) {
        let expires = expires_s.to_string();
        let contact = m.header(Name::Contact).unwrap_or_default();
        let both: [(&str, &[u8]); 2] = [("Contact", contact), ("Expires", expires.as_bytes())];
        let add = if m.method() == Method::Register && status == 200 && !contact.is_empty() { &both[..] } else { &[] };
        let tag = format!("tl{:016x}", self.seed.key(&[b"tag", m.call_id(), m.from_tag(), m.branch()]) as u64);
        let mut out = Vec::with_capacity(m.bytes().len() + 64);
        let reason = reason_phrase(status);
        answer(m, &Answer { status, reason, to_tag: Some(&tag), source: Some(hop.addr), add }, &mut out);
        self.send(back, out.into());
    }

    /// A node of the settings says that it is there.
    pub(in crate::core) fn node_registers(&mut self, cx: &Cx, node: usize, m: &Message<'_>, key: u128) {
        let expires_s = expiry_s(m);
        self.announced.refresh(cx.now.mono_us, &self.topology.nodes[node].id, expires_s);
        let expires = expires_s.to_string();
        let contact = m.header(Name::Contact).unwrap_or_default();
        let both: [(&str, &[u8]); 2] = [("Contact", contact), ("Expires", expires.as_bytes())];
        self.answer_locally(cx, m, key, 200, if contact.is_empty() { &[] } else { &both });
    }

    /// The same by OPTIONS, which are answered by whoever calls this.
    pub(in crate::core) fn node_asks(&mut self, now: Now, node: usize) {
        if !self.announced.is_empty() {
            self.announced.refresh(now.mono_us, &self.topology.nodes[node].id, OPTIONS_S);
        }
    }

    /// Once a second: newcomers that were not heard of again, and nodes taken by a rule that are silent, down and without calls.
    pub(in crate::core) fn forget_silent_newcomers(&mut self, now: Now) {
        if self.announced.is_empty() {
            return;
        }
        let (topology, health, standing) = (&self.topology, &self.health, &self.nodes);
        let is_idle = |id: &str| {
            let node = topology.nodes.iter().position(|n| n.id == id && n.gone.is_none());
            node.is_none_or(|n| health[n].is_dead() && standing[n].calls_now <= 0)
        };
        for id in self.announced.expire(now.mono_us, is_idle) {
            self.out.push_back(Action::Departed(id));
        }
    }

    fn tell_newcomer(&mut self, now: Now, id: &str, reason: String) {
        let event = NodeHealth {
            event_type: "probe".to_owned(),
            node_id: id.to_owned(),
            observer_kind: "edge".to_owned(),
            observer_id: self.topology.edge_id.clone(),
            observed_us: now.wall_us,
            observed_mono_us: i64::try_from(now.mono_us).unwrap_or(i64::MAX),
            state: Some("unknown".to_owned()),
            state_before: Some("unknown".to_owned()),
            reason: Some(reason),
            // It has no calls of ours yet.
            passive: Some(schemas::NodePassive::default()),
            ..NodeHealth::default()
        };
        self.out.push_back(Action::Health(Box::new(event)));
    }
}

pub(in crate::core) fn is_announcement(m: &Message<'_>) -> bool {
    m.is_request() && m.to_tag().is_empty() && matches!(m.method(), Method::Register | Method::Options)
}

/// What a REGISTER asks for: of its contact, else of the whole.
fn expiry_s(m: &Message<'_>) -> u32 {
    let number = |value: &[u8]| std::str::from_utf8(value).ok()?.trim().parse::<u32>().ok();
    let contact = m.values(Name::Contact).next().and_then(NameAddr::parse);
    let own = contact.and_then(|c| c.param(b"expires")).and_then(number);
    own.or_else(|| m.header(Name::Expires).and_then(number)).unwrap_or(LONGEST_S).min(LONGEST_S)
}
