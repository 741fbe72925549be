//! The operator's desk: everything that is changed while the edge runs goes over it, one thing after the other.
//!
//! Settings files, control topics, the admin API and nodes that announce themselves each have their say; what comes out is one set
//! of settings and one set of rules, each swapped as a whole. A change that would be wrong changes nothing and says why. What is in
//! force besides the files is kept in the last-known-good file ([`last_good`]).
//!
//! Nothing in here runs on the thread that carries the calls; it gets finished snapshots through its mailbox.

mod changes;
mod nodes;
mod records;
mod reload;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use domain::Clock;
use kit::settings::Problems;
use schemas::{ControlAck, ControlAudit, ControlNode, ControlRoute, Event as _};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use stream::Publisher;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, mpsc};

use crate::adapters::bell::Bell;
use crate::adapters::last_good::{self, Kept};
use crate::adapters::mail::Update;
use crate::adapters::tls::renew::Certificates;
use crate::config::Config;
use crate::core::book::{Book, Kind, LeftOut, Record};
use crate::core::control::{Control, Store};
use crate::core::{Fresh, Topology};

pub use changes::{Actor, NewBlock, Refused, Weigh};
pub use nodes::take_in;
pub use reload::Reloaded;

/// How often the desk looks for what has ended and for what has to be written.
const TICK: Duration = Duration::from_secs(1);
/// What topics say is written down not more often; what an operator says at once.
const SAVE_US: u64 = 5_000_000;
/// Keys named in one acknowledgement.
const CHANGED: usize = 100;

/// Reads the settings again, as a start would.
pub type Source = Arc<dyn Fn() -> Result<Config, Problems> + Send + Sync>;

/// What the desk works with.
pub struct Setup {
    pub instance: String,
    pub topology: Topology,
    pub updates: mpsc::Sender<Update>,
    pub bell: Bell,
    pub publisher: Publisher,
    pub clock: Arc<dyn Clock>,
    pub data_dir: PathBuf,
    pub certificates: Arc<Certificates>,
}

pub struct Desk {
    state: Mutex<State>,
    /// Of records that are made here.
    author: String,
    updates: mpsc::Sender<Update>,
    bell: Bell,
    publisher: Publisher,
    clock: Arc<dyn Clock>,
    data_dir: PathBuf,
    certificates: Arc<Certificates>,
    /// The newest, also for those who open connections.
    topology: Arc<ArcSwap<Topology>>,
    source: ArcSwap<Option<Source>>,
    status: ArcSwap<Status>,
}

/// What the desk shows of itself.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Status {
    /// Digest of the settings in force.
    pub digest: String,
    /// Since when (µs since 1970 UTC).
    pub since_us: i64,
    /// What the last reload came to.
    pub reload: Option<Reloaded>,
    /// Why the last reload changed nothing.
    pub refused: Option<String>,
    /// Control records that stand in place of something in a file.
    pub replaced: Vec<(Kind, String)>,
    /// Control records that are not applied, and why.
    pub left_out: Vec<LeftOut>,
    /// The topics were read to their end; until then the last-known-good file holds.
    pub caught_up: bool,
    /// When the last-known-good file was written (µs since 1970 UTC); 0: not since the start.
    pub saved_us: i64,
}

struct State {
    /// As the files say.
    file: Config,
    /// As it is in force.
    config: Config,
    book: Book,
    /// Records of the book that are only known from the last-known-good file yet.
    unseen: Vec<(Kind, String)>,
    store: Store,
    rules: usize,
    caught_up: bool,
    dirty: bool,
    saved_mono_us: u64,
}

/// The settings and rules of a start: files and what was in force before.
pub struct Opening {
    pub config: Config,
    pub control: Arc<Control>,
    book: Book,
    store: Store,
    file: Config,
    replaced: Vec<(Kind, String)>,
    left_out: Vec<LeftOut>,
}

