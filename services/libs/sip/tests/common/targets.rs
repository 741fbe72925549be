//! What the fuzz targets check. The committed corpus of each is replayed by every test run (`tests/corpus.rs`), the fuzzer goes
//! on from there (`fuzz/`). A target takes any bytes and panics when a promise is broken.

use bytes::Bytes;
use sip::digest::{NonceKey, Replay, Standing, answer, secret, verify};
use sip::edit::{self, Answer};
use sip::framing::{Frame, Framer, FramerConfig, Input, Why};
use sip::limits::MAX_MESSAGE;
use sip::transaction::{Action, ClientInput, InviteClient, InviteServer, NonInviteClient, NonInviteServer};
use sip::transaction::{ServerInput, Timers};
use sip::{Challenge, Credentials, Index, Method, NameAddr, Uri, Verdict, Via, host_ip, judge, sdp, unescaped};

/// Takes any bytes and panics when a promise is broken.
pub type Target = fn(&[u8]);

/// Every target by name, as `fuzz/targets` and `fuzz/corpus` call them.
pub const ALL: [(&str, Target); 7] = [
    ("message", message),
    ("framing", framing),
    ("uri", uri),
    ("via", via),
    ("sdp", sdp),
    ("digest", digest),
    ("transaction", transaction),
];

/// Read, judged and written: what goes on is read alike by a strict reader and by rsip, what is answered can be read again, and
/// a used index gives the same as a new one.
pub fn message(data: &[u8]) {
    let fresh = super::on_udp(data);
    let mut index = Index::new();
    let _ = judge(&mut index, USED);
    let judged = judge(&mut index, data);
    assert_eq!(super::outcome(&judged), fresh, "what was read before makes no difference");
    let Some(m) = judged.message else { return };
    if let Verdict::Answer { status, .. } = judged.verdict {
        let source = "198.51.100.7:6000".parse().ok();
        let mut out = Vec::new();
        edit::answer(&m, &Answer { status, reason: "x", to_tag: Some("t"), source, add: &[] }, &mut out);
        check_answer(&out, data);
    }
    if judged.verdict == Verdict::Forward && m.is_request() {
        let out = super::written(&m);
        let mut sent = Index::new();
        let Ok(sent) = sent.parse(&out) else { return };
        for (write, method) in [(edit::cancel as fn(&_, &mut _), Method::Cancel), (ack, Method::Ack)] {
            let mut text = Vec::new();
            write(&sent, &mut text);
            let mut again = Index::new();
            let again = again.parse(&text).expect("what we write ourselves can be read");
            assert_eq!((again.method(), again.cseq(), again.call_id()), (method, m.cseq(), m.call_id()));
            assert_eq!((again.from_tag(), again.branch()), (m.from_tag(), sent.branch()));
        }
    }
}

fn ack(sent: &sip::Message<'_>, out: &mut Vec<u8>) {
    edit::ack_non_2xx(sent, sent, out);
}

/// A message that leaves its traces everywhere in an index.
const USED: &[u8] = b"INVITE sip:+1@[2001:db8::1]:5070 SIP/2.0\r\nVia: SIP/2.0/UDP a;rport;received=1.1.1.1;branch=z9hG4bK1\r\n\
    f: <sip:b@c>;tag=used\r\nt: <sip:d@e>;tag=used\r\ni: used\r\nCSeq: 7 INVITE\r\nMax-Forwards: 0\r\nX: \x01\r\nl: 1\r\n\r\nx";

/// Line by line: nothing that the sender wrote may begin a line of its own, and no line may hide a control byte.
fn check_answer(out: &[u8], request: &[u8]) {
    let head = out.strip_suffix(b"Content-Length: 0\r\n\r\n").expect("an answer has no body");
    for line in head.strip_suffix(b"\r\n").unwrap_or(head).split(|&b| b == b'\n').skip(1) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let is_fold = matches!(line.first(), Some(b' ' | b'\t'));
        let name = line.split(|&b| b == b':').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
        let known = [&b"via"[..], b"v", b"from", b"f", b"to", b"t", b"call-id", b"i", b"cseq"];
        assert!(is_fold || known.contains(&&name[..]), "{} from {}", show(out), show(request));
    }
}

fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// The first byte says how the rest is cut: the messages that come out are the same.
pub fn framing(data: &[u8]) {
    let Some((&size, stream)) = data.split_first() else { return };
    let whole = framed(stream, stream.len());
    assert_eq!(framed(stream, usize::from(size % 64) + 1), whole, "cut otherwise: {}", show(stream));
    for message in &whole.0 {
        assert_eq!(framed(message, message.len()), (vec![message.clone()], true), "a message is one message");
        let mut index = Index::new();
        let breaks = judge(&mut index, message).reject.is_some_and(sip::Reject::breaks_framing);
        assert!(!breaks, "framer and parser disagree about {}", show(message));
    }
}

