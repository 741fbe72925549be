//! The simulated switch behaves like the recorded FreeSWITCH: same events in the same order on each channel, the same headers on each
//! event, the same replies.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use esl::fields::{CHANNEL_HEADERS, HEARTBEAT_HEADERS};

use crate::client::Frame;
use crate::reference::{Reference, shape};
use crate::scenario::{self, Session};

const NAMES: &[&str] = &[
    "auth-refused",
    "inbound-ivr-keys",
    "inbound-ivr-no-input",
    "inbound-ivr-invalid-then-timeout",
    "inbound-caller-abandons",
    "echo-with-media",
    "rejected-busy",
    "caller-cancels-while-ringing",
    "bridge-answered",
    "bridge-answered-json",
    "node-killed-mid-call",
];

/// What a real FreeSWITCH shows or not by chance, because another of its threads sets it at that moment: event, direction, header.
/// `what_is_tolerated_is_where_two_recordings_of_one_call_differ` keeps this list honest.
const RACES: &[(&str, &str, &str)] = &[
    ("CHANNEL_BRIDGE", "inbound", "variable_sip_cseq"),
    ("CHANNEL_HANGUP_COMPLETE", "outbound", "variable_bridge_hangup_cause"),
];

fn committed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings").join(format!("{name}.json"))
}

fn reference(name: &str) -> Reference {
    let text = std::fs::read_to_string(committed(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    serde_json::from_str(&text).unwrap()
}

/// The recordings themselves lie beside the repository, where there are any.
fn recordings() -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().map(|up| up.join("../shared/esl-recordings")).find(|path| path.is_dir())
}

fn recorded(folder: &Path, name: &str) -> Reference {
    let text = std::fs::read_to_string(folder.join(format!("{name}.jsonl"))).unwrap();
    let (mut sends, mut frames) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let frame = value["frame"].as_str().unwrap_or_default();
        match value["dir"].as_str() {
            Some("send") => sends.push(frame.to_owned()),
            Some("recv") => frames.push(Frame::parse(frame)),
            _ => {}
        }
    }
    Reference::build(&sends, &frames)
}

#[test]
fn reference_files_are_current() {
    let Some(folder) = recordings() else {
        eprintln!("skipped: no recordings beside the repository; the committed extraction is used as it is");
        return;
    };
    for name in NAMES {
        let fresh = recorded(&folder, name);
        if std::env::var_os("TRUNKLINE_SIM_EXTRACT").is_some() {
            let mut text = serde_json::to_string(&fresh).unwrap().replace("{\"event\"", "\n{\"event\"");
            text.push('\n');
            std::fs::write(committed(name), text).unwrap();
        }
        assert!(
            reference(name) == fresh,
            "{name}: tests/recordings is not what the recording says: run with TRUNKLINE_SIM_EXTRACT=1"
        );
    }
}

/// Everything that differs, so that one run shows all of it.
fn differences(want: &Reference, got: &Reference) -> Vec<String> {
    let mut out = Vec::new();
    if want.channels.len() != got.channels.len() {
        out.push(format!("{} channels instead of {}", got.channels.len(), want.channels.len()));
    }
    for (at, (want_steps, got_steps)) in want.channels.iter().zip(&got.channels).enumerate() {
        let label = |steps: &[crate::reference::Step]| {
            let mut app = String::new();
            let mut labels = Vec::new();
            for step in steps {
                match step.values.get("Application") {
                    Some(Some(name)) => app.clone_from(name),
                    Some(None) => app.clear(),
                    None => {}
                }
                labels.push(format!("{} {app}", step.event));
            }
            labels
        };
        let (want_labels, got_labels) = (label(want_steps), label(got_steps));
        if want_labels != got_labels {
            out.push(format!("channel {at}: order\n  want {want_labels:?}\n  got  {got_labels:?}"));
            continue;
        }
        let (mut want_values, mut got_values) = (BTreeMap::new(), BTreeMap::new());
        for (number, (want_step, got_step)) in want_steps.iter().zip(got_steps).enumerate() {
            let place = format!("channel {at} #{number} {}", want_labels[number]);
            let (want_names, got_names) = (want.header_names(want_step), got.header_names(got_step));
            apply(&mut want_values, &want_step.values);
            apply(&mut got_values, &got_step.values);
            let direction = want_values.get("Call-Direction").map_or("", String::as_str);
            for name in CHANNEL_HEADERS {
                if RACES.contains(&(want_step.event.as_str(), direction, name)) {
                    continue;
                }
                match (want_names.contains(name), got_names.contains(name)) {
                    (true, false) => out.push(format!("{place}: {name} is missing")),
                    (false, true) => out.push(format!("{place}: {name} is too many")),
                    _ => {}
                }
            }
            for (name, value) in &want_values {
                // What is not read by anybody may differ; the addresses of prompts' far ends do by nature.
                if CHANNEL_HEADERS.contains(&name.as_str()) && got_values.get(name).is_some_and(|other| other != value)
                {
                    out.push(format!("{place}: {name} is {:?}, recorded {value:?}", got_values[name]));
                }
            }
        }
    }
    for (name, want_shape) in want.shapes.iter().filter(|(name, _)| CHANNEL_HEADERS.contains(&name.as_str())) {
        if let Some(other) = got.shapes.get(name)
            && other != want_shape
            && want_shape != "mixed"
        {
            out.push(format!("{name}: values look like {other}, recorded {want_shape}"));
        }
    }
    out
}

