//! The one place where the edge is wired: sockets, the shard's thread, the control consumer, metrics, admin.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use domain::Clock;
use kit::TaskOptions;
use schemas::Event as _;
use stream::{Pump, PumpConfig, Start};
use tokio::sync::{mpsc, watch};

use crate::adapters::bell::Bell;
use crate::adapters::control::{ControlHandler, topics};
use crate::adapters::decisions::Decisions;
use crate::adapters::dns::Resolver;
use crate::adapters::hot_state::{self, HotState, InProcess, LEASE, Redis};
use crate::adapters::mail::Update;
use crate::adapters::names::Follower;
use crate::adapters::names_file::NamesFile;
use crate::adapters::nodes::NodesHandler;
use crate::adapters::shard::Shard;
use crate::adapters::tls::renew::{self, Certificates};
use crate::adapters::{journal, last_good, sockets, streams};
use crate::config::{Config, HotAdapter, Side, SipName};
use crate::core::control::Control;
use crate::core::names::{Entry, Names};
use crate::core::{Input, Proxy, Setup, Snapshot, Topology, blocks};
use crate::desk::{self, Desk, Opening};
use crate::{admin, error::Error, host, metrics};

/// Snapshots of the control topics on their way to the shard. A full mailbox makes the consumer wait; the newest state is
/// never more than these few behind.
const MAILBOX: usize = 16;
/// Nodes that come and go by themselves; `edge.join` bounds how many there can be.
const NODE_WORDS: usize = 1_024;
/// A shard that shows no life for so long is reported as stalled.
const STALL: Duration = Duration::from_secs(5);

/// A running edge. Its tasks live in the service's lifecycle.
#[derive(Clone)]
pub struct Running {
    /// Addresses of the listeners by id, as bound.
    pub listeners: Vec<(String, SocketAddr)>,
    /// The first listener of each side.
    pub trunk_addr: SocketAddr,
    pub node_addr: SocketAddr,
    office: admin::Office,
}

/// The last picture that the shard gave of itself, not older than a tenth of a second.
#[derive(Clone)]
pub(crate) struct View {
    snapshot: Arc<ArcSwap<Snapshot>>,
    control: Arc<ArcSwap<Control>>,
    clock: Arc<dyn Clock>,
}

impl View {
    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::clone(&self.snapshot.load());
        snapshot.blocks = blocks(&self.control.load(), self.clock.now().wall_us);
        snapshot
    }
}

impl Running {
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.office.view.snapshot()
    }

    /// How the settings are read again, on SIGHUP and when an operator asks. Without it they stay as they were at the start.
    pub fn reload_from(&self, source: desk::Source) {
        self.office.desk.set_source(source);
    }

    /// The admin routes, for the admin server of the process.
    pub fn routes(&self) -> axum::Router {
        admin::routes(self.office.clone())
    }
}

