//! What ESL connections say to the switch, and the replies they get.

use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::api::Answer;
use super::bus::{ConnId, Event, Filter, Format, Listener};
use super::cause;
use super::channel::{ChannelId, PrivateCommand, State};
use super::esl::{Command, Input, Link};
use super::event::{Kind, place};
use super::node::Node;
use super::originate::Waiting;

const GOODBYE: &str = "Disconnected, goodbye.\nSee you at ClueCon! http://www.cluecon.com/\n";

/// One ESL connection as the switch sees it; its subscriptions are the bus's.
#[derive(Debug)]
pub(super) struct Conn {
    pub queue: tokio::sync::mpsc::Sender<Bytes>,
    pub stop: CancellationToken,
    pub authenticated: bool,
    /// The channel that this outbound connection was made for.
    pub channel: Option<ChannelId>,
    pub uuid: Option<String>,
    pub linger: Option<u64>,
}

impl Node {
    pub fn input(&mut self, input: Input) {
        match input {
            Input::Opened(link) => {
                let conn = link.conn;
                self.add_conn(link, None);
                self.send(conn, "Content-Type: auth/request\n\n");
            }
            Input::Command { conn, command } => {
                if self.conns.contains_key(&conn) {
                    self.esl_command(conn, &command);
                }
            }
            Input::Closed { conn } => self.conn_closed(conn),
            Input::Dialled { channel, host, link } => self.dialled(channel, &host, link),
        }
    }

    pub fn add_conn(&mut self, link: Link, channel: Option<ChannelId>) {
        let uuid = channel.and_then(|id| self.channels.get(&id)).map(|channel| channel.uuid.to_string());
        self.bus.listeners.insert(link.conn, Listener::new(link.queue.clone()));
        let conn =
            Conn { queue: link.queue, stop: link.stop, authenticated: channel.is_some(), channel, uuid, linger: None };
        self.conns.insert(link.conn, conn);
    }

    pub fn send(&mut self, conn: ConnId, text: &str) {
        let Some(link) = self.conns.get(&conn) else { return };
        // The reserve of the queue holds hundreds of replies: who does not read even those is disconnected.
        if link.queue.try_send(Bytes::copy_from_slice(text.as_bytes())).is_err() {
            self.drop_conn(conn);
        }
    }

    pub fn reply(&mut self, conn: ConnId, text: &str) {
        self.send(conn, &format!("Content-Type: command/reply\nReply-Text: {text}\n\n"));
    }

    pub fn api_response(&mut self, conn: ConnId, text: &str) {
        let text = if text.is_empty() { "-ERR no reply\n" } else { text };
        self.send(conn, &format!("Content-Type: api/response\nContent-Length: {}\n\n{text}", text.len()));
    }

    /// Says goodbye and closes once everything queued is written.
    pub fn close(&mut self, conn: ConnId) {
        let session = match self.conns.get(&conn).and_then(|link| link.uuid.as_deref()) {
            Some(uuid) => format!("Controlled-Session-UUID: {uuid}\nContent-Disposition: disconnect\n"),
            None => String::new(),
        };
        let text =
            format!("Content-Type: text/disconnect-notice\n{session}Content-Length: {}\n\n{GOODBYE}", GOODBYE.len());
        self.send(conn, &text);
        self.drop_conn(conn);
    }

    /// Dropping both senders lets the writing task finish and close the socket.
    pub fn drop_conn(&mut self, conn: ConnId) {
        self.bus.listeners.remove(&conn);
        self.conns.remove(&conn);
    }

    /// A listener that lost too many events: nothing can be queued for it any more, so the notice may be lost, too.
    pub fn close_overrun(&mut self, conn: ConnId) {
        tracing::debug!(listener = conn, "listener lost too many events and is disconnected");
        let stop = self.conns.get(&conn).map(|link| link.stop.clone());
        self.close(conn);
        if let Some(stop) = stop {
            // The far end reads nothing: waiting for the queue to be written would keep the socket for ever.
            self.sockets.tasks.spawn(async move {
                tokio::time::sleep(Duration::from_secs(2)).await;
                stop.cancel();
            });
        }
    }

