//! Bytes as characters that may stand in a branch, in a user part and in a parameter: base64 with the letters of URLs, but `.` and `~`
//! for `Q` and `q`.
//!
//! Some readers look for `CSeq` anywhere in a message (SIPp does, and never ends the call). Via and Record-Route stand before it, so that one
//! cookie in 400,000 spelt it. Without that letter none can.

use base64::alphabet::Alphabet;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::NO_PAD;

const ALPHABET: Alphabet = match Alphabet::new("ABCDEFGHIJKLMNOP.RSTUVWXYZabcdefghijklmnop~rstuvwxyz0123456789-_") {
    Ok(alphabet) => alphabet,
    Err(_) => panic!("sixty-four different characters"),
};

pub const LETTERS: GeneralPurpose = GeneralPurpose::new(&ALPHABET, NO_PAD);

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;

    #[test]
    fn whatever_the_bytes_no_header_can_be_spelt_with_them() {
        // Every group of six bits in turn.
        let bytes: Vec<u8> = (0..64u32)
            .collect::<Vec<_>>()
            .chunks(4)
            .flat_map(|c| c.iter().fold(0, |n, bits| n << 6 | bits).to_be_bytes()[1..].to_vec())
            .collect();
        let text = LETTERS.encode(&bytes);
        assert_eq!(text.len(), 64);
        assert!(!text.to_ascii_lowercase().contains('q'));
        // RFC 3261 §25.1: what both a token and an unreserved character of a user part may be.
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b)));
        assert_eq!(LETTERS.decode(text).unwrap(), bytes);
    }
}
