//! Nothing that a peer sends can make the reader panic, disagree with itself or hold more than it received.

use esl::{Format, Framer, Index, Limits};
use proptest::prelude::*;

use crate::fixtures;

const SMALL: Limits = Limits { header_bytes: 64 * 1024, body_bytes: 256 * 1024 };

/// What a run over the bytes gave: lengths of the frames, and whether the stream was lost.
fn run(chunks: impl Iterator<Item = Vec<u8>>) -> (Vec<usize>, bool) {
    let mut framer = Framer::new(SMALL);
    let mut index = Index::new();
    let mut frames = Vec::new();
    for chunk in chunks {
        framer.push(&chunk);
        loop {
            match framer.next() {
                Ok(Some(frame)) => {
                    frames.push(frame.len());
                    for format in [Format::Plain, Format::Json] {
                        if let Ok(event) = index.read(frame.body(), format) {
                            let total: usize = event.headers().map(|(name, value)| name.len() + value.len()).sum();
                            // Replacement characters are three bytes for one; nothing else grows.
                            assert!(total <= 3 * frame.body().len());
                            let _ = (event.inner_body(), event.number::<i64>("Event-Sequence"), event.name());
                        }
                    }
                    let _ = esl::Reply::read(&frame);
                }
                Ok(None) => break,
                Err(_) => return (frames, true),
            }
        }
    }
    (frames, false)
}

fn cut(bytes: &[u8], size: usize) -> impl Iterator<Item = Vec<u8>> + '_ {
    bytes.chunks(size.max(1)).map(<[u8]>::to_vec)
}

fn stream() -> Vec<u8> {
    fixtures::all().into_iter().flat_map(|(_, bytes)| bytes).collect()
}

#[test]
fn frames_do_not_depend_on_how_the_stream_is_cut() {
    let bytes = stream();
    let whole = run(cut(&bytes, bytes.len()));
    assert_eq!(whole.0.len(), fixtures::all().len());
    assert!(!whole.1);
    for size in [1, 2, 3, 7, 64, 1000, 1448] {
        assert_eq!(run(cut(&bytes, size)), whole, "cut into {size}");
    }
}

#[derive(Debug, Clone)]
enum Change {
    Set(usize, u8),
    Insert(usize, u8),
    Remove(usize, usize),
    Repeat(usize, usize),
    Put(usize, &'static str),
}

fn change() -> impl Strategy<Value = Change> {
    let interesting = prop::sample::select(vec![
        "\n\n",
        "\r\n",
        "Content-Length: 2147483647\n",
        "Content-Length: -1\n",
        "Content-Length: 99999999999999999999\n",
        "Content-Type: text/event-json\n",
        "Content-Type: text/event-plain\n",
        "{\"a\":[\"",
        "\\u12",
        "\\ud800",
        "%",
        "%f",
        ":",
        "\0",
    ]);
    prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, b)| Change::Set(at, b)),
        (any::<usize>(), any::<u8>()).prop_map(|(at, b)| Change::Insert(at, b)),
        (any::<usize>(), 0..400usize).prop_map(|(at, n)| Change::Remove(at, n)),
        (any::<usize>(), 0..400usize).prop_map(|(at, n)| Change::Repeat(at, n)),
        (any::<usize>(), interesting).prop_map(|(at, text)| Change::Put(at, text)),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    let place = |at: usize, len: usize| at % len.max(1);
    match change {
        Change::Set(at, b) => {
            let at = place(*at, bytes.len());
            bytes[at] = *b;
        }
        Change::Insert(at, b) => bytes.insert(place(*at, bytes.len()), *b),
        Change::Remove(at, n) => {
            let at = place(*at, bytes.len());
            let end = (at + n).min(bytes.len() - 1);
            bytes.drain(at..end.max(at));
        }
        Change::Repeat(at, n) => {
            let at = place(*at, bytes.len());
            let piece = bytes[at..(at + n).min(bytes.len())].to_vec();
            bytes.splice(at..at, piece);
        }
        Change::Put(at, text) => {
            let at = place(*at, bytes.len());
            bytes.splice(at..at, text.bytes());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn changed_frames_never_break_the_reader(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec(change(), 1..12),
        size in 1..3000usize,
    ) {
        let all = fixtures::all();
        let mut bytes = which.get(&all).1.clone();
        bytes.extend_from_slice(&fixtures::bytes("heartbeat"));
        for change in &changes {
            apply(&mut bytes, change);
        }
        let whole = run(cut(&bytes, bytes.len()));
        prop_assert_eq!(run(cut(&bytes, size)), whole);
    }

    #[test]
    fn noise_never_breaks_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..2000), size in 1..64usize) {
        let whole = run(cut(&bytes, bytes.len()));
        prop_assert_eq!(run(cut(&bytes, size)), whole);
    }

    #[test]
    fn any_header_comes_back_as_it_was_written(
        name in "[A-Za-z][A-Za-z0-9_-]{0,40}",
        value in "[ -~äöü€\\n]{0,80}",
    ) {
        prop_assume!(!name.eq_ignore_ascii_case("Event-Name"));
        let encoded: String = value.bytes().map(|b| format!("%{b:02X}")).collect();
        let plain = format!("Event-Name: X\n{name}: {encoded}\n\n");
        let json = serde_json::json!({ "Event-Name": "X", name.clone(): value.clone() }).to_string();
        let mut index = Index::new();
        let event = index.read(plain.as_bytes(), Format::Plain).expect("an event");
        let read = event.get(&name);
        prop_assert_eq!(read.as_deref(), Some(value.as_str()));
        let event = index.read(json.as_bytes(), Format::Json).expect("an event");
        let read = event.get(&name);
        prop_assert_eq!(read.as_deref(), Some(value.as_str()));
    }
}
