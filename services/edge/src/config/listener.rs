//! Where the edge listens, by which transport, and whom it hears there.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{Source, TlsConfig};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    Trunk,
    Node,
}

impl Side {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Side::Trunk => "trunk",
            Side::Node => "node",
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    #[default]
    Udp,
    Tcp,
    Tls,
    Ws,
    Wss,
}

impl Transport {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Ws => "ws",
            Transport::Wss => "wss",
        }
    }

    /// As a Via says it.
    #[must_use]
    pub fn as_via(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
            Transport::Ws => "WS",
            Transport::Wss => "WSS",
        }
    }

    /// As a SIP URI says it; UDP is what is meant without it.
    #[must_use]
    pub fn as_uri_param(self) -> &'static str {
        match self {
            Transport::Udp => "",
            Transport::Tcp => ";transport=tcp",
            Transport::Tls => ";transport=tls",
            Transport::Ws | Transport::Wss => ";transport=ws",
        }
    }

    /// Bytes in order over connections; nothing is sent twice on it.
    #[must_use]
    pub fn is_stream(self) -> bool {
        self != Transport::Udp
    }
}

/// By what a listener tells whom it hears.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Admit {
    /// The source address, as the trunks list it.
    #[default]
    Address,
    /// Any address with a certificate that the listener's authority signed; its subject is the account.
    Certificate,
    /// Any address, but only REGISTER until the registrar said yes; the registered user is the account.
    Registrar,
}

impl Admit {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Admit::Address => "address",
            Admit::Certificate => "certificate",
            Admit::Registrar => "registrar",
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    fn is_address(&self) -> bool {
        *self == Admit::Address
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerConfig {
    pub id: String,
    pub side: Side,
    #[serde(default)]
    pub transport: Transport,
    pub bind: SocketAddr,
    /// Who is heard: a TLS or WSS listener may go by certificate or by registrar instead of by address.
    #[serde(default, skip_serializing_if = "Admit::is_address")]
    pub admit: Admit,
    /// The trunk that the clients of a listener with another `admit` than `address` belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trunk: Option<String>,
    /// What Via and Record-Route say; needed when `bind` is a wildcard address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertise: Option<SocketAddr>,
    /// Balancers whose connections begin with a PROXY header (version 2); the client that it names is then the source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub balancers: Vec<Source>,
    /// With `transport = "tls"` or `"wss"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// Pages that may connect to a WebSocket listener, as browsers name them (`https://phone.example.com`); empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<String>,
}

impl Default for ListenerConfig {
    fn default() -> ListenerConfig {
        ListenerConfig {
            id: String::new(),
            side: Side::Trunk,
            transport: Transport::Udp,
            bind: SocketAddr::from(([127, 0, 0, 1], 5060)),
            admit: Admit::Address,
            trunk: None,
            advertise: None,
            balancers: Vec::new(),
            tls: None,
            origins: Vec::new(),
        }
    }
}
