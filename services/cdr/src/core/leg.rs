//! One leg's row from its two halves.

use domain::CallId;

use crate::core::channel::Channel;
use crate::core::ending::{self, Authority, End, Reconciled};
use crate::core::fact::Fact;
use crate::core::join::Joined;
use crate::core::leg_outcome::{media, outcome};
use crate::core::row::LegRow;

/// A leg with what the call needs to know of it beyond its row.
pub struct Leg<'a> {
    pub joined: Joined<'a>,
    pub end: Option<End>,
    pub reconciled: Option<Reconciled>,
    pub row: LegRow,
}

impl Leg<'_> {
    #[must_use]
    pub fn answered(&self) -> bool {
        ending::answered(&self.joined)
    }

    #[must_use]
    pub fn challenge(&self) -> bool {
        self.joined.edge.as_ref().is_some_and(|e| e.challenge)
    }

    /// Only a witness ends a leg for good.
    #[must_use]
    pub fn finality(&self) -> &'static str {
        match &self.end {
            None => "open",
            Some(end) if end.authority == Authority::Reconciler => "reconciled",
            Some(_) => "final",
        }
    }
}

fn ms(us: i64) -> i64 {
    us.max(0) / 1000
}

pub fn json_list<T: serde::Serialize>(items: &[T]) -> String {
    serde_json::to_string(items).unwrap_or_else(|_| "[]".to_owned())
}

#[must_use]
pub fn leg<'a>(call: &CallId, joined: Joined<'a>, facts: &[Fact], revision: i64) -> Leg<'a> {
    let reconciled = ending::reconciled_for(&joined, facts);
    let end = ending::end_of(&joined, reconciled.as_ref());
    let row = LegRow { call_id: call.to_string(), leg_id: joined.id.clone(), revision, ..LegRow::default() };
    let mut leg = Leg { joined, end, reconciled, row };
    leg.row.finality = leg.finality().to_owned();
    identity(&mut leg);
    parties(&mut leg);
    times(&mut leg);
    durations(&mut leg);
    outcome(&mut leg);
    media(&mut leg);
    provenance(&mut leg);
    leg
}

fn identity(leg: &mut Leg<'_>) {
    let row = &mut leg.row;
    row.node = ending::node_of(&leg.joined);
    if let Some(edge) = &leg.joined.edge {
        let (cid, ftag, cseq) = &edge.transaction;
        row.sip_call_id = Some(cid.clone()).filter(|t| !t.is_empty());
        row.from_tag = Some(ftag.clone()).filter(|t| !t.is_empty());
        row.cseq = Some(*cseq);
        row.attempt = Some(edge.attempt);
        row.to_tag =
            edge.branch().and_then(|b| b.ttag.as_deref()).map(str::to_owned).or_else(|| edge.text(|f| &f.ttag));
        row.edge = edge.text(|f| &f.edge);
        row.tenant = edge.text(|f| &f.tenant);
        row.account = edge.text(|f| &f.account);
        row.parent_leg = edge.parent();
        row.retry_reason =
            edge.text(|f| &f.failover).or_else(|| edge.pick(|f| f.continues).map(|_| "challenge".to_owned()));
        let ((from_side, from), (to_side, to)) = (edge.source(), edge.target());
        if from_side.as_deref() == Some("trunk") {
            row.trunk_in = from;
        }
        if to_side.as_deref() == Some("trunk") {
            row.trunk_out = to;
        }
        let outward = from_side.as_deref() == Some("node");
        row.direction = Some(if outward { "outbound" } else { "inbound" }.to_owned());
        row.transport = edge.text(|f| &f.transport);
        row.tls = edge.text(|f| &f.tls);
        row.source_addr = edge.text(|f| &f.source_addr);
        row.target_addr = edge.branch().and_then(|b| b.address.as_deref()).map(str::to_owned);
        row.auth_user = edge.text(|f| &f.auth_user);
        row.attest = edge.text(|f| &f.attest);
        row.ua_caller = edge.text(|f| &f.user_agent);
        row.ua_callee = edge.text(|f| &f.server);
        let own = edge.branch().map_or(0, |b| b.retransmissions);
        row.retransmissions = edge.pick(|f| (f.retransmissions > 0).then_some(f.retransmissions)).or(Some(own));
    }
    if let Some(channel) = &leg.joined.channel {
        let m = &channel.merged;
        let own = |t: &Option<Box<str>>| t.as_deref().map(str::to_owned);
        row.channel_uuid = Some(channel.uuid.clone());
        row.engine = own(&m.engine);
        row.core_uuid = own(&m.core);
        row.tenant = row.tenant.take().or_else(|| own(&m.tenant));
        row.sip_call_id = row.sip_call_id.take().or_else(|| own(&m.cid));
        row.from_tag = row.from_tag.take().or_else(|| own(&m.ftag));
        row.to_tag = row.to_tag.take().or_else(|| own(&m.ttag));
        row.cseq = row.cseq.or(m.cseq);
        row.direction = row.direction.take().or_else(|| own(&m.direction));
        row.transport = row.transport.take().or_else(|| own(&m.transport));
        row.source_addr = row.source_addr.take().or_else(|| own(&m.network));
        let ua = own(&m.user_agent);
        if channel.inbound() {
            row.ua_caller = row.ua_caller.take().or(ua);
        } else {
            row.ua_callee = row.ua_callee.take().or(ua);
        }
        row.dtmf_count = channel.dtmf;
        row.recordings = json_list(&channel.recordings);
    } else {
        row.recordings = "[]".to_owned();
    }
}

