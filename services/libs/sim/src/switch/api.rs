//! The commands behind `api` and `bgapi`, with FreeSWITCH's own texts.

use std::time::Duration;

use super::bus::Event;
use super::cause;
use super::channel::{ChannelId, Digit, PrivateCommand, State};
use super::event::{Kind, place};
use super::node::Node;
use super::schedule::Task;

/// What a command answers.
pub(super) enum Answer {
    Text(String),
    /// When the far end of this channel has decided (`originate`).
    Later(ChannelId),
}

impl From<&str> for Answer {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

const OK: &str = "+OK\n";
const NO_CHANNEL: &str = "-ERR No such channel!\n";
const USAGE: &str = "-USAGE: see FreeSWITCH\n";

impl Node {
    /// Runs a command and says so on the bus. The event has its number from before and is sent after, as FreeSWITCH does.
    pub fn api(&mut self, name: &str, arguments: &str) -> Answer {
        let sequence = self.bus.take_number();
        let arguments = arguments.trim();
        let answer = self.run_api(name, arguments);
        let head = [("API-Command", name), ("API-Command-Argument", arguments)];
        self.bus.fire(Event {
            sequence: Some(sequence),
            head: if arguments.is_empty() { &head[..1] } else { &head },
            ..Event::new(Kind::Api, place::API)
        });
        answer
    }

    fn run_api(&mut self, name: &str, arguments: &str) -> Answer {
        let words: Vec<&str> = arguments.split_whitespace().collect();
        if let Some(answer) = self.uuid_api(name, &words, arguments) {
            return answer;
        }
        match (name, words.as_slice()) {
            ("show", [what, ..]) => self.show(what, &words).into(),
            ("status", _) => self.status().into(),
            ("version", _) => format!("{}\n", super::pulse::VERSION).into(),
            ("global_getvar", [name]) => self.globals.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v).into(),
            ("global_getvar", []) => self.globals.iter().map(|(n, v)| format!("{n}={v}\n")).collect::<String>().into(),
            ("global_setvar", _) => {
                if let Some((name, value)) = arguments.split_once('=') {
                    self.globals.retain(|(n, _)| n != name);
                    self.globals.push((name.to_owned(), value.to_owned()));
                }
                OK.into()
            }
            ("hostname", _) => self.config.id.as_str().into(),
            ("create_uuid", _) => self.uuid().into(),
            ("echo", _) => arguments.into(),
            ("reloadxml", _) => "+OK [Success]\n".into(),
            ("hupall", _) => self.hupall(&words),
            ("fsctl", ["pause", ..]) => self.pause(true),
            ("fsctl", ["resume", ..]) => self.pause(false),
            ("fsctl", _) => OK.into(),
            ("originate", _) => self.originate(arguments),
            ("sched_api", [time, group, command @ ..]) if !command.is_empty() => {
                self.sched_api(time, group, &command.join(" "))
            }
            ("sched_hangup", [time, uuid, rest @ ..]) => {
                let cause = rest.first().and_then(|word| cause::parse(word)).unwrap_or("ALLOTTED_TIMEOUT");
                self.sched_channel(time, uuid, |channel| Task::Hangup { channel, cause })
            }
            ("sched_transfer", [time, uuid, target, ..]) => {
                let target = (*target).to_owned();
                self.sched_channel(time, uuid, |channel| Task::Transfer { channel, target })
            }
            ("sched_del", [what]) => match self.schedule.delete(what) {
                0 => "-ERR no such id or group\n".into(),
                n => format!("+OK Deleted: {n}\n").into(),
            },
            ("show" | "sched_api" | "sched_hangup" | "sched_transfer" | "sched_del", _) => USAGE.into(),
            _ => format!("-ERR {name} Command not found!\n").into(),
        }
    }

