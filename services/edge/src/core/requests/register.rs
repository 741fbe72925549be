//! REGISTER: relayed to the pool `registrar` with a Path that leads back to the very flow it came over (RFC 3327, RFC 5626).
//!
//! The same user goes to the same node as long as that node is there, because its registration is kept there; so the node is
//! found by rendezvous hashing over the address-of-record, and only when it fails the next best one is asked. We believe the
//! registrar's 200: over a connection of a listener with `admit = registrar` it makes the user the account of the connection.

use bytes::Bytes;
use schemas::SipDecision;
use sip::edit::{Forward, forward};
use sip::transaction::NonInviteClient;
use sip::{Message, Name, NameAddr, Uri};

use crate::config::Admit;
use crate::core::proof::branch::Branch as BranchName;
use crate::core::proof::token::Token;
use crate::core::requests::relay::{Client, Purpose, Register, Relay};
use crate::core::slab::Slot;
use crate::core::telling::facts;
use crate::core::topology::Peer;
use crate::core::{ClientRef, Cx, Hop, Proxy, ServerRef};
use domain::Now;
use domain::identity::HEADER;

/// The pool of the nodes that keep registrations.
pub const POOL: &str = "registrar";
/// RFC 3261 §10.3 leaves it to the registrar; this is what they usually take when nobody says anything.
const USUAL_EXPIRY_S: u32 = 3_600;

impl Proxy {
    pub(in crate::core) fn register(&mut self, cx: &Cx, m: &Message<'_>, key: u128) {
        let trunk = match cx.peer {
            Peer::Trunk(trunk) => trunk,
            Peer::Node(node) => return self.node_registers(cx, node, m, key),
        };
        if !self.topology.has_registrar() {
            return self.method_not_allowed(cx, m, key);
        }
        let pop_routes = match self.preloaded(cx, m) {
            Ok((own, None)) => own,
            Ok((_, Some(_))) => return self.answer_locally(cx, m, key, 403, &[]),
            Err(refusal) => return self.answer_locally(cx, m, key, refusal.status, &[]),
        };
        if self.draining {
            return self.answer_locally(cx, m, key, 503, &[]);
        }
        if self.relays_are_full() {
            return self.reject(cx, m, 503, "overload");
        }
        self.registered.keep(cx.hop, trunk);
        let mut relay = self.new_relay(cx, m, key, Purpose::Other);
        relay.register = Some(Box::new(Register {
            user: facts::text(Uri::parse(m.to().uri).ok().and_then(|u| u.user).unwrap_or_default()),
            removes: removes_bindings(m),
            hides_path: !m.values(Name::Supported).any(|tag| tag.eq_ignore_ascii_case(b"path")),
            pop_routes,
            tried: Vec::new(),
            first_by: u64::MAX,
        }));
        let slot = self.relays.reserve();
        self.servers.insert(key, ServerRef::Relay(slot));
        if !self.ask_registrar(cx.now, slot, &mut relay, m) {
            self.finish_relay_locally(cx.now, &mut relay, m, 503, &[]);
        }
        self.put_relay(slot, relay);
    }

    /// Sends the REGISTER to the best node that was not asked yet; false when there is none left.
    fn ask_registrar(&mut self, now: Now, slot: Slot, relay: &mut Relay, m: &Message<'_>) -> bool {
        let Some(came) = relay.server.as_ref().map(|s| s.hop) else { return false };
        let Some(register) = &mut relay.register else { return false };
        let Some(node) = self.choose_registrar(now, m.to().uri, &register.tried) else { return false };
        let register = relay.register.as_mut().expect("looked at above");
        register.tried.push(node);
        register.first_by = now.mono_us + self.times.first_response_node;
        let attempt = u8::try_from(register.tried.len()).unwrap_or(u8::MAX);
        let target = Peer::Node(node);
        let hop = self.flows.reuse(self.topology.hop_to(target, self.topology.nodes[node].address));
        let name = BranchName::derive(&self.keys, m, attempt, self.topology.hash_of(target));
        let path = format!("<{}>", self.topology.uri_at(hop, &self.flow_token(came)));
        let mut add: Vec<(&str, &[u8])> = vec![("Path", path.as_bytes())];
        if register.hides_path {
            add.push(("Supported", b"path"));
        }
        let via = self.topology.via(hop, &name.text);
        let mut out = Vec::with_capacity(m.bytes().len() + 320);
        let edit = Forward {
            uri: None,
            via: Some(via.as_bytes()),
            record_routes: &[],
            pop_routes: register.pop_routes,
            max_forwards: m.max_forwards().map_or(70, |n| n.saturating_sub(1)),
            source: Some(came.addr),
            // A Path of somebody before us would stand in a route set that nothing but our own Path may have.
            strip: &[HEADER, "Path"],
            add: &add,
        };
        forward(m, &edit, &mut out);
        relay.decision = Some(Box::new(SipDecision {
            reason: Some("routed".to_owned()),
            pool: Some(POOL.to_owned()),
            algorithm: Some("hash".to_owned()),
            chosen_side: Some(target.side().as_str().to_owned()),
            chosen_id: Some(self.topology.id_of(target).to_owned()),
            weight_version: self.control.weight_version.clone(),
            config_digest: Some(self.topology.digest.clone()),
            ..SipDecision::default()
        }));
        let sent = Bytes::from(out);
        let machine = NonInviteClient::new(now.mono_us, self.sip_timers(hop));
        let client = Client { forwarded_us: relay.since(now), ..Client::new(name, target, hop, sent.clone(), machine) };
        self.clients.insert(client.key, ClientRef::Relay(slot));
        if let Some(before) = relay.client.replace(client) {
            self.clients.remove(&before.key);
            self.counters.failovers += 1;
        }
        self.counters.registrations += 1;
        self.send(hop, sent);
        true
    }

