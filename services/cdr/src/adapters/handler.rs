//! The one consumer of the call log: applies each batch, tells the reconciler what it learned, publishes its verdicts.
//!
//! Pace: a write costs the same for one record as for hundreds, so writes are at least `flush` apart. A quiet system writes at
//! once; a busy one collects what comes meanwhile. Records are committed only after their transaction.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::{CallId, Clock};
use schemas::{ChannelEvent, Event, NodeHealth};
use stream::{Failure, Handler, Poison, Publisher, Record};
use tokio::time::Instant;

use crate::adapters::outbox::Bell;
use crate::adapters::publish::reconciled_event;
use crate::adapters::store::NodeRow;
use crate::books::{Applied, Books};
use crate::core::reconcile::{Input, OpenCall, Reconciler};
use crate::error::StoreError;
use crate::metrics::Metrics;
use crate::progress::Progress;

/// An event older than this says nothing about whether its node lives now.
const FRESH_US: i64 = 2_000_000;

/// How often what the reconciler knows of nodes is written down.
const NODES_EVERY: Duration = Duration::from_secs(1);

pub struct Wiring {
    pub books: Books,
    pub reconciler: Reconciler,
    pub publisher: Publisher,
    pub clock: Arc<dyn Clock>,
    pub bell: Bell,
    pub progress: Progress,
    pub metrics: Metrics,
    pub id: String,
    pub flush: Duration,
    pub max_batch: usize,
}

pub struct Recorder {
    w: Wiring,
    last_write: Option<Instant>,
    next_nodes: Instant,
    /// Everything that was there at the start has been read …
    at_head: bool,
    /// … and the last batch was not cut off by its size.
    keeping_up: bool,
}

impl Recorder {
    pub fn new(w: Wiring, open: Vec<(CallId, OpenCall)>, nodes: Vec<NodeRow>) -> Recorder {
        let mut recorder = Recorder {
            w,
            last_write: None,
            next_nodes: Instant::now() + NODES_EVERY,
            at_head: false,
            keeping_up: true,
        };
        let now = recorder.w.clock.now();
        for node in nodes {
            let beat = node.heartbeat_ms.and_then(|ms| u64::try_from(ms).ok()).map(|ms| ms * 1000);
            recorder.w.reconciler.restore_node(now, node.node, node.core_uuid, node.last_proof_us, beat);
        }
        for (id, call) in open {
            recorder.w.reconciler.handle(now, Input::Open(id, call));
        }
        recorder
    }

    /// Node health goes to the reconciler alone; channel events prove that their node lives.
    fn listen(&mut self, index: usize, record: &Record, poison: &mut Vec<Poison>) -> Result<(), Failure> {
        let now = self.w.clock.now();
        match stream::decode::<NodeHealth>(index, record) {
            Ok(event) => {
                for input in health(event) {
                    self.w.reconciler.handle(now, input);
                }
                Ok(())
            }
            Err(stream::Bad::Poison(bad)) => {
                poison.push(bad);
                Ok(())
            }
            Err(stream::Bad::Wait(error)) => Err(Failure::Transient(error)),
        }
    }

    fn learn(&mut self, applied: &Applied) {
        let now = self.w.clock.now();
        for (node, (core, at_us)) in &applied.heard {
            // What an outage held back proves nothing about now.
            if now.wall_us - at_us <= FRESH_US {
                let (node, core_uuid) = (node.to_string(), core.as_deref().map(str::to_owned));
                self.w.reconciler.handle(now, Input::Channel { node, core_uuid, at_us: *at_us });
            }
        }
        for touched in &applied.touched {
            if touched.finality != "open"
                && let Some(ended) = touched.ended_us
            {
                let late = u64::try_from(now.wall_us - ended).unwrap_or(0);
                self.w.metrics.visible.observe(late as f64 / 1e6);
            }
            let input = match &touched.open {
                Some(open) => Input::Open(touched.id, open.clone()),
                None => Input::Ended(touched.id),
            };
            self.w.reconciler.handle(now, input);
        }
    }

    fn judge(&mut self) {
        let now = self.w.clock.now();
        self.w.reconciler.handle(now, Input::Tick { fresh: self.at_head && self.keeping_up });
        while let Some(verdict) = self.w.reconciler.poll() {
            tracing::info!(
                call.id = %verdict.call, kind = verdict.kind.as_str(), reason = verdict.reason, node.id = verdict.node.as_deref(),
                "call closed by the reconciler"
            );
            self.w.metrics.reconciled(verdict.kind.as_str());
            self.w.publisher.publish(reconciled_event(&verdict, &self.w.id));
        }
    }

    fn nodes(&mut self) -> Vec<NodeRow> {
        let now = Instant::now();
        if now < self.next_nodes {
            return Vec::new();
        }
        self.next_nodes = now + NODES_EVERY;
        self.w
            .reconciler
            .nodes()
            .map(|(node, seen)| NodeRow {
                node: node.clone(),
                core_uuid: seen.core_uuid.clone(),
                last_proof_us: seen.last_proof_us,
                heartbeat_ms: seen.heartbeat_us.and_then(|us| i64::try_from(us / 1000).ok()),
            })
            .collect()
    }

    async fn pace(&mut self, records: usize) {
        if let Some(last) = self.last_write
            && records < self.w.max_batch
        {
            tokio::time::sleep_until(last + self.w.flush).await;
        }
        self.last_write = Some(Instant::now());
    }
}

