//! `channel.events`: the engine's witness of every call, FreeSWITCH's events in our words.
//!
//! Key for copies: (Core-UUID, Event-Sequence). A new Core-UUID is a restart of the node. Times of the node's clock
//! are kept apart from the engine's own, because the two clocks differ.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    check::{self, Invalid},
    envelope::Envelope,
    event::Event,
    logical,
    topic::{Class, Retention, TopicSpec},
};

/// The topic.
pub static TOPIC: TopicSpec = TopicSpec {
    name: "channel.events",
    partitions: 12,
    retention: Retention::Days(30),
    compacted: false,
    version: 1,
    schema_id: 0x5452_0003,
    schema: include_str!("../channel.events/v1.avsc"),
    retired: &[],
    class: Class::Life,
};

impl Event for ChannelEvent {
    const TOPIC: &'static TopicSpec = &TOPIC;

    fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    fn envelope_mut(&mut self) -> &mut Envelope {
        &mut self.envelope
    }

    fn key(&self) -> String {
        self.call_root_id.clone()
    }

    fn event_type(&self) -> &str {
        &self.event_type
    }

    fn logical_id(&self) -> [u8; 16] {
        logical::of(&[self.core_uuid.as_bytes(), &self.event_sequence.to_be_bytes()])
    }

    /// Keys and reports on media go before the life of a call when room is short.
    fn class(&self) -> Class {
        match self.event_type.as_str() {
            "DTMF" | "PLAYBACK_START" | "PLAYBACK_STOP" | "RECORD_START" | "RECORD_STOP" | "RECV_RTCP_MESSAGE"
            | "DETECTED_TONE" | "DETECTED_SPEECH" | "SESSION_HEARTBEAT" => Class::Detail,
            _ => Self::TOPIC.class,
        }
    }

    fn check(&self) -> Result<(), Invalid> {
        check::not_empty("event_type", &self.event_type)?;
        check::uuid("call_root_id", &self.call_root_id)?;
        check::not_empty("leg_id", &self.leg_id)?;
        check::not_empty("node_id", &self.node_id)?;
        check::uuid("core_uuid", &self.core_uuid)?;
        check::positive("event_sequence", self.event_sequence)?;
        check::not_empty("channel.unique_id", &self.channel.unique_id)?;
        check::that("dtmf", (self.event_type == "DTMF") == self.dtmf.is_some(), || {
            "DTMF and only DTMF carries a key".to_owned()
        })
    }
}

/// One event of a FreeSWITCH channel, as the engine read it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChannelEvent {
    /// What publishing added.
    pub envelope: Envelope,
    /// Event-Name of FreeSWITCH (name).
    pub event_type: String,
    /// Event-Subclass, for CUSTOM (name).
    pub subclass: Option<String>,
    /// Call id of the platform (UUIDv7, 36 characters).
    pub call_root_id: String,
    /// Leg of the call at the engine: the channel UUID (UUID).
    pub leg_id: String,
    /// Leg at the edge that the channel's verified header names; for an outbound channel a copy of its A leg's (16 hex digits).
    pub edge_leg_id: Option<String>,
    /// State of X-Trunkline-Call on the channel: valid, copied, absent or forged (name).
    pub header_state: Option<String>,
    /// Node that the channel lives on (id).
    pub node_id: String,
    /// Engine that reports (id).
    pub engine_id: String,
    /// Core-UUID: the node's epoch (UUID).
    pub core_uuid: String,
    /// Event-Sequence, unique in an epoch (number).
    pub event_sequence: i64,
    /// Event-Date-Timestamp (µs since 1970 UTC, the node's clock).
    pub event_us: i64,
    /// When the engine read it, for people (µs since 1970 UTC).
    pub received_us: i64,
    /// When the engine read it, on its boot-time clock (µs since boot).
    pub received_mono_us: i64,
    /// FreeSWITCH-Hostname (name).
    pub hostname: Option<String>,
    /// FreeSWITCH-IPv4 (IP address).
    pub ipv4: Option<String>,
    /// Whether our dialplan marked the channel as the engine's to command.
    pub controlled: bool,
    /// Identity and state of the channel.
    pub channel: ChannelState,
    /// Why it ended.
    pub hangup: Option<ChannelHangup>,
    /// The caller profile.
    pub caller: Option<CallerProfile>,
    /// Times of the channel.
    pub times: Option<ChannelTimes>,
    /// SIP variables of the channel.
    pub sip: Option<ChannelSip>,
    /// Codecs, addresses and quality of media.
    pub media: Option<ChannelMedia>,
    /// An RTCP report (RECV_RTCP_MESSAGE).
    pub rtcp: Option<RtcpReport>,
    /// Application that ran (EXECUTE, PLAYBACK, RECORD …).
    pub application: Option<ChannelApplication>,
    /// A key (DTMF); never for inputs marked sensitive.
    pub dtmf: Option<ChannelDtmf>,
    /// Campaign that the channel was dialled for.
    pub campaign: Option<CampaignRef>,
    /// Allow-listed further header fields (name to text).
    pub extra: BTreeMap<String, String>,
}

