//! The one place where the api is wired.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kit::{Service, TaskOptions, admin};
use parking_lot::RwLock;
use stream::{Client, Pump, PumpConfig, Start};
use tokio::sync::{Semaphore, watch};

use crate::adapters::call_log::CallLog;
use crate::adapters::feed::{Feed, health_topics, state_topics};
use crate::adapters::http::{self, Shared};
use crate::adapters::metrics_store::Minutes;
use crate::adapters::store::{Place, Store};
use crate::config::Config;
use crate::core::board::Board;
use crate::core::change::Rules;
use crate::metrics::Metrics;

const SAMPLE_EVERY: Duration = Duration::from_millis(500);
/// Requests that may read a topic at the same time.
const READERS: usize = 8;
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// What the demo needs to know of a running api.
pub struct Running {
    pub addr: SocketAddr,
}

pub async fn run(config: Config, kit: Service, stream: Client) -> anyhow::Result<Running> {
    let metrics = Metrics::register(&kit.metrics);
    let board = Arc::new(RwLock::new(Board::default()));
    // The stores of the others lie beside our own folder.
    let data = kit.data_dir.parent().unwrap_or(Path::new(".")).to_owned();
    let calls = if config.calls_postgres.url.is_empty() {
        Place::File(config.calls_db.clone().unwrap_or_else(|| data.join("cdr/calls.sqlite")))
    } else {
        Place::postgres(&config.calls_postgres)?
    };
    let minutes = Place::File(config.metrics_db.clone().unwrap_or_else(|| data.join("analytics/analytics.sqlite")));
    let shared = Arc::new(Shared {
        board: Arc::clone(&board),
        calls: CallLog(Store::new("the call log", "cdr", calls, metrics.store_errors.clone())),
        minutes: Minutes(Store::new("the minute store", "analytics", minutes, metrics.store_errors.clone())),
        client: stream.clone(),
        clock: Arc::clone(&kit.clock),
        rules: Rules { max_block_s: config.max_block_s, protected_numbers: config.protected_numbers.clone() },
        metrics,
        live: watch::channel(Arc::from("{}")).0,
        live_slots: Arc::new(Semaphore::new(config.max_live_clients)),
        readers: Arc::new(Semaphore::new(READERS)),
        shutdown: kit.life.shutdown_token(),
    });

    // Bound before anything else is started, so that a taken port leaves nothing behind.
    let token = admin::Token::load("api.token_file", config.bind, config.token_file.as_deref())?;
    let app = admin::guard(http::router(Arc::clone(&shared)), token);
    let addr = admin::listen("api.bind", config.bind, "http", &kit.life, app).context("the api")?;

    feed_state(&kit, &stream, &board);
    feed_health(&kit, &stream, &board);
    sample(&kit, shared);
    Ok(Running { addr })
}

fn feed_state(kit: &Service, stream: &Client, board: &Arc<RwLock<Board>>) {
    kit.life.set_ready("control-state", false);
    let life = kit.life.clone();
    let feed = Feed {
        board: Arc::clone(board),
        clock: Arc::clone(&kit.clock),
        publisher: Some(stream.publisher.clone()),
        on_caught_up: Some(Box::new(move || life.set_ready("control-state", true))),
    };
    let config =
        PumpConfig { name: "api-state", topics: state_topics(), start: Start::Beginning, ..PumpConfig::default() };
    pump(kit, stream, config, feed);
}

fn feed_health(kit: &Service, stream: &Client, board: &Arc<RwLock<Board>>) {
    let feed = Feed { board: Arc::clone(board), clock: Arc::clone(&kit.clock), publisher: None, on_caught_up: None };
    let config = PumpConfig { name: "api-health", topics: health_topics(), start: Start::End, ..PumpConfig::default() };
    pump(kit, stream, config, feed);
}

fn pump(kit: &Service, stream: &Client, config: PumpConfig, feed: Feed) {
    let name = config.name;
    let pump = Pump::new(stream.clone(), config);
    kit.life.spawn(name, TaskOptions::critical().stall_after(STALLED_AFTER), |task| async move {
        let beat = task.clone();
        Ok(pump.run(feed, task.shutdown(), move || beat.beat()).await?)
    });
}

fn sample(kit: &Service, shared: Arc<Shared>) {
    kit.life.spawn("live-sampler", TaskOptions::critical().stall_after(STALLED_AFTER), |task| async move {
        let shutdown = task.shutdown();
        let mut ticks = tokio::time::interval(SAMPLE_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                _ = ticks.tick() => task.beat(),
            }
            if shared.live.receiver_count() > 0 {
                let json = http::sample(&shared).await.to_string();
                shared.live.send_replace(Arc::from(json));
            }
        }
    });
}
