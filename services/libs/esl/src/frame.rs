//! Cutting the byte stream into frames.
//!
//! A frame is a block of `Name: value` lines, an empty line, and, when a `Content-Length` says so, a body. Invariants: never
//! panics, whatever comes; the same bytes give the same frames however they are cut into reads; memory stays within what was
//! received (a `Content-Length` reserves nothing) and within [`Limits`]; after an error the stream is lost, because nobody can say
//! where the next frame begins, so every later call gives the same error.
//!
//! A frame shares the received buffer instead of copying it.

use bytes::{Bytes, BytesMut};
use memchr::memchr;

/// A node of ours sends header blocks of about 10 KB (the first reply of an outbound socket) and bodies of up to some MB
/// (`show channels as json` with thousands of channels). More than this is not a switch that we want to listen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub header_bytes: usize,
    pub body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { header_bytes: 256 * 1024, body_bytes: 16 * 1024 * 1024 }
    }
}

/// The peer does not speak ESL, or not within our limits. All of these end the connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("header block longer than {limit} bytes")]
    HeaderTooLong { limit: usize },
    #[error("body of {length} bytes is more than the allowed {limit}")]
    BodyTooLong { length: u64, limit: usize },
    #[error("content length is not a number: {0:?}")]
    BadLength(String),
    #[error("two content lengths that differ in one frame")]
    TwoLengths,
    #[error("header line without a colon")]
    NoColon,
}

/// What a frame is, from its `Content-Type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    AuthRequest,
    CommandReply,
    ApiResponse,
    EventPlain,
    EventJson,
    DisconnectNotice,
    /// The node's access list refused us; the connection closes.
    RudeRejection,
    /// Log lines, XML events, and whatever a later version invents. Skipped by callers.
    Other,
}

#[derive(Debug, Clone)]
pub struct Frame {
    head: Bytes,
    body: Bytes,
    kind: Kind,
}

impl Frame {
    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body, sharing the receive buffer.
    pub fn body_bytes(&self) -> Bytes {
        self.body.clone()
    }

    /// First header of that name (any case), as it stood on the wire.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        lines(&self.head).find_map(|(n, v)| n.eq_ignore_ascii_case(name.as_bytes()).then_some(v))
    }

    /// Bytes of the frame without the empty line between its parts.
    pub fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The incremental cutter. Read into [`Framer::buffer`], then take frames until there is none.
#[derive(Debug)]
pub struct Framer {
    buffer: BytesMut,
    limits: Limits,
    /// How far the search for the end of the header block has come, so that a slow sender does not make it quadratic.
    scanned: usize,
    /// Where the line that is being searched began.
    line_start: usize,
    /// Header block length (empty line included), kind and body length, once the block is complete.
    pending: Option<(usize, Kind, usize)>,
    failed: Option<FrameError>,
}

impl Framer {
    pub fn new(limits: Limits) -> Self {
        Self {
            buffer: BytesMut::with_capacity(64 * 1024),
            limits,
            scanned: 0,
            line_start: 0,
            pending: None,
            failed: None,
        }
    }

    /// Where the caller appends what it received.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes received and not yet part of a frame.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// The next complete frame, if there is one.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator would end at the first None; here None means: read more"
    )]
    pub fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = self.cut();
        if let Err(error) = &result {
            self.failed = Some(error.clone());
            self.buffer.clear();
        }
        result
    }

    fn cut(&mut self) -> Result<Option<Frame>, FrameError> {
        let (head_len, kind, body_len) = match self.pending {
            Some(known) => known,
            None => match self.head()? {
                Some(known) => known,
                None => return Ok(None),
            },
        };
        self.pending = Some((head_len, kind, body_len));
        if self.buffer.len() < head_len + body_len {
            return Ok(None);
        }
        self.pending = None;
        (self.scanned, self.line_start) = (0, 0);
        let head = self.buffer.split_to(head_len).freeze();
        let body = self.buffer.split_to(body_len).freeze();
        Ok(Some(Frame { head, body, kind }))
    }

    /// Finds the end of the header block and reads what matters in it.
    fn head(&mut self) -> Result<Option<(usize, Kind, usize)>, FrameError> {
        // Some senders put an empty line after a body; between frames it means nothing.
        if self.scanned == 0 {
            let blank = self.buffer.iter().take_while(|b| matches!(b, b'\n' | b'\r')).count();
            if blank > 0 {
                let _ = self.buffer.split_to(blank);
            }
        }
        let Some(head_len) = self.find_end() else {
            if self.buffer.len() > self.limits.header_bytes {
                return Err(FrameError::HeaderTooLong { limit: self.limits.header_bytes });
            }
            return Ok(None);
        };
        if head_len > self.limits.header_bytes {
            return Err(FrameError::HeaderTooLong { limit: self.limits.header_bytes });
        }
        let (kind, body_len) = read_head(&self.buffer[..head_len], self.limits.body_bytes)?;
        Ok(Some((head_len, kind, body_len)))
    }

    /// Length up to and including the empty line.
    fn find_end(&mut self) -> Option<usize> {
        while let Some(offset) = memchr(b'\n', &self.buffer[self.scanned..]) {
            let at = self.scanned + offset;
            let line = &self.buffer[self.line_start..at];
            let ends_block = line.is_empty() || line == b"\r";
            (self.scanned, self.line_start) = (at + 1, at + 1);
            if ends_block {
                return Some(at + 1);
            }
        }
        self.scanned = self.buffer.len();
        None
    }
}

