//! Frames of a real FreeSWITCH 1.11, one file each.

use std::path::PathBuf;

use esl::command::{Api, Command, Uuid};
use esl::{Event, Format, Frame, Framer, Index, Kind, Limits, fields};

pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

pub fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(format!("{name}.frame"))).expect("a committed fixture")
}

pub fn all() -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<(String, Vec<u8>)> = std::fs::read_dir(folder())
        .expect("the fixtures folder")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| {
            (path.file_stem().expect("a name").to_string_lossy().into_owned(), std::fs::read(&path).expect("a file"))
        })
        .collect();
    found.sort();
    assert!(found.len() >= 15, "the fixtures are missing");
    found
}

pub fn one(bytes: &[u8]) -> Frame {
    let mut framer = Framer::new(Limits::default());
    framer.push(bytes);
    let frame = framer.next().expect("well formed").expect("complete");
    assert_eq!(framer.next().expect("well formed").map(|f| f.len()), None);
    frame
}

pub fn with_event<R>(frame: &Frame, look: impl FnOnce(Event<'_>) -> R) -> R {
    let format = if frame.kind() == Kind::EventJson { Format::Json } else { Format::Plain };
    let mut index = Index::new();
    look(index.read(frame.body(), format).expect("an event"))
}

#[test]
fn every_fixture_is_exactly_one_frame_of_its_kind() {
    for (name, bytes) in all() {
        let kind = one(&bytes).kind();
        let expected = match name.as_str() {
            "auth_request" => Kind::AuthRequest,
            "auth_refused" | "channel_data" => Kind::CommandReply,
            "disconnect_notice" => Kind::DisconnectNotice,
            "show_channels" => Kind::ApiResponse,
            "channel_bridge_json" => Kind::EventJson,
            _ => Kind::EventPlain,
        };
        assert_eq!(kind, expected, "{name}");
    }
}

#[test]
fn a_digit_event_gives_key_length_and_source() {
    with_event(&one(&bytes("dtmf")), |event| {
        assert_eq!(event.name(), "DTMF");
        assert_eq!(event.get(fields::DTMF_DIGIT).as_deref(), Some("2"));
        assert_eq!(event.number::<i64>(fields::DTMF_DURATION), Some(2000));
        assert_eq!(event.get(fields::DTMF_SOURCE).as_deref(), Some("APP"));
    });
}

#[test]
fn an_answered_question_gives_variable_result_and_run_id() {
    with_event(&one(&bytes("execute_complete_digits")), |event| {
        assert_eq!(event.get("variable_choice").as_deref(), Some("2"));
        assert_eq!(event.get(fields::READ_RESULT).as_deref(), Some("success"));
        assert_eq!(event.get(fields::APPLICATION_UUID).as_deref(), Some("play_and_get_digits-0043554a"));
        assert_eq!(
            event.get(fields::APPLICATION_DATA).as_deref(),
            Some("1 1 2 3000 # tone_stream://%(300,50,600) tone_stream://%(300,50,300) choice [1-3] 2000")
        );
    });
    with_event(&one(&bytes("execute_complete_invalid")), |event| {
        assert_eq!(event.get("variable_choice"), None);
        assert_eq!(event.get("variable_choice_invalid").as_deref(), Some("9"));
    });
}

#[test]
fn hang_up_carries_the_media_statistics() {
    with_event(&one(&bytes("hangup_complete_media")), |event| {
        assert!(event.number::<i64>(fields::IN_PACKETS).is_some_and(|n| n > 0));
        assert!(event.number::<f64>(fields::IN_MOS).is_some_and(|mos| (1.0..=5.0).contains(&mos)));
        assert_eq!(event.get(fields::VAR_HANGUP_CAUSE).as_deref(), Some("NORMAL_CLEARING"));
    });
}

#[test]
fn plain_and_json_give_the_same_names() {
    let names = |fixture: &str| {
        with_event(&one(&bytes(fixture)), |event| {
            let mut names: Vec<String> = event.headers().map(|(name, _)| name.to_owned()).collect();
            names.sort();
            names
        })
    };
    let (plain, json) = (names("channel_bridge"), names("channel_bridge_json"));
    // SIP variables depend on the far end of the two calls; all else must be the same.
    let missing: Vec<&String> = [fields::EVENT, fields::CHANNEL, fields::CALLER, fields::MEDIA]
        .iter()
        .flat_map(|group| group.iter())
        .filter_map(|h| plain.iter().find(|p| p.as_str() == *h))
        .filter(|name| !json.contains(name))
        .collect();
    assert_eq!(missing, Vec::<&String>::new());
}

#[test]
fn the_result_of_a_background_job_is_the_inner_body() {
    with_event(&one(&bytes("background_job")), |event| {
        assert!(
            event.inner_body().starts_with("+OK") || event.inner_body().starts_with("-ERR"),
            "{}",
            event.inner_body()
        );
    });
}

#[test]
fn a_command_made_from_an_event_is_what_the_recording_sent() {
    with_event(&one(&bytes("channel_park")), |event| {
        let uuid = Uuid::new(&event.get(fields::UNIQUE_ID).expect("a channel")).expect("a uuid");
        assert_eq!(
            Command::api(&Api::Answer(uuid)).as_bytes(),
            b"api uuid_answer 0043554a-92bb-4593-abc0-d028bd916bd6\n\n"
        );
    });
}
