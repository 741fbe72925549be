//! Which member of a pool gets the next call. One state per pool, one function per algorithm; no choice allocates.
//!
//! Whatever the algorithm, it chooses inside the best class ([`Open`]): first by what is known of the nodes, then by their
//! priority. So algorithms need not know of health, and a backup needs no algorithm of its own.

use serde::{Deserialize, Serialize};

use super::view::{Choice, Open, View};
use super::{hashed, least_used, round_robin, two_choices, weighted};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// One after the other, whatever their weights.
    RoundRobin,
    /// In proportion to the weights, without bursts.
    #[default]
    SmoothWeighted,
    /// The one with the fewest calls for its size.
    LeastUsed,
    /// The same key to the same node as long as that is there.
    Hash,
    /// Of two drawn by weight the one that answers sooner and has fewer calls for its size.
    TwoChoices,
}

impl Algorithm {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::RoundRobin => "round_robin",
            Algorithm::SmoothWeighted => "smooth_weighted",
            Algorithm::LeastUsed => "least_used",
            Algorithm::Hash => "hash",
            Algorithm::TwoChoices => "two_choices",
        }
    }
}

/// What an algorithm remembers between choices.
#[derive(Clone, Debug)]
pub struct Chooser {
    algorithm: Algorithm,
    /// Of smooth weighted, by member.
    credit: Vec<f64>,
    /// Where the search for the next one starts.
    next: usize,
    random: u64,
}

impl Chooser {
    #[must_use]
    pub fn new(algorithm: Algorithm, seed: u64) -> Chooser {
        Chooser { algorithm, credit: Vec::new(), next: 0, random: seed }
    }

    /// Chooses among the members of a pool, leaving out `tried`. `key` matters to [`Algorithm::Hash`] only.
    pub fn choose(&mut self, views: &[View], tried: &[usize], key: u64) -> Option<Choice> {
        let open = Open::new(views, tried)?;
        match self.algorithm {
            Algorithm::RoundRobin => round_robin::choose(&open, &mut self.next),
            Algorithm::SmoothWeighted => weighted::choose(&open, &mut self.credit),
            Algorithm::LeastUsed => least_used::choose(&open, &mut self.next),
            Algorithm::Hash => hashed::choose(&open, key),
            Algorithm::TwoChoices => two_choices::choose(&open, &mut self.random),
        }
    }

    /// A member that comes back starts without debt and without savings.
    pub fn reset(&mut self, member: usize) {
        if let Some(credit) = self.credit.get_mut(member) {
            *credit = 0.0;
        }
    }

    /// The members are others now: `was` says for each the place that it had.
    #[must_use]
    pub fn moved(&self, algorithm: Algorithm, was: &[Option<usize>]) -> Chooser {
        let credit = was.iter().map(|at| at.and_then(|at| self.credit.get(at)).copied().unwrap_or(0.0));
        Chooser { algorithm, credit: credit.collect(), next: 0, random: self.random }
    }
}
