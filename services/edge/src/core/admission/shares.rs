//! Limits that several edges share: what of a trunk's limits is this edge's.
//!
//! Every edge tells the others, a few times a second, how many calls it has and how many asked in the last second; each then works
//! out the same division. Calls per second: who asks for less than an equal part gets what it asks for, the rest is divided equally
//! among the others, and what nobody asks for is spread over all. Calls at once: each keeps what it has and an equal part of what
//! is free. So the sum never exceeds the limit by more than what changed since the last exchange, and nobody waits for anybody.
//! When the others were not heard for [`FRESH_US`], each edge keeps to its equal part of the limits.

use std::collections::BTreeMap;

use domain::Now;
use serde::{Deserialize, Serialize};

use super::gate::Limits;
use crate::core::Proxy;

/// As long as what the others said holds.
pub const FRESH_US: u64 = 3_000_000;

/// What one edge says about one trunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Use {
    pub calls: u32,
    /// New calls that asked to pass in the last second.
    pub asked_per_s: f64,
    /// New calls that wanted to go to it in the last second.
    pub asked_out_per_s: f64,
}

/// What all edges said, by edge and trunk; this one is among them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    pub edges: BTreeMap<String, BTreeMap<String, Use>>,
}

/// This edge's part of a trunk's limits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// Of the calls per second (0 to 1).
    pub cps: f64,
    /// Of the calls per second to it.
    pub cps_out: f64,
    calls: Calls,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Calls {
    /// That part of them.
    Part(f64),
    /// Own calls, an equal part of what was free.
    Own { own: u32, others: u32, edges: u32 },
}

impl Share {
    /// This edge is alone.
    pub const WHOLE: Share = Share { cps: 1.0, cps_out: 1.0, calls: Calls::Part(1.0) };

    /// One of so many edges, and nothing is known of the others.
    #[must_use]
    pub fn equal(edges: u32) -> Share {
        let part = 1.0 / f64::from(edges.max(1));
        Share { cps: part, cps_out: part, calls: Calls::Part(part) }
    }

    /// By what all edges said about that trunk. `edges` is how many there should be.
    #[must_use]
    pub fn of(told: &Told, edge: &str, trunk: &str, limits: &Limits, edges: u32) -> Share {
        let said = |uses: &BTreeMap<String, Use>| uses.get(trunk).copied().unwrap_or_default();
        let own = told.edges.get(edge).map(said).unwrap_or_default();
        let others: u32 = told.edges.iter().filter(|(id, _)| *id != edge).map(|(_, uses)| said(uses).calls).sum();
        let mut all: Vec<Use> = told.edges.values().map(said).collect();
        // One that was not heard may be up and out of reach: its part is left to it.
        let absent = edges.saturating_sub(all.len() as u32);
        if !told.edges.contains_key(edge) {
            all.push(Use::default());
        }
        let of_rate = |limit: f64, asked: fn(&Use) -> f64| {
            if limit <= 0.0 {
                return 1.0;
            }
            let heard = all.len() as f64;
            let mut wanted: Vec<f64> = all.iter().map(asked).collect();
            part(limit * (heard / (heard + f64::from(absent))), &mut wanted, asked(&own)) / limit
        };
        Share {
            cps: of_rate(limits.cps, |said| said.asked_per_s),
            cps_out: of_rate(limits.cps_out, |said| said.asked_out_per_s),
            calls: Calls::Own { own: own.calls, others, edges: (all.len() as u32 + absent).max(1) },
        }
    }

    /// How many calls this edge may have.
    #[must_use]
    pub fn calls(&self, limit: u32) -> u32 {
        match self.calls {
            Calls::Part(part) => (f64::from(limit) * part).round().max(1.0) as u32,
            Calls::Own { own, others, edges } => {
                let free = limit.saturating_sub(own + others);
                // The last few: better one too many than none for anybody.
                own.min(limit.saturating_sub(others)) + free.div_ceil(edges)
            }
        }
    }
}

impl Proxy {
    pub(in crate::core) fn take_shares(&mut self, now: Now, told: &Told) {
        self.admission.told_at = Some(now.mono_us);
        let edges = self.config.hot_state.edges;
        for (trunk, state) in self.topology.trunks.iter().zip(&mut self.trunks) {
            state.gate.take_share(Share::of(told, &self.topology.edge_id, &trunk.id, &trunk.limits, edges));
        }
    }

