//! Applications: what the dialplan and ESL tell a channel to do, one on top of another.
//!
//! The bottom of a channel's stack is the application that the dialplan runs; `park`, `echo` and `socket` take commands, and each runs
//! on top of them. [`Node::advance`] works until the top waits for time, a digit, the far end or a command.

use std::time::{Duration, Instant};

use super::bridge::Bridge;
use super::bus::{ConnId, Event};
use super::cause;
use super::channel::{ChannelId, Digit, PrivateCommand, Role};
use super::digits::Collect;
use super::event::{Kind, place};
use super::node::Node;
use super::prompt;

type Text = Box<str>;

/// An application on the stack of a channel.
#[derive(Debug)]
pub(super) struct Running {
    pub app: Text,
    pub data: Text,
    pub uuid: Text,
    pub kind: App,
    /// The command that started it, when it was not the dialplan.
    pub command: Option<PrivateCommand>,
    /// Its end is not announced by PRIVATE_COMMAND.
    pub quiet: bool,
}

#[derive(Debug)]
pub(super) enum App {
    /// Does its work at once.
    Instant,
    Park,
    Echo,
    /// Parked under the control of an outbound ESL socket.
    Socket {
        conn: Option<ConnId>,
    },
    Sleep,
    Playback(Play),
    Digits(Box<Collect>),
    Bridge(Box<Bridge>),
}

/// A prompt that is being played.
#[derive(Debug)]
pub(super) struct Play {
    pub file: Text,
    pub since: Instant,
    pub length: Duration,
    /// Digits that end it (`playback_terminators`).
    pub terminators: Text,
}

/// What `advance` found at the top of the stack.
pub(super) enum Step {
    Again,
    Waits,
}

impl Node {
    /// Works on a channel until it waits for something.
    pub fn advance(&mut self, id: ChannelId) {
        loop {
            let Some(channel) = self.channels.get(&id) else { return };
            if !channel.is_up() {
                self.unwind(id);
                return;
            }
            if channel.transfer.is_some() {
                self.carry_out_transfer(id);
                continue;
            }
            if matches!(self.step(id), Step::Waits) {
                return;
            }
        }
    }

    fn step(&mut self, id: ChannelId) -> Step {
        let Some(channel) = self.channels.get_mut(&id) else { return Step::Waits };
        let Some(top) = channel.stack.last() else {
            return match channel.plan.pop_front() {
                Some((app, data)) => {
                    self.execute(id, app, &data, None);
                    Step::Again
                }
                None if channel.role == Role::Caller => {
                    self.hangup(id, "NORMAL_CLEARING");
                    Step::Again
                }
                None => Step::Waits,
            };
        };
        match &top.kind {
            App::Park | App::Echo | App::Socket { .. } if channel.hold_until.is_some() => Step::Waits,
            App::Park | App::Echo | App::Socket { .. } => {
                if let Some(command) = channel.commands.pop_front() {
                    self.run_command(id, command);
                    return Step::Again;
                }
                match channel.digits.pop_front() {
                    Some(digit) => {
                        self.say_digit(id, &digit);
                        Step::Again
                    }
                    None => Step::Waits,
                }
            }
            App::Digits(_) => self.digits_step(id),
            App::Playback(play) => {
                let terminators = play.terminators.clone();
                match channel.digits.pop_front() {
                    Some(digit) => {
                        self.say_digit(id, &digit);
                        if terminators.contains(digit.digit) {
                            if let Some(channel) = self.channels.get_mut(&id) {
                                channel.vars.set("playback_terminator_used", digit.digit.to_string());
                            }
                            self.stop_playing(id, "break");
                            self.playback_done(id);
                        }
                        Step::Again
                    }
                    None => Step::Waits,
                }
            }
            App::Bridge(_) => self.bridge_step(id),
            App::Sleep => match channel.digits.pop_front() {
                Some(digit) => {
                    self.say_digit(id, &digit);
                    Step::Again
                }
                None => Step::Waits,
            },
            App::Instant => {
                self.finish(id);
                Step::Again
            }
        }
    }

    /// Runs a command that ESL queued for the channel.
    fn run_command(&mut self, id: ChannelId, command: PrivateCommand) {
        match command.get("call-command").unwrap_or_default() {
            "execute" => {
                let app = command.get("execute-app-name").unwrap_or_default().to_owned();
                let data = command.get("execute-app-arg").or(command.get("content")).unwrap_or_default().to_owned();
                self.execute(id, &app, &data, Some(command));
            }
            "hangup" => {
                let cause = command.get("hangup-cause").and_then(cause::parse).unwrap_or("NORMAL_CLEARING");
                self.private_command(id, &command);
                self.hangup(id, cause);
            }
            _ => self.private_command(id, &command),
        }
    }

