//! Messages out of a stream of bytes (TCP, TLS): RFC 3261 §18.3 and §7.5, with the limits of a server that is not a friend of
//! everybody.
//!
//! The head is read by the same parser that judges the message, so both always agree on where it ends. What leaves that
//! uncertain ends the stream: the head is handed over once more, to be answered, and nothing after it is read. At most one
//! message and what arrived with it is kept; a Content-Length reserves nothing. A message must be complete five seconds
//! after its first byte, however steadily it trickles.
//!
//! A WebSocket message holds exactly one SIP message (RFC 7118 §5.1) and needs no framing: see [`whole`].

use bytes::{Buf, Bytes, BytesMut};

use crate::index::{Index, skip_line_ends};
use crate::limits::{MAX_HEAD, MAX_MESSAGE};
use crate::reject::Reject;

/// Times in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct FramerConfig {
    /// From the first byte of a message to its last.
    pub message_us: u64,
    /// From the start to the first byte.
    pub first_us: u64,
    /// Without any byte.
    pub idle_us: u64,
}

impl Default for FramerConfig {
    fn default() -> FramerConfig {
        FramerConfig { message_us: 5_000_000, first_us: 5_000_000, idle_us: 120_000_000 }
    }
}

/// Two line ends further apart are two answers, not a ping that was cut.
const HALF_PING_US: u64 = 1_000_000;

#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    Bytes(&'a [u8]),
    /// The peer sends no more.
    End,
    Tick,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// One message, head and body, nothing else.
    Message(Bytes),
    /// A double line end between messages: answer with a single one (RFC 5626 §4.4.1).
    Ping,
    /// Where messages end can no longer be known. `head` is what was read of the one at fault: answer it if it can be
    /// answered, then close.
    Broken { head: Bytes, reject: Reject },
    /// Close without a word.
    Close(Why),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A message was begun and not finished in time.
    Slow,
    Idle,
    /// The peer ended the stream; `is_clean` when nothing was cut off.
    Ended {
        is_clean: bool,
    },
}

#[derive(Debug)]
pub struct Framer {
    config: FramerConfig,
    buffer: BytesMut,
    /// There only while a message waits for its rest: an idle connection keeps nothing.
    index: Option<Box<Index>>,
    /// Up to here no end of the head was found.
    searched: usize,
    /// Head and body of the message in the buffer, once its head is complete.
    wanted: Option<usize>,
    /// When the message in the buffer was begun.
    begun: Option<u64>,
    /// When a single line end came that may be the first half of a ping.
    half_ping: Option<u64>,
    has_spoken: bool,
    last_byte: u64,
    now: u64,
    ending: Option<Why>,
    is_over: bool,
}

impl Framer {
    #[must_use]
    pub fn new(now: u64, config: FramerConfig) -> Framer {
        Framer {
            config,
            buffer: BytesMut::new(),
            index: None,
            searched: 0,
            wanted: None,
            begun: None,
            half_ping: None,
            has_spoken: false,
            last_byte: now,
            now,
            ending: None,
            is_over: false,
        }
    }

    /// After each input `poll` is called until it gives nothing; only then the next bytes are read from the peer, so that
    /// one chunk is the most that waits here beside an unfinished message.
    pub fn handle(&mut self, now: u64, input: Input<'_>) {
        self.now = now;
        match input {
            _ if self.is_over => {}
            Input::Bytes(bytes) => {
                self.buffer.extend_from_slice(bytes);
                self.last_byte = now;
                self.has_spoken |= !bytes.is_empty();
                if !bytes.is_empty() {
                    self.begun.get_or_insert(now);
                }
            }
            Input::End => self.ending = self.ending.or(Some(Why::Ended { is_clean: true })),
            Input::Tick => {
                if self.begun.is_some_and(|at| now >= at + self.config.message_us) {
                    self.ending = Some(Why::Slow);
                } else if self.deadline().is_some_and(|at| now >= at) {
                    self.ending = Some(Why::Idle);
                }
            }
        }
    }

    pub fn poll(&mut self) -> Option<Frame> {
        if self.is_over {
            return None;
        }
        match self.next_message() {
            Ok(Some(frame)) => Some(frame),
            Ok(None) => {
                let why = match self.ending? {
                    Why::Ended { .. } => Why::Ended { is_clean: self.buffer.is_empty() },
                    other => other,
                };
                self.stop();
                Some(Frame::Close(why))
            }
            Err(reject) => {
                // While the head is read, `wanted` is its length.
                let length = self.wanted.unwrap_or(MAX_HEAD).min(self.buffer.len());
                let head = self.buffer.split_to(length).freeze();
                self.stop();
                Some(Frame::Broken { head, reject })
            }
        }
    }

