//! How a leg ended, who released it, and what its media were like.

use domain::cause;

use crate::core::ending::{self, Authority, End};
use crate::core::join::Joined;
use crate::core::leg::{Leg, json_list};

pub fn outcome(leg: &mut Leg<'_>) {
    let disposition = ending::disposition(&leg.joined, leg.end.as_ref(), leg.reconciled.as_ref());
    let answered = leg.answered();
    let row = &mut leg.row;
    let edge = leg.joined.edge.as_ref();
    let channel = leg.joined.channel.as_ref();
    row.disposition = disposition.map(|d| d.as_str().to_owned());
    row.final_code = ending::final_code(&leg.joined);
    let mut reasons: Vec<String> = channel.map(|c| c.reasons.clone()).unwrap_or_default();
    let mut codes = Vec::new();
    if let Some(edge) = edge {
        row.final_phrase = edge.text(|f| &f.phrase).filter(|_| edge.moved_on.is_none());
        row.side = edge.text(|f| &f.produced_by).filter(|_| edge.moved_on.is_none());
        codes = edge.codes();
        for text in [edge.text(|f| &f.reason), edge.text(|f| &f.reason_text)].into_iter().flatten() {
            if !reasons.contains(&text) {
                reasons.push(text);
            }
        }
    }
    row.final_phrase =
        row.final_phrase.take().or_else(|| channel.and_then(|c| c.merged.invite_phrase.as_deref().map(str::to_owned)));
    row.codes = json_list(&codes);
    row.reasons = json_list(&reasons);
    let by_reason = edge.and_then(|e| {
        e.pick(|f| {
            f.reason_cause.filter(|_| f.reason_protocol.as_deref().is_some_and(|p| p.eq_ignore_ascii_case("Q.850")))
        })
    });
    if leg.end.is_some() {
        let by_status = row.final_code.filter(|_| !answered).and_then(|c| u16::try_from(c).ok()).map(cause::from_sip);
        row.hangup_cause = channel
            .and_then(|c| c.merged.cause.as_deref())
            .map(str::to_owned)
            .or_else(|| leg.reconciled.as_ref().and_then(|r| r.cause.clone()))
            .or_else(|| by_reason.and_then(|q| u16::try_from(q).ok()).and_then(cause::name_of).map(str::to_owned))
            .or_else(|| by_status.map(str::to_owned));
        let named = row.hangup_cause.as_deref().and_then(cause::code_of).map(i64::from).filter(|code| *code < 128);
        row.q850 = channel.and_then(|c| c.merged.q850).or(by_reason).or(named);
        row.released_by = released_by(&leg.joined, answered, leg.end.as_ref());
        row.released_side = side(row.released_by.as_deref(), row.direction.as_deref());
    }
    if let Some(channel) = channel {
        let hung_up_by_us = channel.merged.hangup_disposition.as_deref() == Some("send_bye");
        row.hangup_after_bridge = Some(i64::from(channel.merged.bridged > 0 && hung_up_by_us));
    }
}

fn released_by(joined: &Joined<'_>, answered: bool, end: Option<&End>) -> Option<String> {
    let end = end?;
    if end.node_lost || end.authority == Authority::Reconciler {
        return Some(if end.node_lost { "node" } else { "timeout" }.to_owned());
    }
    let edge = joined.edge.as_ref();
    if let Some(who) = edge.and_then(|e| e.text(|f| &f.released_by)) {
        return Some(who);
    }
    if let Some(edge) = edge.filter(|_| !answered) {
        if edge.cancelled {
            return Some("caller".to_owned());
        }
        let who = match edge.text(|f| &f.produced_by).as_deref() {
            Some("edge") => "edge",
            Some("timeout") => "timeout",
            _ if edge.refused => "edge",
            _ => "callee",
        };
        return Some(who.to_owned());
    }
    let channel = joined.channel.as_ref()?;
    let far = if channel.inbound() { "caller" } else { "callee" };
    let who = match channel.merged.hangup_disposition.as_deref() {
        Some("recv_bye" | "recv_refuse" | "recv_cancel") => far,
        Some(_) if channel.merged.controlled => "engine",
        _ => "node",
    };
    Some(who.to_owned())
}

fn side(who: Option<&str>, direction: Option<&str>) -> Option<String> {
    let outward = direction == Some("outbound");
    let trunk = match who? {
        "caller" => !outward,
        "callee" => outward,
        "engine" | "node" => false,
        _ => return None,
    };
    Some(if trunk { "trunk" } else { "node" }.to_owned())
}

pub fn media(leg: &mut Leg<'_>) {
    let row = &mut leg.row;
    let talked = row.talk_ms.unwrap_or(0);
    if let Some(channel) = &leg.joined.channel {
        let m = &channel.merged;
        let own = |t: &Option<Box<str>>| t.as_deref().map(str::to_owned);
        row.codec_in = own(&m.read_codec);
        row.codec_out = own(&m.write_codec);
        row.media_local = own(&m.local_media);
        row.media_remote = own(&m.remote_media);
        row.mos_in = m.mos;
        row.quality_in = m.quality;
        row.loss_in = m.loss;
        row.burst_in = m.burst;
        row.jitter_in_ms = m.jitter;
        row.mean_interval_ms = m.interval;
        row.packets_in = m.packets_in;
        row.packets_out = m.packets_out;
        row.bytes_in = m.bytes_in;
        row.bytes_out = m.bytes_out;
        if let (Some(came), Some(went)) = (m.packets_in, m.packets_out)
            && talked >= 2000
            && came + went > 0
        {
            row.one_way_audio = Some(i64::from(came == 0 || went == 0));
        }
    }
    if let Some(edge) = &leg.joined.edge {
        let codec =
            edge.text(|f| &f.codec_answered).or_else(|| edge.text(|f| &f.codec_offered).filter(|_| edge.answered));
        row.codec_in = row.codec_in.take().or_else(|| codec.clone());
        row.codec_out = row.codec_out.take().or(codec);
        row.srtp = edge.text(|f| &f.srtp);
        row.media_remote = row.media_remote.take().or_else(|| edge.text(|f| &f.media_offered));
        row.media_local = row.media_local.take().or_else(|| edge.text(|f| &f.media_answered));
    }
}
