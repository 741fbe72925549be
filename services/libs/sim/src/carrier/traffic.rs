//! Ordinary traffic: which calls, in which order, at what moment.
//!
//! A pure function of the seed: call number `i` is the same in every run and can be asked for alone. Kinds come from a shuffled deck
//! of one hundred, so that any hundred calls in a row hold the mix exactly and small runs still see variety. Caller numbers never
//! repeat, so that a velocity rule has nothing to find among ordinary callers.
//!
//! Pacing is open-loop against the schedule: a slow platform does not slow its callers down, it only shows in `behind`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::plan::{CallPlan, Ends, Key, Kind};
use super::{CarrierHandle, Stopped};
use crate::rng::Rng;
use crate::sip::Credentials;

/// How often each kind occurs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix {
    weights: Vec<(Kind, u32)>,
}

impl Mix {
    /// Weights relative to their sum; an empty or all-zero list means echo calls only.
    #[must_use]
    pub fn new(weights: Vec<(Kind, u32)>) -> Self {
        Self { weights }
    }

    #[must_use]
    pub fn only(kind: Kind) -> Self {
        Self::new(vec![(kind, 1)])
    }

    fn deck(&self) -> Vec<Kind> {
        let deck: Vec<Kind> =
            self.weights.iter().flat_map(|(kind, weight)| std::iter::repeat_n(*kind, *weight as usize)).collect();
        if deck.is_empty() { vec![Kind::Echo] } else { deck }
    }
}

impl Default for Mix {
    /// 45 of 100 go to the menu, 20 to a bridge out through the edge, the rest to the ways a call can fail or stay simple.
    fn default() -> Self {
        Self::new(vec![
            (Kind::IvrMessage, 12),
            (Kind::IvrAgent, 12),
            (Kind::IvrHours, 7),
            (Kind::IvrNoInput, 5),
            (Kind::IvrInvalid, 4),
            (Kind::IvrAbandon, 5),
            (Kind::Echo, 15),
            (Kind::Bridged, 6),
            (Kind::BridgedFarEnds, 2),
            (Kind::BridgedBusy, 2),
            (Kind::BridgedDeclined, 2),
            (Kind::RingNoAnswer, 6),
            (Kind::Busy, 6),
            (Kind::Rejected, 4),
            (Kind::Authenticated, 6),
            (Kind::Unknown, 3),
            (Kind::QuickCancel, 3),
        ])
    }
}

/// Talk time of calls that the caller ends: exponential, cut at both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    pub mean: Duration,
    pub min: Duration,
    pub max: Duration,
}

impl Hold {
    /// All calls the same length: for a known number of open calls (rate × hold).
    #[must_use]
    pub fn fixed(hold: Duration) -> Self {
        Self { mean: hold, min: hold, max: hold }
    }

    fn draw(&self, rng: &mut Rng) -> Duration {
        rng.exponential(self.mean).clamp(self.min, self.max.max(self.min))
    }
}

impl Default for Hold {
    fn default() -> Self {
        Self { mean: Duration::from_secs(4), min: Duration::from_millis(500), max: Duration::from_secs(30) }
    }
}

/// A trunk that traffic may come from.
#[derive(Clone, Debug, Default)]
pub struct TrunkCaller {
    pub id: String,
    /// For calls that meet a challenge; none: the carrier's own.
    pub credentials: Option<Credentials>,
}

#[derive(Clone, Debug)]
pub struct Generator {
    pub seed: u64,
    /// Calls per second over all trunks.
    pub rate: f64,
    pub mix: Mix,
    pub hold: Hold,
    /// At least one; each call is placed on one of them.
    pub trunks: Vec<TrunkCaller>,
    /// What stands before the four digits of the called extension.
    pub called_prefix: String,
    /// What stands before the eight digits that make a caller unique.
    pub caller_prefix: String,
    /// A caller who waits for the far side to hang up stops waiting after this long: its node may have died.
    pub far_patience: Duration,
}

/// A call with its moment after the start of the traffic and its trunk (index into the generator's).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    pub at: Duration,
    pub trunk: usize,
    pub plan: CallPlan,
}

/// How far a run is; shared with whoever shows it.
#[derive(Debug, Default)]
pub struct Progress {
    placed: AtomicU64,
    behind_us: AtomicU64,
}

impl Progress {
    #[must_use]
    pub fn placed(&self) -> u64 {
        self.placed.load(Ordering::Relaxed)
    }

    /// How late the last call was placed: more than a few milliseconds means that this machine cannot offer the rate.
    #[must_use]
    pub fn behind(&self) -> Duration {
        Duration::from_micros(self.behind_us.load(Ordering::Relaxed))
    }
}

