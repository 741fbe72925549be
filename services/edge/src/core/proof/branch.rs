//! The branch of a forwarded request: derived from what was received, so that a restarted edge derives the same one, and
//! signed, so that a response with a guessed branch finds nothing.
//!
//! `z9hG4bKt` and 16 characters: MAC (8 bytes), attempt (1), loop mark (3). The loop mark is a hash of what decides where
//! a request goes; meeting our own Via with the same mark means that it went in a circle.

use base64::Engine;
use domain::identity::Keyring;
use sip::{Message, Method};

use crate::core::proof::letters::LETTERS;

const PREFIX: &str = "z9hG4bKt";
const BYTES: usize = 12;

/// The signed part, as a table key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BranchKey([u8; 9]);

#[derive(Clone, Debug)]
pub struct Branch {
    pub text: String,
    pub key: BranchKey,
}

impl Branch {
    /// For a request that came in as `received` and goes to `target` (the hash of its id).
    #[must_use]
    pub fn derive(keys: &Keyring, received: &Message<'_>, attempt: u8, target: u32) -> Branch {
        let scope = Scope::of(received, attempt, target);
        Branch::from_parts(keys, &scope.parts(received), attempt, loop_mark(received))
    }

    /// Whether we wrote the branch of a response for a request to `target`. `below` is that response without our Via: its first
    /// Via is the one that the request came with.
    #[must_use]
    pub fn is_ours(keys: &Keyring, branch: &[u8], below: &Message<'_>, target: u32) -> bool {
        let Some(bytes) = decode(branch) else { return false };
        let scope = Scope::of(below, bytes[8], target);
        let parts = scope.parts(below);
        keys.ids().any(|kid| keys.verify_mac8(kid, &parts, &bytes[..8]))
    }

    /// For a request of our own, made unique by `nonce`.
    #[must_use]
    pub fn own(keys: &Keyring, nonce: u64) -> Branch {
        Branch::from_parts(keys, &[b"own", &nonce.to_be_bytes()], 0, [0; 3])
    }

    fn from_parts(keys: &Keyring, parts: &[&[u8]], attempt: u8, mark: [u8; 3]) -> Branch {
        let (_, mac) = keys.mac8(parts);
        let mut bytes = [0u8; BYTES];
        bytes[..8].copy_from_slice(&mac);
        bytes[8] = attempt;
        bytes[9..].copy_from_slice(&mark);
        let mut text = String::with_capacity(PREFIX.len() + 16);
        text.push_str(PREFIX);
        LETTERS.encode_string(bytes, &mut text);
        Branch { text, key: key_of(&bytes) }
    }
}

/// The numbers that go into the MAC, as bytes.
struct Scope {
    cseq: [u8; 4],
    port: [u8; 2],
    attempt: [u8; 1],
    target: [u8; 4],
}

impl Scope {
    fn of(m: &Message<'_>, attempt: u8, target: u32) -> Scope {
        Scope {
            cseq: m.cseq().to_be_bytes(),
            port: m.via().port.unwrap_or(0).to_be_bytes(),
            attempt: [attempt],
            target: target.to_be_bytes(),
        }
    }

    /// Only what the response has too, so that a response proves itself; `received` and `rport` are added on the way. A Via without
    /// the magic cookie counts whole: then only the request has it all.
    fn parts<'a>(&'a self, m: &Message<'a>) -> [&'a [u8]; 10] {
        let via = m.via();
        let modern = m.branch().starts_with(b"z9hG4bK");
        // An ACK for a failure and a CANCEL bear the branch of their INVITE, here as there.
        let method = match m.method() {
            Method::Ack | Method::Cancel => b"INVITE",
            _ => m.method_token(),
        };
        [
            b"branch",
            m.call_id(),
            m.from_tag(),
            &self.cseq,
            method,
            if modern { via.host.of(m.bytes()) } else { via.value.of(m.bytes()) },
            &self.port,
            if modern { m.branch() } else { b"" },
            &self.attempt,
            &self.target,
        ]
    }
}

fn key_of(bytes: &[u8; BYTES]) -> BranchKey {
    let mut key = [0; 9];
    key.copy_from_slice(&bytes[..9]);
    BranchKey(key)
}

fn decode(branch: &[u8]) -> Option<[u8; BYTES]> {
    let mut bytes = [0u8; BYTES];
    let text = branch.strip_prefix(PREFIX.as_bytes())?;
    (LETTERS.decode_slice(text, &mut bytes).ok()? == BYTES).then_some(bytes)
}

/// The table key of a branch that has our form.
#[must_use]
pub fn parse(branch: &[u8]) -> Option<BranchKey> {
    decode(branch).as_ref().map(key_of)
}

