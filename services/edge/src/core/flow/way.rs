//! Which way a message takes: answers back to where the request came from (RFC 3261 §18.2.2), requests inside a dialog over
//! the connection that stands or to an address that the peer owns.

use std::net::SocketAddr;

use bytes::Bytes;
use sip::transaction::Timers as SipTimers;
use sip::{Index, Message, Rport, Uri};

use crate::config::Transport;
use crate::core::topology::Peer;
use crate::core::{Hop, Proxy};

/// Above this size a request does not go over UDP when there is another way (RFC 3261 §18.1.1).
const UDP_BYTES: usize = 1_300;

/// The same request for UDP, kept while it tries TCP for its size alone: when no connection can be made it goes that way after
/// all (RFC 3261 §18.1.1).
#[derive(Debug)]
pub struct Narrow {
    pub hop: Hop,
    pub bytes: Bytes,
}

impl Proxy {
    /// Where the answers to a request go. Over a stream: down the same connection. Over UDP: to the port that it came from when
    /// it says `rport`, else to the one in its Via, at the address that it came from in any case.
    pub(in crate::core) fn way_back(&self, hop: Hop, m: &Message<'_>) -> Hop {
        if hop.flow.is_some() || m.via().rport != Rport::Absent { hop } else { Hop { addr: sent_by(hop, m), ..hop } }
    }

    /// The same for a request that was kept. A connection that closed meanwhile is replaced by one to the sender's own address.
    pub(in crate::core) fn way_back_now(&self, back: Hop, request: &[u8]) -> Hop {
        if self.open(back).is_some() {
            return back;
        }
        let mut index = Index::new();
        match index.parse(request) {
            Ok(m) => self.flows.reuse(Hop::to(back.listener, sent_by(back, &m))),
            Err(_) => back,
        }
    }

    /// Timers of a transaction that takes this way.
    pub(in crate::core) fn sip_timers(&self, hop: Hop) -> SipTimers {
        if self.topology.listener(hop).transport.is_stream() { self.times.sip.reliable() } else { self.times.sip }
    }

    /// The way for a request of that size when it is too large for the one over UDP that it would take.
    pub(in crate::core) fn wider_way(&self, target: Peer, hop: Hop, bytes: usize) -> Option<Hop> {
        let is_udp = self.topology.listener(hop).transport == Transport::Udp;
        let lists_tcp = || self.topology.transports_of(target).contains(&Transport::Tcp);
        if bytes <= UDP_BYTES || !is_udp || !lists_tcp() {
            return None;
        }
        self.topology.hop_by(target, hop.addr, Transport::Tcp).map(|hop| self.flows.reuse(hop))
    }

    /// The way to an address that the peer owns, inside a dialog whose earlier messages took `known`. A connection that stands is
    /// used again; one that is gone is replaced only when the peer can be listening there, else the flow has failed.
    pub(in crate::core) fn way_to(
        &self,
        target: Peer,
        uri: &Uri<'_>,
        to: SocketAddr,
        known: Option<Hop>,
    ) -> Result<Hop, (u16, &'static str)> {
        let known = known.filter(|hop| hop.addr.ip() == to.ip());
        let of_known = || known.map(|hop| self.topology.listener(hop).transport);
        let wanted = transport_of(uri).or_else(of_known);
        if let Some(hop) = known.filter(|hop| hop.flow.is_some() && wanted == of_known()) {
            match self.open(hop) {
                Some(open) => return Ok(open),
                None if to == hop.addr => return Err((430, "flow_gone")),
                None => {}
            }
        }
        // The listener that the dialog came by, so that the peer goes on hearing from the address that it knows.
        let stays = known.filter(|hop| {
            wanted.is_some_and(|transport| self.topology.fits(hop.place(), target.side(), to, transport))
        });
        let way = stays
            .map(|hop| Hop::to(hop.listener, to))
            .or_else(|| wanted.and_then(|transport| self.topology.hop_by(target, to, transport)));
        Ok(self.flows.reuse(way.unwrap_or_else(|| self.topology.hop_to(target, to))))
    }

    /// The way as it is, if it can still be taken.
    pub(in crate::core) fn open(&self, hop: Hop) -> Option<Hop> {
        hop.flow.is_none_or(|flow| self.flows.is_live(flow)).then_some(hop)
    }
}

/// The address that a request came from, with the port that its sender says it listens on.
pub(in crate::core) fn sent_by(hop: Hop, m: &Message<'_>) -> SocketAddr {
    SocketAddr::new(hop.addr.ip(), m.via().port.unwrap_or(5060))
}

/// What a URI asks for; `ws` stands for both kinds of WebSocket and is never connected to, so it says nothing here.
fn transport_of(uri: &Uri<'_>) -> Option<Transport> {
    let asked = uri.params.split(|&b| b == b';').find_map(|p| {
        let (name, value) = p.split_at_checked(b"transport=".len())?;
        name.eq_ignore_ascii_case(b"transport=").then_some(value)
    })?;
    [Transport::Udp, Transport::Tcp, Transport::Tls]
        .into_iter()
        .find(|t| asked.eq_ignore_ascii_case(t.as_str().as_bytes()))
}
