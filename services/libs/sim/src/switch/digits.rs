//! `play_and_get_digits`: prompt, wait, collect, check, say that it was wrong, try again.
//!
//! As recorded: a digit ends the prompt; the prompt for a wrong input is not ended by digits, they stay queued for the next try; it is
//! played after every failed try, the last one too; `read_result` is `success`, `timeout` (fewer digits than could come, but enough)
//! or `failure`.

use std::time::{Duration, Instant};

use super::channel::ChannelId;
use super::event::Kind;
use super::exec::{App, Play, Running};
use super::node::Node;
use super::pattern::Pattern;
use super::prompt;

type Text = Box<str>;

#[derive(Debug)]
enum Phase {
    Prompt(Play),
    FirstDigit,
    NextDigit,
    Wrong(Play),
    Idle,
}

/// The state of one `play_and_get_digits`.
#[derive(Debug)]
pub(super) struct Collect {
    min: usize,
    max: usize,
    tries: u32,
    timeout: Duration,
    digit_timeout: Duration,
    terminators: Text,
    file: Text,
    invalid_file: Text,
    variable: Text,
    pattern: Option<Pattern>,
    buffer: String,
    phase: Phase,
}

impl Collect {
    /// `min max tries timeout terminators file invalid_file [var [regexp [digit_timeout]]]`, separated by blanks or, after `^^x`, by x.
    pub fn parse(data: &str) -> Option<Self> {
        let words: Vec<&str> = match data.strip_prefix("^^") {
            Some(rest) => {
                let separator = rest.chars().next()?;
                rest[separator.len_utf8()..].split(separator).collect()
            }
            None => data.split_whitespace().collect(),
        };
        let [min, max, tries, timeout, terminators, file, invalid_file, rest @ ..] = words.as_slice() else {
            return None;
        };
        let timeout = Duration::from_millis(timeout.parse().ok()?);
        let digit_timeout = rest.get(2).and_then(|word| word.parse().ok()).map_or(timeout, Duration::from_millis);
        Some(Self {
            min: min.parse().ok()?,
            max: max.parse().ok()?,
            tries: tries.parse().ok()?,
            timeout,
            digit_timeout,
            terminators: if *terminators == "none" { "".into() } else { (*terminators).into() },
            file: (*file).into(),
            invalid_file: (*invalid_file).into(),
            variable: (*rest.first().unwrap_or(&"")).into(),
            pattern: rest.get(1).and_then(|word| Pattern::parse(word)),
            buffer: String::new(),
            phase: Phase::Idle,
        })
    }

    /// Would a digit be read now?
    pub fn listens(&self) -> bool {
        matches!(self.phase, Phase::Prompt(_) | Phase::FirstDigit | Phase::NextDigit)
    }

    pub fn playing(&self) -> Option<&Play> {
        match &self.phase {
            Phase::Prompt(play) | Phase::Wrong(play) => Some(play),
            _ => None,
        }
    }
}

impl Node {
    fn collect(&mut self, id: ChannelId) -> Option<&mut Collect> {
        match self.channels.get_mut(&id)?.stack.last_mut() {
            Some(Running { kind: App::Digits(collect), .. }) => Some(collect),
            _ => None,
        }
    }

    pub fn start_digits(&mut self, id: ChannelId) {
        self.pre_answer(id);
        self.read_ack(id);
        self.start_try(id);
    }

