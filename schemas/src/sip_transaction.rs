//! `sip.transactions`: the edge's witness of every call.
//!
//! Which events one server transaction gives, and in which order, is the grammar in [`crate::grammar`]. Deltas of
//! [`SipTiming`] and [`SipBranch`] count from the receipt of the request on the edge's monotonic clock; of a failover
//! they keep counting from that same receipt, so branches compare with each other.

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
    name: "sip.transactions",
    partitions: 12,
    retention: Retention::Days(30),
    compacted: false,
    version: 1,
    schema_id: 0x5452_0011,
    schema: include_str!("../sip.transactions/v1.avsc"),
    retired: &[(0x5452_0001, include_str!("../sip.transactions/retired/0x54520001.avsc"))],
    class: Class::Life,
};

/// Every value of `event_type`.
pub const EVENT_TYPES: &[&str] =
    &["attempt", "answered", "final", "ended", "lost", "late_answer", "refused", "transaction"];

impl Event for SipTransaction {
    const TOPIC: &'static TopicSpec = &TOPIC;

    fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    fn envelope_mut(&mut self) -> &mut Envelope {
        &mut self.envelope
    }

    /// The call id, else the SIP Call-ID (a transaction outside every call).
    fn key(&self) -> String {
        let id = if self.call_root_id.is_empty() { &self.identity.call_id } else { &self.call_root_id };
        id.clone()
    }

    fn event_type(&self) -> &str {
        &self.event_type
    }

    /// What the design names, and what tells two of them apart where one transaction can have several: further 2xx and the
    /// ends of their dialogs by the To tag, requests of one number in two dialogs or by two ways by To tag and branch.
    fn logical_id(&self) -> [u8; 16] {
        let i = &self.identity;
        let (cseq, attempt) = (i.cseq.to_be_bytes(), self.attempt.to_be_bytes());
        let text = |t: &'_ Option<String>| t.as_deref().unwrap_or_default().as_bytes().to_vec();
        let named: [&[u8]; 5] =
            [i.call_id.as_bytes(), i.from_tag.as_bytes(), &cseq, &attempt, self.event_type.as_bytes()];
        let is_late = self.event_type == "late_answer" || self.dialog.as_ref().is_some_and(|d| d.late);
        match self.event_type.as_str() {
            "transaction" => logical::of(&[&named[..], &[&text(&i.to_tag), &text(&i.branch)]].concat()),
            _ if is_late => logical::of(&[&named[..], &[&text(&i.to_tag)]].concat()),
            _ => logical::of(&named),
        }
    }

    /// Only the events that open, answer and close a call are its life; other transactions go first when room is short.
    fn class(&self) -> Class {
        if self.event_type == "transaction" { Class::Detail } else { Self::TOPIC.class }
    }

    fn check(&self) -> Result<(), Invalid> {
        check::known("event_type", &self.event_type, EVENT_TYPES)?;
        check::not_empty("edge_id", &self.edge_id)?;
        check::not_empty("identity.method", &self.identity.method)?;
        check::not_empty("identity.call_id", &self.identity.call_id)?;
        if self.event_type != "transaction" {
            check::uuid("call_root_id", &self.call_root_id)?;
            check::not_empty("leg_id", &self.leg_id)?;
            check::equals("identity.method", &self.identity.method, "INVITE")?;
        }
        if let Some(status) = self.outcome.as_ref().and_then(|o| o.status) {
            check::sip_status("outcome.status", status)?;
        }
        match self.event_type.as_str() {
            "attempt" => check::present("branches", self.branches.first())
                .and_then(|_| check::that("attempt", self.attempt >= 1, || "an attempt counts from 1".to_owned())),
            "answered" | "final" | "refused" => {
                check::present("outcome.status", self.outcome.as_ref().and_then(|o| o.status)).map(drop)
            }
            "ended" | "lost" => check::present("dialog", self.dialog.as_ref()).map(drop),
            "late_answer" => {
                check::present("outcome.late_action", self.outcome.as_ref().and_then(|o| o.late_action.as_ref()))
                    .map(drop)
            }
            _ => Ok(()),
        }
    }
}

