//! What an event says about other calls and the other witness: the dialog that a request is about, the node's channel, and the
//! edge's own name for a dialog.

use schemas::SipTransaction;
use sha2::{Digest, Sha256};
use sip::{Message, Name, NameAddr, Uri};

use crate::core::telling::facts::text;
use crate::core::topology::Peer;

/// In what nodes send: the UUID of the channel. Like all of the platform's own headers it goes no further.
pub const CHANNEL: &str = "X-Trunkline-Channel";

/// The dialog that a request names.
pub fn note_previous(m: &Message<'_>, event: &mut SipTransaction) {
    if let Some(previous) = previous_call_id(m) {
        event.correlation.get_or_insert_default().previous_call_id = Some(previous);
    }
}

/// The channel at a node that a message came from; nobody else is believed.
pub fn note_channel(m: &Message<'_>, from: Peer, event: &mut SipTransaction) {
    let Peer::Node(_) = from else { return };
    let is_uuid = |v: &&[u8]| v.len() == 36 && v.iter().all(|b| b.is_ascii_hexdigit() || *b == b'-');
    if let Some(channel) = m.named(CHANNEL).filter(is_uuid) {
        event.correlation.get_or_insert_default().node_channel_uuid = Some(text(channel));
    }
}

/// An event of something inside a dialog names it. The events of a call's first answer do not need to: they have its tags.
pub fn note_dialog(event: &mut SipTransaction) {
    let i = &event.identity;
    let to_tag = i.to_tag.as_deref().unwrap_or_default();
    if !to_tag.is_empty() && !i.from_tag.is_empty() {
        event.identity.dialog_id = Some(dialog_id(&i.call_id, &i.from_tag, to_tag));
    }
}

/// The same for both directions and every edge: 8 bytes of SHA-256 over the Call-ID and the tags in the order of their bytes.
#[must_use]
pub fn dialog_id(call_id: &str, one: &str, other: &str) -> String {
    let (first, second) = if one <= other { (one, other) } else { (other, one) };
    let digest = Sha256::digest([call_id, first, second].join("\0").as_bytes());
    domain::hex(&digest[..8])
}

/// Replaces (RFC 3891), the one inside Refer-To (RFC 3515), or Target-Dialog (RFC 4538).
fn previous_call_id(m: &Message<'_>) -> Option<String> {
    let call_id = |value: &[u8]| {
        let end = value.iter().position(|&b| b == b';').unwrap_or(value.len());
        let call_id = sip::trim(&value[..end]);
        (!call_id.is_empty()).then(|| text(call_id))
    };
    if let Some(value) = m.header(Name::Replaces).or_else(|| m.named("Target-Dialog")) {
        return call_id(value);
    }
    let refer_to = NameAddr::parse(m.header(Name::ReferTo)?)?;
    let headers = Uri::parse(refer_to.uri).ok()?.headers;
    let replaces = headers.split(|&b| b == b'&').find_map(|h| {
        let (name, value) = h.split_at_checked(b"replaces=".len())?;
        name.eq_ignore_ascii_case(b"replaces=").then_some(value)
    })?;
    call_id(&unescape(replaces))
}

fn unescape(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|h| u8::from_str_radix(std::str::from_utf8(h).ok()?, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = &after[2..];
            }
            _ => {
                out.push(first);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use sip::Index;

    fn previous(header: &str) -> Option<String> {
        let text = format!(
            "REFER sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\nCall-ID: x\r\nCSeq: 1 REFER\r\n{header}\r\n\r\n"
        );
        previous_call_id(&Index::new().parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn a_request_about_another_dialog_names_it() {
        let attended = "Refer-To: <sip:b@c?Replaces=1a%40host%3Bto-tag%3D2%3Bfrom-tag%3D3>";
        assert_eq!(previous(attended).as_deref(), Some("1a@host"));
        assert_eq!(previous("Refer-To: <sip:b@c>"), None);
        assert_eq!(previous("Refer-To: <sip:b@c?Subject=x&replaces=q%zz>").as_deref(), Some("q%zz"));
        assert_eq!(previous("Replaces: 9@h;to-tag=1;from-tag=2").as_deref(), Some("9@h"));
        assert_eq!(previous("Target-Dialog: 8@h;local-tag=1;remote-tag=2").as_deref(), Some("8@h"));
    }

    #[test]
    fn both_directions_of_a_dialog_have_one_name() {
        assert_eq!(dialog_id("c", "a", "b"), dialog_id("c", "b", "a"));
        assert_ne!(dialog_id("c", "a", "b"), dialog_id("c", "a", "d"));
        assert_eq!(dialog_id("c", "a", "b").len(), 16);
    }
}
