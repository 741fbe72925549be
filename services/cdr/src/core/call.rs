//! The record of a call: a pure function of the set of its facts.
//!
//! It looks at no clock and keeps no state between calls of `derive`, so order, copies and batches cannot matter. What only time
//! can tell (a challenge that nobody took up, a node that died) comes in as a fact of the reconciler.

use std::collections::BTreeSet;

use domain::CallId;

use crate::core::ending::Authority;
use crate::core::fact::{Fact, Kind};
use crate::core::leg::{Leg, json_list, leg};
use crate::core::reconcile::OpenCall;
use crate::core::row::{CallRow, LegRow};
use crate::core::state::CallState;
use crate::core::topology::{Edge, deciding, roles, root_group, topology, transcoding};
use crate::core::watch::watch;
use crate::core::{channel, edge_leg, join};
use crate::error::StateError;

pub struct Derived {
    pub call: CallRow,
    pub legs: Vec<LegRow>,
    /// What the reconciler has to watch: the call has not ended, or not for sure.
    pub open: Option<OpenCall>,
}

/// Clocks of edge and node further apart than this are flagged.
const SKEW_US: i64 = 1_000_000;

pub fn derive(call: &CallId, state: &CallState) -> Result<Derived, StateError> {
    let facts = state.facts()?;
    let revision = state.revision();
    let joined = join::join(edge_leg::edge_legs(&facts), channel::channels(&facts));
    let mut legs: Vec<Leg<'_>> = joined.into_iter().map(|half| leg(call, half, &facts, revision)).collect();
    legs.sort_by(|a, b| {
        let key = |l: &Leg<'_>| (l.row.invite_us, l.row.cseq, l.row.attempt, l.row.leg_id.clone());
        key(a).cmp(&key(b))
    });
    let group = root_group(&legs);
    let edges = topology(&mut legs, &group);
    roles(&mut legs, &group);
    transcoding(&mut legs, &edges);
    let closed = facts.iter().any(|f| &*f.what == "orphan_closed");
    let row = call_row(call, &facts, &legs, &group, &edges, revision, closed, state.is_full());
    let open = watch(&facts, &legs, &row);
    Ok(Derived { call: row, legs: legs.into_iter().map(|l| l.row).collect(), open })
}