/// One step in the life of a SIP transaction as the edge saw and decided it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SipTransaction {
    /// What publishing added.
    pub envelope: Envelope,
    /// attempt, answered, final, ended, lost, late_answer, refused or transaction (name).
    pub event_type: String,
    /// Call id of the platform; empty only for a transaction outside every call, whose key is its SIP Call-ID (UUIDv7, 36 characters).
    pub call_root_id: String,
    /// Leg of this attempt at the edge (16 hex digits).
    pub leg_id: String,
    /// Leg that the signed header of a node's INVITE names, when the call passes the edge again (16 hex digits or channel UUID).
    pub parent_leg_id: Option<String>,
    /// Edge that reports (id).
    pub edge_id: String,
    /// When it happened, for people (µs since 1970 UTC).
    pub occurred_us: i64,
    /// When it happened, on the edge's boot-time clock (µs since boot).
    pub occurred_mono_us: i64,
    /// Side that the request came from: trunk or node (name).
    pub source_side: String,
    /// Trunk or node that the request came from (id).
    pub source_id: String,
    /// Attempt inside the server transaction, counted from 1; 0 when nothing was forwarded (number).
    pub attempt: i32,
    /// Names of the transaction and dialog.
    pub identity: SipIdentity,
    /// How the request arrived.
    pub transport: Option<SipTransport>,
    /// Who calls whom.
    pub parties: Option<SipParties>,
    /// Header fields worth keeping.
    pub headers: Option<SipHeaders>,
    /// Session description that was offered.
    pub offer: Option<SdpSummary>,
    /// Session description that was answered.
    pub answer: Option<SdpSummary>,
    /// When the transaction did what.
    pub timing: Option<SipTiming>,
    /// How the transaction ended.
    pub outcome: Option<SipOutcome>,
    /// What was decided, by which rule, from which inputs.
    pub decision: Option<SipDecision>,
    /// What was changed on the way through, and how it left.
    pub sent: Option<SipSent>,
    /// Links to the other witness and to other calls.
    pub correlation: Option<SipCorrelation>,
    /// Every client branch of the server transaction, in order of forwarding.
    pub branches: Vec<SipBranch>,
    /// How the dialog ended (events ended and lost).
    pub dialog: Option<SipDialogEnd>,
}

/// Names of a SIP transaction and its dialog.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SipIdentity {
    /// Request method (name).
    pub method: String,
    /// Call-ID of the request (text as on the wire).
    pub call_id: String,
    /// CSeq number (number).
    pub cseq: u32,
    /// CSeq method, when it differs from the request method (name).
    pub cseq_method: Option<String>,
    /// Tag of From (text as on the wire).
    pub from_tag: String,
    /// Tag of To, once there is one (text as on the wire).
    pub to_tag: Option<String>,
    /// Scheme of the request URI (sip, sips, tel).
    pub request_scheme: Option<String>,
    /// User part of the request URI (text as on the wire).
    pub request_user: Option<String>,
    /// Host and port of the request URI (text as on the wire).
    pub request_host: Option<String>,
    /// Parameters of the request URI (text as on the wire).
    pub request_params: Option<String>,
    /// URI of From (text as on the wire).
    pub from_uri: Option<String>,
    /// Display name of From (text as on the wire).
    pub from_display: Option<String>,
    /// URI of To (text as on the wire).
    pub to_uri: Option<String>,
    /// Branch of the topmost Via received (text as on the wire).
    pub branch: Option<String>,
    /// Max-Forwards as received (hops).
    pub max_forwards: Option<i32>,
    /// Dialog id of the edge (16 hex digits).
    pub dialog_id: Option<String>,
    /// Whether the request had a To tag.
    pub in_dialog: bool,
    /// What a re-INVITE is for: hold, resume, codec or session_refresh (name).
    pub reinvite_kind: Option<String>,
}

/// How a request arrived.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SipTransport {
    /// Source address of the packet (IP address).
    pub source_ip: Option<String>,
    /// Source port of the packet (port number).
    pub source_port: Option<u16>,
    /// Local address that received it (IP address).
    pub destination_ip: Option<String>,
    /// Local port that received it (port number).
    pub destination_port: Option<u16>,
    /// Listener that received it (id).
    pub listener_id: Option<String>,
    /// udp, tcp, tls, ws or wss (name).
    pub transport: Option<String>,
    /// TLS version (name).
    pub tls_version: Option<String>,
    /// TLS cipher suite (name).
    pub tls_cipher: Option<String>,
    /// Subject of the peer's certificate (distinguished name).
    pub tls_peer_subject: Option<String>,
    /// Value of the received parameter that was added (IP address).
    pub received: Option<String>,
    /// Value of the rport parameter that was filled in (port number).
    pub rport: Option<u16>,
    /// Real client behind a layer 4 proxy (IP address).
    pub client_ip: Option<String>,
    /// Port of the real client behind a layer 4 proxy (port number).
    pub client_port: Option<u16>,
    /// Size of the message (bytes).
    pub message_bytes: Option<i32>,
    /// Via header fields in the request (number).
    pub via_hops: Option<i32>,
}