impl Opening {
    /// Before sockets open.
    #[must_use]
    pub fn new(file: Config, kept: Kept, wall_us: i64) -> Opening {
        let (book, mut store) = (Book::of(kept.records), Store::default());
        store.take_kept(wall_us, kept.blocks, kept.weights, kept.applied);
        let merged = book.merged(&file);
        let control = Arc::new(store.snapshot(wall_us, file.limits.blocks));
        tell(&merged.replaced, &merged.left_out);
        let (replaced, left_out) = (merged.replaced, merged.left_out);
        Opening { config: merged.config, control, book, store, file, replaced, left_out }
    }

    /// What is acknowledged as soon as it is in force.
    #[must_use]
    pub fn ack(&self, edge_id: &str, wall_us: i64) -> ControlAck {
        ack(edge_id, "last_known_good", &self.control, &self.config, Vec::new(), wall_us)
    }
}

/// What `check` says about the control records that a start with these settings would find in the service's folder.
#[must_use]
pub fn notes(file: &Config, data_dir: &std::path::Path) -> Vec<String> {
    let kept = match last_good::peek(data_dir) {
        Ok(Some(kept)) => kept,
        Ok(None) => return Vec::new(),
        Err(why) => {
            return vec![format!("{} is damaged ({why}); a start sets it aside", last_good::path(data_dir).display())];
        }
    };
    let merged = Book::of(kept.records).merged(file);
    let replaced = merged.replaced.into_iter().map(|(kind, id)| {
        let kind = kind.as_str();
        format!("the {kind} {id} stands in the settings file and in a control record: the record is in force (GET /v1/{kind}s/{id}; DELETE takes it away)")
    });
    let left_out = merged
        .left_out
        .into_iter()
        .map(|l| format!("the control record of the {} {} is not in force: {}", l.kind.as_str(), l.id, l.why));
    replaced.chain(left_out).collect()
}

fn tell(replaced: &[(Kind, String)], left_out: &[LeftOut]) {
    for (kind, id) in replaced {
        tracing::info!(kind = kind.as_str(), id, "a control record stands in place of what the settings file says");
    }
    for out in left_out {
        tracing::error!(kind = out.kind.as_str(), id = out.id, why = out.why, "a control record is not applied");
    }
}

fn ack(
    edge_id: &str,
    source: &str,
    control: &Control,
    config: &Config,
    changed: Vec<String>,
    wall_us: i64,
) -> ControlAck {
    let count = |enforce: bool| control.rules.iter().filter(|r| r.enforce == enforce).count() as i32;
    let in_force = (control.rules.iter().map(|r| (&r.key, r.enforce, r.expires_us)).collect::<Vec<_>>(), config);
    let digest = Sha256::digest(serde_json::to_vec(&in_force).unwrap_or_default());
    ControlAck {
        event_type: "applied".to_owned(),
        applier_id: edge_id.to_owned(),
        applier_kind: "edge".to_owned(),
        source: source.to_owned(),
        applied: control.applied.clone(),
        changed: changed.into_iter().take(CHANGED).collect(),
        blocks_enforced: count(true),
        blocks_shadow: count(false),
        weights_active: control.nodes_weighted() as i32,
        digest: Some(domain::hex(&digest[..8])),
        made_us: (control.made_us > 0).then_some(control.made_us),
        since_us: wall_us,
        ..ControlAck::default()
    }
}

