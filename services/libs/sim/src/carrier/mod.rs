//! Simulated carriers: they place calls towards an edge and receive the calls an edge sends out to them.
//!
//! One task per carrier owns all its calls, thousands at once. Everything a carrier does is written into the [`Ledger`]; its random
//! choices come from its seed. As callee it behaves by the last four digits of the called number:
//!
//! | digits | what it does |
//! |---|---|
//! | 80xx | rings 0.2–1 s, answers |
//! | 81xx | 486 Busy Here |
//! | 82xx | rings, never answers |
//! | 83xx | 603 Decline |
//! | 84xx | 503 Service Unavailable |
//! | 85xx | as 80xx, and hangs up itself after a short talk |
//! | 86xx | 183 with early media instead of 180, then answers |
//! | other | 404 Not Found |

mod attack;
mod callee;
mod caller;
mod plan;
mod sdp;
mod task;
mod traffic;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::ledger::Ledger;
use crate::sip::{Credentials, Timing};

pub use attack::{Attack, AttackHandle};
pub use plan::{CallPlan, Ends, Key, Kind};
pub use traffic::{Generator, Hold, Mix, Planned, Progress, TrunkCaller};

/// Plans that wait for the carrier's task. Small: a full queue makes `place` wait, and the generator says how far it is behind.
const COMMANDS: usize = 256;

#[derive(Clone, Debug)]
pub struct CarrierConfig {
    /// The trunk's id at the edge; the ledger's entries carry it.
    pub id: String,
    pub bind: SocketAddr,
    /// Where calls are sent.
    pub edge: SocketAddr,
    /// For challenges, when a plan brings none.
    pub credentials: Option<Credentials>,
    pub seed: u64,
    pub ledger: Ledger,
    pub callee: CalleeBehaviour,
    /// A caller that nobody answers gives up after this long, whatever its plan says.
    pub ring_limit: Duration,
    /// At so many open calls plans have to wait.
    pub max_open: usize,
    /// SIP base timers; tests shorten them.
    pub timing: Timing,
}

impl CarrierConfig {
    #[must_use]
    pub fn new(id: impl Into<String>, bind: SocketAddr, edge: SocketAddr, seed: u64, ledger: Ledger) -> Self {
        Self {
            id: id.into(),
            bind,
            edge,
            credentials: None,
            seed,
            ledger,
            callee: CalleeBehaviour::default(),
            ring_limit: Duration::from_secs(60),
            max_open: 20_000,
            timing: Timing::default(),
        }
    }
}

/// Timing of the called side.
#[derive(Clone, Copy, Debug)]
pub struct CalleeBehaviour {
    pub ring_min: Duration,
    pub ring_max: Duration,
    /// Mean talk of 85xx, which hangs up itself.
    pub talk: Duration,
    /// 82xx is answered with 480 after this long when nobody gave up: nothing rings for ever.
    pub ring_limit: Duration,
}

impl Default for CalleeBehaviour {
    fn default() -> Self {
        Self {
            ring_min: Duration::from_millis(200),
            ring_max: Duration::from_secs(1),
            talk: Duration::from_secs(2),
            ring_limit: Duration::from_secs(180),
        }
    }
}

#[derive(Debug)]
enum Command {
    Place(Box<CallPlan>),
    SetEdge(SocketAddr),
    HangUpAll,
    Open(oneshot::Sender<Open>),
}

/// What a carrier holds at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Open {
    pub placed: usize,
    pub received: usize,
}

/// The carrier is gone: its task was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the carrier was stopped")]
pub struct Stopped;

/// Starts carriers; see [`Carrier::start`].
#[derive(Debug)]
pub struct Carrier;

impl Carrier {
    /// Opens the socket and starts the carrier's task on the current runtime.
    ///
    /// # Errors
    /// The socket cannot be opened.
    pub fn start(config: CarrierConfig) -> io::Result<CarrierHandle> {
        let (commands, queue) = mpsc::channel(COMMANDS);
        let stop = CancellationToken::new();
        let id: Arc<str> = config.id.as_str().into();
        let task = task::CarrierTask::new(config, queue, stop.clone())?;
        let addr = task.addr();
        crate::task::spawn(task.run());
        Ok(CarrierHandle { id, addr, commands, stop })
    }
}

#[derive(Clone, Debug)]
pub struct CarrierHandle {
    id: Arc<str>,
    addr: SocketAddr,
    commands: mpsc::Sender<Command>,
    stop: CancellationToken,
}

impl CarrierHandle {
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Places a call. Waits while the carrier is at its limit. A Call-ID that the ledger knows already is not placed again.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn place(&self, plan: CallPlan) -> Result<(), Stopped> {
        self.command(Command::Place(Box::new(plan))).await
    }

    /// New calls go there from now on; open ones stay on their way.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn set_edge(&self, edge: SocketAddr) -> Result<(), Stopped> {
        self.command(Command::SetEdge(edge)).await
    }

    /// Ends every open call: BYE where it was answered, CANCEL where not.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn hang_up_all(&self) -> Result<(), Stopped> {
        self.command(Command::HangUpAll).await
    }

    /// # Errors
    /// [`Stopped`].
    pub async fn open(&self) -> Result<Open, Stopped> {
        let (answer, asked) = oneshot::channel();
        self.command(Command::Open(answer)).await?;
        asked.await.map_err(|_| Stopped)
    }

    /// Stops the task at once; open calls are left to the far end, as when a carrier's machine dies.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    async fn command(&self, command: Command) -> Result<(), Stopped> {
        self.commands.send(command).await.map_err(|_| Stopped)
    }
}
