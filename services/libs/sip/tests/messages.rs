//! Parsing and editing by example: what is accepted, what is refused and why, and that edits touch nothing else.

use sip::edit::{Answer, Forward, answer, forward, forward_response};
use sip::{Index, Method, Name, Reject, Rport};

const INVITE: &str = "INVITE sip:+4930123456@edge.example:5060 SIP/2.0\r\n\
Via: SIP/2.0/UDP 192.0.2.10:5060;rport;branch=z9hG4bK776asdhds\r\n\
Via: SIP/2.0/TCP far.example;branch=z9hG4bKold\r\n\
Max-Forwards: 0070\r\n\
To: \"Bob, B.\" <sip:+4930123456@edge.example>\r\n\
From: Alice <sip:+4917012345@192.0.2.10>;tag=1928301774\r\n\
Call-ID: a84b4c76e66710@192.0.2.10\r\n\
CSeq: 0314 INVITE\r\n\
x-odd  : ;;,,;;,;\r\n\
Subject: folded\r\n\
\tover two lines\r\n\
Contact: <sip:alice@192.0.2.10:5060>\r\n\
Content-Type: application/sdp\r\n\
Content-Length: 4\r\n\
\r\n\
v=0\r\n";

fn parse(text: &str) -> Result<(), Reject> {
    Index::new().parse(text.as_bytes()).map(|_| ())
}

#[test]
fn typed_views_read_what_routing_needs() {
    let mut index = Index::new();
    let m = index.parse(INVITE.as_bytes()).unwrap();
    assert_eq!((m.method(), m.cseq(), m.max_forwards()), (Method::Invite, 314, Some(70)));
    assert_eq!(m.call_id(), b"a84b4c76e66710@192.0.2.10");
    assert_eq!((m.from_tag(), m.to_tag()), (&b"1928301774"[..], &b""[..]));
    assert_eq!(m.branch(), b"z9hG4bK776asdhds");
    assert!(matches!(m.via().rport, Rport::Asked(_)));
    assert_eq!(m.to().display, b"Bob, B.");
    assert_eq!(m.contact().unwrap().uri, b"sip:alice@192.0.2.10:5060");
    assert_eq!(m.values(Name::Via).count(), 2);
    assert_eq!(m.text(Name::Subject).unwrap(), "folded over two lines");
    assert_eq!(m.body(), b"v=0\r", "bytes after Content-Length are cut off");
}

#[test]
fn a_forwarded_request_differs_only_where_it_was_edited() {
    let mut index = Index::new();
    let m = index.parse(INVITE.as_bytes()).unwrap();
    let mut out = Vec::new();
    let edit = Forward {
        uri: Some(b"sip:+4930123456@10.0.0.1:5080"),
        via: Some(b"SIP/2.0/UDP 10.0.0.9:5070;branch=z9hG4bKours"),
        record_routes: &[b"<sip:10.0.0.9:5070;lr>", b"<sip:192.0.2.1;lr>"],
        pop_routes: 0,
        max_forwards: 69,
        source: Some("198.51.100.7:6000".parse().unwrap()),
        strip: &["Subject"],
        add: &[("X-Trunkline-Call", b"value")],
    };
    forward(&m, &edit, &mut out);
    let want = INVITE
        .replace("INVITE sip:+4930123456@edge.example:5060 SIP/2.0\r\n", "INVITE sip:+4930123456@10.0.0.1:5080 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.9:5070;branch=z9hG4bKours\r\nRecord-Route: <sip:10.0.0.9:5070;lr>\r\nRecord-Route: <sip:192.0.2.1;lr>\r\n")
        .replace("rport;branch=z9hG4bK776asdhds", "rport=6000;branch=z9hG4bK776asdhds;received=198.51.100.7")
        .replace("0070", "69")
        .replace("x-odd  :", "x-odd:")
        .replace("Subject: folded\r\n\tover two lines\r\n", "")
        .replace("Content-Length: 4\r\n\r\nv=0\r\n", "Content-Length: 4\r\nX-Trunkline-Call: value\r\n\r\nv=0\r");
    assert_eq!(String::from_utf8(out).unwrap(), want);
}

