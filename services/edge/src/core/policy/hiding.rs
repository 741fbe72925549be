//! Addresses of the node side, folded into tokens that only an edge can unfold.
//!
//! A token is reversible, so no memory is needed to follow it: 1 byte that marks the key, 8 bytes of MAC, then the text under
//! a key stream that depends on both. The MAC covers the text and the Call-ID: a token means something in its own call
//! only, cannot be made or changed by anybody else, and the same text gives the same token (a Contact stays the same Contact).
//!
//! A masked URI is `sip:tlh-<token>@<our address>`; masked Vias are one Via of ours whose branch is `z9hG4bKtlh-<token>`.

use base64::Engine;
use domain::identity::Keyring;
use sip::Uri;

use crate::core::proof::letters::LETTERS;

const USER: &str = "tlh-";
const BRANCH: &str = "z9hG4bKtlh-";
const HEAD: usize = 9;
/// No URI or stack of Vias that is worth masking is longer.
const LONGEST: usize = 2_048;

/// One call's view of the keys.
#[derive(Clone, Copy, Debug)]
pub struct Mask<'a> {
    pub keys: &'a Keyring,
    pub call_id: &'a [u8],
}

impl Mask<'_> {
    fn token(&self, text: &[u8]) -> Option<String> {
        if text.len() > LONGEST {
            return None;
        }
        let (kid, mac) = self.keys.mac8(&[b"hide", self.call_id, text]);
        let mut bytes = Vec::with_capacity(HEAD + text.len());
        bytes.push(mark(kid));
        bytes.extend_from_slice(&mac);
        bytes.extend_from_slice(text);
        self.stream(kid, &mac, &mut bytes[HEAD..]);
        Some(LETTERS.encode(bytes))
    }

    fn text(&self, token: &[u8]) -> Option<Vec<u8>> {
        if token.len() > LONGEST * 2 {
            return None;
        }
        let bytes = LETTERS.decode(token).ok()?;
        let (head, hidden) = bytes.split_at_checked(HEAD)?;
        let mac: [u8; 8] = head[1..].try_into().ok()?;
        self.keys.ids().filter(|kid| mark(kid) == head[0]).find_map(|kid| {
            let mut text = hidden.to_vec();
            self.stream(kid, &mac, &mut text);
            self.keys.verify_mac8(kid, &[b"hide", self.call_id, &text], &mac).then_some(text)
        })
    }

    /// XOR with HMAC-SHA-256 in counter mode, the MAC as nonce: text and Call-ID decide it, so no stream is used twice.
    fn stream(&self, kid: &str, mac: &[u8; 8], text: &mut [u8]) {
        for (block, chunk) in text.chunks_mut(32).enumerate() {
            let counter = u32::try_from(block).unwrap_or(u32::MAX).to_be_bytes();
            let Some(pad) = self.keys.mac32(kid, &[b"hide-stream", self.call_id, mac, &counter]) else { return };
            chunk.iter_mut().zip(pad).for_each(|(byte, pad)| *byte ^= pad);
        }
    }

    /// A URI that leads to us and says nothing else. `tail` is what a URI to our address needs behind it (`;transport=tcp`).
    #[must_use]
    pub fn uri(&self, uri: &[u8], host: &str, tail: &str) -> Option<String> {
        Some(format!("sip:{USER}{}@{host}{tail}", self.token(uri)?))
    }

    /// What a masked URI stands for; `None` when it is no masked URI of this call.
    #[must_use]
    pub fn open_uri(&self, uri: &[u8]) -> Option<Vec<u8>> {
        let parsed = Uri::parse(uri).ok()?;
        let text = self.text(parsed.user?.strip_prefix(USER.as_bytes())?)?;
        // Only what could have been masked: one URI without anything around it.
        Uri::parse(&text).is_ok().then_some(text)
    }

    /// A stack of Vias as one of ours.
    #[must_use]
    pub fn vias(&self, stack: &[u8], via: &str) -> Option<String> {
        Some(format!("{via};branch={BRANCH}{}", self.token(stack)?))
    }

    /// The stack behind the branch of a masked Via.
    #[must_use]
    pub fn open_vias(&self, branch: &[u8]) -> Option<Vec<u8>> {
        self.text(branch.strip_prefix(BRANCH.as_bytes())?)
    }
}

fn mark(kid: &str) -> u8 {
    kid.bytes().fold(0xa5, |acc, b| acc.rotate_left(3) ^ b)
}

/// Quick look before any key is asked.
#[must_use]
pub fn may_be_masked(uri: &[u8]) -> bool {
    uri.windows(USER.len() + 1).any(|w| w[0] == b':' && &w[1..] == USER.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(ids: &[&str]) -> Keyring {
        Keyring::new(ids.iter().map(|id| ((*id).to_owned(), format!("{id:-<40}").into_bytes())).collect()).unwrap()
    }

    #[test]
    fn a_masked_uri_opens_in_its_own_call_and_with_any_key_that_is_still_there() {
        let old = keys(&["a"]);
        let mask = Mask { keys: &old, call_id: b"call-1" };
        let inner = b"sip:gw+carrier@10.0.0.11:5080;transport=udp;gw=carrier";
        let uri = mask.uri(inner, "192.0.2.1:5060", "").unwrap();
        assert!(uri.starts_with("sip:tlh-") && uri.ends_with("@192.0.2.1:5060") && !uri.contains("10.0.0.11"), "{uri}");
        assert_eq!(mask.uri(inner, "192.0.2.1:5060", "").unwrap(), uri, "a Contact stays the same Contact");
        assert_eq!(mask.open_uri(uri.as_bytes()).unwrap(), inner);
        let newer = keys(&["a", "b"]);
        assert_eq!(Mask { keys: &newer, call_id: b"call-1" }.open_uri(uri.as_bytes()).unwrap(), inner);
        assert_eq!(Mask { keys: &newer, call_id: b"call-2" }.open_uri(uri.as_bytes()), None);
        assert_eq!(Mask { keys: &keys(&["b"]), call_id: b"call-1" }.open_uri(uri.as_bytes()), None);
    }

    #[test]
    fn a_changed_token_opens_nothing() {
        let keys = keys(&["a"]);
        let mask = Mask { keys: &keys, call_id: b"c" };
        let stack = b"SIP/2.0/UDP 10.0.0.11:5080;branch=z9hG4bKx;rport=5080, SIP/2.0/TCP pbx.local;branch=z9hG4bKy";
        let via = mask.vias(stack, "SIP/2.0/UDP 192.0.2.1:5060").unwrap();
        let branch = via.split("branch=").nth(1).unwrap().to_owned();
        assert_eq!(mask.open_vias(branch.as_bytes()).unwrap(), stack);
        for at in BRANCH.len()..branch.len() {
            let mut bytes = branch.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(mask.open_vias(&bytes), None, "byte {at}");
        }
        for bad in [&b""[..], b"z9hG4bKtlh-", b"z9hG4bKtlh-AAAA", b"z9hG4bK-other"] {
            assert_eq!(mask.open_vias(bad), None);
        }
    }

    #[test]
    fn any_text_comes_back() {
        use proptest::prelude::*;
        let keys = keys(&["a"]);
        proptest!(|(text in prop::collection::vec(any::<u8>(), 0..300), call in prop::collection::vec(any::<u8>(), 0..40))| {
            let mask = Mask { keys: &keys, call_id: &call };
            let token = mask.token(&text).unwrap();
            prop_assert_eq!(mask.text(token.as_bytes()), Some(text));
        });
    }
}
