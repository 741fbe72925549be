//! The grammar of `sip.transactions`: which events one server transaction gives, and in which order.
//!
//! ```text
//! forwarded  = attempt+ ( final | answered late_answer* ( ended | lost ) ) late_answer*
//! refused    = refused                                    the edge answered an initial INVITE itself
//! other      = transaction                                re-INVITE, INFO, REGISTER …; never ACK, CANCEL or BYE
//! ```
//!
//! A server transaction is (Call-ID, From tag, CSeq number). `ended`, `lost` and `late_answer` carry those of the INVITE
//! that they belong to, not those of the BYE. Attempts count from 1 without gaps; `answered` and `final` list every
//! branch. A copy counts as a second event: whoever reads an at-least-once stream drops copies first.

use std::{collections::BTreeMap, fmt};

use crate::sip_transaction::{SipOutcome, SipTransaction};

/// What is wrong with which event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {index} ({event_type} of {transaction}): {fault}")]
pub struct Violation {
    /// Place of the event in the slice.
    pub index: usize,
    pub event_type: String,
    pub transaction: Transaction,
    pub fault: Fault,
}

/// A server transaction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Transaction {
    pub call_id: String,
    pub from_tag: String,
    pub cseq: u32,
}

impl fmt::Display for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {} {}", self.call_id, self.from_tag, self.cseq)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("not allowed after {0}")]
    Order(&'static str),
    #[error("nothing follows, but the story is open")]
    Unfinished,
    #[error("attempt {found}, but {expected} was due")]
    AttemptNumber { found: i32, expected: i32 },
    #[error("the first attempt carries no decision")]
    NoDecision,
    #[error("status {0} does not belong into this event")]
    Status(u16),
    #[error("status {status} {} a challenge", if *.marked { "is not" } else { "is not marked as" })]
    Challenge { status: u16, marked: bool },
    #[error("lists branches of attempts {found:?}, but {expected} were made")]
    Branches { found: Vec<i32>, expected: i32 },
    #[error("leg {0} is none of its branches")]
    Leg(String),
    #[error("call id differs from that of the transaction's first event")]
    CallId,
    #[error("continues CSeq {0}, which was not challenged under this call id")]
    Continues(u32),
    #[error("parent leg {0} is no leg of this call")]
    Parent(String),
    #[error("{0} has no event of its own here")]
    Method(String),
}

/// Checks whole stories: every call has ended.
pub fn check(events: &[SipTransaction]) -> Result<(), Violation> {
    Stories::read(events)?.links()?.closed()
}

/// Checks what there is so far: calls may still be open.
pub fn check_so_far(events: &[SipTransaction]) -> Result<(), Violation> {
    Stories::read(events)?.links().map(drop)
}

/// Whether a final status asks the caller to come again, which continues the call (DESIGN §4).
pub fn is_challenge(status: u16) -> bool {
    matches!(status, 300..=399 | 401 | 407 | 415 | 420 | 421 | 422 | 494)
}

/// Where a story stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Trying(i32),
    Answered,
    Final { challenge: bool },
    Over,
    Refused,
    Other,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Trying(_) => "attempt",
            Self::Answered => "answered",
            Self::Final { .. } => "final",
            Self::Over => "ended or lost",
            Self::Refused => "refused",
            Self::Other => "transaction",
        }
    }
}

struct Story<'a> {
    call: &'a str,
    state: State,
    last: usize,
}

struct Stories<'a> {
    events: &'a [SipTransaction],
    invites: BTreeMap<Transaction, Story<'a>>,
}

impl<'a> Stories<'a> {
    fn read(events: &'a [SipTransaction]) -> Result<Self, Violation> {
        let mut stories = Self { events, invites: BTreeMap::new() };
        let mut others = BTreeMap::new();
        for (index, event) in events.iter().enumerate() {
            if event.event_type == "transaction" {
                let key = (transaction(event), event.identity.method.as_str());
                let state = others.get(&key).copied();
                others.insert(key, other(state, event).map_err(|fault| violation(events, index, fault))?);
            } else {
                stories.follow(index, event).map_err(|fault| violation(events, index, fault))?;
            }
        }
        Ok(stories)
    }

    fn follow(&mut self, index: usize, event: &'a SipTransaction) -> Result<(), Fault> {
        let story = self.invites.get(&transaction(event));
        if story.is_some_and(|s| s.call != event.call_root_id) {
            return Err(Fault::CallId);
        }
        let state = next(story.map(|s| s.state), event)?;
        self.invites.insert(transaction(event), Story { call: &event.call_root_id, state, last: index });
        Ok(())
    }

