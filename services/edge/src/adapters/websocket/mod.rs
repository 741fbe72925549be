//! SIP over WebSocket (RFC 7118), the server's side, as a machine: bytes of the connection in, SIP messages out.
//!
//! The contract is that of `sip::framing::Framer`, so the task of a connection drives either: `handle(now, input)`, `poll()`
//! until it gives nothing, `deadline()`; the next bytes are read only then. What is to be written to the peer comes out as
//! [`Event::Write`], in order. It stands over TCP or TLS alike and knows neither.
//!
//! One WebSocket message is one SIP message, text or binary. Bounds: the request that opens it, one SIP message and one chunk
//! of reading are all that is kept; a declared length reserves nothing; a message has few pieces and five seconds, whatever
//! control frames come between; pings have a rate. Compression is never agreed on. A quiet client is pinged (browsers cannot
//! do it themselves), so a dead one is found within the idle time.

mod frame;
mod upgrade;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use sip::MAX_MESSAGE;
use sip::framing::{Frame, FramerConfig, Input, Why, whole};

pub use frame::Fault;
use frame::{Head, Opcode, read_head, unmask, write};

/// Pieces of one message. SIP messages fit in one; browsers may cut where they like, but not into crumbs.
const MAX_PIECES: usize = 64;
/// Pings and pongs that may come in one second; each ping costs an answer.
const MAX_CONTROLS: u32 = 16;

#[derive(Clone, Debug)]
pub struct WebSocketConfig {
    /// Times of messages; the first message is awaited from the upgrade on.
    pub frames: FramerConfig,
    /// From the start of the connection to the end of the opening request (µs).
    pub upgrade_us: u64,
    /// Silence after which the peer is pinged (µs).
    pub ping_us: u64,
    /// Pages that may connect; empty: all, and programs that are no pages.
    pub origins: Arc<[String]>,
}