fn apply(values: &mut BTreeMap<String, String>, changes: &BTreeMap<String, Option<String>>) {
    for (name, change) in changes {
        match change {
            Some(value) => {
                values.insert(name.clone(), value.clone());
            }
            None => {
                values.remove(name);
            }
        }
    }
}

fn compare(name: &str, session: &Session) {
    let want = reference(name);
    let got = Reference::build(&session.sends, &session.frames);
    let mut found = differences(&want, &got);
    if want.replies != got.replies {
        found.push(format!("replies\n  want {:?}\n  got  {:?}", want.replies, got.replies));
    }
    // Commands of other connections (the recorder polled for the channel) are not part of the scenario.
    let own = |commands: &[String]| {
        commands.iter().filter(|c| !matches!(c.as_str(), "show" | "uuid_recv_dtmf")).cloned().collect::<Vec<_>>()
    };
    if own(&want.commands) != own(&got.commands) {
        found.push(format!("commands {:?}, recorded {:?}", got.commands, want.commands));
    }
    for (kind, want_step) in &want.node {
        if let Some(got_step) = got.node.get(kind) {
            let (a, b) = (want.header_names(want_step), got.header_names(got_step));
            if a != b {
                found.push(format!("{kind}: headers {b:?}, recorded {a:?}"));
            }
        }
    }
    assert!(found.is_empty(), "{name}: {} differences\n{}", found.len(), found.join("\n"));
}

macro_rules! recording {
    ($test:ident, $name:literal, $run:expr) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            let session = $run.await;
            compare($name, &session);
        }
    };
}

recording!(a_wrong_password_is_refused_as_recorded, "auth-refused", scenario::auth_refused());
recording!(keys_drive_the_menu_as_recorded, "inbound-ivr-keys", scenario::ivr_keys());
recording!(no_input_and_a_hangup_are_as_recorded, "inbound-ivr-no-input", scenario::ivr_no_input());
recording!(invalid_input_then_silence_is_as_recorded, "inbound-ivr-invalid-then-timeout", scenario::ivr_invalid());
recording!(a_killed_call_in_a_menu_is_as_recorded, "inbound-caller-abandons", scenario::abandons());
recording!(echo_with_media_is_as_recorded, "echo-with-media", scenario::echo());
recording!(a_busy_destination_is_as_recorded, "rejected-busy", scenario::busy());
recording!(a_caller_who_gives_up_is_as_recorded, "caller-cancels-while-ringing", scenario::cancels());
recording!(an_answered_bridge_is_as_recorded, "bridge-answered", scenario::bridged("plain"));
recording!(an_answered_bridge_in_json_is_as_recorded, "bridge-answered-json", scenario::bridged("json"));
recording!(a_killed_node_falls_silent_as_recorded, "node-killed-mid-call", scenario::killed());

#[test]
fn what_is_tolerated_is_where_two_recordings_of_one_call_differ() {
    let same: Vec<Reference> =
        ["bridge-answered", "bridge-answered-json", "node-killed-mid-call"].into_iter().map(reference).collect();
    for (event, direction, header) in RACES {
        let channel = usize::from(*direction == "outbound");
        let shown = same.iter().filter_map(|one| {
            let step = one.channels[channel].iter().find(|step| step.event == *event)?;
            Some(one.header_names(step).contains(header))
        });
        let shown: Vec<bool> = shown.collect();
        assert!(shown.contains(&true) && shown.contains(&false), "{header} on {event}: {shown:?} is no race");
    }
}

#[tokio::test]
async fn a_heartbeat_has_the_recorded_headers_and_shapes() {
    let event = scenario::heartbeat().await;
    for name in HEARTBEAT_HEADERS {
        assert!(event.get(name).is_some(), "{name} is missing");
    }
    let want = reference("inbound-ivr-keys");
    for (name, value) in &event.headers {
        let recorded = want.shapes.get(name).map(String::as_str);
        assert!(
            recorded.is_some_and(|s| s == "mixed" || s == shape(value)),
            "{name}: {value} does not look like {recorded:?}"
        );
    }
}
