//! The velocity rule: one caller on one trunk starts more calls in a window than anybody would by hand.
//!
//! What must hold:
//! - time is the event's own, so a replay decides as the live run did, and a late batch is not a burst;
//! - a call counts once, however often its events are delivered, challenged or failed over;
//! - while a block lives (or has been lifted by a person and would still live) its subject gives no second one: undo is undo
//!   until the block's own expiry;
//! - memory is bounded: at most `max_subjects` callers, each with at most `attempts` entries.

use std::collections::{HashMap, VecDeque};

/// One initial INVITE, as the edge reported it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub trunk: String,
    pub caller: String,
    pub callee: String,
    /// Identity of the call: a second event of it does not count again.
    pub call: String,
    pub at_us: i64,
}

#[derive(Debug, Clone)]
pub struct Rule {
    pub attempts: usize,
    pub window_us: i64,
    pub block_us: i64,
    pub max_block_us: i64,
    pub max_subjects: usize,
    pub pinned_trunks: Vec<String>,
    pub emergency: Vec<String>,
}

/// The rule fired.
#[derive(Debug, Clone, PartialEq)]
pub struct Trigger {
    pub trunk: String,
    pub caller: String,
    pub triggered_us: i64,
    pub trigger_call: String,
    /// First attempt in the window.
    pub since_us: i64,
    pub observed: usize,
    /// Calls in the window, oldest first.
    pub evidence: Vec<String>,
    /// How long a block should live.
    pub block_us: i64,
    /// Why there must be no block although the rule fired.
    pub spared: Option<&'static str>,
}

/// A block of ours that is known from the topic, after a restart or from our own publishing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub trunk: String,
    pub caller: String,
    pub expires_us: i64,
    pub life_us: i64,
}

#[derive(Debug)]
pub struct Velocity {
    rule: Rule,
    subjects: HashMap<(String, String), Subject>,
    unwatched: u64,
}

#[derive(Debug, Default)]
struct Subject {
    recent: VecDeque<(i64, String)>,
    /// The last block, alive or not: its life decides how long the next one is.
    block: Option<(i64, i64)>,
}

impl Subject {
    fn blocked_at(&self, now_us: i64) -> bool {
        self.block.is_some_and(|(expires_us, _)| now_us < expires_us)
    }

    fn is_idle(&self, now_us: i64, rule: &Rule) -> bool {
        let quiet = self.recent.back().is_none_or(|(at, _)| at + rule.window_us < now_us);
        // A block is remembered for as long again after its end, so that a repeat is seen as one.
        let forgotten = self.block.is_none_or(|(expires_us, life_us)| expires_us + life_us < now_us);
        quiet && forgotten
    }
}

impl Velocity {
    #[must_use]
    pub fn new(rule: Rule) -> Velocity {
        Velocity { rule, subjects: HashMap::new(), unwatched: 0 }
    }

    /// Callers watched now, and attempts that could not be watched because the table was full.
    #[must_use]
    pub fn size(&self) -> (usize, u64) {
        (self.subjects.len(), self.unwatched)
    }

    /// Takes an attempt; gives a trigger when it is the one too many.
    pub fn handle(&mut self, attempt: Attempt) -> Option<Trigger> {
        if self.rule.emergency.contains(&attempt.callee) || attempt.caller.is_empty() {
            return None;
        }
        let key = (attempt.trunk, attempt.caller);
        if !self.subjects.contains_key(&key) && self.subjects.len() >= self.rule.max_subjects {
            self.sweep(attempt.at_us);
            if self.subjects.len() >= self.rule.max_subjects {
                self.unwatched += 1;
                return None;
            }
        }
        let rule = &self.rule;
        let subject = self.subjects.entry(key.clone()).or_default();
        if subject.recent.iter().any(|(_, call)| *call == attempt.call) {
            return None;
        }
        subject.recent.push_back((attempt.at_us, attempt.call.clone()));
        let newest = subject.recent.iter().map(|(at, _)| *at).max().unwrap_or(attempt.at_us);
        subject.recent.retain(|(at, _)| *at + rule.window_us > newest);
        while subject.recent.len() > rule.attempts {
            subject.recent.pop_front();
        }
        if subject.recent.len() < rule.attempts || subject.blocked_at(attempt.at_us) {
            return None;
        }
        let life_us = match subject.block {
            Some((_, before)) => (before * 2).min(rule.max_block_us),
            None => rule.block_us,
        };
        let spared = rule.pinned_trunks.contains(&key.0).then_some("trusted");
        // Also a trigger that blocks nothing silences the rule for a block's life: one alert per burst, not one per call.
        subject.block = Some((attempt.at_us + life_us, life_us));
        Some(Trigger {
            trunk: key.0,
            caller: key.1,
            triggered_us: attempt.at_us,
            trigger_call: attempt.call,
            since_us: subject.recent.iter().map(|(at, _)| *at).min().unwrap_or(attempt.at_us),
            observed: subject.recent.len(),
            evidence: subject.recent.iter().map(|(_, call)| call.clone()).take(20).collect(),
            block_us: life_us,
            spared,
        })
    }

    /// A block of ours that stands in the topic: its subject is not blocked a second time.
    pub fn restore(&mut self, block: Block) {
        let subject = self.subjects.entry((block.trunk, block.caller)).or_default();
        let known = subject.block.is_some_and(|(expires_us, _)| expires_us >= block.expires_us);
        if !known {
            subject.block = Some((block.expires_us, block.life_us));
        }
    }

