//! From the headers of one event to the fields of `channel.events`.
//!
//! Nothing is computed here and nothing is left out: each field of the schema takes the header that its `doc` names. A header that
//! is absent or no number gives an absent field; FreeSWITCH's 0 for "has not happened" in a time gives an absent time.

use domain::Now;
use esl::{Event, fields as f};
use schemas::{
    CallerProfile, ChannelApplication, ChannelDtmf, ChannelEvent, ChannelHangup, ChannelMedia, ChannelSip,
    ChannelState, ChannelTimes, RtcpReport, RtcpSource, RtpStats,
};

/// Further headers that are passed on by name, besides those that have a field.
const EXTRA: [&str; 7] = [
    f::LAST_BRIDGE_ROLE,
    f::BRIDGE_HANGUP_CAUSE,
    f::ORIGINATE_FAILED_CAUSE,
    f::TRANSFER_SOURCE,
    f::PLAYBACK_STATUS,
    f::READ_RESULT,
    f::SIP_TERM_CAUSE,
];

/// All that the event says by itself; whose call it is, is the tracker's to know.
pub(crate) fn channel_event(event: &Event<'_>, now: Now) -> ChannelEvent {
    let name = event.name();
    let full = event.raw("variable_uuid").is_some();
    ChannelEvent {
        event_type: name.to_owned(),
        subclass: text(event, f::EVENT_SUBCLASS),
        core_uuid: text(event, f::CORE_UUID).unwrap_or_default(),
        event_sequence: event.number(f::EVENT_SEQUENCE).unwrap_or(0),
        event_us: event.number(f::EVENT_TIMESTAMP).unwrap_or(0),
        received_us: now.wall_us,
        received_mono_us: i64::try_from(now.mono_us).unwrap_or(i64::MAX),
        hostname: text(event, f::HOSTNAME),
        ipv4: text(event, f::IPV4),
        channel: state(event),
        hangup: hangup(event),
        caller: event.raw(f::CALLER_PROFILE_INDEX).is_some().then(|| caller(event)),
        times: event.raw(f::TIME_CREATED).is_some().then(|| times(event)),
        sip: full.then(|| sip(event)),
        media: media(event),
        rtcp: (name == "RECV_RTCP_MESSAGE").then(|| rtcp(event)),
        application: application(event),
        dtmf: (name == "DTMF").then(|| dtmf(event)),
        extra: EXTRA.iter().filter_map(|name| Some(((*name).to_owned(), text(event, name)?))).collect(),
        ..ChannelEvent::default()
    }
}

fn text(event: &Event<'_>, name: &str) -> Option<String> {
    event.get(name).filter(|value| !value.is_empty()).map(std::borrow::Cow::into_owned)
}

/// The first of two headers that has a value.
fn either(event: &Event<'_>, first: &str, second: &str) -> Option<String> {
    text(event, first).or_else(|| text(event, second))
}

fn time(event: &Event<'_>, name: &str) -> Option<i64> {
    event.number(name).filter(|us: &i64| *us > 0)
}

fn flag(event: &Event<'_>, name: &str) -> Option<bool> {
    event.raw(name).map(|value| value == b"true")
}

fn state(event: &Event<'_>) -> ChannelState {
    ChannelState {
        unique_id: text(event, f::UNIQUE_ID).unwrap_or_default(),
        channel_call_uuid: text(event, f::CHANNEL_CALL_UUID),
        other_leg_unique_id: text(event, f::OTHER_LEG_UNIQUE_ID),
        other_type: text(event, f::OTHER_TYPE),
        bridge_a_unique_id: text(event, f::BRIDGE_A),
        bridge_b_unique_id: text(event, f::BRIDGE_B),
        direction: text(event, f::CALL_DIRECTION),
        presence_id: text(event, f::PRESENCE_ID),
        name: text(event, f::CHANNEL_NAME),
        state: text(event, f::CHANNEL_STATE),
        state_number: event.number(f::CHANNEL_STATE_NUMBER),
        call_state: text(event, f::CHANNEL_CALL_STATE),
        answer_state: text(event, f::ANSWER_STATE),
    }
}

/// Present from the moment that a channel has a cause; the dispositions alone say nothing about an end.
fn hangup(event: &Event<'_>) -> Option<ChannelHangup> {
    let cause = either(event, f::HANGUP_CAUSE, f::VAR_HANGUP_CAUSE)?;
    Some(ChannelHangup {
        cause: Some(cause),
        q850: event.number(f::HANGUP_CAUSE_Q850),
        sip_term_status: event.number(f::SIP_TERM_STATUS),
        sip_hangup_disposition: text(event, f::SIP_HANGUP_DISPOSITION),
        proto_specific_cause: text(event, f::PROTO_SPECIFIC_HANGUP_CAUSE),
        endpoint_disposition: text(event, f::ENDPOINT_DISPOSITION),
        originate_disposition: text(event, f::ORIGINATE_DISPOSITION),
    })
}

