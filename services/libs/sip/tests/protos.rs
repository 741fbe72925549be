//! INVITEs with one field out of order at a time, some thousands of them, in the manner of the PROTOS suite (M-18): each place of
//! the grammar meets each kind of oddity. None may do harm, and what goes on is read alike by everybody.

mod common;

use common::Outcome;
use common::{on_stream, on_udp};

/// Where an oddity goes: `{}` stands for it, everything else is a good INVITE.
const PLACES: [(&str, &str); 46] = [
    ("INVITE sip:a@example.com SIP/2.0", "{} sip:a@example.com SIP/2.0"),
    ("sip:a@example.com SIP/2.0", "{} SIP/2.0"),
    ("sip:a@example.com SIP/2.0", "{}:a@example.com SIP/2.0"),
    ("sip:a@example.com SIP/2.0", "sip:{}@example.com SIP/2.0"),
    ("sip:a@example.com SIP/2.0", "sip:a@{} SIP/2.0"),
    ("sip:a@example.com SIP/2.0", "sip:a@example.com:{} SIP/2.0"),
    ("sip:a@example.com SIP/2.0", "sip:a@example.com;{} SIP/2.0"),
    ("SIP/2.0\r\nVia", "{}\r\nVia"),
    ("SIP/2.0\r\nVia", "SIP/{}\r\nVia"),
    ("Via: SIP", "{}: SIP"),
    ("SIP/2.0/UDP", "{}/2.0/UDP"),
    ("SIP/2.0/UDP", "SIP/{}/UDP"),
    ("SIP/2.0/UDP", "SIP/2.0/{}"),
    ("192.0.2.1:5060", "{}:5060"),
    ("192.0.2.1:5060", "192.0.2.1:{}"),
    ("z9hG4bK1", "{}"),
    ("z9hG4bK1", "z9hG4bK1;{}"),
    ("z9hG4bK1", "z9hG4bK1;received={}"),
    ("z9hG4bK1", "z9hG4bK1;rport={}"),
    ("\"Bea\" <", "{} <"),
    ("\"Bea\" <", "\"{}\" <"),
    ("<sip:b@example.com>", "{}"),
    ("<sip:b@example.com>", "<{}>"),
    ("<sip:b@example.com>", "<sip:{}@example.com>"),
    ("tag=1", "{}"),
    ("tag=1", "tag={}"),
    ("tag=1", "tag=1;{}"),
    ("To: <sip:a@example.com>", "To: {}"),
    ("To: <sip:a@example.com>", "To: <{}>"),
    ("To: <sip:a@example.com>", "To: <sip:a@example.com>{}"),
    ("To: <sip:a@example.com>", "To: <sip:a@example.com>;tag={}"),
    ("call-1", "{}"),
    ("call-1", "call-1@{}"),
    ("CSeq: 1 INVITE", "CSeq: {}"),
    ("CSeq: 1 INVITE", "CSeq: {} INVITE"),
    ("CSeq: 1 INVITE", "CSeq: 1 {}"),
    ("Max-Forwards: 70", "Max-Forwards: {}"),
    ("Max-Forwards: 70", "{}"),
    ("<sip:b@192.0.2.1>", "{}"),
    ("<sip:b@192.0.2.1>", "<sip:{}@192.0.2.1>"),
    ("<sip:b@192.0.2.1>", "<sip:b@192.0.2.1>;{}"),
    ("application/sdp", "{}"),
    ("Content-Length: 5", "Content-Length: {}"),
    ("Content-Length: 5", "{}: 5"),
    ("Content-Length: 5", "Content-Length: 5\r\nRoute: {}"),
    ("v=0\r\n", "{}"),
];

const INVITE: &str = "INVITE sip:a@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1\r\n\
    From: \"Bea\" <sip:b@example.com>;tag=1\r\nTo: <sip:a@example.com>\r\nCall-ID: call-1\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n\
    Contact: <sip:b@192.0.2.1>\r\nContent-Type: application/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n";

fn oddities() -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = [
        "",
        " ",
        "\t",
        "\0",
        "\x01",
        "\x7f",
        "\r",
        "\n",
        "\r\n",
        "\r\n ",
        "\r\n\r\n",
        "\r\nTo: <sip:x@y>",
        "a\r\nRoute: <sip:x>",
        "\"",
        "\\",
        "\"\\",
        "\"a",
        "<",
        ">",
        "<>",
        "<<",
        "<sip:a>",
        ",",
        ",,",
        ";",
        ";;",
        ":",
        "::",
        ":::",
        "=",
        "==",
        "@",
        "@@",
        "%",
        "%00",
        "%0d%0a",
        "%s%s%s%n",
        "%x%x%.1024d",
        "{}",
        "../../etc/passwd",
        "' OR 1=1 --",
        "$(id)",
        "0",
        "-1",
        "+1",
        "1.0",
        "1e9",
        "0x10",
        "00000000000001",
        "255",
        "256",
        "65535",
        "65536",
        "2147483647",
        "2147483648",
        "4294967295",
        "4294967296",
        "18446744073709551616",
        "127.0.0.1",
        "255.255.255.255",
        "0.0.0.0",
        "1.2.3",
        "1.2.3.4.5",
        "999.1.1.1",
        "[::1]",
        "[::",
        "[::1%25eth0]",
        "[1.2.3.4]",
        "::1",
        "INVITE",
        "invite",
        "ACK",
        "sip:",
        "sip:@",
        "sip:a@b@c",
        "tel:+1",
        "tel:a@b",
        "sips:a@b",
        "urn:x:y",
        "http://a",
        "mailto:a@b",
        "*",
        "SIP/2.0",
        "tag=1",
        "tag=",
        "branch=z9hG4bK2",
        "lr",
        "maddr=127.0.0.1",
        "z9hG4bK",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    for unit in [&b"a"[..], b"%41", b" ", b"\"", b"<", b";a", b",", b"\xff", b"1", b"\r\n ", b"."] {
        for times in [16, 255, 1_025, 5_000] {
            found.push(unit.repeat(times));
        }
    }
    found.push(b"\xc0\xaf".to_vec());
    found.push(b"\xed\xa0\x80".to_vec());
    found.push("Ω≈ç√∫".as_bytes().to_vec());
    found
}

#[test]
fn one_field_out_of_order_at_a_time_does_no_harm() {
    assert_eq!(on_udp(INVITE.as_bytes()), Outcome::Forward);
    let (mut cases, mut forwarded) = (0, 0);
    for (good, place) in PLACES {
        let (before, after) = INVITE.split_once(good).unwrap_or_else(|| panic!("{good:?} is not in the message"));
        let (left, right) = place.split_once("{}").expect("a place");
        for oddity in oddities() {
            let message = [before.as_bytes(), left.as_bytes(), &oddity, right.as_bytes(), after.as_bytes()].concat();
            cases += 1;
            forwarded += usize::from(on_udp(&message) == Outcome::Forward);
            on_stream(&message, 1_400);
        }
    }
    println!("{cases} INVITEs, {forwarded} forwarded");
    assert!(cases >= 4_500 && forwarded < cases / 2, "{cases} {forwarded}");
}
