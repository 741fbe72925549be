//! The 49 messages of RFC 4475, each with what an edge must do with it on either transport.
//!
//! The messages were written for this suite after the RFC's descriptions, byte for byte where the oddity is in the bytes.

mod common;

use common::Outcome::{self, Answer, AnswerAndClose, Drop, Forward, WaitAndClose};
use common::{mutate, on_stream, on_udp, written};
use sip::{Index, Method, Name, NameAddr, Uri};

/// Section, name, outcome on UDP, outcome on a stream.
const CASES: [(&str, &str, Outcome, Outcome); 49] = [
    ("3.1.1.1", "wsinv", Forward, Forward),
    ("3.1.1.2", "intmeth", Forward, Forward),
    ("3.1.1.3", "esc01", Forward, Forward),
    ("3.1.1.4", "escnull", Forward, Forward),
    ("3.1.1.5", "esc02", Forward, Forward),
    ("3.1.1.6", "lwsdisp", Forward, Forward),
    ("3.1.1.7", "longreq", Forward, Forward),
    ("3.1.1.8", "dblreq", Forward, Forward),
    ("3.1.1.9", "semiuri", Forward, Forward),
    ("3.1.1.10", "transports", Forward, Forward),
    ("3.1.1.11", "mpart01", Forward, Forward),
    ("3.1.1.12", "unreason", Forward, Forward),
    ("3.1.1.13", "noreason", Forward, Forward),
    // Its Via cannot be used, so nobody could be answered.
    ("3.1.2.1", "badinv01", Drop, Drop),
    ("3.1.2.2", "clerr", Answer(400), WaitAndClose),
    ("3.1.2.3", "ncl", Answer(400), AnswerAndClose(400)),
    ("3.1.2.4", "scalar02", Answer(400), Answer(400)),
    ("3.1.2.5", "scalarlg", Drop, Drop),
    ("3.1.2.6", "quotbal", Answer(400), Answer(400)),
    ("3.1.2.7", "ltgtruri", Answer(400), Answer(400)),
    ("3.1.2.8", "lwsruri", Answer(400), AnswerAndClose(400)),
    ("3.1.2.9", "lwsstart", Answer(400), AnswerAndClose(400)),
    ("3.1.2.10", "trws", Answer(400), AnswerAndClose(400)),
    ("3.1.2.11", "escruri", Answer(400), Answer(400)),
    ("3.1.2.12", "baddate", Forward, Forward),
    ("3.1.2.13", "regbadct", Answer(400), Answer(400)),
    ("3.1.2.14", "badaspec", Answer(400), Answer(400)),
    ("3.1.2.15", "baddn", Answer(400), Answer(400)),
    ("3.1.2.16", "badvers", Answer(505), Answer(505)),
    ("3.1.2.17", "mismatch01", Answer(400), Answer(400)),
    ("3.1.2.18", "mismatch02", Answer(501), Answer(501)),
    ("3.1.2.19", "bigcode", Drop, Drop),
    ("3.2.1", "badbranch", Answer(400), Answer(400)),
    ("3.3.1", "insuf", Answer(400), Answer(400)),
    ("3.3.2", "unkscm", Answer(416), Answer(416)),
    ("3.3.3", "novelsc", Answer(416), Answer(416)),
    ("3.3.4", "unksm2", Forward, Forward),
    ("3.3.5", "bext01", Answer(420), Answer(420)),
    ("3.3.6", "invut", Forward, Forward),
    ("3.3.7", "regaut01", Forward, Forward),
    ("3.3.8", "multi01", Answer(400), Answer(400)),
    ("3.3.9", "mcl01", Answer(400), AnswerAndClose(400)),
    ("3.3.10", "bcast", Drop, Drop),
    ("3.3.11", "zeromf", Answer(483), Answer(483)),
    ("3.3.12", "cparam01", Forward, Forward),
    ("3.3.13", "cparam02", Forward, Forward),
    ("3.3.14", "regescrt", Forward, Forward),
    ("3.3.15", "sdp01", Forward, Forward),
    // RFC 2543 knew no Content-Length on UDP; a stream cannot do without.
    ("3.4.1", "inv2543", Forward, AnswerAndClose(400)),
];

fn read(name: &str) -> Vec<u8> {
    common::read("rfc4475", name)
}