/// Identity and state of a channel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChannelState {
    /// Unique-ID (UUID).
    pub unique_id: String,
    /// Channel-Call-UUID (UUID).
    pub channel_call_uuid: Option<String>,
    /// Other-Leg-Unique-ID (UUID).
    pub other_leg_unique_id: Option<String>,
    /// Other-Type: originator or originatee (name).
    pub other_type: Option<String>,
    /// Bridge-A-Unique-ID (UUID).
    pub bridge_a_unique_id: Option<String>,
    /// Bridge-B-Unique-ID (UUID).
    pub bridge_b_unique_id: Option<String>,
    /// Call-Direction: inbound or outbound (name).
    pub direction: Option<String>,
    /// Channel-Presence-ID (text).
    pub presence_id: Option<String>,
    /// Channel-Name (text).
    pub name: Option<String>,
    /// Channel-State (name).
    pub state: Option<String>,
    /// Channel-State-Number (number).
    pub state_number: Option<i32>,
    /// Channel-Call-State (name).
    pub call_state: Option<String>,
    /// Answer-State (name).
    pub answer_state: Option<String>,
}

/// Why a channel ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChannelHangup {
    /// Hangup-Cause (name).
    pub cause: Option<String>,
    /// hangup_cause_q850 (Q.850 cause).
    pub q850: Option<i32>,
    /// sip_term_status (SIP status code).
    pub sip_term_status: Option<u16>,
    /// sip_hangup_disposition: send_bye, recv_bye, send_cancel, recv_cancel, send_refuse, recv_refuse (name).
    pub sip_hangup_disposition: Option<String>,
    /// proto_specific_hangup_cause (text).
    pub proto_specific_cause: Option<String>,
    /// endpoint_disposition (name).
    pub endpoint_disposition: Option<String>,
    /// originate_disposition (name).
    pub originate_disposition: Option<String>,
}

/// Caller profile of a channel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CallerProfile {
    /// Caller-Username (text).
    pub username: Option<String>,
    /// Caller-Dialplan (name).
    pub dialplan: Option<String>,
    /// Caller-Caller-ID-Name (text).
    pub caller_id_name: Option<String>,
    /// Caller-Caller-ID-Number (text).
    pub caller_id_number: Option<String>,
    /// Caller-Callee-ID-Name (text).
    pub callee_id_name: Option<String>,
    /// Caller-Callee-ID-Number (text).
    pub callee_id_number: Option<String>,
    /// Caller-ANI (text).
    pub ani: Option<String>,
    /// Caller-RDNIS (text).
    pub rdnis: Option<String>,
    /// Caller-Network-Addr (IP address).
    pub network_addr: Option<String>,
    /// Caller-Destination-Number (text).
    pub destination_number: Option<String>,
    /// Caller-Context (name).
    pub context: Option<String>,
    /// Caller-Source (name).
    pub source: Option<String>,
    /// Caller-Profile-Index (number).
    pub profile_index: Option<i32>,
    /// Caller-Screen-Bit.
    pub screen: Option<bool>,
    /// Caller-Privacy-Hide-Name.
    pub hide_name: Option<bool>,
    /// Caller-Privacy-Hide-Number.
    pub hide_number: Option<bool>,
}

