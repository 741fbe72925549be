//! What a recorded (or simulated) session comes down to for the comparison, and its compact form in `tests/recordings`.
//!
//! Of each event the headers' names are kept, and the values of those headers whose value is decided by the scenario alone; of all
//! other values only their shape (UUID, number, …). `reference_files_are_current` checks the files against the recordings where those
//! are at hand; `TRUNKLINE_SIM_EXTRACT=1` makes it write them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::client::{Event, Frame};

/// Headers whose value the scenario decides.
const EXACT: &[&str] = &[
    "Event-Name",
    "Call-Direction",
    "Presence-Call-Direction",
    "Channel-State",
    "Channel-State-Number",
    "Channel-Call-State",
    "Answer-State",
    "Channel-HIT-Dialplan",
    "Hangup-Cause",
    "Other-Type",
    "Caller-Direction",
    "Caller-Logical-Direction",
    "Caller-Dialplan",
    "Caller-Context",
    "Caller-Source",
    "Caller-Profile-Index",
    "Caller-Screen-Bit",
    "Caller-Privacy-Hide-Name",
    "Caller-Privacy-Hide-Number",
    "Caller-Callee-ID-Name",
    "Caller-Channel-Created-Time",
    "Caller-Channel-Progress-Time",
    "Caller-Channel-Progress-Media-Time",
    "Caller-Channel-Answered-Time",
    "Caller-Channel-Bridged-Time",
    "Caller-Channel-Hangup-Time",
    "Caller-Channel-Transfer-Time",
    "Caller-Channel-Resurrect-Time",
    "Caller-Channel-Last-Hold",
    "Caller-Channel-Hold-Accum",
    "Channel-Read-Codec-Name",
    "Channel-Read-Codec-Rate",
    "Channel-Read-Codec-Bit-Rate",
    "Channel-Write-Codec-Name",
    "Channel-Write-Codec-Rate",
    "Channel-Write-Codec-Bit-Rate",
    "Original-Channel-Call-State",
    "Channel-Call-State-Number",
    "Application",
    "Application-Response",
    "DTMF-Digit",
    "DTMF-Duration",
    "Playback-File-Type",
    "Playback-File-Path",
    "Playback-Status",
    "variable_hangup_cause",
    "variable_hangup_cause_q850",
    "variable_sip_term_status",
    "variable_sip_term_cause",
    "variable_sip_hangup_disposition",
    "variable_sip_hangup_phrase",
    "variable_sip_invite_failure_status",
    "variable_sip_invite_failure_phrase",
    "variable_proto_specific_hangup_cause",
    "variable_bridge_hangup_cause",
    "variable_endpoint_disposition",
    "variable_originate_disposition",
    "variable_originate_failed_cause",
    "variable_DIALSTATUS",
    "variable_last_bridge_role",
    "variable_sip_via_protocol",
    "variable_sofia_profile_name",
    "variable_sip_profile_name",
    "variable_dtmf_type",
    "variable_read_result",
    "variable_read_terminator_used",
    "API-Command",
    "Job-Command",
    "Command-Name",
];

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// What the controller sent, with the channel's UUID and its first block replaced.
    pub sends: Vec<String>,
    /// Frames that are not events, likewise.
    pub replies: Vec<String>,
    /// All header names of the session.
    pub names: Vec<String>,
    /// By name: what kind of value was seen, for headers that are compared by shape.
    pub shapes: BTreeMap<String, String>,
    /// Channels in the order in which they appeared.
    pub channels: Vec<Vec<Step>>,
    /// Events of no channel, one of each kind.
    pub node: BTreeMap<String, Step>,
    /// `api` commands in order.
    pub commands: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub event: String,
    /// Names of the event's headers, as ranges of indices into `names`.
    pub headers: String,
    /// Values that differ from the step before (`null`: the header is not there any more).
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub values: BTreeMap<String, Option<String>>,
}