fn parties(leg: &mut Leg<'_>) {
    let row = &mut leg.row;
    if let Some(edge) = &leg.joined.edge {
        row.caller_raw = edge.text(|f| &f.caller_raw);
        row.caller_e164 = edge.text(|f| &f.caller_e164);
        row.caller_display = edge.text(|f| &f.caller_display);
        row.caller_asserted = edge.text(|f| &f.caller_asserted);
        row.callee_raw = edge.text(|f| &f.callee_raw);
        row.callee_e164 = edge.text(|f| &f.callee_e164);
        row.country = edge.text(|f| &f.callee_country);
        row.dialled = edge.text(|f| &f.request_user).or_else(|| row.callee_raw.clone());
    }
    if let Some(channel) = &leg.joined.channel {
        let m = &channel.merged;
        let own = |t: &Option<Box<str>>| t.as_deref().map(str::to_owned);
        row.caller_raw = row.caller_raw.take().or_else(|| own(&m.from_user)).or_else(|| own(&m.caller_number));
        row.caller_display = row.caller_display.take().or_else(|| own(&m.caller_name));
        row.caller_asserted = row.caller_asserted.take().or_else(|| own(&m.asserted));
        row.callee_raw = row.callee_raw.take().or_else(|| own(&m.to_user)).or_else(|| own(&m.destination));
        row.dialled = row.dialled.take().or_else(|| own(&m.destination));
        row.callee_final = own(&m.callee_number).or_else(|| own(&m.destination));
    }
    let normal = |raw: &Option<String>| raw.as_deref().and_then(domain::normalize_number);
    row.caller_e164 = row.caller_e164.take().or_else(|| normal(&row.caller_raw));
    row.callee_e164 = row.callee_e164.take().or_else(|| normal(&row.callee_raw));
}

fn times(leg: &mut Leg<'_>) {
    let answered = leg.answered();
    let row = &mut leg.row;
    if let Some(edge) = &leg.joined.edge {
        row.invite_us = Some(edge.received_us());
        row.trying_us = edge.after(edge.pick(|f| f.t_100));
        row.ring_us = edge.after(edge.t_18x());
        row.early_media_us = edge.after(edge.pick(|f| f.t_183_sdp).filter(|_| edge.moved_on.is_none()));
        if edge.answered {
            // `t_final` of the answer; an `ended` that stands alone still tells when the talk began.
            let ended = edge.pick(|f| f.talk.and_then(|talk| f.ended.map(|at| at - talk)));
            row.answer_us = edge.after(edge.t_final()).or(ended);
        }
        row.bye_us = edge.pick(|f| f.ended).or_else(|| edge.after(edge.pick(|f| f.t_cancel)));
    }
    if let Some(channel) = &leg.joined.channel {
        row.invite_us = row.invite_us.or(Some(channel.created_us()));
        row.ring_us = row.ring_us.or(channel.progress_us());
        row.early_media_us = row.early_media_us.or(Some(channel.merged.progress_media).filter(|at| *at > 0));
        if answered {
            row.answer_us = row.answer_us.or(channel.answered_us());
        }
    }
    if let Some(end) = &leg.end {
        row.end_us = Some(end.at_us);
        row.end_earliest_us = Some(end.earliest_us);
        row.end_latest_us = Some(end.latest_us);
        // The node's clock may be off: a leg must not end before it was answered.
        let edge_end = leg.joined.edge.as_ref().and_then(|e| e.end.as_ref()).map(|(_, at)| *at);
        if let (Some(answer), Authority::Engine, Some(at)) = (row.answer_us, end.authority, edge_end)
            && end.at_us < answer
        {
            row.end_us = Some(at);
            row.end_earliest_us = Some(at);
            row.end_latest_us = Some(at);
        }
    }
}