/// Nothing but a challenge has happened: the caller may still come back, so the call is not over.
fn challenged_only(legs: &[Leg<'_>], group: &[usize]) -> bool {
    deciding(legs, group).is_some_and(|i| legs[i].challenge() && !legs[i].answered())
}

#[expect(clippy::too_many_arguments, reason = "the parts of one derivation, each computed once")]
fn call_row(
    call: &CallId,
    facts: &[Fact],
    legs: &[Leg<'_>],
    group: &[usize],
    edges: &[Edge],
    revision: i64,
    closed: bool,
    full: bool,
) -> CallRow {
    let mut row = CallRow { call_id: call.to_string(), revision, ..CallRow::default() };
    let waiting = challenged_only(legs, group) && !closed;
    let all_ended = !legs.is_empty() && legs.iter().all(|l| l.end.is_some());
    let guessed = legs.iter().any(|l| l.finality() == "reconciled") || (challenged_only(legs, group) && closed);
    row.finality = match (all_ended && !waiting, guessed) {
        (false, _) => "open",
        (true, true) => "reconciled",
        (true, false) => "final",
    }
    .to_owned();
    row.legs = json_list(&legs.iter().map(|l| l.row.leg_id.as_str()).collect::<Vec<_>>());
    row.leg_count = i64::try_from(legs.len()).unwrap_or(i64::MAX);
    row.edges = json_list(edges);
    row.attempts = i64::try_from(group.len()).unwrap_or(i64::MAX);
    row.challenges = count(legs, |l| l.challenge());
    row.retries = count(legs, |l| l.joined.edge.as_ref().is_some_and(|e| e.moved_on.is_some()));
    row.dtmf_count = legs.iter().map(|l| l.row.dtmf_count).sum();
    row.transfers = count(legs, |l| l.joined.channel.as_ref().is_some_and(|c| c.merged.transferred > 0));
    if let (Some(first), Some(decided)) = (group.first(), deciding(legs, group)) {
        from_first(&mut row, &legs[*first], &legs[decided]);
        from_deciding(&mut row, &legs[decided], legs);
    }
    around(&mut row, legs, group);
    menus(&mut row, facts);
    decisions(&mut row, legs, group);
    provenance(&mut row, facts, legs, full);
    row
}

fn count(legs: &[Leg<'_>], which: impl Fn(&Leg<'_>) -> bool) -> i64 {
    i64::try_from(legs.iter().filter(|l| which(l)).count()).unwrap_or(i64::MAX)
}

fn from_first(row: &mut CallRow, first: &Leg<'_>, last: &Leg<'_>) {
    let r = &first.row;
    row.first_leg = Some(r.leg_id.clone());
    (row.source_kind, row.source) = first.joined.edge.as_ref().map_or((None, None), |e| e.source());
    row.sip_call_id.clone_from(&r.sip_call_id);
    row.from_tag.clone_from(&r.from_tag);
    // Of the last INVITE of the first leg: what a retransmission that reaches another edge would carry.
    row.cseq = last.row.cseq.or(r.cseq);
    row.start_us = r.invite_us;
    row.tenant.clone_from(&r.tenant);
    row.account.clone_from(&r.account);
    row.trunk_in.clone_from(&r.trunk_in);
    row.edge.clone_from(&r.edge);
    row.caller_raw.clone_from(&r.caller_raw);
    row.caller_e164.clone_from(&r.caller_e164);
    row.caller_display.clone_from(&r.caller_display);
    row.caller_asserted.clone_from(&r.caller_asserted);
    row.callee_raw.clone_from(&r.callee_raw);
    row.callee_e164.clone_from(&r.callee_e164);
    row.country.clone_from(&r.country);
    row.direction.clone_from(&r.direction);
    if row.direction.as_deref() == Some("inbound") {
        row.did = r.callee_e164.clone().or_else(|| r.callee_raw.clone());
    }
}

fn from_deciding(row: &mut CallRow, leg: &Leg<'_>, legs: &[Leg<'_>]) {
    let r = &leg.row;
    row.node.clone_from(&r.node);
    row.engine.clone_from(&r.engine);
    row.core_uuid.clone_from(&r.core_uuid);
    row.ring_us = r.ring_us;
    row.answer_us = r.answer_us;
    row.pdd_ms = r.pdd_ms;
    row.ring_ms = r.ring_ms;
    row.setup_ms = r.setup_ms;
    row.final_code = r.final_code;
    row.final_phrase.clone_from(&r.final_phrase);
    row.mos_in = r.mos_in;
    row.loss_in = r.loss_in;
    row.jitter_in_ms = r.jitter_in_ms;
    row.one_way_audio = r.one_way_audio;
    if row.finality == "open" && leg.end.is_none() {
        return;
    }
    row.end_us = r.end_us;
    row.end_earliest_us = r.end_earliest_us;
    row.end_latest_us = r.end_latest_us;
    row.talk_ms = r.talk_ms;
    row.hold_ms = r.hold_ms;
    row.total_ms = r.total_ms;
    row.billable_ms = r.billable_ms;
    if leg.challenge() && row.finality == "open" {
        return;
    }
    row.disposition.clone_from(&r.disposition);
    row.q850 = r.q850;
    row.hangup_cause.clone_from(&r.hangup_cause);
    row.closed_by.clone_from(&r.closed_by);
    row.released_by = released_by(leg, legs);
    row.released_side.clone_from(&r.released_side);
}

/// For the caller's leg the node is the callee. Who it was behind the node, the leg that it was bridged to tells.
fn released_by(leg: &Leg<'_>, legs: &[Leg<'_>]) -> Option<String> {
    let who = leg.row.released_by.clone()?;
    let inward = leg.row.direction.as_deref() == Some("inbound");
    if !(inward && leg.answered() && matches!(who.as_str(), "callee" | "node" | "engine"))
        || leg.row.disposition.as_deref() == Some("node_lost")
    {
        return Some(who);
    }
    let others = legs.iter().filter(|l| l.row.leg_id != leg.row.leg_id && l.answered());
    if others.clone().any(|l| l.row.released_by.as_deref() == Some("callee")) {
        return Some("callee".to_owned());
    }
    let controlled = leg.joined.channel.as_ref().is_some_and(|c| c.merged.controlled);
    Some(if controlled { "engine".to_owned() } else { who })
}