/// Binds the listeners and starts the edge.
pub async fn run(config: Config, kit: kit::Service, stream: stream::Client) -> anyhow::Result<Running> {
    let start = kit.clock.now();
    let found = last_good::read(&kit.data_dir);
    if let last_good::Found::Damaged { why, aside } = &found {
        tracing::error!(why, aside = %aside.display(), "the last-known-good file is damaged: only the settings and what the topics say hold");
    }
    let is_kept = matches!(found, last_good::Found::Good(_));
    let opening = Opening::new(config, found.into_kept(), start.wall_us);
    let (config, file_ack) = (opening.config.clone(), opening.ack(&opening.config.id, start.wall_us));
    let control = Arc::clone(&opening.control);
    let certificates = Arc::new(Certificates::open(&config)?);
    host::tell(&host::look(&config));
    let sockets = sockets::bind(&config)?;
    let bound = sockets.addresses()?;
    let first = |side: Side| {
        let at = config.listeners.iter().position(|l| l.side == side);
        at.map(|at| bound[at]).ok_or(Error::NoListener { side: side.as_str() })
    };
    let (trunk_addr, node_addr) = (first(Side::Trunk)?, first(Side::Node)?);
    let listeners: Vec<(String, SocketAddr)> =
        config.listeners.iter().zip(&bound).map(|(l, &addr)| (l.id.clone(), addr)).collect();

    let (entropy, dir) = (entropy(), kit.run_dir.join(&kit.instance.id));
    let found = journal::open(&dir, &kit.instance.id, &kit::clock::boot_id(), config.journal_bytes, entropy);
    let names = Arc::new(names_of(&config, &NamesFile::in_dir(&kit.data_dir)));
    let mut proxy = Proxy::new(Setup {
        config: config.clone(),
        bound: bound.clone(),
        keys: Arc::clone(&kit.keys),
        entropy,
        now: kit.clock.now(),
        journal: found.journal,
        names: Arc::clone(&names),
    });
    proxy.note_set_aside(found.set_aside);
    // The first packet already meets what was in force before.
    proxy.handle(kit.clock.now(), Input::Control(Arc::clone(&control)));
    let decisions = Decisions::new(config.limits.decisions);
    let view = View {
        snapshot: Arc::new(ArcSwap::from_pointee(proxy.snapshot(kit.clock.now().wall_us))),
        control: Arc::new(ArcSwap::new(control)),
        clock: Arc::clone(&kit.clock),
    };
    metrics::register(&kit.metrics, Arc::clone(&view.snapshot));
    let (updates, mailbox) = mpsc::channel(MAILBOX);
    let bell = Bell::new().context("the bell of the shard")?;
    let topology = Arc::new(ArcSwap::from_pointee(proxy.topology().clone()));
    let names = follow_names(&config, &kit, Arc::clone(&topology), names);
    let desk = desk::Setup {
        instance: kit.instance.id.clone(),
        topology: proxy.topology().clone(),
        updates: updates.clone(),
        bell: bell.clone(),
        publisher: stream.publisher.clone(),
        clock: Arc::clone(&kit.clock),
        data_dir: kit.data_dir.clone(),
        certificates: Arc::clone(&certificates),
    };
    let desk = Desk::new(desk, opening, Arc::clone(&topology));
    if is_kept {
        stream.publisher.publish(file_ack);
    }
    let streams = if sockets.streams.is_empty() {
        None
    } else {
        sockets::raise_descriptors(config.streams.connections);
        let (port, streams) = streams::start(streams::Setup {
            config: config.clone(),
            certificates: Arc::clone(&certificates),
            topology,
            names: names.clone(),
            sockets: sockets.streams,
            clock: Arc::clone(&kit.clock),
            ring: {
                let bell = bell.clone();
                Box::new(move || bell.ring())
            },
        });
        streams::register(&kit.metrics, Arc::clone(&streams.counters));
        kit.life
            .spawn_thread("streams", TaskOptions::critical().stall_after(STALL), move |task| streams.run(&task))
            .context("the thread of the connections")?;
        Some(port)
    };
    let (tell_desk, words) = mpsc::channel(NODE_WORDS);
    let shard = Shard {
        proxy,
        sockets: sockets.datagrams,
        streams,
        publisher: stream.publisher.clone(),
        notes: decisions.notes(),
        desk: tell_desk,
        clock: Arc::clone(&kit.clock),
        snapshot: Arc::clone(&view.snapshot),
        in_force: Arc::clone(&view.control),
        updates: mailbox,
        bell: bell.clone(),
        names,
        drain: Duration::from_millis(config.drain_ms),
    };
    kit.life
        .spawn_thread("shard-0", TaskOptions::critical().stall_after(STALL), move |task| shard.run(&task))
        .context("the thread of the shard")?;
    share_limits(&config, &kit, &view.snapshot, updates.clone(), bell.clone())?;
    follow_nodes(&kit, stream.clone(), updates.clone(), bell.clone());
    follow_control(&kit, stream, Arc::clone(&desk));
    certificates.register(&kit.metrics);
    let kept = Arc::clone(&certificates);
    kit.life.spawn("certificates", TaskOptions::default(), move |task| renew::keep(kept, task));
    let newcomers = Arc::clone(&desk);
    kit.life.spawn("newcomers", TaskOptions::default(), move |task| desk::take_in(newcomers, words, task));
    let kept = Arc::clone(&desk);
    kit.life.spawn("desk", TaskOptions::default(), move |task| kept.keep(task));
    for (listener, addr) in config.listeners.iter().zip(&bound) {
        tracing::info!(listener.id = listener.id, %addr, transport = listener.transport.as_str(), "listening for SIP");
    }
    let office = admin::Office { view, certificates, desk, decisions, updates, bell };
    let running = Running { listeners, trunk_addr, node_addr, office };
    if let Some(settings) = &config.admin {
        kit::admin::serve(settings, "edge.admin", &kit.life, &kit.metrics, running.routes())?;
    }
    Ok(running)
}

