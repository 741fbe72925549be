//! TLS of streams: certificates in use, their renewal, and the handshake in both directions.
//!
//! A certificate is replaced without touching a connection: each handshake takes the configuration that is current when it
//! begins, and keeps it. Files that cannot be used change nothing; the old ones stay in force and the reason is told, once.
//! Sessions are taken up again only within one configuration, so a client of an authority that was removed makes a whole
//! handshake and fails in it.
//!
//! Everything here runs on the thread of the streams and in the task `certificates`, never on the one that carries the calls.

mod files;
mod names;
pub mod renew;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{CommonState, ProtocolVersion};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

pub use files::{ClientFiles, Facts, FileError, ServerFiles};
pub use names::Names;

use crate::config::{TlsConfig, TlsPeerConfig};
use crate::core::FlowIdentity;

/// The certificate of a listener.
#[derive(Debug)]
pub struct Server {
    /// Id of the listener.
    pub id: String,
    settings: TlsConfig,
    current: ArcSwap<ServerFiles>,
}

/// What the edge shows and believes when it connects to a peer.
#[derive(Debug)]
pub struct Client {
    /// Id of the trunk or node.
    pub id: String,
    settings: TlsPeerConfig,
    current: ArcSwap<ClientFiles>,
}

/// What a handshake agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// `TLSv1_3` or `TLSv1_2`.
    pub version: &'static str,
    pub cipher: String,
    /// Who the peer's certificate speaks for; none without one.
    pub peer: Option<Names>,
}

#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error("no end of the TLS handshake within {0:?}")]
    Slow(Duration),
    /// rustls's own words: they name the fault and hold nothing of the peer's.
    #[error("{0}")]
    Tls(io::Error),
    #[error("the client's certificate names nobody")]
    Nameless,
}

impl Session {
    /// What the machine is told of it.
    pub fn tell(self, identity: &mut FlowIdentity) {
        identity.subject = self.peer.and_then(Names::into_first);
        identity.tls_version = Some(self.version.to_owned());
        identity.tls_cipher = Some(self.cipher);
    }
}

impl HandshakeError {
    /// For counts of refused traffic.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            HandshakeError::Slow(_) => "handshake_slow",
            HandshakeError::Tls(_) => "handshake",
            HandshakeError::Nameless => "certificate_names_nobody",
        }
    }
}

impl Server {
    pub fn open(id: &str, settings: &TlsConfig) -> Result<Server, FileError> {
        let files = ServerFiles::load(settings)?;
        Ok(Server { id: id.to_owned(), settings: settings.clone(), current: ArcSwap::from_pointee(files) })
    }

    /// Reads the files again. `true` when they changed and are in force now.
    pub fn renew(&self) -> Result<bool, FileError> {
        let files = ServerFiles::load(&self.settings)?;
        let changed = files.facts.digest != self.current.load().facts.digest;
        if changed {
            self.current.store(Arc::new(files));
        }
        Ok(changed)
    }

    pub fn facts(&self) -> Facts {
        self.current.load().facts.clone()
    }

    /// The handshake with a client that connected.
    pub async fn accept<S>(
        &self,
        stream: S,
        within: Duration,
    ) -> Result<(server::TlsStream<S>, Session), HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.current.load().config));
        let stream = timely(within, acceptor.accept(stream)).await?;
        let session = session(stream.get_ref().1)?;
        Ok((stream, session))
    }
}

impl Client {
    pub fn open(id: &str, settings: &TlsPeerConfig) -> Result<Client, FileError> {
        let files = ClientFiles::load(settings)?;
        Ok(Client { id: id.to_owned(), settings: settings.clone(), current: ArcSwap::from_pointee(files) })
    }

    /// Whether these settings say the same of the same peer.
    #[must_use]
    pub fn is(&self, id: &str, settings: &TlsPeerConfig) -> bool {
        self.id == id && self.settings == *settings
    }

    /// Reads the files again. `true` when they changed and are in force now.
    pub fn renew(&self) -> Result<bool, FileError> {
        let files = ClientFiles::load(&self.settings)?;
        let changed = files.facts.digest != self.current.load().facts.digest;
        if changed {
            self.current.store(Arc::new(files));
        }
        Ok(changed)
    }

    pub fn facts(&self) -> Facts {
        self.current.load().facts.clone()
    }

    /// The handshake with a peer that was connected to. Its certificate must hold the name of the settings, else `name` (what
    /// was looked up), else its address.
    pub async fn connect<S>(
        &self,
        stream: S,
        name: Option<&str>,
        ip: IpAddr,
        within: Duration,
    ) -> Result<(client::TlsStream<S>, Session), HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let named = self.settings.server_name.as_deref().or(name);
        let wanted = match named.map(|name| ServerName::try_from(name.to_owned())) {
            Some(Ok(wanted)) => wanted,
            Some(Err(error)) => return Err(HandshakeError::Tls(io::Error::other(error))),
            None => ServerName::from(ip.to_canonical()),
        };
        let connector = TlsConnector::from(Arc::clone(&self.current.load().config));
        let stream = timely(within, connector.connect(wanted, stream)).await?;
        let session = session(stream.get_ref().1)?;
        Ok((stream, session))
    }
}

async fn timely<T>(within: Duration, handshake: impl Future<Output = io::Result<T>>) -> Result<T, HandshakeError> {
    match tokio::time::timeout(within, handshake).await {
        Err(_) => Err(HandshakeError::Slow(within)),
        Ok(done) => done.map_err(HandshakeError::Tls),
    }
}

fn session(state: &CommonState) -> Result<Session, HandshakeError> {
    let peer = match state.peer_certificates().and_then(<[_]>::first) {
        None => None,
        Some(der) => Some(Names::of(der).ok_or(HandshakeError::Nameless)?),
    };
    let version = match state.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1_3",
        _ => "TLSv1_2",
    };
    let cipher = state.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str().map(str::to_owned));
    Ok(Session { version, cipher: cipher.unwrap_or_default(), peer })
}

#[cfg(test)]
mod tests;
