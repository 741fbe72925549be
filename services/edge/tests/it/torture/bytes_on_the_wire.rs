//! What passes through leaves byte for byte as it came, however odd: the torture messages that this edge forwards, the ones that
//! it would forward inside another policy, and odd responses to its own INVITEs.

use super::lab::Lab;
use super::messages::read;
use crate::text::Msg;
use crate::world::{NODE_SIDE, n1};
use edge::core::{Hop, Input};

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|w| w == part)
}

fn without(bytes: &[u8], part: &[u8]) -> Vec<u8> {
    let at = bytes.windows(part.len()).position(|w| w == part).expect("the part is there");
    [&bytes[..at], &bytes[at + part.len()..]].concat()
}

/// The tortuous INVITE as one that begins a call: without the tag in To, and without the foreign Route.
fn wsinv() -> Vec<u8> {
    let bytes = without(&read("rfc4475", "wsinv"), b" ;   tag    = 1918181833n");
    without(&bytes, b"Route:\r\n <sip:services.example.com;lr;unknownwith=value;unknown-no-value>\r\n")
}

fn forwarded(bytes: &[u8]) -> Vec<u8> {
    let mut lab = Lab::new();
    lab.datagram(bytes);
    let [(_, received)] = &lab.to_node[..] else { panic!("not forwarded: {:?}", lab.to_sender) };
    let received = received.clone();
    lab.settle();
    received
}

#[test]
fn the_tortuous_invite_keeps_every_byte_that_is_not_ours_to_change() {
    let out = forwarded(&wsinv());
    for part in [
        &b"\r\nMaX-fOrWaRdS: 67\r\n"[..],
        b"\r\ncseq: 0009\r\n  INVITE\r\n",
        b"\r\nContent-Length: 150\r\n",
        b"\r\nNewFangledHeader:   newfangled value\r\n continued newfangled value\r\n",
        b"\r\nUnknownHeaderWithUnusualValue: ;;,,;;,;\r\n",
        b"\r\ns:\r\n",
        b"\r\nVia: SIP  /   2.0\r\n /UDP\r\n    192.0.2.2;branch=390skdjuw",
        b"\r\nv:  SIP  / 2.0  / TCP     spindle.example.com   ;\r\n  branch  =   z9hG4bK9ikj8  ,\r\n SIP  /    2.0   / UDP  192.168.255.111   ; branch=\r\n z9hG4bK30239\r\n",
        b" ; newparam =\r\n      newvalue ;\r\n  secondparam ; q = 0.33\r\n",
    ] {
        assert!(has(&out, part), "{} is not in {}", part.escape_ascii(), out.escape_ascii());
    }
    let body = wsinv();
    let body = &body[body.windows(4).position(|w| w == b"\r\n\r\n").unwrap()..];
    assert!(out.ends_with(body) && body.len() == 154);
}

#[test]
fn odd_users_and_headers_reach_the_node_as_they_came() {
    for (name, user, kept) in [
        ("esc01", &b"INVITE sip:sips%3Auser%40example.com@"[..], &b";%6C%72;n%61me=v%61lue%25%34%31>"[..]),
        ("baddate", b"INVITE sip:", b"\r\nDate: Fri, 01 Jan 2010 16:00:00 EST\r\n"),
        ("invut", b"INVITE sip:", b"\r\nContent-Type: application/unknownformat\r\n"),
        ("sdp01", b"INVITE sip:", b"\r\nAccept: text/nobodyKnowsThis\r\n"),
    ] {
        let out = forwarded(&read("rfc4475", name));
        assert!(out.starts_with(user) && has(&out, kept), "{name}: {}", out.escape_ascii());
    }
    let out = forwarded(&read("rfc4475", "inv2543"));
    assert!(has(&out, b"\r\nMax-Forwards: 70\r\n") && has(&out, b"\r\nContent-Length: 150\r\n"));
    let out = forwarded(&read("rfc4475", "longreq"));
    assert!(
        out.windows(4).filter(|w| w.eq_ignore_ascii_case(b"\r\nvi") || w.eq_ignore_ascii_case(b"\r\nv:")).count() >= 34
    );
}

#[test]
fn the_same_call_on_two_branches_without_the_cookie_is_matched_as_in_rfc_2543() {
    let mut lab = Lab::new();
    lab.datagram(&wsinv());
    lab.datagram(&wsinv());
    assert_eq!((lab.to_node.len(), lab.to_sender.len()), (1, 2), "the copy is a copy");
    lab.settle();
}

/// The INVITE as a node got it, and the answer with that start line, our Vias and dialog, and what else is odd.
fn answer_with(odd: &[u8]) -> Vec<Vec<u8>> {
    let mut lab = Lab::new();
    lab.datagram(&read("rfc4475", "sdp01"));
    let (node, received) = lab.to_node.remove(0);
    lab.forget();
    let asked = Msg::parse(&received);
    let mut out = odd[..odd.windows(2).position(|w| w == b"\r\n").unwrap() + 2].to_vec();
    for (name, value) in &asked.reply(200, "x", "callee").headers {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    out.extend_from_slice(format!("Contact: <sip:n@{}>\r\nContent-Length: 0\r\n\r\n", n1()).as_bytes());
    lab.give(Input::Datagram { hop: Hop::to(NODE_SIDE, node), bytes: &out });
    let seen = std::mem::take(&mut lab.to_sender);
    lab.pass(std::time::Duration::from_secs(300));
    seen
}

#[test]
fn an_unusual_reason_phrase_comes_back_unchanged_and_a_status_out_of_range_never() {
    let odd = read("rfc4475", "unreason");
    let start = &odd[..odd.windows(2).position(|w| w == b"\r\n").unwrap() + 2];
    let seen = answer_with(&odd);
    assert!(seen.len() == 1 && seen[0].starts_with(start), "{seen:?}");
    assert_eq!(answer_with(&read("rfc4475", "noreason")).len(), 0, "a 100 is hop by hop");
    let seen = answer_with(b"SIP/2.0 180 \r\n");
    assert!(seen.len() == 1 && seen[0].starts_with(b"SIP/2.0 180 \r\n"), "{seen:?}");
    for status in ["4294967301", "0", "99", "099", "700", "1000", "-1", "20", "2000", "2OO", " 200", ""] {
        let start = format!("SIP/2.0 {status} better not break the receiver\r\n");
        assert_eq!(answer_with(start.as_bytes()).len(), 0, "{status}");
    }
}
