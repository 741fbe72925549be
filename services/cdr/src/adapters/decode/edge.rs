//! `sip.transactions`.

use domain::CallId;
use schemas::{SdpSummary, SipTransaction};

use super::{Translated, fact, own, text};
use crate::core::fact::{Branch, EdgeFact, Kind, Text};

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
        f.late = d.late;
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
