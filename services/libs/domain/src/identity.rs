//! The signed header that carries a call's identity between edge and nodes, and the keys that sign it.
//!
//! `X-Trunkline-Call: <call id>;leg=<leg id>;kid=<key id>;mac=<11 characters>`
//!
//! A text goes into the MAC as its length (4 bytes, big-endian) and its UTF-8 bytes.
//!
//! The header is believed only when its signature holds. The MAC is the first 8 bytes of HMAC-SHA-256 over (key id, call id,
//! leg id), base64url without padding. Signing uses the newest key, verifying takes any: distribute a key before the first
//! signature with it, retire it after the longest call.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::{CallId, LegId};

pub const HEADER: &str = "X-Trunkline-Call";

/// Shorter keys are refused.
pub const MIN_KEY_BYTES: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("no key at all")]
    Empty,
    #[error("key {kid:?} has {bytes} bytes, at least {MIN_KEY_BYTES} are needed")]
    TooShort { kid: String, bytes: usize },
    #[error("key id {0:?} must be 1 to 8 characters of a-z, 0-9 and '-'")]
    BadId(String),
    #[error("key id {0:?} stands twice")]
    Twice(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("not of the form <call id>;leg=…;kid=…;mac=…")]
    Malformed,
    #[error("signed with a key that is not here")]
    UnknownKey,
    #[error("the signature does not hold")]
    BadSignature,
}

/// What a believed header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderClaim {
    pub call: CallId,
    pub leg: LegId,
}

/// All keys, ordered by id; the last one signs.
#[derive(Clone)]
pub struct Keyring {
    keys: Vec<Key>,
}

#[derive(Clone)]
struct Key {
    kid: String,
    /// The HMAC with the key already mixed in: a clone per signature instead of two hash blocks.
    keyed: Hmac<Sha256>,
}

impl Keyring {
    /// Key ids sort by age (name them by date): the greatest signs.
    pub fn new(keys: Vec<(String, Vec<u8>)>) -> Result<Keyring, KeyError> {
        let mut ring = Vec::with_capacity(keys.len());
        for (kid, secret) in keys {
            let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if kid.is_empty() || kid.len() > 8 || !kid.chars().all(good) {
                return Err(KeyError::BadId(kid));
            }
            if secret.len() < MIN_KEY_BYTES {
                return Err(KeyError::TooShort { kid, bytes: secret.len() });
            }
            let keyed = Hmac::new_from_slice(&secret).expect("HMAC takes a key of any length");
            ring.push(Key { kid, keyed });
        }
        ring.sort_by(|a, b| a.kid.cmp(&b.kid));
        if let Some(pair) = ring.windows(2).find(|pair| pair[0].kid == pair[1].kid) {
            return Err(KeyError::Twice(pair[0].kid.clone()));
        }
        if ring.is_empty() { Err(KeyError::Empty) } else { Ok(Keyring { keys: ring }) }
    }

    fn newest(&self) -> &Key {
        self.keys.last().expect("a ring holds at least one key")
    }

    fn find(&self, kid: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.kid == kid)
    }

    /// The id of the key that signs.
    #[must_use]
    pub fn signing_id(&self) -> &str {
        &self.newest().kid
    }

    /// All key ids, oldest first: for places that have room for a mark of the key only.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.kid.as_str())
    }

    /// The whole header value for a leg that is sent towards a node.
    #[must_use]
    pub fn sign(&self, call: &CallId, leg: &LegId) -> String {
        let (kid, mac) = self.mac8(&[call.to_string().as_bytes(), leg.to_string().as_bytes()]);
        format!("{call};leg={leg};kid={kid};mac={}", URL_SAFE_NO_PAD.encode(mac))
    }

    pub fn verify(&self, value: &str) -> Result<HeaderClaim, HeaderError> {
        let mut parts = value.trim().split(';');
        let call = parts.next().and_then(|t| t.parse::<CallId>().ok()).ok_or(HeaderError::Malformed)?;
        let (mut leg, mut kid, mut mac) = (None, None, None);
        for part in parts {
            match part.split_once('=') {
                Some(("leg", v)) if leg.is_none() => leg = v.parse::<LegId>().ok(),
                Some(("kid", v)) if kid.is_none() => kid = Some(v),
                Some(("mac", v)) if mac.is_none() => mac = URL_SAFE_NO_PAD.decode(v).ok(),
                _ => return Err(HeaderError::Malformed),
            }
        }
        let (Some(leg), Some(kid), Some(mac)) = (leg, kid, mac) else {
            return Err(HeaderError::Malformed);
        };
        if self.find(kid).is_none() {
            return Err(HeaderError::UnknownKey);
        }
        let (call_text, leg_text) = (call.to_string(), leg.to_string());
        if self.verify_mac8(kid, &[call_text.as_bytes(), leg_text.as_bytes()], &mac) {
            Ok(HeaderClaim { call, leg })
        } else {
            Err(HeaderError::BadSignature)
        }
    }

    /// Eight bytes of HMAC over the key id and the parts, with the newest key. Cookies and branches use it too.
    #[must_use]
    pub fn mac8(&self, parts: &[&[u8]]) -> (&str, [u8; 8]) {
        let key = self.newest();
        (&key.kid, key.mac8(parts))
    }

    /// All 32 bytes of HMAC over the key id and the parts, with the key `kid`: a block of a key stream.
    #[must_use]
    pub fn mac32(&self, kid: &str, parts: &[&[u8]]) -> Option<[u8; 32]> {
        self.find(kid).map(|key| key.mac32(parts))
    }

    /// Whether `mac` is what the key `kid` gives; compared in constant time.
    #[must_use]
    pub fn verify_mac8(&self, kid: &str, parts: &[&[u8]], mac: &[u8]) -> bool {
        let Some(key) = self.find(kid) else { return false };
        let want = key.mac8(parts);
        mac.len() == want.len() && mac.iter().zip(want).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
    }
}

