//! `cdr.legs`: the record of a leg, and the groups that it shares with `cdr.calls`.
//!
//! A revision replaces the one before it; the number counts the distinct facts joined, so it only grows.

use domain::Disposition;
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
    name: "cdr.legs",
    partitions: 12,
    retention: Retention::Days(30),
    compacted: false,
    version: 1,
    schema_id: 0x5452_0007,
    schema: include_str!("../cdr.legs/v1.avsc"),
    retired: &[],
    class: Class::Life,
};

/// Every value of `event_type`.
pub const EVENT_TYPES: &[&str] = &["leg"];

impl Event for CdrLeg {
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
        logical::of_content(self)
    }

    fn check(&self) -> Result<(), Invalid> {
        check::known("event_type", &self.event_type, EVENT_TYPES)?;
        check::uuid("call_root_id", &self.call_root_id)?;
        check::not_empty("leg_id", &self.leg_id)?;
        check::positive("revision", i64::from(self.revision))?;
        self.outcome.as_ref().map_or(Ok(()), CdrOutcome::check)
    }
}

/// The finished record of one leg, in one revision.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CdrLeg {
    /// What publishing added.
    pub envelope: Envelope,
    /// leg (name).
    pub event_type: String,
    /// Call id of the platform (UUIDv7, 36 characters).
    pub call_root_id: String,
    /// Leg (16 hex digits or channel UUID).
    pub leg_id: String,
    /// Distinct facts that were joined (number).
    pub revision: i32,
    /// Leg id at the edge (16 hex digits).
    pub edge_leg_id: Option<String>,
    /// Channel on the node (UUID).
    pub channel_uuid: Option<String>,
    /// Leg that caused this one (16 hex digits or channel UUID).
    pub parent_leg_id: Option<String>,
    /// SIP Call-ID (text as on the wire).
    pub sip_call_id: Option<String>,
    /// From tag (text as on the wire).
    pub from_tag: Option<String>,
    /// CSeq number of the INVITE (number).
    pub cseq: Option<u32>,
    /// Node (id).
    pub node_id: Option<String>,
    /// Edge (id).
    pub edge_id: Option<String>,
    /// Engine (id).
    pub engine_id: Option<String>,
    /// Epoch of the node (UUID).
    pub core_uuid: Option<String>,
    /// A, B, consult, fork_loser or campaign (name).
    pub role: Option<String>,
    /// inbound or outbound, from the platform (name).
    pub direction: Option<String>,
    /// Trunk that the call came from (id).
    pub trunk_in: Option<String>,
    /// Trunk that the call went to (id).
    pub trunk_out: Option<String>,
    /// Account (id).
    pub account: Option<String>,
    /// Attempt, counted from 1 (number).
    pub attempt: Option<i32>,
    /// Fork inside the attempt, counted from 1 (number).
    pub fork: Option<i32>,
    /// Leg that this one retries (16 hex digits or channel UUID).
    pub previous_leg_id: Option<String>,
    /// Why it was retried (name).
    pub retry_reason: Option<String>,
    /// Who called whom.
    pub parties: Option<CdrParties>,
    /// When what happened.
    pub times: Option<CdrTimes>,
    /// How long it lasted.
    pub durations: Option<CdrDurations>,
    /// How it ended.
    pub outcome: Option<CdrOutcome>,
    /// Media and its quality.
    pub media: Option<CdrMedia>,
    /// Signalling in short.
    pub signalling: Option<CdrSignalling>,
    /// How well the record is founded.
    pub quality: Option<CdrQuality>,
}

/// Who called whom.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CdrParties {
    /// Caller as on the wire (user part).
    pub caller_raw: Option<String>,
    /// Caller, normalised (E.164 with +).
    pub caller_e164: Option<String>,
    /// Caller's display name (text).
    pub caller_display: Option<String>,
    /// Asserted identity (text as on the wire).
    pub caller_asserted: Option<String>,
    /// Callee as on the wire (user part).
    pub callee_raw: Option<String>,
    /// Callee, normalised (E.164 with +).
    pub callee_e164: Option<String>,
    /// What the caller dialled (user part).
    pub callee_dialled: Option<String>,
    /// Callee after translation (user part).
    pub callee_translated: Option<String>,
    /// Country of the callee (ISO 3166 alpha-2).
    pub country: Option<String>,
    /// Prefix of the callee that was rated or routed by (digits).
    pub prefix: Option<String>,
    /// Operator of the callee (name).
    pub operator: Option<String>,
}

/// When what happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CdrTimes {
    /// INVITE received (µs since 1970 UTC).
    pub invite_us: Option<i64>,
    /// First 100 (µs since 1970 UTC).
    pub trying_us: Option<i64>,
    /// First 18x (µs since 1970 UTC).
    pub ring_us: Option<i64>,
    /// First early media (µs since 1970 UTC).
    pub early_media_us: Option<i64>,
    /// First 2xx (µs since 1970 UTC).
    pub answer_us: Option<i64>,
    /// First RTP received (µs since 1970 UTC).
    pub first_rtp_in_us: Option<i64>,
    /// First RTP sent (µs since 1970 UTC).
    pub first_rtp_out_us: Option<i64>,
    /// BYE or CANCEL (µs since 1970 UTC).
    pub bye_us: Option<i64>,
    /// End (µs since 1970 UTC).
    pub end_us: Option<i64>,
}

