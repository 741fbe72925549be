//! Reads what the proxy writes a second and a third time: by a strict reader that knows nothing of the product's parser, and by
//! rsip where it accepts the message. Neither may read another method, URI, tag, Call-ID, CSeq or length.

use rsip::prelude::*;
use sip::{Message, Uri};

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Splits on CRLF, joins folds, allows no white space before a colon, takes each name once.
pub fn strictly(m: &Message<'_>, out: &[u8]) {
    let end = out.windows(4).position(|w| w == b"\r\n\r\n").expect("an empty line");
    let body = &out[end + 4..];
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for line in split_crlf(&out[..end]) {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            lines.last_mut().expect("a line before the fold").extend_from_slice(line);
        } else {
            lines.push(line.to_vec());
        }
    }
    let start = lines.remove(0);
    if m.is_request() {
        let words: Vec<&[u8]> = start.split(|&b| b == b' ').collect();
        assert_eq!(words.len(), 3, "{}", show(&start));
        assert_eq!(words[0], m.method_token());
        let uri = show(m.uri()).replace(":::", "::");
        assert_eq!(show(words[1]).replace(":::", "::"), uri);
        assert_eq!(words[2], b"SIP/2.0");
    }
    let find = |long: &str, short: &str| -> Vec<Vec<u8>> {
        let named = |line: &Vec<u8>| {
            let colon = line.iter().position(|&b| b == b':').expect("a colon");
            let label = show(&line[..colon]).to_ascii_lowercase();
            (label == long || label == short).then(|| line[colon + 1..].trim_ascii().to_vec())
        };
        lines.iter().filter_map(named).collect()
    };
    let one = |long: &str, short: &str| -> Vec<u8> {
        let mut all = find(long, short);
        assert_eq!(all.len(), 1, "{long}: {}", show(out));
        all.remove(0)
    };
    assert_eq!(one("call-id", "i"), m.call_id());
    assert_eq!(tag(&one("from", "f")), m.from_tag(), "{}", show(out));
    assert_eq!(tag(&one("to", "t")), m.to_tag(), "{}", show(out));
    let cseq = show(&one("cseq", "cseq"));
    let mut words = cseq.split_ascii_whitespace();
    assert_eq!(words.next().unwrap().parse::<u32>().unwrap(), m.cseq());
    assert_eq!(words.next().unwrap().as_bytes(), m.method_token());
    let length = show(&one("content-length", "l"));
    assert_eq!(length.parse::<usize>().unwrap(), body.len());
    assert_eq!(body, m.body());
    assert!(find("max-forwards", "max-forwards").len() <= 1);
}

fn split_crlf(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut lines, mut from) = (Vec::new(), 0);
    while let Some(at) = bytes[from..].windows(2).position(|w| w == b"\r\n") {
        lines.push(&bytes[from..from + at]);
        from += at + 2;
    }
    lines.push(&bytes[from..]);
    lines
}

/// The one `tag` parameter behind the address.
fn tag(value: &[u8]) -> Vec<u8> {
    let (mut quoted, mut angle, mut at, mut params) = (false, false, 0, Vec::new());
    while at < value.len() {
        match value[at] {
            b'\\' if quoted => at += 1,
            b'"' if !angle => quoted = !quoted,
            b'<' if !quoted => angle = true,
            b'>' if !quoted => angle = false,
            b';' if !quoted && !angle => params.push(at + 1),
            _ => {}
        }
        at += 1;
    }
    let mut tags = params.iter().enumerate().filter_map(|(i, &from)| {
        let to = params.get(i + 1).map_or(value.len(), |next| next - 1);
        let eq = value[from..to].iter().position(|&b| b == b'=')?;
        let name = value[from..from + eq].trim_ascii();
        name.eq_ignore_ascii_case(b"tag").then(|| value[from + eq + 1..to].trim_ascii().to_vec())
    });
    let first = tags.next().unwrap_or_default();
    assert_eq!(tags.next(), None, "one tag");
    first
}

fn bare(host: &[u8]) -> &[u8] {
    host.strip_prefix(b"[").and_then(|h| h.strip_suffix(b"]")).unwrap_or(host)
}

/// Where rsip accepts a request it must see what we see. It knows no compact names and refuses folds; then it says nothing.
pub fn by_rsip(m: &Message<'_>, out: &[u8]) {
    let Ok(theirs) = rsip::Request::try_from(out) else { return };
    let context = || show(out);
    assert_eq!(theirs.method().to_string().as_bytes(), m.method_token(), "{}", context());
    let line_end = out.iter().position(|&b| b == b'\r').unwrap_or(out.len());
    let written = out[..line_end].split(|&b| b == b' ').nth(1).unwrap_or_default();
    if let Ok(ours) = Uri::parse(written)
        && (ours.is_sip() || ours.is_sips())
        && let host = theirs.uri().host().to_string()
        // It takes `.@example.com` for a host, which no machine could look up.
        && !host.contains('@')
    {
        assert!(host.as_bytes().eq_ignore_ascii_case(bare(ours.host)), "{host}: {}", context());
        assert_eq!(theirs.uri().port().map(|port| *port.value()), ours.port, "{}", context());
        let user = theirs.uri().user().map(str::to_owned);
        let before_password = |user: &[u8]| show(user.split(|&b| b == b':').next().unwrap_or_default());
        assert_eq!(user, ours.user.map(before_password), "{}", context());
    }
    if let Ok(call_id) = theirs.call_id_header() {
        assert_eq!(call_id.value().as_bytes(), m.call_id(), "{}", context());
    }
    if let Ok(Ok(from)) = theirs.from_header().map(|h| h.clone().typed()) {
        let tag = from.tag().map(|t| t.value().to_owned()).unwrap_or_default();
        assert_eq!(tag.as_bytes(), m.from_tag(), "{}", context());
    }
    if let Ok(Ok(to)) = theirs.to_header().map(|h| h.clone().typed()) {
        let tag = to.tag().map(|t| t.value().to_owned()).unwrap_or_default();
        assert_eq!(tag.as_bytes(), m.to_tag(), "{}", context());
    }
    if let Ok(Ok(cseq)) = theirs.cseq_header().map(|h| h.clone().typed()) {
        assert_eq!(cseq.seq, m.cseq(), "{}", context());
        assert_eq!(cseq.method.to_string().as_bytes(), m.method_token(), "{}", context());
    }
    assert_eq!(theirs.body().as_slice(), m.body(), "{}", context());
}
