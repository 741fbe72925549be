//! From a socket to a connection that carries messages: the PROXY header, the handshake, the machine for its bytes.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};

use super::codec::Codec;
use super::thread::{Shared, StreamListener};
use super::wire::Wire;
use crate::adapters::proxy_protocol::{Claim, Read, read};
use crate::config::Transport;
use crate::core::FlowIdentity;

/// A connection that is ready for messages.
#[derive(Debug)]
pub struct Opened {
    pub wire: Wire,
    pub codec: Codec,
    pub identity: Option<Arc<FlowIdentity>>,
}

/// Somebody connected to us, and its address is admitted.
pub async fn accept(
    shared: &Shared,
    listener: &StreamListener,
    tcp: TcpStream,
    is_proxied: bool,
) -> Result<Opened, &'static str> {
    let settings = &shared.settings;
    let identity = is_proxied.then(|| Arc::new(FlowIdentity { is_proxied, ..FlowIdentity::default() }));
    match listener.transport {
        Transport::Tcp => {
            let message_us = settings.message_ms * 1_000;
            let codec = Codec::sip(shared.clock.now().mono_us, message_us, Some(message_us));
            Ok(Opened { wire: Wire::Tcp(tcp), codec, identity })
        }
        Transport::Udp | Transport::Tls | Transport::Ws | Transport::Wss => Err("transport"),
    }
}

/// A connection of ours, from the listener's own address, so that the peer knows it by that.
pub async fn connect(shared: &Shared, listener: &StreamListener, to: SocketAddr) -> Result<Opened, &'static str> {
    if !matches!(listener.transport, Transport::Tcp) {
        return Err("transport");
    }
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(|_| "socket")?;
    let own = listener.bound.ip();
    if !own.is_unspecified() && own.is_ipv4() == to.is_ipv4() {
        socket.bind(SocketAddr::new(own, 0)).map_err(|_| "bind")?;
    }
    let tcp = socket.connect(to).await.map_err(|_| "connect")?;
    prepare(&tcp, shared.settings.line_bytes);
    let codec = Codec::sip(shared.clock.now().mono_us, shared.settings.message_ms * 1_000, None);
    Ok(Opened { wire: Wire::Tcp(tcp), codec, identity: None })
}

/// Reads what a balancer says of its client: no byte more than that.
pub async fn proxied(tcp: &mut TcpStream) -> Result<Claim, &'static str> {
    let mut bytes = Vec::new();
    loop {
        match read(&bytes) {
            Ok(Read::Header { claim, .. }) => return Ok(claim),
            Ok(Read::Wants(wanted)) => {
                let have = bytes.len();
                bytes.resize(wanted.max(have + 1), 0);
                let got = tcp.read(&mut bytes[have..]).await.map_err(|_| "proxy_header")?;
                bytes.truncate(have + got);
                if got == 0 {
                    return Err("proxy_header");
                }
            }
            Err(_) => return Err("proxy_header"),
        }
    }
}

/// Small messages leave at once, what the system holds for a peer that does not read is bounded as our own queue is, and a peer that vanished without a word is found within two minutes.
pub fn prepare(tcp: &TcpStream, send_bytes: usize) {
    let view = socket2::SockRef::from(tcp);
    let alive = socket2::TcpKeepalive::new()
        .with_time(std::time::Duration::from_secs(60))
        .with_interval(std::time::Duration::from_secs(15))
        .with_retries(4);
    // Where the system refuses one of these the connection works all the same.
    let _ = view.set_tcp_nodelay(true);
    let _ = view.set_send_buffer_size(send_bytes);
    let _ = view.set_tcp_keepalive(&alive);
}