/// How long it lasted, from one witness's monotonic clock where it lived long enough.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CdrDurations {
    /// Post-dial delay: INVITE to first 18x (ms).
    pub pdd_ms: Option<i64>,
    /// First 18x to answer or end (ms).
    pub ring_ms: Option<i64>,
    /// Answer to end (ms).
    pub talk_ms: Option<i64>,
    /// On hold in total (ms).
    pub hold_ms: Option<i64>,
    /// INVITE to end (ms).
    pub total_ms: Option<i64>,
    /// To be billed (ms).
    pub billable_ms: Option<i64>,
}

/// How a leg or call ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CdrOutcome {
    /// answered, cancelled, busy, no_answer, rejected, failed, blocked, limited or node_lost (name).
    pub disposition: Option<String>,
    /// Final status (SIP status code).
    pub final_code: Option<u16>,
    /// All status codes of the branch, in order (SIP status codes).
    pub codes: Vec<u16>,
    /// Cause (Q.850 cause).
    pub q850: Option<i32>,
    /// Cause (FreeSWITCH name).
    pub hangup_cause: Option<String>,
    /// Reason header fields seen (text as on the wire).
    pub reasons: Vec<String>,
    /// Who released: caller, callee, edge, engine, timeout or node (name).
    pub released_by: Option<String>,
    /// Side that released: trunk or node (name).
    pub released_side: Option<String>,
    /// Whether the leg ended because its bridged leg did.
    pub hangup_after_bridge: Option<bool>,
}

/// Media and its quality.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CdrMedia {
    /// Codec received (name).
    pub codec_in: Option<String>,
    /// Codec sent (name).
    pub codec_out: Option<String>,
    /// Whether media were transcoded.
    pub transcoded: Option<bool>,
    /// Media encryption: none, sdes or dtls (name).
    pub srtp: Option<String>,
    /// Our media address (IP address).
    pub local_ip: Option<String>,
    /// Their media address (IP address).
    pub remote_ip: Option<String>,
    /// Loss received (percent).
    pub loss_in_percent: Option<f64>,
    /// Loss sent, as reported (percent).
    pub loss_out_percent: Option<f64>,
    /// Jitter received (ms).
    pub jitter_in_ms: Option<f64>,
    /// Jitter sent, as reported (ms).
    pub jitter_out_ms: Option<f64>,
    /// Mean opinion score received (1 to 4.5).
    pub mos_in: Option<f64>,
    /// Mean opinion score sent, as reported (1 to 4.5).
    pub mos_out: Option<f64>,
    /// Whether audio went one way only.
    pub one_way: Option<bool>,
    /// Loss by RTCP (percent).
    pub rtcp_loss_percent: Option<f64>,
    /// Round trip by RTCP (ms).
    pub rtcp_rtt_ms: Option<f64>,
    /// Keys pressed (number).
    pub dtmf_count: Option<i32>,
    /// Recordings (ids).
    pub recording_ids: Vec<String>,
}

/// Signalling in short.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CdrSignalling {
    /// udp, tcp, tls, ws or wss (name).
    pub transport: Option<String>,
    /// Source of the INVITE (IP address).
    pub source_ip: Option<String>,
    /// Whether signalling was encrypted.
    pub tls: Option<bool>,
    /// Requests repeated (number).
    pub retransmits: Option<i32>,
    /// Digest of the authenticated user (16 hex digits of SHA-256).
    pub auth_user_hash: Option<String>,
    /// Attestation of the Identity header (letter).
    pub attestation: Option<String>,
    /// User-Agent of the caller's side (text).
    pub user_agent_caller: Option<String>,
    /// User-Agent or Server of the callee's side (text).
    pub user_agent_callee: Option<String>,
}

/// How well a record is founded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CdrQuality {
    /// Quality of the record: complete, one_witness, estimated or partial (name).
    pub code: Option<String>,
    /// Witnesses that reported (edge, engine).
    pub witnesses: Vec<String>,
    /// Fields that are estimates (names).
    pub estimated: Vec<String>,
    /// First event that was joined (producer/epoch/topic/partition/seq).
    pub first_event_id: Option<String>,
    /// Last event that was joined (producer/epoch/topic/partition/seq).
    pub last_event_id: Option<String>,
    /// What closed it: event, reaper or replay (name).
    pub closed_by: Option<String>,
}

impl CdrOutcome {
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        if let Some(disposition) = &self.disposition {
            check::that("outcome.disposition", Disposition::parse(disposition).is_some(), || {
                format!("{disposition:?} is no disposition")
            })?;
        }
        self.final_code.map_or(Ok(()), |code| check::sip_status("outcome.final_code", code))
    }
}
