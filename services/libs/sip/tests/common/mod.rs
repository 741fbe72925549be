//! What the torture tests share: the outcome of a message on either transport, and the proof that what goes on is read alike.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "only tests include this")]

pub mod mutate;
pub mod reread;
pub mod targets;

use std::time::{Duration, Instant};

use sip::edit::{Forward, forward, forward_response};
use sip::framing::{Frame, Framer, FramerConfig, Input, Why};
use sip::{Index, Judged, Message, Reject, Verdict, judge, judge_broken};

/// A torture message: ours, or, where `TRUNKLINE_TORTURE` names a folder with the RFC's own files, theirs (`wsinv.dat`).
pub fn read(set: &str, name: &str) -> Vec<u8> {
    let theirs = std::env::var("TRUNKLINE_TORTURE")
        .into_iter()
        .flat_map(|folder| ["dat", "sip", "txt"].map(|ending| format!("{folder}/{set}/{name}.{ending}")));
    if let Some(bytes) = theirs.into_iter().find_map(|path| std::fs::read(path).ok()) {
        return bytes;
    }
    let path = format!("{}/tests/{set}/{name}.sip", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Forward,
    Answer(u16),
    /// Answer, then end the connection.
    AnswerAndClose(u16),
    Drop,
    DropAndClose,
    /// Wait for the rest, then end the connection without a word.
    WaitAndClose,
    KeepAlive,
}

/// A bound that a busy machine keeps; the measured cost is some microseconds.
const AT_MOST: Duration = Duration::from_millis(if cfg!(debug_assertions) { 500 } else { 50 });

pub fn outcome(judged: &Judged<'_>) -> Outcome {
    match judged.verdict {
        Verdict::Forward => Outcome::Forward,
        Verdict::Answer { status, .. } => Outcome::Answer(status),
        Verdict::Drop { .. } => Outcome::Drop,
        Verdict::KeepAlive => Outcome::KeepAlive,
    }
}

/// What becomes of a datagram; whatever would be forwarded is written and read again.
pub fn on_udp(bytes: &[u8]) -> Outcome {
    let mut index = Index::new();
    let mut took = Duration::MAX;
    // On a busy machine one look may take any time; the best of some is the message's own.
    for _ in 0..5 {
        let start = Instant::now();
        let _ = judge(&mut index, bytes);
        took = took.min(start.elapsed());
        if took < AT_MOST {
            break;
        }
    }
    assert!(took < AT_MOST, "{took:?} for {} bytes", bytes.len());
    let judged = judge(&mut index, bytes);
    check_written(&judged);
    outcome(&judged)
}

/// What becomes of each message of a stream that sends these bytes and then nothing.
pub fn on_stream(bytes: &[u8], piece: usize) -> Vec<Outcome> {
    let mut framer = Framer::new(0, FramerConfig::default());
    let mut seen = Vec::new();
    let mut index = Index::new();
    let mut take = |framer: &mut Framer| {
        while let Some(frame) = framer.poll() {
            seen.push(match frame {
                Frame::Message(message) => {
                    let judged = judge(&mut index, &message);
                    check_written(&judged);
                    let closes = judged.reject.is_some_and(Reject::breaks_framing);
                    closing(outcome(&judged), closes)
                }
                Frame::Ping => Outcome::KeepAlive,
                Frame::Broken { head, reject } => closing(outcome(&judge_broken(&mut index, &head, reject)), true),
                Frame::Close(Why::Slow) => Outcome::WaitAndClose,
                Frame::Close(_) => continue,
            });
        }
    };
    for piece in bytes.chunks(piece.max(1)) {
        framer.handle(0, Input::Bytes(piece));
        take(&mut framer);
    }
    framer.handle(5_000_000, Input::Tick);
    take(&mut framer);
    seen
}

fn closing(outcome: Outcome, closes: bool) -> Outcome {
    match outcome {
        Outcome::Answer(status) if closes => Outcome::AnswerAndClose(status),
        Outcome::Drop if closes => Outcome::DropAndClose,
        other => other,
    }
}

/// The request or response as this proxy would pass it on.
pub fn written(m: &Message<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    if m.is_request() {
        let edit = Forward {
            uri: None,
            via: Some(b"SIP/2.0/UDP 192.0.2.250:5060;branch=z9hG4bKnext"),
            record_routes: &[b"<sip:192.0.2.250;lr>"],
            pop_routes: 0,
            max_forwards: m.max_forwards().map_or(70, |n| n.saturating_sub(1)),
            source: Some("198.51.100.7:6000".parse().unwrap()),
            strip: &[],
            add: &[],
        };
        forward(m, &edit, &mut out);
    } else {
        forward_response(m, None, &[], &mut out);
    }
    out
}

fn check_written(judged: &Judged<'_>) {
    let (Verdict::Forward, Some(m)) = (judged.verdict, judged.message) else { return };
    let out = written(&m);
    reread::strictly(&m, &out);
    if m.is_request() {
        reread::by_rsip(&m, &out);
        let mut index = Index::new();
        let again = judge(&mut index, &out);
        // Our own lines may take a message at a limit beyond it.
        let over = matches!(again.reject, Some(Reject::TooManyHeaders | Reject::TooLarge | Reject::HeadTooLarge));
        assert!(over || again.reject.is_none(), "what we write we can read: {}", String::from_utf8_lossy(&out));
    }
}
