//! Messages in the bytes of a connection: the machine that its listener's transport asks for, behind one face.

use std::sync::Arc;

use bytes::Bytes;
use sip::Reject;
use sip::framing::{Frame, Framer, FramerConfig, Input, Why};

use crate::adapters::websocket::{self, WebSocket, WebSocketConfig};

/// What the connection does next.
#[derive(Debug)]
pub enum Event {
    Message(Bytes),
    /// For the peer, as it is.
    Write(Bytes),
    /// Where messages end is not known any more. The head is answered, if it can be, and then the connection ends.
    Broken {
        head: Bytes,
        reject: Reject,
    },
    /// The peer does not keep to the protocol below SIP.
    Fault,
    /// Without a word; why, in one.
    Close(&'static str),
}

#[derive(Debug)]
pub enum Codec {
    Sip(Framer),
    WebSocket(Box<WebSocket>),
}

/// Of a WebSocket: silence after which the peer is asked whether it lives, and how long it may take to answer. Browsers cannot
/// ask by themselves, and their NAT forgets them sooner than the idle time of the settings is over.
const ASK_US: u64 = 45_000_000;
const ANSWER_US: u64 = 30_000_000;

/// Silence is the connection's affair, which asks the machine before it closes one. A year is never here.
const NEVER_US: u64 = 365 * 24 * 3_600 * 1_000_000;

impl Codec {
    /// SIP as it is. `first_us` is how long somebody who connected to us may take to say anything.
    #[must_use]
    pub fn sip(now: u64, message_us: u64, first_us: Option<u64>) -> Codec {
        let first_us = first_us.unwrap_or(NEVER_US);
        Codec::Sip(Framer::new(now, FramerConfig { message_us, first_us, idle_us: NEVER_US }))
    }

    /// SIP in the messages of a WebSocket, which somebody is about to open.
    #[must_use]
    pub fn websocket(now: u64, message_us: u64, upgrade_us: u64, origins: Arc<[String]>) -> Codec {
        let frames = FramerConfig { message_us, first_us: message_us, idle_us: ASK_US + ANSWER_US };
        let config = WebSocketConfig { frames, upgrade_us, ping_us: ASK_US, origins };
        Codec::WebSocket(Box::new(WebSocket::new(now, config)))
    }

    pub fn handle(&mut self, now: u64, input: Input<'_>) {
        match self {
            Codec::Sip(framer) => framer.handle(now, input),
            Codec::WebSocket(socket) => socket.handle(now, input),
        }
    }

    pub fn poll(&mut self) -> Option<Event> {
        match self {
            Codec::Sip(framer) => framer.poll().map(|frame| match frame {
                Frame::Message(bytes) => Event::Message(bytes),
                Frame::Ping => Event::Write(Bytes::from_static(b"\r\n")),
                Frame::Broken { head, reject } => Event::Broken { head, reject },
                Frame::Close(why) => Event::Close(word(why)),
            }),
            Codec::WebSocket(socket) => socket.poll().map(|event| match event {
                websocket::Event::Write(bytes) => Event::Write(bytes),
                websocket::Event::Fault(_) => Event::Fault,
                websocket::Event::Frame(Frame::Message(bytes)) => Event::Message(bytes),
                websocket::Event::Frame(Frame::Ping) => Event::Write(websocket::encode(b"\r\n")),
                websocket::Event::Frame(Frame::Broken { head, reject }) => Event::Broken { head, reject },
                websocket::Event::Frame(Frame::Close(Why::Idle)) => Event::Close("idle"),
                websocket::Event::Frame(Frame::Close(why)) => Event::Close(word(why)),
            }),
        }
    }

    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        match self {
            Codec::Sip(framer) => framer.deadline(),
            Codec::WebSocket(socket) => socket.deadline(),
        }
    }

    /// A SIP message as it goes on the wire.
    #[must_use]
    pub fn encode(&self, message: Bytes) -> Bytes {
        match self {
            Codec::Sip(_) => message,
            Codec::WebSocket(_) => websocket::encode(&message),
        }
    }

    /// What is said last on a connection that we end.
    #[must_use]
    pub fn goodbye(&self) -> Option<Bytes> {
        match self {
            Codec::Sip(_) => None,
            Codec::WebSocket(socket) => socket.goodbye(),
        }
    }
}

fn word(why: Why) -> &'static str {
    match why {
        // Silence is only ever the one before the first byte here.
        Why::Slow | Why::Idle => "slow",
        Why::Ended { .. } => "ended",
    }
}
