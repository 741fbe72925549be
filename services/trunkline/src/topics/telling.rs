//! An event as one line for people: when, what, whose, and the few fields that tell most.

use domain::Utc;
use serde_json::Value;
use stream::Record;

/// Per topic the fields that are shown, in this order, where the event has them.
const TELLING: &[(&str, &[&str])] = &[
    (
        "sip.transactions",
        &[
            "source_id",
            "identity.method",
            "identity.request_user",
            "attempt",
            "outcome.status",
            "decision.chosen_id",
            "decision.reason",
            "decision.failover_reason",
            "dialog.released_by",
            "dialog.talk_us",
            "outcome.late_action",
        ],
    ),
    ("sip.rejections", &["trunk_id", "messages", "answered", "reasons"]),
    (
        "channel.events",
        &["node_id", "channel.direction", "channel.name", "application.name", "dtmf.digit", "hangup.cause"],
    ),
    (
        "ivr.decisions",
        &["menu_id", "menu_node", "input.digits", "outcome", "action", "action_target", "next_node", "hangup_cause"],
    ),
    (
        "node.health",
        &["observer_kind", "observer_id", "state_before", "state", "reason", "heartbeat.sessions", "link.error"],
    ),
    ("call.reconciled", &["rule", "node_id", "leg_id", "reason", "disposition"]),
    (
        "cdr.legs",
        &["revision", "role", "direction", "trunk_in", "trunk_out", "outcome.disposition", "durations.talk_ms"],
    ),
    (
        "cdr.calls",
        &[
            "revision",
            "trunk_in",
            "parties.caller_raw",
            "parties.callee_raw",
            "outcome.disposition",
            "outcome.final_code",
            "durations.talk_ms",
            "quality.code",
        ],
    ),
    ("fraud.alerts", &["rule", "mode", "severity", "observed", "threshold", "block_id", "suppressed"]),
    ("control.blocks", &["mode", "scope", "reason", "rule", "actor"]),
    ("control.weights", &["weight", "state", "rule", "reason", "actor"]),
    ("control.routes", &["settings", "reason", "actor"]),
    ("control.nodes", &["settings", "reason", "actor"]),
    ("control.acks", &["applier_kind", "source", "blocks_enforced", "weights_active", "changed"]),
    ("control.audit", &["action", "target_kind", "target_id", "result", "reason", "error"]),
    ("stream.manifests", &["epoch", "closed_by"]),
    ("stream.schemas", &["topic", "version"]),
    ("dead.letters", &["source_partition", "source_offset", "consumer", "error_class", "error", "attempts"]),
];

/// One line, without its end.
pub fn line(record: &Record, numbers: bool) -> String {
    let object = record.to_json(numbers);
    let (what, fields) = match (&object["event"], &object["error"]) {
        (_, Value::String(error)) => ("(unreadable)".to_owned(), error.clone()),
        (Value::Null, _) => ("(tombstone)".to_owned(), String::new()),
        (event, _) => (text(&event["event_type"]), told(record.topic.name, event)),
    };
    let key = text(&object["key"]);
    let line = format!("{}  {:<12} {key}  {fields}", clock(record.timestamp_us), what);
    // A carrier's header must not be able to move the cursor of the terminal that shows it.
    line.trim_end().chars().map(|c| if c.is_control() { '�' } else { c }).collect()
}

fn told(topic: &str, event: &Value) -> String {
    let paths = TELLING.iter().find(|(name, _)| *name == topic).map_or(&[][..], |(_, paths)| paths);
    let parts = paths.iter().filter_map(|path| {
        let value = path.split('.').try_fold(event, |value, name| value.get(name))?;
        let value = text(value);
        (!value.is_empty()).then(|| format!("{}={value}", path.rsplit('.').next().unwrap_or(path)))
    });
    parts.collect::<Vec<_>>().join(" ")
}

/// A value in few characters: what is absent says nothing.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).filter(|text| !text.is_empty()).collect::<Vec<_>>().join(","),
        Value::Object(fields) => {
            let shown = fields.iter().map(|(name, value)| (name, text(value))).filter(|(_, text)| !text.is_empty());
            shown.map(|(name, text)| format!("{name}:{text}")).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

/// Day and time, UTC.
fn clock(us: i64) -> String {
    let Utc { year, month, day, hour, minute, second, micros } = Utc::of(us);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{:03}", micros / 1_000)
}

#[cfg(test)]
mod tests {
    use schemas::Event as _;

    use super::*;

    #[test]
    fn every_telling_field_stands_in_the_schema_of_its_topic() {
        for topic in schemas::all_topics() {
            let (_, paths) = TELLING.iter().find(|(name, _)| *name == topic.name).expect("every topic tells something");
            let described = crate::topics::describe::text(topic).expect("a description");
            for path in *paths {
                let found = described
                    .lines()
                    .any(|line| line.split(' ').next().is_some_and(|name| name.trim_end_matches("[]") == *path));
                assert!(found, "{}: {path}", topic.name);
            }
        }
    }

    #[test]
    fn a_line_says_when_what_whose_and_shows_no_number_and_no_control_character() {
        let mut event = schemas::SipTransaction { event_type: "refused".into(), ..Default::default() };
        event.source_id = "a\u{1b}[2Jb".into();
        event.identity.method = "INVITE".into();
        event.identity.request_user = Some("+442079460018".into());
        let mut encoder = schemas::Encoder::new();
        let record = Record {
            topic: schemas::SipTransaction::TOPIC,
            partition: 0,
            offset: 7,
            timestamp_us: 1_795_226_675_466_578,
            key: "call-1".into(),
            value: Some(encoder.encode(&event).expect("a frame").to_vec().into()),
            headers: Vec::new(),
        };
        let shown = line(&record, false);
        assert!(
            shown.starts_with("2026-11-21 02:04:35.466  refused      call-1  source_id=a�[2Jb method=INVITE"),
            "{shown}"
        );
        assert!(!shown.contains("2079460018"), "{shown}");
        assert!(line(&record, true).contains("+442079460018"));
        assert!(line(&Record { value: None, ..record.clone() }, false).contains("(tombstone)"));
        let damaged = line(&Record { value: Some("x".into()), ..record }, false);
        assert!(damaged.contains("(unreadable)") && damaged.contains("frame"), "{damaged}");
    }
}
