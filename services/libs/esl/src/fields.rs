//! Every FreeSWITCH header that the platform reads, under the name it has on the wire.
//!
//! This is the one list: the engine fills `channel.events` from it, and the simulated switch is compared with the recordings over
//! it. A header that is not here is not read by anybody, so a field is added here first. Names were taken from recordings of
//! FreeSWITCH 1.11; those that no recording shows (hold, gateway, RTCP) from its sources, spelling mistakes included.
//!
//! Lookup is case-insensitive because FreeSWITCH is not consistent about case itself: the same codec header comes as
//! `Channel-Read-Codec-Name` and as `channel-read-codec-name`.

macro_rules! wire_names {
    ($($(#[$meta:meta])* $group:ident { $($name:ident = $wire:literal,)* })*) => {
        $($(pub const $name: &str = $wire;)*)*
        $($(#[$meta])* pub const $group: &[&str] = &[$($wire,)*];)*
    };
}

wire_names! {
    /// Who says it, when, and in which order.
    EVENT {
        EVENT_NAME = "Event-Name",
        EVENT_SUBCLASS = "Event-Subclass",
        CORE_UUID = "Core-UUID",
        HOSTNAME = "FreeSWITCH-Hostname",
        SWITCHNAME = "FreeSWITCH-Switchname",
        IPV4 = "FreeSWITCH-IPv4",
        IPV6 = "FreeSWITCH-IPv6",
        EVENT_SEQUENCE = "Event-Sequence",
        EVENT_TIMESTAMP = "Event-Date-Timestamp",
    }
    /// The channel, the leg beside it and what state both are in.
    CHANNEL {
        UNIQUE_ID = "Unique-ID",
        CHANNEL_CALL_UUID = "Channel-Call-UUID",
        OTHER_LEG_UNIQUE_ID = "Other-Leg-Unique-ID",
        OTHER_TYPE = "Other-Type",
        BRIDGE_A = "Bridge-A-Unique-ID",
        BRIDGE_B = "Bridge-B-Unique-ID",
        CALL_DIRECTION = "Call-Direction",
        PRESENCE_CALL_DIRECTION = "Presence-Call-Direction",
        PRESENCE_ID = "Channel-Presence-ID",
        CHANNEL_STATE = "Channel-State",
        CHANNEL_STATE_NUMBER = "Channel-State-Number",
        CHANNEL_CALL_STATE = "Channel-Call-State",
        ANSWER_STATE = "Answer-State",
        CHANNEL_NAME = "Channel-Name",
        HIT_DIALPLAN = "Channel-HIT-Dialplan",
        HANGUP_CAUSE = "Hangup-Cause",
        VAR_HANGUP_CAUSE = "variable_hangup_cause",
        HANGUP_CAUSE_Q850 = "variable_hangup_cause_q850",
        SIP_TERM_STATUS = "variable_sip_term_status",
        SIP_TERM_CAUSE = "variable_sip_term_cause",
        SIP_HANGUP_DISPOSITION = "variable_sip_hangup_disposition",
        SIP_HANGUP_PHRASE = "variable_sip_hangup_phrase",
        PROTO_SPECIFIC_HANGUP_CAUSE = "variable_proto_specific_hangup_cause",
        BRIDGE_HANGUP_CAUSE = "variable_bridge_hangup_cause",
        ENDPOINT_DISPOSITION = "variable_endpoint_disposition",
        ORIGINATE_DISPOSITION = "variable_originate_disposition",
        ORIGINATE_FAILED_CAUSE = "variable_originate_failed_cause",
        DIALSTATUS = "variable_DIALSTATUS",
        BRIDGE_UUID = "variable_bridge_uuid",
        SIGNAL_BOND = "variable_signal_bond",
        ORIGINATOR = "variable_originator",
        LAST_BRIDGE_TO = "variable_last_bridge_to",
        LAST_BRIDGE_ROLE = "variable_last_bridge_role",
        TRANSFER_SOURCE = "variable_transfer_source",
    }
    /// The caller profile: names, numbers, and the stamps in microseconds of UTC (0 = has not happened).
    CALLER {
        CALLER_DIRECTION = "Caller-Direction",
        CALLER_LOGICAL_DIRECTION = "Caller-Logical-Direction",
        CALLER_USERNAME = "Caller-Username",
        CALLER_DIALPLAN = "Caller-Dialplan",
        CALLER_ID_NAME = "Caller-Caller-ID-Name",
        CALLER_ID_NUMBER = "Caller-Caller-ID-Number",
        CALLER_ORIG_ID_NAME = "Caller-Orig-Caller-ID-Name",
        CALLER_ORIG_ID_NUMBER = "Caller-Orig-Caller-ID-Number",
        CALLEE_ID_NAME = "Caller-Callee-ID-Name",
        CALLEE_ID_NUMBER = "Caller-Callee-ID-Number",
        CALLER_ANI = "Caller-ANI",
        CALLER_RDNIS = "Caller-RDNIS",
        CALLER_NETWORK_ADDR = "Caller-Network-Addr",
        CALLER_DESTINATION = "Caller-Destination-Number",
        CALLER_CONTEXT = "Caller-Context",
        CALLER_SOURCE = "Caller-Source",
        CALLER_PROFILE_INDEX = "Caller-Profile-Index",
        CALLER_SCREEN_BIT = "Caller-Screen-Bit",
        CALLER_PRIVACY_NAME = "Caller-Privacy-Hide-Name",
        CALLER_PRIVACY_NUMBER = "Caller-Privacy-Hide-Number",
        CALLER_TRANSFER_SOURCE = "Caller-Transfer-Source",
        TIME_PROFILE_CREATED = "Caller-Profile-Created-Time",
        TIME_CREATED = "Caller-Channel-Created-Time",
        TIME_PROGRESS = "Caller-Channel-Progress-Time",
        TIME_PROGRESS_MEDIA = "Caller-Channel-Progress-Media-Time",
        TIME_ANSWERED = "Caller-Channel-Answered-Time",
        TIME_BRIDGED = "Caller-Channel-Bridged-Time",
        TIME_LAST_HOLD = "Caller-Channel-Last-Hold",
        HOLD_ACCUM = "Caller-Channel-Hold-Accum",
        TIME_HANGUP = "Caller-Channel-Hangup-Time",
        TIME_TRANSFER = "Caller-Channel-Transfer-Time",
        TIME_RESURRECT = "Caller-Channel-Resurrect-Time",
    }
    /// What SIP said. On an outbound channel the From is ours and the To is the far end's.
    SIP {
        SIP_CALL_ID = "variable_sip_call_id",
        SIP_CSEQ = "variable_sip_cseq",
        SIP_FROM_URI = "variable_sip_from_uri",
        SIP_FROM_USER = "variable_sip_from_user",
        SIP_FROM_HOST = "variable_sip_from_host",
        SIP_FROM_DISPLAY = "variable_sip_from_display",
        SIP_FROM_TAG = "variable_sip_from_tag",
        SIP_TO_URI = "variable_sip_to_uri",
        SIP_TO_USER = "variable_sip_to_user",
        SIP_TO_HOST = "variable_sip_to_host",
        SIP_TO_TAG = "variable_sip_to_tag",
        SIP_REQ_URI = "variable_sip_req_uri",
        SIP_DESTINATION_URL = "variable_sip_destination_url",
        SIP_CONTACT_URI = "variable_sip_contact_uri",
        SIP_CONTACT_HOST = "variable_sip_contact_host",
        SIP_CONTACT_PORT = "variable_sip_contact_port",
        SIP_USER_AGENT = "variable_sip_user_agent",
        SIP_NETWORK_IP = "variable_sip_network_ip",
        SIP_NETWORK_PORT = "variable_sip_network_port",
        SIP_VIA_PROTOCOL = "variable_sip_via_protocol",
        SIP_INVITE_FAILURE_STATUS = "variable_sip_invite_failure_status",
        SIP_INVITE_FAILURE_PHRASE = "variable_sip_invite_failure_phrase",
        SIP_REASON = "variable_sip_reason",
        SIP_P_ASSERTED = "variable_sip_P-Asserted-Identity",
        SIP_GATEWAY_NAME = "variable_sip_gateway_name",
        SIP_PROFILE_NAME = "variable_sip_profile_name",
        SOFIA_PROFILE_NAME = "variable_sofia_profile_name",
        TRUNKLINE_CALL = "variable_sip_h_X-Trunkline-Call",
        TRUNKLINE_CONTROL = "variable_trunkline_control",
    }
    /// Codecs, addresses and the statistics that stand on the channel at hang-up.
    MEDIA {
        READ_CODEC = "Channel-Read-Codec-Name",
        READ_RATE = "Channel-Read-Codec-Rate",
        READ_BIT_RATE = "Channel-Read-Codec-Bit-Rate",
        WRITE_CODEC = "Channel-Write-Codec-Name",
        WRITE_RATE = "Channel-Write-Codec-Rate",
        WRITE_BIT_RATE = "Channel-Write-Codec-Bit-Rate",
        LOCAL_MEDIA_IP = "variable_local_media_ip",
        LOCAL_MEDIA_PORT = "variable_local_media_port",
        REMOTE_MEDIA_IP = "variable_remote_media_ip",
        REMOTE_MEDIA_PORT = "variable_remote_media_port",
        DTMF_TYPE = "variable_dtmf_type",
        RTP_USE_SSRC = "variable_rtp_use_ssrc",
        IN_RAW_BYTES = "variable_rtp_audio_in_raw_bytes",
        IN_MEDIA_BYTES = "variable_rtp_audio_in_media_bytes",
        IN_PACKETS = "variable_rtp_audio_in_packet_count",
        IN_MEDIA_PACKETS = "variable_rtp_audio_in_media_packet_count",
        IN_SKIP_PACKETS = "variable_rtp_audio_in_skip_packet_count",
        IN_JITTER_PACKETS = "variable_rtp_audio_in_jitter_packet_count",
        IN_DTMF_PACKETS = "variable_rtp_audio_in_dtmf_packet_count",
        IN_CNG_PACKETS = "variable_rtp_audio_in_cng_packet_count",
        IN_FLUSH_PACKETS = "variable_rtp_audio_in_flush_packet_count",
        IN_LARGEST_JB = "variable_rtp_audio_in_largest_jb_size",
        IN_JITTER_MIN = "variable_rtp_audio_in_jitter_min_variance",
        IN_JITTER_MAX = "variable_rtp_audio_in_jitter_max_variance",
        IN_LOSS_RATE = "variable_rtp_audio_in_jitter_loss_rate",
        IN_BURST_RATE = "variable_rtp_audio_in_jitter_burst_rate",
        IN_MEAN_INTERVAL = "variable_rtp_audio_in_mean_interval",
        IN_FLAW_TOTAL = "variable_rtp_audio_in_flaw_total",
        IN_QUALITY = "variable_rtp_audio_in_quality_percentage",
        IN_MOS = "variable_rtp_audio_in_mos",
        OUT_RAW_BYTES = "variable_rtp_audio_out_raw_bytes",
        OUT_MEDIA_BYTES = "variable_rtp_audio_out_media_bytes",
        OUT_PACKETS = "variable_rtp_audio_out_packet_count",
        OUT_MEDIA_PACKETS = "variable_rtp_audio_out_media_packet_count",
        OUT_SKIP_PACKETS = "variable_rtp_audio_out_skip_packet_count",
        OUT_DTMF_PACKETS = "variable_rtp_audio_out_dtmf_packet_count",
        OUT_CNG_PACKETS = "variable_rtp_audio_out_cng_packet_count",
        RTCP_PACKETS = "variable_rtp_audio_rtcp_packet_count",
        RTCP_OCTETS = "variable_rtp_audio_rtcp_octet_count",
    }
    /// Applications, digits and prompts: present only on the events that are about them.
    DETAIL {
        APPLICATION = "Application",
        APPLICATION_DATA = "Application-Data",
        APPLICATION_RESPONSE = "Application-Response",
        APPLICATION_UUID = "Application-UUID",
        DTMF_DIGIT = "DTMF-Digit",
        DTMF_DURATION = "DTMF-Duration",
        DTMF_SOURCE = "DTMF-Source",
        PLAYBACK_FILE_TYPE = "Playback-File-Type",
        PLAYBACK_FILE_PATH = "Playback-File-Path",
        PLAYBACK_STATUS = "Playback-Status",
        ORIGINAL_CALL_STATE = "Original-Channel-Call-State",
        CALL_STATE_NUMBER = "Channel-Call-State-Number",
        READ_RESULT = "variable_read_result",
        READ_TERMINATOR = "variable_read_terminator_used",
        PLAYBACK_MS = "variable_playback_ms",
    }
    /// One received RTCP report (`RECV_RTCP_MESSAGE`). "Octect" is FreeSWITCH's own spelling.
    RTCP {
        RTCP_SSRC = "SSRC",
        RTCP_NTP_MSW = "NTP-Most-Significant-Word",
        RTCP_NTP_LSW = "NTP-Least-Significant-Word",
        RTCP_TIMESTAMP = "RTP-Timestamp",
        RTCP_SENDER_PACKETS = "Sender-Packet-Count",
        RTCP_SENDER_OCTETS = "Octect-Packet-Count",
        RTCP_SOURCE_SSRC = "Source0-SSRC",
        RTCP_FRACTION = "Source0-Fraction",
        RTCP_LOST = "Source0-Lost",
        RTCP_HIGHEST_SEQ = "Source0-Highest-Sequence-Number-Received",
        RTCP_JITTER = "Source0-Jitter",
        RTCP_LSR = "Source0-LSR",
        RTCP_DLSR = "Source0-DLSR",
    }
    /// The node's own pulse (`HEARTBEAT`); not part of [`CHANNEL_HEADERS`].
    HEARTBEAT_HEADERS {
        EVENT_INFO = "Event-Info",
        VERSION = "FreeSWITCH-Version",
        UPTIME_MS = "Uptime-msec",
        SESSION_COUNT = "Session-Count",
        MAX_SESSIONS = "Max-Sessions",
        SESSION_PER_SEC = "Session-Per-Sec",
        SESSION_PER_SEC_LAST = "Session-Per-Sec-Last",
        SESSION_PER_SEC_MAX = "Session-Per-Sec-Max",
        SESSION_PER_SEC_FIVE_MIN = "Session-Per-Sec-FiveMin",
        SESSION_SINCE_STARTUP = "Session-Since-Startup",
        SESSION_PEAK_MAX = "Session-Peak-Max",
        SESSION_PEAK_FIVE_MIN = "Session-Peak-FiveMin",
        IDLE_CPU = "Idle-CPU",
    }
}

const PARTS: [&[&str]; 7] = [EVENT, CHANNEL, CALLER, SIP, MEDIA, DETAIL, RTCP];

const COUNT: usize = {
    let mut total = 0;
    let mut i = 0;
    while i < PARTS.len() {
        total += PARTS[i].len();
        i += 1;
    }
    total
};

const JOINED: [&str; COUNT] = {
    let mut all = [""; COUNT];
    let (mut n, mut i) = (0, 0);
    while i < PARTS.len() {
        let mut j = 0;
        while j < PARTS[i].len() {
            all[n] = PARTS[i][j];
            n += 1;
            j += 1;
        }
        i += 1;
    }
    all
};

/// All headers of a channel event that are read: the groups above, in their order.
pub const CHANNEL_HEADERS: &[&str] = &JOINED;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_header_is_listed_twice() {
        let distinct: BTreeSet<String> = CHANNEL_HEADERS.iter().map(|name| name.to_ascii_lowercase()).collect();
        assert_eq!(distinct.len(), CHANNEL_HEADERS.len());
    }

    #[test]
    fn every_name_can_stand_before_a_colon_on_the_wire() {
        for name in CHANNEL_HEADERS.iter().chain(HEARTBEAT_HEADERS) {
            assert!(
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'),
                "{name}"
            );
        }
    }
}
