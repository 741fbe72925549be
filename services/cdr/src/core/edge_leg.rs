//! What the edge saw of one attempt: an INVITE that it sent to one next hop, or refused itself.
//!
//! One server transaction (Call-ID, From-tag, CSeq) gives `attempt` per next hop, then one `answered` or `final` that lists all
//! branches, then `ended` or `lost`. Any of these may be missing: each alone still makes the legs that it names. A second 2xx
//! that went upstream (`late_answer`, `forwarded`) makes another attempt's leg an answered one with an end of its own; of two
//! dialogs of one attempt the leg is the first.

use std::collections::BTreeMap;

use crate::core::fact::{Branch, EdgeFact, Fact, Text};

/// (SIP Call-ID, From-tag, CSeq number).
pub type Transaction = (String, String, i64);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// A final status to the INVITE.
    Status(i64),
    /// The dialog ended (BYE or what stood for it).
    Dialog,
    /// The edge gave the dialog up.
    Lost(String),
}

#[derive(Debug, Clone, Default)]
pub struct EdgeLeg<'a> {
    pub leg: String,
    pub transaction: Transaction,
    pub attempt: i64,
    /// Facts that speak of this leg, best first: its own attempt, the transaction's result, the end of the dialog.
    facts: Vec<&'a EdgeFact>,
    branch: Option<&'a Branch>,
    pub refused: bool,
    pub answered: bool,
    /// Answered, but by a 2xx after the one that the call is about.
    pub late: bool,
    pub challenge: bool,
    pub cancelled: bool,
    /// Given up for another attempt of the same transaction; the text says why.
    pub moved_on: Option<String>,
    /// How and when it ended, if it did; wall clock of the edge.
    pub end: Option<(Ending, i64)>,
    pub status: Option<i64>,
    pub first_at: i64,
    pub last_at: i64,
    pub first_event: String,
    pub last_event: String,
}

