//! The newest changes, for reading; the topic keeps all of them.

use std::collections::VecDeque;

use schemas::ControlAudit;
use serde::Serialize;

const KEPT: usize = 500;

#[derive(Debug, Default)]
pub struct Audit {
    /// Oldest first.
    newest: VecDeque<ControlAudit>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AuditView {
    pub change_id: String,
    pub actor: String,
    pub action: String,
    pub target_kind: String,
    pub target_id: String,
    pub record_key: Option<String>,
    pub reason: Option<String>,
    pub result: String,
    pub error: Option<String>,
    pub via: Option<String>,
    pub source_ip: Option<String>,
    pub made_us: i64,
}

impl Audit {
    pub fn apply(&mut self, entry: ControlAudit) {
        if self.newest.iter().any(|known| known.change_id == entry.change_id) {
            return;
        }
        let at = self.newest.partition_point(|known| known.made_us <= entry.made_us);
        self.newest.insert(at, entry);
        if self.newest.len() > KEPT {
            self.newest.pop_front();
        }
    }

    /// Newest first. What a record was and is may hold numbers and stays in the topic.
    #[must_use]
    pub fn list(&self, limit: usize) -> Vec<AuditView> {
        self.newest.iter().rev().take(limit).cloned().map(view).collect()
    }
}

fn view(entry: ControlAudit) -> AuditView {
    AuditView {
        change_id: entry.change_id,
        actor: entry.actor,
        action: entry.action,
        target_kind: entry.target_kind,
        target_id: entry.target_id,
        record_key: entry.record_key,
        reason: entry.reason,
        result: entry.result,
        error: entry.error,
        via: entry.via,
        source_ip: entry.source_ip,
        made_us: entry.made_us,
    }
}
