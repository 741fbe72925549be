//! The hashes of digest authentication, made and checked.

use std::fmt::Write;

use md5::Md5;
use sha2::{Digest, Sha256};

use super::{Challenge, Credentials};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Md5,
    Sha256,
}

impl Algorithm {
    /// Without the parameter it is MD5 (RFC 7616 §3.3). Session variants and anything else are not ours.
    pub(super) fn of(name: Option<&[u8]>) -> Option<Algorithm> {
        match name {
            None => Some(Algorithm::Md5),
            Some(name) if name.eq_ignore_ascii_case(b"MD5") => Some(Algorithm::Md5),
            Some(name) if name.eq_ignore_ascii_case(b"SHA-256") => Some(Algorithm::Sha256),
            Some(_) => None,
        }
    }

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
        }
    }

    /// The parts joined by colons, hashed, in lower-case hex.
    fn hex(self, parts: &[&[u8]]) -> String {
        let text = parts.join(&b':');
        let digest = match self {
            Algorithm::Md5 => Md5::digest(&text).to_vec(),
            Algorithm::Sha256 => Sha256::digest(&text).to_vec(),
        };
        super::to_hex(&digest)
    }
}

/// What a server keeps instead of the password: H(user:realm:password).
#[must_use]
pub fn secret(algorithm: Algorithm, user: &[u8], realm: &[u8], password: &[u8]) -> String {
    algorithm.hex(&[user, realm, password])
}

/// The counter, the client's nonce and the quality of protection, when there is one.
type Protection<'a> = Option<(&'a [u8], &'a [u8], &'a [u8])>;

fn response(
    algorithm: Algorithm,
    secret: &str,
    nonce: &[u8],
    protection: Protection<'_>,
    method: &[u8],
    uri: &[u8],
) -> String {
    let request = algorithm.hex(&[method, uri]);
    match protection {
        Some((count, cnonce, qop)) => {
            algorithm.hex(&[secret.as_bytes(), nonce, count, cnonce, qop, request.as_bytes()])
        }
        None => algorithm.hex(&[secret.as_bytes(), nonce, request.as_bytes()]),
    }
}

/// Whether the credentials prove the secret for this request. The nonce's own standing is [`super::NonceKey`]'s question; that
/// `uri` is the request's is the caller's.
#[must_use]
pub fn verify(credentials: &Credentials<'_>, secret: &str, method: &[u8]) -> bool {
    let Credentials { nonce: Some(nonce), uri: Some(uri), response: Some(given), algorithm: Some(algorithm), .. } =
        *credentials
    else {
        return false;
    };
    let count;
    let protection = match (credentials.qop, credentials.cnonce, credentials.nonce_count) {
        (None, None, None) => None,
        (Some(qop), Some(cnonce), Some(nc)) if qop.eq_ignore_ascii_case(b"auth") => {
            count = format!("{nc:08x}");
            Some((count.as_bytes(), cnonce, qop))
        }
        _ => return false,
    };
    let wanted = response(algorithm, secret, nonce, protection, method, uri);
    same(wanted.as_bytes(), &given.to_ascii_lowercase())
}

/// The credentials of a client for a challenge: the value of its `Authorization`. `None` for a challenge that is not ours
/// to answer.
#[must_use]
pub fn answer(
    challenge: &Challenge<'_>,
    user: &str,
    password: &str,
    method: &str,
    uri: &str,
    cnonce: &str,
    count: u32,
) -> Option<String> {
    let (realm, nonce, algorithm) = (challenge.realm?, challenge.nonce?, challenge.algorithm?);
    // What goes back must not be able to end the line that it stands on.
    let is_clean = |text: &[u8]| text.iter().all(|&b| b >= b' ' && b != 0x7f);
    if ![realm, nonce, challenge.opaque.unwrap_or_default()].into_iter().all(is_clean) {
        return None;
    }
    let secret = secret(algorithm, user.as_bytes(), realm, password.as_bytes());
    let nc = format!("{count:08x}");
    let protection = challenge.has_qop_auth.then_some((nc.as_bytes(), cnonce.as_bytes(), &b"auth"[..]));
    let response = response(algorithm, &secret, nonce, protection, method.as_bytes(), uri.as_bytes());
    let (realm, nonce) = (std::str::from_utf8(realm).ok()?, std::str::from_utf8(nonce).ok()?);
    let mut text = format!(
        "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\", algorithm={}",
        algorithm.as_str()
    );
    if challenge.has_qop_auth {
        let _ = write!(text, ", qop=auth, nc={nc}, cnonce=\"{cnonce}\"");
    }
    if let Some(opaque) = challenge.opaque.and_then(|o| std::str::from_utf8(o).ok()) {
        let _ = write!(text, ", opaque=\"{opaque}\"");
    }
    Some(text)
}

/// Takes as long for a wrong answer as for a right one.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |seen, (x, y)| seen | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfcs_come_out() {
        let rfc2617 = Credentials::parse(b"Digest username=\"Mufasa\", realm=\"testrealm@host.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", uri=\"/dir/index.html\", qop=auth, nc=00000001, cnonce=\"0a4f113b\", response=\"6629fae49393a05397450978507c4ef1\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"");
        let secret_of = |a, realm: &[u8], password: &[u8]| secret(a, b"Mufasa", realm, password);
        assert!(verify(&rfc2617, &secret_of(Algorithm::Md5, b"testrealm@host.com", b"Circle Of Life"), b"GET"));
        assert!(!verify(&rfc2617, &secret_of(Algorithm::Md5, b"testrealm@host.com", b"Circle Of Lifd"), b"GET"));
        assert!(!verify(&rfc2617, &secret_of(Algorithm::Md5, b"testrealm@host.com", b"Circle Of Life"), b"PUT"));
        for (algorithm, response) in [
            (Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
            (Algorithm::Sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let text = format!(
                "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", uri=\"/dir/index.html\", algorithm={}, nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, response=\"{response}\"",
                algorithm.as_str()
            );
            let credentials = Credentials::parse(text.as_bytes());
            assert!(verify(&credentials, &secret_of(algorithm, b"http-auth@example.org", b"Circle of Life"), b"GET"));
        }
    }

    #[test]
    fn an_answer_proves_what_it_was_made_from_and_nothing_else() {
        for qop in ["", ", qop=\"auth,auth-int\""] {
            let text = format!("Digest realm=\"r\", nonce=\"n\", algorithm=SHA-256{qop}");
            let made = answer(&Challenge::parse(text.as_bytes()), "bob", "pw", "REGISTER", "sip:r", "c", 2).unwrap();
            let credentials = Credentials::parse(made.as_bytes());
            assert!(verify(&credentials, &secret(Algorithm::Sha256, b"bob", b"r", b"pw"), b"REGISTER"));
            assert!(!verify(&credentials, &secret(Algorithm::Md5, b"bob", b"r", b"pw"), b"REGISTER"));
            assert!(!verify(&credentials, &secret(Algorithm::Sha256, b"bob", b"r", b"pw"), b"INVITE"));
        }
        assert_eq!(
            answer(
                &Challenge::parse(b"Digest realm=\"r\", nonce=\"n\", algorithm=MD5-sess"),
                "b",
                "p",
                "M",
                "u",
                "c",
                1
            ),
            None
        );
        assert!(!verify(&Credentials::default(), "", b"INVITE"));
    }
}
