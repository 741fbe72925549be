//! The event bus: numbers every event, renders it once per encoding, hands it to the listeners that want it.
//!
//! As in FreeSWITCH a slow listener loses events, never slows the switch: its queue is bounded, an event that does not fit is counted
//! as lost, and more than [`MAX_LOST`] of them end the connection. Replies have a reserve of the queue, so that a flood of events
//! does not swallow the answer to a command.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::channel::Channel;
use super::encode::{self, Digits, Json, Plain, Sink};
use super::event::{self, Kind, Place};
use super::stamp::DateCache;
use crate::clock::Stamp;

pub(super) type ConnId = u64;

/// FreeSWITCH's `MAX_MISSED`: a listener that lost more events than this is disconnected.
const MAX_LOST: u32 = 500;

/// Places in a listener's queue that only replies may use.
pub(super) const REPLY_RESERVE: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Plain,
    Json,
}

#[derive(Debug)]
pub(super) struct Filter {
    pub header: String,
    pub value: String,
}

/// One ESL connection as the bus sees it.
#[derive(Debug)]
pub(super) struct Listener {
    pub queue: mpsc::Sender<Bytes>,
    pub format: Format,
    pub mask: u64,
    pub all: bool,
    pub subclasses: Vec<String>,
    pub filters: Vec<Filter>,
    /// `myevents`: only this channel.
    pub only: Option<Box<str>>,
    pub lost: u32,
}

impl Listener {
    pub fn new(queue: mpsc::Sender<Bytes>) -> Self {
        Self {
            queue,
            format: Format::Plain,
            mask: 0,
            all: false,
            subclasses: Vec::new(),
            filters: Vec::new(),
            only: None,
            lost: 0,
        }
    }

    fn wants(&self, event: &Event<'_>) -> bool {
        if let Some(only) = &self.only
            && event.channel.is_none_or(|channel| channel.uuid != *only)
        {
            return false;
        }
        if self.all {
            return true;
        }
        if event.kind == Kind::Custom {
            return event.subclass.is_some_and(|name| self.subclasses.iter().any(|s| s == name));
        }
        self.mask & event.kind.bit() != 0
    }
}

/// One event about to be sent.
#[derive(Clone, Copy)]
pub(super) struct Event<'a> {
    pub kind: Kind,
    pub place: Place,
    /// A number taken before, for events that FreeSWITCH makes first and sends last (`API`).
    pub sequence: Option<u64>,
    pub subclass: Option<&'a str>,
    pub channel: Option<&'a Channel>,
    /// Stand before the channel's headers.
    pub head: &'a [(&'a str, &'a str)],
    /// Stand after them.
    pub tail: &'a [(&'a str, &'a str)],
    pub body: Option<&'a str>,
}

impl<'a> Event<'a> {
    pub fn new(kind: Kind, place: Place) -> Self {
        Self { kind, place, sequence: None, subclass: None, channel: None, head: &[], tail: &[], body: None }
    }

    pub fn of(kind: Kind, place: Place, channel: &'a Channel) -> Self {
        Self { channel: Some(channel), ..Self::new(kind, place) }
    }
}

#[derive(Debug)]
pub(super) struct Bus {
    pub core_uuid: String,
    hostname: String,
    ipv4: String,
    sequence: u64,
    dates: DateCache,
    plain: String,
    json: String,
    pub listeners: BTreeMap<ConnId, Listener>,
    /// Listeners that lost too much; the switch closes them.
    pub overrun: Vec<ConnId>,
    /// All events that did not fit into a listener's queue.
    pub lost: u64,
}

impl Bus {
    pub fn new(core_uuid: String, hostname: &str, ipv4: String) -> Self {
        Self {
            core_uuid,
            hostname: hostname.to_owned(),
            ipv4,
            sequence: 400,
            dates: DateCache::default(),
            plain: String::with_capacity(16 * 1024),
            json: String::with_capacity(16 * 1024),
            listeners: BTreeMap::new(),
            overrun: Vec::new(),
            lost: 0,
        }
    }

