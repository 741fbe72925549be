//! Listening sockets whose errors say what to do: which setting asked for the address, and who has the port.

mod owner;

use std::fmt;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, UdpSocket};

pub use owner::{Owner, Transport, owner_of};

/// Why a setting's address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr}/{transport} (setting {setting}): {why}")]
pub struct BindError {
    pub setting: String,
    pub addr: SocketAddr,
    pub transport: Transport,
    pub why: Why,
}

#[derive(Debug)]
pub enum Why {
    /// The port is taken; by whom, as far as this user may know.
    Taken(Vec<Owner>),
    /// No interface of this machine has the address.
    NotOurs,
    /// Ports below 1024 want a capability.
    Forbidden,
    Other(std::io::Error),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Taken(owners) if owners.is_empty() => f.write_str(
                "the port is taken, by a process that this user may not see (as root: ss -lntup); stop it or change the setting",
            ),
            Why::Taken(owners) => {
                let names: Vec<String> = owners.iter().map(ToString::to_string).collect();
                write!(f, "the port is taken by {}; stop it or change the setting", names.join(" and "))
            }
            Why::NotOurs => f.write_str("no interface of this machine has this address"),
            Why::Forbidden => f.write_str(
                "not allowed; ports below 1024 need CAP_NET_BIND_SERVICE or a lower net.ipv4.ip_unprivileged_port_start",
            ),
            Why::Other(error) => write!(f, "{error}"),
        }
    }
}

/// A bound UDP socket, non-blocking as tokio wants it.
pub fn udp(setting: &str, addr: SocketAddr) -> Result<UdpSocket, BindError> {
    UdpSocket::bind(addr)
        .and_then(|socket| socket.set_nonblocking(true).map(|()| socket))
        .map_err(|error| explain(setting, addr, Transport::Udp, error))
}

/// A listening TCP socket, non-blocking as tokio wants it.
pub fn tcp(setting: &str, addr: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(addr)
        .and_then(|socket| socket.set_nonblocking(true).map(|()| socket))
        .map_err(|error| explain(setting, addr, Transport::Tcp, error))
}

/// The error of a socket that a caller bound by itself (with options that [`udp`] and [`tcp`] do not set).
#[must_use]
pub fn explain(setting: &str, addr: SocketAddr, transport: Transport, error: std::io::Error) -> BindError {
    let why = match error.kind() {
        ErrorKind::AddrInUse => Why::Taken(owner_of(transport, addr)),
        ErrorKind::AddrNotAvailable => Why::NotOurs,
        ErrorKind::PermissionDenied => Why::Forbidden,
        _ => Why::Other(error),
    };
    BindError { setting: setting.to_owned(), addr, transport, why }
}
