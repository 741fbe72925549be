//! Streams: where messages end, what ends the stream, and that nothing is kept that nobody needs.

use bytes::Bytes;
use sip::Reject;
use sip::framing::{Frame, Framer, FramerConfig, Input, Why, whole};

const MESSAGE: &str = "OPTIONS sip:a@example.com SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:b@example.com>;tag=1\r\nTo: <sip:a@example.com>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\nContent-Length: 5\r\n\r\nhello";

fn frames(framer: &mut Framer) -> Vec<Frame> {
    std::iter::from_fn(|| framer.poll()).collect()
}

fn broken_by(text: &str) -> Option<Reject> {
    let mut framer = Framer::new(0, FramerConfig::default());
    framer.handle(0, Input::Bytes(text.as_bytes()));
    let found = frames(&mut framer).into_iter().find_map(|f| match f {
        Frame::Broken { reject, .. } => Some(reject),
        _ => None,
    });
    assert_eq!(found.is_none(), framer.deadline().is_some(), "a broken stream is over");
    found
}

#[test]
fn messages_come_out_whole_however_they_are_cut() {
    let stream = format!("{MESSAGE}\r\n\r\n{MESSAGE}\r\n{MESSAGE}");
    let message = || Frame::Message(Bytes::from_static(MESSAGE.as_bytes()));
    for piece in 1..=stream.len() {
        let mut framer = Framer::new(0, FramerConfig::default());
        let mut seen = Vec::new();
        for part in stream.as_bytes().chunks(piece) {
            framer.handle(1, Input::Bytes(part));
            seen.extend(frames(&mut framer));
        }
        seen.retain(|f| *f != Frame::Ping);
        assert_eq!(seen, [message(), message(), message()], "pieces of {piece}");
        assert_eq!(framer.buffered(), 0);
    }
}

#[test]
fn a_double_line_end_is_a_ping_and_a_single_one_nothing() {
    let mut framer = Framer::new(0, FramerConfig::default());
    framer.handle(0, Input::Bytes(b"\r\n\r\n"));
    assert_eq!(frames(&mut framer), [Frame::Ping]);
    framer.handle(0, Input::Bytes(b"\r\n"));
    assert_eq!(frames(&mut framer), []);
    framer.handle(2_000_000, Input::Bytes(b"\r\n"));
    assert_eq!(frames(&mut framer), [], "two answers to pings of ours");
    framer.handle(2_000_001, Input::Bytes(b"\r"));
    assert_eq!(frames(&mut framer), []);
    framer.handle(2_000_002, Input::Bytes(b"\n"));
    assert_eq!(frames(&mut framer), [Frame::Ping], "a ping in three pieces");
    assert_eq!(whole(Bytes::from_static(b"\r\n\r\n")), Some(Frame::Ping));
    assert_eq!(whole(Bytes::from_static(b"\r\n")), None);
}

#[test]
fn a_flood_of_line_ends_is_one_ping_and_costs_nothing_in_proportion_to_its_square() {
    let flood = b"\r\n".repeat(512 * 1024);
    let mut framer = Framer::new(0, FramerConfig::default());
    let begun = std::time::Instant::now();
    framer.handle(0, Input::Bytes(&flood));
    framer.handle(0, Input::Bytes(MESSAGE.as_bytes()));
    assert!(matches!(frames(&mut framer)[..], [Frame::Ping, Frame::Message(_)]));
    assert!(begun.elapsed() < std::time::Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn lengths_that_two_parsers_could_read_differently_end_the_stream() {
    let with = |line: &str| MESSAGE.replace("Content-Length: 5\r\n", line);
    for bad in ["-999", "five", "+5", "5 5", "0x5", "", "1e1", "5,5", &"9".repeat(40)] {
        let reject = broken_by(&with(&format!("Content-Length: {bad}\r\n")));
        assert_eq!(reject, Some(Reject::Malformed(sip::Name::ContentLength)), "{bad}");
    }
    for large in ["2147483648", "4294967301", "18446744073709551615", "32768"] {
        assert_eq!(broken_by(&with(&format!("Content-Length: {large}\r\n"))), Some(Reject::TooLarge), "{large}");
    }
    let twice = Some(Reject::Duplicate(sip::Name::ContentLength));
    assert_eq!(broken_by(&with("Content-Length: 5\r\nl: 5\r\n")), twice);
    assert_eq!(
        broken_by(&with("To: <sip:x@y>\r\nContent-Length: 5\r\nl: 0\r\n")),
        twice,
        "not hidden by another fault"
    );
    assert_eq!(broken_by(&with("")), Some(Reject::NoContentLength));
    assert_eq!(broken_by(&with("Content-Length: 5\n")), Some(Reject::BareLineEnd));
    assert_eq!(broken_by(&with("Content-Length: 5\r\nX\u{1}: 1\r\n")), Some(Reject::ControlByte));
    assert_eq!(broken_by("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), Some(Reject::StartLine));
    assert_eq!(
        broken_by("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}"),
        Some(Reject::StartLine),
        "TLS on a plain port"
    );
    assert_eq!(broken_by(MESSAGE), None);
}

#[test]
fn no_head_grows_without_end_and_no_length_is_believed_before_its_bytes_are_there() {
    let mut framer = Framer::new(0, FramerConfig::default());
    framer.handle(0, Input::Bytes(b"OPTIONS sip:a@example.com SIP/2.0\r\n"));
    let mut sent = 0;
    loop {
        framer.handle(0, Input::Bytes(&[b'X'; 1_000]));
        sent += 1_000;
        match framer.poll() {
            Some(Frame::Broken { reject, .. }) => break assert_eq!(reject, Reject::HeadTooLarge),
            None => assert!(sent < 20_000),
            other => panic!("{other:?}"),
        }
    }
    framer.handle(0, Input::Bytes(MESSAGE.as_bytes()));
    assert_eq!((framer.poll(), framer.buffered()), (None, 0), "nothing after the end");
}

#[test]
fn a_message_that_trickles_and_a_silent_peer_are_let_go() {
    let mut framer = Framer::new(0, FramerConfig::default());
    for (at, byte) in (0..).zip(MESSAGE.as_bytes()) {
        let now = at * 100_000;
        if framer.deadline().is_some_and(|d| now >= d) {
            assert_eq!(now, 5_000_000, "five seconds after its first byte, however steadily it comes");
            framer.handle(now, Input::Tick);
            break;
        }
        framer.handle(now, Input::Bytes(&[*byte]));
        assert_eq!(framer.poll(), None);
    }
    assert_eq!(framer.poll(), Some(Frame::Close(Why::Slow)));
    let mut framer = Framer::new(0, FramerConfig::default());
    assert_eq!(framer.deadline(), Some(5_000_000), "the first byte");
    framer.handle(1, Input::Bytes(MESSAGE.as_bytes()));
    assert!(matches!(framer.poll(), Some(Frame::Message(_))));
    assert_eq!((framer.poll(), framer.deadline()), (None, Some(120_000_001)));
    framer.handle(120_000_001, Input::Tick);
    assert_eq!(framer.poll(), Some(Frame::Close(Why::Idle)));
    let mut framer = Framer::new(0, FramerConfig::default());
    framer.handle(0, Input::Bytes(&MESSAGE.as_bytes()[..50]));
    framer.handle(0, Input::End);
    assert_eq!(framer.poll(), Some(Frame::Close(Why::Ended { is_clean: false })));
}