/// The messages of a stream, and whether it came to a clean end.
fn framed(stream: &[u8], size: usize) -> (Vec<Bytes>, bool) {
    let mut framer = Framer::new(0, FramerConfig::default());
    let (mut messages, mut is_clean) = (Vec::new(), false);
    let mut take = |framer: &mut Framer| {
        while let Some(frame) = framer.poll() {
            match frame {
                Frame::Message(message) => messages.push(message),
                Frame::Close(why) => is_clean = why == Why::Ended { is_clean: true },
                Frame::Ping | Frame::Broken { .. } => {}
            }
        }
    };
    for piece in stream.chunks(size.max(1)) {
        framer.handle(0, Input::Bytes(piece));
        take(&mut framer);
        assert!(framer.buffered() <= MAX_MESSAGE + piece.len());
    }
    framer.handle(0, Input::End);
    take(&mut framer);
    assert_eq!((framer.deadline(), framer.buffered()), (None, 0), "the end is the end");
    (messages, is_clean)
}

/// Two texts, one a line: parts fit the whole, and sameness asks neither first.
pub fn uri(data: &[u8]) {
    let (one, two) = data.split_at(memchr::memchr(b'\n', data).unwrap_or(data.len()));
    let two = two.strip_prefix(b"\n").unwrap_or(two);
    let _ = NameAddr::parse(one).map(|a| (a.tag().is_some(), a.param(b"q").is_some()));
    let Ok(a) = Uri::parse(one) else { return };
    let joined = [a.scheme, a.user.unwrap_or_default(), a.host, a.params, a.headers].map(<[u8]>::len);
    assert!(joined.iter().sum::<usize>() < one.len());
    assert!(a.is_same(&a) && unescaped(a.number()).len() <= one.len());
    if a.is_tel() {
        let digits = a.digits();
        assert!(!digits.is_empty() && digits.iter().all(|b| b.is_ascii_alphanumeric() || b"+*#".contains(b)));
    }
    if a.is_sip() || a.is_sips() {
        // Written again with its parts, it is the same.
        let mut text = [a.scheme, b":"].concat();
        if let Some(user) = a.user {
            text.extend_from_slice(&[user, b"@"].concat());
        }
        text.extend_from_slice(a.host);
        if let Some(port) = a.port {
            text.extend_from_slice(format!(":{port}").as_bytes());
        }
        for (sign, part) in [(b";", a.params), (b"?", a.headers)] {
            if !part.is_empty() {
                text.extend_from_slice(&[sign, part].concat());
            }
        }
        assert_eq!(Uri::parse(&text), Ok(a), "{}", show(one));
        assert!(a.ip().is_none() || host_ip(a.host) == a.ip());
    }
    if let Ok(b) = Uri::parse(two) {
        assert_eq!(a.is_same(&b), b.is_same(&a), "{}", show(data));
    }
}

/// What was read is read again from the value alone, and another Via behind it changes nothing.
pub fn via(data: &[u8]) {
    let Some(via) = Via::of(data) else { return };
    let value = via.value.of(data);
    assert!(!via.host.is_empty() && via.host.of(data).len() <= value.len());
    assert_eq!(Via::of(value), Some(via));
    assert_eq!(Via::of(&[value, b", SIP/2.0/UDP b;branch=z9hG4bKb"].concat()), Some(via));
    let ends = [via.branch, via.received].into_iter().flatten().map(|span| span.end);
    assert!(ends.into_iter().all(|end| end <= via.value.end));
}

/// A summary is bounded, however long the description.
pub fn sdp(data: &[u8]) {
    let Some(found) = sdp::Summary::parse(data) else { return };
    assert!(found.codecs.len() <= 32 && found.codecs.iter().all(|codec| codec.len() <= 96));
    assert!(["sendrecv", "sendonly", "recvonly", "inactive"].contains(&found.direction));
}

/// Both headers, an answer to whatever challenges us, and nonces.
pub fn digest(data: &[u8]) {
    let credentials = Credentials::parse(data);
    assert!(!verify(&credentials, "", b"INVITE") || credentials.response.is_some());
    let challenge = Challenge::parse(data);
    if let Some(made) = answer(&challenge, "bob", "pw", "INVITE", "sip:a", "c", 1) {
        assert!(!made.contains(['\r', '\n']));
        let again = Credentials::parse(made.as_bytes());
        let (realm, algorithm) = (challenge.realm.expect("answered"), challenge.algorithm.expect("answered"));
        assert!(verify(&again, &secret(algorithm, b"bob", realm, b"pw"), b"INVITE"), "{made}");
        assert!(!verify(&again, &secret(algorithm, b"bob", realm, b"other"), b"INVITE"), "{made}");
    }
    let key = NonceKey::new([7; 32], 60);
    assert_eq!(key.standing(1_000, data), Standing::Forged);
    let mut replay = Replay::new(2);
    assert!(replay.accept(data, 1) && !replay.accept(data, 1));
}