/// Header lines of a block; a line without a colon is skipped (the cutter has refused such a block before).
pub(crate) fn lines(block: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    block.split(|&b| b == b'\n').filter_map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let colon = memchr(b':', line)?;
        Some((&line[..colon], line[colon + 1..].trim_ascii_start()))
    })
}

fn read_head(block: &[u8], body_limit: usize) -> Result<(Kind, usize), FrameError> {
    let mut kind = Kind::Other;
    let mut length: Option<u64> = None;
    for line in block.split(|&b| b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let colon = memchr(b':', line).ok_or(FrameError::NoColon)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"Content-Length") {
            let this = number(value)?;
            if length.is_some_and(|earlier| earlier != this) {
                return Err(FrameError::TwoLengths);
            }
            length = Some(this);
        } else if name.eq_ignore_ascii_case(b"Content-Type") {
            kind = kind_of(value);
        }
    }
    let length = length.unwrap_or(0);
    match usize::try_from(length) {
        Ok(fits) if fits <= body_limit => Ok((kind, fits)),
        _ => Err(FrameError::BodyTooLong { length, limit: body_limit }),
    }
}

fn number(value: &[u8]) -> Result<u64, FrameError> {
    let shown = || FrameError::BadLength(String::from_utf8_lossy(&value[..value.len().min(32)]).into_owned());
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return Err(shown());
    }
    std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok()).ok_or_else(shown)
}

fn kind_of(value: &[u8]) -> Kind {
    match value {
        b"auth/request" => Kind::AuthRequest,
        b"command/reply" => Kind::CommandReply,
        b"api/response" => Kind::ApiResponse,
        b"text/event-plain" => Kind::EventPlain,
        b"text/event-json" => Kind::EventJson,
        b"text/disconnect-notice" => Kind::DisconnectNotice,
        b"text/rude-rejection" => Kind::RudeRejection,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<Frame>, FrameError> {
        let mut framer = Framer::new(Limits::default());
        framer.push(bytes);
        let mut frames = Vec::new();
        while let Some(frame) = framer.next()? {
            frames.push(frame);
        }
        Ok(frames)
    }

    #[test]
    fn a_header_block_alone_is_a_frame() {
        let frames = all(b"Content-Type: auth/request\n\n").expect("frames");
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].kind(), Kind::AuthRequest);
    }

    #[test]
    fn a_body_is_as_long_as_its_content_length_says() {
        let frames = all(
            b"Content-Type: api/response\nContent-Length: 4\n\n+OK\nContent-Type: command/reply\nReply-Text: +OK\n\n",
        )
        .expect("frames");
        assert_eq!(frames.iter().map(Frame::kind).collect::<Vec<_>>(), [Kind::ApiResponse, Kind::CommandReply]);
        assert_eq!(frames[0].body(), b"+OK\n");
        assert_eq!(frames[1].header("reply-text"), Some(b"+OK".as_slice()));
    }

    #[test]
    fn a_hostile_content_length_is_an_error_and_reserves_nothing() {
        for length in ["2147483647", "16777217", "-1", "+5", "4294967296", "99999999999999999999", "0x10", "", "1 2"] {
            let mut framer = Framer::new(Limits::default());
            framer.push(format!("Content-Type: api/response\nContent-Length: {length}\n\n").as_bytes());
            assert!(framer.next().is_err(), "{length:?} was taken");
            assert!(framer.buffer().capacity() <= 128 * 1024);
            framer.push(b"Content-Type: auth/request\n\n");
            assert!(framer.next().is_err(), "a lost stream stays lost");
        }
    }

    #[test]
    fn a_header_block_that_never_ends_is_an_error() {
        let mut framer = Framer::new(Limits { header_bytes: 100, body_bytes: 100 });
        let mut refused = false;
        for _ in 0..60 {
            framer.push(b"a: b");
            refused |= framer.next().is_err();
        }
        assert!(refused && framer.buffered() < 200);
    }

    #[test]
    fn two_lengths_in_one_frame_must_agree() {
        assert!(all(b"Content-Length: 1\nContent-Length: 1\n\nx").is_ok());
        assert_eq!(all(b"Content-Length: 1\nContent-Length: 2\n\nxy").unwrap_err(), FrameError::TwoLengths);
    }
}