/// Who calls whom, raw and normalised.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SipParties {
    /// Trunk of the call: the one it came from, else the one it goes to (id).
    pub trunk_id: Option<String>,
    /// Account that the trunk belongs to (id).
    pub account: Option<String>,
    /// Caller as on the wire (user part).
    pub caller_raw: Option<String>,
    /// Caller, normalised (E.164 with +).
    pub caller_e164: Option<String>,
    /// Country of the caller (ISO 3166 alpha-2).
    pub caller_country: Option<String>,
    /// Kind of the caller's number: fixed, mobile, toll_free, premium, shared_cost, short, emergency or unknown (name).
    pub caller_type: Option<String>,
    /// Callee as on the wire (user part).
    pub callee_raw: Option<String>,
    /// Callee, normalised (E.164 with +).
    pub callee_e164: Option<String>,
    /// Country of the callee (ISO 3166 alpha-2).
    pub callee_country: Option<String>,
    /// Kind of the callee's number (name).
    pub callee_type: Option<String>,
    /// First P-Asserted-Identity (text as on the wire).
    pub p_asserted_identity: Option<String>,
    /// Remote-Party-ID (text as on the wire).
    pub remote_party_id: Option<String>,
    /// Privacy (text as on the wire).
    pub privacy: Option<String>,
    /// Diversion header fields (number).
    pub diversion_count: Option<i32>,
    /// First Diversion (text as on the wire).
    pub diversion_first: Option<String>,
    /// History-Info entries (number).
    pub history_info_count: Option<i32>,
    /// First History-Info (text as on the wire).
    pub history_info_first: Option<String>,
    /// Attestation of the Identity header: A, B or C (letter).
    pub identity_attestation: Option<String>,
    /// Result of verifying the Identity header: valid, invalid, unchecked (name).
    pub identity_verified: Option<String>,
}

/// Header fields worth keeping.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SipHeaders {
    /// User-Agent (text as on the wire).
    pub user_agent: Option<String>,
    /// Server of the final response (text as on the wire).
    pub server: Option<String>,
    /// Host of Contact (host name or IP address).
    pub contact_host: Option<String>,
    /// Port of Contact (port number).
    pub contact_port: Option<u16>,
    /// Digest of the sorted Allow methods (8 hex digits of SHA-256).
    pub allow_digest: Option<String>,
    /// Digest of the sorted Supported option tags (8 hex digits of SHA-256).
    pub supported_digest: Option<String>,
    /// Digest of the sorted Require option tags (8 hex digits of SHA-256).
    pub require_digest: Option<String>,
    /// Expires (s).
    pub expires_s: Option<i32>,
    /// Session-Expires (s).
    pub session_expires_s: Option<i32>,
    /// Refer-To (text as on the wire).
    pub refer_to: Option<String>,
    /// Referred-By (text as on the wire).
    pub referred_by: Option<String>,
    /// Replaces (text as on the wire).
    pub replaces: Option<String>,
    /// Protocol of Reason: Q.850 or SIP (name).
    pub reason_protocol: Option<String>,
    /// Cause of Reason (code).
    pub reason_cause: Option<i32>,
    /// Text of Reason (text as on the wire).
    pub reason_text: Option<String>,
    /// Warning (text as on the wire).
    pub warning: Option<String>,
    /// Retry-After (s).
    pub retry_after_s: Option<i32>,
    /// Allow-listed X- header fields (name to text as on the wire).
    pub extra: BTreeMap<String, String>,
}

/// What a session description says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SdpSummary {
    /// Codecs in order of preference (names).
    pub codecs: Vec<String>,
    /// Packet time (ms).
    pub ptime_ms: Option<i32>,
    /// How DTMF travels: rfc2833, info or inband (name).
    pub dtmf_type: Option<String>,
    /// Media encryption: none, sdes or dtls (name).
    pub srtp: Option<String>,
    /// Whether ICE candidates are present.
    pub ice: Option<bool>,
    /// Address for media (IP address).
    pub media_ip: Option<String>,
    /// Port for media (port number).
    pub media_port: Option<u16>,
    /// sendrecv, sendonly, recvonly or inactive (name).
    pub direction: Option<String>,
    /// Digest of the body (16 hex digits of SHA-256).
    pub fingerprint: Option<String>,
    /// The body itself, only while capture is on (text as on the wire).
    pub body: Option<String>,
}

