//! Edits of a message by position: everything between two of them leaves as it came.

use sip::{Message, Name, Span};

/// Replacements that do not overlap; of two that do, the first one given counts.
#[derive(Debug, Default)]
pub struct Edits {
    list: Vec<(u32, u32, Vec<u8>)>,
}

impl Edits {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn replace(&mut self, span: Span, text: impl Into<Vec<u8>>) {
        let overlaps = |&(start, end, _): &(u32, u32, Vec<u8>)| span.start < end && start < span.end;
        if !self.list.iter().any(overlaps) {
            self.list.push((span.start, span.end, text.into()));
        }
    }

    /// Leaves out a header with all its folded lines.
    pub fn remove(&mut self, line: Span) {
        self.replace(line, Vec::new());
    }

    /// Replaces `part`, which must be a slice of `whole`.
    pub fn replace_part(&mut self, whole: &[u8], part: &[u8], text: impl Into<Vec<u8>>) {
        self.replace(span_in(whole, part), text);
    }

    /// A new header line behind the others.
    pub fn add_header(&mut self, m: &Message<'_>, name: &str, value: &str) {
        let end = m.headers().last().map_or(0, |h| h.line.end);
        self.list.push((end, end, format!("{name}: {value}\r\n").into_bytes()));
    }

    /// A new body, with the Content-Length that goes with it. The message must have that header, as all that we forward have.
    pub fn body(&mut self, m: &Message<'_>, body: Vec<u8>) {
        let Some(header) = m.headers().iter().find(|h| h.name == Name::ContentLength) else { return };
        self.replace(header.value, body.len().to_string());
        let start = m.bytes().len() - m.body().len();
        self.replace(Span::new(start, m.bytes().len()), body);
    }

    #[must_use]
    pub fn apply(mut self, bytes: &[u8]) -> Vec<u8> {
        // Stable: of two insertions at one place the first one given comes first.
        self.list.sort_by_key(|&(start, end, _)| (start, end));
        let more: usize = self.list.iter().map(|(_, _, text)| text.len()).sum();
        let mut out = Vec::with_capacity(bytes.len() + more);
        let mut copied = 0;
        for (start, end, text) in self.list {
            let (start, end) = (start as usize, end as usize);
            if start < copied || end > bytes.len() {
                continue;
            }
            out.extend_from_slice(&bytes[copied..start]);
            out.extend_from_slice(&text);
            copied = end;
        }
        out.extend_from_slice(&bytes[copied..]);
        out
    }
}

/// Where `part`, a slice of `whole`, stands in it.
#[must_use]
pub fn span_in(whole: &[u8], part: &[u8]) -> Span {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    Span::new(start.min(whole.len()), (start + part.len()).min(whole.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sip::Index;

    const TEXT: &[u8] = b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\nX-A: 1\r\nl: 4\r\n\r\nbody";

    #[test]
    fn edits_change_what_they_name_and_nothing_else() {
        let mut index = Index::new();
        let m = index.parse(TEXT).unwrap();
        let mut edits = Edits::default();
        edits.body(&m, b"longer body".to_vec());
        let a = m.headers().iter().find(|h| h.label.of(TEXT) == b"X-A").unwrap();
        edits.remove(a.line);
        edits.replace(a.value, "never");
        edits.replace_part(TEXT, m.to().uri, "sip:e@f");
        edits.add_header(&m, "X-B", "2");
        edits.add_header(&m, "X-C", "3");
        let out = String::from_utf8(edits.apply(TEXT)).unwrap();
        let want = String::from_utf8(TEXT.to_vec()).unwrap();
        let want = want.replace("X-A: 1\r\n", "").replace("sip:c@d", "sip:e@f");
        let want = want.replace("l: 4\r\n\r\nbody", "l: 11\r\nX-B: 2\r\nX-C: 3\r\n\r\nlonger body");
        assert_eq!(out, want);
        assert_eq!(Index::new().parse(out.as_bytes()).unwrap().body(), b"longer body");
    }

    #[test]
    fn no_edit_gives_the_same_bytes() {
        assert_eq!(Edits::default().apply(TEXT), TEXT);
    }
}
