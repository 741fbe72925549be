//! One call as analytics counts it.
//!
//! Unit: the initial INVITE of a call that came from a trunk, after authentication. Challenges and their repetition, and retries on
//! other nodes, are one attempt of one call. An INVITE that a node sent out again for a call (it has a parent leg) is no attempt
//! at call level. What we refused by a block or a limit is counted apart and is no attempt; every other refusal is one.
//!
//! A record is a set of pieces, one per (CSeq, attempt, event). Joining two copies keeps the smaller, so the record ignores order
//! and repetition.

use std::collections::BTreeMap;

use schemas::SipTransaction;
use serde::{Deserialize, Serialize};

pub const MINUTE_US: i64 = 60_000_000;

/// What one event says that a metric needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Piece {
    pub at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trunk: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub challenge: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cancelled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub t_18x: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub t_final: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub talk: Option<i64>,
}

/// Steps of a transaction in the order in which they outrank one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    Attempt,
    Refused,
    Final,
    Answered,
    Lost,
    Ended,
}

impl Step {
    fn parse(event_type: &str) -> Option<Step> {
        Some(match event_type {
            "attempt" => Step::Attempt,
            "refused" => Step::Refused,
            "final" => Step::Final,
            "answered" => Step::Answered,
            "lost" => Step::Lost,
            "ended" => Step::Ended,
            _ => return None,
        })
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// (CSeq, attempt, step) and what it said. A list, because JSON keys are texts.
    #[serde(with = "pieces")]
    pieces: BTreeMap<(u32, i32, Step), Piece>,
}

mod pieces {
    use super::{BTreeMap, Piece, Step};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    type Pieces = BTreeMap<(u32, i32, Step), Piece>;

    pub fn serialize<S: Serializer>(pieces: &Pieces, serializer: S) -> Result<S::Ok, S::Error> {
        pieces.iter().collect::<Vec<_>>().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Pieces, D::Error> {
        Ok(Vec::<((u32, i32, Step), Piece)>::deserialize(deserializer)?.into_iter().collect())
    }
}

/// How a call is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Attempt,
    /// Refused by a block rule.
    Blocked,
    /// Refused by a limit.
    Limited,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Open,
    Answered,
    Busy,
    NoAnswer,
    Cancelled,
    Rejected,
    Failed,
}

macro_rules! words {
    ($type:ident { $($variant:ident = $word:literal),* $(,)? }) => {
        impl $type {
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $($type::$variant => $word,)* }
            }

            #[must_use]
            pub fn parse(word: &str) -> Option<$type> {
                match word { $($word => Some($type::$variant),)* _ => None }
            }
        }
    };
}

words!(Class { Attempt = "attempt", Blocked = "blocked", Limited = "limited" });
words!(Outcome {
    Open = "open",
    Answered = "answered",
    Busy = "busy",
    NoAnswer = "no_answer",
    Cancelled = "cancelled",
    Rejected = "rejected",
    Failed = "failed",
});

/// What a record amounts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    pub started_us: i64,
    pub trunk: String,
    pub node: Option<String>,
    pub class: Class,
    pub outcome: Outcome,
    pub answered: bool,
    pub finished: bool,
    /// First 18x − INVITE.
    pub pdd_us: Option<i64>,
    /// Answer − INVITE.
    pub setup_us: Option<i64>,
    /// End − answer; known once an answered call has ended.
    pub talk_us: Option<i64>,
}

impl Measured {
    #[must_use]
    pub fn minute_us(&self) -> i64 {
        self.started_us.div_euclid(MINUTE_US) * MINUTE_US
    }
}

