//! Trunks behind NAT: packets that keep the way to them open, from the settings' address and from wherever they spoke.
//!
//! A ping gives no event and moves no state: whether a trunk answers is seen by its calls.

use bytes::Bytes;
use domain::Now;
use sip::Message;
use sip::edit::Request;

use crate::config::policy::KeepAlive;
use crate::core::policy::KeepAlives;
use crate::core::proof::branch::Branch;
use crate::core::topology::{Peer, Topology};
use crate::core::{Hop, Proxy};

const EMPTY_LINES: &[u8] = b"\r\n\r\n";

/// Those whom the settings name, from the start.
pub(in crate::core) fn fixed(topology: &Topology, now: Now) -> KeepAlives {
    let mut table = KeepAlives::default();
    keep_fixed(topology, now, &mut table);
    table
}

pub(in crate::core) fn keep_fixed(topology: &Topology, now: Now, table: &mut KeepAlives) {
    for (t, trunk) in topology.trunks.iter().enumerate().filter(|(_, trunk)| trunk.gone.is_none()) {
        if let (Some(address), every @ 1..) = (trunk.address, trunk.policy.keep_alive_us) {
            table.seen(now.mono_us, t, topology.hop_to(Peer::Trunk(t), address), every, true);
        }
    }
}

impl Proxy {
    /// Where names lead to now; where they led before is kept open as for anybody who spoke.
    pub(in crate::core) fn keep_alives_of_names(&mut self, now: Now) {
        for (t, trunk) in self.topology.trunks.iter().enumerate().filter(|(_, t)| t.name.is_some()) {
            if let (Some(address), every @ 1..) = (trunk.address, trunk.policy.keep_alive_us) {
                let hop = self.topology.hop_to(Peer::Trunk(t), address);
                self.keep_alives.seen(now.mono_us, t, hop, every, false);
            }
        }
    }

    /// Somebody spoke. Costs one comparison for trunks that need no keeping open.
    pub(in crate::core) fn note_speaker(&mut self, now: Now, peer: Peer, hop: Hop) {
        let Peer::Trunk(t) = peer else { return };
        let every = self.topology.trunks[t].policy.keep_alive_us;
        if every > 0 && !self.topology.listener(hop).transport.is_stream() {
            self.keep_alives.seen(now.mono_us, t, hop, every, false);
        }
    }

    /// Whether answers to a peer go to where its request came from although it did not ask for that.
    pub(in crate::core) fn is_behind_nat(&self, peer: Peer) -> bool {
        matches!(peer, Peer::Trunk(t) if self.topology.trunks[t].policy.fixes_contact())
    }

    pub(in crate::core) fn keep_open(&mut self, now: Now) {
        let mut due = Vec::new();
        let trunks = &self.topology.trunks;
        self.keep_alives.due(now.mono_us, |t| trunks[t].policy.keep_alive_us, &mut due);
        for (trunk, hop) in due {
            let bytes = match self.topology.trunks[trunk].policy.keep_alive {
                KeepAlive::Crlf => Bytes::from_static(EMPTY_LINES),
                KeepAlive::Options => self.write_ping(hop),
            };
            self.counters.pings_out += 1;
            self.send(hop, bytes);
        }
    }

    fn write_ping(&mut self, hop: Hop) -> Bytes {
        let nonce = u64::from_be_bytes(self.random.ten_bytes()[..8].try_into().unwrap_or_default());
        let listener = self.topology.listener(hop);
        let host = &listener.host;
        let uri = format!("sip:{}{}", hop.addr, listener.transport.as_uri_param());
        let mut out = Vec::with_capacity(400);
        Request {
            method: "OPTIONS",
            uri: uri.as_bytes(),
            via: self.topology.via(hop, &Branch::own(&self.keys, nonce).text).as_bytes(),
            from: format!("<sip:ping@{host}>;tag={nonce:x}").as_bytes(),
            to: format!("<{uri}>").as_bytes(),
            call_id: format!("{}{nonce:x}", self.ping_name()).as_bytes(),
            cseq: 1,
            max_forwards: 1,
            add: &[],
        }
        .write(&mut out);
        out.into()
    }

    /// What the Call-ID of each ping of this process begins with; nobody else can know it.
    fn ping_name(&self) -> String {
        format!("ping-{:016x}-", self.seed.key(&[b"ping"]) as u64)
    }

    /// The answer to a ping, whatever it says.
    pub(in crate::core) fn is_pong(&self, m: &Message<'_>) -> bool {
        m.method() == sip::Method::Options
            && m.call_id().starts_with(b"ping-")
            && m.call_id().starts_with(self.ping_name().as_bytes())
    }
}
