//! One caller in one menu.
//!
//! Pure: [`Run::handle`] takes the time and what happened and appends what to do. Rules that hold for every run:
//!
//! - at any moment the run awaits exactly one thing, and that thing has a deadline (a talk with an agent alone has none);
//! - a missed deadline or a refused command ends the call, it never leaves the caller in silence;
//! - each command carries a [`Token`], and only the answer with the token that is awaited counts;
//! - each thing decided is one [`IvrDecision`], numbered by `step` without gaps.

use std::sync::Arc;

use domain::Now;
use esl::command::{BridgeTarget, Cause, Prompt};
use schemas::IvrDecision;

use super::decision::{Key, Played};
use super::model::{Choice, Kind, Menu, NodeIndex, Question};

mod ending;

/// Names one command of a run.
pub(crate) type Token = u32;

/// Keys remembered in one attempt; a caller who leans on the keypad gains nothing.
const MAX_KEYS: usize = 64;

/// What FreeSWITCH may take for anything that should be immediate.
const GRACE_US: u64 = 10_000_000;

/// How long after a refused command the news that the caller has left may take.
const REFUSED_US: u64 = 2_000_000;

/// Longest ringing of an agent.
const RING_US: u64 = 180_000_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    Key {
        key: char,
        source: Option<String>,
    },
    PlaybackStarted,
    PlaybackStopped {
        duration_us: Option<i64>,
    },
    /// The command with this token is done. Digits only for a question.
    Done {
        token: Token,
        digits: Option<String>,
        invalid: Option<String>,
    },
    Bridged,
    HungUp {
        cause: Option<String>,
    },
    /// The switch refused a command of this run.
    Refused,
    /// The link was away. `application`: what the switch says that the channel runs now.
    Resumed {
        application: String,
    },
    /// The deadline has come.
    Late,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Do {
    Answer,
    /// `accept`: the right keys when one key is asked for.
    Ask {
        token: Token,
        question: Box<Question>,
    },
    Play {
        token: Token,
        prompt: Prompt,
    },
    Bridge {
        token: Token,
        target: BridgeTarget,
    },
    Hangup {
        token: Token,
        cause: Cause,
    },
    /// At once, whatever the channel is doing.
    Kill {
        cause: Cause,
    },
    /// From now on keys of this channel may (not) be published.
    Sensitive(bool),
    Decide(Box<IvrDecision>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaiting {
    Keys,
    /// A prompt of a playback node.
    Prompt,
    /// The last words.
    LastPrompt,
    Bridge,
    /// The talk; the one thing without a deadline.
    Talk,
    /// Our hang-up to be done.
    End,
    /// Our forced end to be done; after this we stop caring.
    ForcedEnd,
}

#[derive(Debug)]
pub(crate) struct Run {
    pub(super) menu: Arc<Menu>,
    pub(super) node: NodeIndex,
    back: Vec<NodeIndex>,
    pub(super) entry: &'static str,
    pub(super) attempt: u8,
    pub(super) step: i32,
    pub(super) entered: Now,
    pub(super) keys: Vec<Key>,
    pub(super) barge_in: bool,
    pub(super) played: Vec<Played>,
    awaiting: Awaiting,
    token: Token,
    questions: u32,
    playing: bool,
    deadline: Option<u64>,
    /// End of the caller's time in the menu.
    limit: u64,
    /// A command was refused; unless the caller turns out to have left, the call is ended.
    refused: bool,
    finished: bool,
}

impl Run {
    /// Answers the call and enters the menu.
    pub fn start(menu: Arc<Menu>, now: Now, out: &mut Vec<Do>) -> Self {
        let mut run = Self {
            node: menu.start,
            back: Vec::new(),
            entry: "start",
            attempt: 1,
            step: 0,
            entered: now,
            keys: Vec::new(),
            barge_in: false,
            played: Vec::new(),
            awaiting: Awaiting::Keys,
            token: 0,
            questions: 0,
            playing: false,
            deadline: None,
            limit: now.mono_us + u64::from(menu.limits.max_seconds) * 1_000_000,
            refused: false,
            finished: false,
            menu,
        };
        out.push(Do::Answer);
        run.enter(run.node, "start", now, out);
        run
    }

    /// The caller is gone, or is beyond our reach.
    pub fn finished(&self) -> bool {
        self.finished
    }

    /// When [`Input::Late`] is due, in monotonic microseconds.
    pub fn deadline(&self) -> Option<u64> {
        match self.awaiting {
            Awaiting::Talk => self.deadline,
            Awaiting::End | Awaiting::ForcedEnd => self.deadline,
            _ => Some(self.deadline.map_or(self.limit, |d| d.min(self.limit))),
        }
    }

    pub fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Do>) {
        if self.finished {
            return;
        }
        match input {
            Input::Key { key, source } => self.key(now, key, source),
            Input::PlaybackStarted => self.playing = true,
            Input::PlaybackStopped { duration_us } => self.stopped(duration_us),
            Input::Done { token, digits, invalid } if token == self.token => self.done(now, digits, invalid, out),
            // An answer to something that we no longer wait for.
            Input::Done { .. } => {}
            Input::Bridged => self.bridged(now, out),
            Input::HungUp { cause } => self.hung_up(now, cause, out),
            Input::Refused => self.refused(now),
            Input::Resumed { application } => self.resume(now, &application, out),
            Input::Late => self.late(now, out),
        }
    }

    fn key(&mut self, now: Now, key: char, source: Option<String>) {
        if self.awaiting != Awaiting::Keys || self.keys.len() >= MAX_KEYS {
            return;
        }
        // A key while the prompt plays stops it.
        self.barge_in |= self.playing;
        self.keys.push(Key { key, after: now.since(self.entered), source });
    }

    fn stopped(&mut self, duration_us: Option<i64>) {
        self.playing = false;
        let prompt = match &self.menu.nodes[self.node].kind {
            Kind::Menu(question) => Some(&question.prompt),
            Kind::Playback { prompt, .. } => Some(prompt),
            Kind::Hangup { prompt, .. } => prompt.as_ref(),
            Kind::Bridge { .. } => None,
        };
        if let (Some(prompt), true) = (prompt, self.played.len() < 8) {
            self.played.push(Played { prompt: prompt.to_string(), duration_us });
        }
    }

    fn done(&mut self, now: Now, digits: Option<String>, invalid: Option<String>, out: &mut Vec<Do>) {
        match self.awaiting {
            Awaiting::Keys => self.answered(now, digits, invalid, out),
            Awaiting::Prompt => match self.menu.nodes[self.node].kind {
                Kind::Playback { next, .. } => self.enter(next, "choice", now, out),
                _ => self.force_end(now, "NORMAL_TEMPORARY_FAILURE", "lost", out),
            },
            Awaiting::LastPrompt => self.end(now, out),
            Awaiting::Bridge => match self.menu.nodes[self.node].kind {
                Kind::Bridge { failed, .. } => self.enter(failed, "error", now, out),
                _ => self.force_end(now, "NORMAL_TEMPORARY_FAILURE", "lost", out),
            },
            // The agent has hung up.
            Awaiting::Talk => self.end(now, out),
            Awaiting::End | Awaiting::ForcedEnd => {}
        }
    }

    fn answered(&mut self, now: Now, digits: Option<String>, invalid: Option<String>, out: &mut Vec<Do>) {
        let menu = Arc::clone(&self.menu);
        let Kind::Menu(question) = &menu.nodes[self.node].kind else {
            return self.force_end(now, "NORMAL_TEMPORARY_FAILURE", "lost", out);
        };
        match digits.as_deref().and_then(|keys| question.options.get(keys).map(|choice| (keys, *choice))) {
            Some((keys, choice)) => self.chosen(now, keys, choice, out),
            None => {
                let given = digits.as_ref().or(invalid.as_ref());
                let outcome = match given {
                    Some(keys) if keys.len() >= usize::from(question.min_digits) => "invalid",
                    None if self.keys.is_empty() => "no_input",
                    // Some keys, and then the time was up.
                    _ => "timeout_inter_digit",
                };
                self.missed(now, question, outcome, digits.or(invalid), out);
            }
        }
    }

    fn chosen(&mut self, now: Now, keys: &str, choice: Choice, out: &mut Vec<Do>) {
        let (target, back) = match choice {
            Choice::Goto(target) => (target, false),
            Choice::Back => (self.back.pop().unwrap_or(self.node), true),
        };
        let mut decision = self.decide("input", "match", now);
        self.tell_input(&mut decision, Some(keys));
        self.tell_way(&mut decision, target, format!("option:{keys}"), "caller");
        decision.back = back;
        decision.zero_out = keys == "0" && decision.escalated;
        out.push(Do::Decide(Box::new(decision)));
        if !back && matches!(self.menu.nodes[target].kind, Kind::Menu(_)) {
            // Circles are bounded by the number of questions, and with them this list.
            self.back.push(self.node);
        }
        self.enter(target, if back { "back" } else { "choice" }, now, out);
    }

    fn missed(
        &mut self,
        now: Now,
        question: &Question,
        outcome: &'static str,
        digits: Option<String>,
        out: &mut Vec<Do>,
    ) {
        let silent = outcome == "no_input";
        let mut decision = self.decide(if silent { "no_input" } else { "invalid" }, outcome, now);
        self.tell_input(&mut decision, digits.as_deref());
        if self.attempt < question.tries {
            decision.action = Some("repeat".to_owned());
            decision.next_node = Some(self.menu.nodes[self.node].id.clone());
            decision.rule = Some(format!("tries:{}", question.tries));
            decision.rule_kind = Some("default".to_owned());
            out.push(Do::Decide(Box::new(decision)));
            self.attempt += 1;
            self.ask(now, out);
        } else {
            let target = if silent { question.no_input } else { question.invalid };
            self.tell_way(&mut decision, target, if silent { "no_input" } else { "invalid" }.to_owned(), "default");
            out.push(Do::Decide(Box::new(decision)));
            self.enter(target, "error", now, out);
        }
    }

    /// Comes into a node and does what it is for.
    fn enter(&mut self, node: NodeIndex, entry: &'static str, now: Now, out: &mut Vec<Do>) {
        (self.node, self.entry, self.attempt, self.entered) = (node, entry, 1, now);
        self.played.clear();
        self.keys.clear();
        self.barge_in = false;
        let mut decision = self.decide("menu_entered", "", now);
        let menu = Arc::clone(&self.menu);
        decision.action = match &menu.nodes[node].kind {
            Kind::Menu(_) => None,
            other => Some(other.name().to_owned()),
        };
        if let Kind::Bridge { target, .. } = &menu.nodes[node].kind {
            decision.action_target = Some(target.to_string());
        }
        out.push(Do::Decide(Box::new(decision)));
        match &menu.nodes[node].kind {
            Kind::Menu(_) => self.ask(now, out),
            Kind::Playback { prompt, .. } => self.play(now, prompt, Awaiting::Prompt, out),
            Kind::Hangup { prompt: Some(prompt), .. } => self.play(now, prompt, Awaiting::LastPrompt, out),
            Kind::Hangup { prompt: None, .. } => self.end(now, out),
            Kind::Bridge { target, .. } => {
                let token = self.expect(Awaiting::Bridge, RING_US, now);
                out.push(Do::Bridge { token, target: target.clone() });
            }
        }
    }

    fn ask(&mut self, now: Now, out: &mut Vec<Do>) {
        let menu = Arc::clone(&self.menu);
        let Kind::Menu(question) = &menu.nodes[self.node].kind else { return };
        self.questions += 1;
        if self.questions > menu.limits.max_questions {
            return self.end_by(now, "NORMAL_CLEARING", "limit:max_questions", out);
        }
        self.keys.clear();
        self.barge_in = false;
        let patience =
            u64::from(question.timeout_ms) + u64::from(question.inter_digit_ms) * u64::from(question.max_digits);
        let token = self.expect(Awaiting::Keys, patience * 1000 + 2 * self.longest_prompt() + GRACE_US, now);
        out.push(Do::Sensitive(question.sensitive));
        out.push(Do::Ask { token, question: Box::new(question.clone()) });
    }

    fn play(&mut self, now: Now, prompt: &Prompt, awaiting: Awaiting, out: &mut Vec<Do>) {
        let token = self.expect(awaiting, self.longest_prompt() + GRACE_US, now);
        out.push(Do::Play { token, prompt: prompt.clone() });
    }

    fn longest_prompt(&self) -> u64 {
        u64::from(self.menu.limits.max_prompt_seconds) * 1_000_000
    }

    fn expect(&mut self, awaiting: Awaiting, within_us: u64, now: Now) -> Token {
        self.awaiting = awaiting;
        self.token += 1;
        self.playing = false;
        self.deadline = Some(now.mono_us + within_us);
        self.token
    }

    fn bridged(&mut self, now: Now, out: &mut Vec<Do>) {
        if self.awaiting != Awaiting::Bridge {
            return;
        }
        self.awaiting = Awaiting::Talk;
        self.deadline = None;
        let mut decision = self.decide("transferred", "", now);
        if let Kind::Bridge { target, .. } = &self.menu.nodes[self.node].kind {
            decision.action_target = Some(target.to_string());
        }
        decision.action = Some("bridge".to_owned());
        decision.escalated = true;
        out.push(Do::Decide(Box::new(decision)));
    }
}