impl Default for WebSocketConfig {
    fn default() -> WebSocketConfig {
        WebSocketConfig {
            frames: FramerConfig::default(),
            upgrade_us: 2_000_000,
            ping_us: 45_000_000,
            origins: Arc::default(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// For the peer, as it is.
    Write(Bytes),
    /// A SIP message, a keep-alive (answer it as on TCP, through [`encode`]), or the quiet end.
    Frame(Frame),
    /// Nothing more is read: write what came before, then close.
    Fault(Fault),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Opening,
    Open,
    /// After a fault or a close frame; what still comes is not read.
    Over,
}

#[derive(Debug)]
pub struct WebSocket {
    config: WebSocketConfig,
    stage: Stage,
    buffer: BytesMut,
    /// The head of the frame in the buffer, once it was read.
    head: Option<Head>,
    /// Pieces of the message that is not complete yet.
    message: BytesMut,
    /// Whether the message under way is text; `None` between messages.
    is_text: Option<bool>,
    pieces: usize,
    /// When the message or frame under way was begun.
    begun: Option<u64>,
    /// Since when the first message is awaited; `None` once it came.
    waiting_since: Option<u64>,
    last_byte: u64,
    pinged: bool,
    controls: (u64, u32),
    now: u64,
    /// The fault or end that is told once everything before it was.
    ending: Option<Event>,
    wants_ping: bool,
}

impl WebSocket {
    #[must_use]
    pub fn new(now: u64, config: WebSocketConfig) -> WebSocket {
        WebSocket {
            config,
            stage: Stage::Opening,
            buffer: BytesMut::new(),
            head: None,
            message: BytesMut::new(),
            is_text: None,
            pieces: 0,
            begun: None,
            waiting_since: Some(now),
            last_byte: now,
            pinged: false,
            controls: (now, 0),
            now,
            ending: None,
            wants_ping: false,
        }
    }

    pub fn handle(&mut self, now: u64, input: Input<'_>) {
        self.now = now;
        match input {
            _ if self.stage == Stage::Over => {}
            Input::Bytes([]) => {}
            Input::Bytes(bytes) => {
                self.buffer.extend_from_slice(bytes);
                self.last_byte = now;
                self.pinged = false;
                self.begun.get_or_insert(now);
            }
            Input::End => {
                let is_clean = self.buffer.is_empty() && self.is_text.is_none();
                self.end(Event::Frame(Frame::Close(Why::Ended { is_clean })));
            }
            Input::Tick => self.tick(),
        }
    }

    fn tick(&mut self) {
        let times = self.config.frames;
        let past = |at: Option<u64>, wait: u64| at.is_some_and(|at| self.now >= at + wait);
        if self.stage == Stage::Opening {
            if past(self.waiting_since, self.config.upgrade_us) {
                self.end(Event::Frame(Frame::Close(Why::Slow)));
            }
        } else if past(self.begun, times.message_us) {
            self.end(Event::Frame(Frame::Close(Why::Slow)));
        } else if past(self.waiting_since, times.first_us) || past(Some(self.last_byte), times.idle_us) {
            self.end(Event::Frame(Frame::Close(Why::Idle)));
        } else if !self.pinged && past(Some(self.last_byte), self.config.ping_us) {
            self.pinged = true;
            self.wants_ping = true;
        }
    }

    pub fn poll(&mut self) -> Option<Event> {
        loop {
            if std::mem::take(&mut self.wants_ping) {
                return Some(Event::Write(write(Opcode::Ping, b"")));
            }
            let next = match self.stage {
                Stage::Over => return self.ending.take(),
                Stage::Opening => self.open(),
                Stage::Open => self.next_frame(),
            };
            match next {
                Ok(Step::Give(event)) => return Some(event),
                Ok(Step::Go) => {}
                Ok(Step::Wait) => {
                    self.ending.as_ref()?;
                    self.stop();
                }
                Err(fault) => {
                    self.end(Event::Fault(fault));
                    self.stop();
                    return Some(Event::Write(write(Opcode::Close, &fault.code.to_be_bytes())));
                }
            }
        }
    }

    /// When a `Tick` is wanted.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        let times = self.config.frames;
        match self.stage {
            Stage::Over => None,
            Stage::Opening => self.waiting_since.map(|at| at + self.config.upgrade_us),
            Stage::Open => {
                let quiet = if self.pinged { times.idle_us } else { self.config.ping_us.min(times.idle_us) };
                let message = self.begun.map_or(u64::MAX, |at| at + times.message_us);
                let first = self.waiting_since.map_or(u64::MAX, |at| at + times.first_us);
                Some(message.min(first).min(self.last_byte + quiet))
            }
        }
    }

    /// The close frame of a server that goes away (RFC 6455 §7.4.1), where none was sent yet.
    #[must_use]
    pub fn goodbye(&self) -> Option<Bytes> {
        (self.stage == Stage::Open).then(|| write(Opcode::Close, &1001u16.to_be_bytes()))
    }

    /// Bytes that wait here.
    #[cfg(test)]
    fn buffered(&self) -> usize {
        self.buffer.len() + self.message.len()
    }

    /// The first reason is the one that is told.
    fn end(&mut self, event: Event) {
        self.ending.get_or_insert(event);
    }

    fn stop(&mut self) {
        self.stage = Stage::Over;
        self.buffer = BytesMut::new();
        self.message = BytesMut::new();
    }

    fn open(&mut self) -> Result<Step, Fault> {
        match upgrade::read(&self.buffer, &self.config.origins) {
            Ok(None) => Ok(Step::Wait),
            Ok(Some((length, answer))) => {
                let _ = self.buffer.split_to(length);
                self.stage = Stage::Open;
                self.waiting_since = Some(self.now);
                self.settle_clock();
                Ok(Step::Give(Event::Write(answer.into())))
            }
            Err(refused) => {
                // No WebSocket yet, so the reason goes out as HTTP and not as a close frame.
                self.end(Event::Fault(Fault { code: refused.status, why: refused.why }));
                self.stop();
                Ok(Step::Give(Event::Write(upgrade::refusal(refused).into())))
            }
        }
    }

    fn next_frame(&mut self) -> Result<Step, Fault> {
        let room = MAX_MESSAGE - self.message.len();
        let head = match self.head {
            Some(head) => head,
            None => match read_head(&self.buffer, room)? {
                None => return Ok(Step::Wait),
                Some(head) => {
                    self.check_order(&head)?;
                    *self.head.insert(head)
                }
            },
        };
        if self.buffer.len() < head.length + head.payload {
            return Ok(Step::Wait);
        }
        self.head = None;
        let _ = self.buffer.split_to(head.length);
        let mut payload = self.buffer.split_to(head.payload);
        unmask(&mut payload, head.mask);
        if head.opcode.is_control() {
            let step = self.control(head.opcode, &payload);
            self.settle_clock();
            return step;
        }
        self.piece(&head, payload)
    }

    /// What may stand where (RFC 6455 §5.4), seen before the payload is waited for.
    fn check_order(&mut self, head: &Head) -> Result<(), Fault> {
        match (head.opcode, self.is_text) {
            (Opcode::Continuation, None) => Err(Fault::protocol("continuation")),
            (Opcode::Text | Opcode::Binary, Some(_)) => Err(Fault::protocol("interleaved")),
            (Opcode::Continuation, Some(_)) if self.pieces >= MAX_PIECES => {
                Err(Fault { code: 1008, why: "too_many_pieces" })
            }
            (Opcode::Ping | Opcode::Pong, _) => {
                let (since, count) = &mut self.controls;
                if self.now >= *since + 1_000_000 {
                    (*since, *count) = (self.now, 0);
                }
                *count += 1;
                if *count > MAX_CONTROLS { Err(Fault { code: 1008, why: "too_many_pings" }) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    fn control(&mut self, opcode: Opcode, payload: &[u8]) -> Result<Step, Fault> {
        match opcode {
            Opcode::Ping => Ok(Step::Give(Event::Write(write(Opcode::Pong, payload)))),
            Opcode::Close => {
                let code = match payload {
                    [] => &[][..],
                    [high, low, reason @ ..] if is_code(u16::from_be_bytes([*high, *low])) => {
                        if std::str::from_utf8(reason).is_err() {
                            return Err(Fault::protocol("close_frame"));
                        }
                        &payload[..2]
                    }
                    _ => return Err(Fault::protocol("close_frame")),
                };
                let is_clean = self.is_text.is_none();
                self.end(Event::Frame(Frame::Close(Why::Ended { is_clean })));
                self.stop();
                Ok(Step::Give(Event::Write(write(Opcode::Close, code))))
            }
            _ => Ok(Step::Go),
        }
    }

    fn piece(&mut self, head: &Head, payload: BytesMut) -> Result<Step, Fault> {
        let is_text = *self.is_text.get_or_insert(head.opcode == Opcode::Text);
        self.pieces += 1;
        let is_whole = head.is_final && self.pieces == 1;
        if !is_whole {
            self.message.extend_from_slice(&payload);
        }
        if !head.is_final {
            return Ok(Step::Go);
        }
        let message = if is_whole { payload.freeze() } else { std::mem::take(&mut self.message).freeze() };
        (self.is_text, self.pieces) = (None, 0);
        self.settle_clock();
        if is_text && std::str::from_utf8(&message).is_err() {
            return Err(Fault { code: 1007, why: "not_utf8" });
        }
        match whole(message) {
            None => Ok(Step::Go),
            Some(frame) => {
                if matches!(frame, Frame::Message(_)) {
                    self.waiting_since = None;
                }
                Ok(Step::Give(Event::Frame(frame)))
            }
        }
    }

    /// A message in pieces keeps its clock; else what is left in the buffer was begun now at the earliest.
    fn settle_clock(&mut self) {
        if self.is_text.is_none() {
            self.begun = (!self.buffer.is_empty()).then_some(self.now);
        }
    }
}

enum Step {
    Give(Event),
    Go,
    Wait,
}

/// Codes that may stand in a close frame (RFC 6455 §7.4).
fn is_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// A SIP message as one frame for the peer: text where it is text (RFC 7118 §5.2), else binary.
#[must_use]
pub fn encode(message: &[u8]) -> Bytes {
    let opcode = if std::str::from_utf8(message).is_ok() { Opcode::Text } else { Opcode::Binary };
    write(opcode, message)
}

#[cfg(test)]
mod tests;
