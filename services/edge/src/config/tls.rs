//! Settings of TLS: the files that a listener shows and believes, and what is asked of a peer that the edge connects to.

use std::path::PathBuf;

use kit::settings::{Problem, join};
use serde::{Deserialize, Serialize};

use super::{Admit, Config, ListenerConfig, NextHop, Side, Transport};
use crate::adapters::tls::{ClientFiles, ServerFiles};

/// Of a listener with `transport = "tls"` or `"wss"`. All files are PEM and are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate and those that lead to its authority, in this order.
    pub cert: PathBuf,
    /// Its private key; not readable by everybody.
    pub key: PathBuf,
    /// Authorities of clients. With it every client must show a certificate of one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
    /// Certificates of clients that their authorities took back. Unused without `client_ca`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_crl: Option<PathBuf>,
}

/// Of a trunk that is called over TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsPeerConfig {
    /// The name that its certificate must have; without it, its name in the settings, else its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Authorities that may vouch for it; without it, those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Our certificate, when the peer asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

impl TlsConfig {
    /// Reads the files as a start would and says what is wrong with them.
    fn check(&self, at: &str, out: &mut Vec<Problem>) {
        if let Err(error) = ServerFiles::load(self) {
            out.push(Problem::new(join(at, error.field), error.file.display(), error.what));
        } else if self.client_crl.is_some() && self.client_ca.is_none() {
            out.push(Problem::new(join(at, "client_ca"), "", "the authorities of clients, since client_crl is set"));
        }
    }
}

impl TlsPeerConfig {
    fn check(&self, at: &str, out: &mut Vec<Problem>) {
        if self.cert.is_some() != self.key.is_some() {
            let missing = if self.cert.is_some() { "key" } else { "cert" };
            out.push(Problem::new(join(at, missing), "", "certificate and key, both or none"));
        } else if let Err(error) = ClientFiles::load(self) {
            out.push(Problem::new(join(at, error.field), error.file.display(), error.what));
        }
        if let Some(name) = &self.server_name
            && tokio_rustls::rustls::pki_types::ServerName::try_from(name.as_str()).is_err()
        {
            out.push(Problem::new(
                join(at, "server_name"),
                name,
                "a host name or an IP address, as in the certificate",
            ));
        }
    }
}

impl Transport {
    /// Whether a TLS handshake comes before the first message.
    #[must_use]
    pub fn is_tls(self) -> bool {
        matches!(self, Transport::Tls | Transport::Wss)
    }

    #[must_use]
    pub fn is_websocket(self) -> bool {
        matches!(self, Transport::Ws | Transport::Wss)
    }
}

impl ListenerConfig {
    pub(super) fn check_security(&self, at: &str, out: &mut Vec<Problem>) {
        match (&self.tls, self.transport.is_tls()) {
            (Some(tls), true) => tls.check(&join(at, "tls"), out),
            (None, true) => {
                let why =
                    format!("tls = {{ cert = \"…\", key = \"…\" }}, since transport = \"{}\"", self.transport.as_str());
                out.push(Problem::new(join(at, "tls"), "", why));
            }
            (Some(_), false) => {
                let why = "nothing, or transport = \"tls\" or \"wss\": this transport has no certificate";
                out.push(Problem::new(join(at, "tls"), self.transport.as_str(), why));
            }
            (None, false) => {}
        }
        let asks = self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        if self.admit == Admit::Certificate && self.transport.is_tls() && !asks {
            let why = "the authorities of clients, since admit = \"certificate\"";
            out.push(Problem::new(join(at, "tls.client_ca"), "", why));
        }
        if !self.origins.is_empty() && !self.transport.is_websocket() {
            let why = "nothing, or transport = \"ws\" or \"wss\": only browsers name an origin";
            out.push(Problem::new(join(at, "origins"), self.origins.len(), why));
        }
        let is_origin = |origin: &str| {
            let rest = origin.split_once("://").map(|(_, rest)| rest);
            rest.is_some_and(|host| !host.is_empty() && !host.contains(['/', ' ']))
        };
        for origin in self.origins.iter().filter(|origin| !is_origin(origin)) {
            let why = "scheme and host without a path, like https://phone.example.com";
            out.push(Problem::new(join(at, "origins"), origin, why));
        }
    }
}

impl Config {
    /// Of whoever is called over TLS: the files that are shown and believed.
    pub(super) fn check_peers_security(&self, at: &str, out: &mut Vec<Problem>) {
        for peer in self.peers() {
            let at = join(at, &format!("{}[{}].tls", peer.list, peer.place));
            match (peer.tls, peer.called) {
                (Some(tls), Some(_)) => tls.check(&at, out),
                (Some(_), None) => out.push(Problem::new(at, "", "nothing, or an address and transports = [\"tls\"]")),
                (None, Some(_)) => TlsPeerConfig::default().check(&at, out),
                (None, None) => {}
            }
        }
    }

    /// Each peer that is called over TLS: where, on which side, its id and its settings.
    pub(crate) fn called_over_tls(&self) -> impl Iterator<Item = (&NextHop, Side, &str, Option<&TlsPeerConfig>)> {
        self.peers().filter_map(|peer| Some((peer.called?, peer.side, peer.id, peer.tls)))
    }

