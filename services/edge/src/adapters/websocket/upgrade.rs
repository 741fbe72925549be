//! The HTTP request that opens a WebSocket (RFC 6455 §4, RFC 7118 §4), and the answer to it.
//!
//! Only what SIP needs is spoken: version 13, subprotocol `sip`, no extensions. Whoever asks for anything else hears why, once,
//! and the connection ends.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// The whole head of the request; browsers with many cookies stay below it.
pub(super) const MAX_HEAD: usize = 8 * 1024;
const MAX_HEADERS: usize = 64;
/// RFC 6455 §1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Why a request is not answered with 101.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub status: u16,
    pub why: &'static str,
}

const fn refuse(status: u16, why: &'static str) -> Refusal {
    Refusal { status, why }
}

/// Reads the request at the start of the bytes. `None` while it is incomplete; then its length and the answer.
pub(super) fn read(bytes: &[u8], origins: &[String]) -> Result<Option<(usize, String)>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => length,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Ok(None),
        Ok(_) => return Err(refuse(431, "head_too_large")),
        Err(httparse::Error::TooManyHeaders) => return Err(refuse(431, "too_many_headers")),
        Err(_) => return Err(refuse(400, "no_http")),
    };
    if request.method != Some("GET") || request.version != Some(1) {
        return Err(refuse(405, "method"));
    }
    let all = |name: &'static str| {
        let values = request.headers.iter().filter(move |h| h.name.eq_ignore_ascii_case(name));
        values.filter_map(|h| std::str::from_utf8(h.value).ok()).map(str::trim)
    };
    let lists = |name, word: &str| {
        all(name).flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(word))
    };
    if !lists("upgrade", "websocket") || !lists("connection", "upgrade") {
        return Err(refuse(426, "no_upgrade"));
    }
    if all("sec-websocket-version").next() != Some("13") {
        return Err(refuse(426, "version"));
    }
    // A header twice could be read differently by whoever stands between.
    let only = |name| {
        let mut values = all(name);
        values.next().filter(|_| values.next().is_none())
    };
    let key = only("sec-websocket-key").filter(|key| STANDARD.decode(key).is_ok_and(|k| k.len() == 16));
    let key = key.ok_or(refuse(400, "key"))?;
    if all("host").next().is_none() {
        return Err(refuse(400, "host"));
    }
    if !lists("sec-websocket-protocol", "sip") {
        return Err(refuse(400, "subprotocol"));
    }
    let is_welcome = |origin: &str| origins.iter().any(|o| o.eq_ignore_ascii_case(origin));
    if !origins.is_empty() && !only("origin").is_some_and(is_welcome) {
        return Err(refuse(403, "origin"));
    }
    Ok(Some((length, accept(key))))
}

fn accept(key: &str) -> String {
    let proof = STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {proof}\r\n\
         Sec-WebSocket-Protocol: sip\r\n\r\n"
    )
}

/// The answer to a request that is refused.
pub(super) fn refusal(refusal: Refusal) -> String {
    let phrase = match refusal.status {
        403 => "Forbidden",
        405 => "Method Not Allowed",
        426 => "Upgrade Required",
        431 => "Request Header Fields Too Large",
        _ => "Bad Request",
    };
    let mut text = format!("HTTP/1.1 {} {phrase}\r\n", refusal.status);
    match refusal.status {
        426 => text.push_str("Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: sip\r\n"),
        405 => text.push_str("Allow: GET\r\n"),
        _ => {}
    }
    let body = match refusal.why {
        "subprotocol" => "the subprotocol `sip` is wanted\n",
        "origin" => "pages of this origin may not connect\n",
        _ => "",
    };
    let _ =
        write!(text, "Connection: close\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(replace: &str, with: &str) -> String {
        "GET /ws?x=1 HTTP/1.1\r\nHost: sip.example.com\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: https://phone.example.com\r\n\
         Sec-WebSocket-Protocol: msrp, sip\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
            .replace(replace, with)
    }

    fn why(replace: &str, with: &str) -> (u16, &'static str) {
        let refused = read(request(replace, with).as_bytes(), &[]).unwrap_err();
        assert!(refusal(refused).ends_with("\r\n\r\n") || refusal(refused).ends_with('\n'));
        (refused.status, refused.why)
    }

    #[test]
    fn the_example_of_the_rfc_is_answered_without_extensions() {
        let bytes = request("", "");
        let (length, answer) = read(bytes.as_bytes(), &[]).unwrap().unwrap();
        assert_eq!(length, bytes.len());
        assert!(answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answer}");
        assert!(answer.contains("Sec-WebSocket-Protocol: sip\r\n") && !answer.contains("Extensions"), "{answer}");
        for cut in 0..bytes.len() {
            assert_eq!(read(&bytes.as_bytes()[..cut], &[]), Ok(None), "{cut}");
        }
    }

    #[test]
    fn what_is_wrong_is_answered_with_its_reason() {
        assert_eq!(why("GET", "POST"), (405, "method"));
        assert_eq!(why("HTTP/1.1", "HTTP/1.0"), (405, "method"));
        assert_eq!(why("WebSocket\r\n", "h2c\r\n"), (426, "no_upgrade"));
        assert_eq!(why("keep-alive, Upgrade", "keep-alive"), (426, "no_upgrade"));
        assert_eq!(why("Version: 13", "Version: 8"), (426, "version"));
        assert_eq!(why("dGhlIHNhbXBsZSBub25jZQ==", "short"), (400, "key"));
        assert_eq!(why("Host:", "Ghost:"), (400, "host"));
        assert_eq!(why("msrp, sip", "msrp"), (400, "subprotocol"));
        assert_eq!(why("GET /ws", "OPTIONS sip:x SIP/2.0\r\n"), (400, "no_http"));
        assert_eq!(why("Host: s", &format!("Cookie: {}\r\nHost: s", "c".repeat(9_000))), (431, "head_too_large"));
        let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        assert_eq!(why(key, &key.repeat(2)), (400, "key"), "a key twice");
    }

    #[test]
    fn a_list_of_origins_keeps_every_other_page_out() {
        let with = |origins: &[&str]| {
            let origins: Vec<String> = origins.iter().map(|&o| o.to_owned()).collect();
            read(request("", "").as_bytes(), &origins).map(|read| read.is_some())
        };
        assert_eq!(with(&["https://other.example", "https://phone.example.com"]), Ok(true));
        assert_eq!(with(&["https://other.example"]), Err(refuse(403, "origin")));
        let origins = ["https://phone.example.com".to_owned()];
        let none = request("Origin", "X-Origin");
        assert_eq!(read(none.as_bytes(), &origins), Err(refuse(403, "origin")), "a page that hides its origin");
    }
}
