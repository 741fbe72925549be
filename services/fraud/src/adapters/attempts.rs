//! `sip.transactions` → the rule → alerts and blocks.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use schemas::SipTransaction;
use stream::{Bad, Failure, Handler, Poison, Record, decode};

use crate::adapters::Writer;
use crate::core::{Attempt, Velocity};
use crate::metrics::Metrics;

pub struct Attempts {
    pub rule: Arc<Mutex<Velocity>>,
    pub writer: Writer,
    pub metrics: Metrics,
}

#[async_trait]
impl Handler for Attempts {
    async fn handle(&mut self, batch: &[Record]) -> Result<Vec<Poison>, Failure> {
        let mut poison = Vec::new();
        for (index, record) in batch.iter().enumerate() {
            // The header tells the kind without decoding: most events of a call are not attempts.
            let kind = record.header(stream::header::EVENT_TYPE);
            if kind.is_some_and(|kind| kind != b"attempt" && kind != b"refused") {
                continue;
            }
            match decode::<SipTransaction>(index, record) {
                Ok(event) => self.take(&event),
                Err(Bad::Poison(p)) => poison.push(p),
                Err(Bad::Wait(error)) => return Err(Failure::Transient(error)),
            }
        }
        Ok(poison)
    }

    async fn tick(&mut self) -> Result<(), Failure> {
        let (watched, unwatched) = {
            let mut rule = self.rule.lock();
            rule.sweep(self.writer.now_us());
            rule.size()
        };
        self.metrics.subjects.set(i64::try_from(watched).unwrap_or(i64::MAX));
        self.metrics.unwatched.set(i64::try_from(unwatched).unwrap_or(i64::MAX));
        Ok(())
    }
}

impl Attempts {
    fn take(&self, event: &SipTransaction) {
        if let Some(attempt) = attempt_of(event) {
            self.metrics.attempts.inc();
            let trigger = self.rule.lock().handle(attempt);
            if let Some(trigger) = trigger {
                self.writer.fired(&trigger);
            }
        }
    }
}

/// The first attempt of a call that came in from a trunk, or its refusal; a call bridged out by a node is not a caller's.
fn attempt_of(event: &SipTransaction) -> Option<Attempt> {
    let counts = event.event_type == "refused" || (event.event_type == "attempt" && event.attempt <= 1);
    if !counts || event.source_side != "trunk" {
        return None;
    }
    let parties = event.parties.as_ref()?;
    let caller = parties.caller_e164.clone().or_else(|| parties.caller_raw.clone())?;
    let callee = parties.callee_e164.clone().or_else(|| parties.callee_raw.clone()).unwrap_or_default();
    let at_us = event.timing.as_ref().and_then(|t| t.received_us).unwrap_or(event.occurred_us);
    Some(Attempt { trunk: event.source_id.clone(), caller, callee, call: event.call_root_id.clone(), at_us })
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::SipParties;

    fn event(kind: &str, side: &str, attempt: i32) -> SipTransaction {
        SipTransaction {
            event_type: kind.to_owned(),
            source_side: side.to_owned(),
            source_id: "west".to_owned(),
            attempt,
            call_root_id: "c".to_owned(),
            parties: Some(SipParties { caller_raw: Some("+1900".to_owned()), ..Default::default() }),
            ..Default::default()
        }
    }

    #[test]
    fn only_what_a_trunks_caller_started_counts() {
        assert!(attempt_of(&event("attempt", "trunk", 1)).is_some());
        assert!(attempt_of(&event("refused", "trunk", 0)).is_some());
        assert!(attempt_of(&event("attempt", "trunk", 2)).is_none(), "a failover is the same call");
        assert!(attempt_of(&event("attempt", "node", 1)).is_none(), "a bridged leg is the same call");
        assert!(attempt_of(&event("answered", "trunk", 1)).is_none());
    }
}
