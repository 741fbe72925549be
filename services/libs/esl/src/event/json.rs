//! The JSON form of an event: one flat object whose members are headers.
//!
//! Not a general JSON reader. It finds where names and values stand and leaves them there; a value that is no string (an array of
//! a header that occurs twice, a number) is kept as its text.

use std::borrow::Cow;

use super::{EventError, next_of};

/// Reports each member as (name range, value range) to `take`, which says whether it kept it. Returns the unread count.
pub(super) fn read(
    body: &[u8],
    mut take: impl FnMut((usize, usize), (usize, usize)) -> bool,
) -> Result<(&[u8], usize), EventError> {
    let mut reader = Reader { body, at: 0 };
    reader.skip_space();
    reader.expect(b'{')?;
    reader.skip_space();
    let mut unread = 0;
    if reader.peek() == Some(b'}') {
        return Ok((&[], 0));
    }
    loop {
        reader.skip_space();
        let name = reader.string()?;
        reader.skip_space();
        reader.expect(b':')?;
        reader.skip_space();
        let value = if reader.peek() == Some(b'"') { reader.string()? } else { reader.other()? };
        unread += usize::from(!take(name, value));
        reader.skip_space();
        match reader.peek() {
            Some(b',') => reader.at += 1,
            Some(b'}') => return Ok((&[], unread)),
            _ => return Err(EventError::NotAnObject(reader.at)),
        }
    }
}

struct Reader<'a> {
    body: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), EventError> {
        if self.peek() != Some(byte) {
            return Err(EventError::NotAnObject(self.at));
        }
        self.at += 1;
        Ok(())
    }

    /// A quoted string; the range leaves the quotes out.
    fn string(&mut self) -> Result<(usize, usize), EventError> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            let Some(n) = next_of(b'"', b'\\', &self.body[self.at..]) else {
                return Err(EventError::NotAnObject(start));
            };
            self.at += n;
            if self.body[self.at] == b'"' {
                self.at += 1;
                return Ok((start, self.at - 1));
            }
            // A backslash: whatever it escapes is no end of the string.
            self.at = (self.at + 2).min(self.body.len());
        }
    }

    /// A number, a word, an array or an object: everything up to the comma or brace that ends the member.
    fn other(&mut self) -> Result<(usize, usize), EventError> {
        let start = self.at;
        let mut depth = 0u32;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'[' | b'{' => depth += 1,
                b',' | b'}' if depth == 0 => return Ok((start, self.at)),
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.at += 1;
        }
        Err(EventError::NotAnObject(start))
    }
}

/// The string that an escaped one stands for. What is no valid escape stays as it is.
pub(super) fn unescaped(raw: &[u8]) -> Cow<'_, str> {
    if memchr::memchr(b'\\', raw).is_none() {
        return String::from_utf8_lossy(raw);
    }
    let text = String::from_utf8_lossy(raw);
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_ref();
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        rest = one_escape(rest, &mut out);
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Writes what the escape at the start of `rest` (behind its backslash) means, and returns what follows it.
fn one_escape<'a>(rest: &'a str, out: &mut String) -> &'a str {
    let Some(kind) = rest.chars().next() else {
        out.push('\\');
        return rest;
    };
    let after = &rest[kind.len_utf8()..];
    match kind {
        'n' => out.push('\n'),
        'r' => out.push('\r'),
        't' => out.push('\t'),
        'b' => out.push('\u{8}'),
        'f' => out.push('\u{c}'),
        '"' | '\\' | '/' => out.push(kind),
        'u' => return unicode_escape(after, out),
        _ => {
            out.push('\\');
            out.push(kind);
        }
    }
    after
}

fn unicode_escape<'a>(after: &'a str, out: &mut String) -> &'a str {
    let four = |text: &str| text.get(..4).and_then(|hex| u32::from_str_radix(hex, 16).ok());
    let Some(first) = four(after) else {
        out.push_str("\\u");
        return after;
    };
    let after = &after[4..];
    if (0xD800..0xDC00).contains(&first)
        && let Some(low) = after.strip_prefix("\\u").and_then(four)
        && (0xDC00..0xE000).contains(&low)
    {
        let whole = 0x10000 + ((first - 0xD800) << 10) + (low - 0xDC00);
        out.push(char::from_u32(whole).unwrap_or(char::REPLACEMENT_CHARACTER));
        return &after[6..];
    }
    out.push(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
    after
}
