//! Rows and verdicts as events: `cdr.calls`, `cdr.legs` and `call.reconciled`.

use domain::cause;
use schemas::{
    CallEdge, CallReconciled, CampaignRef, CdrCall, CdrDurations, CdrLeg, CdrMedia, CdrOutcome, CdrParties, CdrQuality,
    CdrSignalling, CdrTimes, Charge,
};
use serde::de::DeserializeOwned;

use crate::core::reconcile::{Kind, Verdict};
use crate::core::row::{CallRow, LegRow};

/// A JSON column that we wrote ourselves.
fn list<T: DeserializeOwned>(text: &str) -> Vec<T> {
    serde_json::from_str(text).unwrap_or_default()
}

fn narrow<T: TryFrom<i64>>(value: Option<i64>) -> Option<T> {
    value.and_then(|v| T::try_from(v).ok())
}

fn flag(value: Option<i64>) -> Option<bool> {
    value.map(|v| v != 0)
}

fn witnesses(text: &str) -> Vec<String> {
    text.split(',').filter(|w| !w.is_empty()).map(str::to_owned).collect()
}

#[must_use]
pub fn call_event(row: &CallRow) -> CdrCall {
    let campaign = row.campaign.clone().map(|campaign_id| CampaignRef {
        campaign_id,
        contact_id: row.contact.clone().unwrap_or_default(),
        attempt: narrow(row.campaign_attempt).unwrap_or(0),
    });
    CdrCall {
        event_type: "call".to_owned(),
        call_root_id: row.call_id.clone(),
        revision: i32::try_from(row.revision).unwrap_or(i32::MAX),
        sip_call_id: row.sip_call_id.clone(),
        from_tag: row.from_tag.clone(),
        cseq: narrow(row.cseq),
        first_leg_id: row.first_leg.clone(),
        legs: list(&row.legs),
        edges: list::<CallEdge>(&row.edges),
        edge_id: row.edge.clone(),
        node_id: row.node.clone(),
        engine_id: row.engine.clone(),
        direction: row.direction.clone(),
        trunk_in: row.trunk_in.clone(),
        trunk_out: row.trunk_out.clone(),
        account: row.account.clone(),
        did: row.did.clone(),
        campaign,
        ivr_path: list(&row.ivr_path),
        ivr_exit: row.ivr_exit.clone(),
        queue: row.queue.clone(),
        wait_ms: row.wait_ms,
        agent: row.agent.clone(),
        transfers: narrow(Some(row.transfers)),
        first_answered_leg: row.first_answered_leg.clone(),
        last_answered_leg: row.last_answered_leg.clone(),
        parties: Some(CdrParties {
            caller_raw: row.caller_raw.clone(),
            caller_e164: row.caller_e164.clone(),
            caller_display: row.caller_display.clone(),
            caller_asserted: row.caller_asserted.clone(),
            callee_raw: row.callee_raw.clone(),
            callee_e164: row.callee_e164.clone(),
            country: row.country.clone(),
            ..CdrParties::default()
        }),
        times: Some(CdrTimes {
            invite_us: row.start_us,
            ring_us: row.ring_us,
            answer_us: row.answer_us,
            end_us: row.end_us,
            ..CdrTimes::default()
        }),
        durations: Some(CdrDurations {
            pdd_ms: row.pdd_ms,
            ring_ms: row.ring_ms,
            talk_ms: row.talk_ms,
            hold_ms: row.hold_ms,
            total_ms: row.total_ms,
            billable_ms: row.billable_ms,
        }),
        setup_to_answer_ms: row.setup_ms,
        outcome: Some(CdrOutcome {
            disposition: row.disposition.clone(),
            final_code: narrow(row.final_code),
            q850: narrow(row.q850),
            hangup_cause: row.hangup_cause.clone(),
            released_by: row.released_by.clone(),
            released_side: row.released_side.clone(),
            ..CdrOutcome::default()
        }),
        charge: None::<Charge>,
        fraud_score: row.fraud_score,
        decision_ids: list(&row.decision_ids),
        flags: list(&row.flags),
        quality: Some(CdrQuality {
            code: Some(row.quality.clone()),
            witnesses: witnesses(&row.witnesses),
            estimated: list(&row.estimated),
            first_event_id: row.first_event.clone(),
            last_event_id: row.last_event.clone(),
            closed_by: row.closed_by.clone(),
        }),
        ..CdrCall::default()
    }
}