fn around(row: &mut CallRow, legs: &[Leg<'_>], group: &[usize]) {
    // Where the call went in the end: the last leg that was answered, else the last that was tried.
    let out = |l: &&Leg<'_>| l.row.trunk_out.is_some();
    let went = legs.iter().filter(out).rfind(|l| l.answered()).or_else(|| legs.iter().rfind(out));
    row.trunk_out = went.and_then(|l| l.row.trunk_out.clone());
    let answered = || legs.iter().filter(|l| l.answered());
    row.first_answered_leg = answered().min_by_key(|l| l.row.answer_us).map(|l| l.row.leg_id.clone());
    row.last_answered_leg = answered().max_by_key(|l| l.row.answer_us).map(|l| l.row.leg_id.clone());
    if row.node.is_none() {
        row.node = group.iter().rev().find_map(|i| legs[*i].row.node.clone());
    }
    if row.engine.is_none() {
        row.engine = legs.iter().find_map(|l| l.row.engine.clone());
    }
    if let Some(m) =
        legs.iter().filter_map(|l| l.joined.channel.as_ref()).map(|c| &c.merged).find(|m| m.campaign.is_some())
    {
        row.campaign = m.campaign.as_deref().map(str::to_owned);
        row.contact = m.contact.as_deref().map(str::to_owned);
        row.campaign_attempt = Some(m.campaign_attempt);
    }
}

fn menus(row: &mut CallRow, facts: &[Fact]) {
    let mut steps: Vec<(&Fact, &crate::core::fact::IvrFact)> =
        facts.iter().filter_map(|f| f.ivr.as_deref().map(|i| (f, i))).collect();
    steps.sort_by(|(fa, a), (fb, b)| (fa.at, &a.channel, a.step, &fa.id).cmp(&(fb.at, &b.channel, b.step, &fb.id)));
    let name = |i: &crate::core::fact::IvrFact| {
        format!("{}/{}", i.menu.as_deref().unwrap_or(""), i.menu_node.as_deref().unwrap_or(""))
    };
    let mut path: Vec<String> = Vec::new();
    for (_, step) in &steps {
        let here = name(step);
        if path.last() != Some(&here) {
            path.push(here);
        }
    }
    row.ivr_path = json_list(&path);
    if let Some((_, first)) = steps.first() {
        row.ivr_menu = first.menu.as_deref().map(str::to_owned);
        row.ivr_version = Some(first.version.to_string());
    }
    if let Some((fact, _)) =
        steps.iter().rev().find(|(f, _)| matches!(&*f.what, "hangup" | "transferred" | "completed"))
    {
        row.ivr_exit = Some(fact.what.to_string());
    }
}

fn decisions(row: &mut CallRow, legs: &[Leg<'_>], group: &[usize]) {
    let mut ids = BTreeSet::new();
    for leg in legs.iter().filter_map(|l| l.joined.edge.as_ref()) {
        ids.extend([leg.text(|f| &f.block), leg.text(|f| &f.rule)].into_iter().flatten());
    }
    row.decision_ids = json_list(&ids.iter().collect::<Vec<_>>());
    if let Some(edge) = deciding(legs, group).and_then(|i| legs[i].joined.edge.as_ref()) {
        row.decision_rule = edge.text(|f| &f.rule);
        row.block_id = edge.text(|f| &f.block).filter(|_| edge.refused);
    }
}

fn provenance(row: &mut CallRow, facts: &[Fact], legs: &[Leg<'_>], full: bool) {
    let edge = facts.iter().any(|f| f.kind == Kind::Edge);
    let engine = facts.iter().any(|f| matches!(f.kind, Kind::Channel | Kind::Ivr));
    row.witnesses = match (edge, engine) {
        (true, true) => "edge,engine",
        (true, false) => "edge",
        (false, true) => "engine",
        (false, false) => "",
    }
    .to_owned();
    let worst = |name: &str| legs.iter().any(|l| l.row.quality == name);
    row.quality = if row.finality == "open" || worst("partial") {
        "partial"
    } else if row.finality == "reconciled" || worst("estimated") {
        "estimated"
    } else if worst("one_witness") {
        "one_witness"
    } else {
        "complete"
    }
    .to_owned();
    let guessed = legs.iter().any(|l| l.end.as_ref().is_some_and(|e| e.authority == Authority::Reconciler));
    row.estimated = if guessed { json_list(&["end_us", "talk_ms", "total_ms"]) } else { "[]".to_owned() };
    let mut flags: BTreeSet<&str> = BTreeSet::new();
    let known = |id: &str| legs.iter().any(|l| l.row.leg_id == id || l.row.channel_uuid.as_deref() == Some(id));
    if legs.iter().any(|l| l.row.parent_leg.as_deref().is_some_and(|p| !known(p))) {
        flags.insert("leg_missing");
    }
    if row.finality != "open" && worst("one_witness") {
        flags.insert("witness_missing");
    }
    let skewed = |l: &Leg<'_>| {
        let edge = l.joined.edge.as_ref().filter(|e| e.answered).and_then(|e| e.after(e.t_final()));
        let channel = l.joined.channel.as_ref().and_then(|c| c.answered_us());
        edge.zip(channel).is_some_and(|(a, b)| (a - b).abs() > SKEW_US)
    };
    if legs.iter().any(skewed) {
        flags.insert("clock_skew");
    }
    if full {
        flags.insert("truncated");
    }
    row.flags = json_list(&flags.into_iter().collect::<Vec<_>>());
    row.first_event = facts.first().map(|f| f.event.to_string());
    row.last_event = facts.last().map(|f| f.event.to_string());
}
