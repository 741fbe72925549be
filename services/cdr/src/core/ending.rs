//! Who may say that a leg has ended, and how it ended.
//!
//! Authority, best first: the channel's HANGUP_COMPLETE, its DESTROY, its HANGUP; the edge's final answer or end of dialog; the
//! reconciler. A better witness that speaks later replaces a worse one; how *sure* the end is never depends on who came first.

use domain::{Disposition, cause};

use crate::core::channel::Channel;
use crate::core::edge_leg::{EdgeLeg, Ending};
use crate::core::fact::{Fact, ReconciledFact};
use crate::core::join::Joined;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    Engine,
    Edge,
    Reconciler,
}

/// The end of a leg as the record shows it.
#[derive(Debug, Clone)]
pub struct End {
    pub authority: Authority,
    pub at_us: i64,
    /// Bounds; equal unless the reconciler had to guess.
    pub earliest_us: i64,
    pub latest_us: i64,
    pub node_lost: bool,
}

/// What the reconciler said about this leg, all verdicts joined: the narrowest interval that all allow.
#[derive(Debug, Clone, Default)]
pub struct Reconciled {
    pub node_lost: bool,
    pub from_us: i64,
    pub to_us: i64,
    pub disposition: Option<String>,
    pub cause: Option<String>,
}

#[must_use]
pub fn node_of(leg: &Joined<'_>) -> Option<String> {
    if let Some(node) = leg.channel.as_ref().and_then(|c| c.merged.node.as_deref()) {
        return Some(node.to_owned());
    }
    let edge = leg.edge.as_ref()?;
    [edge.target(), edge.source()].into_iter().find(|(side, _)| side.as_deref() == Some("node")).and_then(|(_, id)| id)
}

#[must_use]
pub fn reconciled_for(leg: &Joined<'_>, facts: &[Fact]) -> Option<Reconciled> {
    let node = node_of(leg);
    let core = leg.channel.as_ref().and_then(|c| c.merged.core.as_deref());
    let mut joined: Option<Reconciled> = None;
    for fact in facts {
        let Some(r) = &fact.reconciled else { continue };
        if !matches!(&*fact.what, "node_lost" | "orphan_closed") || !concerns(r, &leg.id, node.as_deref(), core) {
            continue;
        }
        let to = if r.decided > 0 { r.decided } else { fact.at };
        let from = if r.last_seen > 0 { r.last_seen } else { to };
        let known = joined.get_or_insert(Reconciled { from_us: from, to_us: to, ..Reconciled::default() });
        known.node_lost |= &*fact.what == "node_lost";
        known.from_us = known.from_us.max(from);
        known.to_us = known.to_us.min(to);
        known.disposition = r.disposition.as_deref().map(str::to_owned).or(known.disposition.take());
        known.cause = r.cause.as_deref().map(str::to_owned).or(known.cause.take());
    }
    joined.map(|mut r| {
        // Verdicts that contradict one another leave a point, not a negative span.
        r.to_us = r.to_us.max(r.from_us);
        r
    })
}

fn concerns(r: &ReconciledFact, leg: &str, node: Option<&str>, core: Option<&str>) -> bool {
    if let Some(named) = r.leg.as_deref() {
        return named == leg;
    }
    match r.node.as_deref() {
        None => true,
        Some(lost) => node == Some(lost) && (r.core.is_none() || core.is_none() || r.core.as_deref() == core),
    }
}

#[must_use]
pub fn end_of(leg: &Joined<'_>, reconciled: Option<&Reconciled>) -> Option<End> {
    let exact = |authority, at_us| End { authority, at_us, earliest_us: at_us, latest_us: at_us, node_lost: false };
    let edge = leg.edge.as_ref().and_then(|e| e.end.as_ref());
    let lost_at_edge = matches!(edge, Some((Ending::Lost(_), _)));
    if let Some((_, at)) = leg.channel.as_ref().and_then(|c| c.end) {
        return Some(exact(Authority::Engine, at));
    }
    if let Some((how, at)) = edge.filter(|_| !(lost_at_edge && reconciled.is_some())) {
        let mut end = exact(Authority::Edge, *at);
        end.node_lost = match how {
            Ending::Lost(why) => why.contains("node"),
            // A BYE that nobody answered, on a node that is known to be dead.
            Ending::Dialog => {
                let answered = leg.edge.as_ref().and_then(|e| e.pick(|f| f.bye_status)).is_some_and(|s| s < 300);
                reconciled.is_some_and(|r| r.node_lost) && !answered
            }
            Ending::Status(_) => false,
        };
        return Some(end);
    }
    reconciled.map(|r| {
        // The last thing that the leg itself said is a proof of life as good as the node's.
        let said = leg.edge.as_ref().map_or(0, |e| e.last_at).max(leg.channel.as_ref().map_or(0, |c| c.last_at));
        let from = r.from_us.max(said.min(r.to_us));
        End {
            authority: Authority::Reconciler,
            at_us: from,
            earliest_us: from,
            latest_us: r.to_us,
            node_lost: r.node_lost,
        }
    })
}

