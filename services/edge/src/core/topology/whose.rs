//! Whose packet or connection it is, and which addresses belong to whom.

use std::net::SocketAddr;

use super::{Peer, Topology};
use crate::config::{Admit, Side, Source};
use crate::core::Hop;

impl Topology {
    /// Whether a peer may begin something from there: it is in the settings, and so is the address.
    #[must_use]
    pub fn may_begin(&self, peer: Peer, hop: Hop) -> bool {
        if self.left.is_empty() && !self.is_gone(peer) {
            return true;
        }
        if self.is_gone(peer) {
            return false;
        }
        if self.listeners.get(hop.place()).is_some_and(|l| l.admit != Admit::Address) {
            return true;
        }
        let has = |(source, owner): &(Source, Peer)| *owner == peer && source.contains(hop.addr);
        let left = |(source, owner, _): &(Source, Peer, u64)| *owner == peer && source.contains(hop.addr);
        self.sources.iter().any(has) || !self.left.iter().any(left)
    }

    /// Known by what a name stands for, and by nothing in the settings.
    #[must_use]
    pub fn is_only_named(&self, hop: Hop, listening: SocketAddr) -> bool {
        let Some(listener) = self.listeners.get(hop.place()).filter(|_| !self.heard.is_empty()) else { return false };
        let is_listed = match hop.flow {
            None => self.listed(listener.side, hop.addr).is_some(),
            Some(_) => self.listed_stream(listener.side, hop.addr, Some(listening)).is_some(),
        };
        listener.admit == Admit::Address && !is_listed
    }

    /// Who sends from that address to a listener of that side; nobody else is heard at all.
    #[must_use]
    pub fn classify(&self, side: Side, from: SocketAddr) -> Option<Peer> {
        self.listed(side, from).or_else(|| self.heard.at(side, from))
    }

    /// Who sent a message that came that way. By a stream a peer comes from any port of its address; `listening` is the port
    /// that it says to listen on, and tells peers at one address apart.
    #[must_use]
    pub fn classify_hop(&self, hop: Hop, listening: Option<SocketAddr>) -> Option<Peer> {
        let side = self.listeners.get(hop.place())?.side;
        if hop.flow.is_none() { self.classify(side, hop.addr) } else { self.classify_stream(side, hop.addr, listening) }
    }

    /// The same with what else a trunk is known by: its transport, and the subject of its certificate. Of several trunks at one
    /// address the first that fits in all of them.
    #[must_use]
    pub fn identify(&self, hop: Hop, listening: Option<SocketAddr>, subject: Option<&str>) -> Option<Peer> {
        let peer = self.classify_hop(hop, listening)?;
        let Peer::Trunk(first) = peer else { return Some(peer) };
        let transport = self.listener(hop).transport;
        if self.trunks[first].is_known_by(transport, subject) {
            return Some(peer);
        }
        let is_there = |source: Source| match source {
            Source::Port(own) if hop.flow.is_some() => own.ip().to_canonical() == hop.addr.ip().to_canonical(),
            source => source.contains(hop.addr),
        };
        let fits = |peer: Peer| matches!(peer, Peer::Trunk(t) if self.trunks[t].is_known_by(transport, subject));
        self.sources.iter().find(|&&(source, peer)| fits(peer) && is_there(source)).map(|&(_, peer)| peer)
    }

    /// Who is at that end of a stream.
    #[must_use]
    pub fn classify_stream(&self, side: Side, from: SocketAddr, listening: Option<SocketAddr>) -> Option<Peer> {
        let listening_at = || listening.filter(|l| l.ip() == from.ip());
        self.listed_stream(side, from, listening)
            .or_else(|| self.heard.at(side, from))
            .or_else(|| self.heard.at(side, listening_at()?))
            .or_else(|| self.heard.at_ip(side, from.ip()))
    }

    fn listed(&self, side: Side, from: SocketAddr) -> Option<Peer> {
        let left = || self.left.iter().find(|(net, peer, _)| peer.side() == side && net.contains(from));
        self.allowed.find(side, from).sender().or_else(|| left().map(|&(_, peer, _)| peer))
    }

    fn listed_stream(&self, side: Side, from: SocketAddr, listening: Option<SocketAddr>) -> Option<Peer> {
        let found = self.allowed.find(side, from);
        let listening = listening.filter(|l| l.ip() == from.ip() && found.exact.is_none());
        let by_listening = listening.and_then(|l| self.allowed.find(side, l).exact);
        found.exact.or(by_listening).or_else(|| self.listed(side, from)).or(found.at_ip)
    }

    /// Whether anybody who may connect to that listener has that address; any address may where the handshake or the registrar
    /// decides.
    #[must_use]
    pub fn admits(&self, listener: u16, from: SocketAddr) -> bool {
        let Some((side, admit)) = self.listeners.get(usize::from(listener)).map(|l| (l.side, l.admit)) else {
            return false;
        };
        admit != Admit::Address
            || self.allowed.find(side, from).at_ip.is_some()
            || self.classify(side, from).is_some()
            || (side == Side::Node && self.joins.iter().any(|source| source.contains(from)))
    }

    /// Whether a peer may be spoken to at that address, and speaks from it; several trunks may share one.
    #[must_use]
    pub fn owns(&self, peer: Peer, address: SocketAddr) -> bool {
        let theirs = |(source, owner): &(Source, Peer)| *owner == peer && source.contains(address);
        self.sources.iter().any(theirs)
            || self.left.iter().any(|&(source, owner, _)| theirs(&(source, owner)))
            || self.heard.transport(peer, address).is_some()
    }
}
