//! Inputs that broke other people's servers, one file each: numbers as in the reliability notes (M-01 … M-17). Large ones are made
//! here, so that the repository does not carry them.

mod common;

use common::Outcome::{self, Answer, Drop, Forward, KeepAlive};
use common::{mutate, on_stream, on_udp};
use sip::digest::Credentials;
use sip::limits::{MAX_HEADER, MAX_HEADERS, MAX_MESSAGE, MAX_ROUTES, MAX_SDP, MAX_URI, MAX_VIAS};
use sip::{Index, Name, sdp};

const CASES: [(&str, Outcome); 50] = [
    ("M-01-content-length-0", Answer(400)),
    ("M-01-content-length-1", Answer(400)),
    ("M-01-content-length-2", Answer(400)),
    ("M-01-content-length-3", Answer(400)),
    ("M-01-content-length-4", Answer(400)),
    ("M-01-content-length-5", Answer(400)),
    ("M-01-content-length-6", Forward),
    ("M-01-cut-in-length", Answer(400)),
    ("M-02-via-cut-0", Drop),
    ("M-02-via-cut-1", Drop),
    ("M-02-via-cut-2", Drop),
    ("M-02-via-cut-3", Drop),
    ("M-02-via-cut-4", Drop),
    ("M-02-via-at-buffer-end", Drop),
    ("M-03-via-host-0", Drop),
    ("M-03-via-host-1", Drop),
    ("M-03-via-host-2", Drop),
    ("M-03-via-host-3", Drop),
    ("M-03-via-host-4", Drop),
    ("M-03-via-host-5", Drop),
    ("M-03-via-host-6", Drop),
    ("M-03-via-host-7", Drop),
    ("M-04-two-to", Answer(400)),
    ("M-04-empty-tag", Answer(400)),
    ("M-05-digest-cut", Forward),
    ("M-05-digest-name-only", Forward),
    ("M-06-white-space", KeepAlive),
    ("M-06-line-ends", KeepAlive),
    ("M-06-nuls", KeepAlive),
    ("M-06-urn", Answer(416)),
    ("M-06-urn-sos", Forward),
    ("M-06-urn-in-to", Forward),
    ("M-07-multipart-boundary", Forward),
    ("M-08-no-content-type", Forward),
    ("M-09-control-in-name", Answer(400)),
    ("M-09-tab-before-colon", Forward),
    ("M-09-space-in-name", Answer(400)),
    ("M-10-call-id-twice", Answer(400)),
    ("M-10-length-twice", Answer(400)),
    ("M-10-folded-name", Answer(400)),
    ("M-10-bare-lf", Answer(400)),
    ("M-10-bare-cr", Answer(400)),
    ("M-10-nul", Answer(400)),
    ("M-13-refer-to-commas", Forward),
    ("M-14-long-user", Forward),
    ("M-15-crypto", Forward),
    ("M-16-contact-none", Answer(400)),
    ("M-16-contact-star", Forward),
    ("M-16-contact-star-in-invite", Answer(400)),
    ("M-17-dots-in-name", Forward),
];

fn read(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/regressions/{name}.sip", env!("CARGO_MANIFEST_DIR"))).expect("a corpus file")
}

#[test]
fn each_input_has_its_outcome_and_its_mutants_do_no_harm() {
    let mut wrong = Vec::new();
    for (name, outcome) in CASES {
        let bytes = read(name);
        let seen = on_udp(&bytes);
        if seen != outcome {
            wrong.push(format!("{name}: {seen:?}, expected {outcome:?}"));
        }
        let mut index = Index::new();
        if let Ok(m) = index.parse(&bytes) {
            let _ = sdp::Summary::parse(m.body());
            if let Some(value) = m.header(Name::Authorization) {
                assert_eq!(Credentials::parse(value).response, None, "{name}: cut short");
            }
        }
        for (_, mutator) in mutate::ALL {
            for mutant in mutator(&bytes) {
                on_udp(&mutant);
                on_stream(&mutant, 1_500);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A plain request with these lines more, this URI and this body.
fn request(uri: &str, lines: &str, body: &str) -> Vec<u8> {
    format!(
        "OPTIONS {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:b@example.com>;tag=1\r\n\
         To: <sip:a@example.com>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n{lines}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

const URI: &str = "sip:a@example.com";

#[test]
fn each_limit_admits_what_is_within_and_answers_what_is_beyond() {
    let uri = |n: usize| request(&format!("sip:a@{}", "h".repeat(n - 6)), "", "");
    assert_eq!((on_udp(&uri(MAX_URI)), on_udp(&uri(MAX_URI + 1))), (Forward, Answer(414)));
    let header = |n: usize| request(URI, &format!("X: {}\r\n", "v".repeat(n - 3)), "");
    assert_eq!((on_udp(&header(MAX_HEADER)), on_udp(&header(MAX_HEADER + 1))), (Forward, Answer(513)));
    let count = |n: usize| request(URI, &"X: 1\r\n".repeat(n - 6), "");
    assert_eq!((on_udp(&count(MAX_HEADERS)), on_udp(&count(MAX_HEADERS + 1))), (Forward, Answer(400)));
    assert_eq!(on_udp(&count(10_000)), Answer(400));
    let vias = |n: usize| request(URI, &format!("v: SIP/2.0/UDP a{}\r\n", ",SIP/2.0/UDP b".repeat(n - 2)), "");
    assert_eq!((on_udp(&vias(MAX_VIAS)), on_udp(&vias(MAX_VIAS + 1))), (Forward, Answer(400)));
    let routes = |n: usize| request(URI, &format!("Route: <sip:r>{}\r\n", ",<sip:r>".repeat(n - 1)), "");
    assert_eq!((on_udp(&routes(MAX_ROUTES)), on_udp(&routes(MAX_ROUTES + 1))), (Forward, Answer(400)));
    let sdp = |n: usize| request(URI, "c: application/sdp\r\n", &"v".repeat(n));
    assert_eq!((on_udp(&sdp(MAX_SDP)), on_udp(&sdp(MAX_SDP + 1))), (Forward, Answer(413)));
    // A length of five digits.
    let spare = request(URI, "", "0").len() + 3;
    let message = |n: usize| request(URI, "", &"b".repeat(n - spare));
    assert_eq!((message(MAX_MESSAGE).len(), on_udp(&message(MAX_MESSAGE))), (MAX_MESSAGE, Forward));
    assert_eq!(on_udp(&message(MAX_MESSAGE + 1)), Answer(513));
}

#[test]
fn huge_headers_cost_nothing_in_proportion() {
    assert_eq!(on_udp(&request(URI, &format!("X: {}\r\n", "v".repeat(64 * 1024)), "")), Answer(513));
    assert_eq!(on_udp(&request(URI, &format!("X: 1{}\r\n", "\r\n f".repeat(256 * 1024)), "")), Answer(513));
    assert_eq!(on_udp(&request(URI, &"N\r\n".repeat(120), "")), Answer(400));
    let quotes = format!("X: {}\r\n", "\"\\\u{1}".repeat(1_300));
    assert_eq!(on_udp(&request(URI, &quotes, "")), Answer(400));
}
