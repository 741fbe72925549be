//! Whatever arrives, it costs less than a millisecond and no more memory than a small multiple of its size.
//!
//! Memory is counted by an allocator that notes what the test's own thread asks for. Time is the best of some runs, so that a
//! busy machine does not fail the test; an unoptimised build gets twenty times as long.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use sip::edit::{Answer, answer};
use sip::framing::{Framer, FramerConfig, Input};
use sip::limits::MAX_MESSAGE;
use sip::{Challenge, Credentials, Index, Name, NameAddr, Uri, judge, sdp};

thread_local! {
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

#[expect(unsafe_code, reason = "an allocator cannot be written without; every call goes to the system's own")]
// SAFETY: each method hands its arguments to the system's allocator as they came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ASKED.try_with(|asked| asked.set(asked.get() + layout.size()));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn asked_for(work: impl FnOnce()) -> usize {
    let before = ASKED.get();
    work();
    ASKED.get() - before
}

/// Everything that a message meets on its way through the library.
fn digest_all(index: &mut Index, bytes: &[u8]) {
    let judged = judge(index, bytes);
    if let Some(m) = judged.message {
        let mut out = Vec::with_capacity(m.bytes().len() + 64);
        let source = "198.51.100.7:6000".parse().ok();
        answer(&m, &Answer { status: 400, reason: "x", to_tag: Some("t"), source, add: &[] }, &mut out);
        black_box(sdp::Summary::parse(m.body()));
        for name in [Name::Authorization, Name::WwwAuthenticate] {
            black_box(m.header(name).map(|v| (Credentials::parse(v), Challenge::parse(v))));
        }
        black_box(m.values(Name::Contact).filter_map(NameAddr::parse).count());
        if let Ok(uri) = Uri::parse(m.uri()) {
            black_box((uri.digits(), uri.is_same(&uri), uri.param(b"lr")));
        }
    }
}

fn frame_all(bytes: &[u8]) {
    let mut framer = Framer::new(0, FramerConfig::default());
    for piece in bytes.chunks(4_096) {
        framer.handle(0, Input::Bytes(piece));
        while let Some(frame) = framer.poll() {
            black_box(frame);
        }
    }
}

/// The answer, the copies of a stream's buffer while it grows, and small change; the index is there before the message.
fn check_memory(index: &mut Index, bytes: &[u8]) {
    let one = asked_for(|| digest_all(index, bytes));
    assert!(one <= 4 * bytes.len() + 4_096, "{one} bytes for a message of {}", bytes.len());
    let stream = asked_for(|| frame_all(bytes));
    // An index of its own for each head that is read.
    let heads = bytes.windows(4).filter(|w| w == b"\r\n\r\n").count();
    assert!(stream <= 8 * bytes.len() + 8_192 * (heads + 1), "{stream} bytes for a stream of {}", bytes.len());
}

fn check_time(name: &str, mut work: impl FnMut()) {
    let limit = Duration::from_millis(if cfg!(debug_assertions) { 20 } else { 1 });
    let mut best = Duration::MAX;
    for _ in 0..20 {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed());
        if best < limit {
            return;
        }
    }
    panic!("{name}: {best:?}");
}

/// A request with these lines more, filled with `unit` up to `size` bytes.
fn filled(prefix: &str, unit: &str, size: usize) -> Vec<u8> {
    let head = "INVITE sip:a@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:b@example.com>;tag=1\r\n\
         To: <sip:a@example.com>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n";
    let times = size.saturating_sub(head.len() + prefix.len() + 8) / unit.len().max(1);
    format!("{head}{prefix}{}\r\n\r\n", unit.repeat(times)).into_bytes()
}