    fn peers(&self) -> impl Iterator<Item = PeerTls<'_>> {
        let is_called = |transports: &[Transport]| transports.contains(&Transport::Tls);
        let trunks = self.trunks.iter().enumerate().map(move |(place, t)| PeerTls {
            list: "trunks",
            side: Side::Trunk,
            place,
            id: &t.id,
            tls: t.tls.as_ref(),
            called: t.address.as_ref().filter(|_| is_called(&t.transports)),
        });
        let nodes = self.nodes.iter().enumerate().map(move |(place, n)| PeerTls {
            list: "nodes",
            side: Side::Node,
            place,
            id: &n.id,
            tls: n.tls.as_ref(),
            called: Some(&n.address).filter(|_| is_called(&n.transports)),
        });
        trunks.chain(nodes)
    }
}

struct PeerTls<'a> {
    list: &'static str,
    side: Side,
    place: usize,
    id: &'a str,
    tls: Option<&'a TlsPeerConfig>,
    /// Where, when it is called over TLS.
    called: Option<&'a NextHop>,
}

#[cfg(test)]
mod tests {
    use testkit::pki::Authority;

    use super::*;
    use crate::config::{Side, TrunkConfig};

    fn problems(listener: ListenerConfig) -> Vec<(String, String)> {
        let config = Config {
            listeners: vec![
                ListenerConfig { id: "l".into(), ..listener },
                ListenerConfig { id: "n".into(), side: Side::Node, ..ListenerConfig::default() },
            ],
            trunks: vec![TrunkConfig { id: "t".into(), ..TrunkConfig::default() }],
            ..Config::default()
        };
        let mut out = Vec::new();
        config.listeners[0].check_security("l", &mut out);
        config.check_peers_security("edge", &mut out);
        out.into_iter().map(|problem| (problem.key, problem.allowed)).collect()
    }

    #[test]
    fn each_mistake_names_its_field_and_the_remedy() {
        let authority = Authority::new("ca");
        let pair = authority.sign("edge", "edge.example.com");
        let tls = TlsConfig { cert: pair.cert, key: pair.key, client_ca: None, client_crl: None };
        let good = ListenerConfig { transport: Transport::Wss, tls: Some(tls.clone()), ..ListenerConfig::default() };
        assert_eq!(problems(good.clone()), []);
        let is = |listener: ListenerConfig, key: &str, part: &str| {
            let found = problems(listener);
            assert!(found.len() == 1 && found[0].0 == key && found[0].1.contains(part), "{found:?}");
        };
        is(ListenerConfig { tls: None, ..good.clone() }, "l.tls", "cert");
        is(ListenerConfig { transport: Transport::Ws, ..good.clone() }, "l.tls", "transport = \"tls\"");
        is(ListenerConfig { admit: Admit::Certificate, ..good.clone() }, "l.tls.client_ca", "authorities of clients");
        is(
            ListenerConfig { origins: vec!["phone.example.com".into()], ..good.clone() },
            "l.origins",
            "scheme and host",
        );
        let pages = vec!["https://phone.example.com".to_owned()];
        is(ListenerConfig { transport: Transport::Tls, origins: pages, ..good.clone() }, "l.origins", "browsers");
        let gone = TlsConfig { cert: "/nowhere.pem".into(), ..tls };
        is(ListenerConfig { tls: Some(gone), ..good }, "l.tls.cert", "can read");
    }

    #[test]
    fn a_peer_that_is_called_over_tls_has_files_that_can_be_used() {
        let trunk = |tls: TlsPeerConfig, transport| TrunkConfig {
            id: "t".into(),
            address: "192.0.2.1:5061".parse().ok(),
            transports: vec![transport],
            tls: Some(tls),
            ..TrunkConfig::default()
        };
        let authority = Authority::new("ca");
        let good = TlsPeerConfig { ca: Some(authority.ca().to_owned()), ..TlsPeerConfig::default() };
        let keys = |trunk| {
            let mut out = Vec::new();
            Config { trunks: vec![trunk], ..Config::default() }.check_peers_security("edge", &mut out);
            out.into_iter().map(|problem| problem.key).collect::<Vec<_>>()
        };
        assert!(keys(trunk(good.clone(), Transport::Tls)).is_empty());
        assert_eq!(keys(trunk(good.clone(), Transport::Udp)), ["edge.trunks[0].tls"]);
        let half = TlsPeerConfig { cert: Some("a.pem".into()), ..good.clone() };
        assert_eq!(keys(trunk(half, Transport::Tls)), ["edge.trunks[0].tls.key"]);
        let name = TlsPeerConfig { server_name: Some("no name".into()), ..good.clone() };
        assert_eq!(keys(trunk(name, Transport::Tls)), ["edge.trunks[0].tls.server_name"]);
        let gone = TlsPeerConfig { ca: Some("/nowhere.pem".into()), ..good };
        assert_eq!(keys(trunk(gone, Transport::Tls)), ["edge.trunks[0].tls.ca"]);
    }
}
