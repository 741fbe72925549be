//! Digest authentication (RFC 3261 §22, RFC 7616, RFC 8760): reading both headers, answering a challenge, checking an answer.
//!
//! A parameter that stands twice, or that is cut short, makes the header unreadable: two readers would take different ones.
//! Responses are compared in constant time. What an event may say about authentication is realm and user, never the hash.

mod hash;
mod nonce;
mod params;

use std::fmt::Write;

pub use hash::{Algorithm, answer, secret, verify};
pub use nonce::{NonceKey, Replay, Standing};

use params::Params;

/// A challenge in `WWW-Authenticate` or `Proxy-Authenticate`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Challenge<'a> {
    pub scheme: &'a [u8],
    pub realm: Option<&'a [u8]>,
    pub nonce: Option<&'a [u8]>,
    pub opaque: Option<&'a [u8]>,
    /// `None` for one that we do not know.
    pub algorithm: Option<Algorithm>,
    pub is_stale: bool,
    /// The server takes `qop=auth`.
    pub has_qop_auth: bool,
}

/// Credentials in `Authorization` or `Proxy-Authorization`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credentials<'a> {
    pub scheme: &'a [u8],
    pub realm: Option<&'a [u8]>,
    pub username: Option<&'a [u8]>,
    pub nonce: Option<&'a [u8]>,
    pub uri: Option<&'a [u8]>,
    pub response: Option<&'a [u8]>,
    pub cnonce: Option<&'a [u8]>,
    pub nonce_count: Option<u32>,
    pub qop: Option<&'a [u8]>,
    pub algorithm: Option<Algorithm>,
}

fn scheme(value: &[u8]) -> (&[u8], &[u8]) {
    let end = value.iter().position(|&b| crate::scan::is_space(b)).unwrap_or(value.len());
    value.split_at(end)
}

impl<'a> Challenge<'a> {
    /// Of a scheme other than Digest, or of a list that cannot be read, only the scheme and the realm.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Challenge<'a> {
        let (scheme, rest) = scheme(value);
        let list = Params::read(rest);
        let find = |name: &[u8]| list.as_ref().and_then(|list| list.get(name));
        Challenge {
            scheme,
            realm: find(b"realm").or_else(|| params::first(rest, b"realm")),
            nonce: find(b"nonce"),
            opaque: find(b"opaque"),
            algorithm: Algorithm::of(find(b"algorithm")),
            is_stale: find(b"stale").is_some_and(|v| v.eq_ignore_ascii_case(b"true")),
            has_qop_auth: find(b"qop")
                .is_some_and(|v| crate::scan::comma_values(v).any(|q| q.eq_ignore_ascii_case(b"auth"))),
        }
    }
}

impl<'a> Credentials<'a> {
    /// Of a scheme other than Digest, or of a list that cannot be read, only scheme, realm and user.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Credentials<'a> {
        let (scheme, rest) = scheme(value);
        let list = Params::read(rest);
        let find = |name: &[u8]| list.as_ref().and_then(|list| list.get(name));
        Credentials {
            scheme,
            realm: find(b"realm").or_else(|| params::first(rest, b"realm")),
            username: find(b"username").or_else(|| params::first(rest, b"username")),
            nonce: find(b"nonce"),
            uri: find(b"uri"),
            response: find(b"response"),
            cnonce: find(b"cnonce"),
            nonce_count: find(b"nc").filter(|v| v.len() == 8).and_then(hex),
            qop: find(b"qop"),
            algorithm: Algorithm::of(find(b"algorithm")),
        }
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn hex(digits: &[u8]) -> Option<u32> {
    let all = digits.iter().all(u8::is_ascii_hexdigit);
    all.then(|| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn realm_and_user_are_found_whatever_the_scheme() {
        let c = Credentials::parse(
            b"Digest username=\"bo,b\", realm=\"node-1\", nonce=\"n\", uri=\"sip:x\", response=\"r\", nc=0000000a",
        );
        assert_eq!((c.username, c.realm, c.nonce_count), (Some(&b"bo,b"[..]), Some(&b"node-1"[..]), Some(10)));
        let c = Challenge::parse(b"NoOneKnowsThisScheme opaque-data=here");
        assert_eq!((c.scheme, c.realm), (&b"NoOneKnowsThisScheme"[..], None));
    }

    #[test]
    fn a_list_that_two_readers_could_read_differently_gives_no_credentials() {
        for bad in [
            &b"Digest username=\"a\", username=\"b\", nonce=\"n\", response=\"r\""[..],
            b"Digest username=\"a\", nonce=\"n\", respons",
            b"Digest username=\"a\", nonce=\"n",
            b"Digest username=\"a\" nonce=\"n\", response=\"r\"",
            b"Digest username=\"a\", =\"n\", response=\"r\"",
        ] {
            let c = Credentials::parse(bad);
            assert_eq!((c.nonce, c.response), (None, None), "{}", String::from_utf8_lossy(bad));
        }
    }
}