    /// What one event says about others: which transaction it continues, which leg caused it.
    fn links(self) -> Result<Self, Violation> {
        for (index, event) in self.events.iter().enumerate() {
            if let Some(cseq) = event.correlation.as_ref().and_then(|c| c.continues_cseq) {
                let before = self.invites.get(&Transaction { cseq, ..transaction(event) });
                let challenged =
                    |s: &Story| s.state == State::Final { challenge: true } && s.call == event.call_root_id;
                if !before.is_some_and(challenged) {
                    return Err(violation(self.events, index, Fault::Continues(cseq)));
                }
            }
            // A parent that is a channel's UUID belongs to the other witness.
            if let Some(parent) = event.parent_leg_id.as_deref().filter(|p| p.len() == 16) {
                let known = |e: &SipTransaction| e.call_root_id == event.call_root_id && e.leg_id == parent;
                if !self.events.iter().any(known) {
                    return Err(violation(self.events, index, Fault::Parent(parent.to_owned())));
                }
            }
        }
        Ok(self)
    }

    fn closed(self) -> Result<(), Violation> {
        let open = self.invites.values().find(|s| matches!(s.state, State::Trying(_) | State::Answered));
        open.map_or(Ok(()), |story| Err(violation(self.events, story.last, Fault::Unfinished)))
    }
}

fn transaction(event: &SipTransaction) -> Transaction {
    let i = &event.identity;
    Transaction { call_id: i.call_id.clone(), from_tag: i.from_tag.clone(), cseq: i.cseq }
}

fn violation(events: &[SipTransaction], index: usize, fault: Fault) -> Violation {
    let event = &events[index];
    Violation { index, event_type: event.event_type.clone(), transaction: transaction(event), fault }
}

fn other(before: Option<State>, event: &SipTransaction) -> Result<State, Fault> {
    let i = &event.identity;
    let inside = matches!(i.method.as_str(), "ACK" | "CANCEL" | "BYE") || (i.method == "INVITE" && !i.in_dialog);
    match before {
        _ if inside => Err(Fault::Method(i.method.clone())),
        Some(state) => Err(Fault::Order(state.name())),
        None => Ok(State::Other),
    }
}

fn next(before: Option<State>, event: &SipTransaction) -> Result<State, Fault> {
    use State::{Answered, Final, Over, Refused, Trying};
    let outcome = event.outcome.as_ref();
    match (before, event.event_type.as_str()) {
        (None, "refused") => {
            let status = status(outcome);
            if (200..300).contains(&status) || status < 200 {
                return Err(Fault::Status(status));
            }
            branches(event, 0)?;
            Ok(Refused)
        }
        (None, "attempt") if event.decision.is_none() => Err(Fault::NoDecision),
        (None, "attempt") => attempt(event, 1),
        (Some(Trying(n)), "attempt") => attempt(event, n + 1),
        (Some(Trying(n)), "answered") => {
            let status = status(outcome);
            if !(200..300).contains(&status) {
                return Err(Fault::Status(status));
            }
            branches(event, n)?;
            leg(event)?;
            Ok(Answered)
        }
        (Some(Trying(n)), "final") => {
            let status = status(outcome);
            if !(300..700).contains(&status) {
                return Err(Fault::Status(status));
            }
            let marked = outcome.is_some_and(|o| o.challenge);
            if marked != is_challenge(status) {
                return Err(Fault::Challenge { status, marked });
            }
            branches(event, n)?;
            leg(event)?;
            Ok(Final { challenge: marked })
        }
        (Some(Answered), "ended" | "lost") => Ok(Over),
        (Some(state @ (Answered | Final { .. } | Over)), "late_answer") => Ok(state),
        (None, _) => Err(Fault::Order("nothing")),
        (Some(state), _) => Err(Fault::Order(state.name())),
    }
}

fn attempt(event: &SipTransaction, expected: i32) -> Result<State, Fault> {
    if event.attempt == expected {
        leg(event)?;
        Ok(State::Trying(expected))
    } else {
        Err(Fault::AttemptNumber { found: event.attempt, expected })
    }
}

fn status(outcome: Option<&SipOutcome>) -> u16 {
    outcome.and_then(|o| o.status).unwrap_or(0)
}

/// Every attempt has its branch; a forked attempt may have several.
fn branches(event: &SipTransaction, attempts: i32) -> Result<(), Fault> {
    let mut found: Vec<i32> = event.branches.iter().map(|b| b.attempt).collect();
    found.dedup();
    if found.iter().copied().eq(1..=attempts) { Ok(()) } else { Err(Fault::Branches { found, expected: attempts }) }
}

fn leg(event: &SipTransaction) -> Result<(), Fault> {
    let known = event.branches.iter().any(|b| b.leg_id == event.leg_id);
    if known { Ok(()) } else { Err(Fault::Leg(event.leg_id.clone())) }
}
