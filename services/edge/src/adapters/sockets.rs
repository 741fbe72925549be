//! The listeners' sockets, bound before anything starts, so that a taken port is said at once and by its setting.

use std::net::{SocketAddr, TcpListener, UdpSocket};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use super::icmp;
use crate::config::{Config, ListenerConfig};
use crate::error::Error;

/// Connections that the system finished for us and that we did not take yet.
const BACKLOG: i32 = 1_024;
/// Files of the rest of the process: stores, event log, admin.
const OTHER_FILES: u64 = 512;

#[derive(Debug)]
pub struct Sockets {
    /// By place in the settings; none for streams.
    pub datagrams: Vec<Option<UdpSocket>>,
    pub streams: Vec<(u16, TcpListener)>,
}

impl Sockets {
    /// In the order of the settings.
    pub fn addresses(&self) -> std::io::Result<Vec<SocketAddr>> {
        let mut streams = self.streams.iter();
        let of = |socket: &Option<UdpSocket>| match socket {
            Some(socket) => socket.local_addr(),
            None => streams.next().map_or(Err(std::io::ErrorKind::NotFound.into()), |(_, s)| s.local_addr()),
        };
        self.datagrams.iter().map(of).collect()
    }
}

pub fn bind(config: &Config) -> Result<Sockets, Error> {
    let mut sockets = Sockets { datagrams: Vec::new(), streams: Vec::new() };
    for (i, listener) in config.listeners.iter().enumerate() {
        let setting = format!("edge.listeners[{i}].bind");
        if listener.transport.is_stream() {
            let bound = open(listener.bind, Type::STREAM).and_then(|socket| socket.listen(BACKLOG).map(|()| socket));
            let explain = |error| kit::net::explain(&setting, listener.bind, kit::net::Transport::Tcp, error);
            sockets.streams.push((i as u16, bound.map_err(explain)?.into()));
            sockets.datagrams.push(None);
        } else {
            sockets.datagrams.push(Some(datagrams(config, listener, &setting)?));
        }
    }
    Ok(sockets)
}

/// A listener of IPv6 hears IPv6 alone, so that one for each family can have the same port and an address has one form.
fn open(bind: SocketAddr, kind: Type) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(bind), kind, None)?;
    if bind.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if kind == Type::STREAM {
        // A restart does not wait for connections of the life before.
        socket.set_reuse_address(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&bind.into())?;
    Ok(socket)
}

fn failed(listener: &ListenerConfig, source: std::io::Error) -> Error {
    Error::Socket { listener: listener.id.clone(), source }
}

fn datagrams(config: &Config, listener: &ListenerConfig, setting: &str) -> Result<UdpSocket, Error> {
    let failed = |source| failed(listener, source);
    let explain = |error| kit::net::explain(setting, listener.bind, kit::net::Transport::Udp, error);
    let socket: UdpSocket = open(listener.bind, Type::DGRAM).map_err(explain)?.into();
    let view = socket2::SockRef::from(&socket);
    view.set_recv_buffer_size(config.receive_buffer_bytes).map_err(failed)?;
    let got = view.recv_buffer_size().map_err(failed)?;
    if got < config.receive_buffer_bytes {
        tracing::warn!(
            listener.id = listener.id,
            wanted_bytes = config.receive_buffer_bytes,
            got_bytes = got,
            "the system gives a smaller receive buffer: raise net.core.rmem_max"
        );
    }
    if !icmp::enable(&socket, listener.bind.is_ipv6()) {
        tracing::warn!(listener.id = listener.id, "refused packets are found by time-outs only");
    }
    Ok(socket)
}

/// Each connection is an open file. The limit that a process begins with is often 1,024; it may raise it by itself up to the
/// hard one.
pub fn raise_descriptors(connections: usize) {
    let wanted = connections as u64 + OTHER_FILES;
    let now = getrlimit(Resource::Nofile);
    if now.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let given = now.maximum.map_or(wanted, |most| most.min(wanted));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(given), maximum: now.maximum });
    if raised.is_err() || given < wanted {
        tracing::warn!(
            wanted,
            given,
            "fewer open files than edge.streams.connections needs: raise the limit of the service (LimitNOFILE)"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ListenerConfig, Side, Transport};

    #[test]
    fn both_families_and_both_transports_may_have_one_port_and_a_taken_one_is_named() {
        let listener = |id: &str, transport, bind: SocketAddr| ListenerConfig {
            id: id.into(),
            side: Side::Trunk,
            transport,
            bind,
            ..ListenerConfig::default()
        };
        let with = |listeners: Vec<ListenerConfig>| bind(&Config { listeners, ..Config::default() });
        let first = with(vec![listener("a", Transport::Tcp, "0.0.0.0:0".parse().unwrap())]).unwrap();
        let port = first.addresses().unwrap()[0].port();
        let at = |ip: &str| format!("{ip}:{port}").parse().unwrap();
        let udp = with(vec![listener("b", Transport::Udp, at("0.0.0.0"))]).unwrap();
        if let Ok(six) =
            with(vec![listener("c", Transport::Udp, at("[::]")), listener("d", Transport::Tcp, at("[::]"))])
        {
            assert_eq!(six.addresses().unwrap(), [at("[::]"), at("[::]")]);
        } else {
            println!("skipped: this machine has no IPv6");
        }
        let taken = with(vec![listener("e", Transport::Tcp, at("0.0.0.0"))]).unwrap_err().to_string();
        assert!(taken.contains("edge.listeners[0].bind") && taken.contains("taken"), "{taken}");
        drop((first, udp));
    }
}
