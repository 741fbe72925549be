//! The two encodings of an event, as sinks that take one header at a time.

/// Takes headers in order. `prefix` and `name` together are the header's name.
pub(super) trait Sink {
    fn put(&mut self, prefix: &str, name: &str, value: &str);
}

/// `Name: url-encoded value` lines.
pub(super) struct Plain<'a>(pub &'a mut String);

impl Sink for Plain<'_> {
    fn put(&mut self, prefix: &str, name: &str, value: &str) {
        self.0.push_str(prefix);
        self.0.push_str(name);
        self.0.push_str(": ");
        url_encode(value, self.0);
        self.0.push('\n');
    }
}

/// The members of a JSON object, without the braces.
pub(super) struct Json<'a>(pub &'a mut String);

impl Sink for Json<'_> {
    fn put(&mut self, prefix: &str, name: &str, value: &str) {
        if !self.0.ends_with('{') {
            self.0.push(',');
        }
        self.0.push('"');
        self.0.push_str(prefix);
        self.0.push_str(name);
        self.0.push_str("\":\"");
        json_escape(value, self.0);
        self.0.push('"');
    }
}

/// Keeps the headers, for events that carry a second profile.
#[derive(Default)]
pub(super) struct Pairs(pub Vec<(String, String)>);

impl Sink for Pairs {
    fn put(&mut self, prefix: &str, name: &str, value: &str) {
        self.0.push((format!("{prefix}{name}"), value.to_owned()));
    }
}

/// FreeSWITCH's set of characters that are not sent as they are, as a bit set over ASCII.
const fn unsafe_bytes() -> [bool; 256] {
    let mut table = [false; 256];
    let mut i = 0;
    while i < 256 {
        table[i] = i < 32 || i > 126;
        i += 1;
    }
    let listed = b" \"#%&+:;<=>?@[\\]^`{|}";
    let mut j = 0;
    while j < listed.len() {
        table[listed[j] as usize] = true;
        j += 1;
    }
    table
}

const UNSAFE: [bool; 256] = unsafe_bytes();

pub(super) fn url_encode(value: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut rest = value;
    // Safe stretches are copied whole; every byte above ASCII is encoded, so a cut never splits a character.
    while let Some(at) = rest.bytes().position(|byte| UNSAFE[usize::from(byte)]) {
        out.push_str(&rest[..at]);
        let width = rest[at..].chars().next().map_or(1, char::len_utf8);
        for byte in rest[at..at + width].bytes() {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
        rest = &rest[at + width..];
    }
    out.push_str(rest);
}

fn json_escape(value: &str, out: &mut String) {
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 32 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
}

/// A number as text without an allocation.
pub(super) struct Digits([u8; 20], usize);

impl Digits {
    pub fn new(value: i64) -> Self {
        let mut buffer = [0; 20];
        let mut at = buffer.len();
        let mut rest = value.unsigned_abs();
        loop {
            at -= 1;
            buffer[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if value < 0 && at > 0 {
            at -= 1;
            buffer[at] = b'-';
        }
        Self(buffer, at)
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0[self.1..]).unwrap_or("0")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_encoded_as_freeswitch_encodes_them() {
        let mut out = String::new();
        url_encode("sofia/core/+1,(a)@h:5060 \r\n%é", &mut out);
        assert_eq!(out, "sofia/core/%2B1,(a)%40h%3A5060%20%0D%0A%25%C3%A9");
        let mut out = String::from("{");
        Json(&mut out).put("variable_", "x", "a\"b\r\n");
        Json(&mut out).put("", "y", "2");
        assert_eq!(out, "{\"variable_x\":\"a\\\"b\\r\\n\",\"y\":\"2\"");
    }

    #[test]
    fn numbers_are_printed_without_an_allocation() {
        assert_eq!(Digits::new(0).as_str(), "0");
        assert_eq!(Digits::new(1_795_226_402_711_555).as_str(), "1795226402711555");
        assert_eq!(Digits::new(-5).as_str(), "-5");
    }
}
