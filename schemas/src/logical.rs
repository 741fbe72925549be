//! Logical ids: what makes two copies of an event one.

use sha2::{Digest, Sha256};

use crate::{codec, envelope::Envelope, event::Event};

/// First 16 bytes of SHA-256 over the parts, each behind its length, so that no two lists of parts read the same.
pub(crate) fn of(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    first_half(hash)
}

/// Over everything but the envelope: for events that are derived from others.
///
/// The hash is over the encoded form, in which every field has one place and one spelling.
pub(crate) fn of_content<E: Event>(event: &E) -> [u8; 16] {
    let mut bare = event.clone();
    *bare.envelope_mut() = Envelope::default();
    let mut hash = Sha256::new();
    hash.update(E::TOPIC.name.as_bytes());
    // A value of our own types always fits the schema that a test proves them against.
    let encoded = codec::encode_body(&bare).expect("every event type is proven against its schema");
    hash.update(&encoded);
    first_half(hash)
}

fn first_half(hash: Sha256) -> [u8; 16] {
    let digest = hash.finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    id
}
