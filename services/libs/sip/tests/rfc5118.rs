//! The 12 messages of RFC 5118: IPv6 addresses in SIP.

mod common;

use common::Outcome::{Answer, Forward};
use common::{mutate, on_stream, on_udp, written};
use sip::{Index, Uri, host_ip, sdp};

const CASES: [(&str, common::Outcome); 12] = [
    ("4.1", Forward),
    ("4.2", Answer(400)),
    ("4.3", Forward),
    ("4.4", Forward),
    ("4.5a", Forward),
    ("4.5b", Forward),
    ("4.6", Forward),
    ("4.7", Forward),
    ("4.8", Forward),
    ("4.9", Forward),
    ("4.10a", Forward),
    ("4.10b", Forward),
];

fn read(name: &str) -> Vec<u8> {
    common::read("rfc5118", name)
}

#[test]
fn every_message_has_its_outcome_on_both_transports() {
    let mut good = 0;
    for (name, outcome) in CASES {
        let bytes = read(name);
        let seen = (on_udp(&bytes), on_stream(&bytes, 5));
        if seen == (outcome, vec![outcome]) {
            good += 1;
        } else {
            println!("{name}: {seen:?}, expected {outcome:?}");
        }
        for (_, mutator) in mutate::ALL {
            for mutant in mutator(&bytes) {
                on_udp(&mutant);
                on_stream(&mutant, 1_500);
            }
        }
    }
    println!("rfc5118 {good}/12");
    assert_eq!(good, 12);
}

#[test]
fn addresses_and_ports_are_told_apart() {
    let mut index = Index::new();
    for (name, host, port) in [
        ("4.3", "2001:db8::10:5070", None),
        ("4.4", "2001:db8::10", Some(5070)),
        ("4.10a", "2001:db8::192.0.2.1", None),
    ] {
        let bytes = read(name);
        let uri = Uri::parse(index.parse(&bytes).unwrap().uri()).unwrap();
        assert_eq!((uri.ip(), uri.port), (host.parse().ok(), port), "{name}");
    }
    for name in ["4.5a", "4.5b"] {
        let bytes = read(name);
        let m = index.parse(&bytes).unwrap();
        let received = m.via().received.unwrap().of(&bytes);
        assert_eq!(host_ip(received), "2001:db8::9:255".parse().ok(), "{name}");
    }
    let bytes = read("4.9");
    let m = index.parse(&bytes).unwrap();
    assert_eq!(host_ip(m.via().host.of(&bytes)), "192.0.2.10".parse().ok(), "a rule about IPv4 is true for it");
    assert_eq!(m.via().port, Some(19823));
    let bytes = read("4.6");
    let media = sdp::Summary::parse(index.parse(&bytes).unwrap().body()).unwrap().media_ip;
    assert_eq!(media, "2001:db8::20".parse().ok());
}

#[test]
fn the_colon_too_many_is_not_written() {
    let mut index = Index::new();
    let bytes = read("4.10a");
    let out = written(&index.parse(&bytes).unwrap());
    assert!(
        out.starts_with(b"OPTIONS sip:user@[2001:db8::192.0.2.1] SIP/2.0\r\n"),
        "{}",
        String::from_utf8_lossy(&out)
    );
}
