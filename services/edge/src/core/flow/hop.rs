//! Where a message came from, or goes to: the listener, the far address, and on streams the connection.

use std::net::SocketAddr;
use std::num::NonZeroU64;

/// The number of a connection. None is used twice in the life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow(NonZeroU64);

impl Flow {
    /// A connection of an earlier life of this edge: whoever was bound to it is not reached any more.
    pub const GONE: Flow = Flow(NonZeroU64::MAX);

    #[must_use]
    pub const fn new(number: NonZeroU64) -> Flow {
        Flow(number)
    }

    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

/// For a stream listener, a hop without flow means: the connection to that address, made when there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hop {
    /// The place of the listener in the settings.
    pub listener: u16,
    pub addr: SocketAddr,
    pub flow: Option<Flow>,
}

impl Hop {
    /// Over UDP, or to an address whatever the connection.
    #[must_use]
    pub fn to(listener: u16, addr: SocketAddr) -> Hop {
        Hop { listener, addr, flow: None }
    }

    #[must_use]
    pub fn on(listener: u16, addr: SocketAddr, flow: Flow) -> Hop {
        Hop { listener, addr, flow: Some(flow) }
    }

    /// The listener as an index.
    #[must_use]
    pub fn place(self) -> usize {
        usize::from(self.listener)
    }
}

/// What is known of whoever is at the other end of a connection, beside the address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowIdentity {
    /// Subject of the client certificate that was verified in the handshake.
    pub subject: Option<String>,
    pub tls_version: Option<String>,
    pub tls_cipher: Option<String>,
    /// The address is what a balancer says of its client.
    pub is_proxied: bool,
}
