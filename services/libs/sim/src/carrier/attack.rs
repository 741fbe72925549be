//! A fraud burst: one caller walks through premium numbers, fast.
//!
//! Each INVITE is a call of its own in the ledger, marked as attack. The rate is capped at 50 a second: above what the edge records
//! call by call, refusals would be counted only in sum.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::CarrierHandle;
use super::plan::{CallPlan, Kind};
use crate::rng::Rng;

const MAX_RATE: f64 = 50.0;

#[derive(Clone, Debug)]
pub struct Attack {
    pub seed: u64,
    /// The one number all calls come from.
    pub caller: String,
    /// Called numbers begin so; a walking number with an echo extension follows.
    pub prefix: String,
    /// Calls per second, at most 50.
    pub rate: f64,
    pub count: u64,
    /// Talk time of the calls that get through.
    pub hold: Duration,
}

impl Attack {
    #[must_use]
    pub fn new(seed: u64, caller: impl Into<String>, rate: f64, count: u64) -> Self {
        Self { seed, caller: caller.into(), prefix: "+88213".to_owned(), rate, count, hold: Duration::from_secs(2) }
    }

    /// Call number `index` of the burst. The last four digits walk through 3000–3999, those before them count on.
    #[must_use]
    pub fn plan(&self, index: u64) -> CallPlan {
        let mark = Rng::new(self.seed).fork("attack").fork(&self.caller).fork_index(index).next_u64();
        let called = format!("{}{:04}{:04}", self.prefix, index / 1000, 3000 + index % 1000);
        let mut plan = CallPlan::new(format!("{mark:016x}-attack-{index}"), self.caller.as_str(), called, self.hold);
        plan.kind = Kind::Attack;
        plan.attack = true;
        plan
    }

    /// Begins at once, on the current runtime.
    #[must_use]
    pub fn start(self, carrier: CarrierHandle) -> AttackHandle {
        let stop = CancellationToken::new();
        let placed = Arc::new(AtomicU64::new(0));
        let task = crate::task::spawn(self.run(carrier, placed.clone(), stop.clone()));
        AttackHandle { stop, placed, task }
    }

    async fn run(self, carrier: CarrierHandle, placed: Arc<AtomicU64>, stop: CancellationToken) {
        let started = Instant::now();
        let rate = self.rate.clamp(0.1, MAX_RATE);
        let mut last = None;
        for index in 0..self.count {
            let scheduled = started + Duration::from_secs_f64(index as f64 / rate);
            // Never closer together than the cap allows, not even to catch up after a pause.
            let due =
                last.map_or(scheduled, |last: Instant| scheduled.max(last + Duration::from_secs_f64(1.0 / MAX_RATE)));
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(due) => {}
            }
            last = Some(Instant::now());
            if carrier.place(self.plan(index)).await.is_err() {
                return;
            }
            placed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[derive(Debug)]
pub struct AttackHandle {
    stop: CancellationToken,
    placed: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl AttackHandle {
    #[must_use]
    pub fn placed(&self) -> u64 {
        self.placed.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// No further call is placed; those on the way go on.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until all calls were placed or the burst was stopped; says how many there were.
    pub async fn finished(self) -> u64 {
        // A join error would be a panic or an abort of the task; what was placed stays true.
        let _ = self.task.await;
        self.placed.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn one_caller_walks_distinct_premium_numbers() {
        let attack = Attack::new(1, "+4930666", 50.0, 3000);
        let plans: Vec<_> = (0..3000).map(|index| attack.plan(index)).collect();
        assert!(plans.iter().all(|p| p.from == "+4930666" && p.to.starts_with("+88213") && p.attack));
        assert!(plans.iter().all(|p| p.to.as_bytes()[p.to.len() - 4] == b'3'), "the switch answers echo extensions");
        assert_eq!(plans.iter().map(|p| &p.to).collect::<HashSet<_>>().len(), plans.len());
        assert_eq!(plans.iter().map(|p| &p.call_id).collect::<HashSet<_>>().len(), plans.len());
    }
}
