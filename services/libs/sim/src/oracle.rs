//! The oracle: compares the records of the platform with the simulation's own books.
//!
//! Pure. A call is known by (trunk, SIP Call-ID) of the leg its caller placed. What it finds: calls without a record, records beyond
//! the first, records of calls that never were, records that say something untrue, and calls that passed the edge a second time
//! without their leg in the log. Rows of trunks that are not simulated (the `visitor`) are set aside.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::clock::Stamp;
use crate::ledger::{Call, Leg, Snapshot};

/// One row of the call log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallRow {
    pub call_id: String,
    pub sip_call_id: String,
    pub trunk: String,
    pub disposition: String,
    pub final_code: Option<u16>,
    pub answered: bool,
    pub start_us: i64,
    pub answer_us: Option<i64>,
    pub end_us: Option<i64>,
    pub finality: String,
}

/// One row of the leg log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LegRow {
    pub call_id: String,
    pub leg_id: String,
    pub sip_call_id: String,
    pub direction: String,
    pub final_code: Option<u16>,
}

#[derive(Clone, Debug)]
pub struct Rules {
    /// Largest difference between the carrier's moment and the record's. They stand at two ends of a wire.
    pub tolerance_us: i64,
    /// Rows of these trunks are nobody's: not counted, not judged.
    pub set_aside: Vec<String>,
    /// Examples kept per finding; counts are always complete.
    pub examples: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self { tolerance_us: 250_000, set_aside: vec!["visitor".to_owned()], examples: 20 }
    }
}

/// How many, and the first few by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub count: u64,
    pub examples: Vec<String>,
}