impl Key {
    fn mac8(&self, parts: &[&[u8]]) -> [u8; 8] {
        let mut short = [0; 8];
        short.copy_from_slice(&self.mac32(parts)[..8]);
        short
    }

    fn mac32(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.keyed.clone();
        update_with_length(&mut mac, self.kid.as_bytes());
        for part in parts {
            update_with_length(&mut mac, part);
        }
        mac.finalize().into_bytes().into()
    }
}

/// Each part goes in with its length, so that no two lists of parts sign alike.
fn update_with_length(mac: &mut Hmac<Sha256>, part: &[u8]) {
    mac.update(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
    mac.update(part);
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&str> = self.keys.iter().map(|key| key.kid.as_str()).collect();
        f.debug_struct("Keyring").field("ids", &ids).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(kids: &[&str]) -> Keyring {
        Keyring::new(kids.iter().map(|kid| ((*kid).to_owned(), format!("{kid:-<32}").into_bytes())).collect())
            .expect("keys")
    }

    fn ids() -> (CallId, LegId) {
        let call = "019ab3c4-d5e6-7f80-9a1b-2c3d4e5f6071".parse().expect("call id");
        (call, LegId::edge(&call, "3848276298220188511@atlanta.example.com", "9fxced76sl", 2, 0))
    }

    /// Vectors that another implementation (a Lua script on a node, a test tool) can check itself against.
    #[test]
    fn the_header_is_what_the_vectors_say() {
        let (call, leg) = ids();
        assert_eq!(leg.to_string(), "5197a1eed24a7581");
        assert_eq!(
            ring(&["k1"]).sign(&call, &leg),
            "019ab3c4-d5e6-7f80-9a1b-2c3d4e5f6071;leg=5197a1eed24a7581;kid=k1;mac=JMJybU1ryvY"
        );
    }

    #[test]
    fn a_signed_header_is_believed_and_says_what_was_signed() {
        let (call, leg) = ids();
        let ring = ring(&["k1", "k2"]);
        assert_eq!(ring.verify(&ring.sign(&call, &leg)), Ok(HeaderClaim { call, leg }));
    }

    #[test]
    fn an_older_key_still_verifies_and_the_newest_signs() {
        let (call, leg) = ids();
        let old = ring(&["k1"]).sign(&call, &leg);
        let both = ring(&["k2", "k1"]);
        assert!(both.verify(&old).is_ok());
        assert!(both.sign(&call, &leg).contains(";kid=k2;"));
        assert_eq!(ring(&["k2"]).verify(&old), Err(HeaderError::UnknownKey));
    }

    #[test]
    fn any_changed_character_breaks_the_signature() {
        let (call, leg) = ids();
        let ring = ring(&["k1"]);
        let good = ring.sign(&call, &leg);
        for at in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(bytes).expect("ascii");
            assert_ne!(ring.verify(&changed), Ok(HeaderClaim { call, leg }), "at {at}");
        }
    }

    #[test]
    fn malformed_headers_are_refused() {
        let ring = ring(&["k1"]);
        for value in [
            "",
            "x",
            ";leg=",
            "019ab3c4-d5e6-7f80-9a1b-2c3d4e5f6071",
            "019ab3c4-d5e6-7f80-9a1b-2c3d4e5f6071;leg=1;leg=2",
        ] {
            assert_eq!(ring.verify(value), Err(HeaderError::Malformed), "{value}");
        }
    }

    #[test]
    fn weak_missing_and_double_keys_are_refused() {
        let key = |kid: &str, n| (kid.to_owned(), vec![1; n]);
        assert_eq!(Keyring::new(vec![]).err(), Some(KeyError::Empty));
        assert!(matches!(Keyring::new(vec![key("a", 31)]), Err(KeyError::TooShort { .. })));
        assert!(matches!(Keyring::new(vec![key("A", 32)]), Err(KeyError::BadId(_))));
        assert!(matches!(Keyring::new(vec![key("a", 32), key("a", 32)]), Err(KeyError::Twice(_))));
    }

    #[test]
    fn keys_never_show_in_debug_output() {
        assert_eq!(format!("{:?}", ring(&["k1"])), "Keyring { ids: [\"k1\"], .. }");
    }
}