    /// Says that a command was worked on.
    pub fn private_command(&mut self, id: ChannelId, command: &PrivateCommand) {
        let Some(channel) = self.channels.get(&id) else { return };
        let head: Vec<(&str, &str)> =
            command.headers.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
        self.bus.fire(Event { head: &head, ..Event::of(Kind::PrivateCommand, place::PRIVATE, channel) });
    }

    /// Starts an application: the event, then what it does. An unknown one is the caller's mistake and ends nothing but itself.
    pub fn execute(&mut self, id: ChannelId, app: &str, data: &str, command: Option<PrivateCommand>) {
        let data = self.expand(id, data);
        let Some(kind) = self.app(id, app, &data) else {
            match command {
                Some(command) => self.private_command(id, &command),
                None => self.hangup(id, "DESTINATION_OUT_OF_ORDER"),
            }
            return;
        };
        let uuid: Text = match command.as_ref().and_then(|command| command.get("Event-UUID")) {
            Some(given) => given.into(),
            None => self.uuid().into(),
        };
        let Some(channel) = self.channels.get_mut(&id) else { return };
        channel.vars.remove("current_application_response");
        if command.is_some() && app == "playback" {
            channel.vars.set("current_loop", "1");
            channel.vars.set("total_loops", "1");
        }
        if data.is_empty() {
            channel.vars.remove("current_application_data");
        } else {
            channel.vars.set("current_application_data", data.clone());
        }
        channel.vars.set("current_application", app.to_owned());
        channel.last_app = Some((app.into(), data.as_str().into()));
        let quiet = command.is_some() && std::mem::take(&mut channel.quiet_command);
        let running = Running { app: app.into(), data: data.as_str().into(), uuid, kind, command, quiet };
        self.bus.fire(Event {
            tail: &application(&running, None),
            ..Event::of(Kind::ChannelExecute, place::EXECUTE, channel)
        });
        channel.stack.push(running);
        self.begin(id, app, &data);
    }

    /// Which kind of application this is; nothing when there is no such application.
    fn app(&self, id: ChannelId, app: &str, data: &str) -> Option<App> {
        Some(match app {
            "park" => App::Park,
            "echo" | "delay_echo" => App::Echo,
            "socket" => App::Socket { conn: None },
            "sleep" => App::Sleep,
            "playback" | "endless_playback" => match prompt::duration(data) {
                Some(length) => {
                    let vars = self.channels.get(&id).map(|channel| &channel.vars);
                    let terminators = vars.and_then(|vars| vars.get("playback_terminators")).unwrap_or("*");
                    App::Playback(Play {
                        file: data.into(),
                        since: Instant::now(),
                        length: if app == "playback" { length } else { Duration::MAX },
                        terminators: if terminators == "none" { "".into() } else { terminators.into() },
                    })
                }
                None => App::Instant,
            },
            "play_and_get_digits" => App::Digits(Box::new(Collect::parse(data)?)),
            "bridge" => App::Bridge(Box::new(Bridge::parse(data))),
            "answer" | "pre_answer" | "ring_ready" | "hangup" | "set" | "export" | "unset" | "multiset" | "log"
            | "info" | "transfer" | "respond" | "sched_hangup" | "sched_transfer" | "start_dtmf" | "stop_dtmf"
            | "flush_dtmf" | "send_dtmf" | "noop" | "event" | "deflect" | "unschedule" => App::Instant,
            _ => return None,
        })
    }

