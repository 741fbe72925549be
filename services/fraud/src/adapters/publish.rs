//! What a fired rule becomes: an alert always, a block only where the settings enforce, a tombstone an hour after its end.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use schemas::{BlockScope, ControlBlock, Event as _, FraudAlert};
use uuid::Uuid;

use crate::app::Latest;
use crate::config::Mode;
use crate::core::{Confirmed, Trigger};
use crate::metrics::Metrics;

pub const AUTHOR: &str = "fraud";
const RULE: &str = "velocity";
const TOMBSTONE_AFTER_US: i64 = 3_600_000_000;

/// Cheap to clone: all clones share the books about our own blocks.
#[derive(Clone)]
pub struct Writer {
    pub publisher: stream::Publisher,
    pub clock: Arc<dyn domain::Clock>,
    pub mode: Mode,
    pub threshold: f64,
    pub window_us: i64,
    pub metrics: Metrics,
    pub latest: Arc<Mutex<Latest>>,
    /// Keys of our own records and when their tombstone is due.
    pub to_bury: Arc<Mutex<BTreeMap<String, i64>>>,
}

impl Writer {
    pub fn now_us(&self) -> i64 {
        self.clock.now().wall_us
    }

    pub fn fired(&self, trigger: &Trigger) {
        let now_us = self.now_us();
        // A backlog may tell of a burst that is over: an alert is right, a block would hit somebody else's day.
        let expires_us = trigger.triggered_us + trigger.block_us;
        let suppressed = match (self.mode, trigger.spared) {
            (_, Some(why)) => Some(why),
            (Mode::Shadow, None) => Some("shadow"),
            (Mode::Enforce, None) if expires_us <= now_us => Some("over"),
            (Mode::Enforce, None) => None,
        };
        let scope = BlockScope {
            trunk: Some(trigger.trunk.clone()),
            caller: Some(trigger.caller.clone()),
            ..BlockScope::default()
        };
        let alert_id = Uuid::now_v7().to_string();
        let block_id = suppressed.is_none().then(|| Uuid::now_v7().to_string());
        let alert = self.alert(trigger, &alert_id, scope.clone(), block_id.clone(), suppressed, now_us);
        let reason = alert.reason.clone();
        self.publisher.publish(alert);
        self.metrics.alerts.inc();
        if let Some(block_id) = block_id {
            self.publisher.publish(self.block(trigger, alert_id, block_id, scope, reason, now_us, expires_us));
            self.metrics.blocks.inc();
            self.metrics.publish_seconds.observe((now_us - trigger.triggered_us).max(0) as f64 / 1e6);
        }
        tracing::warn!(
            trunk.id = trigger.trunk,
            caller = domain::mask_number(&trigger.caller),
            attempts = trigger.observed,
            suppressed,
            "too many attempts by one caller"
        );
        let mut latest = self.latest.lock();
        latest.alerts += 1;
        latest.blocks += u64::from(suppressed.is_none());
        latest.triggered_us = Some(trigger.triggered_us);
        latest.first_attempt_us = Some(trigger.since_us);
        latest.published_us = Some(now_us);
        latest.confirmed_us = None;
    }

    /// An edge refuses now.
    pub fn confirmed(&self, confirmed: &Confirmed) {
        let mut latest = self.latest.lock();
        latest.confirmed_us = latest.triggered_us.map(|at| at + confirmed.latency_us);
    }

    /// A record of ours stands in the topic; its tombstone is due an hour after its end.
    pub fn remember(&self, key: &str, expires_us: i64) {
        self.to_bury.lock().insert(key.to_owned(), expires_us + TOMBSTONE_AFTER_US);
    }

    pub fn bury(&self, now_us: i64) {
        let due: Vec<String> = {
            let mut all = self.to_bury.lock();
            let due: Vec<String> = all.iter().filter(|(_, at)| **at <= now_us).map(|(key, _)| key.clone()).collect();
            all.retain(|_, at| *at > now_us);
            due
        };
        for key in due {
            self.publisher.tombstone(ControlBlock::TOPIC, &key);
        }
    }

    fn alert(
        &self,
        trigger: &Trigger,
        alert_id: &str,
        scope: BlockScope,
        block_id: Option<String>,
        suppressed: Option<&str>,
        now_us: i64,
    ) -> FraudAlert {
        let seconds = self.window_us / 1_000_000;
        FraudAlert {
            event_type: "alert".to_owned(),
            subject: format!("trunk/{}/caller/{}", trigger.trunk, trigger.caller),
            alert_id: alert_id.to_owned(),
            rule: RULE.to_owned(),
            rule_version: Some("1".to_owned()),
            mode: self.mode.as_str().to_owned(),
            severity: Some("critical".to_owned()),
            score: 1.0,
            made_us: now_us,
            triggered_us: Some(trigger.triggered_us),
            trigger_call_root_id: Some(trigger.trigger_call.clone()),
            window_us: Some(self.window_us),
            observed: Some(trigger.observed as f64),
            threshold: Some(self.threshold),
            scope: Some(scope),
            block_id,
            suppressed: suppressed.map(str::to_owned),
            reason: Some(format!(
                "{} calls in {seconds} s by {} on trunk {}",
                trigger.observed,
                domain::mask_number(&trigger.caller),
                trigger.trunk
            )),
            evidence: trigger.evidence.clone(),
            ..FraudAlert::default()
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one record, each made once by the caller")]
    fn block(
        &self,
        trigger: &Trigger,
        alert_id: String,
        block_id: String,
        scope: BlockScope,
        reason: Option<String>,
        now_us: i64,
        expires_us: i64,
    ) -> ControlBlock {
        ControlBlock {
            event_type: "block".to_owned(),
            author: AUTHOR.to_owned(),
            block_id,
            mode: Mode::Enforce.as_str().to_owned(),
            scope,
            rule: Some(RULE.to_owned()),
            reason,
            alert_id: Some(alert_id),
            evidence: trigger.evidence.clone(),
            triggered_us: Some(trigger.triggered_us),
            made_us: now_us,
            expires_us,
            ..ControlBlock::default()
        }
    }
}
