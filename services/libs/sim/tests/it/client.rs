//! A tiny ESL client: frames in the order in which they came, nothing interpreted that a test does not need.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub const PATIENCE: Duration = Duration::from_secs(20);

/// One frame as it stood on the wire, with what was read out of it.
#[derive(Debug, Clone)]
pub struct Frame {
    pub raw: String,
    pub event: Option<Event>,
}

#[derive(Debug, Clone)]
pub struct Event {
    pub headers: Vec<(String, String)>,
}

impl Event {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn name(&self) -> &str {
        self.get("Event-Name").unwrap_or_default()
    }

    pub fn is(&self, name: &str) -> bool {
        self.name() == name
    }
}

impl Frame {
    pub fn parse(raw: &str) -> Self {
        let (head, body) = raw.split_once("\n\n").unwrap_or((raw, ""));
        let event = if head.contains("Content-Type: text/event-plain") {
            let headers = body.split("\n\n").next().unwrap_or(body).lines().filter_map(|line| line.split_once(": "));
            Some(Event { headers: headers.map(|(name, value)| (name.to_owned(), decode(value))).collect() })
        } else if head.contains("Content-Type: text/event-json") {
            let value: serde_json::Value = serde_json::from_str(body).expect("an event in JSON");
            let members = value.as_object().expect("an object");
            let headers =
                members.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()));
            Some(Event { headers: headers.collect() })
        } else {
            None
        };
        Self { raw: raw.to_owned(), event }
    }
}

fn decode(value: &str) -> String {
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        let hex = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        match byte {
            b'%' => {
                let (high, low) = (hex(bytes.next()), hex(bytes.next()));
                let code = high.zip(low).map(|(high, low)| high * 16 + low).expect("two hex digits after %");
                out.push(u8::try_from(code).unwrap());
            }
            other => out.push(other),
        }
    }
    String::from_utf8(out).expect("UTF-8 after decoding")
}

pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        Self::over(stream)
    }

    pub fn over(stream: TcpStream) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// Connected, authenticated and listening to `events` (`plain all`).
    pub async fn listening(address: SocketAddr, events: &str) -> Self {
        let mut client = Self::connect(address).await;
        client.next().await.expect("a request to authenticate");
        assert_eq!(client.command("auth Example-esl-1").await, "+OK accepted");
        assert!(client.command(&format!("event {events}")).await.starts_with("+OK event listener enabled"));
        client
    }

    pub async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// The next frame; nothing when the connection was closed.
    pub async fn next(&mut self) -> Option<Frame> {
        let read = async {
            loop {
                if let Some(frame) = self.cut() {
                    return Some(frame);
                }
                match self.stream.read_buf(&mut self.buffer).await {
                    Ok(n) if n > 0 => {}
                    _ => return None,
                }
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("a frame or the end of the connection in time")
    }

    fn cut(&mut self) -> Option<Frame> {
        let head = self.buffer.windows(2).position(|pair| pair == b"\n\n")? + 2;
        let text = String::from_utf8(self.buffer[..head].to_vec()).unwrap();
        // The answer to `connect` has its headers in the frame itself, with the length of nothing.
        let length =
            text.lines().find_map(|line| line.strip_prefix("Content-Length: ")).map_or(0, |n| n.parse().unwrap());
        if self.buffer.len() < head + length {
            return None;
        }
        let raw = String::from_utf8(self.buffer.drain(..head + length).collect()).unwrap();
        Some(Frame::parse(&raw))
    }

    /// Sends a command and returns the reply's text; events in between are dropped.
    pub async fn command(&mut self, command: &str) -> String {
        self.send(&format!("{command}\n\n")).await;
        loop {
            let frame = self.next().await.expect("a reply");
            if frame.event.is_some() {
                continue;
            }
            if let Some(text) = frame.raw.lines().find_map(|line| line.strip_prefix("Reply-Text: ")) {
                return text.to_owned();
            }
            let (_, body) = frame.raw.split_once("\n\n").unwrap();
            return body.to_owned();
        }
    }

    pub async fn api(&mut self, command: &str) -> String {
        self.command(&format!("api {command}")).await
    }

    /// The next event that `wanted` says; other frames are dropped.
    pub async fn event(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        let found = async {
            loop {
                let frame = self.next().await.expect("an event");
                if let Some(event) = frame.event.filter(|event| wanted(event)) {
                    return event;
                }
            }
        };
        // Other events go on for ever: each of them must not be taken for progress.
        tokio::time::timeout(PATIENCE, found).await.expect("the event in time")
    }

    pub async fn event_named(&mut self, name: &str) -> Event {
        self.event(|event| event.is(name)).await
    }
}
