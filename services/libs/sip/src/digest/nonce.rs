//! Nonces that need no memory to be known again: the time that they were made, signed. Only their counters are remembered,
//! in a table with a bound, so that an answer that was overheard is worth nothing.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::hash::same;

/// Hex digits of the time and of the signature.
const TIME: usize = 16;
const MAC: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Fresh,
    /// Ours, but too old: ask again with `stale=true`.
    Stale,
    /// Not ours.
    Forged,
}

/// Signs nonces. Times are seconds of any clock that does not go back.
#[derive(Clone)]
pub struct NonceKey {
    key: [u8; 32],
    life_s: u64,
}

impl NonceKey {
    #[must_use]
    pub fn new(key: [u8; 32], life_s: u64) -> NonceKey {
        NonceKey { key, life_s }
    }

    #[must_use]
    pub fn mint(&self, now_s: u64) -> String {
        let mut text = format!("{now_s:016x}");
        let mac = self.mac(text.as_bytes());
        text.push_str(&mac);
        text
    }

    #[must_use]
    pub fn standing(&self, now_s: u64, nonce: &[u8]) -> Standing {
        if nonce.len() != TIME + MAC {
            return Standing::Forged;
        }
        let (time, mac) = nonce.split_at(TIME);
        let made = std::str::from_utf8(time).ok().and_then(|t| u64::from_str_radix(t, 16).ok());
        match made {
            Some(made) if same(self.mac(time).as_bytes(), mac) && made <= now_s => {
                if now_s - made <= self.life_s {
                    Standing::Fresh
                } else {
                    Standing::Stale
                }
            }
            _ => Standing::Forged,
        }
    }

    /// The key stands on both sides of the text, whose length is fixed, so that a hash cannot be continued.
    fn mac(&self, time: &[u8]) -> String {
        let digest = Sha256::new().chain_update(self.key).chain_update(time).chain_update(self.key).finalize();
        super::to_hex(&digest[..MAC / 2])
    }
}

/// The highest counter of each nonce that was used. When the table is full all is forgotten and every client is asked once
/// more by a stale nonce: the caller treats `false` so.
#[derive(Debug)]
pub struct Replay {
    seen: HashMap<Vec<u8>, u32>,
    most: usize,
}

impl Replay {
    #[must_use]
    pub fn new(most: usize) -> Replay {
        Replay { seen: HashMap::new(), most }
    }

    /// Whether this counter of this nonce is new. A nonce that is not known begins at one, else it was forgotten.
    pub fn accept(&mut self, nonce: &[u8], count: u32) -> bool {
        if let Some(last) = self.seen.get_mut(nonce) {
            let is_new = count > *last;
            *last = count.max(*last);
            return is_new;
        }
        if count != 1 {
            return false;
        }
        if self.seen.len() >= self.most {
            self.seen.clear();
        }
        self.seen.insert(nonce.to_vec(), count);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_known_by_its_signature_and_ages() {
        let key = NonceKey::new([7; 32], 60);
        let nonce = key.mint(1_000);
        assert_eq!(key.standing(1_060, nonce.as_bytes()), Standing::Fresh);
        assert_eq!(key.standing(1_061, nonce.as_bytes()), Standing::Stale);
        assert_eq!(key.standing(999, nonce.as_bytes()), Standing::Forged);
        assert_eq!(NonceKey::new([8; 32], 60).standing(1_000, nonce.as_bytes()), Standing::Forged);
        for at in 0..nonce.len() {
            let mut other = nonce.clone().into_bytes();
            other[at] = if other[at] == b'0' { b'1' } else { b'0' };
            assert_eq!(key.standing(1_000, &other), Standing::Forged, "{at}");
        }
        assert_eq!(key.standing(1_000, b""), Standing::Forged);
    }

    #[test]
    fn a_counter_is_taken_once_and_the_table_is_bounded() {
        let mut replay = Replay::new(2);
        assert!(replay.accept(b"a", 1) && !replay.accept(b"a", 1) && replay.accept(b"a", 3) && !replay.accept(b"a", 2));
        assert!(!replay.accept(b"unknown", 2));
        assert!(replay.accept(b"b", 1) && replay.accept(b"c", 1));
        assert!(!replay.accept(b"a", 4), "forgotten: asked once more");
        assert!(replay.seen.len() <= 2);
    }
}
