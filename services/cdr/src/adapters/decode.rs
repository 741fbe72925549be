//! From the events of the topics to compact facts. Translation only: what a fact means is decided in `core`.

use domain::CallId;
use schemas::{CallReconciled, ChannelEvent, DecodeError, Event, IvrDecision, SdpSummary, SipTransaction};
use stream::Record;

use crate::core::fact::{Branch, ChannelFact, EdgeFact, Fact, IvrFact, Kind, MILESTONES, NOISE, ReconciledFact, Text};

/// A record, translated. `None` where the record belongs to no call, or says nothing that a record needs.
pub enum Translated {
    Fact(CallId, Box<Fact>),
    Nothing,
}

#[derive(Debug, thiserror::Error)]
pub enum TranslateError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("the key is no call id: {0}")]
    Call(#[from] domain::IdError),
    #[error("{0} is not read by the call log")]
    Topic(&'static str),
}

impl TranslateError {
    /// A schema that this build does not know is waited for, never thrown away.
    #[must_use]
    pub fn is_unknown_schema(&self) -> bool {
        matches!(self, TranslateError::Decode(DecodeError::UnknownSchema(_)))
    }
}

fn text(value: Option<String>) -> Text {
    value.filter(|v| !v.is_empty()).map(String::into_boxed_str)
}

fn own(value: String) -> Text {
    text(Some(value))
}

fn some_us(value: Option<i64>) -> i64 {
    value.unwrap_or(0).max(0)
}

fn hex(id: [u8; 16]) -> Box<str> {
    let mut out = String::with_capacity(32);
    for byte in id {
        for digit in [byte >> 4, byte & 15] {
            out.push(char::from_digit(u32::from(digit), 16).expect("four bits are one hexadecimal digit"));
        }
    }
    out.into()
}

fn fact<E: Event>(event: &E, at: i64, seq: i64, kind: Kind) -> Fact {
    Fact {
        id: hex(event.logical_id()),
        at,
        seq,
        kind,
        what: event.event_type().into(),
        by: event.envelope().producer_id.as_str().into(),
        event: event.envelope().event_id(E::TOPIC.name).into(),
        edge: None,
        channel: None,
        ivr: None,
        reconciled: None,
    }
}

/// Translates one record of a call topic.
pub fn translate(record: &Record) -> Result<Translated, TranslateError> {
    // A record without a value only says that its key ended; call topics are not compacted, so none is expected.
    let Some(value) = record.value.as_deref() else { return Ok(Translated::Nothing) };
    let name = record.topic.name;
    if name == SipTransaction::TOPIC.name {
        Ok(edge(schemas::decode(value)?)?)
    } else if name == ChannelEvent::TOPIC.name {
        Ok(channel(schemas::decode(value)?)?)
    } else if name == IvrDecision::TOPIC.name {
        Ok(ivr(schemas::decode(value)?)?)
    } else if name == CallReconciled::TOPIC.name {
        Ok(reconciled(schemas::decode(value)?)?)
    } else {
        Err(TranslateError::Topic(name))
    }
}

pub fn edge(e: SipTransaction) -> Result<Translated, domain::IdError> {
    if e.call_root_id.is_empty() {
        return Ok(Translated::Nothing);
    }
    let call: CallId = e.call_root_id.parse()?;
    let mut out = fact(&e, e.occurred_us, 0, Kind::Edge);
    let identity = e.identity;
    let mut f = EdgeFact {
        leg: own(e.leg_id),
        parent: text(e.parent_leg_id),
        edge: own(e.edge_id),
        side: own(e.source_side),
        source: own(e.source_id),
        attempt: i64::from(e.attempt),
        mono: e.occurred_mono_us,
        method: own(identity.method).filter(|m| &**m != "INVITE"),
        cid: own(identity.call_id),
        cseq: i64::from(identity.cseq),
        ftag: own(identity.from_tag),
        ttag: text(identity.to_tag),
        in_dialog: identity.in_dialog,
        reinvite: text(identity.reinvite_kind),
        request_user: text(identity.request_user),
        caller_display: text(identity.from_display),
        tenant: text(e.envelope.tenant_id),
        ..EdgeFact::default()
    };
    if let Some(t) = e.transport {
        f.source_addr = match (t.client_ip.or(t.source_ip), t.client_port.or(t.source_port)) {
            (Some(ip), Some(port)) => own(format!("{ip}:{port}")),
            (ip, _) => text(ip),
        };
        f.transport = text(t.transport);
        f.tls = text(t.tls_version);
    }
    if let Some(p) = e.parties {
        f.trunk = text(p.trunk_id);
        f.account = text(p.account);
        f.caller_raw = text(p.caller_raw);
        f.caller_e164 = text(p.caller_e164);
        f.caller_asserted = text(p.p_asserted_identity);
        f.callee_raw = text(p.callee_raw);
        f.callee_e164 = text(p.callee_e164);
        f.callee_country = text(p.callee_country);
        f.attest = text(p.identity_attestation);
    }
    if let Some(h) = e.headers {
        f.user_agent = text(h.user_agent);
        f.server = text(h.server);
        f.reason = text(h.reason_text);
    }
    if let Some(sdp) = e.offer {
        (f.codec_offered, f.media_offered) = sdp_parts(&sdp);
        f.srtp = text(sdp.srtp);
    }
    if let Some(sdp) = e.answer {
        (f.codec_answered, f.media_answered) = sdp_parts(&sdp);
        f.srtp = text(sdp.srtp).or(f.srtp);
    }
    if let Some(t) = e.timing {
        f.received = t.received_us;
        f.t_100 = t.t_100_sent_us;
        f.t_18x = t.t_first_18x_us;
        f.t_183_sdp = t.t_first_183_sdp_us;
        f.t_final = t.t_final_us;
        f.t_cancel = t.t_cancel_us;
    }
    if let Some(o) = e.outcome {
        f.status = o.status.map(i64::from);
        f.phrase = text(o.reason_phrase);
        f.produced_by = text(o.produced_by);
        f.timer = text(o.timer_fired);
        f.retransmissions = i64::from(o.retransmits_in) + i64::from(o.retransmits_out);
        f.codes = o.responses.iter().map(|r| i64::from(r.code)).collect();
        f.cancelled = o.cancelled;
        f.challenge = o.challenge;
        f.auth_user = o.auth.and_then(|a| text(a.username_hash));
        f.late_action = text(o.late_action);
    }
    if let Some(d) = e.decision {
        f.rule =
            text(d.limit_rule.filter(|_| d.limit_result.as_deref() == Some("limited")).or(d.route_rule).or(d.acl_rule));
        f.why = text(d.reason);
        f.block = text(d.block_id);
        f.to_side = text(d.chosen_side);
        f.to = text(d.chosen_id);
        f.failover = text(d.failover_reason);
    }
    f.continues = e.correlation.and_then(|c| c.continues_cseq).map(i64::from);
    f.branches = e
        .branches
        .into_iter()
        .map(|b| Branch {
            attempt: i64::from(b.attempt),
            leg: own(b.leg_id),
            to_side: own(b.target_side),
            to: own(b.target_id),
            address: own(b.address),
            t_fwd: b.t_fwd_us,
            t_18x: b.t_18x_us,
            t_final: b.t_final_us,
            status: b.status.map(i64::from),
            ttag: text(b.to_tag),
            retransmissions: i64::from(b.retransmits),
            failover: text(b.failover_reason),
        })
        .collect();
    if let Some(d) = e.dialog {
        f.released_by = text(d.released_by);
        f.bye_status = d.bye_status.map(i64::from);
        f.ended = d.ended_us;
        f.talk = d.talk_us;
        f.hold = d.hold_us;
        f.reason_protocol = text(d.reason_protocol);
        f.reason_cause = d.reason_cause.map(i64::from);
        f.reason_text = text(d.reason_text);
        f.lost = text(d.lost_reason);
    }
    out.edge = Some(Box::new(f));
    Ok(Translated::Fact(call, Box::new(out)))
}

fn sdp_parts(sdp: &SdpSummary) -> (Text, Text) {
    let media = sdp.media_ip.as_ref().map(|ip| match sdp.media_port {
        Some(port) => format!("{ip}:{port}"),
        None => ip.clone(),
    });
    (text(sdp.codecs.first().cloned()), text(media))
}

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

pub fn ivr(e: IvrDecision) -> Result<Translated, domain::IdError> {
    let call: CallId = e.call_root_id.parse()?;
    let mut out = fact(&e, e.occurred_us, i64::from(e.step), Kind::Ivr);
    out.ivr = Some(Box::new(IvrFact {
        channel: own(e.channel_uuid),
        node: own(e.node_id),
        step: i64::from(e.step),
        menu: own(e.menu_id),
        version: i64::from(e.menu_version),
        menu_node: own(e.menu_node),
        outcome: own(e.outcome),
        action: text(e.action),
        target: text(e.action_target),
        digits: e.input.and_then(|i| text(i.digits)),
        next: text(e.next_node),
    }));
    Ok(Translated::Fact(call, Box::new(out)))
}

pub fn reconciled(e: CallReconciled) -> Result<Translated, domain::IdError> {
    let call: CallId = e.call_root_id.parse()?;
    let mut out = fact(&e, e.decided_us, 0, Kind::Reconciled);
    out.reconciled = Some(Box::new(ReconciledFact {
        leg: text(e.leg_id),
        node: text(e.node_id),
        core: text(e.core_uuid),
        rule: own(e.rule),
        last_seen: some_us(e.last_seen_us),
        decided: e.decided_us,
        end: some_us(e.end_us),
        disposition: text(e.disposition),
        cause: text(e.hangup_cause),
    }));
    Ok(Translated::Fact(call, Box::new(out)))
}