/// Two bytes a step: what happens, and how long it takes until then. The first byte chooses machine and transport.
pub fn transaction(data: &[u8]) {
    let Some((&kind, steps)) = data.split_first() else { return };
    let timers = if kind & 4 == 0 { Timers::STANDARD } else { Timers::STANDARD.reliable() };
    match kind & 3 {
        0 => client(InviteClient::new(0, timers), steps, |m, now, input| {
            m.handle(now, input);
            (std::iter::from_fn(|| m.poll()).collect(), m.deadline())
        }),
        1 => client(NonInviteClient::new(0, timers), steps, |m, now, input| {
            m.handle(now, input);
            (std::iter::from_fn(|| m.poll()).collect(), m.deadline())
        }),
        2 => server(InviteServer::new(timers), steps, |m, now, input| {
            m.handle(now, input);
            (std::iter::from_fn(|| m.poll()).collect(), m.deadline())
        }),
        _ => server(NonInviteServer::new(timers), steps, |m, now, input| {
            m.handle(now, input);
            (std::iter::from_fn(|| m.poll()).collect(), m.deadline())
        }),
    }
}

const STATUS: [u16; 8] = [100, 180, 199, 200, 202, 300, 486, 603];

/// What one input leads to: actions, and when the next tick is wanted.
type Turn<M, I> = fn(&mut M, u64, I) -> (Vec<Action>, Option<u64>);

fn client<M>(mut machine: M, steps: &[u8], turn: Turn<M, ClientInput>) {
    let mut now = 0;
    let (mut failures, mut successes, mut ends) = (0, 0, 0);
    for step in steps.chunks_exact(2) {
        now += u64::from(step[1]) * 150_000;
        let input = match step[0] % 16 {
            at @ 0..=7 => ClientInput::Response(STATUS[usize::from(at)]),
            8 => ClientInput::Silence,
            9 => ClientInput::TransportError,
            _ => ClientInput::Tick,
        };
        let (actions, _) = turn(&mut machine, now, input);
        assert!(ends == 0 || actions.is_empty(), "nothing comes after the end");
        ends += actions.iter().filter(|&&a| is_end(a)).count();
        let delivered = actions.contains(&Action::Deliver);
        match input {
            ClientInput::Response(300..) => failures += usize::from(delivered),
            ClientInput::Response(200..) => successes += usize::from(delivered),
            _ => assert!(!delivered || matches!(input, ClientInput::Response(_))),
        }
    }
    assert!(ends <= 1 && failures <= 1 && (failures == 0 || successes == 0), "{failures} {successes} {ends}");
    run_out(&mut machine, now, ClientInput::Tick, turn);
}

fn server<M>(mut machine: M, steps: &[u8], turn: Turn<M, ServerInput>) {
    let mut now = 0;
    let (mut failures, mut successes) = (0, 0);
    for step in steps.chunks_exact(2) {
        now += u64::from(step[1]) * 150_000;
        let input = match step[0] % 16 {
            at @ 0..=7 => ServerInput::Respond(STATUS[usize::from(at)]),
            8 | 9 => ServerInput::Retransmission,
            10 => ServerInput::Ack,
            11 => ServerInput::TransportError,
            _ => ServerInput::Tick,
        };
        let (actions, _) = turn(&mut machine, now, input);
        let sent = usize::from(actions.contains(&Action::Send));
        match input {
            ServerInput::Respond(300..) => failures += sent,
            ServerInput::Respond(200..) => successes += sent,
            _ => {}
        }
    }
    assert!(failures <= 1 && (failures == 0 || successes == 0), "one final response: {failures} {successes}");
    run_out(&mut machine, now, ServerInput::Tick, turn);
}

fn is_end(action: Action) -> bool {
    matches!(action, Action::TimedOut | Action::NoAck | Action::Failed | Action::Done)
}

/// Timers come to an end within two minutes, and an ended machine wants nothing.
fn run_out<M, I: Copy>(machine: &mut M, now: u64, tick: I, turn: Turn<M, I>) {
    let mut at = now;
    for _ in 0..200 {
        let (_, next) = turn(machine, at, tick);
        let Some(next) = next else { return };
        at = next.max(at);
        assert!(at <= now + 120_000_000, "a timer that never ends");
    }
    panic!("more than 200 ticks");
}
