//! The messages of one call, written with the size and the headers that carriers and switches send.

use std::io::Write;
use std::net::SocketAddrV4;

use super::name::Name;
use super::read::Dialog;

/// Of a request within its call; the branch is this and the call's name.
pub struct Request<'a> {
    pub method: &'a str,
    pub cseq: u32,
    pub branch: &'a str,
}

/// The caller's first request. Written anew for each try: it is the same each time.
pub fn invite(out: &mut Vec<u8>, name: Name, from: SocketAddrV4, to: SocketAddrV4) {
    const BODY: &str = "v=0\r\no=load 20518 1 IN IP4 127.0.0.1\r\ns=call\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
        m=audio 40000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
        a=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n";
    begin(out, &Request { method: "INVITE", cseq: 1, branch: "i" }, b"", name, from, to);
    put(
        out,
        format_args!(
            "To: <sip:+4930123456@{to}>\r\nContact: <sip:caller@{from}>\r\n\
             Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE\r\nSupported: timer\r\nUser-Agent: load/1\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{BODY}",
            BODY.len()
        ),
    );
}

/// A further request of the caller.
pub fn follow_up(
    out: &mut Vec<u8>,
    request: &Request<'_>,
    dialog: &Dialog,
    name: Name,
    from: SocketAddrV4,
    to: SocketAddrV4,
) {
    begin(out, request, &dialog.target, name, from, to);
    out.extend_from_slice(&dialog.lines);
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
}

/// Up to Call-ID and CSeq.
fn begin(out: &mut Vec<u8>, request: &Request<'_>, target: &[u8], name: Name, from: SocketAddrV4, to: SocketAddrV4) {
    let Request { method, cseq, branch } = request;
    out.clear();
    put(out, format_args!("{method} "));
    match target {
        b"" => put(out, format_args!("sip:+4930123456@{to}")),
        target => out.extend_from_slice(target),
    }
    put(
        out,
        format_args!(
            " SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{branch}{name}\r\nMax-Forwards: 70\r\n\
             From: \"Bench\" <sip:+4930{:07}@{from}>;tag=c{:x}\r\nCall-ID: {name}\r\nCSeq: {cseq} {method}\r\n",
            name.serial % 10_000_000,
            name.serial
        ),
    );
}

/// What a node answers: `copied` is what it repeats of the request.
pub fn response(out: &mut Vec<u8>, status: u16, copied: &[u8], node: SocketAddrV4, with_session: bool) {
    const BODY: &str = "v=0\r\no=node 20518 1 IN IP4 127.0.0.1\r\ns=call\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
        m=audio 40002 RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n";
    let reason = match status {
        180 => "Ringing",
        200 => "OK",
        _ => "Busy Here",
    };
    out.clear();
    put(out, format_args!("SIP/2.0 {status} {reason}\r\n"));
    out.extend_from_slice(copied);
    put(out, format_args!("Contact: <sip:node@{node}>\r\n"));
    if with_session {
        put(out, format_args!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{BODY}", BODY.len()));
    } else {
        put(out, format_args!("Content-Length: 0\r\n\r\n"));
    }
}

pub fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a vector takes everything");
}
