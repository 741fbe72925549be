//! `originate`: calls that a controller asks for, and who is told how they went.

use std::collections::HashMap;

use super::api::Answer;
use super::bus::ConnId;
use super::channel::{ChannelId, State};
use super::dial::Target;
use super::node::Node;

/// Who waits for an `originate`.
#[derive(Debug)]
pub(super) enum Waiting {
    Command(ConnId),
    Job { job: String, command: String },
}

/// An `originate` whose far end has not decided.
#[derive(Debug)]
pub(super) struct Pending {
    /// What the channel does when it is answered.
    then: Vec<(&'static str, String)>,
    target: String,
    pub waiting: Option<Waiting>,
}

pub(super) type Originates = HashMap<ChannelId, Pending>;

impl Node {
    /// `originate {vars}sofia/… &app(data)` or `… extension [dialplan] [context]`.
    pub fn originate(&mut self, arguments: &str) -> Answer {
        let end = dial_string_end(arguments);
        let target = Target::parse(&arguments[..end]);
        let then = arguments[end..].trim();
        let (actions, number) = match then.strip_prefix('&') {
            Some(app) => {
                let (name, data) = app.split_once('(').unwrap_or((app, ")"));
                let data = data.trim_end().trim_end_matches(')').to_owned();
                match ["park", "echo", "playback", "hangup", "bridge", "answer", "sleep", "socket"]
                    .into_iter()
                    .find(|known| *known == name.trim())
                {
                    Some(known) => (vec![(known, data)], String::new()),
                    None => return "-ERR INVALID_APPLICATION\n".into(),
                }
            }
            None => (Vec::new(), then.split_whitespace().next().unwrap_or_default().to_owned()),
        };
        match self.place_call(&target, None) {
            Ok(id) => {
                self.originates.insert(id, Pending { then: actions, target: number, waiting: None });
                Answer::Later(id)
            }
            Err("INVALID_PROFILE" | "INVALID_GATEWAY") => "-ERR INVALID_PROFILE\n".into(),
            Err(cause) => format!("-ERR {cause}\n").into(),
        }
    }

    pub fn originate_answered(&mut self, id: ChannelId) {
        let Some(pending) = self.originates.remove(&id) else { return };
        let uuid = self.channels.get(&id).map(|channel| channel.uuid.to_string()).unwrap_or_default();
        self.originate_over(pending.waiting, format!("+OK {uuid}\n"));
        if pending.target.is_empty() {
            if let Some(channel) = self.channels.get_mut(&id) {
                channel.plan = pending.then.into();
            }
            self.enter(id, State::Execute);
        } else {
            if let Some(channel) = self.channels.get_mut(&id) {
                channel.hit_dialplan = true;
            }
            self.route(id, &pending.target);
        }
        self.ready.push_back(id);
    }

    pub fn originate_failed(&mut self, id: ChannelId) {
        let Some(pending) = self.originates.remove(&id) else { return };
        let cause = self.channels.get(&id).and_then(|channel| channel.cause).unwrap_or("NORMAL_UNSPECIFIED");
        self.originate_over(pending.waiting, format!("-ERR {cause}\n"));
    }

    fn originate_over(&mut self, waiting: Option<Waiting>, text: String) {
        match waiting {
            Some(Waiting::Command(conn)) => self.api_response(conn, &text),
            Some(Waiting::Job { job, command }) => self.job_done(&job, &command, &text),
            None => {}
        }
    }
}

/// Where the dial string of an `originate` ends: at the first blank outside braces and quotes.
fn dial_string_end(text: &str) -> usize {
    let (mut depth, mut quoted) = (0_i32, false);
    for (at, c) in text.char_indices() {
        match c {
            '\'' => quoted = !quoted,
            '{' | '[' if !quoted => depth += 1,
            '}' | ']' if !quoted => depth -= 1,
            ' ' if depth == 0 && !quoted => return at,
            _ => {}
        }
    }
    text.len()
}