impl Desk {
    #[must_use]
    pub fn new(setup: Setup, opening: Opening, topology: Arc<ArcSwap<Topology>>) -> Arc<Desk> {
        let Opening { config, control, book, store, file, replaced, left_out } = opening;
        let now = setup.clock.now();
        let status = Status {
            digest: setup.topology.digest.clone(),
            since_us: now.wall_us,
            replaced,
            left_out,
            ..Status::default()
        };
        topology.store(Arc::new(setup.topology));
        let unseen = book.iter().map(|(kind, record)| (kind, record.id.clone())).collect();
        let state = State {
            file,
            config,
            book,
            unseen,
            store,
            rules: control.rules.len(),
            caught_up: false,
            dirty: false,
            saved_mono_us: now.mono_us,
        };
        Arc::new(Desk {
            state: Mutex::new(state),
            author: format!("edge/{}", setup.instance),
            updates: setup.updates,
            bell: setup.bell,
            publisher: setup.publisher,
            clock: setup.clock,
            data_dir: setup.data_dir,
            certificates: setup.certificates,
            topology,
            source: ArcSwap::from_pointee(None),
            status: ArcSwap::from_pointee(status),
        })
    }

    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        self.status.load_full()
    }

    #[must_use]
    pub fn topology(&self) -> Arc<Topology> {
        self.topology.load_full()
    }

    /// The settings in force.
    pub async fn config(&self) -> Config {
        self.state.lock().await.config.clone()
    }

    /// One trunk, number, route or node as it is in force, and the control record that says so.
    pub async fn one(&self, kind: Kind, id: &str) -> (Option<serde_json::Value>, Option<Record>) {
        let state = self.state.lock().await;
        let config = &state.config;
        let settings = match kind {
            Kind::Node => config.nodes.iter().find(|n| n.id == id).map(serde_json::to_value),
            Kind::Trunk => config.trunks.iter().find(|t| t.id == id).map(serde_json::to_value),
            Kind::Number => config.numbers.iter().find(|n| n.number == id).map(serde_json::to_value),
            Kind::Route => config.routes.iter().find(|r| r.id() == id).map(serde_json::to_value),
        };
        (settings.and_then(Result::ok), state.book.get(kind, id).cloned())
    }

    /// An operator said that no new calls are taken, or that they are again.
    pub fn drained(&self, on: bool, actor: &Actor) {
        let action = if on { "drain" } else { "undrain" };
        self.audit(changes::audit(actor, action, "edge", &self.author, self.clock.now().wall_us, None, None, None));
        tracing::info!(actor = actor.name, action, "new calls are refused or taken on an operator's word");
    }

    /// Where a reload reads from.
    pub fn set_source(&self, source: Source) {
        self.source.store(Arc::new(Some(source)));
    }

    /// The task `desk`: SIGHUP, what expires, and the file.
    pub async fn keep(self: Arc<Self>, task: kit::Task) -> anyhow::Result<()> {
        let mut hangup = signal(SignalKind::hangup())?;
        let shutdown = task.shutdown();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = hangup.recv() => {
                    // The outcome is logged by the reload itself.
                    let _told = self.reload(&Actor::signal()).await;
                }
                () = tokio::time::sleep(TICK) => {}
            }
            self.tick().await;
        }
        let mut state = self.state.lock().await;
        self.save(&mut state).await;
        Ok(())
    }

    async fn tick(&self) {
        let now = self.clock.now();
        let mut state = self.state.lock().await;
        if state.store.expire(now.wall_us) {
            state.dirty = true;
            self.give_control(&mut state, "topic", Vec::new()).await;
        }
        if state.dirty && now.mono_us.saturating_sub(state.saved_mono_us) >= SAVE_US {
            self.save(&mut state).await;
        }
    }

    /// The rules and weights of now, with the acknowledgement that is published once they are in force.
    async fn give_control(&self, state: &mut State, source: &str, changed: Vec<String>) -> bool {
        let wall_us = self.clock.now().wall_us;
        let control = Arc::new(state.store.snapshot(wall_us, state.config.limits.blocks));
        if control.dropped > 0 {
            tracing::error!(
                dropped = control.dropped,
                "block rules beyond limits.blocks, or unreadable, are not applied"
            );
        }
        state.rules = control.rules.len();
        let ack = ack(&state.config.id, source, &control, &state.config, changed, wall_us);
        self.give(Update::Control { control, ack: Some(Box::new(ack)) }).await
    }

    /// Puts settings in force. They have no mistakes.
    async fn give_settings(&self, state: &mut State, config: Config) -> Result<(), Refused> {
        if config == state.config {
            return Ok(());
        }
        let certificates = Arc::clone(&self.certificates);
        let peers = config.clone();
        let opened = tokio::task::spawn_blocking(move || certificates.take_peers(&peers)).await;
        opened
            .map_err(|_| Refused::unavailable("the process stops"))?
            .map_err(|error| Refused::wrong(error.to_string()))?;
        let now = self.clock.now();
        let fresh = Fresh::after(&self.topology.load(), config.clone(), now.mono_us);
        let topology = Arc::new(fresh.topology.clone());
        let digest = topology.digest.clone();
        self.topology.store(topology);
        state.config = config;
        self.update_status(|status| (status.digest, status.since_us) = (digest, now.wall_us));
        if self.give(Update::Settings(Box::new(fresh))).await {
            Ok(())
        } else {
            Err(Refused::unavailable("the process stops"))
        }
    }

    /// The shard is gone only when the process stops.
    async fn give(&self, update: Update) -> bool {
        let given = self.updates.send(update).await.is_ok();
        self.bell.ring();
        given
    }

    fn update_status(&self, change: impl FnOnce(&mut Status)) {
        let mut status = Status::clone(&self.status.load());
        change(&mut status);
        self.status.store(Arc::new(status));
    }

    /// The last-known-good file, written apart from everything else.
    async fn save(&self, state: &mut State) {
        if !state.dirty {
            return;
        }
        let now = self.clock.now();
        let (blocks, weights) = state.store.kept();
        let applied = state.store.read_to();
        let records = state.book.iter().map(|(kind, r)| (format!("{}/{}", kind.as_str(), r.id), r.clone())).collect();
        let kept = Kept { written_us: now.wall_us, applied, blocks, weights, records };
        let dir = self.data_dir.clone();
        let written = tokio::task::spawn_blocking(move || last_good::write(&dir, &kept)).await;
        match written.map_err(std::io::Error::other).flatten() {
            Ok(()) => {
                state.dirty = false;
                self.update_status(|status| status.saved_us = now.wall_us);
            }
            Err(error) => {
                tracing::error!(%error, "the last-known-good file cannot be written; a start without the stream would know less")
            }
        }
        state.saved_mono_us = now.mono_us;
    }

    fn publish_record(&self, kind: Kind, record: &Record) {
        let (kind, id, author) = (kind.as_str().to_owned(), record.id.clone(), record.author.clone());
        let event_type = if record.settings.is_some() { "set" } else { "removed" }.to_owned();
        let settings = record.settings.clone().unwrap_or_default();
        let (reason, actor, made_us) = (record.reason.clone(), record.actor.clone(), record.made_us);
        if kind == Kind::Node.as_str() {
            let node = ControlNode {
                event_type,
                kind,
                id,
                author,
                settings,
                reason,
                actor,
                made_us,
                ..ControlNode::default()
            };
            self.publisher.publish(node);
        } else {
            let route = ControlRoute {
                event_type,
                kind,
                id,
                author,
                settings,
                reason,
                actor,
                made_us,
                ..ControlRoute::default()
            };
            self.publisher.publish(route);
        }
    }

    fn publish_tombstone(&self, kind: Kind, id: &str) {
        let topic = if kind == Kind::Node { ControlNode::TOPIC } else { ControlRoute::TOPIC };
        self.publisher.tombstone(topic, &format!("{}/{id}", kind.as_str()));
    }

    fn audit(&self, audit: ControlAudit) {
        if let Err(error) = audit.check() {
            tracing::warn!(%error, "a change could not be written to the audit");
            return;
        }
        self.publisher.publish(audit);
    }
}

/// Where a request came from.
#[must_use]
pub fn ip_of(addr: Option<SocketAddr>) -> Option<String> {
    addr.map(|addr| addr.ip().to_canonical().to_string())
}