#[test]
fn routes_are_popped_value_by_value() {
    let text = INVITE.replace("x-odd", "Route: <sip:a;lr>, <sip:b;lr>\r\nROUTE: <sip:c;lr>\r\nx-odd");
    for (pop, left) in [(1, vec!["<sip:b;lr>", "<sip:c;lr>"]), (2, vec!["<sip:c;lr>"]), (3, vec![]), (9, vec![])] {
        let mut index = Index::new();
        let m = index.parse(text.as_bytes()).unwrap();
        let mut out = Vec::new();
        let edit = Forward {
            uri: None,
            via: None,
            record_routes: &[],
            pop_routes: pop,
            max_forwards: 1,
            source: None,
            strip: &[],
            add: &[],
        };
        forward(&m, &edit, &mut out);
        let mut index = Index::new();
        let back = index.parse(&out).unwrap();
        let routes: Vec<&str> = back.values(Name::Route).map(|r| std::str::from_utf8(r).unwrap()).collect();
        assert_eq!(routes, left);
    }
}

#[test]
fn a_response_loses_one_via_and_an_answer_copies_what_it_must() {
    let mut index = Index::new();
    let m = index.parse(INVITE.as_bytes()).unwrap();
    let mut out = Vec::new();
    let source = Some("198.51.100.7:6000".parse().unwrap());
    answer(
        &m,
        &Answer { status: 486, reason: "Busy Here", to_tag: Some("x1"), source, add: &[("Reason", b"Q.850;cause=17")] },
        &mut out,
    );
    let text = String::from_utf8(out.clone()).unwrap();
    assert!(text.starts_with("SIP/2.0 486 Busy Here\r\nVia: SIP/2.0/UDP 192.0.2.10:5060;rport=6000;branch=z9hG4bK776asdhds;received=198.51.100.7\r\n"), "{text}");
    let mut index = Index::new();
    let back = index.parse(&out).unwrap();
    assert_eq!((back.status(), back.to_tag(), back.cseq()), (486, &b"x1"[..], 314));
    assert_eq!(back.values(Name::Via).count(), 2);
    let mut relayed = Vec::new();
    forward_response(&back, Some((500, "Server Internal Error")), &["reason"], &mut relayed);
    let mut index = Index::new();
    let back = index.parse(&relayed).unwrap();
    assert_eq!((back.status(), back.values(Name::Via).count(), back.header(Name::Reason)), (500, 1, None));
    assert_eq!(back.branch(), b"z9hG4bKold");
}

#[test]
fn a_missing_length_and_max_forwards_are_added() {
    let text = INVITE.replace("Max-Forwards: 0070\r\n", "").replace("Content-Length: 4\r\n", "");
    let mut index = Index::new();
    let m = index.parse(text.as_bytes()).unwrap();
    let mut out = Vec::new();
    forward(
        &m,
        &Forward {
            uri: None,
            via: None,
            record_routes: &[],
            pop_routes: 0,
            max_forwards: 70,
            source: None,
            strip: &[],
            add: &[],
        },
        &mut out,
    );
    let mut index = Index::new();
    let back = index.parse(&out).unwrap();
    assert_eq!(
        (back.max_forwards(), back.header(Name::ContentLength), back.body()),
        (Some(70), Some(&b"5"[..]), &b"v=0\r\n"[..])
    );
}

