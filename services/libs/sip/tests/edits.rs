//! Edits touch nothing else: between the lines that an edit names, every byte of a forwarded request is the sender's.

use proptest::prelude::*;
use sip::edit::{Forward, forward};
use sip::{Index, Name};

/// Header lines that no edit names, with whatever bytes a sender may put there.
fn odd_line() -> impl Strategy<Value = Vec<u8>> {
    let name = "X-[A-Za-z0-9.!%*_+~-]{1,12}";
    let value = prop::collection::vec(
        prop_oneof![
            8 => (0x21u8..0x7f).prop_map(|b| vec![b]),
            3 => (0x80u8..=0xff).prop_map(|b| vec![b]),
            2 => Just(b" ".to_vec()),
            1 => Just(b"\t".to_vec()),
            1 => Just(b"\r\n folded".to_vec()),
        ],
        0..40,
    );
    (name, value).prop_map(|(name, value)| [name.as_bytes(), b":", &value.concat(), b"\r\n"].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_byte_outside_the_edited_spans_is_the_senders(
        odd in prop::collection::vec(odd_line(), 4),
        routes in 0usize..4, pop in 0usize..3, with_mf in any::<bool>(), body in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let route: String = (0..routes).map(|i| format!("Route: <sip:r{i}@192.0.2.1;lr>\r\n")).collect();
        let mf = if with_mf { "Max-Forwards: 0070\r\n" } else { "" };
        let mut text = b"INVITE sip:a@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1;rport\r\n".to_vec();
        text.extend_from_slice(&odd[0]);
        text.extend_from_slice(route.as_bytes());
        text.extend_from_slice(&odd[1]);
        text.extend_from_slice(mf.as_bytes());
        text.extend_from_slice(b"f: B <sip:b@example.com>;tag=1\r\nTO: <sip:a@example.com>\r\ni: x\r\ncSEQ: 007 INVITE\r\nX-Gone: 1\r\n");
        text.extend_from_slice(&odd[2]);
        text.extend_from_slice(format!("l: {}\r\n", body.len()).as_bytes());
        text.extend_from_slice(&odd[3]);
        text.extend_from_slice(b"\r\n");
        text.extend_from_slice(&body);

        let mut index = Index::new();
        let m = index.parse(&text).expect("a legal message");
        let mut out = Vec::new();
        let edit = Forward {
            uri: Some(b"sip:a@10.0.0.1"),
            via: Some(b"SIP/2.0/UDP 10.0.0.9;branch=z9hG4bKours"),
            record_routes: &[b"<sip:10.0.0.9;lr>"],
            pop_routes: pop,
            max_forwards: 69,
            source: Some("198.51.100.7:6000".parse().unwrap()),
            strip: &["x-gone"],
            add: &[("X-Trunkline-Call", b"v")],
        };
        forward(&m, &edit, &mut out);

        // The same edits by hand, piece by piece.
        let kept: String = (pop..routes).map(|i| format!("Route: <sip:r{i}@192.0.2.1;lr>\r\n")).collect();
        let mut want = b"INVITE sip:a@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.9;branch=z9hG4bKours\r\nRecord-Route: <sip:10.0.0.9;lr>\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1;rport=6000;received=198.51.100.7\r\n".to_vec();
        want.extend_from_slice(&odd[0]);
        want.extend_from_slice(kept.as_bytes());
        want.extend_from_slice(&odd[1]);
        want.extend_from_slice(if with_mf { b"Max-Forwards: 69\r\n" } else { b"" });
        want.extend_from_slice(b"f: B <sip:b@example.com>;tag=1\r\nTO: <sip:a@example.com>\r\ni: x\r\ncSEQ: 007 INVITE\r\n");
        want.extend_from_slice(&odd[2]);
        want.extend_from_slice(format!("l: {}\r\n", body.len()).as_bytes());
        want.extend_from_slice(&odd[3]);
        want.extend_from_slice(b"X-Trunkline-Call: v\r\n");
        want.extend_from_slice(if with_mf { b"" } else { b"Max-Forwards: 69\r\n" });
        want.extend_from_slice(b"\r\n");
        want.extend_from_slice(&body);
        prop_assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&want));

        let mut again = Index::new();
        let again = again.parse(&out).expect("what we write we can read");
        prop_assert_eq!((again.cseq(), again.body(), again.call_id()), (7, &body[..], &b"x"[..]));
        prop_assert_eq!(again.values(Name::Route).count(), routes.saturating_sub(pop));
    }
}
