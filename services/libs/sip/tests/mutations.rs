//! Hostile bytes: the parser never panics, and what it accepts it can forward so that it reads the same again.

use proptest::prelude::*;
use sip::edit::{Answer, Forward, answer, forward, forward_response};
use sip::{Index, Message, Name, sdp};

const SEEDS: [&str; 3] = [
    "INVITE sip:+4930123456@192.0.2.1;user=phone SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:5060;rport;branch=z9hG4bK1\r\nMax-Forwards: 70\r\nTo: \"B\\\"ob\" <sip:+4930123456@192.0.2.1>\r\nFrom: Alice <sip:+4917012345@192.0.2.10>;tag=19\r\nCall-ID: a84b4c@192.0.2.10\r\nCSeq: 314 INVITE\r\nRoute: <sip:c@192.0.2.1;lr>, <sip:d@192.0.2.2;lr>\r\nContact: <sip:a@192.0.2.10>\r\nSubject: fold\r\n ed\r\nContent-Type: application/sdp\r\nContent-Length: 76\r\n\r\nv=0\r\no=t 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 1.2.3.4\r\nm=audio 4000 RTP/AVP 0 8\r\n",
    "SIP/2.0 200 OK\r\nv: SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bKours, SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK1;received=1.1.1.1\r\nf: <sip:a@b>;tag=19\r\nt: <sip:c@d>;tag=aa\r\ni: a84b4c\r\nCSeq: 314 INVITE\r\nRecord-Route: <sip:c@192.0.2.1;lr>\r\nm: <sip:n@10.0.0.1:5080>\r\nl: 0\r\n\r\n",
    "BYE sip:n@[2001:db8::1]:5080 SIP/2.0\r\nVia: SIP/2.0/UDP [2001:db8::9]:5060;branch=z9hG4bK2\r\nTo: <sip:c@d>;tag=aa\r\nFrom: <sip:a@b>;tag=19\r\nCall-ID: a84b4c\r\nCSeq: 315 BYE\r\nMax-Forwards: 70\r\n\r\n",
];

#[derive(Debug, Clone)]
enum Mutation {
    Set(usize, u8),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Copy(usize, usize, usize),
    Cut(usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let odd = prop::sample::select(vec![
        &b"\r\n"[..],
        b"\n",
        b"\r",
        b"\0",
        b":",
        b";",
        b",",
        b"<",
        b">",
        b"\"",
        b"\\",
        b" ",
        b"\t",
        b"@",
        b"[",
        b"]",
        b"=",
        b"Via: ",
        b"Content-Length: 5\r\n",
        b"\r\n\r\n",
        b"99999999999999999999",
        b"%00",
        b"\xff",
        b"z9hG4bK",
    ]);
    prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, b)| Mutation::Set(at, b)),
        (any::<usize>(), odd).prop_map(|(at, t)| Mutation::Insert(at, t.to_vec())),
        (any::<usize>(), 1..40usize).prop_map(|(at, n)| Mutation::Remove(at, n)),
        (any::<usize>(), 1..60usize, any::<usize>()).prop_map(|(a, n, b)| Mutation::Copy(a, n, b)),
        any::<usize>().prop_map(Mutation::Cut),
    ]
}

fn apply(bytes: &mut Vec<u8>, mutation: &Mutation) {
    if bytes.is_empty() {
        return;
    }
    let len = bytes.len();
    match mutation {
        Mutation::Set(at, byte) => bytes[at % len] = *byte,
        Mutation::Insert(at, text) => {
            let at = at % len;
            bytes.splice(at..at, text.iter().copied());
        }
        Mutation::Remove(at, n) => {
            let at = at % len;
            bytes.drain(at..(at + n).min(len));
        }
        Mutation::Copy(from, n, to) => {
            let from = from % len;
            let part = bytes[from..(from + n).min(len)].to_vec();
            let to = to % len;
            bytes.splice(to..to, part);
        }
        Mutation::Cut(at) => bytes.truncate(at % len),
    }
}

/// What two parsers must agree on.
type Essence = (Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>, u32, usize, Vec<u8>);

fn essence(m: &Message<'_>) -> Essence {
    (
        m.method_token().to_vec(),
        m.call_id().to_vec(),
        m.from_tag().to_vec(),
        m.to_tag().to_vec(),
        m.cseq(),
        m.values(Name::Via).count(),
        m.body().to_vec(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 50_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_messages_never_panic_and_survive_being_forwarded(
        seed in 0..SEEDS.len(),
        mutations in prop::collection::vec(mutation(), 1..6),
    ) {
        let mut bytes = SEEDS[seed].as_bytes().to_vec();
        for m in &mutations {
            apply(&mut bytes, m);
        }
        let _ = sdp::Summary::parse(&bytes);
        let mut index = Index::new();
        match index.parse(&bytes) {
            Ok(message) => {
                let source = Some("198.51.100.7:6000".parse().unwrap());
                let mut out = Vec::new();
                let before = essence(&message);
                if message.is_request() {
                    let edit = Forward {
                        uri: None,
                        via: Some(b"SIP/2.0/UDP 10.0.0.9;branch=z9hG4bKnew"),
                        record_routes: &[b"<sip:c@10.0.0.9;lr>"],
                        pop_routes: 1,
                        max_forwards: 9,
                        source,
                        strip: &["x-trunkline-call"],
                        add: &[("X-Trunkline-Call", b"v")],
                    };
                    forward(&message, &edit, &mut out);
                    let mut back = Index::new();
                    let back = back.parse(&out).expect("what we forward can be read");
                    let mut after = essence(&back);
                    after.5 -= 1;
                    prop_assert_eq!(before, after);
                    let mut out = Vec::new();
                    answer(&message, &Answer { status: 500, reason: "x", to_tag: Some("t"), source, add: &[] }, &mut out);
                    prop_assert!(Index::new().parse(&out).is_ok());
                } else if before.5 > 1 {
                    forward_response(&message, None, &[], &mut out);
                    if let Ok(back) = Index::new().parse(&out) {
                        let mut after = essence(&back);
                        after.5 += 1;
                        prop_assert_eq!(before, after);
                    }
                }
            }
            Err(_) => {
                if let Some(message) = index.salvage(&bytes) {
                    let mut out = Vec::new();
                    answer(&message, &Answer { status: 400, reason: "x", to_tag: Some("t"), source: None, add: &[] }, &mut out);
                }
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut index = Index::new();
        let _ = index.parse(&bytes).map(|m| essence(&m));
        let _ = index.salvage(&bytes);
    }
}
