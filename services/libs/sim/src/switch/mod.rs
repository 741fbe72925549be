//! A simulated FreeSWITCH: SIP on one side, ESL on the other, channels in between.
//!
//! It behaves like the recorded sessions of a real one (`tests/recordings`): order of events, names of headers, texts of replies. It
//! carries no media; prompts last as long as they would, and RTP statistics are made up from that.
//!
//! One task owns all channels, as one owner needs no locks: it takes datagrams, ESL commands, orders from the [`SwitchHandle`] and due
//! timers, one at a time. Sockets of ESL have tasks of their own (`esl`) that only move bytes.
//!
//! * what a channel is – `channel`, `vars`, `sdp`
//! * SIP – `inbound`, `answer`, `dial`, `outbound`, `sip_vars`
//! * what runs on a channel – `exec`, `playback`, `digits`, `dtmf`, `bridge`, `hangup`
//! * what is said about it – `event`, `encode`, `bus`, `report`, `pulse`
//! * what it is told – `esl`, `control`, `controller`, `api`, `originate`, `schedule`, `show`, `dialplan`
//! * `node` holds it together

mod answer;
mod api;
mod bridge;
mod bus;
mod cause;
mod channel;
mod control;
mod controller;
mod dial;
mod dialplan;
mod digits;
mod dtmf;
mod encode;
mod esl;
mod event;
mod exec;
mod hangup;
mod inbound;
mod node;
mod originate;
mod outbound;
mod pattern;
mod playback;
mod prompt;
mod pulse;
mod report;
mod schedule;
mod sdp;
mod show;
mod sip_vars;
mod stamp;
mod vars;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use dialplan::{Dialplan, Extension};

use crate::sip::{Credentials, Endpoint};
use node::Node;

/// What the far end's RTP is pretended to be; shows in the statistics at hang-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Media {
    /// Nobody sends RTP, as in most recordings.
    Silent,
    /// Every answered channel receives a packet each 20 ms, with small seeded differences in jitter and loss.
    #[default]
    Steady,
    /// As `Steady`, but packets turn out to be longer than announced: FreeSWITCH changes its codec 320 ms after the answer.
    OtherPtime,
}

#[derive(Debug, Clone)]
pub struct SwitchConfig {
    /// The node's name: hostname in events and realm of challenges.
    pub id: String,
    pub sip_bind: SocketAddr,
    pub esl_bind: SocketAddr,
    pub esl_password: String,
    /// The gateway `edge`: where `sofia/gateway/edge/…` is sent. May be set later.
    pub gateway_edge: Option<SocketAddr>,
    /// A user that the 7xxx extensions accept besides those of `auth_users`; any user name with this password.
    pub auth_password: String,
    pub auth_users: Vec<Credentials>,
    pub heartbeat: Duration,
    pub max_sessions: u32,
    pub max_per_second: u32,
    pub seed: u64,
    pub dialplan: Dialplan,
    pub media: Media,
    /// Length of each ESL connection's outgoing queue.
    pub esl_queue: usize,
    /// How long `bridge` and `originate` let the far end ring.
    pub ring_timeout: Duration,
}

impl Default for SwitchConfig {
    fn default() -> Self {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            id: "fs1".to_owned(),
            sip_bind: loopback,
            esl_bind: loopback,
            esl_password: "Example-esl-1".to_owned(),
            gateway_edge: None,
            auth_password: "Example-trunk-1".to_owned(),
            auth_users: Vec::new(),
            heartbeat: Duration::from_secs(1),
            max_sessions: 5000,
            max_per_second: 1000,
            seed: 1,
            dialplan: Dialplan::platform("127.0.0.1:8084"),
            media: Media::default(),
            // A burst of 1,000 calls at 30 events each must not overrun a listener that is a second late.
            esl_queue: 32_768,
            ring_timeout: Duration::from_secs(60),
        }
    }
}

/// How an overloaded switch behaves towards new calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overload {
    #[default]
    Off,
    /// 503 to each new INVITE.
    Refuse,
    /// New calls are worked on this much later (100 Trying comes at once).
    Slow(Duration),
}