    /// The node did not answer in time, refused, or is gone: the next one, if there is one.
    pub(in crate::core) fn register_elsewhere(&mut self, now: Now, slot: Slot, relay: &mut Relay) -> bool {
        if relay.register.is_none() || relay.finished.is_some() {
            return false;
        }
        let request = relay.request.clone();
        let mut index = sip::Index::new();
        index.parse(&request).is_ok_and(|m| self.ask_registrar(now, slot, relay, &m))
    }

    /// Nothing came from the node that was asked.
    pub(in crate::core) fn tick_register(&mut self, now: Now, slot: Slot, relay: &mut Relay) {
        let silent = relay.client.as_ref().is_some_and(|c| c.first_response_us.is_none());
        let Some(register) = &mut relay.register else { return };
        if silent && now.mono_us >= register.first_by {
            register.first_by = u64::MAX;
            self.register_elsewhere(now, slot, relay);
        }
    }

    /// What the registrar's answer means to us. True when our Path in it is to be left out: the client did not ask for Path, so
    /// what we put in for the registrar is not its concern.
    pub(in crate::core) fn registrar_answered(&mut self, now: Now, relay: &Relay, m: &Message<'_>) -> bool {
        let (Some(register), Some(server)) = (relay.register.as_deref(), &relay.server) else { return false };
        if let Some(flow) = server.hop.flow
            && self.topology.listener(server.hop).admit == Admit::Registrar
        {
            match m.status() {
                200..=299 if register.removes => self.registered.dismiss(flow),
                200..=299 => self.registered.admit(flow, &register.user, now.mono_us, granted_s(m)),
                403 => self.registered.dismiss(flow),
                _ => {}
            }
        }
        register.hides_path
    }

    fn flow_token(&self, came: Hop) -> String {
        let connection = came.flow.map(|flow| (self.epoch, flow.get()));
        Token { listener: self.topology.listener(came).hash, address: came.addr, connection }.seal(&self.keys)
    }

    fn method_not_allowed(&mut self, cx: &Cx, m: &Message<'_>, key: u128) {
        self.answer_locally(cx, m, key, 405, &[("Allow", crate::core::receive::ALLOW)]);
    }
}

/// The answer without its Path lines.
pub(in crate::core) fn without_path(bytes: Bytes) -> Bytes {
    let mut index = sip::Index::new();
    let Ok(m) = index.parse(&bytes) else { return bytes };
    let (mut out, mut copied) = (Vec::with_capacity(bytes.len()), 0);
    for header in m.headers().iter().filter(|h| h.name == Name::Path) {
        out.extend_from_slice(&bytes[copied..header.line.start as usize]);
        copied = header.line.end as usize;
    }
    out.extend_from_slice(&bytes[copied..]);
    out.into()
}

/// Whether the request takes all bindings away instead of making one. One without a Contact only asks.
fn removes_bindings(m: &Message<'_>) -> bool {
    let zero = |value: &[u8]| !value.is_empty() && value.iter().all(|&b| b == b'0');
    let whole = m.header(Name::Expires).is_some_and(zero);
    let mut contacts = m.values(Name::Contact).peekable();
    contacts.peek().is_some()
        && contacts.all(|c| match NameAddr::parse(c).and_then(|a| a.param(b"expires")) {
            Some(own) => zero(own),
            None => whole,
        })
}

/// How long the registrar lets the binding stand: the longest of its contacts.
fn granted_s(m: &Message<'_>) -> u32 {
    let number = |value: &[u8]| std::str::from_utf8(value).ok()?.parse::<u32>().ok();
    let contacts = m.values(Name::Contact).filter_map(|c| number(NameAddr::parse(c)?.param(b"expires")?));
    contacts.max().or_else(|| m.header(Name::Expires).and_then(number)).unwrap_or(USUAL_EXPIRY_S).min(86_400)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sip::Index;

    fn read<T>(headers: &str, read: impl Fn(&Message<'_>) -> T) -> T {
        let text = format!(
            "REGISTER sip:e SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: x\r\nCSeq: 1 REGISTER\r\n{headers}\r\n"
        );
        read(&Index::new().parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn taking_back_is_told_from_asking_and_making() {
        for (headers, removes) in [
            ("", false),
            ("Expires: 0\r\n", false),
            ("Contact: *\r\nExpires: 0\r\n", true),
            ("Contact: <sip:a@1>\r\nExpires: 0\r\n", true),
            ("Contact: <sip:a@1>;expires=0\r\nExpires: 60\r\n", true),
            ("Contact: <sip:a@1>;expires=0, <sip:a@2>;expires=60\r\n", false),
            ("Contact: <sip:a@1>\r\n", false),
        ] {
            assert_eq!(read(headers, removes_bindings), removes, "{headers}");
        }
    }

    #[test]
    fn the_longest_grant_counts_and_is_bounded() {
        for (headers, granted) in [
            ("", 3_600),
            ("Expires: 90\r\n", 90),
            ("Contact: <sip:a@1>;expires=60, <sip:a@2>;expires=120\r\nExpires: 9\r\n", 120),
            ("Contact: <sip:a@1>;expires=4000000\r\n", 86_400),
        ] {
            assert_eq!(read(headers, granted_s), granted, "{headers}");
        }
    }
}