/// What edges use of the trunks that they share; one alone shares with itself.
fn share_limits(
    config: &Config,
    kit: &kit::Service,
    snapshot: &Arc<ArcSwap<Snapshot>>,
    updates: mpsc::Sender<Update>,
    bell: Bell,
) -> anyhow::Result<()> {
    let settings = &config.hot_state;
    let store: Arc<dyn HotState> = match settings.adapter {
        HotAdapter::InProcess => Arc::new(InProcess::new(Arc::clone(&kit.clock), LEASE)),
        HotAdapter::Redis => Arc::new(Redis::new(settings.url.expose(), &settings.key, LEASE)?),
    };
    let (snapshot, interval) = (Arc::clone(snapshot), Duration::from_millis(settings.interval_ms));
    kit.life.spawn("hot-state", TaskOptions::default(), move |task| {
        hot_state::keep(store, snapshot, interval, (updates, bell), task)
    });
    Ok(())
}

fn follow_control(kit: &kit::Service, stream: stream::Client, desk: Arc<Desk>) {
    let handler = ControlHandler { desk, life: kit.life.clone() };
    // Without a group: every edge reads everything, from the beginning, and commits nothing.
    let pump = PumpConfig {
        name: "edge-control",
        group: None,
        topics: topics(),
        start: Start::Beginning,
        ..PumpConfig::default()
    };
    kit.life.set_ready("control", false);
    // Not critical: without the stream the edge goes on with what it has.
    kit.life.spawn("control", TaskOptions::default(), move |task| async move {
        Pump::new(stream, pump).run(handler, task.shutdown(), || task.beat()).await?;
        Ok(())
    });
}

/// What engines say from now on: only with it can a node be taken for lost.
fn follow_nodes(kit: &kit::Service, stream: stream::Client, updates: mpsc::Sender<Update>, bell: Bell) {
    let pump = PumpConfig {
        name: "edge-nodes",
        group: None,
        topics: vec![schemas::NodeHealth::TOPIC],
        start: Start::End,
        ..PumpConfig::default()
    };
    kit.life.spawn("nodes", TaskOptions::default(), move |task| async move {
        Pump::new(stream, pump).run(NodesHandler { updates, bell }, task.shutdown(), || task.beat()).await?;
        Ok(())
    });
}

/// The next hops that are names, with what they stood for in the life before.
fn names_of(config: &Config, file: &NamesFile) -> Names {
    let trunks = config.trunks.iter().map(|t| (Side::Trunk, &t.id, t.address.as_ref()));
    let nodes = config.nodes.iter().map(|n| (Side::Node, &n.id, Some(&n.address)));
    let named = trunks.chain(nodes).filter_map(|(side, id, address)| Some((side, id, address?.name()?)));
    let entry = |(side, id, name): (Side, &String, &SipName)| Entry::new(side, id.clone(), name.to_string());
    let mut names = Names { entries: named.map(entry).collect() };
    file.recall(&mut names);
    names
}

/// Looks them up, also those of a reload. Not critical: what was looked up last stays in use.
fn follow_names(
    config: &Config,
    kit: &kit::Service,
    topology: Arc<ArcSwap<Topology>>,
    names: Arc<Names>,
) -> watch::Receiver<Arc<Names>> {
    let (out, seen) = watch::channel(Arc::clone(&names));
    let file = NamesFile::in_dir(&kit.data_dir);
    let resolver = Resolver::new(&config.dns);
    let follower =
        Follower::new(resolver, config.dns.clone(), topology, Names::clone(&names), out, file, Arc::clone(&kit.clock));
    kit.life.spawn("names", TaskOptions::default(), move |task| async move {
        follower.run(task.shutdown().cancelled(), || task.beat()).await;
        Ok(())
    });
    seen
}

/// From the system's random source.
fn entropy() -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    bytes[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    bytes
}
