//! Argument types: a value exists only if its characters are on the list of its kind.
//!
//! Lists are of what is allowed, never of what is forbidden, because the dial-string and expansion grammar of FreeSWITCH (`,` `|`
//! `{}` `[]` `<>` `^^` `${}` `&app()` quotes, blanks) is larger than anybody remembers.

use std::fmt;

use super::CommandError;

fn check(what: &'static str, text: &str, limit: usize, allowed: impl Fn(u8) -> bool) -> Result<(), CommandError> {
    if text.is_empty() {
        return Err(CommandError::Empty { what });
    }
    if text.len() > limit {
        return Err(CommandError::TooLong { what, limit });
    }
    match text.bytes().position(|b| !allowed(b)) {
        Some(at) => Err(CommandError::Charset { what, at }),
        None => Ok(()),
    }
}

/// Printable ASCII without a blank.
pub(super) fn graphic(what: &'static str, text: &str, limit: usize) -> Result<(), CommandError> {
    check(what, text, limit, |b| b.is_ascii_graphic())
}

macro_rules! checked_text {
    ($($(#[$meta:meta])* $name:ident($what:literal, $limit:literal, $allowed:expr);)*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub struct $name(String);

        impl $name {
            pub fn new(text: &str) -> Result<Self, CommandError> {
                check($what, text, $limit, $allowed)?;
                Self::form(text)?;
                Ok(Self(text.to_owned()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

checked_text! {
    /// A channel's id. Exactly the form that FreeSWITCH makes itself: with `inbound-use-callid-as-uuid` a caller would choose it,
    /// and could call his channel `all`.
    Uuid("channel uuid", 36, |b| b.is_ascii_hexdigit() || b == b'-');
    /// A hangup cause by name, like `NORMAL_CLEARING`.
    Cause("hangup cause", 64, |b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    /// A number to dial or an extension: digits, perhaps a leading plus.
    Number("number", 32, |b| b.is_ascii_digit() || b == b'+');
    /// Keys of a telephone.
    Digits("digits", 32, |b| b.is_ascii_digit() || b == b'*' || b == b'#');
    /// A word: a variable, a dialplan context, a gateway.
    Name("name", 64, |b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    /// What is played: a sound file, or a tone or silence stream. No other scheme (a URL would make the switch fetch it), no
    /// expansion, no list.
    Prompt("prompt", 256, |b| b.is_ascii_alphanumeric() || b"_-./:%(),;=+".contains(&b));
    /// An event's name, or the subclass of a custom one (with a double colon).
    Event("event name", 64, |b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':' | b'-'));
    /// A header to filter by.
    HeaderName("header name", 64, |b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    /// The value to filter by: printable ASCII without a blank.
    HeaderValue("header value", 256, |b| b.is_ascii_graphic());
}

impl Uuid {
    fn form(text: &str) -> Result<(), CommandError> {
        let shape =
            text.len() == 36 && text.bytes().enumerate().all(|(i, b)| matches!(i, 8 | 13 | 18 | 23) == (b == b'-'));
        if shape {
            Ok(())
        } else {
            Err(CommandError::Form { what: "channel uuid", expected: "8-4-4-4-12 hexadecimal digits" })
        }
    }
}

impl Number {
    fn form(text: &str) -> Result<(), CommandError> {
        let digits = text.strip_prefix('+').unwrap_or(text);
        if digits.is_empty() || digits.contains('+') {
            return Err(CommandError::Form { what: "number", expected: "digits with at most one leading plus" });
        }
        Ok(())
    }
}

impl Prompt {
    fn form(text: &str) -> Result<(), CommandError> {
        let scheme_ok = match text.split_once("://") {
            None => !text.contains(':'),
            Some((scheme, rest)) => matches!(scheme, "tone_stream" | "silence_stream") && !rest.contains(':'),
        };
        if !scheme_ok {
            return Err(CommandError::Form { what: "prompt", expected: "a path, tone_stream:// or silence_stream://" });
        }
        if text.split('/').any(|part| part == "..") {
            return Err(CommandError::Form { what: "prompt", expected: "a path that does not climb" });
        }
        Ok(())
    }
}

impl Event {
    fn form(text: &str) -> Result<(), CommandError> {
        if text.contains("::") || !text.contains(':') {
            return Ok(());
        }
        Err(CommandError::Form { what: "event name", expected: "NAME or sub::class" })
    }

    pub fn is_custom(&self) -> bool {
        self.0.contains("::")
    }
}

macro_rules! any_form {
    ($($name:ident)*) => {$(impl $name {
        fn form(_: &str) -> Result<(), CommandError> {
            Ok(())
        }
    })*};
}
any_form!(Cause Digits Name HeaderName HeaderValue);

/// Where a caller is connected to: a number behind a gateway of the switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeTarget {
    pub gateway: Name,
    pub number: Number,
}

impl fmt::Display for BridgeTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sofia/gateway/{}/{}", self.gateway, self.number)
    }
}