impl<'a> EdgeLeg<'a> {
    /// The first answer that any of the leg's facts gives.
    pub fn pick<T>(&self, get: impl Fn(&'a EdgeFact) -> Option<T>) -> Option<T> {
        self.facts.iter().find_map(|f| get(f))
    }

    pub fn text(&self, get: impl Fn(&'a EdgeFact) -> &'a Text) -> Option<String> {
        self.pick(|f| get(f).as_deref().map(str::to_owned))
    }

    #[must_use]
    pub fn branch(&self) -> Option<&'a Branch> {
        self.branch
    }

    /// Receipt of the INVITE, for people.
    #[must_use]
    pub fn received_us(&self) -> i64 {
        self.pick(|f| f.received).unwrap_or(self.first_at)
    }

    /// Wall time of something that is given in microseconds after receipt.
    #[must_use]
    pub fn after(&self, delta: Option<i64>) -> Option<i64> {
        delta.map(|d| self.received_us().saturating_add(d))
    }

    #[must_use]
    pub fn target(&self) -> (Option<String>, Option<String>) {
        let side =
            self.branch.and_then(|b| b.to_side.as_deref()).map(str::to_owned).or_else(|| self.text(|f| &f.to_side));
        let id = self.branch.and_then(|b| b.to.as_deref()).map(str::to_owned).or_else(|| self.text(|f| &f.to));
        (side, id)
    }

    #[must_use]
    pub fn source(&self) -> (Option<String>, Option<String>) {
        (self.text(|f| &f.side), self.text(|f| &f.source))
    }

    #[must_use]
    pub fn parent(&self) -> Option<String> {
        self.text(|f| &f.parent)
    }

    /// Microseconds from receipt to the final answer of this leg.
    #[must_use]
    pub fn t_final(&self) -> Option<i64> {
        if self.moved_on.is_some() {
            return self.branch.and_then(|b| b.t_final);
        }
        self.pick(|f| f.t_final).or_else(|| self.branch.and_then(|b| b.t_final))
    }

    /// Microseconds from receipt to the first 18x of this leg.
    #[must_use]
    pub fn t_18x(&self) -> Option<i64> {
        match self.branch {
            Some(branch) if branch.t_18x.is_some() => branch.t_18x,
            _ if self.moved_on.is_some() => None,
            _ => self.pick(|f| f.t_18x),
        }
    }

    #[must_use]
    pub fn codes(&self) -> Vec<i64> {
        match (&self.moved_on, self.branch) {
            (Some(_), Some(branch)) => branch.status.into_iter().collect(),
            (Some(_), None) => Vec::new(),
            _ => self.facts.iter().find(|f| !f.codes.is_empty()).map(|f| f.codes.clone()).unwrap_or_default(),
        }
    }

    fn saw(&mut self, fact: &Fact) {
        if self.first_event.is_empty() {
            self.first_at = fact.at;
            self.first_event = fact.event.to_string();
        }
        self.last_at = self.last_at.max(fact.at);
        self.last_event = fact.event.to_string();
    }
}

fn transaction(f: &EdgeFact) -> Transaction {
    let own = |t: &Text| t.as_deref().unwrap_or_default().to_owned();
    (own(&f.cid), own(&f.ftag), f.cseq)
}

/// All edge legs of a call, by (receipt, CSeq, attempt, id).
#[must_use]
pub fn edge_legs(facts: &[Fact]) -> Vec<EdgeLeg<'_>> {
    let mut legs: BTreeMap<String, EdgeLeg<'_>> = BTreeMap::new();
    let of = |what: &'static [&'static str]| {
        facts.iter().filter(move |f| what.contains(&&*f.what)).filter_map(|f| f.edge.as_deref().map(|e| (f, e)))
    };
    // The order of these passes is the order in which `pick` asks.
    for (fact, e) in of(&["attempt", "refused"]) {
        let leg = entry(&mut legs, e.leg.as_deref().unwrap_or_default(), transaction(e), e.attempt);
        leg.facts.push(e);
        leg.branch = leg.branch.or(e.branches.iter().find(|b| b.leg == e.leg));
        leg.saw(fact);
        if &*fact.what == "refused" {
            leg.refused = true;
            leg.status = e.status;
            leg.end = Some((Ending::Status(e.status.unwrap_or(0)), leg.after(e.t_final).unwrap_or(fact.at)));
        }
    }
    // `answered` after `final`: should both exist (a restarted edge), the answer is what the caller got.
    for (fact, e) in of(&["final"]).chain(of(&["answered"])) {
        result(&mut legs, fact, e);
    }
    for (fact, e) in of(&["late_answer"]) {
        late_answer(&mut legs, fact, e);
    }
    // The end of the first dialog before that of a late one: a leg with both is as long as the first.
    let ends = || of(&["ended", "lost"]);
    for (fact, e) in ends().filter(|(_, e)| !e.late).chain(ends().filter(|(_, e)| e.late)) {
        let first = legs.get(e.leg.as_deref().unwrap_or_default());
        if e.late && first.is_some_and(|leg| leg.answered && !leg.late) {
            continue;
        }
        let leg = entry(&mut legs, e.leg.as_deref().unwrap_or_default(), transaction(e), e.attempt);
        leg.facts.push(e);
        leg.saw(fact);
        leg.answered = true;
        leg.late = e.late;
        leg.status = leg.status.filter(|s| (200..300).contains(s)).or(Some(200));
        let at = e.ended.unwrap_or(fact.at);
        let lost = &*fact.what == "lost";
        let how = if lost { Ending::Lost(e.lost.as_deref().unwrap_or("lost").to_owned()) } else { Ending::Dialog };
        // `ended` is better informed than `lost`, whichever came first.
        if !matches!(leg.end, Some((Ending::Dialog, _))) || !lost {
            leg.end = Some((how, at));
        }
    }
    for (_, e) in of(&["transaction"]) {
        if let Some(leg) = e.leg.as_deref().and_then(|id| legs.get_mut(id)) {
            leg.facts.push(e);
        }
    }
    let mut legs: Vec<EdgeLeg<'_>> = legs.into_values().collect();
    superseded(&mut legs, facts);
    legs.sort_by(|a, b| {
        (a.received_us(), a.transaction.2, a.attempt, &a.leg).cmp(&(
            b.received_us(),
            b.transaction.2,
            b.attempt,
            &b.leg,
        ))
    });
    legs
}

