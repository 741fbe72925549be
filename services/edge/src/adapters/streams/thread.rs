//! The thread of the connections: its doors, its table, and what the shard sends.

use std::cell::RefCell;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use domain::Clock;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use super::callees::Callees;
use super::connection::Connection;
use super::counters::{Counters, bump};
use super::door;
use super::line::{End, Line, Part};
use super::open::connect;
use super::port::{INCOMING, Incoming, OUTGOING, Outgoing, Port};
use super::table::{Limits, Place, Table};
use crate::adapters::handshakes::{HandshakeLimits, Handshakes};
use crate::adapters::tls::Server;
use crate::adapters::tls::renew::Certificates;
use crate::config::{Config, Side, Source, StreamConfig, Transport};
use crate::core::names::Names;
use crate::core::{Hop, Topology};

/// Messages moved to their lines before the connections get their turn.
const BATCH: usize = 64;
/// How often the thread shows that it lives.
const BEAT: Duration = Duration::from_millis(500);
/// For what still waits to be written when everything else has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What the thread is made from.
pub struct Setup {
    pub config: Config,
    /// The newest, also after a reload.
    pub topology: Arc<ArcSwap<Topology>>,
    /// What DNS says about next hops that are names.
    pub names: watch::Receiver<Arc<Names>>,
    /// Of the stream listeners, with their place in the settings.
    pub sockets: Vec<(u16, TcpListener)>,
    pub certificates: Arc<Certificates>,
    pub clock: Arc<dyn Clock>,
    /// Called after something was put into the shard's mailbox.
    pub ring: Box<dyn Fn() + Send>,
}

/// The thread's work, not begun yet.
pub struct Streams {
    setup: Setup,
    incoming: mpsc::Sender<Incoming>,
    outgoing: mpsc::Receiver<Outgoing>,
    pub counters: Arc<Counters>,
}

/// A listener as its connections see it.
#[derive(Debug)]
pub struct StreamListener {
    pub place: u16,
    pub side: Side,
    pub transport: Transport,
    pub bound: SocketAddr,
    pub balancers: Vec<Source>,
    /// With a handshake before the first message.
    pub tls: Option<Arc<Server>>,
    /// Pages that may open a WebSocket.
    pub origins: Arc<[String]>,
}

/// What all connections share.
pub struct Shared {
    pub table: Rc<RefCell<Table>>,
    pub topology: Arc<ArcSwap<Topology>>,
    pub settings: StreamConfig,
    pub listeners: Vec<Rc<StreamListener>>,
    pub handshakes: Handshakes,
    /// Peers that are called over TLS.
    pub callees: Callees,
    pub incoming: mpsc::Sender<Incoming>,
    pub ring: Box<dyn Fn() + Send>,
    pub counters: Arc<Counters>,
    pub clock: Arc<dyn Clock>,
    pub tasks: TaskTracker,
}

/// The queues, and the work for the thread.
#[must_use]
pub fn start(setup: Setup) -> (Port, Streams) {
    let (incoming, to_shard) = mpsc::channel(INCOMING);
    let (from_shard, outgoing) = mpsc::channel(OUTGOING);
    let port = Port { incoming: to_shard, outgoing: from_shard };
    (port, Streams { setup, incoming, outgoing, counters: Arc::default() })
}

