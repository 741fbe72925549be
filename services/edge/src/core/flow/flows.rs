//! Connections that live, as far as the machine must know: whether one may still be written to, and who is at its end.
//!
//! A flow is met with its first message and forgotten when the adapter says that it closed; the adapter's cap on connections
//! bounds this table. What is sent to a flow that is gone finds nobody, so whoever answers or routes asks here first.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::core::flow::hop::{Flow, FlowIdentity, Hop};

#[derive(Debug, Default)]
pub struct Flows {
    live: HashMap<Flow, State>,
    /// Connections that a peer opened and said to be usable for requests to its own address (`alias`, RFC 5923).
    aliases: HashMap<(u16, SocketAddr), Flow>,
}

#[derive(Debug)]
struct State {
    identity: Option<Box<FlowIdentity>>,
    alias: Option<(u16, SocketAddr)>,
}

impl Flows {
    /// A message came by that connection.
    pub fn meet(&mut self, flow: Flow, identity: Option<&FlowIdentity>) {
        let fresh = || State { identity: identity.cloned().map(Box::new), alias: None };
        self.live.entry(flow).or_insert_with(fresh);
    }

    /// The one at the other end may be asked at that address by this connection.
    pub fn alias(&mut self, hop: Hop, listening: SocketAddr) {
        let Some(flow) = hop.flow else { return };
        let key = (hop.listener, listening);
        let Some(state) = self.live.get_mut(&flow) else { return };
        if state.alias != Some(key) {
            let old = state.alias.replace(key);
            if let Some(old) = old {
                self.aliases.remove(&old);
            }
            self.aliases.insert(key, flow);
        }
    }

    /// The same way over a connection that stands already, where there is one.
    #[must_use]
    pub fn reuse(&self, hop: Hop) -> Hop {
        Hop { flow: hop.flow.or_else(|| self.aliases.get(&(hop.listener, hop.addr)).copied()), ..hop }
    }

    pub fn close(&mut self, flow: Flow) {
        let Some(state) = self.live.remove(&flow) else { return };
        if let Some(key) = state.alias
            && self.aliases.get(&key) == Some(&flow)
        {
            self.aliases.remove(&key);
        }
    }

    #[must_use]
    pub fn is_live(&self, flow: Flow) -> bool {
        self.live.contains_key(&flow)
    }

    #[must_use]
    pub fn identity(&self, hop: Hop) -> Option<&FlowIdentity> {
        self.live.get(&hop.flow?)?.identity.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU64;

    #[test]
    fn an_alias_ends_with_its_connection_and_the_newest_one_holds() {
        let flow = |n| Flow::new(NonZeroU64::new(n).unwrap());
        let (peer, from): (SocketAddr, SocketAddr) =
            ("192.0.2.1:5060".parse().unwrap(), "192.0.2.1:41000".parse().unwrap());
        let mut flows = Flows::default();
        for n in [1, 2] {
            flows.meet(flow(n), None);
            flows.alias(Hop::on(3, from, flow(n)), peer);
            assert_eq!(flows.reuse(Hop::to(3, peer)).flow, Some(flow(n)));
        }
        assert_eq!(flows.reuse(Hop::to(4, peer)).flow, None, "another listener");
        flows.close(flow(1));
        assert_eq!(flows.reuse(Hop::to(3, peer)).flow, Some(flow(2)));
        flows.close(flow(2));
        assert!(!flows.is_live(flow(2)));
        assert_eq!(flows.reuse(Hop::to(3, peer)).flow, None);
    }
}
