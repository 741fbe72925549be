//! Digest authentication with MD5, both sides (RFC 2617 as SIP uses it; qop `auth` or none).

use md5::{Digest as _, Md5};

use super::message::Message;

/// What a caller knows: one user at one trunk.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub user: String,
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).field("password", &"***").finish()
    }
}

/// A challenge as a 401 or 407 carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    pub realm: String,
    pub nonce: String,
    pub opaque: Option<String>,
    pub qop_auth: bool,
    /// 407: the answer travels in Proxy-Authorization.
    pub proxy: bool,
}

impl Challenge {
    /// The first MD5 challenge of a 401 or 407; `None` for another status or another algorithm.
    #[must_use]
    pub fn from_response(response: &Message) -> Option<Self> {
        let (proxy, header) = match response.code() {
            401 => (false, "WWW-Authenticate"),
            407 => (true, "Proxy-Authenticate"),
            _ => return None,
        };
        response.all(header).find_map(|value| Self::parse(value, proxy))
    }

    fn parse(value: &str, proxy: bool) -> Option<Self> {
        let params = params(value)?;
        let algorithm = find(&params, "algorithm").unwrap_or("MD5");
        if !algorithm.eq_ignore_ascii_case("MD5") {
            return None;
        }
        Some(Self {
            realm: find(&params, "realm")?.to_owned(),
            nonce: find(&params, "nonce")?.to_owned(),
            opaque: find(&params, "opaque").map(str::to_owned),
            qop_auth: find(&params, "qop").is_some_and(|list| list.split(',').any(|qop| qop.trim() == "auth")),
            proxy,
        })
    }

    /// The header value a server sends.
    #[must_use]
    pub fn header_value(&self) -> String {
        let qop = if self.qop_auth { ", qop=\"auth\"" } else { "" };
        format!("Digest realm=\"{}\", nonce=\"{}\", algorithm=MD5{qop}", self.realm, self.nonce)
    }

    /// Name of the header that answers this challenge.
    #[must_use]
    pub fn answer_header(&self) -> &'static str {
        if self.proxy { "Proxy-Authorization" } else { "Authorization" }
    }

    /// The value of the answering header.
    #[must_use]
    pub fn answer(&self, who: &Credentials, method: &str, uri: &str, cnonce: &str) -> String {
        let nc = "00000001";
        let quality = self.qop_auth.then_some((nc, cnonce));
        let response = response_hash(&who.user, &self.realm, &who.password, &self.nonce, method, uri, quality);
        let mut value = format!(
            "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", response=\"{response}\", algorithm=MD5",
            who.user, self.realm, self.nonce
        );
        if self.qop_auth {
            value.push_str(&format!(", qop=auth, nc={nc}, cnonce=\"{cnonce}\""));
        }
        if let Some(opaque) = &self.opaque {
            value.push_str(&format!(", opaque=\"{opaque}\""));
        }
        value
    }
}

/// Server side: does `value` (of Authorization or Proxy-Authorization) answer a challenge of `realm` with these credentials?
/// `nonce_known` decides which nonces the server stands by.
#[must_use]
pub fn verify(value: &str, method: &str, realm: &str, who: &Credentials, nonce_known: impl Fn(&str) -> bool) -> bool {
    let Some(params) = params(value) else { return false };
    let (Some(user), Some(their_realm), Some(nonce), Some(uri), Some(response)) = (
        find(&params, "username"),
        find(&params, "realm"),
        find(&params, "nonce"),
        find(&params, "uri"),
        find(&params, "response"),
    ) else {
        return false;
    };
    let quality = match find(&params, "qop") {
        None => None,
        Some("auth") => match (find(&params, "nc"), find(&params, "cnonce")) {
            (Some(nc), Some(cnonce)) => Some((nc, cnonce)),
            _ => return false,
        },
        Some(_) => return false,
    };
    user == who.user
        && their_realm == realm
        && nonce_known(nonce)
        && response == response_hash(user, realm, &who.password, nonce, method, uri, quality)
}

fn response_hash(
    user: &str,
    realm: &str,
    password: &str,
    nonce: &str,
    method: &str,
    uri: &str,
    quality: Option<(&str, &str)>,
) -> String {
    let ha1 = md5_hex(&format!("{user}:{realm}:{password}"));
    let ha2 = md5_hex(&format!("{method}:{uri}"));
    match quality {
        Some((nc, cnonce)) => md5_hex(&format!("{ha1}:{nonce}:{nc}:{cnonce}:auth:{ha2}")),
        None => md5_hex(&format!("{ha1}:{nonce}:{ha2}")),
    }
}

fn md5_hex(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `Digest a="x", b=y` as pairs; `None` when the scheme is another.
fn params(value: &str) -> Option<Vec<(String, String)>> {
    let (scheme, rest) = value.trim().split_once(char::is_whitespace)?;
    if !scheme.eq_ignore_ascii_case("Digest") {
        return None;
    }
    let mut out = Vec::new();
    let mut rest = rest.trim_start();
    while let Some((key, after)) = rest.split_once('=') {
        let key = key.trim().trim_start_matches(',').trim().to_ascii_lowercase();
        let after = after.trim_start();
        let (text, tail) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        out.push((key, text.trim().to_owned()));
        rest = tail.trim_start().trim_start_matches(',').trim_start();
    }
    Some(out)
}

fn find<'a>(params: &'a [(String, String)], name: &str) -> Option<&'a str> {
    params.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_2617_comes_out() {
        let quality = Some(("00000001", "0a4f113b"));
        let nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093";
        let hash =
            response_hash("Mufasa", "testrealm@host.com", "Circle Of Life", nonce, "GET", "/dir/index.html", quality);
        assert_eq!(hash, "6629fae49393a05397450978507c4ef1");
    }

    #[test]
    fn an_answer_verifies_and_any_change_does_not() {
        let who = Credentials { user: "north".into(), password: "secret".into() };
        for qop_auth in [true, false] {
            let asked = Challenge { realm: "fs1".into(), nonce: "n1".into(), opaque: None, qop_auth, proxy: true };
            let parsed = Challenge::parse(&asked.header_value(), true).unwrap();
            assert_eq!(parsed, asked);
            let value = parsed.answer(&who, "INVITE", "sip:7000@h", "c1");
            let good = |nonce: &str| nonce == "n1";
            assert!(verify(&value, "INVITE", "fs1", &who, good));
            assert!(!verify(&value, "BYE", "fs1", &who, good));
            assert!(!verify(&value, "INVITE", "fs2", &who, good));
            assert!(!verify(&value, "INVITE", "fs1", &who, |_| false));
            let wrong = Credentials { password: "other".into(), ..who.clone() };
            assert!(!verify(&value, "INVITE", "fs1", &wrong, good));
        }
        assert!(!verify("Basic abc", "INVITE", "fs1", &who, |_| true));
    }

    #[test]
    fn a_password_is_not_printed() {
        let who = Credentials { user: "north".into(), password: "secret".into() };
        assert!(!format!("{who:?}").contains("secret"));
    }
}