/// When the transaction did what; deltas count from the receipt of the request on the edge's monotonic clock.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SipTiming {
    /// Receipt of the request, for people (µs since 1970 UTC).
    pub received_us: Option<i64>,
    /// Receipt of the request, on the edge's boot-time clock (µs since boot).
    pub received_mono_us: Option<i64>,
    /// First 100 sent back (µs after receipt).
    pub t_100_sent_us: Option<i64>,
    /// First 180 received (µs after receipt).
    pub t_first_180_us: Option<i64>,
    /// First 18x received (µs after receipt).
    pub t_first_18x_us: Option<i64>,
    /// First 183 with a session description received (µs after receipt).
    pub t_first_183_sdp_us: Option<i64>,
    /// Final response sent back (µs after receipt).
    pub t_final_us: Option<i64>,
    /// ACK received (µs after receipt).
    pub t_ack_us: Option<i64>,
    /// CANCEL received (µs after receipt).
    pub t_cancel_us: Option<i64>,
    /// BYE received (µs after receipt).
    pub t_bye_us: Option<i64>,
}

/// How the server transaction ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SipOutcome {
    /// Final status sent back (SIP status code).
    pub status: Option<u16>,
    /// Class of the final status, 1 to 6 (number).
    pub status_class: Option<i32>,
    /// Reason phrase of the final response (text as on the wire).
    pub reason_phrase: Option<String>,
    /// Who produced the final response: edge, upstream or timeout (name).
    pub produced_by: Option<String>,
    /// Timer that ended it: B, C, F or no_ack (name).
    pub timer_fired: Option<String>,
    /// Repeated requests received (number).
    pub retransmits_in: i32,
    /// Requests repeated towards the next hop (number).
    pub retransmits_out: i32,
    /// Responses received, in order.
    pub responses: Vec<SipResponse>,
    /// Whether the caller cancelled.
    pub cancelled: bool,
    /// Whether the final response asks the caller to repeat the request with credentials or in another form (401, 407, 415, 420, 421, 422, 494, 3xx).
    pub challenge: bool,
    /// Authentication.
    pub auth: Option<SipAuth>,
    /// What was done about a 2xx that came after the first final response: forwarded or acked_and_released (name).
    pub late_action: Option<String>,
}

/// One response received.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SipResponse {
    /// Status (SIP status code).
    pub code: u16,
    /// When (µs after receipt of the request).
    pub t_us: i64,
}

/// Authentication as seen in the messages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SipAuth {
    /// Whether the transaction was challenged.
    pub challenged: bool,
    /// Whether the request carried credentials.
    pub credentials_present: bool,
    /// accepted, rejected or unknown (name).
    pub result: Option<String>,
    /// Realm (text as on the wire).
    pub realm: Option<String>,
    /// Digest of the user name (16 hex digits of SHA-256).
    pub username_hash: Option<String>,
}

/// What was decided, by which rule, from which inputs, against which alternatives.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SipDecision {
    /// Why, in one word for machines: routed, block, limit, no_route, no_node, loop, max_forwards, unsupported, media_policy, session_interval … (name).
    pub reason: Option<String>,
    /// Access rule that matched (id).
    pub acl_rule: Option<String>,
    /// allow or deny (name).
    pub acl_result: Option<String>,
    /// Limit that was asked (id).
    pub limit_rule: Option<String>,
    /// pass or limited (name).
    pub limit_result: Option<String>,
    /// Tokens left in that limit (number).
    pub limit_tokens_left: Option<f64>,
    /// Block rule that matched (author/block id).
    pub block_id: Option<String>,
    /// Mode of the block rule that matched: enforce or shadow (name).
    pub block_mode: Option<String>,
    /// Shadow block rules that would have refused the call (author/block id).
    pub shadow_blocks: Vec<String>,
    /// Flood score of the source (0 to 1).
    pub flood_score: Option<f64>,
    /// Route that matched (id).
    pub route_rule: Option<String>,
    /// Pool that was asked for a next hop (id).
    pub pool: Option<String>,
    /// How the next hop was chosen (name).
    pub algorithm: Option<String>,
    /// The three best candidates, best first.
    pub candidates: Vec<SipCandidate>,
    /// Side of the chosen next hop: trunk or node (name).
    pub chosen_side: Option<String>,
    /// Chosen next hop (node or trunk id).
    pub chosen_id: Option<String>,
    /// Why the attempt before this one was given up (name).
    pub failover_reason: Option<String>,
    /// Version of the weights in force (topic/partition@offset).
    pub weight_version: Option<String>,
    /// Version of the blocks in force (topic/partition@offset).
    pub block_version: Option<String>,
    /// Digest of the settings in force (8 hex digits of SHA-256).
    pub config_digest: Option<String>,
}