#[must_use]
pub fn answered(leg: &Joined<'_>) -> bool {
    leg.edge.as_ref().is_some_and(|e| e.answered) || leg.channel.as_ref().is_some_and(|c| c.answered_us().is_some())
}

/// The final status of the leg as SIP says it, from the best witness of it: the edge saw the message itself.
#[must_use]
pub fn final_code(leg: &Joined<'_>) -> Option<i64> {
    let channel = leg.channel.as_ref();
    if leg.edge.as_ref().is_some_and(|e| e.answered) {
        return Some(200);
    }
    if let Some(status) = leg.edge.as_ref().and_then(|e| e.status) {
        return Some(status);
    }
    if channel.is_some_and(|c| c.answered_us().is_some()) {
        return Some(200);
    }
    let channel = channel.filter(|c| c.ended())?;
    let m = &channel.merged;
    m.term_status.or(m.invite_status).or_else(|| m.cause.as_deref().map(|c| i64::from(cause::to_sip(c))))
}

#[must_use]
pub fn disposition(leg: &Joined<'_>, end: Option<&End>, reconciled: Option<&Reconciled>) -> Option<Disposition> {
    let end = end?;
    if end.node_lost {
        return Some(Disposition::NodeLost);
    }
    if answered(leg) {
        return Some(Disposition::Answered);
    }
    if end.authority == Authority::Reconciler {
        let named = reconciled.and_then(|r| r.disposition.as_deref()).and_then(Disposition::parse);
        return Some(named.unwrap_or(Disposition::Failed));
    }
    if let Some(d) = leg.edge.as_ref().and_then(by_edge) {
        return Some(d);
    }
    leg.channel.as_ref().filter(|c| c.ended()).map(by_channel)
}

fn by_edge(edge: &EdgeLeg<'_>) -> Option<Disposition> {
    let (Ending::Status(status), _) = edge.end.as_ref()? else { return None };
    if edge.refused {
        let why = edge.text(|f| &f.why).unwrap_or_default();
        if why.starts_with("block") {
            return Some(Disposition::Blocked);
        }
        if why.contains("limit") {
            return Some(Disposition::Limited);
        }
    }
    if edge.cancelled {
        return Some(Disposition::Cancelled);
    }
    let status = edge.status.unwrap_or(*status);
    match status {
        // A challenge that nobody took up, or whose credentials were refused.
        401 | 407 => Some(Disposition::Rejected),
        _ => Some(Disposition::from_sip(u16::try_from(status).unwrap_or(0))),
    }
}

fn by_channel(channel: &Channel) -> Disposition {
    let m = &channel.merged;
    match m.cause.as_deref().unwrap_or("") {
        "ORIGINATOR_CANCEL" | "LOSE_RACE" => Disposition::Cancelled,
        "USER_BUSY" => Disposition::Busy,
        "NO_ANSWER" | "NO_USER_RESPONSE" | "ALLOTTED_TIMEOUT" | "PROGRESS_TIMEOUT" => Disposition::NoAnswer,
        "CALL_REJECTED" => Disposition::Rejected,
        name => {
            let status = m.term_status.or(m.invite_status).and_then(|s| u16::try_from(s).ok());
            let status = status.unwrap_or_else(|| cause::to_sip(name));
            match Disposition::from_sip(status) {
                // Not answered, so a 2xx or a normal clearing says only that somebody gave up.
                Disposition::Answered => Disposition::Cancelled,
                other => other,
            }
        }
    }
}