/// The key and piece that an event adds; `None` where it is none of ours.
#[must_use]
pub fn piece(event: &SipTransaction) -> Option<((u32, i32, Step), Piece)> {
    let step = Step::parse(&event.event_type)?;
    let counted = event.source_side == "trunk"
        && event.parent_leg_id.as_deref().is_none_or(str::is_empty)
        && !event.call_root_id.is_empty()
        // A second 2xx of one INVITE is no second call; the talk is that of the first.
        && event.dialog.as_ref().is_none_or(|d| !d.late);
    if !counted {
        return None;
    }
    let timing = event.timing.as_ref();
    let outcome = event.outcome.as_ref();
    let decision = event.decision.as_ref();
    let branch = event.branches.iter().find(|b| b.leg_id == event.leg_id);
    let node = match branch {
        Some(b) => Some(b.target_id.clone()).filter(|_| b.target_side == "node"),
        None => decision.filter(|d| d.chosen_side.as_deref() == Some("node")).and_then(|d| d.chosen_id.clone()),
    };
    let piece = Piece {
        at: event.occurred_us,
        received: timing.and_then(|t| t.received_us),
        trunk: Some(event.source_id.clone()).filter(|t| !t.is_empty()),
        node: node.filter(|n| !n.is_empty()),
        status: outcome.and_then(|o| o.status),
        challenge: outcome.is_some_and(|o| o.challenge),
        cancelled: outcome.is_some_and(|o| o.cancelled),
        why: decision.and_then(|d| d.reason.clone()).filter(|_| step == Step::Refused),
        t_18x: timing.and_then(|t| t.t_first_18x_us).filter(|_| step > Step::Attempt),
        t_final: timing.and_then(|t| t.t_final_us).filter(|_| step > Step::Attempt),
        talk: event.dialog.as_ref().and_then(|d| d.talk_us),
    };
    Some(((event.identity.cseq, event.attempt, step), piece))
}

impl Record {
    /// True when the record changed.
    pub fn join(&mut self, key: (u32, i32, Step), piece: Piece) -> bool {
        match self.pieces.get_mut(&key) {
            Some(known) if *known <= piece => false,
            Some(known) => {
                *known = piece;
                true
            }
            None => {
                self.pieces.insert(key, piece);
                true
            }
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The transaction that counts: the one that was answered, else the last (what came before it was challenged).
    fn counted(&self) -> Option<u32> {
        let answered = self.pieces.keys().filter(|(_, _, step)| *step >= Step::Answered).map(|(cseq, ..)| *cseq).min();
        answered.or_else(|| self.pieces.keys().map(|(cseq, ..)| *cseq).max())
    }

    #[must_use]
    pub fn measure(&self) -> Option<Measured> {
        let cseq = self.counted()?;
        let of: Vec<(&(u32, i32, Step), &Piece)> = self.pieces.iter().filter(|((c, ..), _)| *c == cseq).collect();
        let step = |wanted: Step| of.iter().rev().find(|((_, _, s), _)| *s == wanted).map(|(_, p)| *p);
        let result = step(Step::Answered).or_else(|| step(Step::Final)).or_else(|| step(Step::Refused));
        let end = step(Step::Ended).or_else(|| step(Step::Lost));
        let answered = step(Step::Answered).is_some() || end.is_some();
        let started = of.iter().filter_map(|(_, p)| p.received).min().or_else(|| of.iter().map(|(_, p)| p.at).min())?;
        // The attempt that decided; while none has, the last that was made.
        let node = result.and_then(|p| p.node.clone()).or_else(|| of.iter().rev().find_map(|(_, p)| p.node.clone()));
        let refused = step(Step::Refused).filter(|_| !answered);
        let why = refused.and_then(|p| p.why.as_deref()).unwrap_or("");
        let class = if why.starts_with("block") {
            Class::Blocked
        } else if why.contains("limit") {
            Class::Limited
        } else {
            Class::Attempt
        };
        let outcome = if answered { Outcome::Answered } else { result.map_or(Outcome::Open, outcome) };
        Some(Measured {
            started_us: started,
            trunk: of.iter().find_map(|(_, p)| p.trunk.clone()).unwrap_or_default(),
            node,
            class,
            outcome,
            answered,
            finished: end.is_some() || (!answered && result.is_some()),
            pdd_us: result.and_then(|p| p.t_18x),
            setup_us: result.filter(|_| answered).and_then(|p| p.t_final),
            talk_us: end.and_then(|p| p.talk).filter(|talk| *talk >= 0),
        })
    }
}

fn outcome(result: &Piece) -> Outcome {
    if result.cancelled {
        return Outcome::Cancelled;
    }
    match domain::Disposition::from_sip(result.status.unwrap_or(0)) {
        domain::Disposition::Answered => Outcome::Answered,
        domain::Disposition::Busy => Outcome::Busy,
        domain::Disposition::NoAnswer => Outcome::NoAnswer,
        domain::Disposition::Cancelled => Outcome::Cancelled,
        domain::Disposition::Rejected => Outcome::Rejected,
        _ => Outcome::Failed,
    }
}
