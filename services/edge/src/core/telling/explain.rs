//! Answers from the last decisions: why a call went where it went, and what a rule would have blocked.
//!
//! Numbers are masked unless they are asked for. What is not held any more cannot be told; every answer says how far it reaches.

use std::collections::BTreeMap;

use domain::CallId;
use schemas::BlockScope;
use serde::Serialize;

use crate::core::control::{Number, Rule, Subject};
use crate::core::telling::decisions::{Decision, Kind, Reach, Reader, Ring, head};

/// Decisions shown of one call, and calls shown of a dry run.
const SHOWN: usize = 32;
const EXAMPLES: usize = 20;
/// A rule that covers more of the answered calls than this belongs into shadow first.
const TOO_MANY: f64 = 0.001;

#[derive(Debug, Serialize)]
pub struct Explanation {
    pub reach: Reach,
    /// One for each call of that id; a Call-ID may have several.
    pub calls: Vec<Explained>,
}

#[derive(Debug, Serialize)]
pub struct Explained {
    pub call_id: String,
    pub sip_call_id: String,
    /// In the order in which they were made.
    pub decisions: Vec<Told>,
    /// How it ended, as far as it did.
    pub outcome: Option<Outcome>,
}

#[derive(Debug, Serialize)]
pub struct Outcome {
    pub kind: Kind,
    pub status: u16,
    pub attempt: u8,
    pub occurred_us: i64,
}

/// One decision, for people first.
#[derive(Debug, Serialize)]
pub struct Told {
    /// The whole of it in one sentence.
    pub sentence: String,
    pub kind: Kind,
    pub occurred_us: i64,
    pub attempt: u8,
    pub status: Option<u16>,
    pub reason: String,
    pub source: String,
    pub source_address: String,
    pub trunk: String,
    pub account: String,
    pub caller: String,
    pub callee: String,
    /// Rules that were asked, by their part.
    pub rules: BTreeMap<&'static str, String>,
    pub pool: String,
    pub algorithm: String,
    pub candidates: Vec<Candidate>,
    pub chosen: String,
    pub failover_reason: String,
    pub shadow_blocks: Vec<String>,
    pub versions: BTreeMap<&'static str, String>,
}

#[derive(Debug, Serialize)]
pub struct Candidate {
    pub id: String,
    pub state: String,
    pub score: f64,
    pub weight: Option<f64>,
}

/// Everything held about a call, by its call id or its Call-ID.
#[must_use]
pub fn explain(ring: &Ring, id: &str, numbers: bool) -> Explanation {
    let wanted = id.parse().ok().map(|call: CallId| *call.as_bytes());
    let mut calls: Vec<([u8; 16], Explained)> = Vec::new();
    for record in ring.records() {
        let Some(head) = head(record) else { continue };
        if !head.kind.is_decision() {
            if let Some((_, call)) = calls.iter_mut().find(|(call, _)| *call == head.call) {
                let (kind, occurred_us) = (head.kind, head.occurred_us);
                call.outcome = Some(Outcome { kind, status: head.status, attempt: head.attempt, occurred_us });
            }
            continue;
        }
        if wanted.is_some_and(|call| call != head.call) {
            continue;
        }
        let mut reader = Reader::new(record);
        let head = reader.head();
        let decision = reader.decision();
        if wanted.is_none() && decision.call_id != id {
            continue;
        }
        let place = calls.iter().position(|(call, _)| *call == head.call).unwrap_or_else(|| {
            let call_id = CallId::from_bytes(head.call).to_string();
            let sip_call_id = decision.call_id.to_owned();
            calls.push((head.call, Explained { call_id, sip_call_id, decisions: Vec::new(), outcome: None }));
            calls.len() - 1
        });
        let call = &mut calls[place].1;
        if call.decisions.len() < SHOWN {
            call.decisions.push(told(head.kind, head.occurred_us, head.attempt, head.status, &decision, numbers));
        }
    }
    calls.truncate(SHOWN);
    Explanation { reach: ring.reach(), calls: calls.into_iter().map(|(_, call)| call).collect() }
}

