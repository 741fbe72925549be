//! What is asked of the peers that are called over TLS, found by where a connection goes.
//!
//! A peer with an address must show a certificate for its `server_name`, else for that address. One with a name must show one
//! for the name in the settings, whatever DNS made of it (RFC 5922 §7.2): who forges an answer of DNS has no such certificate.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

use crate::adapters::tls::Client;
use crate::adapters::tls::renew::Certificates;
use crate::config::{Side, Transport};
use crate::core::names::{Entry, Names, Target};

pub struct Callees {
    pub certificates: Arc<Certificates>,
    /// What DNS says at the moment.
    pub names: watch::Receiver<Arc<Names>>,
}

impl Callees {
    /// The settings for whoever is called there, and the name that was looked up.
    pub fn find(&self, side: Side, to: SocketAddr) -> Option<(Arc<Client>, Option<String>)> {
        if let Some(client) = self.certificates.client(to) {
            return Some((client, None));
        }
        let names = self.names.borrow();
        let is_there = |entry: &&Entry| {
            entry.side == side && entry.targets.iter().any(|t| t.address == to && t.transport == Transport::Tls)
        };
        let entry = names.entries.iter().find(is_there)?;
        let (client, host) = self.certificates.named_client(side, &entry.id)?;
        Some((client, Some(host)))
    }

    /// Whether a name of that side stands for that address: then it may connect, to speak inside dialogs.
    pub fn is_named(&self, side: Side, from: SocketAddr) -> bool {
        let is_it = |t: &Target| t.address.ip().to_canonical() == from.ip().to_canonical();
        self.names.borrow().entries.iter().any(|entry| entry.side == side && entry.targets.iter().any(is_it))
    }
}