impl Streams {
    /// Runs until the shard has ended.
    pub fn run(self, task: &kit::Task) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        LocalSet::new().block_on(&runtime, self.work(task))
    }

    async fn work(mut self, task: &kit::Task) -> anyhow::Result<()> {
        let Setup { config, topology, names, sockets, certificates, clock, ring } = self.setup;
        let limits = Limits {
            total: config.streams.connections,
            per_source: config.streams.connections_per_source,
            line_bytes: config.streams.line_bytes,
        };
        // Microseconds since 1970: no earlier process on this machine came that far by counting.
        let first = u64::try_from(clock.now().wall_us).ok().and_then(NonZeroU64::new).unwrap_or(NonZeroU64::MIN);
        let mut listeners = Vec::new();
        for (place, socket) in &sockets {
            let listener = &config.listeners[usize::from(*place)];
            listeners.push(Rc::new(StreamListener {
                place: *place,
                side: listener.side,
                transport: listener.transport,
                bound: socket.local_addr()?,
                balancers: listener.balancers.clone(),
                tls: certificates.server(usize::from(*place)),
                origins: listener.origins.clone().into(),
            }));
        }
        let shared = Rc::new(Shared {
            table: Rc::new(RefCell::new(Table::new(first, limits, Arc::clone(&self.counters)))),
            topology,
            settings: config.streams.clone(),
            listeners,
            handshakes: Handshakes::new(handshake_limits(&config.streams)),
            callees: Callees { certificates, names },
            incoming: self.incoming,
            ring,
            counters: self.counters,
            clock,
            tasks: TaskTracker::new(),
        });
        for (at, (_, socket)) in sockets.into_iter().enumerate() {
            let listener = tokio::net::TcpListener::from_std(socket)?;
            let at = Rc::clone(&shared.listeners[at]);
            shared.tasks.spawn_local(door::serve(Rc::clone(&shared), at, listener, task.shutdown()));
        }
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            task.beat();
            tokio::select! {
                biased;
                got = self.outgoing.recv_many(&mut batch, BATCH) => {
                    if got == 0 {
                        break;
                    }
                    batch.drain(..).for_each(|out| shared.dispatch(out));
                }
                () = sleep(BEAT) => {}
            }
        }
        // The shard has ended: nobody waits for what comes in any more, but what it said last goes out.
        shared.table.borrow().all().for_each(|line| line.end(End::Orderly));
        shared.tasks.close();
        let _ = timeout(LAST_WORDS, shared.tasks.wait()).await;
        Ok(())
    }
}

fn handshake_limits(settings: &StreamConfig) -> HandshakeLimits {
    HandshakeLimits {
        open: settings.handshakes,
        open_per_source: settings.handshakes_per_source,
        rate_per_source: settings.handshake_rate_per_source,
        rate: settings.handshake_rate,
        ..HandshakeLimits::default()
    }
}

impl Shared {
    /// For a TLS handshake, once it may begin.
    pub fn handshake_time(&self) -> Duration {
        Duration::from_millis(self.settings.handshake_ms)
    }

    pub fn idle_us(&self) -> u64 {
        self.settings.idle_s * 1_000_000
    }

    /// Waits while the shard is busy: that holds up this connection and no other.
    pub async fn tell(&self, incoming: Incoming) {
        // The shard is gone only when the process stops.
        if self.incoming.send(incoming).await.is_ok() {
            (self.ring)();
        }
    }

    fn dispatch(self: &Rc<Self>, out: Outgoing) {
        match out {
            Outgoing::Close { flow } => {
                let line = self.table.borrow().flow(flow).cloned();
                if let Some(line) = line {
                    line.end(End::Orderly);
                }
            }
            Outgoing::Send { hop, bytes } => {
                let known = match hop.flow {
                    Some(flow) => self.table.borrow().flow(flow).cloned(),
                    None => self.table.borrow().address(hop).filter(|line| line.ending().is_none()).cloned(),
                };
                let line = known.or_else(|| if hop.flow.is_none() { self.call(hop) } else { None });
                if !line.is_some_and(|line| line.push(Part::Message(bytes))) {
                    bump(&self.counters.unsent);
                }
            }
        }
    }

    /// A new connection to that address. What is to be said waits in its line until it stands.
    fn call(self: &Rc<Self>, hop: Hop) -> Option<Rc<Line>> {
        let at = Rc::clone(self.listeners.iter().find(|l| l.place == hop.listener)?);
        let place = Place::own(&self.table)?;
        let line = self.table.borrow_mut().add(hop);
        let (shared, own) = (Rc::clone(self), Rc::clone(&line));
        self.tasks.spawn_local(async move {
            let limit = Duration::from_millis(shared.settings.connect_ms);
            match timeout(limit, connect(&shared, &at, hop.addr)).await {
                Ok(Ok(opened)) => {
                    bump(&shared.counters.made);
                    Connection::new(Rc::clone(&shared), own, opened, place).run().await;
                    shared.tell(Incoming::NoConnection { hop, stood: true }).await;
                }
                _ => {
                    bump(&shared.counters.unreachable);
                    shared.leave(&own).await;
                    shared.tell(Incoming::NoConnection { hop, stood: false }).await;
                }
            }
        });
        Some(line)
    }

    /// The connection has ended: nobody finds it any more, and the machine is told.
    pub async fn leave(&self, line: &Line) {
        self.table.borrow_mut().remove(line);
        line.end(End::Orderly);
        let unsent = line.abandon() as u64;
        self.counters.unsent.fetch_add(unsent, Ordering::Relaxed);
        self.tell(Incoming::Closed { flow: line.flow }).await;
    }
}
