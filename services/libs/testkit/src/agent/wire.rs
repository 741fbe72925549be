//! One connection of a user agent, by any transport: whole messages in both directions.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::Message as Frame;

/// Where to connect, and how.
#[derive(Debug, Clone)]
pub enum Target {
    Udp(SocketAddr),
    Tcp(SocketAddr),
    /// The name is the one that the certificate must have.
    Tls(SocketAddr, String, Arc<ClientConfig>),
    Ws(SocketAddr),
    Wss(SocketAddr, String, Arc<ClientConfig>),
}

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

pub(super) enum Wire {
    Udp(UdpSocket),
    Stream { stream: Box<dyn Stream>, buffer: Vec<u8> },
    WebSocket(Box<WebSocketStream<Box<dyn Stream>>>),
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wire")
    }
}

impl Target {
    /// As a Via says it.
    pub(super) fn via(&self) -> &'static str {
        match self {
            Target::Udp(_) => "UDP",
            Target::Tcp(_) => "TCP",
            Target::Tls(..) => "TLS",
            Target::Ws(_) => "WS",
            Target::Wss(..) => "WSS",
        }
    }

    /// As a URI says it.
    pub(super) fn param(&self) -> &'static str {
        match self {
            Target::Udp(_) => "udp",
            Target::Tcp(_) => "tcp",
            Target::Tls(..) => "tls",
            Target::Ws(_) | Target::Wss(..) => "ws",
        }
    }

    pub(super) fn is_websocket(&self) -> bool {
        matches!(self, Target::Ws(_) | Target::Wss(..))
    }

    /// The connection and our address in it.
    pub(super) async fn open(&self) -> io::Result<(Wire, SocketAddr)> {
        match self {
            Target::Udp(to) => {
                let socket = UdpSocket::bind("127.0.0.1:0").await?;
                socket.connect(to).await?;
                let local = socket.local_addr()?;
                Ok((Wire::Udp(socket), local))
            }
            Target::Tcp(to) => {
                let (stream, local) = tcp(*to).await?;
                Ok((Wire::Stream { stream: Box::new(stream), buffer: Vec::new() }, local))
            }
            Target::Tls(to, name, config) => {
                let (stream, local) = tls(*to, name, config).await?;
                Ok((Wire::Stream { stream, buffer: Vec::new() }, local))
            }
            Target::Ws(to) => {
                let (stream, local) = tcp(*to).await?;
                Ok((upgrade("ws", &to.to_string(), Box::new(stream)).await?, local))
            }
            Target::Wss(to, name, config) => {
                let (stream, local) = tls(*to, name, config).await?;
                Ok((upgrade("wss", name, stream).await?, local))
            }
        }
    }
}

async fn tcp(to: SocketAddr) -> io::Result<(TcpStream, SocketAddr)> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    Ok((stream, local))
}

async fn tls(to: SocketAddr, name: &str, config: &Arc<ClientConfig>) -> io::Result<(Box<dyn Stream>, SocketAddr)> {
    let (stream, local) = tcp(to).await?;
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await?;
    Ok((Box::new(stream), local))
}

async fn upgrade(scheme: &str, host: &str, stream: Box<dyn Stream>) -> io::Result<Wire> {
    let mut request = format!("{scheme}://{host}/").into_client_request().map_err(io::Error::other)?;
    let subprotocol = "sip".parse().map_err(io::Error::other)?;
    request.headers_mut().insert("Sec-WebSocket-Protocol", subprotocol);
    let opened = tokio_tungstenite::client_async(request, stream).await;
    Ok(Wire::WebSocket(Box::new(opened.map_err(io::Error::other)?.0)))
}

impl Wire {
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Wire::Udp(socket) => socket.send(bytes).await.map(drop),
            Wire::Stream { stream, .. } => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
            Wire::WebSocket(socket) => {
                let text = String::from_utf8(bytes.to_vec()).map_err(io::Error::other)?;
                socket.send(Frame::text(text)).await.map_err(io::Error::other)
            }
        }
    }

    /// The next message; may be given up at any await without losing bytes.
    pub async fn receive(&mut self) -> io::Result<Vec<u8>> {
        match self {
            Wire::Udp(socket) => {
                let mut bytes = vec![0; 65_536];
                let length = socket.recv(&mut bytes).await?;
                bytes.truncate(length);
                Ok(bytes)
            }
            Wire::Stream { stream, buffer } => loop {
                if let Some(message) = cut(buffer) {
                    return Ok(message);
                }
                let mut chunk = [0; 4_096];
                match stream.read(&mut chunk).await? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    length => buffer.extend_from_slice(&chunk[..length]),
                }
            },
            Wire::WebSocket(socket) => loop {
                match socket.next().await {
                    Some(Ok(Frame::Text(text))) => return Ok(text.as_bytes().to_vec()),
                    Some(Ok(Frame::Binary(bytes))) => return Ok(bytes.to_vec()),
                    Some(Ok(Frame::Close(_))) | None => return Err(io::ErrorKind::UnexpectedEof.into()),
                    // The library answers pings while it reads.
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(io::Error::other(error)),
                }
            },
        }
    }
}

/// The first whole message of a stream; line ends before it are keep-alives.
fn cut(buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let dirt = buffer.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    buffer.drain(..dirt);
    let head = buffer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    let whole = head + length.unwrap_or(0);
    (buffer.len() >= whole).then(|| buffer.drain(..whole).collect())
}