fn failure(error: StoreError) -> Failure {
    if error.is_transient() { Failure::Transient(error.into()) } else { Failure::Fatal(error.into()) }
}

/// Next offset by partition over a batch.
fn positions(batch: &[Record]) -> Vec<(String, i32, i64)> {
    let mut next: BTreeMap<(&str, i32), i64> = BTreeMap::new();
    for record in batch {
        let at = next.entry((record.topic.name, record.partition)).or_insert(0);
        *at = (*at).max(record.offset + 1);
    }
    next.into_iter().map(|((topic, partition), offset)| (topic.to_owned(), partition, offset)).collect()
}

fn health(event: NodeHealth) -> Vec<Input> {
    let node = event.node_id;
    let at_us = event.observed_us;
    match event.event_type.as_str() {
        "heartbeat" => {
            let every_us =
                event.heartbeat.and_then(|h| h.interval_us).and_then(|us| u64::try_from(us).ok()).filter(|us| *us > 0);
            vec![Input::Heartbeat { node, core_uuid: event.core_uuid, at_us, every_us }]
        }
        "link_up" => vec![
            Input::Channel { node: node.clone(), core_uuid: event.core_uuid, at_us },
            Input::Link { node, up: true, at_us },
        ],
        "link_down" => vec![Input::Link { node, up: false, at_us }],
        "epoch" => {
            let core_uuid = event.epoch.map(|e| e.core_uuid).or(event.core_uuid);
            vec![Input::Channel { node, core_uuid, at_us }]
        }
        "probe" => {
            let answered = event.probe.as_ref().is_none_or(|p| p.answered > 0 || p.consecutive_successes > 0);
            let up = answered && !matches!(event.state.as_deref(), Some("down" | "suspect"));
            vec![Input::Probe { node, up, at_us }]
        }
        _ => Vec::new(),
    }
}

#[async_trait]
impl Handler for Recorder {
    async fn handle(&mut self, batch: &[Record]) -> Result<Vec<Poison>, Failure> {
        self.pace(batch.len()).await;
        let mut poison = Vec::new();
        for (index, record) in batch.iter().enumerate().filter(|(_, r)| r.topic == NodeHealth::TOPIC) {
            self.listen(index, record, &mut poison)?;
        }
        let started = Instant::now();
        let nodes = self.nodes();
        let calls = batch.iter().enumerate().filter(|(_, r)| r.topic != NodeHealth::TOPIC);
        let applied = self.w.books.apply(calls, positions(batch), nodes).await.map_err(failure)?;
        if let Some(wait) = applied.wait {
            return Err(Failure::Transient(anyhow::anyhow!("{wait}")));
        }
        let events = batch.iter().filter(|r| r.topic == ChannelEvent::TOPIC).count();
        self.w.metrics.batch(batch.len(), events, &applied, started.elapsed());
        self.keeping_up = batch.len() < self.w.max_batch;
        self.w.progress.advance(&positions(batch), &applied);
        if applied.queued > 0 {
            self.w.bell.ring();
        }
        self.learn(&applied);
        self.judge();
        poison.extend(applied.unreadable.into_iter().map(|u| Poison {
            index: u.index,
            class: u.class,
            error: u.error,
        }));
        Ok(poison)
    }

    async fn tick(&mut self) -> Result<(), Failure> {
        self.judge();
        self.w.metrics.gauges(self.w.reconciler.open_calls(), self.w.books.cached_calls(), self.w.books.cached_bytes());
        self.w.metrics.published(self.w.bell.published());
        Ok(())
    }

    fn caught_up(&mut self) {
        self.at_head = true;
        tracing::info!(calls.open = self.w.reconciler.open_calls(), "call log has caught up with the topics");
    }
}

/// Whether the consumer group stands further than the rows do: the file was lost or put back from a copy.
#[must_use]
pub fn group_is_ahead(rows: &HashMap<(String, i32), i64>, group: &[(String, i32, i64)]) -> bool {
    group
        .iter()
        .any(|(topic, partition, committed)| *committed > rows.get(&(topic.clone(), *partition)).copied().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_file_is_noticed_by_the_group_that_stands_further() {
        let rows = HashMap::from([(("t".to_owned(), 0), 5)]);
        assert!(!group_is_ahead(&rows, &[("t".to_owned(), 0, 5)]));
        assert!(!group_is_ahead(&rows, &[("t".to_owned(), 0, 3)]), "a commit that did not get through");
        assert!(group_is_ahead(&rows, &[("t".to_owned(), 0, 6)]));
        assert!(group_is_ahead(&HashMap::new(), &[("t".to_owned(), 1, 1)]), "an empty file");
    }

    #[test]
    fn a_probe_that_nobody_answers_is_no_proof_of_life() {
        let event = |state: &str, answered| NodeHealth {
            event_type: "probe".into(),
            node_id: "n".into(),
            state: Some(state.into()),
            probe: Some(schemas::NodeProbe { sent: 5, answered, ..Default::default() }),
            ..NodeHealth::default()
        };
        let up = |e| matches!(health(e)[0], Input::Probe { up: true, .. });
        assert!(up(event("up", 5)));
        assert!(!up(event("up", 0)));
        assert!(!up(event("down", 1)));
    }
}