fn told(kind: Kind, occurred_us: i64, attempt: u8, status: u16, d: &Decision<'_>, numbers: bool) -> Told {
    let shown = |number: &str| if numbers { number.to_owned() } else { domain::mask_number(number) };
    let best = |raw: &str, e164: &str| shown(if e164.is_empty() { raw } else { e164 });
    let limit = match d.limit_tokens_left {
        Some(left) if left.is_finite() => format!("{} ({}, {left:.1} left)", d.limit_rule, d.limit_result),
        _ => format!("{} ({})", d.limit_rule, d.limit_result),
    };
    let rules = [
        ("access", d.acl_rule.to_owned()),
        ("limit", if d.limit_rule.is_empty() { String::new() } else { limit }),
        ("block", d.block_id.to_owned()),
        ("route", d.route_rule.to_owned()),
    ];
    let versions = [("settings", d.config_digest), ("blocks", d.block_version), ("weights", d.weight_version)]
        .map(|(name, v)| (name, v.to_owned()));
    Told {
        sentence: sentence(kind, status, d),
        kind,
        occurred_us,
        attempt,
        status: (status > 0).then_some(status),
        reason: d.reason.to_owned(),
        source: format!("{}/{}", d.source_side, d.source_id),
        source_address: if d.source_ip.is_empty() { String::new() } else { address(d) },
        trunk: d.trunk_id.to_owned(),
        account: d.account.to_owned(),
        caller: best(d.caller_raw, d.caller_e164),
        callee: best(d.callee_raw, d.callee_e164),
        rules: rules.into_iter().filter(|(_, rule)| !rule.is_empty()).collect(),
        pool: d.pool.to_owned(),
        algorithm: d.algorithm.to_owned(),
        candidates: d
            .candidates
            .iter()
            .map(|c| Candidate { id: c.id.to_owned(), state: c.state.to_owned(), score: c.score, weight: c.weight })
            .collect(),
        chosen: if d.chosen_id.is_empty() { String::new() } else { format!("{}/{}", d.chosen_side, d.chosen_id) },
        failover_reason: d.failover_reason.to_owned(),
        shadow_blocks: d.shadow_blocks.iter().map(|&key| key.to_owned()).collect(),
        versions: versions.into_iter().filter(|(_, version)| !version.is_empty()).collect(),
    }
}

fn address(d: &Decision<'_>) -> String {
    if d.source_ip.contains(':') {
        format!("[{}]:{}", d.source_ip, d.source_port)
    } else {
        format!("{}:{}", d.source_ip, d.source_port)
    }
}

fn sentence(kind: Kind, status: u16, d: &Decision<'_>) -> String {
    if kind == Kind::Refused {
        let by = match d.reason {
            "block" => format!(" by block rule {}", d.block_id),
            _ if d.limit_result == "limited" => format!(" by limit {}", d.limit_rule),
            _ => String::new(),
        };
        return format!("refused with {status}: {}{by}", d.reason);
    }
    let whence = match (d.pool, d.route_rule) {
        ("", "") => String::new(),
        ("", rule) => format!(" by route {rule}"),
        (pool, _) => format!(" from pool {pool}"),
    };
    let how = if d.algorithm.is_empty() { String::new() } else { format!(" ({})", d.algorithm) };
    let after = if d.failover_reason.is_empty() { String::new() } else { format!(", after {}", d.failover_reason) };
    let others: Vec<String> =
        d.candidates.iter().filter(|c| c.id != d.chosen_id).map(|c| format!("{} {}", c.id, c.state)).collect();
    let others = if others.is_empty() { String::new() } else { format!("; next were {}", others.join(", ")) };
    format!("sent to {} {}{whence}{how}{after}{others}", d.chosen_side, d.chosen_id)
}

/// What a rule would have done to the calls that are held.
#[derive(Debug, Serialize)]
pub struct DryRun {
    pub reach: Reach,
    /// Calls with a decision, each counted once.
    pub calls: usize,
    /// Of these: covered by the rule, and never refused by any rule because they were emergency calls or of a pinned trunk.
    pub would_block: usize,
    pub spared: usize,
    /// Of the calls that would have been blocked: those that were answered.
    pub answered: usize,
    /// Share of all answered calls (0 to 1).
    pub answered_share: f64,
    pub by_trunk: BTreeMap<String, usize>,
    pub examples: Vec<Example>,
    pub advice: &'static str,
}

#[derive(Debug, Serialize)]
pub struct Example {
    pub call_id: String,
    pub occurred_us: i64,
    pub trunk: String,
    pub source: String,
    pub caller: String,
    pub callee: String,
    pub answered: bool,
}

