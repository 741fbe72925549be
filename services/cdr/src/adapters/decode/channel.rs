//! `channel.events`.

use domain::CallId;
use schemas::ChannelEvent;

use super::{Translated, fact, own, some_us, text};
use crate::core::fact::{ChannelFact, Kind, MILESTONES, NOISE, Text};

pub fn channel(e: ChannelEvent) -> Result<Translated, domain::IdError> {
    if NOISE.contains(&e.event_type.as_str()) {
        return Ok(Translated::Nothing);
    }
    let call: CallId = e.call_root_id.parse()?;
    let mut out = fact(&e, e.event_us, e.event_sequence, Kind::Channel);
    let what = e.event_type.as_str();
    let milestone = MILESTONES.contains(&what);
    let full = matches!(what, "CHANNEL_CREATE" | "CHANNEL_ANSWER" | "CHANNEL_HANGUP_COMPLETE" | "CHANNEL_DESTROY");
    let mut f = ChannelFact { channel: own(e.channel.unique_id), controlled: e.controlled, ..ChannelFact::default() };
    if milestone {
        f.node = own(e.node_id);
        f.engine = own(e.engine_id);
        f.core = own(e.core_uuid);
        f.edge_leg = text(e.edge_leg_id);
        f.header = text(e.header_state);
        f.call_uuid = text(e.channel.channel_call_uuid);
        f.other = text(e.channel.other_leg_unique_id);
        f.other_type = text(e.channel.other_type);
        f.bridge_a = text(e.channel.bridge_a_unique_id);
        f.bridge_b = text(e.channel.bridge_b_unique_id);
        f.direction = text(e.channel.direction);
        f.tenant = text(e.envelope.tenant_id);
        if let Some(t) = e.times {
            f.created = some_us(t.created_us);
            f.progress = some_us(t.progress_us);
            f.progress_media = some_us(t.progress_media_us);
            f.answered = some_us(t.answered_us);
            f.bridged = some_us(t.bridged_us);
            f.held = some_us(t.hold_accum_us);
            f.hangup = some_us(t.hangup_us);
            f.transferred = some_us(t.transfer_us);
        }
        if let Some(h) = e.hangup {
            f.cause = text(h.cause);
            f.q850 = h.q850.map(i64::from);
            f.term_status = h.sip_term_status.map(i64::from);
            f.hangup_disposition = text(h.sip_hangup_disposition);
        }
        // The one thing that joins an outbound channel to the edge stays on every milestone: any of them may be lost.
        if let Some(s) = &e.sip {
            f.cid = text(s.call_id.clone());
        }
    }
    if full {
        if let Some(c) = e.caller {
            f.caller_number = text(c.caller_id_number);
            f.caller_name = text(c.caller_id_name);
            f.callee_number = text(c.callee_id_number);
            f.destination = text(c.destination_number);
            f.network = text(c.network_addr);
        }
        if let Some(s) = e.sip {
            f.cseq = s.cseq.map(i64::from);
            f.ftag = text(s.from_tag);
            f.ttag = text(s.to_tag);
            f.from_user = text(s.from_user);
            f.to_user = text(s.to_user);
            f.transport = text(s.via_protocol);
            f.user_agent = text(s.user_agent);
            f.asserted = text(s.p_asserted_identity);
            f.reason = text(s.reason);
            f.invite_status = s.invite_failure_status.map(i64::from);
            f.invite_phrase = text(s.invite_failure_phrase);
        }
        if let Some(c) = e.campaign {
            f.campaign = own(c.campaign_id);
            f.contact = own(c.contact_id);
            f.campaign_attempt = i64::from(c.attempt);
        }
    }
    if matches!(what, "CHANNEL_HANGUP_COMPLETE" | "CHANNEL_ANSWER")
        && let Some(m) = e.media
    {
        f.read_codec = text(m.read_codec);
        f.write_codec = text(m.write_codec);
        f.local_media = address(m.local_ip, m.local_port);
        f.remote_media = address(m.remote_ip, m.remote_port);
        if let Some(i) = m.inbound {
            f.mos = i.mos;
            f.quality = i.quality_percent;
            f.loss = i.loss_rate;
            f.burst = i.burst_rate;
            f.jitter = i.jitter_max_variance;
            f.interval = i.mean_interval_ms;
            f.packets_in = i.media_packet_count.or(i.packet_count);
            f.bytes_in = i.media_bytes.or(i.raw_bytes);
        }
        if let Some(o) = m.outbound {
            f.packets_out = o.media_packet_count.or(o.packet_count);
            f.bytes_out = o.media_bytes.or(o.raw_bytes);
        }
    }
    if let Some(a) = e.application {
        f.application = text(a.name);
        f.file = text(a.file);
    }
    f.digit = e.dtmf.and_then(|d| own(d.digit));
    f.rtcp_lost = e.rtcp.and_then(|r| r.sources.first().and_then(|s| s.cumulative_lost));
    out.channel = Some(Box::new(f));
    Ok(Translated::Fact(call, Box::new(out)))
}

fn address(ip: Option<String>, port: Option<u16>) -> Text {
    match (ip, port) {
        (Some(ip), Some(port)) => own(format!("{ip}:{port}")),
        (ip, _) => text(ip),
    }
}
