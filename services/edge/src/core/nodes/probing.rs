//! The OPTIONS that ask nodes and carriers whether they are there, and what follows from the answers.

use bytes::Bytes;
use domain::Now;
use sip::edit::Request;

use crate::core::dispatch::{Health, Order, Probe, State};
use crate::core::proof::branch::Branch as BranchName;
use crate::core::topology::Peer;
use crate::core::{Action, ClientRef, Cx, Hop, Notice, Proxy};

impl Proxy {
    fn health_of(&mut self, peer: Peer) -> &mut Health {
        match peer {
            Peer::Node(n) => &mut self.health[n],
            Peer::Trunk(t) => &mut self.carriers[t].health,
        }
    }

    fn probe_of(&mut self, peer: Peer) -> &mut Probe {
        match peer {
            Peer::Node(n) => &mut self.nodes[n].probe,
            Peer::Trunk(t) => &mut self.carriers[t].probe,
        }
    }

    pub(in crate::core) fn next_probe(&self) -> Option<u64> {
        let carriers = self.carriers.iter().map(|c| &c.health);
        self.health.iter().chain(carriers).filter_map(Health::deadline).min()
    }

    pub(in crate::core) fn tick_all_health(&mut self, now: Now) {
        (0..self.health.len()).for_each(|n| self.tick_health(now, Peer::Node(n)));
        (0..self.carriers.len()).for_each(|t| self.tick_health(now, Peer::Trunk(t)));
    }

    fn tick_health(&mut self, now: Now, peer: Peer) {
        while let Some(order) = self.health_of(peer).tick(now.mono_us) {
            self.obey(now, peer, order);
        }
    }

    /// Its port refuses.
    pub(in crate::core) fn peer_refused(&mut self, now: Now, peer: Peer) {
        if let Some(order) = self.health_of(peer).refused(now.mono_us) {
            self.obey(now, peer, order);
            self.arm_house();
        }
    }

    pub(in crate::core) fn probe_answered(&mut self, cx: &Cx, peer: Peer, status: u16) {
        // Only the peer itself may speak for its health; several trunks may share an address.
        if cx.peer != peer && self.address_of(peer) != Some(cx.hop.addr) {
            return;
        }
        let now = cx.now;
        let health = self.health_of(peer);
        health.life(now.mono_us);
        health.answered(now.mono_us, status);
        self.tick_health(now, peer);
        self.arm_house();
    }

    fn obey(&mut self, now: Now, peer: Peer, order: Order) {
        match order {
            Order::Changed { before } => match peer {
                Peer::Node(n) => self.node_changed(now, n, before),
                Peer::Trunk(t) => self.carrier_changed(t, before),
            },
            Order::Send | Order::Resend => {
                // Where it is, is not known yet: a probe that cannot be sent is a probe that is missed.
                let Some(address) = self.address_of(peer) else { return };
                let hop = self.flows.reuse(self.topology.hop_to(peer, address));
                if order == Order::Send {
                    let bytes = self.write_probe(peer, hop);
                    self.probe_of(peer).bytes = bytes;
                }
                let bytes = self.probe_of(peer).bytes.clone();
                if !bytes.is_empty() {
                    self.send(hop, bytes);
                }
            }
        }
    }

    fn write_probe(&mut self, peer: Peer, hop: Hop) -> Bytes {
        if let Some(old) = self.probe_of(peer).key.take() {
            self.clients.remove(&old);
        }
        let nonce = self.random.next();
        let name = BranchName::own(&self.keys, nonce);
        self.clients.insert(name.key, ClientRef::Probe(peer));
        self.probe_of(peer).key = Some(name.key);
        let host = &self.topology.listener(hop).host;
        let uri = format!("sip:{}{}", hop.addr, self.topology.listener(hop).transport.as_uri_param());
        let mut out = Vec::with_capacity(320);
        Request {
            method: "OPTIONS",
            uri: uri.as_bytes(),
            via: self.topology.via(hop, &name.text).as_bytes(),
            from: format!("<sip:probe@{host}>;tag={nonce:x}").as_bytes(),
            to: format!("<{uri}>").as_bytes(),
            call_id: format!("probe-{nonce:x}@{host}").as_bytes(),
            cseq: 1,
            max_forwards: 1,
            add: &[],
        }
        .write(&mut out);
        out.into()
    }

    /// A carrier has no calls that would have to be moved: those that wait for it go on by their own timers.
    fn carrier_changed(&mut self, trunk: usize, before: State) {
        let health = &self.carriers[trunk].health;
        self.out.push_back(Action::Notice(Box::new(Notice::Carrier {
            trunk: self.topology.trunks[trunk].id.clone(),
            before: before.as_str(),
            state: health.state().as_str(),
            reason: health.reason,
        })));
    }

    pub(in crate::core) fn carrier_state(&self, now_us: u64, trunk: usize) -> &'static str {
        self.carriers[trunk].state(self.is_silent(now_us, trunk))
    }

    /// Which of a route's carriers is tried first: the one with the smallest.
    pub(in crate::core) fn carrier_rank(&self, now_us: u64, trunk: usize) -> u8 {
        self.carriers[trunk].rank(self.is_silent(now_us, trunk))
    }

    /// Whether each address of a carrier has just left a call without an answer.
    fn is_silent(&self, now_us: u64, trunk: usize) -> bool {
        let trunk = &self.topology.trunks[trunk];
        let is_shunned = |address| self.shunned.is_shunned(now_us, address);
        match trunk.targets.as_slice() {
            [] => trunk.address.is_some_and(is_shunned),
            targets => targets.iter().all(|target| is_shunned(target.address)),
        }
    }
}
