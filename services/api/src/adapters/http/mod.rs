//! HTTP: one table of routes, and the handlers behind it.

mod calls;
mod control;
mod live;
mod page;
mod records;
mod registry;
mod request;
mod routes;
mod views;

use std::sync::Arc;

use domain::Clock;
use parking_lot::RwLock;
use stream::Client;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

pub use live::sample;
pub use routes::{ROUTES, Route, router};

use super::call_log::CallLog;
use super::metrics_store::Minutes;
use crate::core::board::Board;
use crate::core::change::Rules;
use crate::metrics::Metrics;

/// What every handler may use.
pub struct Shared {
    pub board: Arc<RwLock<Board>>,
    pub calls: CallLog,
    pub minutes: Minutes,
    pub client: Client,
    pub clock: Arc<dyn Clock>,
    pub rules: Rules,
    pub metrics: Metrics,
    /// The newest live sample, as JSON; the sampler rests while nobody listens.
    pub live: watch::Sender<Arc<str>>,
    /// One permit per watching page.
    pub live_slots: Arc<Semaphore>,
    /// One permit per reader of a topic: each holds a block of the log in memory, on Kafka a consumer.
    pub readers: Arc<Semaphore>,
    pub shutdown: CancellationToken,
}

pub type App = Arc<Shared>;
