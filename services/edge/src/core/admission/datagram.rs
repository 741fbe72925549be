//! What is thrown away before it is parsed: packets that cannot be SIP, whoever sent them.
//!
//! The parser would find out too, but after it has looked for the end of every line. This looks at the first bytes only: a
//! message begins, after line ends, with a word and a space, and one of the two first words of a start line is a SIP version or
//! a URI. What stands on 5060 uninvited (RTP, STUN, TLS, HTTP with a path, DNS) does not get further.

/// The shortest start line with the shortest headers is longer; RFC 3261 needs six of them.
const SHORTEST: usize = 20;
/// A method in the wild has at most 20 bytes, the longest of RFC 4475 has 45.
const LONGEST_WORD: usize = 64;

/// How a packet looks from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Line ends only.
    KeepAlive,
    /// Worth being parsed.
    Message,
    Nonsense,
}

#[must_use]
pub fn look(bytes: &[u8]) -> Look {
    let start = bytes.iter().position(|b| !matches!(b, b'\r' | b'\n')).unwrap_or(bytes.len());
    let text = &bytes[start..];
    if text.is_empty() {
        return Look::KeepAlive;
    }
    if text.len() < SHORTEST {
        return Look::Nonsense;
    }
    if text.starts_with(b"SIP/") {
        return Look::Message;
    }
    let head = &text[..text.len().min(LONGEST_WORD + 1)];
    let Some(space) = head.iter().position(|b| !is_token(*b)).filter(|&at| at > 0 && head[at] == b' ') else {
        return Look::Nonsense;
    };
    // A scheme and its colon; what else is wrong with the URI, the parser says and answers.
    let uri = text[space..].trim_ascii_start();
    let scheme = uri
        .iter()
        .take(LONGEST_WORD)
        .position(|&b| !(b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.' | b'<')));
    match scheme {
        Some(at) if at > 0 && uri[at] == b':' => Look::Message,
        _ => Look::Nonsense,
    }
}

/// RFC 3261 §25.1.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sip_is_told_from_what_else_stands_on_its_port() {
        let rest = " SIP/2.0\r\nVia: x\r\n\r\n";
        for text in [
            "INVITE sip:a@b",
            "!interesting-Method0123456789_*+`.%indeed'~ sip:a",
            "OPTIONS  <sip:a@b>",
            "X tel:1",
            "REGISTER urn:service:sos",
        ] {
            assert_eq!(look(format!("\r\n\r\n{text}{rest}").as_bytes()), Look::Message, "{text}");
        }
        assert_eq!(look(b"SIP/7.0 200 OK\r\nVia: x\r\n"), Look::Message, "the parser answers for versions");
        for ends in [&b"\r\n"[..], b"\r\n\r\n", b"", b"\n"] {
            assert_eq!(look(ends), Look::KeepAlive);
        }
        let nonsense: [&[u8]; 9] = [
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
            b"\x80\x00\x1f\x40\x00\x00\x00\xa0\x12\x34\x56\x78\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x00\x01\x00\x00\x21\x12\xa4\x42aaaaaaaaaaaaaaaaaaaaaaa",
            b"INVITE",
            b"garbage",
            b" INVITE sip:a@b SIP/2.0\r\n\r\n",
            b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            &[0; 1500],
        ];
        for bytes in nonsense {
            assert_eq!(look(bytes), Look::Nonsense, "{bytes:?}");
        }
    }
}