#[test]
fn what_cannot_be_forwarded_safely_is_refused_with_a_reason() {
    let cases = [
        ("Call-ID: a84b4c76e66710@192.0.2.10\r\n", "", Reject::Missing(Name::CallId)),
        ("CSeq: 0314 INVITE", "CSeq: 0314 OPTIONS", Reject::MethodMismatch),
        ("CSeq: 0314 INVITE", "CSeq: 2147483648 INVITE", Reject::Malformed(Name::CSeq)),
        ("Content-Length: 4", "Content-Length: 9999", Reject::ContentLength),
        ("Content-Length: 4", "Content-Length: -4", Reject::Malformed(Name::ContentLength)),
        ("Content-Length: 4", "Content-Length: 4\r\nl: 4", Reject::Duplicate(Name::ContentLength)),
        ("Content-Length: 4", "i: other\r\nContent-Length: 4", Reject::Duplicate(Name::CallId)),
        ("Max-Forwards: 0070", "Max-Forwards: 300", Reject::Malformed(Name::MaxForwards)),
        ("To: \"Bob, B.\" <", "To: \"Bob, B. <", Reject::Malformed(Name::To)),
        ("From: Alice <", "From: Alice, B <", Reject::Malformed(Name::From)),
        ("SIP/2.0\r\nVia", "SIP/7.0\r\nVia", Reject::Version),
        ("SIP/2.0\r\nVia", "SIP/2.0 \r\nVia", Reject::StartLine),
        ("INVITE sip:", "INVITE  sip:", Reject::StartLine),
        ("INVITE sip:", "INVITE sip\0:", Reject::ControlInStartLine),
        ("sip:+4930123456@edge.example:5060 ", "<sip:x@edge.example> ", Reject::RequestUri),
        ("x-odd  :", "x\u{1}odd :", Reject::ControlByte),
        ("x-odd  :", "To\u{1}: <sip:x@y>\r\nx-odd :", Reject::ControlByte),
        (";;,,;;,;", "a\0b", Reject::ControlByte),
        (";;,,;;,;", "a\rRoute: <sip:evil>", Reject::BareLineEnd),
        (";;,,;;,;", "a\nRoute: <sip:evil>", Reject::BareLineEnd),
        ("branch=z9hG4bK776asdhds", "branch=x;;,;,,", Reject::Malformed(Name::Via)),
    ];
    for (from, to, reason) in cases {
        assert_ne!(INVITE.replacen(from, to, 1), INVITE, "{from}");
        assert_eq!(parse(&INVITE.replacen(from, to, 1)), Err(reason), "{from:?} → {to:?}");
    }
    assert_eq!(parse(INVITE.split("\r\n\r\n").next().unwrap()), Err(Reject::Unterminated));
    assert_eq!(parse("\r\n\r\n"), Err(Reject::KeepAlive));
    assert_eq!(parse("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), Err(Reject::StartLine));
    for status in ["0", "099", "700", "4294967301", "-1", ""] {
        let text =
            INVITE.replacen("INVITE sip:+4930123456@edge.example:5060 SIP/2.0", &format!("SIP/2.0 {status} x"), 1);
        assert!(parse(&text).is_err(), "{status}");
    }
}

#[test]
fn escaped_control_bytes_in_quotes_and_bytes_that_are_not_utf8_pass() {
    let text = INVITE.replace("\"Bob, B.\"", "\"BEL:\\\u{7} NUL:\\\u{0} DEL:\\\u{7f}\"");
    assert_eq!(parse(&text), Ok(()));
    let mut bytes = INVITE.as_bytes().to_vec();
    let at = INVITE.find("folded").unwrap();
    bytes[at] = 0xe9;
    assert!(Index::new().parse(&bytes).is_ok());
}

#[test]
fn a_rejected_request_can_still_be_answered() {
    let text = INVITE.replace("Content-Length: 4", "Content-Length: 9999");
    let mut index = Index::new();
    assert_eq!(index.parse(text.as_bytes()).map(|_| ()), Err(Reject::ContentLength));
    let m = index.salvage(text.as_bytes()).unwrap();
    let mut out = Vec::new();
    answer(&m, &Answer { status: 400, reason: "Bad Request", to_tag: Some("e"), source: None, add: &[] }, &mut out);
    assert!(out.starts_with(b"SIP/2.0 400 Bad Request\r\nVia: "));
    let text = INVITE.replace("Call-ID: a84b4c76e66710@192.0.2.10\r\n", "");
    let mut index = Index::new();
    assert!(index.parse(text.as_bytes()).is_err());
    assert!(index.salvage(text.as_bytes()).is_some(), "what is missing is not copied");
    let text = INVITE.replace("Via: SIP/2.0/UDP 192", "Via: SIP/2.0/UDP <192");
    let mut index = Index::new();
    assert!(index.parse(text.as_bytes()).is_err());
    assert!(index.salvage(text.as_bytes()).is_none());
}