#[test]
fn every_message_has_its_outcome_on_both_transports() {
    let mut good = 0;
    for (section, name, udp, stream) in CASES {
        let bytes = read(name);
        let on_both = [1, 7, bytes.len()].map(|piece| on_stream(&bytes, piece).first().copied());
        let seen = (on_udp(&bytes), on_both);
        if seen == (udp, [Some(stream); 3]) {
            good += 1;
        } else {
            println!("{section} {name}: {seen:?}, expected {udp:?} and {stream:?}");
        }
    }
    println!("rfc4475 {good}/49");
    assert_eq!(good, 49);
}

#[test]
fn mutants_do_no_harm_and_what_goes_on_is_read_alike() {
    let mut mutants = 0;
    for (_, name, ..) in CASES {
        let bytes = read(name);
        for (_, mutator) in mutate::ALL {
            for mutant in mutator(&bytes) {
                mutants += 1;
                on_udp(&mutant);
                on_stream(&mutant, 1_500);
            }
        }
    }
    println!("{mutants} mutants");
    assert!(mutants > 10_000, "{mutants}");
}

#[test]
fn a_second_request_is_cut_off_a_datagram_and_read_from_a_stream() {
    let bytes = read("dblreq");
    assert_eq!(on_stream(&bytes, 11), [Forward, Forward]);
    let mut index = Index::new();
    let m = index.parse(&bytes).unwrap();
    let out = written(&m);
    assert!(!out.windows(6).any(|w| w == b"INVITE"));
}

#[test]
fn odd_but_legal_parts_are_read_right_and_kept_byte_for_byte() {
    let bytes = read("wsinv");
    let mut index = Index::new();
    let m = index.parse(&bytes).unwrap();
    assert_eq!((m.max_forwards(), m.cseq(), m.body().len()), (Some(68), 9, 150));
    assert_eq!(m.values(Name::Via).count(), 3);
    let out = written(&m);
    let has = |part: &[u8]| out.windows(part.len()).any(|w| w == part);
    assert!(has(b"\r\nUnknownHeaderWithUnusualValue: ;;,,;;,;\r\n") && has(b"MaX-fOrWaRdS: 67\r\n"));

    let bytes = read("esc02");
    let m = index.parse(&bytes).unwrap();
    assert_eq!((m.method(), m.values(Name::Contact).count()), (Method::Other, 2));

    // An escape is undone once: what looks like another stays text.
    let bytes = read("esc01");
    let m = index.parse(&bytes).unwrap();
    let user = |uri: &[u8]| Uri::parse(uri).unwrap().user.map(|u| sip::unescaped(u).into_owned());
    assert_eq!(user(m.uri()).unwrap(), b"sips:user@example.com");
    assert_eq!(user(m.to().uri).unwrap(), b"user");
    let contact = m.contact().unwrap().uri;
    let value = Uri::parse(contact).unwrap().params.split(|&b| b == b'=').nth(1).unwrap();
    assert_eq!(&*sip::unescaped(value), b"value%41");

    let bytes = read("escnull");
    let m = index.parse(&bytes).unwrap();
    let contacts: Vec<NameAddr<'_>> = m.values(Name::Contact).filter_map(NameAddr::parse).collect();
    let [one, two] = contacts[..] else { panic!("{contacts:?}") };
    assert!(!Uri::parse(one.uri).unwrap().is_same(&Uri::parse(two.uri).unwrap()), "two bindings");

    let bytes = read("semiuri");
    let m = index.parse(&bytes).unwrap();
    assert_eq!(Uri::parse(m.uri()).unwrap().user, Some(&b"user;par=u%40example.net"[..]));

    let bytes = read("mpart01");
    let m = index.parse(&bytes).unwrap();
    assert_eq!(m.body().len(), 553);
    assert!(written(&m).ends_with(m.body()));

    for (name, in_header, in_uri) in [("cparam01", true, false), ("cparam02", false, true)] {
        let bytes = read(name);
        let m = index.parse(&bytes).unwrap();
        let contact: NameAddr<'_> = m.contact().unwrap();
        let uri = Uri::parse(contact.uri).unwrap();
        let seen = (contact.param(b"unknownparam").is_some(), uri.param(b"unknownparam").is_some());
        assert_eq!(seen, (in_header, in_uri), "{name}");
    }

    let bytes = read("bext01");
    let m = index.parse(&bytes).unwrap();
    assert_eq!(sip::unsupported(&m), "noProxiesSupportThis, norDoAnyProxiesSupportThis");

    let bytes = read("inv2543");
    let m = index.parse(&bytes).unwrap();
    let out = written(&m);
    let text = String::from_utf8_lossy(&out);
    assert!(text.contains("\r\nMax-Forwards: 70\r\n") && text.contains("\r\nContent-Length: 150\r\n"), "{text}");
}