fn caller(event: &Event<'_>) -> CallerProfile {
    CallerProfile {
        username: text(event, f::CALLER_USERNAME),
        dialplan: text(event, f::CALLER_DIALPLAN),
        caller_id_name: text(event, f::CALLER_ID_NAME),
        caller_id_number: text(event, f::CALLER_ID_NUMBER),
        callee_id_name: text(event, f::CALLEE_ID_NAME),
        callee_id_number: text(event, f::CALLEE_ID_NUMBER),
        ani: text(event, f::CALLER_ANI),
        rdnis: text(event, f::CALLER_RDNIS),
        network_addr: text(event, f::CALLER_NETWORK_ADDR),
        destination_number: text(event, f::CALLER_DESTINATION),
        context: text(event, f::CALLER_CONTEXT),
        source: text(event, f::CALLER_SOURCE),
        profile_index: event.number(f::CALLER_PROFILE_INDEX),
        screen: flag(event, f::CALLER_SCREEN_BIT),
        hide_name: flag(event, f::CALLER_PRIVACY_NAME),
        hide_number: flag(event, f::CALLER_PRIVACY_NUMBER),
    }
}

fn times(event: &Event<'_>) -> ChannelTimes {
    ChannelTimes {
        profile_created_us: time(event, f::TIME_PROFILE_CREATED),
        created_us: time(event, f::TIME_CREATED),
        progress_us: time(event, f::TIME_PROGRESS),
        progress_media_us: time(event, f::TIME_PROGRESS_MEDIA),
        answered_us: time(event, f::TIME_ANSWERED),
        bridged_us: time(event, f::TIME_BRIDGED),
        last_hold_us: time(event, f::TIME_LAST_HOLD),
        // A duration: zero is a value.
        hold_accum_us: event.number(f::HOLD_ACCUM),
        hangup_us: time(event, f::TIME_HANGUP),
        transfer_us: time(event, f::TIME_TRANSFER),
        resurrect_us: time(event, f::TIME_RESURRECT),
    }
}

fn sip(event: &Event<'_>) -> ChannelSip {
    ChannelSip {
        call_id: text(event, f::SIP_CALL_ID),
        cseq: event.number(f::SIP_CSEQ),
        from_user: text(event, f::SIP_FROM_USER),
        from_uri: text(event, f::SIP_FROM_URI),
        from_tag: text(event, f::SIP_FROM_TAG),
        to_user: text(event, f::SIP_TO_USER),
        to_uri: text(event, f::SIP_TO_URI),
        to_tag: text(event, f::SIP_TO_TAG),
        request_uri: text(event, f::SIP_REQ_URI),
        contact_uri: text(event, f::SIP_CONTACT_URI),
        user_agent: text(event, f::SIP_USER_AGENT),
        network_ip: text(event, f::SIP_NETWORK_IP),
        network_port: event.number(f::SIP_NETWORK_PORT),
        via_protocol: text(event, f::SIP_VIA_PROTOCOL),
        invite_failure_status: event.number(f::SIP_INVITE_FAILURE_STATUS),
        invite_failure_phrase: text(event, f::SIP_INVITE_FAILURE_PHRASE),
        reason: text(event, f::SIP_REASON),
        p_asserted_identity: text(event, f::SIP_P_ASSERTED),
        gateway_name: text(event, f::SIP_GATEWAY_NAME),
        profile_name: either(event, f::SIP_PROFILE_NAME, f::SOFIA_PROFILE_NAME),
    }
}

fn media(event: &Event<'_>) -> Option<ChannelMedia> {
    let any = event.raw(f::READ_CODEC).or(event.raw(f::WRITE_CODEC)).or(event.raw(f::LOCAL_MEDIA_IP));
    any?;
    Some(ChannelMedia {
        read_codec: text(event, f::READ_CODEC),
        read_rate: event.number(f::READ_RATE),
        read_bitrate: event.number(f::READ_BIT_RATE),
        write_codec: text(event, f::WRITE_CODEC),
        write_rate: event.number(f::WRITE_RATE),
        write_bitrate: event.number(f::WRITE_BIT_RATE),
        local_ip: text(event, f::LOCAL_MEDIA_IP),
        local_port: event.number(f::LOCAL_MEDIA_PORT),
        remote_ip: text(event, f::REMOTE_MEDIA_IP),
        remote_port: event.number(f::REMOTE_MEDIA_PORT),
        inbound: event.raw(f::IN_PACKETS).is_some().then(|| received(event)),
        outbound: event.raw(f::OUT_PACKETS).is_some().then(|| sent(event)),
        rtcp_packet_count: event.number(f::RTCP_PACKETS),
        rtcp_octet_count: event.number(f::RTCP_OCTETS),
    })
}