/// A rule that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadScope(pub String);

/// `spared` says for a trunk and what was dialled whether no rule may touch the call.
pub fn dry_run(
    ring: &Ring,
    scope: &BlockScope,
    numbers: bool,
    spared: impl Fn(&str, &str) -> bool,
) -> Result<DryRun, BadScope> {
    scope.check().map_err(|error| BadScope(error.to_string()))?;
    let rule = Rule::of_scope(scope).ok_or_else(|| BadScope("source_cidr: an address or a network".to_owned()))?;
    let mut run = Run::default();
    let mut calls = std::collections::HashMap::new();
    for record in ring.records() {
        let Some(head) = head(record) else { continue };
        if head.kind == Kind::Answered {
            run.answer(calls.get(&head.call).copied());
            continue;
        }
        if !head.kind.is_decision() || calls.contains_key(&head.call) {
            continue;
        }
        let mut reader = Reader::new(record);
        reader.head();
        let d = reader.decision();
        // Rules are asked about calls from trunks only.
        let is_asked = d.source_side == "trunk";
        let covers = is_asked && subject(&d).is_some_and(|subject| rule.covers_ever(&subject));
        let fate = match covers {
            false => Fate::Passed,
            true if spared(d.trunk_id, d.callee_raw) => Fate::Spared,
            true => Fate::Blocked(run.block(&d, head.call, head.occurred_us, numbers)),
        };
        run.spared += usize::from(fate == Fate::Spared);
        calls.insert(head.call, fate);
    }
    Ok(run.finish(ring.reach(), calls.len()))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Passed,
    Spared,
    /// With its place among the examples.
    Blocked(Option<usize>),
}

#[derive(Default)]
struct Run {
    would_block: usize,
    spared: usize,
    answered: usize,
    all_answered: usize,
    by_trunk: BTreeMap<String, usize>,
    examples: Vec<Example>,
}

impl Run {
    fn block(&mut self, d: &Decision<'_>, call: [u8; 16], occurred_us: i64, numbers: bool) -> Option<usize> {
        self.would_block += 1;
        *self.by_trunk.entry(d.trunk_id.to_owned()).or_default() += 1;
        let shown = |number: &str| if numbers { number.to_owned() } else { domain::mask_number(number) };
        (self.examples.len() < EXAMPLES).then(|| {
            self.examples.push(Example {
                call_id: CallId::from_bytes(call).to_string(),
                occurred_us,
                trunk: d.trunk_id.to_owned(),
                source: address(d),
                caller: shown(d.caller_raw),
                callee: shown(d.callee_raw),
                answered: false,
            });
            self.examples.len() - 1
        })
    }

    fn answer(&mut self, fate: Option<Fate>) {
        self.all_answered += usize::from(fate.is_some());
        if let Some(Fate::Blocked(example)) = fate {
            self.answered += 1;
            if let Some(example) = example {
                self.examples[example].answered = true;
            }
        }
    }

    fn finish(self, reach: Reach, calls: usize) -> DryRun {
        let answered_share = if self.all_answered == 0 { 0.0 } else { self.answered as f64 / self.all_answered as f64 };
        let advice = if calls == 0 {
            "no decision is held yet: nothing can be said"
        } else if self.would_block == 0 {
            "the rule covers no call that is held"
        } else if answered_share > TOO_MANY {
            "more than 0.1 % of the answered calls would have been blocked: begin with mode = \"shadow\""
        } else {
            "few or no answered calls would have been blocked"
        };
        DryRun {
            reach,
            calls,
            would_block: self.would_block,
            spared: self.spared,
            answered: self.answered,
            answered_share,
            by_trunk: self.by_trunk,
            examples: self.examples,
            advice,
        }
    }
}

fn subject<'a>(d: &Decision<'a>) -> Option<Subject<'a>> {
    let number = |raw: &'a str, e164: &'a str| Number { raw, e164: (!e164.is_empty()).then_some(e164) };
    Some(Subject {
        trunk: d.trunk_id,
        account: (!d.account.is_empty()).then_some(d.account),
        source: std::net::SocketAddr::new(d.source_ip.parse().ok()?, d.source_port),
        caller: number(d.caller_raw, d.caller_e164),
        callee: number(d.callee_raw, d.callee_e164),
    })
}
