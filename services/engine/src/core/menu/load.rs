//! From a menu file to a checked [`Menu`]: all mistakes at once, each naming the node and the setting.

use std::collections::BTreeMap;

use esl::command::{BridgeTarget, Cause, Digits, Name, Number, Prompt};
use serde::Deserialize;

use super::model::{Choice, Kind, Limits, Menu, Node, NodeIndex, Question};

/// What is wrong with a menu file. One line per mistake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("menu refused:\n{}", .0.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n"))]
pub struct MenuError(pub Vec<String>);

/// The file as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    id: String,
    version: i32,
    publish_id: Option<String>,
    language: Option<String>,
    start: String,
    #[serde(default)]
    limits: FileLimits,
    nodes: BTreeMap<String, FileNode>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct FileLimits {
    max_questions: u32,
    max_seconds: u32,
    max_prompt_seconds: u32,
}

impl Default for FileLimits {
    fn default() -> Self {
        Self { max_questions: 30, max_seconds: 600, max_prompt_seconds: 120 }
    }
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum FileNode {
    Menu {
        prompt: String,
        invalid_prompt: String,
        #[serde(default = "one")]
        min_digits: u8,
        #[serde(default = "one")]
        max_digits: u8,
        #[serde(default = "three")]
        tries: u8,
        #[serde(default = "five_seconds")]
        timeout_ms: u32,
        #[serde(default = "three_seconds")]
        inter_digit_ms: u32,
        terminators: Option<String>,
        #[serde(default)]
        sensitive: bool,
        /// Keys → a node's name, or `back`.
        options: BTreeMap<String, String>,
        no_input: String,
        invalid: String,
    },
    Playback {
        prompt: String,
        next: String,
    },
    Bridge {
        gateway: String,
        /// Without one: the agent number of the settings.
        number: Option<String>,
        failed: String,
    },
    Hangup {
        prompt: Option<String>,
        #[serde(default = "normal_clearing")]
        cause: String,
    },
}

fn one() -> u8 {
    1
}

fn three() -> u8 {
    3
}

fn five_seconds() -> u32 {
    5000
}

fn three_seconds() -> u32 {
    3000
}

fn normal_clearing() -> String {
    "NORMAL_CLEARING".to_owned()
}

const BACK: &str = "back";

impl Menu {
    /// Reads and checks a menu. `agent_number` is where a bridge without a number of its own leads.
    pub fn parse(text: &str, agent_number: &str) -> Result<Self, MenuError> {
        let file: File = toml::from_str(text).map_err(|error| MenuError(vec![error.message().to_owned()]))?;
        Builder { names: file.nodes.keys().cloned().collect(), agent_number, wrong: Vec::new() }.build(file)
    }
}

struct Builder<'a> {
    names: Vec<String>,
    agent_number: &'a str,
    wrong: Vec<String>,
}