impl Reference {
    pub fn build(sends: &[String], frames: &[Frame]) -> Self {
        let events: Vec<&Event> = frames.iter().filter_map(|frame| frame.event.as_ref()).collect();
        let mut names: Vec<String> = Vec::new();
        for name in events.iter().flat_map(|event| event.headers.iter().map(|(name, _)| name)) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names.sort_unstable();
        let uuids = channel_order(&events);
        let hide = |text: &str| {
            uuids.first().map_or_else(
                || text.to_owned(),
                |uuid| text.replace(uuid, "{uuid}").replace(uuid.split('-').next().unwrap_or(uuid), "{short}"),
            )
        };
        let mut reference = Self {
            sends: sends.iter().map(|text| hide(text)).collect(),
            replies: frames.iter().filter(|frame| frame.event.is_none()).map(|frame| hide(&frame.raw)).collect(),
            shapes: shapes(&events),
            channels: Vec::new(),
            node: BTreeMap::new(),
            commands: Vec::new(),
            names,
        };
        for uuid in &uuids {
            let own = events.iter().filter(|event| event.get("Unique-ID") == Some(uuid));
            let mut before = BTreeMap::new();
            let steps = own.map(|event| reference.step(event, &mut before)).collect();
            reference.channels.push(steps);
        }
        for event in events.iter().filter(|event| event.get("Unique-ID").is_none()) {
            let step = reference.step(event, &mut BTreeMap::new());
            reference.node.entry(step.event.clone()).or_insert(step);
            if let Some(command) = event.get("API-Command") {
                reference.commands.push(command.to_owned());
            }
        }
        reference
    }

    fn step(&self, event: &Event, before: &mut BTreeMap<String, String>) -> Step {
        let mut indices: Vec<usize> =
            event.headers.iter().filter_map(|(name, _)| self.names.binary_search(name).ok()).collect();
        indices.sort_unstable();
        indices.dedup();
        let now: BTreeMap<String, String> = EXACT
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), normal(name, event.get(name)?))))
            .filter(|(name, _)| name != "Event-Name")
            .collect();
        let mut values: BTreeMap<String, Option<String>> = now
            .iter()
            .filter(|(name, value)| before.get(*name) != Some(value))
            .map(|(name, value)| (name.clone(), Some(value.clone())))
            .collect();
        for name in before.keys().filter(|name| !now.contains_key(*name)) {
            values.insert(name.clone(), None);
        }
        *before = now;
        Step { event: event.name().to_owned(), headers: ranges(&indices), values }
    }

    /// The header names of a step.
    pub fn header_names(&self, step: &Step) -> Vec<&str> {
        let mut out = Vec::new();
        for part in step.headers.split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            out.extend((first.parse::<usize>().unwrap()..=last.parse().unwrap()).map(|i| self.names[i].as_str()));
        }
        out
    }
}

/// Channels in the order of their first event.
fn channel_order(events: &[&Event]) -> Vec<String> {
    let mut order: Vec<String> = Vec::new();
    for uuid in events.iter().filter_map(|event| event.get("Unique-ID")) {
        if !order.iter().any(|known| known == uuid) {
            order.push(uuid.to_owned());
        }
    }
    order
}

/// Stamps are `0` or `set`: when something happened differs, whether it happened does not. The far end's port is not part of a path.
fn normal(name: &str, value: &str) -> String {
    let is_time = name.ends_with("-Time") || name.ends_with("Last-Hold");
    if is_time && value != "0" { "set".to_owned() } else { value.to_owned() }
}

/// What a value looks like, for values that a run makes up.
pub fn shape(value: &str) -> &'static str {
    let uuid = value.len() == 36 && value.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    let number = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    let decimal = value.split_once('.').is_some_and(|(whole, part)| {
        !whole.is_empty() && !part.is_empty() && (whole.to_owned() + part).bytes().all(|b| b.is_ascii_digit())
    });
    let address = value.parse::<std::net::IpAddr>().is_ok();
    match (uuid, number, decimal, address) {
        (true, ..) => "uuid",
        (_, true, ..) => "number",
        (_, _, true, _) => "decimal",
        (_, _, _, true) => "address",
        _ => "text",
    }
}

fn shapes(events: &[&Event]) -> BTreeMap<String, String> {
    let mut out: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in events.iter().flat_map(|event| &event.headers) {
        let shape = shape(value);
        let seen = out.entry(name.clone()).or_insert_with(|| shape.to_owned());
        if seen != shape {
            *seen = "mixed".to_owned();
        }
    }
    out
}

fn ranges(indices: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for index in indices {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => parts.push((*index, *index)),
        }
    }
    let texts: Vec<String> = parts
        .iter()
        .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") })
        .collect();
    texts.join(",")
}
