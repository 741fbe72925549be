//! Requests from a node to a client that registered: down the flow that our Path names, or nowhere.
//!
//! Without a To-tag a Route is taken in two cases only: it is our own address and nothing else, or it is our Path URI, alone,
//! with a token that we signed, in a request from a node. The token names listener, address and connection; the trunk follows
//! from these by our own settings. So the target is always somebody who came to us and registered, never what a Route says.

use bytes::Bytes;
use schemas::SipDecision;
use sip::edit::{Forward, forward};
use sip::transaction::NonInviteClient;
use sip::{Message, Name, NameAddr, Uri};

use crate::config::{Admit, Side, Transport};
use crate::core::proof::branch::Branch as BranchName;
use crate::core::proof::token::Token;
use crate::core::requests::relay::{Client, Purpose};
use crate::core::set_up::admit::Refusal;
use crate::core::set_up::answers::STRIP;
use crate::core::topology::Peer;
use crate::core::{ClientRef, Cx, Hop, Proxy, ServerRef};

/// A client's flow and the trunk that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) struct Down {
    pub trunk: usize,
    pub hop: Hop,
}

impl Proxy {
    /// How many Routes are ours and go, and the flow that one of them names.
    pub(in crate::core) fn preloaded(&self, cx: &Cx, m: &Message<'_>) -> Result<(usize, Option<Down>), Refusal> {
        let (mut own, mut down) = (0, None);
        for value in m.values(Name::Route) {
            let uri = NameAddr::parse(value).and_then(|a| Uri::parse(a.uri).ok());
            let address = uri.and_then(|u| Some(std::net::SocketAddr::new(u.ip()?, u.port.unwrap_or(5060))));
            if !address.is_some_and(|address| self.topology.is_own(address)) || down.is_some() {
                return Err(Refusal::new(403, "route"));
            }
            if let Some(user) = uri.and_then(|u| u.user) {
                let from_node = matches!(cx.peer, Peer::Node(_)) && own == 0;
                let token = from_node.then(|| Token::open(&self.keys, user)).flatten();
                let token = token.ok_or(Refusal::new(403, "route"))?;
                down = Some(self.flow_of(&token).ok_or(Refusal::new(430, "flow_gone"))?);
            }
            own += 1;
        }
        Ok((own, down))
    }

    /// Where a token leads now; `None` when the connection is gone, or the address is no longer one that we would hear.
    fn flow_of(&self, token: &Token) -> Option<Down> {
        let place = self.topology.listeners.iter().position(|l| l.side == Side::Trunk && l.hash == token.listener)?;
        let listener = u16::try_from(place).ok()?;
        match token.connection {
            Some((epoch, number)) => {
                let flow = crate::core::Flow::new(std::num::NonZeroU64::new(number)?);
                let client = self.registered.get(flow).filter(|_| epoch == self.epoch)?;
                let same = client.hop.listener == listener && client.hop.addr == token.address;
                same.then_some(Down { trunk: client.trunk, hop: client.hop })
            }
            None if self.topology.listeners[place].transport == Transport::Udp => {
                match self.topology.classify(Side::Trunk, token.address)? {
                    Peer::Trunk(trunk) => Some(Down { trunk, hop: Hop::to(listener, token.address) }),
                    Peer::Node(_) => None,
                }
            }
            None => None,
        }
    }

    /// A request other than INVITE with a Route and without a To-tag. False when it is to be looked at as if it had none.
    pub(in crate::core) fn sent_down(&mut self, cx: &Cx, m: &Message<'_>, key: u128) -> bool {
        if !matches!(cx.peer, Peer::Node(_)) || m.values(Name::Route).next().is_none() {
            return false;
        }
        match self.preloaded(cx, m) {
            Ok((_, None)) => return false,
            Ok((pop_routes, Some(down))) => self.relay_down(cx, m, key, pop_routes, down),
            Err(refusal) => self.answer_locally(cx, m, key, refusal.status, &[]),
        }
        true
    }

    fn relay_down(&mut self, cx: &Cx, m: &Message<'_>, key: u128, pop_routes: usize, down: Down) {
        if self.relays_are_full() {
            return self.reject(cx, m, 503, "overload");
        }
        let target = Peer::Trunk(down.trunk);
        let mut relay = self.new_relay(cx, m, key, Purpose::Other);
        let parties = relay.parties.get_or_insert_default();
        parties.trunk_id = Some(self.topology.trunks[down.trunk].id.clone());
        parties.account = self.account_at(down.hop, down.trunk);
        relay.decision = Some(Box::new(SipDecision {
            reason: Some("routed".to_owned()),
            algorithm: Some("flow".to_owned()),
            chosen_side: Some(target.side().as_str().to_owned()),
            chosen_id: Some(self.topology.id_of(target).to_owned()),
            config_digest: Some(self.topology.digest.clone()),
            ..SipDecision::default()
        }));
        let name = BranchName::derive(&self.keys, m, 1, self.topology.hash_of(target));
        let via = self.topology.via(down.hop, &name.text);
        let mut out = Vec::with_capacity(m.bytes().len() + 160);
        let edit = Forward {
            uri: None,
            via: Some(via.as_bytes()),
            record_routes: &[],
            pop_routes,
            max_forwards: m.max_forwards().map_or(70, |n| n.saturating_sub(1)),
            source: Some(cx.hop.addr),
            strip: STRIP,
            add: &[],
        };
        forward(m, &edit, &mut out);
        let sent = Bytes::from(out);
        let slot = self.relays.reserve();
        self.servers.insert(key, ServerRef::Relay(slot));
        self.clients.insert(name.key, ClientRef::Relay(slot));
        let machine = NonInviteClient::new(cx.now.mono_us, self.sip_timers(down.hop));
        relay.client = Some(Client::new(name, target, down.hop, sent.clone(), machine));
        self.send(down.hop, sent);
        self.put_relay(slot, relay);
    }

    /// Whose account what happens over that hop is: the client's own, else the trunk's.
    pub(in crate::core) fn account_at(&self, hop: Hop, trunk: usize) -> Option<String> {
        let own = hop.flow.and_then(|flow| self.registered.get(flow)).and_then(|c| c.account.as_deref());
        own.map(str::to_owned).or_else(|| self.topology.trunks[trunk].account.clone())
    }

    /// Whether the other end of a dialog can be reached over this hop only: a connection of somebody who does not listen.
    pub(in crate::core) fn is_bound(&self, hop: Hop, peer: Peer) -> bool {
        let listener = self.topology.listener(hop);
        let Peer::Trunk(trunk) = peer else { return false };
        hop.flow.is_some()
            && (listener.admit != Admit::Address
                || matches!(listener.transport, Transport::Ws | Transport::Wss)
                || self.topology.trunks[trunk].address.is_none())
    }
}
