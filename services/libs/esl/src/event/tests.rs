use super::*;

fn plain<'a>(index: &'a mut Index, text: &'a str) -> Event<'a> {
    index.read(text.as_bytes(), Format::Plain).expect("an event")
}

#[test]
fn a_plain_event_gives_its_headers_decoded_and_its_inner_body() {
    let text = "Event-Name: BACKGROUND_JOB\nJob-Command-Arg: a%20%3Cb%3E\nContent-Length: 7\n\n+OK x\n\n";
    let mut index = Index::new();
    let event = plain(&mut index, text);
    assert_eq!(event.name(), "BACKGROUND_JOB");
    assert_eq!(event.get("job-command-ARG").as_deref(), Some("a <b>"));
    assert_eq!(event.raw("Job-Command-Arg"), Some(b"a%20%3Cb%3E".as_slice()));
    assert_eq!(event.inner_body(), "+OK x\n\n");
    assert_eq!(event.get("nowhere"), None);
}

#[test]
fn a_json_event_gives_the_same_headers() {
    let text = r#" {"Event-Name":"CHANNEL_PARK","variable_x":"a \"b\" \\ \u00e9 \ud83d\ude00\n","n":3,"list":["1,","}"],"_body":"b"} "#;
    let mut index = Index::new();
    let event = index.read(text.as_bytes(), Format::Json).expect("an event");
    assert_eq!(event.name(), "CHANNEL_PARK");
    assert_eq!(event.get("variable_x").as_deref(), Some("a \"b\" \\ é 😀\n"));
    assert_eq!(event.number::<i64>("n"), Some(3));
    assert_eq!(event.get("list").as_deref(), Some(r#"["1,","}"]"#));
    assert_eq!(event.inner_body(), "b");
}

#[test]
fn an_event_without_a_name_is_refused() {
    let mut index = Index::new();
    assert_eq!(index.read(b"A: b\n\n", Format::Plain).unwrap_err(), EventError::NoName);
    assert_eq!(index.read(b"{}", Format::Json).unwrap_err(), EventError::NoName);
    assert_eq!(index.read(b"[1]", Format::Json).unwrap_err(), EventError::NotAnObject(0));
    assert_eq!(index.read(b"", Format::Plain).unwrap_err(), EventError::NoName);
}

#[test]
fn names_of_equal_length_and_tail_are_told_apart() {
    let text = "Event-Name: X\nCaller-Channel-Answered-Time: 1\nCaller-Channel-Progress-Time: 2\nCaller-Channel-Transfer-Time: 3\n\n";
    let mut index = Index::new();
    let event = plain(&mut index, text);
    assert_eq!(event.number::<i64>("Caller-Channel-Progress-Time"), Some(2));
    assert_eq!(event.number::<i64>("Caller-Channel-Transfer-Time"), Some(3));
}

#[test]
fn odd_lines_are_counted_and_not_fatal() {
    let mut index = Index::new();
    let event = plain(&mut index, "Event-Name: X\nno colon here\n: no name\nB: %zz%4\n\n");
    assert_eq!(event.unread(), 2);
    assert_eq!(event.get("B").as_deref(), Some("%zz%4"));
}

#[test]
fn bytes_that_are_no_text_become_replacement_characters() {
    assert_eq!(percent_decoded(b"a%FFb"), "a\u{fffd}b");
    assert_eq!(percent_decoded(b"\xff"), "\u{fffd}");
}
