//! The newest alerts. A bounded window; the topic keeps the rest.

use std::collections::VecDeque;

use schemas::{BlockScope, FraudAlert};
use serde::Serialize;

use super::mask::Numbers;

/// More than a person reads.
const KEPT: usize = 500;

#[derive(Debug, Default)]
pub struct Alerts {
    /// Oldest first.
    newest: VecDeque<FraudAlert>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AlertView {
    pub alert_id: String,
    pub subject: String,
    pub rule: String,
    pub mode: String,
    pub severity: Option<String>,
    pub score: f64,
    pub made_us: i64,
    pub observed: Option<f64>,
    pub threshold: Option<f64>,
    pub window_us: Option<i64>,
    pub reason: Option<String>,
    pub scope: Option<BlockScope>,
    pub block_id: Option<String>,
    pub suppressed: Option<String>,
    pub call_id: Option<String>,
    pub evidence: Vec<String>,
}

impl Alerts {
    /// A copy of a known alert changes nothing.
    pub fn apply(&mut self, alert: FraudAlert) {
        if self.newest.iter().any(|known| known.alert_id == alert.alert_id) {
            return;
        }
        let at = self.newest.partition_point(|known| known.made_us <= alert.made_us);
        self.newest.insert(at, alert);
        if self.newest.len() > KEPT {
            self.newest.pop_front();
        }
    }

    /// Newest first.
    #[must_use]
    pub fn list(&self, limit: usize, numbers: Numbers) -> Vec<AlertView> {
        self.newest.iter().rev().take(limit).map(|alert| view(alert, numbers)).collect()
    }
}

fn view(alert: &FraudAlert, numbers: Numbers) -> AlertView {
    AlertView {
        alert_id: alert.alert_id.clone(),
        subject: numbers.subject(&alert.subject),
        rule: alert.rule.clone(),
        mode: alert.mode.clone(),
        severity: alert.severity.clone(),
        score: alert.score,
        made_us: alert.made_us,
        observed: alert.observed,
        threshold: alert.threshold,
        window_us: alert.window_us,
        reason: alert.reason.clone(),
        scope: alert.scope.as_ref().map(|scope| numbers.scope(scope)),
        block_id: alert.block_id.clone(),
        suppressed: alert.suppressed.clone(),
        call_id: alert.trigger_call_root_id.clone(),
        evidence: alert.evidence.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(n: i64) -> FraudAlert {
        FraudAlert { alert_id: format!("a{n}"), made_us: n, ..FraudAlert::default() }
    }

    #[test]
    fn the_newest_stand_first_whatever_order_they_come_in_and_copies_count_once() {
        let mut alerts = Alerts::default();
        for n in [3, 1, 2, 3] {
            alerts.apply(alert(n));
        }
        let ids: Vec<String> = alerts.list(10, Numbers::Masked).into_iter().map(|a| a.alert_id).collect();
        assert_eq!(ids, ["a3", "a2", "a1"]);
    }

    #[test]
    fn the_window_is_bounded_and_loses_the_oldest() {
        let mut alerts = Alerts::default();
        (0..2_000).for_each(|n| alerts.apply(alert(n)));
        let all = alerts.list(usize::MAX, Numbers::Masked);
        assert_eq!((all.len(), all[KEPT - 1].made_us), (KEPT, 1_500));
    }
}
