//! Classes of bytes and a cursor that walks over them: what the grammars of Via, addresses and URIs have in common.
//!
//! One table look-up per byte decides; a cursor never goes back further than the caller told it to, so every walk is linear.

use crate::span::Span;

pub(crate) const TOKEN: u8 = 1;
/// Letters, digits, dot, hyphen and underscore.
pub(crate) const HOST: u8 = 2;
/// Space and tab, and the line end inside a folded header.
pub(crate) const SPACE: u8 = 4;
/// What may stand in an unquoted parameter value.
pub(crate) const VALUE: u8 = 8;
/// What may stand in a URI that is in angle brackets or on the start line.
pub(crate) const URI: u8 = 16;
/// What may stand in an address without angle brackets.
pub(crate) const BARE: u8 = 32;
/// What may stand in a display name without quotes: tokens, white space and bytes of other alphabets.
pub(crate) const DISPLAY: u8 = 64;
pub(crate) const DIGIT: u8 = 128;

const fn classes(byte: u8) -> u8 {
    let token = byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~');
    let space = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let visible = byte > b' ' && byte != 0x7f;
    let mut set = 0;
    if token {
        set |= TOKEN;
    }
    if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_') {
        set |= HOST;
    }
    if space {
        set |= SPACE;
    }
    if visible && !matches!(byte, b'"' | b';' | b',' | b'<' | b'>' | b'\\') {
        set |= VALUE;
    }
    if visible && !matches!(byte, b'"' | b'<' | b'>') {
        set |= URI;
    }
    if visible && !matches!(byte, b'"' | b'<' | b'>' | b'?' | b',' | b';') {
        set |= BARE;
    }
    if token || space || byte >= 0x80 {
        set |= DISPLAY;
    }
    if byte.is_ascii_digit() {
        set |= DIGIT;
    }
    set
}

static CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = classes(byte as u8);
        byte += 1;
    }
    table
};

#[must_use]
#[inline]
pub(crate) fn is(byte: u8, class: u8) -> bool {
    CLASS[byte as usize] & class != 0
}

#[must_use]
#[inline]
pub(crate) fn all(bytes: &[u8], class: u8) -> bool {
    run(bytes, class) == bytes.len()
}

/// How many bytes from the front are of the class. Four at a time: their look-ups do not wait for one another.
#[inline(always)]
fn run(bytes: &[u8], class: u8) -> usize {
    let (fours, _) = bytes.as_chunks::<4>();
    let mut at = 0;
    for &[a, b, c, d] in fours {
        let common = CLASS[a as usize] & CLASS[b as usize] & CLASS[c as usize] & CLASS[d as usize];
        if common & class == 0 {
            break;
        }
        at += 4;
    }
    while at < bytes.len() && is(bytes[at], class) {
        at += 1;
    }
    at
}

/// A place in a message, and where its header value ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    pub at: usize,
}

impl<'a> Cursor<'a> {
    /// Walks over `span` of `message`; positions are those of the message.
    #[inline]
    pub(crate) fn new(message: &'a [u8], span: Span) -> Cursor<'a> {
        let end = (span.end as usize).min(message.len());
        Cursor { bytes: &message[..end], at: (span.start as usize).min(end) }
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// Takes as many bytes of the class as there are, maybe none.
    #[inline(always)]
    pub(crate) fn take(&mut self, class: u8) -> Span {
        let from = self.at;
        self.at += run(self.bytes.get(from..).unwrap_or_default(), class);
        Span::new(from, self.at)
    }

    #[inline(always)]
    pub(crate) fn skip_space(&mut self) {
        while self.at < self.bytes.len() && is(self.bytes[self.at], SPACE) {
            self.at += 1;
        }
    }

    /// A quoted string, the cursor standing on its first quote; gives what is between the quotes.
    pub(crate) fn quoted(&mut self) -> Option<Span> {
        let from = self.at + 1;
        let inner = crate::address::closing_quote(self.bytes.get(from..)?)?;
        self.at = from + inner + 1;
        Some(Span::new(from, from + inner))
    }

    /// One parameter, the cursor standing behind its semicolon. `None` when it is not well-formed.
    #[inline(always)]
    pub(crate) fn param(&mut self) -> Option<Param> {
        self.skip_space();
        let name = self.take(TOKEN);
        if name.is_empty() {
            return None;
        }
        let after_name = self.at;
        self.skip_space();
        if !self.eat(b'=') {
            // White space behind the name belongs to whatever follows.
            self.at = after_name;
            return Some(Param { name, value: None, is_quoted: false });
        }
        self.skip_space();
        if self.peek() == Some(b'"') {
            let value = self.quoted()?;
            return Some(Param { name, value: Some(value), is_quoted: true });
        }
        // An empty value is ugly but harmless where nobody reads it; where somebody does, the reader refuses it.
        let value = self.take(VALUE);
        Some(Param { name, value: Some(value), is_quoted: false })
    }
}

/// `name`, `name=value` or `name="value"` (the value then without its quotes).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Param {
    pub name: Span,
    pub value: Option<Span>,
    pub is_quoted: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(text: &str) -> Option<(String, Option<String>, usize)> {
        let mut cursor = Cursor::new(text.as_bytes(), Span::new(0, text.len()));
        let param = cursor.param()?;
        let text_of = |span: Span| String::from_utf8_lossy(span.of(text.as_bytes())).into_owned();
        Some((text_of(param.name), param.value.map(text_of), cursor.at))
    }

    #[test]
    fn parameters_are_taken_with_their_white_space_and_nothing_behind_them() {
        assert_eq!(walk("tag=1;x"), Some(("tag".into(), Some("1".into()), 5)));
        assert_eq!(walk(" \r\n tag \t= 1 ;x"), Some(("tag".into(), Some("1".into()), 12)));
        assert_eq!(walk("tag=;x"), Some(("tag".into(), Some("".into()), 4)));
        assert_eq!(walk("lr ;x"), Some(("lr".into(), None, 2)));
        assert_eq!(walk("a=\"b;\\\"c\",d"), Some(("a".into(), Some("b;\\\"c".into()), 9)));
    }

    #[test]
    fn malformed_parameters_are_refused() {
        for bad in ["", ";", "=1", "tag=\"open", "<"] {
            assert_eq!(walk(bad), None, "{bad}");
        }
    }
}