/// What was changed on the way through, by which policies, and how it left.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SipSent {
    /// How the last branch left, unless by udp: the transport and whose connection it was, as tcp/made (one that stood or was made for the address) or wss/bound (the client's own) (name).
    pub path: Option<String>,
    /// Caller as forwarded (user part).
    pub caller_sent: Option<String>,
    /// Callee as forwarded (user part).
    pub callee_sent: Option<String>,
    /// Session description as it was forwarded, when the offer was changed.
    pub offer_sent: Option<SdpSummary>,
    /// Session description as it was forwarded, when the answer was changed.
    pub answer_sent: Option<SdpSummary>,
    /// Policies that were applied up to now, in their order.
    pub policies: Vec<SipPolicy>,
}

/// A policy that changed a message or had a say in what became of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SipPolicy {
    /// Which one: numbers, headers, hiding, nat, session_timer, codecs, srtp, late_2xx … (name).
    pub policy: String,
    /// Setting that asked for it (id).
    pub rule: String,
    /// What it did (text).
    pub effect: String,
}

/// A next hop that was considered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SipCandidate {
    /// Node or trunk (id).
    pub id: String,
    /// Score; the highest wins (number).
    pub score: f64,
    /// Effective weight (number).
    pub weight: Option<f64>,
    /// State of the candidate (name).
    pub state: Option<String>,
    /// Calls open on it (number).
    pub calls: Option<i32>,
}

/// Links to the other witness and to other calls.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SipCorrelation {
    /// Value of X-Trunkline-Call that was sent to the node (text as on the wire).
    pub trunkline_header: Option<String>,
    /// Channel on the node, if known (UUID).
    pub node_channel_uuid: Option<String>,
    /// Call-ID of the dialog that Replaces or REFER names (text as on the wire).
    pub previous_call_id: Option<String>,
    /// CSeq number of the challenged transaction that this one continues (number).
    pub continues_cseq: Option<u32>,
    /// Status that ended the transaction which this one continues (SIP status code).
    pub continues_status: Option<u16>,
}

/// One client branch: a next hop that was tried.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SipBranch {
    /// Attempt that the branch belongs to, counted from 1 (number).
    pub attempt: i32,
    /// Leg of the attempt (16 hex digits).
    pub leg_id: String,
    /// Branch of our Via (text as on the wire).
    pub branch: String,
    /// Side of the next hop: trunk or node (name).
    pub target_side: String,
    /// Next hop (node or trunk id).
    pub target_id: String,
    /// Where it was sent (IP address:port).
    pub address: String,
    /// Forwarded (µs after receipt).
    pub t_fwd_us: i64,
    /// First response (µs after receipt).
    pub t_first_resp_us: Option<i64>,
    /// First 18x (µs after receipt).
    pub t_18x_us: Option<i64>,
    /// Final response or time-out (µs after receipt).
    pub t_final_us: Option<i64>,
    /// Final status of the branch (SIP status code).
    pub status: Option<u16>,
    /// To tag of the final response (text as on the wire).
    pub to_tag: Option<String>,
    /// Requests repeated on this branch (number).
    pub retransmits: i32,
    /// Why the branch was given up for another one: timeout, status, unreachable … (name).
    pub failover_reason: Option<String>,
}

/// How a dialog ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SipDialogEnd {
    /// Whether a late_answer made this dialog: a 2xx that went upstream after the transaction's first one.
    pub late: bool,
    /// Who released: caller, callee, edge, node or timeout (name).
    pub released_by: Option<String>,
    /// Final status of the BYE (SIP status code).
    pub bye_status: Option<u16>,
    /// CSeq number of the BYE (number).
    pub bye_cseq: Option<u32>,
    /// End, for people (µs since 1970 UTC).
    pub ended_us: Option<i64>,
    /// From the first 2xx to the end, on the edge's monotonic clock (µs).
    pub talk_us: Option<i64>,
    /// Time on hold in total, on the edge's monotonic clock (µs).
    pub hold_us: Option<i64>,
    /// re-INVITEs seen in the dialog (number).
    pub reinvites: i32,
    /// Protocol of the Reason header of the BYE (name).
    pub reason_protocol: Option<String>,
    /// Cause of the Reason header of the BYE (code).
    pub reason_cause: Option<i32>,
    /// Text of the Reason header of the BYE (text as on the wire).
    pub reason_text: Option<String>,
    /// Why the dialog was given up (event lost): node_lost, node_restarted, session_expired, max_call, replaced, table_full … (name).
    pub lost_reason: Option<String>,
    /// What a lost dialog's end rests on (text).
    pub lost_evidence: Option<String>,
    /// Whether the edge sent a BYE to the side that was left.
    pub bye_sent: bool,
    /// Session interval in force at the end (s).
    pub session_expires_s: Option<i32>,
}
