//! The grammar of `sip.transactions`: which events one server transaction gives, and in which order.
//!
//! ```text
//! forwarded  = attempt+ ( final released* | answered dialog ( released | relayed dialog )* )
//! dialog     = ended | lost                               at any later place, one for each 2xx that went upstream
//! released   = late_answer                                the edge ended it, or only acknowledged it
//! relayed    = late_answer (late_action = forwarded)      a further 2xx that went upstream too
//! refused    = refused                                    the edge answered an initial INVITE itself
//! other      = transaction                                re-INVITE, INFO, REGISTER …; never ACK, CANCEL or BYE
//! ```
//!
//! A server transaction is (Call-ID, From tag, CSeq number). `ended`, `lost` and `late_answer` carry those of the INVITE
//! that they belong to, not those of the BYE. Of several dialogs of one INVITE each is known by its attempt and To tag; the
//! end of one that a `late_answer` made is marked `dialog.late`. Attempts count from 1 without gaps; `answered` and `final`
//! list every branch. A copy counts as a second event: whoever reads an at-least-once stream drops copies first.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::sip_transaction::{SipOutcome, SipTransaction};

/// The `late_action` of a 2xx that went upstream all the same.
pub const FORWARDED: &str = "forwarded";

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
    #[error("a 2xx of attempt {0} with this To tag was told before")]
    ToldBefore(i32),
    #[error("no 2xx of attempt {0} with this To tag waits for its end")]
    NoDialog(i32),
    #[error("a 2xx was forwarded after a final failure")]
    Relayed,
    #[error("is {} the end of a late answer", if *.marked { "not" } else { "not marked as" })]
    Late { marked: bool },
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

/// Where the set-up of a call stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Trying(i32),
    Answered,
    Final { challenge: bool },
    Refused { challenge: bool },
    Other,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Trying(_) => "attempt",
            Self::Answered => "answered",
            Self::Final { .. } => "final",
            Self::Refused { .. } => "refused",
            Self::Other => "transaction",
        }
    }
}

/// A 2xx: what tells it from another one of the same INVITE, and whether it came after the first.
#[derive(Clone, Copy)]
struct Success<'a> {
    attempt: i32,
    to_tag: Option<&'a str>,
    late: bool,
}

impl<'a> Success<'a> {
    fn of(event: &'a SipTransaction, late: bool) -> Self {
        Self { attempt: event.attempt, to_tag: event.identity.to_tag.as_deref(), late }
    }

    fn is(&self, event: &SipTransaction) -> bool {
        (self.attempt, self.to_tag) == (event.attempt, event.identity.to_tag.as_deref())
    }
}

struct Story<'a> {
    call: &'a str,
    state: State,
    /// Every 2xx that was told, and those of them that went upstream and have not ended.
    told: Vec<Success<'a>>,
    open: Vec<Success<'a>>,
    last: usize,
}

struct Stories<'a> {
    events: &'a [SipTransaction],
    invites: BTreeMap<Transaction, Story<'a>>,
}

impl<'a> Stories<'a> {
    fn read(events: &'a [SipTransaction]) -> Result<Self, Violation> {
        let mut stories = Self { events, invites: BTreeMap::new() };
        let mut others = BTreeSet::new();
        for (index, event) in events.iter().enumerate() {
            let done = if event.event_type == "transaction" {
                other(&mut others, event)
            } else {
                stories.follow(index, event)
            };
            done.map_err(|fault| violation(events, index, fault))?;
        }
        Ok(stories)
    }

    fn follow(&mut self, index: usize, event: &'a SipTransaction) -> Result<(), Fault> {
        let key = transaction(event);
        let Some(story) = self.invites.get_mut(&key) else {
            let state = begin(event)?;
            let story = Story { call: &event.call_root_id, state, told: Vec::new(), open: Vec::new(), last: index };
            self.invites.insert(key, story);
            return Ok(());
        };
        if story.call != event.call_root_id {
            return Err(Fault::CallId);
        }
        story.last = index;
        story.go_on(event)
    }