    fn start_try(&mut self, id: ChannelId) {
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.vars.remove("read_result");
            channel.vars.remove("read_terminator_used");
        }
        let Some(collect) = self.collect(id) else { return };
        collect.buffer.clear();
        let file = collect.file.clone();
        if !self.play(id, &file, Phase::Prompt) {
            self.wait_first(id);
        }
    }

    /// Plays a prompt in this phase; false when there is nothing to play.
    fn play(&mut self, id: ChannelId, file: &str, phase: fn(Play) -> Phase) -> bool {
        let Some(length) = prompt::duration(file).filter(|_| file != "silence") else { return false };
        let Some(collect) = self.collect(id) else { return false };
        collect.phase = phase(Play { file: file.into(), since: Instant::now(), length, terminators: "".into() });
        self.say_play(id, Kind::PlaybackStart, file, None);
        self.wait(id, length);
        true
    }

    fn wait_first(&mut self, id: ChannelId) {
        let Some(collect) = self.collect(id) else { return };
        collect.phase = Phase::FirstDigit;
        let timeout = collect.timeout;
        self.wait(id, timeout);
    }

    pub fn collect_digit(&mut self, id: ChannelId, digit: char) {
        if matches!(self.collect(id).map(|collect| &collect.phase), Some(Phase::Prompt(_))) {
            self.stop_playing(id, "break");
        }
        let Some(collect) = self.collect(id) else { return };
        if collect.terminators.contains(digit) {
            if let Some(channel) = self.channels.get_mut(&id) {
                channel.vars.set("read_terminator_used", digit.to_string());
            }
            self.read_done(id, false);
            return;
        }
        collect.buffer.push(digit);
        if collect.buffer.len() >= collect.max {
            self.read_done(id, false);
            return;
        }
        collect.phase = Phase::NextDigit;
        let timeout = collect.digit_timeout;
        self.wait(id, timeout);
    }

    /// The wait of the current phase is over.
    pub fn digits_time(&mut self, id: ChannelId) {
        let Some(collect) = self.collect(id) else { return };
        match collect.phase {
            Phase::Prompt(_) => {
                self.stop_playing(id, "done");
                self.wait_first(id);
            }
            Phase::FirstDigit | Phase::NextDigit => self.read_done(id, true),
            Phase::Wrong(_) => {
                self.stop_playing(id, "done");
                self.next_try(id);
            }
            Phase::Idle => {}
        }
    }

    fn read_done(&mut self, id: ChannelId, timed_out: bool) {
        let Some(collect) = self.collect(id) else { return };
        collect.phase = Phase::Idle;
        let enough = collect.buffer.len() >= collect.min;
        let matches = enough && collect.pattern.as_ref().is_none_or(|pattern| pattern.is_match(&collect.buffer));
        let (digits, variable, invalid) =
            (collect.buffer.clone(), collect.variable.clone(), collect.invalid_file.clone());
        let result = match (enough, timed_out) {
            (false, _) => "failure",
            (true, true) => "timeout",
            (true, false) => "success",
        };
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.next_wait();
            channel.vars.set("read_result", result);
            let name = if matches { variable.to_string() } else { format!("{variable}_invalid") };
            if !variable.is_empty() && !digits.is_empty() {
                channel.vars.set(name, digits);
            }
        }
        if matches {
            self.finish(id);
        } else if !self.play(id, &invalid, Phase::Wrong) {
            self.next_try(id);
        }
    }

    fn next_try(&mut self, id: ChannelId) {
        let Some(collect) = self.collect(id) else { return };
        collect.tries = collect.tries.saturating_sub(1);
        if collect.tries > 0 {
            self.start_try(id);
        } else {
            self.finish(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_with_their_defaults() {
        let full = Collect::parse("1 4 2 3000 # a.wav b.wav account \\d+ 1500").unwrap();
        assert_eq!((full.min, full.max, full.tries), (1, 4, 2));
        assert_eq!((full.timeout, full.digit_timeout), (Duration::from_secs(3), Duration::from_millis(1500)));
        assert_eq!((full.variable.as_ref(), full.terminators.as_ref()), ("account", "#"));
        let short = Collect::parse("1 1 1 2000 none a.wav silence").unwrap();
        assert_eq!((short.digit_timeout, short.terminators.as_ref()), (short.timeout, ""));
        let separated = Collect::parse("^^|1|1|1|2000|#|a b.wav|c.wav|v|[0-9]").unwrap();
        assert_eq!(separated.file.as_ref(), "a b.wav");
        assert!(Collect::parse("1 1").is_none());
    }
}
