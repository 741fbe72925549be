//! The events of the platform: one folder per topic with its schema and examples, and here the Rust types.
//!
//! The types are written by hand and proven against the `.avsc` files by the tests. `README.md` says how to read an
//! event and how to add a field.

pub mod blob;
pub mod call_reconciled;
pub mod cdr_call;
pub mod cdr_leg;
pub mod channel_event;
pub mod check;
pub mod codec;
pub mod control_ack;
pub mod control_audit;
pub mod control_block;
pub mod control_node;
pub mod control_route;
pub mod control_weight;
mod datum;
pub mod dead_letter;
pub mod envelope;
pub mod event;
pub mod facts;
pub mod fraud_alert;
pub mod grammar;
mod identity;
pub mod ivr_decision;
mod json;
mod known;
mod learned;
mod logical;
mod mask;
pub mod node_health;
pub mod sip_rejections;
pub mod sip_transaction;
pub mod stream_manifest;
pub mod stream_schema;
pub mod topic;

pub use blob::Blob;
pub use call_reconciled::CallReconciled;
pub use cdr_call::{CallEdge, CdrCall, Charge};
pub use cdr_leg::{CdrDurations, CdrLeg, CdrMedia, CdrOutcome, CdrParties, CdrQuality, CdrSignalling, CdrTimes};
pub use channel_event::{
    CallerProfile, CampaignRef, ChannelApplication, ChannelDtmf, ChannelEvent, ChannelHangup, ChannelMedia, ChannelSip,
    ChannelState, ChannelTimes, RtcpReport, RtcpSource, RtpStats,
};
pub use check::Invalid;
pub use codec::{DecodeError, EncodeError, Encoder, decode, topic_of};
pub use control_ack::{AppliedOffset, ControlAck};
pub use control_audit::ControlAudit;
pub use control_block::{BlockScope, ControlBlock};
pub use control_node::ControlNode;
pub use control_route::ControlRoute;
pub use control_weight::{ControlWeight, WeightInputs};
pub use datum::Unfit;
pub use dead_letter::{DeadHeader, DeadLetter};
pub use envelope::Envelope;
pub use event::Event;
pub use facts::{Facts, facts};
pub use fraud_alert::FraudAlert;
pub use identity::{Identity, identity};
pub use ivr_decision::{IvrDecision, IvrInput, IvrKey, IvrLookup, IvrPrompt};
pub use json::to_json;
pub use learned::{LearnError, learn};
pub use mask::{mask, mask_text};
pub use node_health::{NodeEpoch, NodeHealth, NodeHeartbeat, NodeLink, NodePassive, NodeProbe, NodeResources};
pub use sip_rejections::{RejectionCount, RejectionSample, SipRejections};
pub use sip_transaction::{
    SdpSummary, SipAuth, SipBranch, SipCandidate, SipCorrelation, SipDecision, SipDialogEnd, SipHeaders, SipIdentity,
    SipOutcome, SipParties, SipPolicy, SipResponse, SipSent, SipTiming, SipTransaction, SipTransport,
};
pub use stream_manifest::{ManifestLine, ManifestLoss, StreamManifest};
pub use stream_schema::StreamSchema;
pub use topic::{Class, Retention, TopicSpec, all_topics, by_name};
