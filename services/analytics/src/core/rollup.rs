//! A minute, counted from its records. Every metric has one definition, and it stands here.
//!
//! | metric | definition |
//! |---|---|
//! | attempts | calls of class attempt that started in the minute |
//! | answered | of these, the ones with a 2xx |
//! | finished | of these, the ones that have ended or failed |
//! | ASR | answered ÷ attempts × 100; a cancelled call counts as not answered, 3xx stays in |
//! | ACD | sum of talk ÷ answered calls that have ended |
//! | PDD | first 18x − INVITE of the counted transaction, over the attempts that had one; percentiles by nearest rank |
//! | setup | answer − INVITE, over the answered |
//! | blocked, limited | calls that we refused by a block or a limit: no attempts |

use std::collections::BTreeMap;

use crate::core::record::{Class, Measured, Outcome};

/// What a row of the minute is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    All,
    Trunk(String),
    Node(String),
}

impl Scope {
    #[must_use]
    pub fn parts(&self) -> (&'static str, &str) {
        match self {
            Scope::All => ("all", ""),
            Scope::Trunk(id) => ("trunk", id),
            Scope::Node(id) => ("node", id),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Minute {
    pub attempts: i64,
    pub answered: i64,
    pub finished: i64,
    pub busy: i64,
    pub no_answer: i64,
    pub cancelled: i64,
    pub rejected: i64,
    pub failed: i64,
    pub blocked: i64,
    pub limited: i64,
    pub asr_percent: Option<f64>,
    pub talk_ms: i64,
    pub acd_ms: Option<f64>,
    pub pdd_count: i64,
    pub pdd_avg_ms: Option<f64>,
    pub pdd_p50_ms: Option<f64>,
    pub pdd_p95_ms: Option<f64>,
    pub setup_avg_ms: Option<f64>,
}

/// The smallest value that at least `percent` of all are not above. `sorted` is not empty.
#[must_use]
pub fn nearest_rank(sorted: &[i64], percent: usize) -> i64 {
    let rank = (sorted.len() * percent).div_ceil(100).clamp(1, sorted.len());
    sorted[rank - 1]
}

fn ms(us: i64) -> f64 {
    us as f64 / 1000.0
}

fn mean(values: &[i64]) -> Option<f64> {
    (!values.is_empty()).then(|| ms(values.iter().sum::<i64>()) / values.len() as f64)
}

#[must_use]
pub fn count<'a>(records: impl IntoIterator<Item = &'a Measured>) -> Minute {
    let mut m = Minute::default();
    let (mut pdd, mut setup, mut talk) = (Vec::new(), Vec::new(), Vec::new());
    for r in records {
        match r.class {
            Class::Blocked => m.blocked += 1,
            Class::Limited => m.limited += 1,
            Class::Attempt => {
                m.attempts += 1;
                m.answered += i64::from(r.answered);
                m.finished += i64::from(r.finished);
                match r.outcome {
                    Outcome::Busy => m.busy += 1,
                    Outcome::NoAnswer => m.no_answer += 1,
                    Outcome::Cancelled => m.cancelled += 1,
                    Outcome::Rejected => m.rejected += 1,
                    Outcome::Failed => m.failed += 1,
                    Outcome::Open | Outcome::Answered => {}
                }
                pdd.extend(r.pdd_us);
                setup.extend(r.setup_us);
                talk.extend(r.talk_us.filter(|_| r.answered));
            }
        }
    }
    m.asr_percent = (m.attempts > 0).then(|| 100.0 * m.answered as f64 / m.attempts as f64);
    m.talk_ms = talk.iter().sum::<i64>() / 1000;
    m.acd_ms = mean(&talk);
    m.pdd_count = i64::try_from(pdd.len()).unwrap_or(i64::MAX);
    m.pdd_avg_ms = mean(&pdd);
    pdd.sort_unstable();
    if !pdd.is_empty() {
        m.pdd_p50_ms = Some(ms(nearest_rank(&pdd, 50)));
        m.pdd_p95_ms = Some(ms(nearest_rank(&pdd, 95)));
    }
    m.setup_avg_ms = mean(&setup);
    m
}

/// All rows of one minute: the whole, each trunk, each node.
#[must_use]
pub fn minute(records: &[Measured]) -> BTreeMap<Scope, Minute> {
    let mut groups: BTreeMap<Scope, Vec<&Measured>> = BTreeMap::new();
    for r in records {
        groups.entry(Scope::All).or_default().push(r);
        groups.entry(Scope::Trunk(r.trunk.clone())).or_default().push(r);
        if let Some(node) = &r.node {
            groups.entry(Scope::Node(node.clone())).or_default().push(r);
        }
    }
    groups.into_iter().map(|(scope, records)| (scope, count(records))).collect()
}
