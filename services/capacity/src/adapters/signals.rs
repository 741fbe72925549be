//! `node.health` and `sip.transactions` → the fleet → `control.weights`.
//!
//! One task owns the fleet, so reports and calls meet without a lock. A batch with a report is decided at once: a broken link should
//! not wait for the tick.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use schemas::{Event as _, NodeHealth, SipTransaction};
use stream::{Bad, Failure, Handler, Poison, Record, decode, header};

use crate::adapters::{Writer, decode as words};
use crate::app::NodeView;
use crate::core::{Action, Decision, Fleet, What};

pub struct Signals {
    pub fleet: Fleet,
    pub writer: Writer,
    pub snapshot: Arc<Mutex<Vec<NodeView>>>,
}

#[async_trait]
impl Handler for Signals {
    async fn handle(&mut self, batch: &[Record]) -> Result<Vec<Poison>, Failure> {
        let mut poison = Vec::new();
        let mut reported = false;
        for (index, record) in batch.iter().enumerate() {
            let taken = if record.topic == NodeHealth::TOPIC {
                reported = true;
                decode::<NodeHealth>(index, record).map(|event| self.health(event))
            } else if record.header(header::EVENT_TYPE).is_none_or(words::moves_calls) {
                decode::<SipTransaction>(index, record).map(|event| self.call(&event))
            } else {
                continue;
            };
            match taken {
                Ok(()) => {}
                Err(Bad::Poison(p)) => poison.push(p),
                Err(Bad::Wait(error)) => return Err(Failure::Transient(error)),
            }
        }
        if reported {
            self.decide();
        }
        Ok(poison)
    }

    async fn tick(&mut self) -> Result<(), Failure> {
        self.decide();
        Ok(())
    }
}

impl Signals {
    fn health(&mut self, event: NodeHealth) {
        let Some(report) = words::report(event) else { return };
        if matches!(report.what, What::Beat(_)) {
            self.writer.metrics.heartbeats.inc();
        }
        self.fleet.handle(self.writer.clock.now(), report);
    }

    fn call(&mut self, event: &SipTransaction) {
        let (fleet, metrics, now) = (&mut self.fleet, &self.writer.metrics, self.writer.clock.now());
        words::steps(event, |step| {
            metrics.calls.inc();
            fleet.call(now, step);
        });
    }

    fn decide(&mut self) {
        let now = self.writer.clock.now();
        let mut views = Vec::new();
        for action in self.fleet.decide(now) {
            match action {
                Action::Write(decision) => {
                    if decision.write {
                        log(&decision, views_before(&self.snapshot, &decision.node));
                        self.writer.weight(&decision, now.wall_us);
                    }
                    views.push(NodeView::of(&decision));
                }
                Action::Forget(node) => {
                    tracing::info!(node.id = &*node, "unseen for too long: its weight is deleted");
                    self.writer.bury(&node);
                }
            }
        }
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let metrics = &self.writer.metrics;
        let (open, untracked, stale) = self.fleet.counts();
        metrics.known_nodes.set(count(views.len()));
        metrics.dead_nodes.set(count(views.iter().filter(|v| v.rule == "dead").count()));
        metrics.open_calls.set(count(open));
        metrics.untracked_calls.set(untracked.cast_signed());
        metrics.stale_events.set(stale.cast_signed());
        *self.snapshot.lock() = views;
    }
}

/// The rule before, if the node was known.
fn views_before(snapshot: &Mutex<Vec<NodeView>>, node: &str) -> Option<&'static str> {
    snapshot.lock().iter().find(|view| view.node == node).map(|view| view.rule)
}

/// Death and return are worth a line; the rest is in the topic.
fn log(decision: &Decision, before: Option<&'static str>) {
    let (weighed, node) = (&decision.weighed, &*decision.node);
    match (before == Some("dead"), weighed.rule == "dead") {
        (false, true) => tracing::warn!(node.id = node, reason = weighed.reason, "a node is dead: no new calls for it"),
        (true, false) => tracing::info!(node.id = node, weight = weighed.weight, "a node is back"),
        _ => tracing::debug!(node.id = node, weight = weighed.weight, rule = weighed.rule, "weight"),
    }
}