/// Every duration is a difference on one clock; a sum over two witnesses is never formed.
fn durations(leg: &mut Leg<'_>) {
    let answered = leg.answered();
    let estimated = leg.end.as_ref().is_some_and(|e| e.authority == Authority::Reconciler);
    let row = &mut leg.row;
    let edge = leg.joined.edge.as_ref();
    let channel = leg.joined.channel.as_ref();
    let by_channel = |from: Option<i64>, to: Option<i64>| from.zip(to).filter(|(a, b)| a <= b).map(|(a, b)| ms(b - a));
    let created = channel.map(Channel::created_us);
    let hangup = channel.and_then(|c| c.end).map(|(_, at)| at);
    let channel_answer = channel.and_then(Channel::answered_us);

    let forwarded = edge.and_then(|e| e.branch()).filter(|b| b.attempt > 1).map_or(0, |b| b.t_fwd);
    row.pdd_ms = edge
        .and_then(|e| e.t_18x().map(|t| ms(t - forwarded)))
        .or_else(|| by_channel(created, channel.and_then(Channel::progress_us)));
    if answered {
        row.setup_ms =
            edge.and_then(|e| e.t_final().map(|t| ms(t - forwarded))).or_else(|| by_channel(created, channel_answer));
        let by_edge = edge.and_then(|e| e.pick(|f| f.talk)).map(ms);
        row.talk_ms = by_channel(channel_answer, hangup).or(by_edge);
        if row.talk_ms.is_none() && estimated {
            row.talk_ms = by_channel(row.answer_us, row.end_us);
        }
    } else if leg.end.is_some() {
        row.talk_ms = Some(0);
    }
    row.billable_ms = row.talk_ms;
    row.hold_ms = channel
        .filter(|c| c.ended())
        .map(|c| ms(c.merged.held))
        .or_else(|| edge.and_then(|e| e.pick(|f| f.hold)).map(ms));
    let rang = row.ring_us;
    row.ring_ms = edge
        .and_then(|e| e.t_18x().zip(e.t_final()).map(|(ring, last)| ms(last - ring)))
        .or_else(|| by_channel(channel.and_then(Channel::progress_us), channel_answer.or(hangup)))
        .filter(|_| rang.is_some());
    let at_edge = edge.and_then(|e| {
        let setup = e.t_final()?;
        if e.answered { e.pick(|f| f.talk).map(|talk| ms(setup + talk)) } else { Some(ms(setup)) }
    });
    row.total_ms = by_channel(created, hangup).or(at_edge);
    if row.total_ms.is_none() && estimated {
        row.total_ms = by_channel(row.invite_us, row.end_us);
    }
}

fn provenance(leg: &mut Leg<'_>) {
    let row = &mut leg.row;
    let edge = leg.joined.edge.as_ref();
    let channel = leg.joined.channel.as_ref();
    row.witnesses = match (edge.is_some(), channel.is_some()) {
        (true, true) => "edge,engine",
        (true, false) => "edge",
        _ => "engine",
    }
    .to_owned();
    let mut estimated = Vec::new();
    if let Some(end) = &leg.end {
        if end.authority == Authority::Reconciler {
            estimated.extend(["end_us", "talk_ms", "total_ms"]);
        }
        row.closed_by = Some(if end.authority == Authority::Reconciler { "reaper" } else { "event" }.to_owned());
    }
    // A leg that never left the edge, one between trunk and trunk, and one that a node challenged (it makes no channel for that) have
    // one witness by nature.
    let one_by_nature = edge.is_some_and(|e| e.refused || e.challenge) || row.node.is_none();
    row.quality = match (&leg.end, edge.is_some() && channel.is_some() || one_by_nature) {
        (None, _) => "partial",
        (Some(end), _) if end.authority == Authority::Reconciler => "estimated",
        (_, true) => "complete",
        (_, false) => "one_witness",
    }
    .to_owned();
    row.estimated = json_list(&estimated);
    let mut events: Vec<(i64, &str)> = Vec::new();
    if let Some(e) = edge {
        events.extend([(e.first_at, e.first_event.as_str()), (e.last_at, e.last_event.as_str())]);
    }
    if let Some(c) = channel {
        events.extend([(c.first_at, c.first_event.as_str()), (c.last_at, c.last_event.as_str())]);
    }
    row.first_event = events.iter().min().map(|(_, id)| (*id).to_owned());
    row.last_event = events.iter().max().map(|(_, id)| (*id).to_owned());
}
