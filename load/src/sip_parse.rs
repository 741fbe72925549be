//! What parsing one INVITE costs, against rsip in the same run.
//!
//! The yardstick is an INVITE of 860 bytes with thirteen headers and a session description, as a carrier sends it. Both
//! parsers split it and read Via, From, To and CSeq as types; ours also checks what rsip does not (duplicates, control
//! bytes, lengths). They must read the same, else the run is void. The two take turns in short rounds and each one's best
//! round counts, so that a busy machine slows both alike.
//!
//! Gates: at most 350 ns, at least ten times as fast as rsip.

use std::hint::black_box;

use anyhow::{Context, ensure};
use rsip::prelude::*;
use serde_json::json;
use sip::{Index, Name};

use crate::avro::{keep_best, round};

const SIZE: usize = 860;
const HEADERS: usize = 13;
const MAX_NS: f64 = 350.0;
const MIN_RATIO: f64 = 10.0;

/// Runs the comparison; `Ok(false)` when a gate was asked for and missed.
pub fn run(args: &[String]) -> anyhow::Result<bool> {
    let flag = |name: &str| args.iter().any(|a| a == name);
    let unknown = args.iter().find(|a| !["--gate", "--smoke"].contains(&a.as_str()));
    ensure!(unknown.is_none(), "unknown argument {unknown:?}: sip-parse [--gate] [--smoke]");
    let rounds = if flag("--smoke") { 20 } else { 400 };

    let text = invite();
    let bytes = text.as_bytes();
    ensure!(bytes.len() == SIZE, "the yardstick has {} bytes", bytes.len());
    read_alike(bytes)?;

    let mut index = Index::new();
    let (mut split, mut typed) = (f64::INFINITY, f64::INFINITY);
    let (mut their_split, mut their_typed) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..rounds {
        keep_best(&mut split, || {
            black_box(index.parse(black_box(bytes)).is_ok());
        });
        keep_best(&mut typed, || {
            black_box(ours(&mut index, black_box(bytes)));
        });
        keep_best(&mut their_split, || {
            black_box(rsip::Request::try_from(black_box(bytes)).is_ok());
        });
        keep_best(&mut their_typed, || {
            black_box(theirs(black_box(bytes)));
        });
    }
    let ratio = their_typed / typed;
    let pass = typed <= MAX_NS && ratio >= MIN_RATIO;
    println!("one INVITE: {SIZE} bytes, {HEADERS} headers, with a session description");
    println!("{:34} {:>9} {:>9} {:>7}", "", "ours", "rsip", "ratio");
    println!("{:34} {split:>6.0} ns {their_split:>6.0} ns {:>7.1}", "parse", their_split / split);
    println!("{:34} {typed:>6.0} ns {their_typed:>6.0} ns {ratio:>7.1}", "parse, typed Via, From, To, CSeq");
    let verdict = if pass { "pass" } else { "MISSED" };
    println!("gates: typed <= {MAX_NS} ns and ratio >= {MIN_RATIO}: {verdict}");
    println!(
        "{}",
        json!({
            "bench": "sip-parse", "ratio": round(ratio), "gate": MIN_RATIO, "pass": pass, "bytes": SIZE,
            "headers": HEADERS, "parse_ns": split.round(), "typed_ns": typed.round(), "gate_typed_ns": MAX_NS,
            "rsip_parse_ns": their_split.round(), "rsip_typed_ns": their_typed.round(),
        })
    );
    Ok(pass || !flag("--gate"))
}

/// The typed views that routing reads; the parser has made them already.
fn ours(index: &mut Index, bytes: &[u8]) -> Option<(u16, u32, usize)> {
    let m = index.parse(bytes).ok()?;
    let via = m.via();
    let ends = m.branch().len() + m.from_tag().len() + m.to_tag().len() + m.call_id().len();
    Some((via.port?, m.cseq(), ends))
}

fn theirs(bytes: &[u8]) -> Option<(u16, u32, usize)> {
    let m = rsip::Request::try_from(bytes).ok()?;
    let via = m.via_header().ok()?.typed().ok()?;
    let from = m.from_header().ok()?.typed().ok()?;
    let to = m.to_header().ok()?.typed().ok()?;
    let cseq = m.cseq_header().ok()?.typed().ok()?;
    let tag = |t: Option<&rsip::param::Tag>| t.map_or(0, |t| t.value().len());
    let ends = via.branch()?.value().len() + tag(from.tag()) + tag(to.tag()) + m.call_id_header().ok()?.value().len();
    Some((*via.uri.port()?.value(), cseq.seq, ends))
}

fn read_alike(bytes: &[u8]) -> anyhow::Result<()> {
    let mut index = Index::new();
    let read = ours(&mut index, bytes).context("our parser refuses the yardstick")?;
    ensure!(Some(read) == theirs(bytes), "the two parsers read different things");
    let m = index.parse(bytes).context("our parser refuses the yardstick")?;
    ensure!(m.headers().len() == HEADERS, "{} headers", m.headers().len());
    ensure!(!m.body().is_empty() && m.header(Name::Contact).is_some(), "body or Contact is missing");
    Ok(())
}

fn invite() -> String {
    let sdp = "v=0\r\no=trunk 53655765 2353687637 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n\
        m=audio 40000 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
        a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=maxptime:40\r\na=sendrecv\r\n";
    format!(
        "INVITE sip:+4930123456@192.0.2.1:5060 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-524287-1---a9b2c3d4e5;rport\r\n\
         Max-Forwards: 70\r\n\
         Contact: <sip:+4917012345@192.0.2.10:5060;transport=udp>\r\n\
         To: <sip:+4930123456@192.0.2.1>\r\n\
         From: \"Alice\" <sip:+4917012345@192.0.2.10>;tag=8f3a2b1c\r\n\
         Call-ID: 9c2f4e8a-6b1d-4f3e-a7c9@192.0.2.10\r\n\
         CSeq: 1 INVITE\r\n\
         Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, INFO, UPDATE, PRACK, REFER\r\n\
         Supported: replaces, timer, 100rel\r\n\
         User-Agent: Carrier-SBC/12.4.1 (build 202609)\r\n\
         P-Asserted-Identity: <sip:+4917012345@192.0.2.10>\r\n\
         Content-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
}
