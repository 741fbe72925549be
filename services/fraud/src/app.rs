//! The one place where fraud is wired: the block topic is read to its end first, then attempts are judged.

use std::sync::Arc;
use std::time::Duration;

use kit::TaskOptions;
use parking_lot::Mutex;
use schemas::{ControlAck, ControlBlock, Event as _, SipTransaction};
use stream::{Client, Pump, PumpConfig, Start};
use tokio::sync::watch;

use crate::adapters::{Attempts, Control, Writer};
use crate::config::Config;
use crate::core::{Acks, Rule, Velocity};
use crate::error::Error;
use crate::metrics::Metrics;

/// What happened last, for the demo and the page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latest {
    pub alerts: u64,
    pub blocks: u64,
    pub first_attempt_us: Option<i64>,
    pub triggered_us: Option<i64>,
    pub published_us: Option<i64>,
    pub confirmed_us: Option<i64>,
}

#[derive(Clone)]
pub struct Running {
    latest: Arc<Mutex<Latest>>,
}

impl Running {
    #[must_use]
    pub fn latest(&self) -> Latest {
        self.latest.lock().clone()
    }
}

const SECOND_US: i64 = 1_000_000;
const BLOCKS_READ_WITHIN: Duration = Duration::from_secs(30);
const STALL: Duration = Duration::from_secs(30);
/// Short, because every millisecond here is one in which an attack goes on.
const ATTEMPTS_POLL: Duration = Duration::from_millis(20);

pub async fn run(config: Config, kit: kit::Service, stream: Client) -> anyhow::Result<Running> {
    let metrics = Metrics::new(&kit.metrics);
    let v = &config.velocity;
    let window_us = i64::from(v.window_s) * SECOND_US;
    let rule = Arc::new(Mutex::new(Velocity::new(Rule {
        attempts: v.attempts as usize,
        window_us,
        block_us: i64::from(v.block_s) * SECOND_US,
        max_block_us: i64::from(v.max_block_s) * SECOND_US,
        max_subjects: v.max_subjects,
        pinned_trunks: config.pinned_trunks.clone(),
        emergency: config.emergency.0.clone(),
    })));
    let latest = Arc::new(Mutex::new(Latest::default()));
    let writer = Writer {
        publisher: stream.publisher.clone(),
        clock: Arc::clone(&kit.clock),
        mode: v.mode,
        threshold: f64::from(v.attempts),
        window_us,
        metrics: metrics.clone(),
        latest: Arc::clone(&latest),
        to_bury: Arc::default(),
    };

    let (read_to_end, mut control_read) = watch::channel(false);
    let control = Control {
        rule: Arc::clone(&rule),
        acks: Acks::default(),
        writer: writer.clone(),
        metrics: metrics.clone(),
        read_to_end,
    };
    let pump = Pump::new(
        stream.clone(),
        PumpConfig {
            name: "fraud.control",
            topics: vec![ControlBlock::TOPIC, ControlAck::TOPIC],
            start: Start::Beginning,
            ..PumpConfig::default()
        },
    );
    kit.life.spawn("control", TaskOptions::critical().stall_after(STALL), move |task| async move {
        Ok(pump.run(control, task.shutdown(), move || task.beat()).await?)
    });
    let read = tokio::time::timeout(BLOCKS_READ_WITHIN, control_read.wait_for(|read| *read)).await;
    if !matches!(read, Ok(Ok(_))) {
        return Err(Error::BlocksNotRead(BLOCKS_READ_WITHIN.as_secs()).into());
    }

    let attempts = Attempts { rule, writer, metrics };
    let pump = Pump::new(
        stream,
        PumpConfig {
            name: "fraud.attempts",
            group: Some("trunkline-fraud".to_owned()),
            topics: vec![SipTransaction::TOPIC],
            poll_wait: ATTEMPTS_POLL,
            ..PumpConfig::default()
        },
    );
    kit.life.spawn("attempts", TaskOptions::critical().stall_after(STALL), move |task| async move {
        Ok(pump.run(attempts, task.shutdown(), move || task.beat()).await?)
    });
    Ok(Running { latest })
}