    /// What one event says about others: which transaction it continues, which leg caused it.
    fn links(self) -> Result<Self, Violation> {
        for (index, event) in self.events.iter().enumerate() {
            if let Some(cseq) = event.correlation.as_ref().and_then(|c| c.continues_cseq) {
                let before = self.invites.get(&Transaction { cseq, ..transaction(event) });
                let asked = |s: &Story| {
                    matches!(s.state, State::Final { challenge: true } | State::Refused { challenge: true })
                };
                let challenged = |s: &Story| asked(s) && s.call == event.call_root_id;
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
        let open = self.invites.values().find(|s| matches!(s.state, State::Trying(_)) || !s.open.is_empty());
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

/// What makes one transaction that is no initial INVITE: its branch too, because a request may come again by another way,
/// and the dialog, because two dialogs of one INVITE number their requests alike.
type Other<'a> = (Transaction, &'a str, Option<&'a str>, Option<&'a str>);

fn other<'a>(seen: &mut BTreeSet<Other<'a>>, event: &'a SipTransaction) -> Result<(), Fault> {
    let i = &event.identity;
    if matches!(i.method.as_str(), "ACK" | "CANCEL" | "BYE") || (i.method == "INVITE" && !i.in_dialog) {
        return Err(Fault::Method(i.method.clone()));
    }
    let key = (transaction(event), i.method.as_str(), i.to_tag.as_deref(), i.branch.as_deref());
    if seen.insert(key) { Ok(()) } else { Err(Fault::Order(State::Other.name())) }
}

/// The first event of a story.
fn begin(event: &SipTransaction) -> Result<State, Fault> {
    let outcome = event.outcome.as_ref();
    match event.event_type.as_str() {
        "refused" => {
            let status = status(outcome);
            if (200..300).contains(&status) || status < 200 {
                return Err(Fault::Status(status));
            }
            branches(event, 0)?;
            Ok(State::Refused { challenge: is_challenge(status) })
        }
        "attempt" if event.decision.is_none() => Err(Fault::NoDecision),
        "attempt" => attempt(event, 1),
        _ => Err(Fault::Order("nothing")),
    }
}

impl<'a> Story<'a> {
    fn go_on(&mut self, event: &'a SipTransaction) -> Result<(), Fault> {
        use State::{Answered, Final, Trying};
        let outcome = event.outcome.as_ref();
        match (self.state, event.event_type.as_str()) {
            (Trying(n), "attempt") => self.state = attempt(event, n + 1)?,
            (Trying(n), "answered") => {
                let status = status(outcome);
                if !(200..300).contains(&status) {
                    return Err(Fault::Status(status));
                }
                branches(event, n)?;
                leg(event)?;
                self.state = Answered;
                self.told.push(Success::of(event, false));
                self.open.push(Success::of(event, false));
            }
            (Trying(n), "final") => {
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
                self.state = Final { challenge: marked };
            }
            (Answered | Final { .. }, "late_answer") => self.late_answer(event)?,
            (Answered, "ended" | "lost") => self.end(event)?,
            (state, _) => return Err(Fault::Order(state.name())),
        }
        Ok(())
    }

    fn late_answer(&mut self, event: &'a SipTransaction) -> Result<(), Fault> {
        leg(event)?;
        if self.told.iter().any(|s| s.is(event)) {
            return Err(Fault::ToldBefore(event.attempt));
        }
        self.told.push(Success::of(event, true));
        if event.outcome.as_ref().and_then(|o| o.late_action.as_deref()) == Some(FORWARDED) {
            if self.state != State::Answered {
                return Err(Fault::Relayed);
            }
            self.open.push(Success::of(event, true));
        }
        Ok(())
    }

    fn end(&mut self, event: &SipTransaction) -> Result<(), Fault> {
        let Some(at) = self.open.iter().position(|s| s.is(event)) else {
            return Err(Fault::NoDialog(event.attempt));
        };
        let marked = event.dialog.as_ref().is_some_and(|d| d.late);
        if self.open.swap_remove(at).late == marked { Ok(()) } else { Err(Fault::Late { marked }) }
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