impl Builder<'_> {
    fn build(mut self, file: File) -> Result<Menu, MenuError> {
        if file.id.is_empty() || file.version < 1 {
            self.wrong.push("id must not be empty and version must be at least 1".into());
        }
        let start = self.target("start", &file.start);
        let limits = self.limits(&file.limits);
        if file.nodes.contains_key(BACK) {
            self.wrong.push("a node may not be called back: the word stands for where the caller came from".into());
        }
        let nodes = file
            .nodes
            .iter()
            .filter_map(|(id, node)| Some(Node { id: id.clone(), kind: self.kind(id, node)? }))
            .collect();
        let menu = Menu {
            id: file.id,
            version: file.version,
            publish_id: file.publish_id,
            language: file.language,
            start: start.unwrap_or(0),
            limits,
            nodes,
        };
        if self.wrong.is_empty() {
            self.wrong = super::check::flaws(&menu);
        }
        if self.wrong.is_empty() { Ok(menu) } else { Err(MenuError(self.wrong)) }
    }

    fn limits(&mut self, limits: &FileLimits) -> Limits {
        let ranges = [
            ("max_questions", limits.max_questions, 1, 200),
            ("max_seconds", limits.max_seconds, 10, 7200),
            ("max_prompt_seconds", limits.max_prompt_seconds, 1, 1800),
        ];
        for (name, value, min, max) in ranges {
            if !(min..=max).contains(&value) {
                self.wrong.push(format!("limits.{name} = {value}: must be between {min} and {max}"));
            }
        }
        let FileLimits { max_questions, max_seconds, max_prompt_seconds } = *limits;
        Limits { max_questions, max_seconds, max_prompt_seconds }
    }

    fn target(&mut self, at: &str, name: &str) -> Option<NodeIndex> {
        let found = self.names.iter().position(|n| n == name);
        if found.is_none() {
            self.wrong.push(format!("{at} = {name:?}: there is no such node"));
        }
        found
    }

    /// Takes a checked argument, or notes what is wrong with it.
    fn take<T>(&mut self, at: String, value: Result<T, esl::command::CommandError>) -> Option<T> {
        value.map_err(|error| self.wrong.push(format!("{at}: {error}"))).ok()
    }

    fn kind(&mut self, id: &str, node: &FileNode) -> Option<Kind> {
        let at = |field: &str| format!("nodes.{id}.{field}");
        match node {
            FileNode::Menu { .. } => self.question(id, node),
            FileNode::Playback { prompt, next } => {
                let prompt = self.take(at("prompt"), Prompt::new(prompt));
                let next = self.target(&at("next"), next);
                Some(Kind::Playback { prompt: prompt?, next: next? })
            }
            FileNode::Bridge { gateway, number, failed } => {
                let gateway = self.take(at("gateway"), Name::new(gateway));
                let number = match number {
                    Some(number) => self.take(at("number"), Number::new(number)),
                    None => self.take("engine.agent_number".into(), Number::new(self.agent_number)),
                };
                let failed = self.target(&at("failed"), failed);
                Some(Kind::Bridge { target: BridgeTarget { gateway: gateway?, number: number? }, failed: failed? })
            }
            FileNode::Hangup { prompt, cause } => {
                let prompt = match prompt {
                    Some(prompt) => Some(self.take(at("prompt"), Prompt::new(prompt))?),
                    None => None,
                };
                Some(Kind::Hangup { prompt, cause: self.take(at("cause"), Cause::new(cause))? })
            }
        }
    }

    fn question(&mut self, id: &str, node: &FileNode) -> Option<Kind> {
        let FileNode::Menu {
            prompt,
            invalid_prompt,
            min_digits,
            max_digits,
            tries,
            timeout_ms,
            inter_digit_ms,
            terminators,
            sensitive,
            options,
            no_input,
            invalid,
        } = node
        else {
            return None;
        };
        let at = |field: &str| format!("nodes.{id}.{field}");
        for (name, value, min, max) in [
            ("max_digits", u32::from(*max_digits), 1, 16),
            ("min_digits", u32::from(*min_digits), 1, u32::from(*max_digits)),
            ("tries", u32::from(*tries), 1, 10),
            ("timeout_ms", *timeout_ms, 500, 60_000),
            ("inter_digit_ms", *inter_digit_ms, 500, 60_000),
        ] {
            if !(min..=max).contains(&value) {
                self.wrong.push(format!("{} = {value}: must be between {min} and {max}", at(name)));
            }
        }
        let prompt = self.take(at("prompt"), Prompt::new(prompt));
        let invalid_prompt = self.take(at("invalid_prompt"), Prompt::new(invalid_prompt));
        let terminators = match terminators {
            Some(keys) => Some(self.take(at("terminators"), Digits::new(keys))?),
            None => None,
        };
        let choices = self.choices(id, options, *min_digits, *max_digits, terminators.as_ref());
        let no_input = self.target(&at("no_input"), no_input);
        let invalid = self.target(&at("invalid"), invalid);
        Some(Kind::Menu(Question {
            prompt: prompt?,
            invalid_prompt: invalid_prompt?,
            min_digits: *min_digits,
            max_digits: *max_digits,
            tries: *tries,
            timeout_ms: *timeout_ms,
            inter_digit_ms: *inter_digit_ms,
            terminators,
            sensitive: *sensitive,
            options: choices,
            no_input: no_input?,
            invalid: invalid?,
        }))
    }

    fn choices(
        &mut self,
        id: &str,
        options: &BTreeMap<String, String>,
        min: u8,
        max: u8,
        terminators: Option<&Digits>,
    ) -> BTreeMap<String, Choice> {
        if options.is_empty() {
            self.wrong.push(format!("nodes.{id}.options: a menu without a choice is a dead end"));
        }
        let mut choices = BTreeMap::new();
        for (keys, target) in options {
            let at = format!("nodes.{id}.options.{keys}");
            if Digits::new(keys).is_err() || !(usize::from(min)..=usize::from(max)).contains(&keys.len()) {
                self.wrong.push(format!("{at}: must be {min} to {max} keys of 0-9 * #"));
            } else if max > 1 && !keys.bytes().all(|b| b.is_ascii_digit()) {
                self.wrong.push(format!("{at}: an answer of several keys consists of digits"));
            } else if terminators.is_some_and(|t| keys.chars().any(|key| t.as_str().contains(key))) {
                self.wrong.push(format!("{at}: this key ends the input, it cannot be an answer"));
            }
            let choice = if target == BACK { Some(Choice::Back) } else { self.target(&at, target).map(Choice::Goto) };
            choices.extend(choice.map(|choice| (keys.clone(), choice)));
        }
        choices
    }
}
