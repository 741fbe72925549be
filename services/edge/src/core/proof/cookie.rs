//! The dialog cookie in Record-Route: which call, which node, which trunk, and proof that we wrote it.
//!
//! 33 bytes as 44 characters: a mark of the key (1), call id (16), node (4), trunk (4), MAC (8). The MAC covers the key id,
//! call id, node, trunk, Call-ID and the caller's tag, so a cookie is worth nothing in another dialog. It makes routing
//! inside a dialog independent of memory: a restarted edge still finds the node.

use base64::Engine;
use domain::CallId;
use domain::identity::Keyring;

use crate::core::proof::letters::LETTERS;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie {
    pub call: CallId,
    pub node: u32,
    pub trunk: u32,
}

/// A cookie whose MAC holds, and which party of the dialog sent the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    pub cookie: Cookie,
    /// The request's From-tag is that of the INVITE that made the dialog.
    pub from_caller: bool,
}

const BYTES: usize = 33;

impl Cookie {
    #[must_use]
    pub fn seal(&self, keys: &Keyring, sip_call_id: &[u8], caller_tag: &[u8]) -> String {
        let (kid, mac) = keys.mac8(&self.parts(sip_call_id, caller_tag).each_ref().map(|p| p.as_slice()));
        let mut bytes = [0u8; BYTES];
        bytes[0] = mark(kid);
        bytes[1..17].copy_from_slice(self.call.as_bytes());
        bytes[17..21].copy_from_slice(&self.node.to_be_bytes());
        bytes[21..25].copy_from_slice(&self.trunk.to_be_bytes());
        bytes[25..].copy_from_slice(&mac);
        LETTERS.encode(bytes)
    }

    /// `None` for anything that we did not write for this dialog.
    #[must_use]
    pub fn open(keys: &Keyring, text: &[u8], sip_call_id: &[u8], from_tag: &[u8], to_tag: &[u8]) -> Option<Verified> {
        let mut bytes = [0u8; BYTES];
        if LETTERS.decode_slice(text, &mut bytes).ok()? != BYTES {
            return None;
        }
        let call = CallId::from_bytes(bytes[1..17].try_into().ok()?);
        let word = |at: usize| Some(u32::from_be_bytes(bytes[at..at + 4].try_into().ok()?));
        let cookie = Cookie { call, node: word(17)?, trunk: word(21)? };
        for kid in keys.ids().filter(|kid| mark(kid) == bytes[0]) {
            for (tag, from_caller) in [(from_tag, true), (to_tag, false)] {
                let parts = cookie.parts(sip_call_id, tag);
                if !tag.is_empty() && keys.verify_mac8(kid, &parts.each_ref().map(|p| p.as_slice()), &bytes[25..]) {
                    return Some(Verified { cookie, from_caller });
                }
            }
        }
        None
    }

    fn parts(&self, sip_call_id: &[u8], caller_tag: &[u8]) -> [Vec<u8>; 4] {
        let mut names = Vec::with_capacity(8);
        names.extend_from_slice(&self.node.to_be_bytes());
        names.extend_from_slice(&self.trunk.to_be_bytes());
        [self.call.as_bytes().to_vec(), names, sip_call_id.to_vec(), caller_tag.to_vec()]
    }
}

/// One byte that tells keys apart well enough to try the right one first.
pub(in crate::core) fn mark(kid: &str) -> u8 {
    kid.bytes().fold(0x5a, |acc, b| acc.rotate_left(3) ^ b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(ids: &[&str]) -> Keyring {
        Keyring::new(
            ids.iter()
                .map(|id| ((*id).to_owned(), format!("{id}-secret-of-at-least-32-bytes-xxxxxxxx").into_bytes()))
                .collect(),
        )
        .unwrap()
    }

    #[test]
    fn a_cookie_holds_in_its_own_dialog_and_tells_the_parties_apart() {
        let ring = keys(&["k1"]);
        let cookie = Cookie { call: CallId::new(1_700_000_000_000_000, [3; 10]), node: 7, trunk: 9 };
        let text = cookie.seal(&ring, b"cid", b"alice");
        assert!(text.len() <= 48, "{}", text.len());
        let open = |c: &[u8], f: &[u8], t: &[u8]| Cookie::open(&ring, text.as_bytes(), c, f, t);
        assert_eq!(open(b"cid", b"alice", b"bob"), Some(Verified { cookie, from_caller: true }));
        assert_eq!(open(b"cid", b"bob", b"alice"), Some(Verified { cookie, from_caller: false }));
        assert_eq!(open(b"other", b"alice", b"bob"), None);
        assert_eq!(open(b"cid", b"mallory", b"bob"), None);
        assert_eq!(open(b"cid", b"", b""), None);
    }

    #[test]
    fn an_older_key_still_verifies_and_a_changed_byte_never_does() {
        let text = Cookie { call: CallId::new(1, [0; 10]), node: 1, trunk: 2 }.seal(&keys(&["a"]), b"c", b"t");
        assert!(Cookie::open(&keys(&["a", "b"]), text.as_bytes(), b"c", b"t", b"").is_some());
        assert!(Cookie::open(&keys(&["b"]), text.as_bytes(), b"c", b"t", b"").is_none());
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert!(Cookie::open(&keys(&["a"]), &bytes, b"c", b"t", b"").is_none(), "byte {at}");
        }
        assert!(Cookie::open(&keys(&["a"]), b"", b"c", b"t", b"").is_none());
    }
}
