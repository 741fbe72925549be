//! Responses to requests that an earlier life forwarded and this one knows nothing of: sent on without a transaction, as a
//! stateless proxy does (RFC 3261 §16.11; a stated departure from RFC 6026, by which they would be dropped).
//!
//! Only what our own branch proves to be an answer to a request that we forwarded to that peer, and only to a peer of the other
//! side: the Via below ours is what the next hop gave back to us and could have been changed.

use std::net::SocketAddr;

use sip::{Message, Method, Rport};

use crate::config::{Side, Transport};
use crate::core::proof::branch::Branch;
use crate::core::set_up::answers::upstream;
use crate::core::telling::story::ByeFacts;
use crate::core::topology::Peer;
use crate::core::{Cx, Hop, Proxy};

impl Proxy {
    pub(in crate::core) fn stateless_response(&mut self, cx: &Cx, m: &Message<'_>) {
        // A 100 and the answer to our CANCEL are between us and the next hop.
        if m.status() == 100 || m.method() == Method::Cancel || self.may_have_failed(cx, m) {
            return self.stray(cx, m, "no_transaction");
        }
        let bytes = self.pass_lone_in(cx, upstream(m, None));
        let mut index = self.scratch.take().unwrap_or_default();
        let way = index.parse(&bytes).ok().and_then(|below| self.way_past(cx, m.branch(), &below));
        self.scratch = Some(index);
        let Some(hop) = way else { return self.stray(cx, m, "no_transaction") };
        self.counters.stateless_responses += 1;
        let bytes = self.pass_lone_out(cx, hop, bytes);
        self.send(hop, bytes);
        if m.method() == Method::Bye && m.status() >= 200 && !matches!(m.status(), 401 | 407) {
            self.bye_went_past(cx, m);
        }
    }

    /// An INVITE of this life that has ended with a failure and is forgotten: nothing more of it may reach the caller. For 64 × T1
    /// after the start none can be forgotten yet; later only what belongs to a dialog passes.
    fn may_have_failed(&self, cx: &Cx, m: &Message<'_>) -> bool {
        m.method() == Method::Invite
            && cx.now.mono_us >= self.started + self.times.sip.give_up()
            && self.dialogs.find(m.call_id(), m.from_tag(), m.to_tag()).is_none()
    }

    fn way_past(&self, cx: &Cx, branch: &[u8], below: &Message<'_>) -> Option<Hop> {
        if !self.may_be_target(cx).any(|peer| Branch::is_ours(&self.keys, branch, below, self.topology.hash_of(peer))) {
            return None;
        }
        let via = below.via();
        let ip = via.received.and_then(|r| sip::host_ip(r.of(below.bytes())));
        let ip = ip.or_else(|| sip::host_ip(via.host.of(below.bytes())))?;
        // The connection that the request came by has not outlived us: its sender listens where its Via says, or nowhere.
        let stream = [Transport::Tcp, Transport::Tls]
            .into_iter()
            .find(|t| via.transport.of(below.bytes()).eq_ignore_ascii_case(t.as_via().as_bytes()));
        let port = match via.rport {
            Rport::Value(port) if stream.is_none() => port,
            _ => via.port.unwrap_or(5060),
        };
        let to = SocketAddr::new(ip, port);
        let side = match cx.peer.side() {
            Side::Trunk => Side::Node,
            Side::Node => Side::Trunk,
        };
        let way = match stream {
            Some(stream) => {
                let peer = self.topology.classify_stream(side, to, Some(to))?;
                self.topology.hop_by(peer, to, stream)?
            }
            None => self.topology.hop_to(self.topology.classify(side, to)?, to),
        };
        Some(self.flows.reuse(way))
    }

    /// The sender, and the other peers that share its address.
    fn may_be_target(&self, cx: &Cx) -> impl Iterator<Item = Peer> {
        let (from, sender) = (cx.hop.addr, cx.peer);
        let shares = move |peer: &Peer| *peer == sender || self.topology.owns(*peer, from);
        let trunks = (0..self.topology.trunks.len()).map(Peer::Trunk);
        let nodes = (0..self.topology.nodes.len()).map(Peer::Node);
        trunks.chain(nodes).filter(move |peer| peer.side() == sender.side() && shares(peer))
    }

    /// The answer to a BYE whose transaction is gone ends the dialog all the same.
    fn bye_went_past(&mut self, cx: &Cx, m: &Message<'_>) {
        let Some(slot) = self.dialogs.find(m.call_id(), m.from_tag(), m.to_tag()) else { return };
        if let Some(ending) = self.dialogs.get(slot).and_then(|d| d.ending) {
            let bye = ByeFacts { status: m.status(), ..ByeFacts::from(ending) };
            self.end_dialog(cx.now, slot, &bye);
        }
    }
}
