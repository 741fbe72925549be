//! Identities of calls and legs, and the short hash that names nodes and trunks inside a cookie.
//!
//! A call id is a UUIDv7: its own first 48 bits say when the call began, so the day partition of a record never moves. A leg
//! id at the edge is derived, so a restarted edge finds the same one for the same attempt.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("a call id is 36 lower-case characters of a UUID of version 7, not {0:?}")]
    Call(String),
    #[error("a leg id of the edge is 16 lower-case hexadecimal digits, not {0:?}")]
    Leg(String),
}

/// The identity of a call over all its legs and the key of every call topic (`call_root_id`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId([u8; 16]);

impl CallId {
    /// A new id from the wall clock and ten random bytes.
    #[must_use]
    pub fn new(wall_us: i64, random: [u8; 10]) -> CallId {
        let millis = u64::try_from(wall_us / 1000).unwrap_or(0);
        CallId(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().into_bytes())
    }

    /// The id of a channel that nobody named: every engine and every restart finds the same one.
    #[must_use]
    pub fn for_channel(created_ms: i64, core_uuid: &str, channel_uuid: &str) -> CallId {
        let digest = Sha256::new().chain_update(core_uuid).chain_update("/").chain_update(channel_uuid).finalize();
        let mut random = [0; 10];
        random.copy_from_slice(&digest[..10]);
        CallId::new(created_ms.saturating_mul(1000), random)
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Rebuilds an id from the bytes of a cookie or a row.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> CallId {
        CallId(bytes)
    }

    /// The moment at which the call began, in milliseconds since 1970.
    #[must_use]
    pub fn unix_ms(&self) -> i64 {
        let b = &self.0;
        i64::from_be_bytes([0, 0, b[0], b[1], b[2], b[3], b[4], b[5]])
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_bytes(self.0).as_hyphenated().fmt(f)
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallId({self})")
    }
}

impl FromStr for CallId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<CallId, IdError> {
        let wrong = || IdError::Call(text.chars().take(48).collect());
        if text.len() != 36 || text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(wrong());
        }
        let uuid = Uuid::try_parse(text).map_err(|_| wrong())?;
        if uuid.get_version_num() != 7 {
            return Err(wrong());
        }
        Ok(CallId(uuid.into_bytes()))
    }
}

/// One attempt at the edge: one INVITE that was sent to one next hop.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegId([u8; 8]);

impl LegId {
    /// The first 8 bytes of SHA-256 over (call id, Call-ID, From-tag, CSeq number, attempt).
    #[must_use]
    pub fn edge(call: &CallId, sip_call_id: &str, from_tag: &str, cseq: u32, attempt: u32) -> LegId {
        let digest = Sha256::new()
            .chain_update(call.as_bytes())
            .chain_update(part(sip_call_id))
            .chain_update(sip_call_id)
            .chain_update(part(from_tag))
            .chain_update(from_tag)
            .chain_update(cseq.to_be_bytes())
            .chain_update(attempt.to_be_bytes())
            .finalize();
        let mut id = [0; 8];
        id.copy_from_slice(&digest[..8]);
        LegId(id)
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

/// A length in front of each text, so that no two pairs of texts hash alike.
fn part(text: &str) -> [u8; 4] {
    u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes()
}

impl fmt::Display for LegId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for LegId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LegId({self})")
    }
}

impl FromStr for LegId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<LegId, IdError> {
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != 16 || !text.bytes().all(lower_hex) {
            return Err(IdError::Leg(text.chars().take(24).collect()));
        }
        let value = u64::from_str_radix(text, 16).map_err(|_| IdError::Leg(text.to_owned()))?;
        Ok(LegId(value.to_be_bytes()))
    }
}

/// The 32-bit name of a node or trunk inside a cookie. `check` refuses settings in which two ids collide.
#[must_use]
pub fn hash32(id: &str) -> u32 {
    let digest = Sha256::digest(id.as_bytes());
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}

macro_rules! serde_as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<$name, D::Error> {
                let text = String::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

serde_as_text!(CallId);
serde_as_text!(LegId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_id_keeps_its_time_and_prints_as_it_parses() {
        let id = CallId::new(1_764_000_123_456_789, [7; 10]);
        assert_eq!(id.unix_ms(), 1_764_000_123_456);
        assert_eq!(id.to_string().len(), 36);
        assert_eq!(id.to_string().parse::<CallId>(), Ok(id));
    }

    #[test]
    fn a_call_id_of_another_version_or_case_is_refused() {
        for text in ["", "zz", "019AB000-0000-7000-8000-000000000000", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"] {
            assert!(text.parse::<CallId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_channel_that_names_itself_gets_the_same_id_everywhere() {
        let one = CallId::for_channel(1_764_000_123_456, "core", "channel");
        assert_eq!(one, CallId::for_channel(1_764_000_123_456, "core", "channel"));
        assert_ne!(one, CallId::for_channel(1_764_000_123_456, "core2", "channel"));
        assert_eq!(one.unix_ms(), 1_764_000_123_456);
    }

    #[test]
    fn a_leg_id_depends_on_each_of_its_parts() {
        let call = CallId::new(1_764_000_123_456_789, [7; 10]);
        let base = LegId::edge(&call, "a@b", "tag", 1, 0);
        let others = [
            LegId::edge(&CallId::new(1_764_000_123_456_789, [8; 10]), "a@b", "tag", 1, 0),
            LegId::edge(&call, "a@c", "tag", 1, 0),
            LegId::edge(&call, "a@b", "tah", 1, 0),
            LegId::edge(&call, "a@bt", "ag", 1, 0),
            LegId::edge(&call, "a@b", "tag", 2, 0),
            LegId::edge(&call, "a@b", "tag", 1, 1),
        ];
        assert!(others.iter().all(|o| *o != base));
        assert_eq!(base.to_string().parse::<LegId>(), Ok(base));
        assert!("0123456789ABCDEF".parse::<LegId>().is_err());
    }
}