impl Finding {
    fn add(&mut self, cap: usize, example: &str) {
        self.count += 1;
        if self.examples.len() < cap {
            self.examples.push(example.to_owned());
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    pub sip_call_id: String,
    pub field: &'static str,
    pub ledger: String,
    pub record: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub calls: u64,
    pub answered: u64,
    /// `calls - answered`.
    pub failed: u64,
    /// Calls that the carriers still hold: present in the log or not, but not judged for truth.
    pub open: u64,
    /// Rows of the call log without those set aside.
    pub records: u64,
    pub set_aside: u64,
    /// Calls without a record: SIP Call-IDs.
    pub missing: Finding,
    /// Records beyond the first of a call: SIP Call-IDs.
    pub doubled: Finding,
    /// Records of calls that never were: call ids of the rows.
    pub phantom: Finding,
    pub wrong_count: u64,
    pub wrong: Vec<Mismatch>,
    /// Legs that carriers received and the log does not have: SIP Call-IDs.
    pub missing_legs: Finding,
    /// Legs that the log has more often than carriers received them.
    pub doubled_legs: Finding,
}

impl Verdict {
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.missing.count == 0
            && self.doubled.count == 0
            && self.phantom.count == 0
            && self.wrong_count == 0
            && self.missing_legs.count == 0
            && self.doubled_legs.count == 0
    }

    fn wrong(&mut self, cap: usize, sip_call_id: &str, field: &'static str, ledger: String, record: String) {
        self.wrong_count += 1;
        if self.wrong.len() < cap {
            self.wrong.push(Mismatch { sip_call_id: sip_call_id.to_owned(), field, ledger, record });
        }
    }
}

#[must_use]
pub fn judge(snapshot: &Snapshot, rows: &[CallRow], legs: &[LegRow], rules: &Rules) -> Verdict {
    let mut verdict = Verdict { calls: snapshot.calls.len() as u64, ..Verdict::default() };
    let known: HashMap<(&str, &str), &Call> =
        snapshot.calls.iter().map(|call| ((&*call.trunk, &*call.call_id), call)).collect();
    let mut recorded: HashMap<(&str, &str), u64> = HashMap::with_capacity(rows.len());

    for row in rows {
        if rules.set_aside.contains(&row.trunk) {
            verdict.set_aside += 1;
            continue;
        }
        verdict.records += 1;
        let key = (row.trunk.as_str(), row.sip_call_id.as_str());
        let Some(call) = known.get(&key) else {
            verdict.phantom.add(rules.examples, &row.call_id);
            continue;
        };
        let seen = recorded.entry(key).or_default();
        *seen += 1;
        if *seen > 1 {
            verdict.doubled.add(rules.examples, &row.sip_call_id);
        } else if call.closed {
            judge_row(&mut verdict, call, row, rules);
        }
    }

    for call in &snapshot.calls {
        verdict.answered += u64::from(call.answered());
        verdict.open += u64::from(!call.closed);
        if !recorded.contains_key(&(&*call.trunk, &*call.call_id)) {
            verdict.missing.add(rules.examples, &call.call_id);
        }
    }
    verdict.failed = verdict.calls - verdict.answered;
    judge_legs(&mut verdict, &snapshot.legs, legs, rules);
    verdict
}

fn judge_row(verdict: &mut Verdict, call: &Call, row: &CallRow, rules: &Rules) {
    let cap = rules.examples;
    if call.answered() != row.answered {
        verdict.wrong(cap, &call.call_id, "answered", call.answered().to_string(), row.answered.to_string());
        return;
    }
    compare_moment(verdict, call, "answer_us", call.answer, row.answer_us, rules);
    // A record that was closed because its node died says when the node was lost and why; the carrier at the other end learns it
    // later and by another message.
    if row.disposition == "node_lost" {
        return;
    }
    if let Some(code) = call.final_code
        && row.final_code != Some(code)
    {
        verdict.wrong(cap, &call.call_id, "final_code", code.to_string(), text(row.final_code));
    }
    // Without a final answer the carrier stopped waiting by its own clock, which no record can know.
    if call.final_code.is_some() {
        compare_moment(verdict, call, "end_us", call.end, row.end_us, rules);
    }
}

fn compare_moment(
    verdict: &mut Verdict,
    call: &Call,
    field: &'static str,
    ledger: Option<Stamp>,
    record: Option<i64>,
    rules: &Rules,
) {
    let agree = match (ledger, record) {
        (Some(ledger), Some(record)) => (ledger.wall_us - record).abs() <= rules.tolerance_us,
        (None, None) => true,
        _ => false,
    };
    if !agree {
        verdict.wrong(rules.examples, &call.call_id, field, text(ledger.map(|stamp| stamp.wall_us)), text(record));
    }
}

fn judge_legs(verdict: &mut Verdict, seen: &[Leg], logged: &[LegRow], rules: &Rules) {
    let mut by_call_id: BTreeMap<&str, Vec<&Leg>> = BTreeMap::new();
    for leg in seen {
        by_call_id.entry(&leg.call_id).or_default().push(leg);
    }
    let mut rows: HashMap<&str, Vec<&LegRow>> = HashMap::new();
    for row in logged.iter().filter(|row| by_call_id.contains_key(row.sip_call_id.as_str())) {
        rows.entry(&row.sip_call_id).or_default().push(row);
    }
    for (call_id, legs) in by_call_id {
        let rows = rows.get(call_id).map_or(&[][..], Vec::as_slice);
        for _ in rows.len()..legs.len() {
            verdict.missing_legs.add(rules.examples, call_id);
        }
        for _ in legs.len()..rows.len() {
            verdict.doubled_legs.add(rules.examples, call_id);
        }
        if let ([leg], [row]) = (legs.as_slice(), rows)
            && let (true, Some(ours), Some(theirs)) = (leg.closed, leg.final_code, row.final_code)
            && ours != theirs
            && !edge_gave_up(ours, theirs)
        {
            verdict.wrong(rules.examples, call_id, "leg.final_code", ours.to_string(), theirs.to_string());
        }
    }
}

/// The edge stopped waiting and said so (408); that the carrier then answered its CANCEL, or gave up ringing at the same moment,
/// came after the end of the leg.
fn edge_gave_up(carrier: u16, record: u16) -> bool {
    record == 408 && matches!(carrier, 480 | 487)
}

fn text<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests;