    fn esl_command(&mut self, conn: ConnId, command: &Command) {
        let (verb, rest) = command.line.split_once(char::is_whitespace).unwrap_or((&command.line, ""));
        let rest = rest.trim();
        let verb = verb.to_ascii_lowercase();
        if !self.conns.get(&conn).is_some_and(|link| link.authenticated) {
            match verb.as_str() {
                "auth" => self.authenticate(conn, rest),
                "exit" => self.leave(conn),
                _ => self.reply(conn, "-ERR command not found"),
            }
            return;
        }
        match verb.as_str() {
            "api" => {
                let (name, arguments) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
                match self.api(name, arguments) {
                    Answer::Text(text) => self.api_response(conn, &text),
                    Answer::Later(id) => self.wait_for(id, Waiting::Command(conn)),
                }
            }
            "bgapi" => self.background(conn, rest, command),
            "event" | "events" => self.subscribe(conn, rest),
            "nixevent" => self.unsubscribe(conn, rest),
            "noevents" => {
                if let Some(listener) = self.bus.listeners.get_mut(&conn) {
                    (listener.mask, listener.all) = (0, false);
                    listener.subclasses.clear();
                    self.reply(conn, "+OK no longer listening for events");
                }
            }
            "myevents" => self.my_events(conn, rest),
            "filter" => self.filter(conn, rest),
            "divert_events" => {
                self.reply(conn, if rest == "off" { "+OK events not diverted" } else { "+OK events diverted" })
            }
            "linger" => self.linger(conn, rest),
            "nolinger" => {
                if let Some(link) = self.conns.get_mut(&conn) {
                    link.linger = None;
                }
                self.reply(conn, "+OK not lingering");
            }
            "sendmsg" => self.sendmsg(conn, rest, command),
            "sendevent" => self.sendevent(conn, rest, command),
            "connect" => self.connect(conn),
            "log" => {
                let level: u32 = rest.parse().unwrap_or(7);
                self.reply(conn, &format!("+OK log level {level} [{level}]"));
            }
            "nolog" => self.reply(conn, "+OK no longer logging"),
            "resume" => self.resume(conn),
            "getvar" => {
                let own = self.conns.get(&conn).and_then(|link| link.channel);
                let value = own.and_then(|id| self.channels.get(&id)?.vars.get(rest)).unwrap_or_default().to_owned();
                self.reply(conn, &value);
            }
            "exit" | "quit" | "..." => self.leave(conn),
            _ => self.reply(conn, "-ERR command not found"),
        }
    }

    fn authenticate(&mut self, conn: ConnId, password: &str) {
        if password == self.config.esl_password {
            if let Some(link) = self.conns.get_mut(&conn) {
                link.authenticated = true;
            }
            self.reply(conn, "+OK accepted");
        } else {
            self.reply(conn, "-ERR invalid");
            self.close(conn);
        }
    }

    fn leave(&mut self, conn: ConnId) {
        self.reply(conn, "+OK bye");
        self.close(conn);
    }