#[must_use]
pub fn leg_event(row: &LegRow) -> CdrLeg {
    let host = |address: &Option<String>| {
        address.as_deref().map(|a| a.rsplit_once(':').map_or(a, |(host, _)| host).to_owned())
    };
    CdrLeg {
        event_type: "leg".to_owned(),
        call_root_id: row.call_id.clone(),
        leg_id: row.leg_id.clone(),
        revision: i32::try_from(row.revision).unwrap_or(i32::MAX),
        edge_leg_id: Some(row.leg_id.clone()).filter(|_| row.edge.is_some()),
        channel_uuid: row.channel_uuid.clone(),
        parent_leg_id: row.parent_leg.clone(),
        sip_call_id: row.sip_call_id.clone(),
        from_tag: row.from_tag.clone(),
        cseq: narrow(row.cseq),
        node_id: row.node.clone(),
        edge_id: row.edge.clone(),
        engine_id: row.engine.clone(),
        core_uuid: row.core_uuid.clone(),
        role: Some(row.role.clone()),
        direction: row.direction.clone(),
        trunk_in: row.trunk_in.clone(),
        trunk_out: row.trunk_out.clone(),
        account: row.account.clone(),
        attempt: narrow(row.attempt),
        fork: narrow(row.fork),
        previous_leg_id: row.previous_leg.clone(),
        retry_reason: row.retry_reason.clone(),
        parties: Some(CdrParties {
            caller_raw: row.caller_raw.clone(),
            caller_e164: row.caller_e164.clone(),
            caller_display: row.caller_display.clone(),
            caller_asserted: row.caller_asserted.clone(),
            callee_raw: row.callee_raw.clone(),
            callee_e164: row.callee_e164.clone(),
            callee_dialled: row.dialled.clone(),
            callee_translated: row.callee_final.clone(),
            country: row.country.clone(),
            prefix: row.prefix.clone(),
            operator: row.operator.clone(),
        }),
        times: Some(CdrTimes {
            invite_us: row.invite_us,
            trying_us: row.trying_us,
            ring_us: row.ring_us,
            early_media_us: row.early_media_us,
            answer_us: row.answer_us,
            first_rtp_in_us: row.first_rtp_in_us,
            first_rtp_out_us: row.first_rtp_out_us,
            bye_us: row.bye_us,
            end_us: row.end_us,
        }),
        durations: Some(CdrDurations {
            pdd_ms: row.pdd_ms,
            ring_ms: row.ring_ms,
            talk_ms: row.talk_ms,
            hold_ms: row.hold_ms,
            total_ms: row.total_ms,
            billable_ms: row.billable_ms,
        }),
        outcome: Some(CdrOutcome {
            disposition: row.disposition.clone(),
            final_code: narrow(row.final_code),
            codes: list(&row.codes),
            q850: narrow(row.q850),
            hangup_cause: row.hangup_cause.clone(),
            reasons: list(&row.reasons),
            released_by: row.released_by.clone(),
            released_side: row.released_side.clone(),
            hangup_after_bridge: flag(row.hangup_after_bridge),
        }),
        media: Some(CdrMedia {
            codec_in: row.codec_in.clone(),
            codec_out: row.codec_out.clone(),
            transcoded: flag(row.transcoded),
            srtp: row.srtp.clone(),
            local_ip: host(&row.media_local),
            remote_ip: host(&row.media_remote),
            loss_in_percent: row.loss_in,
            jitter_in_ms: row.jitter_in_ms,
            mos_in: row.mos_in,
            one_way: flag(row.one_way_audio),
            rtcp_loss_percent: row.rtcp_loss,
            rtcp_rtt_ms: row.rtcp_rtt_ms,
            dtmf_count: narrow(Some(row.dtmf_count)),
            recording_ids: list(&row.recordings),
            ..CdrMedia::default()
        }),
        signalling: Some(CdrSignalling {
            transport: row.transport.clone(),
            source_ip: host(&row.source_addr),
            tls: row.transport.as_deref().map(|t| matches!(t, "tls" | "wss")),
            retransmits: narrow(row.retransmissions),
            auth_user_hash: row.auth_user.clone(),
            attestation: row.attest.clone(),
            user_agent_caller: row.ua_caller.clone(),
            user_agent_callee: row.ua_callee.clone(),
        }),
        quality: Some(CdrQuality {
            code: Some(row.quality.clone()),
            witnesses: witnesses(&row.witnesses),
            estimated: list(&row.estimated),
            first_event_id: row.first_event.clone(),
            last_event_id: row.last_event.clone(),
            closed_by: row.closed_by.clone(),
        }),
        ..CdrLeg::default()
    }
}

#[must_use]
pub fn reconciled_event(verdict: &Verdict, reconciler_id: &str) -> CallReconciled {
    let (witness, disposition, cause) = match verdict.kind {
        Kind::NodeLost => ("engine", "node_lost", "NETWORK_OUT_OF_ORDER"),
        Kind::OrphanClosed => ("edge", "failed", "RECOVERY_ON_TIMER_EXPIRE"),
    };
    debug_assert!(cause::code_of(cause).is_some());
    let disposition = if verdict.reason == "challenge_not_answered" { "rejected" } else { disposition };
    CallReconciled {
        event_type: verdict.kind.as_str().to_owned(),
        call_root_id: verdict.call.to_string(),
        reconciler_id: reconciler_id.to_owned(),
        decided_us: verdict.to_us,
        node_id: verdict.node.clone(),
        core_uuid: verdict.core_uuid.clone(),
        witness: Some(witness.to_owned()),
        rule: verdict.reason.to_owned(),
        last_seen_us: Some(verdict.from_us),
        end_us: Some(verdict.from_us),
        disposition: Some(disposition.to_owned()),
        hangup_cause: Some(cause.to_owned()),
        ..CallReconciled::default()
    }
}
