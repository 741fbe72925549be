//! The joined facts of one call: a set with a join that ignores order, repetition and grouping.
//!
//! Invariants, each a law of a semilattice and property-tested in `core/laws.rs`:
//! * join is commutative, associative and idempotent;
//! * of two copies with one logical id and different content the smaller text wins, so it does not matter which came first;
//! * a call that says too much keeps the facts with the smallest (rank, logical id), so what is kept is a function of the set.

use std::collections::BTreeMap;

use crate::core::fact::Fact;
use crate::error::StateError;

/// Facts kept per call. A bridged call through a menu has about 60; a day of re-INVITEs and key presses must not grow a row
/// without end. The record's own facts rank first and are the last to go.
pub const LIMIT: usize = 1024;

type Key = (bool, Box<str>);

/// What a join did to the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// A fact that was not known.
    New,
    /// Another copy of a known fact, and the one that is kept from now on.
    Replaced,
    /// Nothing.
    Known,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallState {
    facts: BTreeMap<Key, Box<str>>,
    bytes: usize,
}

impl CallState {
    /// Joins one fact.
    pub fn join(&mut self, fact: &Fact) -> Result<Joined, StateError> {
        let text: Box<str> = serde_json::to_string(fact)?.into();
        Ok(self.join_text((fact.is_detail(), fact.id.clone()), text))
    }

    fn join_text(&mut self, key: Key, text: Box<str>) -> Joined {
        match self.facts.get_mut(&key) {
            Some(known) if *known <= text => Joined::Known,
            Some(known) => {
                self.bytes = self.bytes - known.len() + text.len();
                *known = text;
                Joined::Replaced
            }
            None => {
                if self.facts.len() >= LIMIT {
                    let Some((last, _)) = self.facts.last_key_value() else { return Joined::Known };
                    if *last < key {
                        return Joined::Known;
                    }
                    if let Some((_, gone)) = self.facts.pop_last() {
                        self.bytes -= gone.len();
                    }
                }
                self.bytes += text.len();
                self.facts.insert(key, text);
                Joined::New
            }
        }
    }

    /// Joins everything that another copy of the call's state knows.
    pub fn merge(&mut self, other: CallState) {
        for (key, text) in other.facts {
            self.join_text(key, text);
        }
    }

    /// The number of distinct facts.
    #[must_use]
    pub fn revision(&self) -> i64 {
        i64::try_from(self.facts.len()).unwrap_or(i64::MAX)
    }

    #[must_use]
    pub fn is_full(&self) -> bool {
        self.facts.len() >= LIMIT
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// Bytes of text held, for the cache's budget.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// All facts in the order in which they happened, ties broken by content alone.
    pub fn facts(&self) -> Result<Vec<Fact>, StateError> {
        let mut facts = Vec::with_capacity(self.facts.len());
        for text in self.facts.values() {
            facts.push(serde_json::from_str::<Fact>(text)?);
        }
        facts.sort_by(|a, b| (a.at, a.seq, &a.id).cmp(&(b.at, b.seq, &b.id)));
        Ok(facts)
    }

    /// A JSON array, facts in key order: equal sets give equal texts.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut out = String::with_capacity(self.bytes + self.facts.len() + 2);
        out.push('[');
        for (i, text) in self.facts.values().enumerate() {
            if i > 0 {
                out.push(',');
            }
            out.push_str(text);
        }
        out.push(']');
        out
    }

    pub fn decode(text: &str) -> Result<CallState, StateError> {
        let raw: Vec<&serde_json::value::RawValue> = serde_json::from_str(text)?;
        let mut state = CallState::default();
        for value in raw {
            let fact: Fact = serde_json::from_str(value.get())?;
            state.join_text((fact.is_detail(), fact.id), value.get().into());
        }
        Ok(state)
    }
}