/// Whether a Via of ours in the stack carries the mark that this request would get: it has been here unchanged.
#[must_use]
pub fn is_loop(request: &Message<'_>, is_own: impl Fn(&[u8]) -> bool) -> bool {
    let mark = loop_mark(request);
    request.values(sip::Name::Via).any(|via| {
        let params = params_of(via);
        let own = sent_by(via).is_some_and(&is_own);
        own && sip::Params::new(params).find(b"branch").and_then(decode).is_some_and(|bytes| bytes[9..] == mark)
    })
}

fn params_of(via: &[u8]) -> &[u8] {
    via.iter().position(|&b| b == b';').map_or(&[], |at| &via[at..])
}

/// `host:port` of a Via value.
fn sent_by(via: &[u8]) -> Option<&[u8]> {
    let end = via.iter().position(|&b| b == b';').unwrap_or(via.len());
    sip::trim(&via[..end]).rsplit(|&b| b == b' ' || b == b'\t').next()
}

/// Over the dialled user, the tags, Call-ID and CSeq. The host of the request URI is left out: we replace it ourselves.
fn loop_mark(request: &Message<'_>) -> [u8; 3] {
    use std::hash::Hasher;
    let user = sip::Uri::parse(request.uri()).ok().and_then(|u| u.user).unwrap_or_default();
    let mut hasher = std::hash::DefaultHasher::new();
    for part in [user, request.from_tag(), request.to_tag(), request.call_id()] {
        hasher.write_u32(part.len() as u32);
        hasher.write(part);
    }
    hasher.write_u32(request.cseq());
    let hash = hasher.finish().to_be_bytes();
    [hash[0], hash[1], hash[2]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use sip::Index;

    fn invite(vias: &str, user: &str) -> String {
        format!(
            "INVITE sip:{user}@192.0.2.1 SIP/2.0\r\n{vias}From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\r\n"
        )
    }

    fn ring() -> Keyring {
        Keyring::new(vec![("k".into(), vec![9; 32])]).unwrap()
    }

    #[test]
    fn the_same_request_derives_the_same_branch_and_another_attempt_another() {
        let text = invite("Via: SIP/2.0/UDP a;branch=z9hG4bK1\r\n", "1");
        let mut index = Index::new();
        let m = index.parse(text.as_bytes()).unwrap();
        let a = Branch::derive(&ring(), &m, 1, 5);
        assert_eq!(a.text, Branch::derive(&ring(), &m, 1, 5).text);
        assert_eq!(parse(a.text.as_bytes()), Some(a.key));
        assert_ne!(a.key, Branch::derive(&ring(), &m, 2, 5).key);
        assert_eq!(parse(b"z9hG4bKt-short"), None);
    }

    #[test]
    fn a_response_proves_that_its_branch_is_ours_and_for_that_target_only() {
        let text = invite("Via: SIP/2.0/UDP 192.0.2.7:5062;rport;branch=z9hG4bK1\r\n", "1");
        let mut index = Index::new();
        let ours = Branch::derive(&ring(), &index.parse(text.as_bytes()).unwrap(), 1, 5).text;
        let below = |call: &str, port: u16| {
            format!(
                "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.7:{port};rport=6;received=192.0.2.9;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\nCall-ID: {call}\r\nCSeq: 1 INVITE\r\n\r\n"
            )
        };
        let is_ours = |below: String, branch: &str, target: u32| {
            let mut index = Index::new();
            Branch::is_ours(&ring(), branch.as_bytes(), &index.parse(below.as_bytes()).unwrap(), target)
        };
        assert!(is_ours(below("x", 5062), &ours, 5));
        assert!(!is_ours(below("x", 5062), &ours, 6));
        assert!(!is_ours(below("y", 5062), &ours, 5));
        assert!(!is_ours(below("x", 5063), &ours, 5));
        assert!(!is_ours(below("x", 5062), &Branch::own(&ring(), 1).text, 5));
    }

    #[test]
    fn our_own_via_with_the_same_mark_is_a_loop_and_another_number_is_a_spiral() {
        let text = invite("Via: SIP/2.0/UDP a;branch=z9hG4bK1\r\n", "1");
        let mut index = Index::new();
        let ours = Branch::derive(&ring(), &index.parse(text.as_bytes()).unwrap(), 1, 5).text;
        let own = |host: &[u8]| host == b"192.0.2.1:5060";
        let stack = format!("Via: SIP/2.0/UDP c;branch=z9hG4bK9\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch={ours}\r\n");
        for (user, looped) in [("1", true), ("2", false)] {
            let text = invite(&stack, user);
            let mut index = Index::new();
            assert_eq!(is_loop(&index.parse(text.as_bytes()).unwrap(), own), looped);
        }
    }
}
