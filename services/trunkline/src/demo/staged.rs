//! The two staged events, watched from outside: what was seen, what was done about it, and how fast.

use std::time::Duration;

use serde::Serialize;
use sim::ledger::{Ledger, Snapshot};

use crate::demo::status::span;

/// The attack, from its first INVITE to the last one refused.
#[derive(Debug, Clone, Default, Serialize)]
pub struct AttackReport {
    pub staged: bool,
    pub calls: u64,
    pub passed: u64,
    pub refused: u64,
    pub blocked: bool,
    /// From the first INVITE of the burst to the rule firing, to the published block, to the edge's acknowledgement, to the
    /// first refusal that the attacker saw.
    pub seen_ms: Option<u64>,
    pub published_ms: Option<u64>,
    pub acknowledged_ms: Option<u64>,
    pub refused_ms: Option<u64>,
    /// From the attempt that was one too many to the edge refusing: what the fraud service promises.
    pub trigger_to_refusal_ms: Option<u64>,
}

impl AttackReport {
    /// Built from the ledger (what the attacker saw) and the fraud service (what it did) for the burst of one caller.
    #[must_use]
    pub fn of(snapshot: &Snapshot, caller: &str, fraud: &fraud::Latest) -> AttackReport {
        let mut calls: Vec<_> = snapshot.calls.iter().filter(|c| c.attack && c.from == caller).collect();
        calls.sort_by_key(|c| c.invite.mono_us);
        let Some(first) = calls.first() else { return AttackReport::default() };
        let begin = first.invite.wall_us;
        let since = |at: Option<i64>| at.and_then(|at| u64::try_from((at - begin) / 1000).ok());
        let is_refused = |code: Option<u16>| matches!(code, Some(403 | 603));
        let refusals: Vec<_> = calls.iter().filter(|c| !c.answered() && is_refused(c.final_code)).collect();
        let first_refusal = refusals.iter().filter_map(|c| c.end).map(|e| e.wall_us).min();
        let trigger = fraud.triggered_us.filter(|at| *at >= begin);
        AttackReport {
            staged: true,
            calls: calls.len() as u64,
            passed: (calls.len() - refusals.len()) as u64,
            refused: refusals.len() as u64,
            // Blocked means that the burst ended in refusals only, not that one INVITE happened to fail.
            blocked: calls.len() >= 5 && calls.iter().rev().take(5).all(|c| is_refused(c.final_code)),
            seen_ms: since(trigger),
            published_ms: since(fraud.published_us.filter(|at| *at >= begin)),
            acknowledged_ms: since(fraud.confirmed_us.filter(|at| *at >= begin)),
            refused_ms: since(first_refusal),
            trigger_to_refusal_ms: match (trigger, fraud.confirmed_us) {
                (Some(t), Some(c)) => u64::try_from((c - t) / 1000).ok(),
                _ => None,
            },
        }
    }

    #[must_use]
    pub fn sentence(&self) -> String {
        let ms = |v: Option<u64>| v.map_or_else(|| "never".to_owned(), |v| span(Duration::from_millis(v)));
        format!(
            "attack: {} INVITEs by one caller on trunk `{}`; seen after {}, block in force at the edge {} after the call that was one \
             too many; {} passed, {} refused{}",
            self.calls,
            super::world::COMPROMISED,
            ms(self.seen_ms),
            ms(self.trigger_to_refusal_ms),
            self.passed,
            self.refused,
            if self.blocked { "" } else { " — the block does not hold (any more)" },
        )
    }
}

/// A node that died, as the edge and the weights saw it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct FailureReport {
    pub staged: bool,
    pub node: String,
    /// Calls that were on it when it died.
    pub calls_on_it: u64,
    /// From its death to the edge calling it down, to its weight being 0, to the last INVITE sent to it.
    pub down_ms: Option<u64>,
    pub weight_zero_ms: Option<u64>,
    pub last_invite_ms: Option<u64>,
    /// INVITEs sent to it after its death; each was tried again elsewhere.
    pub invites_after_death: u64,
    /// No new call for at least 3 s while others were up, and the edge knows why.
    pub relieved: bool,
}

/// Watches one dead node until it is clear what happened.
#[derive(Debug)]
pub struct FailureWatch {
    report: FailureReport,
    died: std::time::Instant,
    attempts_at_death: u64,
    last_attempts: u64,
}

impl FailureWatch {
    #[must_use]
    pub fn new(node: &str, calls_on_it: u64, attempts: u64, died: std::time::Instant) -> FailureWatch {
        let report = FailureReport { staged: true, node: node.to_owned(), calls_on_it, ..FailureReport::default() };
        FailureWatch { report, died, attempts_at_death: attempts, last_attempts: attempts }
    }

    /// Takes in the edge's view of the node.
    pub fn look(&mut self, view: &edge::NodeView) {
        let since = u64::try_from(self.died.elapsed().as_millis()).unwrap_or(u64::MAX);
        if self.report.down_ms.is_none() && view.state == "down" {
            self.report.down_ms = Some(since);
        }
        if self.report.weight_zero_ms.is_none() && view.factor <= 0.0 {
            self.report.weight_zero_ms = Some(since);
        }
        if view.attempts > self.last_attempts {
            self.last_attempts = view.attempts;
            self.report.last_invite_ms = Some(since);
        }
        self.report.invites_after_death = self.last_attempts - self.attempts_at_death;
        self.report.relieved = (self.report.down_ms.is_some() || self.report.weight_zero_ms.is_some())
            && self.report.last_invite_ms.is_none_or(|last| last <= 3_000);
    }

    #[must_use]
    pub fn node(&self) -> &str {
        &self.report.node
    }

    #[must_use]
    pub fn report(&self) -> &FailureReport {
        &self.report
    }

    #[must_use]
    pub fn sentence(&self) -> String {
        let r = &self.report;
        let ms = |v: Option<u64>| v.map_or_else(|| "not yet".to_owned(), |v| span(Duration::from_millis(v)));
        let last = r.last_invite_ms.map_or_else(
            || "no new call was sent to it".to_owned(),
            |v| {
                format!(
                    "{} new calls met it, the last after {}, and were tried elsewhere",
                    r.invites_after_death,
                    span(Duration::from_millis(v))
                )
            },
        );
        format!(
            "node {} died with {} calls on it; down at the edge after {}, weight 0 after {}; {last}",
            r.node,
            r.calls_on_it,
            ms(r.down_ms),
            ms(r.weight_zero_ms),
        )
    }
}

/// How many calls of the burst the attacker saw refused so far.
#[must_use]
pub fn attack_is_over(ledger: &Ledger) -> bool {
    ledger.counters().attack.open == 0
}