/// Shapes that cost somebody's parser the square of their size.
fn hostile() -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<(String, Vec<u8>)> = Vec::new();
    let headers = [
        "Via: ",
        "v: SIP/2.0/UDP a",
        "Contact: ",
        "Route: ",
        "To: ",
        "Proxy-Require: ",
        "Authorization: Digest ",
        "X: ",
    ];
    let units = [
        ",",
        ";",
        "\"",
        "\\\"",
        "<",
        "<>",
        "a,",
        "<sip:a>,",
        ";a=b",
        ";a=\"",
        "\r\n ",
        " ",
        "\t",
        "%",
        ":",
        "=",
        "(",
        "\"\\\u{1}",
        "a=b,",
        "SIP/2.0/UDP b,",
        "[",
        "[::",
        "@",
    ];
    for size in [1_000, 4_000, 15_000, 33_000, 64_000] {
        for header in headers {
            for unit in units {
                found.push((format!("{header}{unit:?} × {size}"), filled(header, unit, size)));
            }
        }
        for line in [
            "N: 1\r\n",
            "a\r\n",
            ": \r\n",
            "Via: SIP/2.0/UDP b\r\n",
            "i: x\r\n",
            "l: 0\r\n",
            "Contact: <sip:a@b>\r\n",
            "v: a,a,a,a\r\n",
        ] {
            found.push((format!("{line:?} × {size}"), filled("", line, size)));
        }
        for byte in [b"\r\n", &b"\r"[..], b"\n", b"\0", b" ", b"A", b"\xff", b"\r\n\r\n", b"\r\n\r", b"a ", b"SIP/2.0 "]
        {
            found.push((format!("{} × {size}", byte.escape_ascii()), byte.repeat(size / byte.len())));
        }
        let uri = format!("INVITE sip:{} SIP/2.0\r\n\r\n", ";a=b".repeat(size / 4));
        found.push((format!("parameters × {size}"), uri.into_bytes()));
        for line in [
            "m=audio 1 RTP/AVP 0 0 0 0 0 0 0 0\r\n",
            "a=rtpmap:0 x\r\n",
            "a\r\n",
            "\n",
            "c=IN IP4 1.1.1.1\r\n",
            "m=audio \n",
            " 1",
        ] {
            let body = format!("v=0\r\nm=audio 1 RTP/AVP{}", line.repeat(size / line.len()));
            let head = format!("c: application/sdp\r\nl: {}", body.len());
            let mut message = filled(&head, "", 0);
            message.extend_from_slice(body.as_bytes());
            found.push((format!("body of {line:?} × {size}"), message));
        }
    }
    found
}

#[test]
fn no_hostile_shape_costs_a_millisecond_or_more_memory_than_a_multiple_of_its_size() {
    let mut index = Index::new();
    for (name, bytes) in hostile() {
        check_time(&name, || digest_all(&mut index, &bytes));
        // A stream is read in pieces; each is at most what a connection reads at once.
        let piece = &bytes[..bytes.len().min(16 * 1024)];
        check_time(&format!("stream of {name}"), || frame_all(piece));
        check_memory(&mut index, &bytes);
        // Also where nothing was checked before.
        check_time(&format!("session description of {name}"), || drop(black_box(sdp::Summary::parse(&bytes))));
        check_time(&format!("credentials of {name}"), || {
            black_box(Credentials::parse(&bytes));
        });
    }
}

#[test]
fn a_length_that_is_only_claimed_reserves_nothing() {
    for claimed in [MAX_MESSAGE - 200, MAX_MESSAGE, 1 << 31, usize::MAX] {
        let bytes = filled(&format!("Content-Length: {claimed}"), "", 0);
        let asked = asked_for(|| frame_all(&bytes));
        assert!(asked < 16_384, "{asked} bytes for a claim of {claimed}");
    }
}

#[test]
fn an_idle_connection_keeps_next_to_nothing() {
    let mut framers = Vec::with_capacity(1_000);
    let asked = asked_for(|| framers.extend((0..1_000).map(|_| Framer::new(0, FramerConfig::default()))));
    assert!(asked < 1_000, "{asked} bytes for 1,000 connections that have said nothing");
    assert!(size_of::<Framer>() <= 256, "{}", size_of::<Framer>());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_random_message_costs_a_millisecond_or_more_memory_than_a_multiple_of_its_size(
        parts in prop::collection::vec((0usize..14, 1usize..400), 1..40),
        noise in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        const PARTS: [&str; 14] = [
            "INVITE sip:a@b SIP/2.0\r\n", "Via: SIP/2.0/UDP a;branch=z9hG4bK1\r\n", "From: <sip:a@b>;tag=1\r\n", "To: <sip:a@b>\r\n",
            "Call-ID: x\r\n", "CSeq: 1 INVITE\r\n", "Content-Length: 0\r\n", "\r\n", "X: ", "\"", ",", "<", ";a=b", "\\",
        ];
        let mut bytes = PARTS[..6].concat().into_bytes();
        for (at, times) in parts {
            bytes.extend(PARTS[at].repeat(times % 60 + 1).into_bytes());
            bytes.extend(&noise[..noise.len().min(times)]);
        }
        bytes.truncate(65_535);
        let mut index = Index::new();
        check_time("random", || digest_all(&mut index, &bytes));
        check_memory(&mut index, &bytes);
    }
}