    /// Takes the next number without an event: FreeSWITCH numbers some that it never sends.
    pub fn take_number(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    pub fn fire(&mut self, event: Event<'_>) {
        let sequence = event.sequence.unwrap_or_else(|| self.take_number());
        let event = Event { sequence: Some(sequence), ..event };
        let (mut plain, mut json) = (None, None);
        for (conn, listener) in &mut self.listeners {
            if !listener.wants(&event) {
                continue;
            }
            let filtered = !listener.filters.is_empty();
            if (listener.format == Format::Plain || filtered) && plain.is_none() {
                render_plain(&mut self.plain, &mut self.dates, &self.core_uuid, &self.hostname, &self.ipv4, &event);
                plain = Some(frame("text/event-plain", &self.plain));
            }
            if filtered && !listener.filters.iter().any(|filter| passes(filter, &self.plain)) {
                continue;
            }
            if listener.format == Format::Json && json.is_none() {
                render_json(&mut self.json, &mut self.dates, &self.core_uuid, &self.hostname, &self.ipv4, &event);
                json = Some(frame("text/event-json", &self.json));
            }
            let bytes = match listener.format {
                Format::Plain => &plain,
                Format::Json => &json,
            };
            let Some(bytes) = bytes else { continue };
            if listener.queue.capacity() <= REPLY_RESERVE || listener.queue.try_send(bytes.clone()).is_err() {
                listener.lost += 1;
                self.lost += 1;
                if listener.lost == MAX_LOST + 1 {
                    self.overrun.push(*conn);
                }
            }
        }
    }

    /// The headers of an event as plain text without framing: `uuid_dump` and the answer to `connect`.
    pub fn text(&mut self, event: Event<'_>) -> &str {
        let sequence = self.take_number();
        let event = Event { sequence: Some(sequence), ..event };
        render_plain(&mut self.plain, &mut self.dates, &self.core_uuid, &self.hostname, &self.ipv4, &event);
        &self.plain
    }
}

fn frame(content_type: &str, body: &str) -> Bytes {
    let head = format!("Content-Length: {}\nContent-Type: {content_type}\n\n", body.len());
    let mut bytes = Vec::with_capacity(head.len() + body.len());
    bytes.extend_from_slice(head.as_bytes());
    bytes.extend_from_slice(body.as_bytes());
    bytes.into()
}

/// Looks the header up in the rendered text: filters are rare, so nothing is kept for them.
fn passes(filter: &Filter, plain: &str) -> bool {
    let mut wanted = String::new();
    encode::url_encode(&filter.value, &mut wanted);
    plain.lines().any(|line| {
        line.split_once(": ").is_some_and(|(name, value)| {
            name.eq_ignore_ascii_case(&filter.header) && value.eq_ignore_ascii_case(&wanted)
        })
    })
}

fn render_plain(out: &mut String, dates: &mut DateCache, core: &str, host: &str, ipv4: &str, event: &Event<'_>) {
    out.clear();
    headers(&mut Plain(out), dates, core, host, ipv4, event);
    match event.body {
        Some(body) => {
            out.push_str(&format!("Content-Length: {}\n\n", body.len()));
            out.push_str(body);
        }
        None => out.push('\n'),
    }
}

fn render_json(out: &mut String, dates: &mut DateCache, core: &str, host: &str, ipv4: &str, event: &Event<'_>) {
    out.clear();
    out.push('{');
    let mut sink = Json(out);
    headers(&mut sink, dates, core, host, ipv4, event);
    if let Some(body) = event.body {
        sink.put("", "Content-Length", &body.len().to_string());
        sink.put("", "_body", body);
    }
    out.push('}');
}

fn headers(out: &mut impl Sink, dates: &mut DateCache, core: &str, host: &str, ipv4: &str, event: &Event<'_>) {
    let wall_us = Stamp::now().wall_us;
    dates.update(wall_us);
    out.put("", "Event-Name", event.kind.name());
    if let Some(subclass) = event.subclass {
        out.put("", "Event-Subclass", subclass);
    }
    out.put("", "Core-UUID", core);
    out.put("FreeSWITCH-", "Hostname", host);
    out.put("FreeSWITCH-", "Switchname", host);
    out.put("FreeSWITCH-", "IPv4", ipv4);
    out.put("FreeSWITCH-", "IPv6", "::1");
    out.put("Event-", "Date-Local", &dates.local);
    out.put("Event-", "Date-GMT", &dates.gmt);
    out.put("Event-", "Date-Timestamp", Digits::new(wall_us).as_str());
    let (file, function, line) = event.place;
    out.put("Event-", "Calling-File", file);
    out.put("Event-", "Calling-Function", function);
    out.put("Event-", "Calling-Line-Number", line);
    let sequence = i64::try_from(event.sequence.unwrap_or_default()).unwrap_or(i64::MAX);
    out.put("Event-", "Sequence", Digits::new(sequence).as_str());
    for (name, value) in event.head {
        out.put("", name, value);
    }
    if let Some(channel) = event.channel {
        event::channel(event.kind, channel, out);
    }
    for (name, value) in event.tail {
        out.put("", name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::place;
    use super::*;

    fn bus() -> Bus {
        Bus::new("core".to_owned(), "host", "127.0.0.1".to_owned())
    }

    #[test]
    fn a_listener_gets_what_it_asked_for_in_its_own_encoding() {
        let mut bus = bus();
        let (tx, mut rx) = mpsc::channel(1000);
        let mut listener = Listener::new(tx);
        listener.mask = Kind::Heartbeat.bit();
        listener.format = Format::Json;
        bus.listeners.insert(1, listener);
        bus.fire(Event { head: &[("Session-Count", "3")], ..Event::new(Kind::Heartbeat, place::HEARTBEAT) });
        bus.fire(Event::new(Kind::ReSchedule, place::SCHEDULE));
        let frame = String::from_utf8(rx.try_recv().unwrap().to_vec()).unwrap();
        let (head, body) = frame.split_once("\n\n").unwrap();
        assert_eq!(head, format!("Content-Length: {}\nContent-Type: text/event-json", body.len()));
        let value: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!((&value["Event-Name"], &value["Session-Count"]), (&"HEARTBEAT".into(), &"3".into()));
        assert!(rx.try_recv().is_err());
    }

    #[test]
    fn a_listener_that_does_not_read_loses_events_and_then_its_connection() {
        let mut bus = bus();
        let (tx, _rx) = mpsc::channel(REPLY_RESERVE + 2);
        let mut listener = Listener::new(tx);
        listener.all = true;
        bus.listeners.insert(7, listener);
        for _ in 0..2 + MAX_LOST {
            bus.fire(Event::new(Kind::Heartbeat, place::HEARTBEAT));
        }
        assert!(bus.overrun.is_empty());
        bus.fire(Event::new(Kind::Heartbeat, place::HEARTBEAT));
        assert_eq!((bus.overrun.as_slice(), bus.lost), (&[7][..], u64::from(MAX_LOST) + 1));
        assert!(bus.listeners[&7].queue.try_send(Bytes::new()).is_ok(), "a reply still has room");
    }

    #[test]
    fn a_filter_lets_only_its_value_through() {
        let mut bus = bus();
        let (tx, mut rx) = mpsc::channel(1000);
        let mut listener = Listener::new(tx);
        listener.all = true;
        listener.filters.push(Filter { header: "Api-Command".to_owned(), value: "a b".to_owned() });
        bus.listeners.insert(1, listener);
        for command in ["a b", "other"] {
            bus.fire(Event { head: &[("API-Command", command)], ..Event::new(Kind::Api, place::API) });
        }
        assert!(rx.try_recv().is_ok() && rx.try_recv().is_err());
    }
}