impl Generator {
    #[must_use]
    pub fn new(seed: u64, rate: f64, trunks: Vec<TrunkCaller>) -> Self {
        Self {
            seed,
            rate,
            mix: Mix::default(),
            hold: Hold::default(),
            trunks,
            called_prefix: "+4922155".to_owned(),
            caller_prefix: "+4930".to_owned(),
            far_patience: Duration::from_secs(30),
        }
    }

    /// Call number `index`, the same in every run with this seed.
    #[must_use]
    pub fn planned(&self, index: u64) -> Planned {
        let root = Rng::new(self.seed).fork("traffic");
        let mut rng = root.fork_index(index);
        let trunk = rng.below(self.trunks.len() as u64) as usize;
        let at = Duration::from_secs_f64(index as f64 / self.rate.max(0.001));
        let trunk_id = self.trunks.get(trunk).map_or("trunk", |trunk| trunk.id.as_str());
        let call_id = format!("{:016x}-{index}@{trunk_id}", root.fork("call-id").fork_index(index).next_u64());
        let kind = self.kind(&root, index);
        let from = format!("{}{:08}", self.caller_prefix, unique_eight_digits(self.seed, index));
        let mut plan = CallPlan::new(call_id, from, String::new(), Duration::ZERO);
        plan.kind = kind;
        plan.credentials = self.trunks.get(trunk).and_then(|trunk| trunk.credentials.clone());
        self.fill(&mut plan, &mut rng);
        Planned { at, trunk, plan }
    }

    /// The first `count` calls.
    pub fn plans(&self, count: u64) -> impl Iterator<Item = Planned> + '_ {
        (0..count).map(|index| self.planned(index))
    }

    /// Places calls `from..to` (no end: until stopped) at their moments, counted from now for call `from`. `carriers` stand in the
    /// order of the generator's trunks. Returns how many were placed.
    ///
    /// # Errors
    /// [`Stopped`] when a carrier is gone.
    pub async fn run(
        &self,
        carriers: &[CarrierHandle],
        from: u64,
        to: Option<u64>,
        progress: Arc<Progress>,
        stop: CancellationToken,
    ) -> Result<u64, Stopped> {
        let started = Instant::now();
        let first = self.planned(from).at;
        let mut placed = 0;
        for index in from..to.unwrap_or(u64::MAX) {
            let next = self.planned(index);
            let due = started + (next.at - first);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = tokio::time::sleep_until(due) => {}
            }
            let carrier = carriers.get(next.trunk).ok_or(Stopped)?;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                done = carrier.place(next.plan) => done?,
            }
            placed += 1;
            progress.placed.fetch_add(1, Ordering::Relaxed);
            progress.behind_us.store(micros(due.elapsed()), Ordering::Relaxed);
        }
        Ok(placed)
    }

    fn kind(&self, root: &Rng, index: u64) -> Kind {
        let mut deck = self.mix.deck();
        let size = deck.len() as u64;
        let mut shuffle = root.fork("deck").fork_index(index / size);
        for at in (1..deck.len()).rev() {
            deck.swap(at, shuffle.below(at as u64 + 1) as usize);
        }
        deck[(index % size) as usize]
    }

    /// Extension, keys, hold and patience of a kind.
    fn fill(&self, plan: &mut CallPlan, rng: &mut Rng) {
        let hold = self.hold.draw(rng);
        let thinking = |rng: &mut Rng| rng.duration(Duration::from_millis(500), Duration::from_millis(1600));
        let last_two = rng.below(100);
        let last_three = rng.below(1000);
        let (extension, keys): (u64, &str) = match plan.kind {
            Kind::IvrMessage => (1000 + last_three, "2"),
            Kind::IvrAgent => (1000 + last_three, "11"),
            Kind::IvrHours => (1000 + last_three, "12"),
            Kind::IvrNoInput | Kind::IvrAbandon => (1000 + last_three, ""),
            Kind::IvrInvalid => (1000 + last_three, "9"),
            Kind::Echo | Kind::Other | Kind::Attack => (3000 + last_three, ""),
            Kind::Bridged => (4000 + last_two, ""),
            Kind::BridgedBusy => (4100 + last_two, ""),
            Kind::RingNoAnswer | Kind::QuickCancel => (4200 + last_two, ""),
            Kind::BridgedDeclined => (4300 + last_two, ""),
            Kind::BridgedFarEnds => (4500 + last_two, ""),
            Kind::Busy => (5000 + last_three, ""),
            Kind::Rejected => (6000 + last_three, ""),
            Kind::Authenticated => (7000 + last_three, ""),
            Kind::Unknown => (9000 + last_three, ""),
        };
        plan.to = format!("{}{extension:04}", self.called_prefix);
        plan.keys = keys.chars().map(|digit| Key { after: thinking(rng), digit }).collect();
        plan.hold = hold + plan.keys.iter().map(|key| key.after).sum::<Duration>();
        match plan.kind {
            Kind::IvrMessage | Kind::IvrHours | Kind::IvrNoInput | Kind::IvrInvalid | Kind::BridgedFarEnds => {
                plan.ends = Ends::Far;
                plan.hold = self.far_patience;
            }
            // Long enough for the agent to be reached, and a talk after it.
            Kind::IvrAgent => plan.hold += Duration::from_secs(2),
            Kind::IvrAbandon => plan.hold = rng.duration(Duration::from_millis(300), Duration::from_millis(1500)),
            Kind::RingNoAnswer => {
                plan.cancel_after = Some(rng.duration(Duration::from_secs(2), Duration::from_secs(6)));
            }
            Kind::QuickCancel => {
                plan.cancel_after = Some(rng.duration(Duration::from_millis(5), Duration::from_millis(300)));
                // Every third calls where the switch answers at once, so that CANCEL and answer cross.
                if last_two.is_multiple_of(3) {
                    plan.to = format!("{}{:04}", self.called_prefix, 3000 + last_three);
                }
            }
            _ => {}
        }
    }
}