/// The switch's own books, over all its lives. Counters only grow; `channels` and `core_uuid` are of this moment.
#[derive(Debug, Clone, Default)]
pub struct SwitchStats {
    /// Inbound calls that became a channel.
    pub calls: u64,
    pub answered: u64,
    /// Calls made by `bridge` and `originate`.
    pub outbound: u64,
    /// New INVITEs refused with 503 (overload, drain, full) and with 407.
    pub refused: u64,
    pub challenged: u64,
    pub channels: u64,
    pub peak_channels: u64,
    /// New INVITE transactions seen; repetitions are absorbed.
    pub invites: u64,
    pub core_uuid: String,
    /// Lives begun: 1 after start, one more for each restart.
    pub lives: u32,
    /// Events that listeners were too slow for.
    pub events_lost: u64,
    pub alive: bool,
}

/// What outlives a killed switch.
#[derive(Debug, Default)]
pub(crate) struct Books {
    pub stats: SwitchStats,
    invites: HashMap<String, u32>,
}

/// Call-IDs whose INVITEs are counted one by one: a run of hours may go on, its books stay bounded.
const CALL_IDS: usize = 1_000_000;

impl Books {
    fn invite(&mut self, call_id: &str) {
        self.stats.invites += 1;
        if let Some(count) = self.invites.get_mut(call_id) {
            *count += 1;
        } else if self.invites.len() < CALL_IDS {
            self.invites.insert(call_id.to_owned(), 1);
        }
    }
}

/// Orders to the task that owns the channels.
#[derive(Debug)]
pub(crate) enum Order {
    Hang(bool, oneshot::Sender<()>),
    Overload(Overload),
    Drain(bool),
    Gateway(SocketAddr),
    OutboundEsl(String),
    IdleCpu(Option<f64>),
    HangupAll(String),
}

/// Orders wait while the switch is in the middle of one step only.
const ORDER_QUEUE: usize = 64;
/// Commands of all ESL connections that are waiting: what a FreeSWITCH holds in its threads.
const COMMAND_QUEUE: usize = 1024;

struct Life {
    token: CancellationToken,
    tasks: TaskTracker,
    orders: mpsc::Sender<Order>,
}

/// A running (or killed) switch. Dropping it kills it.
pub struct SwitchHandle {
    /// Addresses fixed, gateway as last set: what a restart begins with.
    config: Mutex<SwitchConfig>,
    sip_addr: SocketAddr,
    esl_addr: SocketAddr,
    books: Arc<Mutex<Books>>,
    life: Mutex<Option<Life>>,
}

/// Starts switches.
#[derive(Debug, Clone, Copy)]
pub struct Switch;

impl Switch {
    /// Binds both ports and answers from then on.
    ///
    /// # Errors
    /// A port that cannot be bound.
    pub async fn start(config: SwitchConfig) -> std::io::Result<SwitchHandle> {
        let books = Arc::new(Mutex::new(Books::default()));
        let mut config = config;
        let (life, sip_addr, esl_addr) = begin(&config, &books).await?;
        config.sip_bind = sip_addr;
        config.esl_bind = esl_addr;
        Ok(SwitchHandle { config: Mutex::new(config), sip_addr, esl_addr, books, life: Mutex::new(Some(life)) })
    }
}

async fn begin(config: &SwitchConfig, books: &Arc<Mutex<Books>>) -> std::io::Result<(Life, SocketAddr, SocketAddr)> {
    let lives = {
        let stats = &mut books.lock().stats;
        stats.lives += 1;
        stats.lives
    };
    let seed = config.seed.wrapping_add(u64::from(lives) << 32);
    let endpoint = Endpoint::bind(config.sip_bind, seed, true)?;
    let listener = TcpListener::bind(config.esl_bind).await?;
    let (sip_addr, esl_addr) = (endpoint.local(), listener.local_addr()?);
    let token = CancellationToken::new();
    let tasks = TaskTracker::new();
    let (orders, order_inbox) = mpsc::channel(ORDER_QUEUE);
    let (input, inbox) = mpsc::channel(COMMAND_QUEUE);
    let sockets = esl::Sockets {
        life: token.clone(),
        tasks: tasks.clone(),
        input,
        queue: config.esl_queue + bus::REPLY_RESERVE,
        next: Arc::default(),
    };
    sockets.listen(listener);
    let node = Node::new(config.clone(), seed, endpoint, sockets, Arc::clone(books));
    let ended = token.clone();
    tasks.spawn(async move {
        // A kill ends the task between two steps: nothing more is sent, sockets are closed by the drop.
        tokio::select! {
            () = ended.cancelled() => {}
            () = node.run(order_inbox, inbox) => {}
        }
    });
    tasks.close();
    Ok((Life { token, tasks, orders }, sip_addr, esl_addr))
}

