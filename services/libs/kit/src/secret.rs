//! A text that never shows itself: not in `Debug`, not in printed settings, not in an error about a bad setting.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::settings::Problem;

/// What a secret shows of itself.
pub const MASK: &str = "***";

/// Part of the error of a secret with a wrong type; settings recognise it and hide the value.
pub(crate) const EXPECTED: &str = "a secret as quoted text";

/// Shorter ones can be guessed over a network within days.
pub const MIN_CHARS: usize = 12;

/// Passwords that products ship with; whoever scans for open systems tries these first.
const SHIPPED: [&str; 8] =
    ["cluecon", "password", "passw0rd", "changeme", "trunkline", "freeswitch", "administrator", "1234567890123456"];

#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    #[must_use]
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself. Every call is a place to look at when a secret was found in a log.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Why this secret must not be used, if so. An empty one is judged by its owner, who knows whether it is needed.
    #[must_use]
    pub fn weakness(&self) -> Option<&'static str> {
        let lower = self.0.to_lowercase();
        let first = lower.chars().next()?;
        if SHIPPED.iter().any(|shipped| lower.trim_end_matches(|c: char| c.is_ascii_digit() || c == '!') == *shipped)
            || SHIPPED.contains(&lower.as_str())
        {
            Some("is a password that products ship with")
        } else if self.0.chars().count() < MIN_CHARS {
            Some("is shorter than 12 characters")
        } else if lower.chars().all(|c| c == first) {
            Some("repeats one character")
        } else {
            None
        }
    }

    /// Reports a weak secret as a problem of the setting `key` (law 5: no default passwords, weak ones are refused).
    pub fn check_strength(&self, key: &str, out: &mut Vec<Problem>) {
        if let Some(why) = self.weakness() {
            out.push(Problem::new(
                key,
                MASK,
                format!("the secret {why}; make one with: head -c 24 /dev/urandom | base64"),
            ));
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "\"\"" } else { MASK })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.0.is_empty() { "" } else { MASK })
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Secret;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret(text.to_owned()))
            }
            fn visit_string<E: Error>(self, text: String) -> Result<Secret, E> {
                Ok(Secret(text))
            }
        }
        deserializer.deserialize_string(Text)
    }
}
