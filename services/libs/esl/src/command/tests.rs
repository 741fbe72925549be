use super::*;

const UUID: &str = "0043554a-92bb-4593-abc0-d028bd916bd6";

fn uuid() -> Uuid {
    Uuid::new(UUID).expect("a uuid")
}

fn digits() -> GetDigits {
    GetDigits {
        min: 1,
        max: 1,
        tries: 2,
        timeout_ms: 3000,
        digit_timeout_ms: 2000,
        terminators: Some(Digits::new("#").expect("a key")),
        prompt: Prompt::new("tone_stream://%(300,50,600)").expect("a prompt"),
        invalid: Prompt::new("tone_stream://%(300,50,300)").expect("a prompt"),
        variable: Name::new("choice").expect("a name"),
        accept: Some(Digits::new("123").expect("keys")),
    }
}

#[test]
fn commands_look_on_the_wire_as_the_recordings_show_them() {
    let execute = Execute::get_digits(uuid(), &digits()).expect("valid").event_uuid(Name::new("s-1").expect("a name"));
    assert_eq!(
        Command::execute(&execute).as_bytes(),
        format!(
            "sendmsg {UUID}\ncall-command: execute\nexecute-app-name: play_and_get_digits\nexecute-app-arg: 1 1 2 3000 # \
             tone_stream://%(300,50,600) tone_stream://%(300,50,300) choice [123] 2000\nevent-lock: true\nEvent-UUID: s-1\n\n"
        )
        .as_bytes()
    );
    assert_eq!(Command::api(&Api::Answer(uuid())).as_bytes(), format!("api uuid_answer {UUID}\n\n").as_bytes());
    let target = BridgeTarget {
        gateway: Name::new("edge").expect("a name"),
        number: Number::new("+251911128001").expect("a number"),
    };
    let bridge = Execute::bridge(uuid(), &target);
    assert_eq!(bridge.argument(), "sofia/gateway/edge/+251911128001");
}

#[test]
fn custom_events_stand_last_behind_one_word() {
    let events: Vec<Event> =
        ["sofia::register", "HEARTBEAT", "sofia::expire"].iter().map(|e| Event::new(e).expect("a name")).collect();
    let command = Command::events(EventFormat::Plain, &events).expect("not empty");
    assert_eq!(command.as_bytes(), b"event plain HEARTBEAT CUSTOM sofia::register sofia::expire\n\n");
}

#[test]
fn a_password_never_shows() {
    let command = Command::auth("Example-esl-1").expect("valid");
    assert_eq!(command.as_bytes(), b"auth Example-esl-1\n\n");
    assert!(!format!("{command:?}").contains("Example"));
}

/// Every attempt to end the line, split an argument or reach the dial-string grammar, in every argument there is.
#[test]
fn no_argument_can_carry_an_injection() {
    let attacks = [
        "1000\n\napi system echo CANARY\n\n",
        "1000\r\napi status",
        "1000\u{2028}x",
        "1000\0",
        "1000 &system(x)",
        "1000,2000",
        "1000|2000",
        "1000:_:2000",
        "{a=b}1000",
        "[a=b]1000",
        "<a=b>1000",
        "^^:a",
        "${system(x)}",
        "$1",
        "'1000'",
        "\"1000\"",
        "1000\\n",
        "",
        "\t",
        "१०००",
    ];
    for attack in attacks {
        assert!(Uuid::new(attack).is_err(), "uuid {attack:?}");
        assert!(Number::new(attack).is_err(), "number {attack:?}");
        assert!(Cause::new(attack).is_err(), "cause {attack:?}");
        assert!(Digits::new(attack).is_err(), "digits {attack:?}");
        assert!(Name::new(attack).is_err(), "name {attack:?}");
        assert!(Event::new(attack).is_err(), "event {attack:?}");
        assert!(HeaderName::new(attack).is_err(), "header {attack:?}");
    }
    for attack in attacks.iter().filter(|a| a.contains(|c: char| !c.is_ascii_graphic()) || a.is_empty()) {
        assert!(HeaderValue::new(attack).is_err(), "value {attack:?}");
        assert!(Command::auth(attack).is_err(), "password {attack:?}");
    }
    for attack in [
        "http_cache://169.254.169.254/x",
        "http://x/y.wav",
        "file_string://a!b",
        "say:hello",
        "../../etc/passwd",
        "a b.wav",
        "a|b",
        "${x}",
        "x\ny",
    ] {
        assert!(Prompt::new(attack).is_err(), "prompt {attack:?}");
    }
    assert!(Uuid::new("all").is_err() && Uuid::new(&"a".repeat(36)).is_err());
    assert!(Number::new("12+3").is_err() && Number::new("+").is_err());
}

#[test]
fn a_question_out_of_range_is_refused() {
    for broken in [
        GetDigits { min: 0, ..digits() },
        GetDigits { min: 2, max: 1, ..digits() },
        GetDigits { max: 33, accept: None, ..digits() },
        GetDigits { tries: 0, ..digits() },
        GetDigits { timeout_ms: 0, ..digits() },
        GetDigits { max: 2, ..digits() },
    ] {
        assert!(Execute::get_digits(uuid(), &broken).is_err(), "{broken:?}");
    }
}