impl SwitchHandle {
    #[must_use]
    pub fn sip_addr(&self) -> SocketAddr {
        self.sip_addr
    }

    #[must_use]
    pub fn esl_addr(&self) -> SocketAddr {
        self.esl_addr
    }

    #[must_use]
    pub fn id(&self) -> String {
        self.config.lock().id.clone()
    }

    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.life.lock().is_some()
    }

    #[must_use]
    pub fn stats(&self) -> SwitchStats {
        let mut stats = self.books.lock().stats.clone();
        stats.alive = self.is_alive();
        stats
    }

    /// How many INVITEs (repetitions absorbed) this switch saw with a Call-ID, over all its lives.
    #[must_use]
    pub fn invites_of(&self, call_id: &str) -> u32 {
        self.books.lock().invites.get(call_id).copied().unwrap_or_default()
    }

    /// As `kill -9`: all sockets are closed at once, nothing more is sent. Returns when the ports are free.
    pub async fn kill(&self) {
        let life = self.life.lock().take();
        if let Some(life) = life {
            life.token.cancel();
            life.tasks.wait().await;
        }
        self.books.lock().stats.channels = 0;
    }

    /// Kills it if it lives, then starts it again on the same ports with another Core-UUID.
    ///
    /// # Errors
    /// A port that somebody else has taken meanwhile.
    pub async fn restart(&self) -> std::io::Result<()> {
        self.kill().await;
        let config = self.config.lock().clone();
        let (life, ..) = begin(&config, &self.books).await?;
        *self.life.lock() = Some(life);
        Ok(())
    }

    /// Stops answering SIP and ESL; sockets stay open. Returns when the switch hangs.
    pub async fn hang(&self) {
        self.set_hang(true).await;
    }

    /// Goes on where it stopped, with everything that arrived meanwhile.
    pub async fn resume(&self) {
        self.set_hang(false).await;
    }

    async fn set_hang(&self, on: bool) {
        let (done, hangs) = oneshot::channel();
        self.order(Order::Hang(on, done)).await;
        // An error means that the switch was killed first.
        let _ = hangs.await;
    }

    pub async fn overload(&self, mode: Overload) {
        self.order(Order::Overload(mode)).await;
    }

    /// Refuses new calls with 503 and lets the others end, as `fsctl pause`.
    pub async fn drain(&self, on: bool) {
        self.order(Order::Drain(on)).await;
    }

    pub async fn set_gateway(&self, edge: SocketAddr) {
        self.config.lock().gateway_edge = Some(edge);
        self.order(Order::Gateway(edge)).await;
    }

    /// Where 2xxx connects to: `host:port` or `host:port|host:port`.
    pub async fn set_outbound_esl(&self, hosts: &str) {
        let mut plan = self.config.lock().dialplan.clone();
        for (app, data) in plan.extensions.iter_mut().flat_map(|extension| &mut extension.actions) {
            if *app == "socket" {
                *data = format!("{hosts} async full");
            }
        }
        self.config.lock().dialplan = plan;
        self.order(Order::OutboundEsl(hosts.to_owned())).await;
    }

    /// Overrides `Idle-CPU` of the heartbeat; `None` computes it from the load again.
    pub async fn set_idle_cpu(&self, percent: Option<f64>) {
        self.order(Order::IdleCpu(percent)).await;
    }

    /// Ends every call with this cause, as `hupall`.
    pub async fn hangup_all(&self, cause: &str) {
        self.order(Order::HangupAll(cause.to_owned())).await;
    }

    async fn order(&self, order: Order) {
        let orders = self.life.lock().as_ref().map(|life| life.orders.clone());
        if let Some(orders) = orders {
            // A switch killed meanwhile takes no orders.
            let _ = orders.send(order).await;
        }
    }
}

impl Drop for SwitchHandle {
    fn drop(&mut self) {
        if let Some(life) = self.life.lock().take() {
            life.token.cancel();
        }
    }
}

impl std::fmt::Debug for SwitchHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SwitchHandle").field("sip", &self.sip_addr).field("esl", &self.esl_addr).finish()
    }
}