/// Times of a channel; what FreeSWITCH gives as 0 is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChannelTimes {
    /// Caller-Profile-Created-Time (µs since 1970 UTC, the node's clock).
    pub profile_created_us: Option<i64>,
    /// Caller-Channel-Created-Time (µs since 1970 UTC, the node's clock).
    pub created_us: Option<i64>,
    /// Caller-Channel-Progress-Time (µs since 1970 UTC, the node's clock).
    pub progress_us: Option<i64>,
    /// Caller-Channel-Progress-Media-Time (µs since 1970 UTC, the node's clock).
    pub progress_media_us: Option<i64>,
    /// Caller-Channel-Answered-Time (µs since 1970 UTC, the node's clock).
    pub answered_us: Option<i64>,
    /// Caller-Channel-Bridged-Time (µs since 1970 UTC, the node's clock).
    pub bridged_us: Option<i64>,
    /// Caller-Channel-Last-Hold (µs since 1970 UTC, the node's clock).
    pub last_hold_us: Option<i64>,
    /// Caller-Channel-Hold-Accum (µs).
    pub hold_accum_us: Option<i64>,
    /// Caller-Channel-Hangup-Time (µs since 1970 UTC, the node's clock).
    pub hangup_us: Option<i64>,
    /// Caller-Channel-Transfer-Time (µs since 1970 UTC, the node's clock).
    pub transfer_us: Option<i64>,
    /// Caller-Channel-Resurrect-Time (µs since 1970 UTC, the node's clock).
    pub resurrect_us: Option<i64>,
}

/// SIP variables of a channel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChannelSip {
    /// sip_call_id (text as on the wire).
    pub call_id: Option<String>,
    /// sip_cseq (number).
    pub cseq: Option<u32>,
    /// sip_from_user (text).
    pub from_user: Option<String>,
    /// sip_from_uri (text).
    pub from_uri: Option<String>,
    /// sip_from_tag (text).
    pub from_tag: Option<String>,
    /// sip_to_user (text).
    pub to_user: Option<String>,
    /// sip_to_uri (text).
    pub to_uri: Option<String>,
    /// sip_to_tag (text).
    pub to_tag: Option<String>,
    /// sip_req_uri (text).
    pub request_uri: Option<String>,
    /// sip_contact_uri (text).
    pub contact_uri: Option<String>,
    /// sip_user_agent (text).
    pub user_agent: Option<String>,
    /// sip_network_ip (IP address).
    pub network_ip: Option<String>,
    /// sip_network_port (port number).
    pub network_port: Option<u16>,
    /// sip_via_protocol (name).
    pub via_protocol: Option<String>,
    /// sip_invite_failure_status (SIP status code).
    pub invite_failure_status: Option<u16>,
    /// sip_invite_failure_phrase (text).
    pub invite_failure_phrase: Option<String>,
    /// sip_reason or the Reason header (text as on the wire).
    pub reason: Option<String>,
    /// sip_P-Asserted-Identity (text as on the wire).
    pub p_asserted_identity: Option<String>,
    /// sip_gateway_name (name).
    pub gateway_name: Option<String>,
    /// sip_profile_name or sofia_profile_name (name).
    pub profile_name: Option<String>,
}

/// Codecs, addresses and quality of media.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChannelMedia {
    /// Channel-Read-Codec-Name (name).
    pub read_codec: Option<String>,
    /// Channel-Read-Codec-Rate (Hz).
    pub read_rate: Option<i32>,
    /// Channel-Read-Codec-Bit-Rate (bit/s).
    pub read_bitrate: Option<i32>,
    /// Channel-Write-Codec-Name (name).
    pub write_codec: Option<String>,
    /// Channel-Write-Codec-Rate (Hz).
    pub write_rate: Option<i32>,
    /// Channel-Write-Codec-Bit-Rate (bit/s).
    pub write_bitrate: Option<i32>,
    /// local_media_ip (IP address).
    pub local_ip: Option<String>,
    /// local_media_port (port number).
    pub local_port: Option<u16>,
    /// remote_media_ip (IP address).
    pub remote_ip: Option<String>,
    /// remote_media_port (port number).
    pub remote_port: Option<u16>,
    /// rtp_audio_in_*: what the node received.
    pub inbound: Option<RtpStats>,
    /// rtp_audio_out_*: what the node sent.
    pub outbound: Option<RtpStats>,
    /// rtp_audio_rtcp_packet_count (packets).
    pub rtcp_packet_count: Option<i64>,
    /// rtp_audio_rtcp_octet_count (bytes).
    pub rtcp_octet_count: Option<i64>,
}