/// A permutation of the eight-digit numbers: no caller twice within 100 million calls of a run.
fn unique_eight_digits(seed: u64, index: u64) -> u64 {
    const SPACE: u64 = 100_000_000;
    // Odd and no multiple of five, so it has no factor in common with 10^8.
    const STEP: u64 = 61_803_399;
    (index.wrapping_mul(STEP) % SPACE + seed % SPACE) % SPACE
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{HashMap, HashSet};

    fn generator(seed: u64) -> Generator {
        let trunk = |id: &str| TrunkCaller { id: id.into(), credentials: None };
        Generator::new(seed, 100.0, vec![trunk("north"), trunk("south")])
    }

    #[test]
    fn the_same_seed_plans_the_same_calls_and_another_seed_others() {
        let first: Vec<_> = generator(7).plans(500).collect();
        assert_eq!(first, generator(7).plans(500).collect::<Vec<_>>());
        assert_eq!(first[321], generator(7).planned(321), "a call can be asked for alone");
        assert_ne!(first, generator(8).plans(500).collect::<Vec<_>>());
    }

    #[test]
    fn callers_and_call_ids_never_repeat_and_both_trunks_are_used() {
        let plans: Vec<_> = generator(3).plans(20_000).collect();
        assert_eq!(plans.iter().map(|p| &p.plan.from).collect::<HashSet<_>>().len(), plans.len());
        assert_eq!(plans.iter().map(|p| &p.plan.call_id).collect::<HashSet<_>>().len(), plans.len());
        let north = plans.iter().filter(|p| p.trunk == 0).count();
        assert!((9_000..11_000).contains(&north), "{north}");
    }

    #[test]
    fn any_hundred_calls_hold_the_mix_exactly() {
        let generator = generator(11);
        for block in [0, 5] {
            let mut kinds: HashMap<Kind, u32> = HashMap::new();
            for index in block * 100..(block + 1) * 100 {
                *kinds.entry(generator.planned(index).plan.kind).or_default() += 1;
            }
            assert_eq!(kinds, Mix::default().weights.into_iter().collect());
        }
    }

    #[test]
    fn every_kind_dials_an_extension_that_does_its_part() {
        for planned in generator(5).plans(2_000) {
            let plan = planned.plan;
            let extension: u32 = plan.to[plan.to.len() - 4..].parse().unwrap();
            let good = match plan.kind {
                Kind::Echo => (3000..4000).contains(&extension),
                Kind::RingNoAnswer => (4200..4300).contains(&extension) && plan.cancel_after.is_some(),
                Kind::QuickCancel => plan.cancel_after.is_some_and(|after| after < Duration::from_millis(301)),
                Kind::Authenticated => (7000..8000).contains(&extension),
                Kind::IvrAgent => (1000..2000).contains(&extension) && plan.keys.len() == 2,
                Kind::IvrNoInput => plan.keys.is_empty() && plan.ends == Ends::Far,
                Kind::Unknown => (9000..10_000).contains(&extension),
                _ => (1000..7000).contains(&extension),
            };
            assert!(good, "{plan:?}");
            assert!(plan.ends == Ends::Far || plan.hold >= Duration::from_millis(300), "{plan:?}");
        }
    }

    #[test]
    fn moments_follow_the_rate() {
        assert_eq!(generator(1).planned(250).at, Duration::from_millis(2500));
    }
}
