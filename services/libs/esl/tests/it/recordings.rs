//! The recorded sessions, where they are at hand (they are not part of the repository): every frame must come out as it went in.

use std::collections::BTreeSet;
use std::path::PathBuf;

use esl::{Format, Framer, Index, Kind, Limits};

fn sessions() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../../shared/esl-recordings");
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
        .collect();
    found.sort();
    if found.is_empty() {
        eprintln!("skipped: no recorded sessions beside the repository");
    }
    found
}

#[test]
fn every_recorded_frame_is_cut_and_read_as_it_was_recorded() {
    for session in sessions() {
        let text = std::fs::read_to_string(&session).expect("a recording");
        let frames: Vec<String> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a line of JSON"))
            .filter(|entry| entry["dir"] == "recv")
            .map(|entry| entry["frame"].as_str().expect("a frame").to_owned())
            .collect();
        let (mut framer, mut index) = (Framer::new(Limits::default()), Index::new());
        for frame in &frames {
            framer.push(frame.as_bytes());
        }
        for (n, recorded) in frames.iter().enumerate() {
            let frame = framer
                .next()
                .expect("well formed")
                .unwrap_or_else(|| panic!("{}: frame {n} missing", session.display()));
            assert_eq!(frame.len(), recorded.len(), "{}: frame {n}", session.display());
            match frame.kind() {
                Kind::EventPlain => check_plain(&mut index, &frame, recorded),
                Kind::EventJson => check_json(&mut index, &frame),
                _ => {}
            }
        }
        assert_eq!(framer.buffered(), 0, "{}", session.display());
    }
}

fn check_plain(index: &mut Index, frame: &esl::Frame, recorded: &str) {
    let event = index.read(frame.body(), Format::Plain).expect("an event");
    assert_eq!(event.unread(), 0, "{recorded}");
    let body = recorded.split_once("\n\n").expect("a body").1;
    // A forwarded command keeps its own Event-Name behind the first: a lookup gives the first, as in FreeSWITCH itself.
    let mut seen = BTreeSet::new();
    for line in body.split("\n\n").next().unwrap_or_default().lines() {
        let (name, value) = line.split_once(": ").expect("a header");
        if !seen.insert(name) {
            continue;
        }
        assert_eq!(event.raw(name).map(|raw| raw.to_vec()), Some(value.as_bytes().to_vec()), "{name}");
    }
}

fn check_json(index: &mut Index, frame: &esl::Frame) {
    let event = index.read(frame.body(), Format::Json).expect("an event");
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(frame.body()).expect("JSON");
    // FreeSWITCH repeats a member now and then; a map keeps the last, we the first.
    let mut names: Vec<&str> = event.headers().map(|(name, _)| name).collect();
    names.sort_unstable();
    let repeated: Vec<&str> = names.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    names.dedup();
    assert_eq!(names.len(), object.len());
    for (name, value) in object.iter().filter(|(name, _)| !repeated.contains(&name.as_str())) {
        if let serde_json::Value::String(text) = value {
            assert_eq!(event.get(name).as_deref(), Some(text.as_str()), "{name}");
        }
    }
}