    /// Commands whose first argument is a channel.
    fn uuid_api(&mut self, name: &str, words: &[&str], arguments: &str) -> Option<Answer> {
        if !name.starts_with("uuid_") {
            return None;
        }
        let Some(uuid) = words.first() else { return Some(USAGE.into()) };
        let found =
            self.channel_by_uuid(uuid).filter(|id| self.channels.get(id).is_some_and(|c| c.state != State::Destroy));
        if name == "uuid_exists" {
            return Some(if found.is_some() { "true" } else { "false" }.into());
        }
        let Some(id) = found else { return Some(NO_CHANNEL.into()) };
        let rest = arguments.split_once(char::is_whitespace).map_or("", |(_, rest)| rest.trim());
        Some(match (name, &words[1..]) {
            ("uuid_answer", _) => {
                self.answer(id);
                OK.into()
            }
            ("uuid_pre_answer", _) => {
                self.pre_answer(id);
                OK.into()
            }
            ("uuid_kill", rest) => {
                let cause = rest.first().and_then(|word| cause::parse(word)).unwrap_or("NORMAL_CLEARING");
                self.hangup(id, cause);
                OK.into()
            }
            ("uuid_getvar", [name]) => {
                self.channels.get(&id).and_then(|c| c.vars.get(name)).unwrap_or("_undef_").into()
            }
            ("uuid_setvar", [name, ..]) => {
                let value = rest.strip_prefix(*name).unwrap_or_default().trim();
                if let Some(channel) = self.channels.get_mut(&id) {
                    channel.vars.set((*name).to_owned(), value.to_owned());
                }
                OK.into()
            }
            ("uuid_setvar_multi", _) => {
                for (name, value) in rest.split(';').filter_map(|pair| pair.split_once('=')) {
                    if let Some(channel) = self.channels.get_mut(&id) {
                        channel.vars.set(name.trim().to_owned(), value.to_owned());
                    }
                }
                OK.into()
            }
            ("uuid_dump", _) => self.dump(id).into(),
            ("uuid_transfer", [flag @ ("-bleg" | "-both"), target, ..]) => {
                let peer = self.channels.get(&id).and_then(|channel| channel.peer);
                let target = (*target).to_owned();
                if let Some(peer) = peer {
                    self.transfer(peer, &target, "public");
                }
                if *flag == "-both" {
                    self.transfer(id, &target, "public");
                }
                OK.into()
            }
            ("uuid_transfer", [target, ..]) => {
                self.transfer(id, target, "public");
                OK.into()
            }
            ("uuid_broadcast", [what, ..]) => {
                self.broadcast(id, what);
                "+OK Message sent\n".into()
            }
            ("uuid_break", _) => {
                self.break_app(id);
                OK.into()
            }
            ("uuid_recv_dtmf", [digits, ..]) => {
                for digit in digits.split('@').next().unwrap_or_default().chars() {
                    self.digit(id, Digit { digit, duration: 2000, source: "APP" });
                }
                OK.into()
            }
            ("uuid_send_dtmf", [digits, ..]) => {
                for digit in digits.split('@').next().unwrap_or_default().chars() {
                    self.relay_digit(id, &Digit { digit, duration: 2000, source: "APP" });
                }
                OK.into()
            }
            ("uuid_flush_dtmf", _) => {
                if let Some(channel) = self.channels.get_mut(&id) {
                    channel.digits.clear();
                }
                OK.into()
            }
            (
                "uuid_getvar" | "uuid_setvar" | "uuid_transfer" | "uuid_broadcast" | "uuid_recv_dtmf"
                | "uuid_send_dtmf",
                _,
            ) => USAGE.into(),
            _ => return None,
        })
    }

    /// All headers of a channel, as an event would show them.
    fn dump(&mut self, id: ChannelId) -> String {
        match self.channels.get(&id) {
            Some(channel) => self.bus.text(Event::of(Kind::ChannelData, place::API, channel)).to_owned(),
            None => NO_CHANNEL.to_owned(),
        }
    }

    fn broadcast(&mut self, id: ChannelId, what: &str) {
        let (app, data) = what.split_once("::").unwrap_or(("playback", what));
        let headers =
            [("call-command", "execute"), ("execute-app-name", app), ("execute-app-arg", data), ("event-lock", "true")];
        let headers = headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        self.command(id, PrivateCommand { headers });
    }

    /// Gives a channel a command; it is worked on when the channel takes one.
    pub fn command(&mut self, id: ChannelId, command: PrivateCommand) {
        if let Some(channel) = self.channels.get_mut(&id) {
            // As many as FreeSWITCH's queue of private events holds.
            if channel.commands.len() < 1000 {
                channel.commands.push_back(command);
            }
            self.ready.push_back(id);
        }
    }

    /// Ends what plays at the top of the channel's stack.
    fn break_app(&mut self, id: ChannelId) {
        let playing = self
            .channels
            .get(&id)
            .and_then(|channel| channel.stack.last())
            .is_some_and(|running| matches!(running.kind, super::exec::App::Playback(_) | super::exec::App::Sleep));
        if playing {
            self.stop_playing(id, "break");
            self.finish(id);
            self.ready.push_back(id);
        }
    }

    fn hupall(&mut self, words: &[&str]) -> Answer {
        let cause = words.first().and_then(|word| cause::parse(word)).unwrap_or("MANAGER_REQUEST");
        match words {
            [_, name, value] => {
                self.hangup_where(cause, |channel| channel.vars.get(name) == Some(value));
                format!("+OK hangup all channels matching [{name}]=[{value}] with cause: {cause}\n").into()
            }
            _ => {
                self.hangup_where(cause, |_| true);
                format!("+OK hangup all channels with cause {cause}\n").into()
            }
        }
    }

    fn pause(&mut self, on: bool) -> Answer {
        self.draining = on;
        OK.into()
    }

    fn sched_api(&mut self, time: &str, group: &str, command: &str) -> Answer {
        let (repeat, time) = match time.strip_prefix('@') {
            Some(every) => (every.parse().ok().map(Duration::from_secs), format!("+{every}")),
            None => (None, time.to_owned()),
        };
        match self.delay(&time) {
            Some(delay) => {
                let delay = self.whole_seconds(delay);
                let number = self.add_task(delay, group, Task::Api { command: command.to_owned(), repeat });
                format!("+OK Added: {number}\n").into()
            }
            None => USAGE.into(),
        }
    }

    fn sched_channel(&mut self, time: &str, uuid: &str, task: impl FnOnce(ChannelId) -> Task) -> Answer {
        let Some(delay) = self.delay(time) else { return USAGE.into() };
        if let Some(id) = self.channel_by_uuid(uuid) {
            self.add_task(delay, uuid, task(id));
        }
        OK.into()
    }

    pub fn job_done(&mut self, job: &str, command: &str, text: &str) {
        let (name, arguments) = command.split_once(' ').unwrap_or((command, ""));
        let head = [("Job-UUID", job), ("Job-Command", name), ("Job-Command-Arg", arguments)];
        self.bus.fire(Event {
            head: if arguments.is_empty() { &head[..2] } else { &head },
            body: Some(text),
            ..Event::new(Kind::BackgroundJob, place::JOB)
        });
    }
}

impl From<String> for Answer {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}
