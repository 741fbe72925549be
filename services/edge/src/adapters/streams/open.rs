//! From a socket to a connection that carries messages: the PROXY header, the handshake, the machine for its bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsStream;

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
    from: SocketAddr,
    is_proxied: bool,
) -> Result<Opened, &'static str> {
    let mut identity = FlowIdentity { is_proxied, ..FlowIdentity::default() };
    let wire = match &listener.tls {
        None => Wire::Tcp(tcp),
        Some(server) => {
            let is_known = shared.topology.load().classify(listener.side, from).is_some();
            let permit = shared.handshakes.begin(shared.clock.now().mono_us, from.ip(), is_known);
            let permit = permit.map_err(|_| "handshakes")?;
            let (stream, session) = server.accept(tcp, shared.handshake_time()).await.map_err(|error| error.word())?;
            drop(permit);
            session.tell(&mut identity);
            Wire::Tls(Box::new(TlsStream::Server(stream)))
        }
    };
    let (now, message_us) = (shared.clock.now().mono_us, shared.settings.message_ms * 1_000);
    let codec = match listener.transport {
        Transport::Tcp | Transport::Tls => Codec::sip(now, message_us, Some(message_us)),
        Transport::Ws | Transport::Wss => {
            Codec::websocket(now, message_us, shared.settings.upgrade_ms * 1_000, Arc::clone(&listener.origins))
        }
        Transport::Udp => return Err("transport"),
    };
    let identity = (identity != FlowIdentity::default()).then(|| Arc::new(identity));
    Ok(Opened { wire, codec, identity })
}

/// A connection of ours, from the listener's own address, so that the peer knows it by that.
pub async fn connect(shared: &Shared, listener: &StreamListener, to: SocketAddr) -> Result<Opened, &'static str> {
    // Nobody is called over a WebSocket: its clients connect to us.
    let client = match listener.transport {
        Transport::Tcp => None,
        Transport::Tls => Some(shared.callees.find(listener.side, to).ok_or("no_tls_settings")?),
        Transport::Udp | Transport::Ws | Transport::Wss => return Err("transport"),
    };
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(|_| "socket")?;
    let own = listener.bound.ip();
    if !own.is_unspecified() && own.is_ipv4() == to.is_ipv4() {
        socket.bind(SocketAddr::new(own, 0)).map_err(|_| "bind")?;
    }
    let tcp = socket.connect(to).await.map_err(|_| "connect")?;
    prepare(&tcp, shared.settings.line_bytes);
    let codec = Codec::sip(shared.clock.now().mono_us, shared.settings.message_ms * 1_000, None);
    let Some((client, name)) = client else { return Ok(Opened { wire: Wire::Tcp(tcp), codec, identity: None }) };
    let (stream, session) = match client.connect(tcp, name.as_deref(), to.ip(), shared.handshake_time()).await {
        Ok(opened) => opened,
        Err(error) => {
            // A carrier that shows a wrong certificate is somebody's mistake, or worse: an operator must see it.
            tracing::warn!(peer.id = client.id, %error, "the TLS handshake with a peer failed");
            return Err(error.word());
        }
    };
    let mut identity = FlowIdentity::default();
    session.tell(&mut identity);
    let wire = Wire::Tls(Box::new(TlsStream::Client(stream)));
    Ok(Opened { wire, codec, identity: Some(Arc::new(identity)) })
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
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4);
    // Where the system refuses one of these the connection works all the same.
    let _ = view.set_tcp_nodelay(true);
    let _ = view.set_send_buffer_size(send_bytes);
    let _ = view.set_tcp_keepalive(&alive);
}
