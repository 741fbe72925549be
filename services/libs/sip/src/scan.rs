//! Small scans over header bytes. A folded header keeps its CRLF inside the value, so CR and LF count as white space here.

use crate::class::{self, SPACE};

#[must_use]
#[inline]
pub(crate) fn is_space(byte: u8) -> bool {
    class::is(byte, SPACE)
}

/// Without white space at either end.
#[must_use]
pub fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes {
        if !is_space(*first) {
            break;
        }
        bytes = rest;
    }
    while let [rest @ .., last] = bytes {
        if !is_space(*last) {
            break;
        }
        bytes = rest;
    }
    bytes
}

/// Where the first value of a comma-separated header ends: commas in quotes and angle brackets do not count.
#[must_use]
pub(crate) fn value_end(bytes: &[u8]) -> usize {
    if memchr::memchr(b',', bytes).is_none() {
        return bytes.len();
    }
    let (mut quoted, mut angle, mut at) = (false, false, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quoted => at += 1,
            b'"' if !angle => quoted = !quoted,
            b'<' if !quoted => angle = true,
            b'>' if !quoted => angle = false,
            b',' if !quoted && !angle => return at,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// The values of a comma-separated header, trimmed; empty ones are skipped.
pub fn comma_values(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        loop {
            let here = rest?;
            // Empty values at one byte each, not at one search each.
            let here = &here[here.iter().take_while(|&&b| b == b',' || is_space(b)).count()..];
            let end = value_end(here);
            rest = here.get(end + 1..);
            let value = trim(&here[..end]);
            if !value.is_empty() {
                return Some(value);
            }
        }
    })
}

/// Digits only, no sign and no space, at most 64 bits.
#[must_use]
pub(crate) fn number(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() {
        return None;
    }
    let mut value: u64 = 0;
    for &byte in bytes {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_quotes_and_angle_brackets_do_not_split() {
        let values: Vec<&[u8]> = comma_values(b"\"a, \\\" b\" <sip:x@y;p=1,2>;q=1 ,, <sip:z>").collect();
        assert_eq!(values, [&b"\"a, \\\" b\" <sip:x@y;p=1,2>;q=1"[..], b"<sip:z>"]);
    }

    #[test]
    fn a_number_has_no_sign_and_no_overflow() {
        assert_eq!(number(b"0009"), Some(9));
        for bad in [&b""[..], b"+5", b"-1", b"5 5", b"0x5", b"99999999999999999999999"] {
            assert_eq!(number(bad), None);
        }
    }
}
