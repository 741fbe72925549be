//! The one place where capacity is wired.
//!
//! Nothing is replayed at start: heartbeats come each second or two and say all, and what happened to calls before them is in them.

use std::sync::Arc;
use std::time::Duration;

use kit::TaskOptions;
use parking_lot::Mutex;
use schemas::{ControlWeight, Event as _, NodeHealth, SipTransaction};
use stream::{Client, Pump, PumpConfig, Start};

use crate::adapters::{Leftovers, Signals, Writer};
use crate::config::Config;
use crate::core::{Decision, Fleet};
use crate::metrics::Metrics;

/// A node as capacity sees it now.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeView {
    pub node: String,
    pub weight: f64,
    pub rule: &'static str,
    pub reason: String,
    pub sessions: Option<i32>,
    pub max_sessions: Option<i32>,
    /// Calls accepted minus ended since the heartbeat.
    pub calls_since: i32,
    pub heartbeat_age: Duration,
}

impl NodeView {
    pub(crate) fn of(decision: &Decision) -> NodeView {
        let weighed = &decision.weighed;
        NodeView {
            node: decision.node.to_string(),
            weight: weighed.weight,
            rule: weighed.rule,
            reason: weighed.reason.clone(),
            sessions: decision.sessions,
            max_sessions: weighed.inputs.max_sessions,
            calls_since: weighed.inputs.own_since_heartbeat.unwrap_or(0),
            heartbeat_age: Duration::from_micros(decision.beat_age_us),
        }
    }
}

#[derive(Clone)]
pub struct Running {
    snapshot: Arc<Mutex<Vec<NodeView>>>,
}

impl Running {
    /// Every node that sent a heartbeat, by name.
    #[must_use]
    pub fn snapshot(&self) -> Vec<NodeView> {
        self.snapshot.lock().clone()
    }
}

const STALL: Duration = Duration::from_secs(30);
/// A weight that is a quarter of a second late costs a few calls; reading more often costs CPU all day.
const DECIDE_EVERY: Duration = Duration::from_millis(250);
const POLL: Duration = Duration::from_millis(100);

pub async fn run(config: Config, kit: kit::Service, stream: Client) -> anyhow::Result<Running> {
    let writer = Writer {
        publisher: stream.publisher.clone(),
        clock: Arc::clone(&kit.clock),
        valid_us: i64::from(config.valid_s) * 1_000_000,
        metrics: Metrics::new(&kit.metrics),
    };
    let snapshot = Arc::new(Mutex::new(Vec::new()));

    // Without a group: every partition is read here, for a node's calls are spread over all of them.
    let pump = Pump::new(
        stream.clone(),
        PumpConfig {
            name: "capacity.signals",
            topics: vec![NodeHealth::TOPIC, SipTransaction::TOPIC],
            start: Start::End,
            poll_wait: POLL,
            tick_every: DECIDE_EVERY,
            ..PumpConfig::default()
        },
    );
    let signals =
        Signals { fleet: Fleet::new(config.tuning()), writer: writer.clone(), snapshot: Arc::clone(&snapshot) };
    kit.life.spawn("signals", TaskOptions::critical().stall_after(STALL), move |task| async move {
        Ok(pump.run(signals, task.shutdown(), move || task.beat()).await?)
    });

    let pump = Pump::new(
        stream,
        PumpConfig {
            name: "capacity.leftovers",
            topics: vec![ControlWeight::TOPIC],
            start: Start::Beginning,
            tick_every: Duration::from_secs(1),
            ..PumpConfig::default()
        },
    );
    let leftovers = Leftovers::new(writer);
    kit.life.spawn("leftovers", TaskOptions::default().stall_after(STALL), move |task| async move {
        Ok(pump.run(leftovers, task.shutdown(), move || task.beat()).await?)
    });
    Ok(Running { snapshot })
}