fn entry<'m, 'a>(
    legs: &'m mut BTreeMap<String, EdgeLeg<'a>>,
    id: &str,
    transaction: Transaction,
    attempt: i64,
) -> &'m mut EdgeLeg<'a> {
    let leg = legs.entry(id.to_owned()).or_default();
    if leg.leg.is_empty() {
        leg.leg = id.to_owned();
        leg.transaction = transaction;
        leg.attempt = attempt;
    }
    leg
}

/// The transaction's one result: the leg that it names got it, every other branch has its own final status.
fn result<'a>(legs: &mut BTreeMap<String, EdgeLeg<'a>>, fact: &'a Fact, e: &'a EdgeFact) {
    let winner = e.leg.as_deref().unwrap_or_default();
    for b in &e.branches {
        let Some(id) = b.leg.as_deref() else { continue };
        let leg = entry(legs, id, transaction(e), b.attempt);
        leg.branch = Some(b);
        leg.saw(fact);
        if id != winner {
            leg.facts.push(e);
            leg.status = b.status.or(Some(408));
            leg.moved_on = Some(b.failover.as_deref().unwrap_or("status").to_owned());
            let at = leg.after(b.t_final).unwrap_or(fact.at);
            leg.end = Some((Ending::Status(leg.status.unwrap_or(408)), at));
        }
    }
    let leg = entry(legs, winner, transaction(e), e.attempt);
    leg.facts.push(e);
    leg.saw(fact);
    leg.status = e.status;
    leg.challenge = e.challenge;
    leg.cancelled = e.cancelled;
    leg.moved_on = None;
    if &*fact.what == "answered" {
        leg.answered = true;
        leg.challenge = false;
        leg.end = None;
    } else {
        let at = leg.after(e.t_final).unwrap_or(fact.at);
        leg.end = Some((Ending::Status(e.status.unwrap_or(0)), at));
    }
}

/// A 2xx after the first final response. One that went upstream too makes its attempt an answered leg that waits for its end.
fn late_answer<'a>(legs: &mut BTreeMap<String, EdgeLeg<'a>>, fact: &'a Fact, e: &'a EdgeFact) {
    let Some(id) = e.leg.as_deref() else { return };
    let relayed = e.late_action.as_deref() == Some(schemas::grammar::FORWARDED);
    if !relayed && !legs.contains_key(id) {
        return;
    }
    let leg = entry(legs, id, transaction(e), e.attempt);
    leg.facts.push(e);
    leg.saw(fact);
    if relayed && !leg.answered {
        leg.branch = e.branches.iter().find(|b| b.leg == e.leg).or(leg.branch);
        leg.answered = true;
        leg.late = true;
        leg.status = e.status;
        leg.end = None;
    }
}

/// An attempt after which the edge tried elsewhere has ended, even when the result of the transaction is not here yet.
fn superseded(legs: &mut [EdgeLeg<'_>], facts: &[Fact]) {
    let later: Vec<(Transaction, i64, i64, Option<String>)> = facts
        .iter()
        .filter(|f| &*f.what == "attempt")
        .filter_map(|f| {
            let e = f.edge.as_deref()?;
            Some((transaction(e), e.attempt, f.at, e.failover.as_deref().map(str::to_owned)))
        })
        .collect();
    for leg in legs.iter_mut().filter(|leg| leg.end.is_none() && !leg.answered) {
        let next = later.iter().filter(|(tx, attempt, ..)| *tx == leg.transaction && *attempt > leg.attempt);
        if let Some((_, _, at, why)) = next.min_by_key(|(_, attempt, at, _)| (*attempt, *at)) {
            leg.moved_on = Some(why.clone().unwrap_or_else(|| "failover".to_owned()));
            leg.status = leg.branch.and_then(|b| b.status).or(leg.status);
            leg.end = Some((Ending::Status(leg.status.unwrap_or(408)), *at));
        }
    }
}
