//! `name=value, name="value"`: the list of a challenge or of credentials.

use crate::class::{self, Cursor, TOKEN};
use crate::scan::{comma_values, trim};
use crate::span::Span;

/// More than any header of ours or of a peer has; a list beyond it is not read.
const MOST: usize = 24;

#[derive(Debug)]
pub(super) struct Params<'a> {
    list: [(&'a [u8], &'a [u8]); MOST],
    length: usize,
}

impl<'a> Params<'a> {
    /// `None` unless every byte is part of a parameter and no name stands twice.
    pub(super) fn read(text: &'a [u8]) -> Option<Params<'a>> {
        let text = trim(text);
        let mut found = Params { list: [(b"", b""); MOST], length: 0 };
        let mut cursor = Cursor::new(text, Span::new(0, text.len()));
        loop {
            let param = cursor.param()?;
            let (name, value) = (param.name.of(text), param.value?.of(text));
            if found.length == MOST || found.get(name).is_some() {
                return None;
            }
            found.list[found.length] = (name, value);
            found.length += 1;
            cursor.skip_space();
            if cursor.is_done() {
                return Some(found);
            }
            if !cursor.eat(b',') {
                return None;
            }
        }
    }

    pub(super) fn get(&self, name: &[u8]) -> Option<&'a [u8]> {
        let named = |(n, _): &&(&[u8], &[u8])| n.eq_ignore_ascii_case(name);
        self.list[..self.length].iter().find(named).map(|(_, value)| *value)
    }
}

/// The first such parameter of a list that need not be well-formed: for what an event tells, never for a decision. A list of commas
/// must not cost more than one of parameters.
pub(super) fn first<'a>(list: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    comma_values(list).take(MOST).find_map(|pair| {
        let eq = memchr::memchr(b'=', pair)?;
        let (key, value) = (trim(&pair[..eq]), trim(&pair[eq + 1..]));
        let value = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value);
        (key.eq_ignore_ascii_case(name) && class::all(key, TOKEN)).then_some(value)
    })
}