    /// The first thing an application does.
    fn begin(&mut self, id: ChannelId, app: &str, data: &str) {
        match app {
            "park" => self.park(id),
            "answer" => self.answer(id),
            "pre_answer" => self.pre_answer(id),
            "ring_ready" => self.ring_ready(id),
            "socket" => self.start_socket(id, data),
            "sleep" => self.wait(id, Duration::from_millis(data.trim().parse().unwrap_or(0))),
            "playback" | "endless_playback" => self.start_playback(id, data),
            "play_and_get_digits" => self.start_digits(id),
            "bridge" => self.start_bridge(id),
            "hangup" => self.hangup(id, cause::parse(data).unwrap_or("NORMAL_CLEARING")),
            "respond" | "deflect" => self.respond_app(id, data),
            "set" | "export" => self.set_variable(id, data),
            "multiset" => {
                for pair in data.split_whitespace() {
                    self.set_variable(id, pair);
                }
            }
            "unset" => {
                if let Some(channel) = self.channels.get_mut(&id) {
                    channel.vars.remove(data.trim());
                }
            }
            "flush_dtmf" => {
                if let Some(channel) = self.channels.get_mut(&id) {
                    channel.digits.clear();
                }
            }
            "send_dtmf" => {
                for digit in data.split('@').next().unwrap_or_default().chars() {
                    self.relay_digit(id, &Digit { digit, duration: 2000, source: "APP" });
                }
            }
            "transfer" => {
                let mut words = data.split_whitespace();
                let target = words.next().unwrap_or_default().to_owned();
                self.transfer(id, &target, "public");
            }
            "sched_hangup" | "sched_transfer" => self.schedule_app(id, app, data),
            _ => {}
        }
    }

    /// Says CHANNEL_PARK; from here on commands are taken.
    pub fn park(&mut self, id: ChannelId) {
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.quiet_command = !channel.answered;
        }
        self.fire(id, Kind::ChannelPark, place::PARK);
    }

    fn set_variable(&mut self, id: ChannelId, pair: &str) {
        let pair = pair.trim_start_matches("nolocal:");
        let Some((name, value)) = pair.split_once('=') else { return };
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.vars.set(name.trim().to_owned(), value.to_owned());
        }
    }

    fn respond_app(&mut self, id: ChannelId, data: &str) {
        let code = data.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(480);
        self.hangup(id, cause::from_sip(code));
    }

    /// The application at the top of the stack has ended: the event, and the end of its command.
    pub fn finish(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let Some(running) = channel.stack.pop() else { return };
        let response = channel.vars.get("current_application_response").unwrap_or("_none_").to_owned();
        self.bus.fire(Event {
            tail: &application(&running, Some(&response)),
            ..Event::of(Kind::ChannelExecuteComplete, place::EXECUTE_COMPLETE, channel)
        });
        if let Some(command) = running.command.as_ref().filter(|_| !running.quiet) {
            self.private_command(id, command);
        }
    }

    /// What the top of the stack waited for is over.
    pub fn wait_over(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get(&id) else { return };
        match channel.stack.last().map(|running| &running.kind) {
            Some(App::Playback(_)) => {
                self.stop_playing(id, "done");
                self.playback_done(id);
            }
            Some(App::Digits(_)) => self.digits_time(id),
            Some(App::Sleep) => self.finish(id),
            Some(App::Bridge(_)) => self.join_bridge(id),
            _ => {}
        }
        self.ready.push_back(id);
    }

    /// `${name}` in the data of an application, from the channel's variables; unknown ones vanish.
    fn expand(&self, id: ChannelId, data: &str) -> String {
        let Some(channel) = self.channels.get(&id) else { return data.to_owned() };
        let mut out = String::with_capacity(data.len());
        let mut rest = data;
        while let Some(start) = rest.find("${") {
            let Some(end) = rest[start..].find('}') else { break };
            out.push_str(&rest[..start]);
            let name = &rest[start + 2..start + end];
            let own = match name {
                "uuid" => Some(channel.uuid.as_ref()),
                "destination_number" => channel.profile.as_ref().map(|profile| profile.destination.as_ref()),
                "caller_id_number" => channel.profile.as_ref().map(|profile| profile.caller_number.as_ref()),
                _ => channel.vars.get(name),
            };
            out.push_str(own.unwrap_or_default());
            rest = &rest[start + end + 1..];
        }
        out.push_str(rest);
        out
    }

    /// Ends what runs and sends the channel through the dialplan with another number.
    pub fn transfer(&mut self, id: ChannelId, target: &str, context: &str) {
        if let Some(channel) = self.channels.get_mut(&id)
            && channel.is_up()
        {
            channel.transfer = Some(Box::new((target.to_owned(), context.to_owned())));
            self.ready.push_back(id);
        }
    }
}

/// The headers that name an application.
pub(super) fn application<'a>(running: &'a Running, response: Option<&'a str>) -> Vec<(&'static str, &'a str)> {
    let mut tail = Vec::with_capacity(4);
    tail.push(("Application", running.app.as_ref()));
    if !running.data.is_empty() {
        tail.push(("Application-Data", running.data.as_ref()));
    }
    if let Some(response) = response {
        tail.push(("Application-Response", response));
    }
    tail.push(("Application-UUID", running.uuid.as_ref()));
    tail
}
