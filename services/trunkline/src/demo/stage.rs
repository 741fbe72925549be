//! Staging an attack and a node failure, and following what becomes of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use sim::carrier::{Attack, AttackHandle};

use crate::demo::conductor::Show;
use crate::demo::staged::{AttackReport, FailureReport, FailureWatch, attack_is_over};
use crate::demo::world::{ATTACKER, COMPROMISED};

/// A dead node comes back after this in a demo without an end, so that `k` can be pressed again.
const NODE_BACK_AFTER: Duration = Duration::from_secs(30);
/// What became of a dead node is told after this long: every witness has spoken by then.
const FAILURE_TOLD_AFTER: Duration = Duration::from_secs(6);
const ATTACK_RATE: f64 = 40.0;
const ATTACK_CALLS: u64 = 160;

impl Show {
    pub(super) async fn stage_attack(&mut self) -> anyhow::Result<()> {
        if self.attack.as_ref().is_some_and(|a| !a.is_finished()) {
            return Ok(());
        }
        self.attacks += 1;
        let text = format!(
            "attack: the password of trunk `{COMPROMISED}` leaked; {ATTACK_RATE} INVITEs/s to premium numbers by {}",
            domain::mask_number(ATTACKER)
        );
        self.terminal.say("attack", &text, json!({ "calls": ATTACK_CALLS, "rate": ATTACK_RATE }));
        let caller = self.attacker();
        let attack = Attack::new(self.args.seed.wrapping_add(self.attacks), caller, ATTACK_RATE, ATTACK_CALLS);
        let carrier = self.world.compromised.clone();
        self.attack = Some(self.places.world.start(move || async move { Ok(attack.start(carrier)) }).await?);
        self.attack_told = false;
        Ok(())
    }

    /// Each burst is by another leaked number, or the first one's block would end it before it began.
    fn attacker(&self) -> String {
        format!("{ATTACKER}{}", self.attacks)
    }

    pub(super) async fn stage_failure(&mut self) {
        let alive: Vec<_> = self.world.nodes.iter().filter(|n| n.is_alive()).collect();
        // The last node stays: a demo without any node shows nothing.
        let Some(node) = (alive.len() > 1).then(|| Arc::clone(alive[0])) else { return };
        let view = self.node_view(&node.id());
        let calls = node.stats().channels;
        node.kill().await;
        let attempts = view.map_or(0, |v| v.attempts);
        self.failure = Some(FailureWatch::new(&node.id(), calls, attempts, Instant::now()));
        self.failed_at = Some(Instant::now());
        self.failure_told = false;
        let text = format!("node {} was killed with {calls} channels on it", node.id());
        self.terminal.say("node_failure", &text, json!({ "node": node.id(), "channels": calls }));
    }

    fn node_view(&self, id: &str) -> Option<edge::NodeView> {
        self.platform.edge.snapshot().nodes.into_iter().find(|n| n.id == id)
    }

    pub(super) fn watch_attack(&mut self) {
        let over = self.attack.as_ref().is_some_and(AttackHandle::is_finished) && attack_is_over(&self.world.ledger);
        if over && !self.attack_told {
            self.attack_told = true;
            let report = self.attack_report();
            let fields = serde_json::to_value(&report).unwrap_or_default();
            self.terminal.say("attack_over", &report.sentence(), fields);
        }
    }

    pub fn attack_report(&self) -> AttackReport {
        if self.attacks == 0 {
            return AttackReport::default();
        }
        let latest = self.platform.downstream.fraud.running().map(|fraud| fraud.latest()).unwrap_or_default();
        AttackReport::of(&self.world.ledger.snapshot(), &self.attacker(), &latest)
    }

    pub(super) async fn watch_failure(&mut self) {
        let Some(node) = self.failure.as_ref().map(|w| w.node().to_owned()) else { return };
        if self.world.nodes.iter().any(|n| n.id() == node && n.is_alive()) {
            return;
        }
        let view = self.node_view(&node);
        if let (Some(watch), Some(view)) = (&mut self.failure, view) {
            watch.look(&view);
        }
        let since = self.failed_at.map_or(Duration::ZERO, |at| at.elapsed());
        if since >= FAILURE_TOLD_AFTER && !self.failure_told {
            self.tell_failure();
        }
        if self.args.calls.is_none() && since >= NODE_BACK_AFTER {
            let Some(dead) = self.world.nodes.iter().find(|n| n.id() == node).cloned() else { return };
            let back = self.places.world.start(move || async move { Ok(dead.restart().await?) }).await;
            let text = match back {
                Ok(()) => format!("node {node} is back with a new Core-UUID and takes calls slowly at first"),
                Err(error) => format!("node {node} could not come back: {error:#}"),
            };
            self.terminal.say("node_back", &text, json!({ "node": node }));
            self.failed_at = None;
        }
    }

    pub fn tell_failure(&mut self) {
        if let Some(watch) = self.failure.as_ref().filter(|_| !self.failure_told) {
            self.failure_told = true;
            let (text, fields) = (watch.sentence(), serde_json::to_value(watch.report()).unwrap_or_default());
            self.terminal.say("node_failure_over", &text, fields);
        }
    }

    pub fn failure_report(&self) -> FailureReport {
        self.failure.as_ref().map(|w| w.report().clone()).unwrap_or_default()
    }
}