fn received(event: &Event<'_>) -> RtpStats {
    RtpStats {
        mos: event.number(f::IN_MOS),
        quality_percent: event.number(f::IN_QUALITY),
        jitter_min_variance: event.number(f::IN_JITTER_MIN),
        jitter_max_variance: event.number(f::IN_JITTER_MAX),
        loss_rate: event.number(f::IN_LOSS_RATE),
        burst_rate: event.number(f::IN_BURST_RATE),
        mean_interval_ms: event.number(f::IN_MEAN_INTERVAL),
        flaw_total: event.number(f::IN_FLAW_TOTAL),
        raw_bytes: event.number(f::IN_RAW_BYTES),
        media_bytes: event.number(f::IN_MEDIA_BYTES),
        packet_count: event.number(f::IN_PACKETS),
        media_packet_count: event.number(f::IN_MEDIA_PACKETS),
        skip_packet_count: event.number(f::IN_SKIP_PACKETS),
        jitter_packet_count: event.number(f::IN_JITTER_PACKETS),
        dtmf_packet_count: event.number(f::IN_DTMF_PACKETS),
        cng_packet_count: event.number(f::IN_CNG_PACKETS),
        flush_packet_count: event.number(f::IN_FLUSH_PACKETS),
        largest_jb_size: event.number(f::IN_LARGEST_JB),
    }
}

fn sent(event: &Event<'_>) -> RtpStats {
    RtpStats {
        raw_bytes: event.number(f::OUT_RAW_BYTES),
        media_bytes: event.number(f::OUT_MEDIA_BYTES),
        packet_count: event.number(f::OUT_PACKETS),
        media_packet_count: event.number(f::OUT_MEDIA_PACKETS),
        skip_packet_count: event.number(f::OUT_SKIP_PACKETS),
        dtmf_packet_count: event.number(f::OUT_DTMF_PACKETS),
        cng_packet_count: event.number(f::OUT_CNG_PACKETS),
        ..RtpStats::default()
    }
}

fn rtcp(event: &Event<'_>) -> RtcpReport {
    // FreeSWITCH writes synchronisation sources in hexadecimal.
    let hex = |name: &str| event.get(name).and_then(|v| i64::from_str_radix(&v, 16).ok());
    let source = RtcpSource {
        ssrc: hex(f::RTCP_SOURCE_SSRC),
        fraction_lost: event.number(f::RTCP_FRACTION),
        cumulative_lost: event.number(f::RTCP_LOST),
        highest_seq: event.number(f::RTCP_HIGHEST_SEQ),
        jitter: event.number(f::RTCP_JITTER),
        lsr: event.number(f::RTCP_LSR),
        dlsr: event.number(f::RTCP_DLSR),
    };
    RtcpReport {
        ssrc: hex(f::RTCP_SSRC),
        ntp_msw: event.number(f::RTCP_NTP_MSW),
        ntp_lsw: event.number(f::RTCP_NTP_LSW),
        rtp_timestamp: event.number(f::RTCP_TIMESTAMP),
        sender_packets: event.number(f::RTCP_SENDER_PACKETS),
        sender_octets: event.number(f::RTCP_SENDER_OCTETS),
        sources: if source == RtcpSource::default() { Vec::new() } else { vec![source] },
    }
}

fn application(event: &Event<'_>) -> Option<ChannelApplication> {
    let file = text(event, f::PLAYBACK_FILE_PATH);
    let name = text(event, f::APPLICATION);
    if file.is_none() && name.is_none() {
        return None;
    }
    Some(ChannelApplication {
        name,
        data: text(event, f::APPLICATION_DATA).map(without_secrets),
        uuid: text(event, f::APPLICATION_UUID),
        response: text(event, f::APPLICATION_RESPONSE),
        file,
        duration_us: None,
    })
}

fn dtmf(event: &Event<'_>) -> ChannelDtmf {
    ChannelDtmf {
        digit: text(event, f::DTMF_DIGIT).unwrap_or_default(),
        duration_ticks: event.number(f::DTMF_DURATION),
        source: text(event, f::DTMF_SOURCE),
    }
}

/// Dialplans put credentials into arguments (`set sip_auth_password=…`); what follows such a word is not ours to keep.
fn without_secrets(data: String) -> String {
    const WORDS: [&str; 5] = ["password", "passwd", "secret", "token", "pin="];
    let lower = data.to_ascii_lowercase();
    match WORDS.iter().filter_map(|word| lower.find(word).map(|at| at + word.trim_end_matches('=').len())).min() {
        Some(at) => format!("{}***", &data[..at]),
        None => data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_with_a_secret_is_cut_behind_its_name() {
        assert_eq!(without_secrets("sip_auth_password=abc".into()), "sip_auth_password***");
        assert_eq!(
            without_secrets("{sip_auth_username=u,sip_auth_Password=x}sofia/a".into()),
            "{sip_auth_username=u,sip_auth_Password***"
        );
        assert_eq!(without_secrets("hangup_after_bridge=true".into()), "hangup_after_bridge=true");
    }
}
