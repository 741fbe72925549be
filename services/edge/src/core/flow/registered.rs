//! Clients that are known by the connection that they keep: who is at its other end, and what they may do over it.
//!
//! A connection is in here from its first REGISTER on, or from its first message when its listener admits by certificate or
//! by registrar, until it closes. So a token for a connection that is not in here leads nowhere. There is one entry per open
//! connection at most, and open connections are bounded where they are accepted.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::Admit;
use crate::core::flow::hop::{Flow, FlowIdentity, Hop};
use crate::core::topology::{Peer, Topology};

/// How long a registration outlives its time: the refresh may be on its way.
const GRACE_US: u64 = 32_000_000;

#[derive(Clone, Debug)]
pub struct Client {
    pub hop: Hop,
    pub trunk: usize,
    /// The certificate's subject, or the registered user. None over connections that are known by their address.
    pub account: Option<Arc<str>>,
    /// Until when it may send more than REGISTER; only asked where the registrar admits.
    admitted_until: u64,
}

#[derive(Debug, Default)]
pub struct Registered {
    open: HashMap<Flow, Client>,
}

impl Registered {
    /// Who sends over a connection whose listener does not go by addresses; `None` when nobody that we may hear.
    pub fn enter(&mut self, topology: &Topology, hop: Hop, identity: Option<&FlowIdentity>) -> Option<Peer> {
        let (flow, listener) = (hop.flow?, topology.listener(hop));
        let trunk = listener.trunk?;
        let subject = match listener.admit {
            Admit::Address => return None,
            Admit::Registrar => None,
            Admit::Certificate => Some(identity?.subject.as_deref().filter(|s| !s.is_empty())?),
        };
        self.open.entry(flow).or_insert_with(|| Client {
            hop,
            trunk,
            account: subject.map(Arc::from),
            admitted_until: 0,
        });
        Some(Peer::Trunk(trunk))
    }

    /// A connection over which somebody wants to be reachable.
    pub fn keep(&mut self, hop: Hop, trunk: usize) {
        if let Some(flow) = hop.flow {
            self.open.entry(flow).or_insert(Client { hop, trunk, account: None, admitted_until: 0 });
        }
    }

    #[must_use]
    pub fn get(&self, flow: Flow) -> Option<&Client> {
        self.open.get(&flow)
    }

    /// Whether the connection may send other requests than REGISTER.
    #[must_use]
    pub fn is_admitted(&self, flow: Flow, now: u64) -> bool {
        self.open.get(&flow).is_some_and(|c| now < c.admitted_until)
    }

    /// The registrar said yes: for so long the connection speaks for that user.
    pub fn admit(&mut self, flow: Flow, user: &str, now: u64, granted_s: u32) {
        if let Some(client) = self.open.get_mut(&flow) {
            client.account = Some(Arc::from(user));
            client.admitted_until = now + u64::from(granted_s) * 1_000_000 + GRACE_US;
        }
    }

    /// The registrar said no, or the user took the registration back.
    pub fn dismiss(&mut self, flow: Flow) {
        if let Some(client) = self.open.get_mut(&flow) {
            client.account = None;
            client.admitted_until = 0;
        }
    }

    /// Its trunk is no longer in the settings: nobody is reached over its connections.
    pub fn forget_trunk(&mut self, trunk: usize) {
        self.open.retain(|_, client| client.trunk != trunk);
    }

    pub fn close(&mut self, flow: Flow) {
        self.open.remove(&flow);
    }
}