/// Statistics of one direction of an RTP stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RtpStats {
    /// Mean opinion score (1 to 4.5).
    pub mos: Option<f64>,
    /// Quality (percent).
    pub quality_percent: Option<f64>,
    /// Least variance of jitter (ms²).
    pub jitter_min_variance: Option<f64>,
    /// Greatest variance of jitter (ms²).
    pub jitter_max_variance: Option<f64>,
    /// Loss rate (percent).
    pub loss_rate: Option<f64>,
    /// Burst rate (percent).
    pub burst_rate: Option<f64>,
    /// Mean interval between packets (ms).
    pub mean_interval_ms: Option<f64>,
    /// Flaws (number).
    pub flaw_total: Option<i64>,
    /// Bytes with headers (bytes).
    pub raw_bytes: Option<i64>,
    /// Bytes of media (bytes).
    pub media_bytes: Option<i64>,
    /// Packets (packets).
    pub packet_count: Option<i64>,
    /// Packets of media (packets).
    pub media_packet_count: Option<i64>,
    /// Packets skipped (packets).
    pub skip_packet_count: Option<i64>,
    /// Packets with large jitter (packets).
    pub jitter_packet_count: Option<i64>,
    /// DTMF packets (packets).
    pub dtmf_packet_count: Option<i64>,
    /// Comfort noise packets (packets).
    pub cng_packet_count: Option<i64>,
    /// Packets flushed (packets).
    pub flush_packet_count: Option<i64>,
    /// Largest jitter buffer (packets).
    pub largest_jb_size: Option<i64>,
}

/// An RTCP sender or receiver report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RtcpReport {
    /// SSRC (number).
    pub ssrc: Option<i64>,
    /// NTP timestamp, most significant word (number).
    pub ntp_msw: Option<i64>,
    /// NTP timestamp, least significant word (number).
    pub ntp_lsw: Option<i64>,
    /// RTP timestamp (RTP clock ticks).
    pub rtp_timestamp: Option<i64>,
    /// Sender packet count (packets).
    pub sender_packets: Option<i64>,
    /// Sender octet count (bytes).
    pub sender_octets: Option<i64>,
    /// Report blocks.
    pub sources: Vec<RtcpSource>,
}

/// One report block.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RtcpSource {
    /// SSRC of the source (number).
    pub ssrc: Option<i64>,
    /// Fraction lost since the last report (1/256).
    pub fraction_lost: Option<i32>,
    /// Packets lost in total (packets).
    pub cumulative_lost: Option<i64>,
    /// Extended highest sequence number (number).
    pub highest_seq: Option<i64>,
    /// Interarrival jitter (RTP clock ticks).
    pub jitter: Option<i64>,
    /// Last SR (middle 32 bits of NTP).
    pub lsr: Option<i64>,
    /// Delay since last SR (1/65536 s).
    pub dlsr: Option<i64>,
}

/// An application that ran on a channel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChannelApplication {
    /// Application (name).
    pub name: Option<String>,
    /// Application-Data, with secrets removed (text).
    pub data: Option<String>,
    /// Application-UUID (UUID).
    pub uuid: Option<String>,
    /// Application-Response (text).
    pub response: Option<String>,
    /// File that is played or recorded (path on the node).
    pub file: Option<String>,
    /// How long it ran (µs, the node's clock).
    pub duration_us: Option<i64>,
}

/// A key that was pressed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChannelDtmf {
    /// DTMF-Digit (0-9, *, #, A-D).
    pub digit: String,
    /// DTMF-Duration (RTP clock ticks).
    pub duration_ticks: Option<i32>,
    /// DTMF-Source: RTP, INFO or INBAND_AUDIO (name).
    pub source: Option<String>,
}

/// Campaign that a call was dialled for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CampaignRef {
    /// Campaign (id).
    pub campaign_id: String,
    /// Contact (id).
    pub contact_id: String,
    /// Attempt at this contact, counted from 1 (number).
    pub attempt: i32,
}
