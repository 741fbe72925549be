//! Certificates change while the edge runs: their files are looked at every few seconds, at once on SIGHUP and when an
//! operator asks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use super::{Client, Facts, FileError, Server};
use crate::config::{Config, NextHop, Side};

/// Looking is a read of a few small files.
const EVERY: Duration = Duration::from_secs(10);

/// All certificates of the process.
#[derive(Debug, Default)]
pub struct Certificates {
    /// By the place of their listener in the settings.
    servers: Vec<(usize, Arc<Server>)>,
    /// By the address or name that is called.
    clients: ArcSwap<Peers>,
    /// The faults that were told already, so that a broken file is one line in the log and not one each ten seconds.
    told: parking_lot::Mutex<Vec<FileError>>,
}

/// Peers that are called over TLS, by where.
type Peers = Vec<(NextHop, Side, Arc<Client>)>;

/// What an operator sees of one certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CertificateView {
    /// `listener` or `peer`.
    pub kind: &'static str,
    /// Id of the listener, trunk or node.
    pub id: String,
    /// Names in the certificate.
    pub names: Vec<String>,
    /// When it ends (s since 1970).
    pub expires_s: Option<u64>,
    /// Beginning of the digest over its files, to see that a change arrived.
    pub digest: String,
    /// It was replaced just now.
    pub renewed: bool,
    /// Why new files are not in force; the old ones are.
    pub error: Option<String>,
}

impl Certificates {
    /// Reads everything that the settings name.
    pub fn open(config: &Config) -> Result<Certificates, FileError> {
        let mut all = Certificates::default();
        for (place, listener) in config.listeners.iter().enumerate().filter(|(_, l)| l.transport.is_tls()) {
            if let Some(tls) = &listener.tls {
                all.servers.push((place, Arc::new(Server::open(&listener.id, tls)?)));
            }
        }
        all.take_peers(config)?;
        Ok(all)
    }

    /// Reads what other settings name for the peers that are called, and puts all of it in force, or nothing. Listeners stay: their
    /// sockets do.
    pub fn take_peers(&self, config: &Config) -> Result<(), FileError> {
        let known = self.clients.load();
        let mut clients = Peers::new();
        for (to, side, id, tls) in config.called_over_tls() {
            let tls = tls.cloned().unwrap_or_default();
            let is_same =
                |(at, of, client): &&(NextHop, Side, Arc<Client>)| at == to && *of == side && client.is(id, &tls);
            let client = match known.iter().find(is_same) {
                Some((.., client)) => Arc::clone(client),
                None => Arc::new(Client::open(id, &tls)?),
            };
            clients.push((to.clone(), side, client));
        }
        self.clients.store(Arc::new(clients));
        Ok(())
    }

    #[must_use]
    pub fn server(&self, place: usize) -> Option<Arc<Server>> {
        self.servers.iter().find(|(at, _)| *at == place).map(|(_, server)| Arc::clone(server))
    }

    /// Of whoever is called at that address.
    pub fn client(&self, address: SocketAddr) -> Option<Arc<Client>> {
        self.clients.load().iter().find(|(at, ..)| *at == address).map(|(.., client)| Arc::clone(client))
    }

    /// Of the peer of that id, and its name, when it is called by one.
    pub fn named_client(&self, side: Side, id: &str) -> Option<(Arc<Client>, String)> {
        let peers = self.clients.load();
        peers.iter().find_map(|(at, of, client)| {
            let host = at.name().filter(|_| *of == side && client.id == id)?.host.clone();
            Some((Arc::clone(client), host))
        })
    }

    /// What is in force, without looking at the files.
    #[must_use]
    pub fn view(&self) -> Vec<CertificateView> {
        self.each(|server| (server.facts(), Ok(false)), |client| (client.facts(), Ok(false)))
    }

    /// Reads all files again and puts those that changed in force. Reads the disk: not for a thread that carries calls.
    pub fn renew(&self) -> Vec<CertificateView> {
        let faults = std::cell::RefCell::new(Vec::new());
        let noted = |facts: Facts, outcome: Result<bool, FileError>| {
            faults.borrow_mut().extend(outcome.as_ref().err().cloned());
            (facts, outcome)
        };
        let views = self.each(
            |server| {
                let outcome = server.renew();
                noted(server.facts(), outcome)
            },
            |client| {
                let outcome = client.renew();
                noted(client.facts(), outcome)
            },
        );
        self.tell(&views, faults.into_inner());
        views
    }

    /// The same from asynchronous code. Nothing comes back only when the process stops.
    pub async fn renew_apart(self: &Arc<Self>) -> Vec<CertificateView> {
        let all = Arc::clone(self);
        tokio::task::spawn_blocking(move || all.renew()).await.unwrap_or_default()
    }

    /// The end of each certificate, for alarms that come in time.
    pub fn register(self: &Arc<Self>, metrics: &kit::Metrics) {
        let reader = Box::new(Reader(Arc::clone(self)));
        metrics.with(|registry| registry.register_collector(reader));
    }

    fn each(
        &self,
        server: impl Fn(&Server) -> (Facts, Result<bool, FileError>),
        client: impl Fn(&Client) -> (Facts, Result<bool, FileError>),
    ) -> Vec<CertificateView> {
        let servers = self.servers.iter().map(|(_, s)| view("listener", &s.id, server(s)));
        let clients = self.clients.load();
        servers.chain(clients.iter().map(|(.., c)| view("peer", &c.id, client(c)))).collect()
    }

    fn tell(&self, views: &[CertificateView], faults: Vec<FileError>) {
        for view in views.iter().filter(|view| view.renewed) {
            tracing::info!(kind = view.kind, id = view.id, expires_s = view.expires_s, "a new certificate is in force");
        }
        let mut told = self.told.lock();
        for fault in faults.iter().filter(|fault| !told.contains(fault)) {
            tracing::error!(error = %fault, "a changed certificate cannot be used; the old one stays in force");
        }
        *told = faults;
    }
}

fn view(kind: &'static str, id: &str, (facts, outcome): (Facts, Result<bool, FileError>)) -> CertificateView {
    CertificateView {
        kind,
        id: id.to_owned(),
        names: facts.names,
        expires_s: facts.expires_s,
        digest: domain::hex(&facts.digest[..4]),
        renewed: *outcome.as_ref().unwrap_or(&false),
        error: outcome.err().map(|error| error.to_string()),
    }
}

/// The task `certificates`.
pub async fn keep(certificates: Arc<Certificates>, task: kit::Task) -> anyhow::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let shutdown = task.shutdown();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            _ = hangup.recv() => tracing::info!("SIGHUP: reading the certificates again"),
            () = tokio::time::sleep(EVERY) => {}
        }
        certificates.renew_apart().await;
    }
}

#[derive(Debug)]
struct Reader(Arc<Certificates>);

impl Collector for Reader {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let help = "When a certificate ends, in seconds since 1970";
        let mut family =
            encoder.encode_descriptor("edge_certificate_expires_seconds", help, None, MetricType::Gauge)?;
        for view in self.0.view() {
            if let Some(expires) = view.expires_s {
                let labels = [("kind", view.kind), ("id", view.id.as_str())];
                ConstGauge::new(expires as f64).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