    /// Once a second: an edge that does not hear the others keeps to its part.
    pub(in crate::core) fn watch_shares(&mut self, now: Now) {
        let edges = self.config.hot_state.edges;
        let is_fresh = self.admission.told_at.is_some_and(|at| now.mono_us < at + FRESH_US);
        if edges > 1 && !is_fresh {
            self.trunks.iter_mut().for_each(|state| state.gate.take_share(Share::equal(edges)));
        }
    }
}

/// Max–min: what whoever asks for `own` gets of `limit`, with a part of what nobody asks for.
fn part(limit: f64, asked: &mut [f64], own: f64) -> f64 {
    asked.sort_by(f64::total_cmp);
    let (mut left, mut count) = (limit, asked.len() as f64);
    for &want in asked.iter() {
        let equal = left / count;
        if want > equal {
            // From here on everybody gets the same.
            return if own >= want { equal } else { own.min(equal) };
        }
        left -= want;
        count -= 1.0;
    }
    own + left / asked.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TrunkConfig;
    use proptest::prelude::*;

    fn told(uses: &[(&str, u32, f64)]) -> Told {
        let edge = |&(id, calls, asked_per_s): &(&str, u32, f64)| {
            let said = Use { calls, asked_per_s, asked_out_per_s: asked_per_s / 10.0 };
            (id.to_owned(), BTreeMap::from([("t".to_owned(), said)]))
        };
        Told { edges: uses.iter().map(edge).collect() }
    }

    /// So many calls per second from the trunk, and a tenth of it to it.
    fn limits(cps: f64) -> Limits {
        Limits::of(&TrunkConfig { cps, cps_out: cps / 10.0, ..TrunkConfig::default() })
    }

    #[test]
    fn the_parts_add_up_to_the_limit_and_the_idle_leave_theirs() {
        for (uses, want) in [
            (vec![("a", 0, 500.0), ("b", 0, 500.0)], vec![50.0, 50.0]),
            (vec![("a", 0, 500.0), ("b", 0, 10.0)], vec![90.0, 10.0]),
            (vec![("a", 0, 10.0), ("b", 0, 20.0)], vec![45.0, 55.0]),
            (vec![("a", 0, 0.0), ("b", 0, 0.0)], vec![50.0, 50.0]),
        ] {
            let told = told(&uses);
            for ((id, ..), want) in uses.iter().zip(want) {
                let share = Share::of(&told, id, "t", &limits(100.0), 2);
                for got in [share.cps * 100.0, share.cps_out * 100.0] {
                    assert!((got - want).abs() < 1e-9, "{id} got {got} of {uses:?}");
                }
            }
        }
        assert!(
            (Share::of(&told(&[("a", 0, 500.0)]), "a", "t", &limits(100.0), 2).cps - 0.5).abs() < 1e-9,
            "b was not heard"
        );
    }

    #[test]
    fn calls_at_once_never_exceed_the_limit_by_more_than_a_rounding() {
        proptest!(|(calls in prop::collection::vec(0u32..60, 1..6), limit in 1u32..300)| {
            let ids = ["a", "b", "c", "d", "e", "f"];
            let uses: Vec<(&str, u32, f64)> = calls.iter().zip(ids).map(|(&n, id)| (id, n, 1.0)).collect();
            let told = told(&uses);
            let edges = uses.len() as u32;
            let allowed: u32 = uses.iter().map(|(id, own, _)| {
                Share::of(&told, id, "t", &limits(1.0), edges).calls(limit).max(*own)
            }).sum();
            let open: u32 = calls.iter().sum();
            prop_assert!(allowed <= limit.max(open) + edges, "{allowed} of {limit}, open {open}");
        });
    }

    #[test]
    fn alone_it_has_all_and_without_news_an_equal_part() {
        assert_eq!(Share::WHOLE.calls(100), 100);
        assert_eq!((Share::equal(4).calls(100), Share::equal(4).cps), (25, 0.25));
        assert_eq!(Share::of(&told(&[("a", 30, 5.0), ("b", 50, 5.0)]), "a", "t", &limits(0.0), 2).calls(100), 40);
    }
}