    /// Forgets callers that were quiet for a window and whose block is long over.
    pub fn sweep(&mut self, now_us: i64) {
        let rule = &self.rule;
        self.subjects.retain(|_, subject| !subject.is_idle(now_us, rule));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: i64 = 1_000_000;

    fn rule() -> Rule {
        Rule {
            attempts: 5,
            window_us: 10 * S,
            block_us: 60 * S,
            max_block_us: 200 * S,
            max_subjects: 100,
            pinned_trunks: vec!["safe".to_owned()],
            emergency: vec!["112".to_owned()],
        }
    }

    fn attempt(trunk: &str, caller: &str, call: u64, at_us: i64) -> Attempt {
        Attempt {
            trunk: trunk.to_owned(),
            caller: caller.to_owned(),
            callee: "+88213000".to_owned(),
            call: format!("call-{call}"),
            at_us,
        }
    }

    fn burst(v: &mut Velocity, trunk: &str, from: u64, count: u64, at_us: i64) -> Vec<Trigger> {
        (from..from + count)
            .filter_map(|n| v.handle(attempt(trunk, "+1900", n, at_us + n.cast_signed() % 1000)))
            .collect()
    }

    #[test]
    fn the_fifth_call_in_the_window_triggers_and_names_its_evidence() {
        let mut v = Velocity::new(rule());
        assert!(burst(&mut v, "west", 0, 4, S).is_empty());
        let fired = burst(&mut v, "west", 4, 1, S);
        assert_eq!(fired.len(), 1);
        assert_eq!((fired[0].observed, fired[0].evidence.len()), (5, 5));
        assert_eq!(fired[0].block_us, 60 * S);
        assert_eq!(fired[0].spared, None);
    }

    #[test]
    fn the_same_calls_spread_out_or_by_many_callers_do_not() {
        let mut v = Velocity::new(rule());
        for n in 0..100 {
            assert_eq!(v.handle(attempt("west", "+1900", n, n.cast_signed() * 3 * S)), None, "one each 3 s");
            assert_eq!(v.handle(attempt("west", &format!("+1{n}"), 1000 + n, S)), None, "each its own caller");
        }
    }

    #[test]
    fn a_call_delivered_ten_times_counts_once() {
        let mut v = Velocity::new(rule());
        for n in 0..100 {
            assert_eq!(v.handle(attempt("west", "+1900", n % 4, S)), None);
        }
    }

    #[test]
    fn one_burst_gives_one_block_and_a_repeat_a_longer_one_up_to_the_limit() {
        let mut v = Velocity::new(rule());
        let lives: Vec<i64> = (0..5)
            .map(|round| {
                let fired = burst(&mut v, "west", round * 1000, 500, round.cast_signed() * 1000 * S);
                assert_eq!(fired.len(), 1, "round {round}");
                v.sweep(round.cast_signed() * 1000 * S);
                fired[0].block_us / S
            })
            .collect();
        assert_eq!(lives, [60, 120, 200, 200, 200]);
    }

    #[test]
    fn a_block_known_from_the_topic_is_not_made_again_even_when_it_was_lifted() {
        let mut v = Velocity::new(rule());
        let block = Block { trunk: "west".into(), caller: "+1900".into(), expires_us: 100 * S, life_us: 60 * S };
        v.restore(block);
        assert!(burst(&mut v, "west", 0, 50, 50 * S).is_empty());
        assert_eq!(burst(&mut v, "west", 100, 50, 101 * S).len(), 1);
    }

    #[test]
    fn emergency_calls_never_count_and_pinned_trunks_are_spared() {
        let mut v = Velocity::new(rule());
        for n in 0..100 {
            let call = Attempt { callee: "112".to_owned(), ..attempt("west", "+1900", n, S) };
            assert_eq!(v.handle(call), None);
        }
        assert_eq!(burst(&mut v, "safe", 0, 5, S)[0].spared, Some("trusted"));
    }

    #[test]
    fn the_table_never_grows_past_its_limit_and_says_what_it_could_not_watch() {
        let mut v = Velocity::new(rule());
        for n in 0..1000 {
            v.handle(attempt("west", &format!("+1{n}"), n, S));
        }
        assert_eq!(v.size(), (100, 900));
        v.handle(attempt("west", "+new", 5000, 100 * S));
        assert_eq!(v.size().0, 1, "idle callers made room");
    }

    proptest! {
        #[test]
        fn never_more_than_one_trigger_in_a_blocks_life(times in proptest::collection::vec(0_i64..400, 0..400)) {
            let mut v = Velocity::new(rule());
            let mut sorted = times;
            sorted.sort_unstable();
            let mut fired: Vec<Trigger> = Vec::new();
            for (n, at) in sorted.iter().enumerate() {
                fired.extend(v.handle(attempt("west", "+1900", n as u64, at * S)));
            }
            for pair in fired.windows(2) {
                prop_assert!(pair[1].triggered_us >= pair[0].triggered_us + pair[0].block_us);
            }
            for trigger in &fired {
                prop_assert!(trigger.triggered_us - trigger.since_us < 10 * S);
                prop_assert_eq!(trigger.observed, 5);
            }
        }
    }
}
