//! `ivr.decisions`: where a caller went in a menu, and why.
//!
//! An input that the menu marks as sensitive never gets here: `digits` and `keys` stay empty, only their count is told.

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
    name: "ivr.decisions",
    partitions: 12,
    retention: Retention::Days(30),
    compacted: false,
    version: 1,
    schema_id: 0x5452_0004,
    schema: include_str!("../ivr.decisions/v1.avsc"),
    retired: &[],
    class: Class::Life,
};

/// Every value of `event_type`.
pub const EVENT_TYPES: &[&str] =
    &["menu_entered", "input", "no_input", "invalid", "hangup", "transferred", "completed"];

impl Event for IvrDecision {
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
        logical::of(&[self.channel_uuid.as_bytes(), &self.step.to_be_bytes()])
    }

    fn check(&self) -> Result<(), Invalid> {
        check::known("event_type", &self.event_type, EVENT_TYPES)?;
        check::uuid("call_root_id", &self.call_root_id)?;
        check::not_empty("channel_uuid", &self.channel_uuid)?;
        check::positive("step", i64::from(self.step))?;
        check::not_empty("menu_id", &self.menu_id)?;
        check::not_empty("menu_node", &self.menu_node)?;
        match &self.input {
            Some(input) => {
                check::that("input", !input.sensitive || (input.digits.is_none() && input.keys.is_empty()), || {
                    "a sensitive input carries no keys".to_owned()
                })
            }
            None => Ok(()),
        }
    }
}

/// One step of a caller through a menu, and why it went where it went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IvrDecision {
    /// What publishing added.
    pub envelope: Envelope,
    /// menu_entered, input, no_input, invalid, hangup, transferred or completed (name).
    pub event_type: String,
    /// Call id of the platform (UUIDv7, 36 characters).
    pub call_root_id: String,
    /// Leg at the engine: the channel UUID (UUID).
    pub leg_id: String,
    /// Channel (UUID).
    pub channel_uuid: String,
    /// Step of the channel through its menus, counted from 1 (number).
    pub step: i32,
    /// FreeSWITCH node (id).
    pub node_id: String,
    /// Engine that decided (id).
    pub engine_id: String,
    /// Epoch of the node (UUID).
    pub core_uuid: String,
    /// When it was decided, for people (µs since 1970 UTC).
    pub occurred_us: i64,
    /// When it was decided, on the engine's boot-time clock (µs since boot).
    pub occurred_mono_us: i64,
    /// Menu (id).
    pub menu_id: String,
    /// Version of the menu (number).
    pub menu_version: i32,
    /// Publication that brought this version (UUIDv7).
    pub publish_id: Option<String>,
    /// Node of the menu (id).
    pub menu_node: String,
    /// Kind of the menu's node: menu, playback, bridge, hangup … (name).
    pub menu_node_type: Option<String>,
    /// How the caller came here: start, choice, back, retry, error (name).
    pub entry_reason: Option<String>,
    /// Prompts that were played here.
    pub prompts: Vec<IvrPrompt>,
    /// What was expected and what came.
    pub input: Option<IvrInput>,
    /// match, no_input, invalid, timeout_inter_digit, hangup_in_prompt or barge_in (name).
    pub outcome: String,
    /// Attempt at this node, counted from 1 (number).
    pub attempt: i32,
    /// Attempts allowed at this node (number).
    pub max_attempts: i32,
    /// What was done: goto, playback, bridge, transfer, hangup, repeat (name).
    pub action: Option<String>,
    /// Where to: menu node, dialled number or file (text).
    pub action_target: Option<String>,
    /// Rule that chose the action (id).
    pub rule: Option<String>,
    /// What the rule looked at: caller, time, campaign or default (name).
    pub rule_kind: Option<String>,
    /// Choices that the node offered (key=target).
    pub alternatives: Vec<String>,
    /// Data that was looked up.
    pub lookups: Vec<IvrLookup>,
    /// Node of the menu that comes next (id).
    pub next_node: Option<String>,
    /// Whether the caller was handed to a person.
    pub escalated: bool,
    /// Time spent in the node, on the engine's monotonic clock (µs).
    pub elapsed_us: i64,
    /// Whether the caller went back.
    pub back: bool,
    /// Whether the caller asked for a person.
    pub zero_out: bool,
    /// Whether the caller opted out.
    pub opt_out: bool,
    /// State of a confirmation: asked, confirmed, declined (name).
    pub confirm_state: Option<String>,
    /// Policy that applied, such as opt-out confirmation of a jurisdiction (id).
    pub policy_id: Option<String>,
    /// Cause, when the step ended the channel (name).
    pub hangup_cause: Option<String>,
}

/// A prompt that was played.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IvrPrompt {
    /// Prompt (id).
    pub prompt_id: String,
    /// Language (BCP 47).
    pub language: Option<String>,
    /// Whether the node had it ready.
    pub cached: Option<bool>,
    /// How long it played (µs).
    pub duration_us: Option<i64>,
}

/// What was expected and what came.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IvrInput {
    /// Fewest digits expected (number).
    pub min_digits: i32,
    /// Most digits expected (number).
    pub max_digits: i32,
    /// Keys that end the input (keys).
    pub terminators: Option<String>,
    /// Keys received; absent for sensitive input (keys).
    pub digits: Option<String>,
    /// Whether the menu marks the input as sensitive.
    pub sensitive: bool,
    /// Keys received, also for sensitive input (number).
    pub digit_count: i32,
    /// Keys one by one; empty for sensitive input.
    pub keys: Vec<IvrKey>,
    /// Wait for the first key as configured (µs).
    pub no_input_timeout_us: Option<i64>,
    /// Wait between keys as configured (µs).
    pub inter_digit_timeout_us: Option<i64>,
    /// Whether a key interrupted the prompt.
    pub barge_in: bool,
}

/// One key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IvrKey {
    /// The key (0-9, *, #, A-D).
    pub digit: String,
    /// When (µs after entry into the node).
    pub t_us: i64,
    /// rfc2833, info or inband (name).
    pub source: Option<String>,
}

/// Data that was looked up for a decision.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IvrLookup {
    /// What was looked up (name).
    pub name: String,
    /// How long it took (µs).
    pub latency_us: Option<i64>,
    /// Whether it came from memory.
    pub cache_hit: Option<bool>,
    /// Result in one word (text).
    pub result: Option<String>,
}