    fn background(&mut self, conn: ConnId, line: &str, command: &Command) {
        let given = command.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("job-uuid"));
        let job = given.map_or_else(|| self.uuid(), |(_, value)| value.to_string());
        self.send(conn, &format!("Content-Type: command/reply\nReply-Text: +OK Job-UUID: {job}\nJob-UUID: {job}\n\n"));
        let (name, arguments) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match self.api(name, arguments) {
            Answer::Text(text) => self.job_done(&job, line, &text),
            Answer::Later(id) => self.wait_for(id, Waiting::Job { job, command: line.to_owned() }),
        }
    }

    fn wait_for(&mut self, id: ChannelId, waiting: Waiting) {
        if let Some(pending) = self.originates.get_mut(&id) {
            pending.waiting = Some(waiting);
        }
    }

    fn subscribe(&mut self, conn: ConnId, rest: &str) {
        let mut words = rest.split_whitespace().peekable();
        let format = match words.peek() {
            Some(&"plain") => Some(Format::Plain),
            Some(&"json") => Some(Format::Json),
            Some(&"xml") => {
                self.reply(conn, "-ERR xml is not simulated");
                return;
            }
            _ => None,
        };
        if format.is_some() {
            words.next();
        }
        let Some(listener) = self.bus.listeners.get_mut(&conn) else { return };
        let (mut known, mut custom) = (0, false);
        for word in words {
            if custom {
                listener.subclasses.push(word.to_owned());
                known += 1;
            } else if word.eq_ignore_ascii_case("all") {
                listener.all = true;
                known += 1;
            } else if word.eq_ignore_ascii_case("custom") {
                custom = true;
                known += 1;
            } else if let Some(mask) = Kind::mask(word) {
                listener.mask |= mask;
                known += 1;
            }
        }
        if known == 0 {
            self.reply(conn, "-ERR no keywords supplied");
            return;
        }
        listener.format = format.unwrap_or(Format::Plain);
        let name = if listener.format == Format::Json { "json" } else { "plain" };
        self.reply(conn, &format!("+OK event listener enabled {name}"));
    }

    fn unsubscribe(&mut self, conn: ConnId, rest: &str) {
        let Some(listener) = self.bus.listeners.get_mut(&conn) else { return };
        if listener.all {
            // What stays is everything else.
            (listener.all, listener.mask) = (false, u64::MAX);
        }
        let mut custom = false;
        for word in rest.split_whitespace() {
            if custom {
                listener.subclasses.retain(|name| name != word);
            } else if word.eq_ignore_ascii_case("all") {
                listener.mask = 0;
            } else if word.eq_ignore_ascii_case("custom") {
                custom = true;
            } else if let Some(mask) = Kind::mask(word) {
                listener.mask &= !mask;
            }
        }
        self.reply(conn, "+OK events nixed");
    }

    fn my_events(&mut self, conn: ConnId, rest: &str) {
        let words: Vec<&str> = rest.split_whitespace().collect();
        let json = words.contains(&"json");
        let own = self.conns.get(&conn).and_then(|link| link.uuid.clone());
        let given = words.iter().find(|word| !matches!(**word, "plain" | "json")).map(|word| (*word).to_owned());
        let (Some(uuid), Some(listener)) = (own.or(given), self.bus.listeners.get_mut(&conn)) else {
            self.reply(conn, "-ERR invalid uuid");
            return;
        };
        listener.format = if json { Format::Json } else { Format::Plain };
        listener.mask |= Kind::mine();
        listener.only = Some(uuid.into());
        self.reply(conn, "+OK Events Enabled");
    }

    fn filter(&mut self, conn: ConnId, rest: &str) {
        let Some(listener) = self.bus.listeners.get_mut(&conn) else { return };
        let (first, more) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        if first.eq_ignore_ascii_case("delete") {
            let (header, value) = more.split_once(char::is_whitespace).unwrap_or((more, ""));
            listener.filters.retain(|filter| {
                header != "all"
                    && !(filter.header.eq_ignore_ascii_case(header) && (value.is_empty() || filter.value == value))
            });
            self.reply(conn, &format!("+OK filter deleted. [{header}]=[{value}]"));
            return;
        }
        let header = if first.eq_ignore_ascii_case("add") { more } else { rest };
        match header.split_once(char::is_whitespace) {
            Some((header, value)) => {
                listener.filters.push(Filter { header: header.to_owned(), value: value.trim().to_owned() });
                self.reply(conn, &format!("+OK filter added. [{header}]=[{}]", value.trim()));
            }
            None => self.reply(conn, "-ERR invalid syntax"),
        }
    }

    fn sendmsg(&mut self, conn: ConnId, rest: &str, command: &Command) {
        let own = self.conns.get(&conn).and_then(|link| link.channel);
        let target = if rest.is_empty() { own } else { self.channel_by_uuid(rest) };
        let Some(id) = target.filter(|id| self.channels.get(id).is_some_and(|channel| channel.state != State::Destroy))
        else {
            self.reply(conn, &format!("-ERR invalid session id [{rest}]"));
            return;
        };
        let mut headers = Vec::with_capacity(command.headers.len() + 1);
        headers.push(("Command".into(), command.line.as_str().into()));
        // A header without a value is no header.
        headers.extend(command.headers.iter().filter(|(_, value)| !value.is_empty()).cloned());
        if !command.body.is_empty() {
            headers.push(("content".into(), command.body.trim_end().into()));
        }
        let private = PrivateCommand { headers };
        self.reply(conn, "+OK");
        if private.get("call-command") == Some("hangup") {
            let cause = private.get("hangup-cause").and_then(cause::parse).unwrap_or("NORMAL_CLEARING");
            self.hangup(id, cause);
        } else {
            self.command(id, private);
        }
    }

    /// An event of a client's own making, for all listeners of this node.
    fn sendevent(&mut self, conn: ConnId, name: &str, command: &Command) {
        let uuid = self.uuid();
        let subclass = command
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("event-subclass"))
            .map(|(_, value)| value.to_string());
        let mut head: Vec<(&str, &str)> = vec![("Command", command.line.as_str())];
        head.extend(
            command
                .headers
                .iter()
                .filter(|(name, _)| {
                    !name.eq_ignore_ascii_case("event-subclass") && !name.eq_ignore_ascii_case("content-length")
                })
                .map(|(name, value)| (name.as_ref(), value.as_ref())),
        );
        head.push(("Event-UUID", &uuid));
        if name.eq_ignore_ascii_case("custom") || subclass.is_some() {
            self.bus.fire(Event {
                head: &head,
                subclass: subclass.as_deref(),
                body: (!command.body.is_empty()).then_some(command.body.as_str()),
                ..Event::new(Kind::Custom, place::SENDEVENT)
            });
        } else {
            // Other kinds go to modules that are not here.
            self.bus.take_number();
        }
        self.reply(conn, &format!("+OK {uuid}"));
    }
}
