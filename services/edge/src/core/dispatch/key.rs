//! What a pool with `algorithm = "hash"` hashes.

use std::fmt;
use std::str::FromStr;

use sip::{Message, Uri};

use super::hashed::{key_of, key_of_all};
use crate::config::as_text;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HashBy {
    #[default]
    CallId,
    /// User and host of From.
    From,
    /// User and host of To.
    To,
    /// The dialled user part.
    RequestUser,
    /// The whole value of a header, the first one of that name.
    Header(String),
}

impl HashBy {
    /// The key of a request. Without the header that is wanted the Call-ID stands in, so that such calls spread.
    #[must_use]
    pub fn key(&self, m: &Message<'_>) -> u64 {
        match self {
            HashBy::CallId => key_of(m.call_id()),
            HashBy::From => of_uri(m.from().uri),
            HashBy::To => of_uri(m.to().uri),
            HashBy::RequestUser => key_of(Uri::parse(m.uri()).ok().and_then(|u| u.user).unwrap_or(m.uri())),
            HashBy::Header(name) => key_of(m.named(name).unwrap_or_else(|| m.call_id())),
        }
    }
}

/// Only what names the party: another parameter must not move its calls.
pub fn of_uri(uri: &[u8]) -> u64 {
    let Ok(uri) = Uri::parse(uri) else { return key_of(uri) };
    let user = uri.user.unwrap_or_default().iter().copied();
    let host = uri.host.iter().map(u8::to_ascii_lowercase);
    key_of_all(user.chain([b'@']).chain(host))
}

impl fmt::Display for HashBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HashBy::CallId => f.write_str("call_id"),
            HashBy::From => f.write_str("from"),
            HashBy::To => f.write_str("to"),
            HashBy::RequestUser => f.write_str("request_user"),
            HashBy::Header(name) => write!(f, "header:{name}"),
        }
    }
}

impl FromStr for HashBy {
    type Err = String;

    fn from_str(text: &str) -> Result<HashBy, String> {
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b))
        };
        Ok(match text {
            "call_id" => HashBy::CallId,
            "from" => HashBy::From,
            "to" => HashBy::To,
            "request_user" => HashBy::RequestUser,
            _ => match text.strip_prefix("header:") {
                Some(name) if is_name(name) => HashBy::Header(name.to_owned()),
                _ => return Err(format!("{text:?} is none of call_id, from, to, request_user, header:NAME")),
            },
        })
    }
}

as_text!(HashBy);

#[cfg(test)]
mod tests {
    use super::*;
    use sip::Index;

    fn key(by: &str, call: &str, from: &str, header: &str) -> u64 {
        let text = format!(
            "INVITE sip:+4930@edge SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: {from};tag=1\r\nTo: <sip:x@y>\r\nCall-ID: {call}\r\nCSeq: 1 INVITE\r\n{header}\r\n"
        );
        by.parse::<HashBy>().unwrap().key(&Index::new().parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn a_key_is_what_it_is_named_after_and_nothing_else() {
        let from = "<sip:anna@example.com>";
        assert_eq!(key("call_id", "a", from, ""), key("call_id", "a", "<sip:b@c>", ""));
        assert_ne!(key("call_id", "a", from, ""), key("call_id", "b", from, ""));
        assert_eq!(key("from", "a", from, ""), key("from", "b", "\"A\" <sip:anna@EXAMPLE.com:5061;user=phone>", ""));
        assert_ne!(key("from", "a", from, ""), key("from", "a", "<sip:berta@example.com>", ""));
        assert_eq!(key("to", "a", from, ""), key("to", "b", "<sip:b@c>", ""));
        assert_eq!(key("request_user", "a", from, ""), key_of(b"+4930"));
        assert_eq!(key("header:X-Account", "a", from, "x-account: 7\r\n"), key_of(b"7"));
        assert_eq!(key("header:X-Account", "a", from, ""), key_of(b"a"), "without it the Call-ID");
        for wrong in ["", "callid", "header:", "header:a b"] {
            assert!(wrong.parse::<HashBy>().is_err(), "{wrong}");
        }
        assert_eq!("header:X-A".parse::<HashBy>().unwrap().to_string(), "header:X-A");
    }
}