    /// When a `Tick` is wanted.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        if self.is_over {
            return None;
        }
        let quiet = if self.has_spoken { self.config.idle_us } else { self.config.first_us };
        let by_message = self.begun.map_or(u64::MAX, |at| at + self.config.message_us);
        Some(by_message.min(self.last_byte + quiet))
    }

    /// Bytes that wait here.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    fn stop(&mut self) {
        self.is_over = true;
        self.buffer = BytesMut::new();
        self.index = None;
    }

    fn next_message(&mut self) -> Result<Option<Frame>, Reject> {
        if self.wanted.is_none() {
            let line_ends = skip_line_ends(&self.buffer);
            if line_ends > 0 {
                self.buffer.advance(line_ends);
                self.searched = 0;
                self.settle_clock();
                // A ping is two line ends; one alone is an answer to ours, dirt between messages, or half a ping. However many
                // stand in a row, they are one ping: a peer that sends thousands at once gets one answer.
                let is_second_half = self.half_ping.take().is_some_and(|at| self.now < at + HALF_PING_US);
                if line_ends >= 4 || is_second_half {
                    return Ok(Some(Frame::Ping));
                }
                self.half_ping = Some(self.now);
            }
            if self.buffer.is_empty() {
                self.index = None;
                return Ok(None);
            }
            let Some(head) = self.find_head()? else { return Ok(None) };
            self.half_ping = None;
            self.wanted = Some(head);
            self.wanted = Some(head + self.read_head(head)?);
        }
        let Some(wanted) = self.wanted.filter(|&w| w <= self.buffer.len()) else { return Ok(None) };
        let message = self.buffer.split_to(wanted).freeze();
        (self.wanted, self.searched) = (None, 0);
        self.settle_clock();
        Ok(Some(Frame::Message(message)))
    }

    /// What is left in the buffer was begun now at the earliest.
    fn settle_clock(&mut self) {
        self.begun = (!self.buffer.is_empty()).then_some(self.now);
    }

    fn find_head(&mut self) -> Result<Option<usize>, Reject> {
        let from = self.searched.saturating_sub(3);
        if let Some(at) = memchr::memmem::find(&self.buffer[from..], b"\r\n\r\n") {
            let end = from + at + 4;
            return if end > MAX_HEAD + 4 { Err(Reject::HeadTooLarge) } else { Ok(Some(end)) };
        }
        // Somebody else may take a bare LF for a line's end, and so see another head than we do.
        let is_bare = |at: usize| at == 0 || self.buffer[at - 1] != b'\r';
        if memchr::memchr_iter(b'\n', &self.buffer[self.searched..]).any(|at| is_bare(self.searched + at)) {
            return Err(Reject::BareLineEnd);
        }
        self.searched = self.buffer.len();
        // A lone CR may be the beginning of a keep-alive; anything else that is no SIP is not waited for.
        if self.buffer.len() > 8 && !looks_like_sip(&self.buffer) {
            return Err(Reject::StartLine);
        }
        // From here on no empty line could end a head that is within its bound.
        if self.buffer.len() >= MAX_HEAD + 4 { Err(Reject::HeadTooLarge) } else { Ok(None) }
    }

    /// The length of the body, from a head that is complete.
    fn read_head(&mut self, head: usize) -> Result<usize, Reject> {
        let bytes = &self.buffer[..head];
        let index = self.index.get_or_insert_default();
        match index.split(bytes) {
            Err(reject) if reject.breaks_framing() => return Err(reject),
            // The message as a whole is judged later; where it ends is certain.
            _ => {}
        }
        let length = index.content_length(bytes)?.ok_or(Reject::NoContentLength)?;
        match usize::try_from(length) {
            Ok(length) if length <= MAX_MESSAGE.saturating_sub(head) => Ok(length),
            _ => Err(Reject::TooLarge),
        }
    }
}

/// A method and a space, or a status line. Tokens only until the first space.
fn looks_like_sip(bytes: &[u8]) -> bool {
    let word = &bytes[..bytes.len().min(32)];
    let token = word.iter().take_while(|&&b| crate::class::is(b, crate::class::TOKEN)).count();
    word.starts_with(b"SIP/") || token == word.len() || (token > 0 && word[token] == b' ')
}

/// One WebSocket message: a keep-alive or a whole SIP message.
#[must_use]
pub fn whole(bytes: Bytes) -> Option<Frame> {
    match bytes.len() - skip_line_ends(&bytes) {
        0 if bytes.len() >= 4 => Some(Frame::Ping),
        0 => None,
        _ => Some(Frame::Message(bytes)),
    }
}
