//! A menu as data: nodes, and where each answer leads.
//!
//! A [`Menu`] exists only when it was checked (`check`): every target is there, every node can be reached, a caller who does nothing
//! comes to an end from everywhere, and a caller who keeps pressing keys is stopped by the limits. So the machine that runs it needs
//! no cases for broken menus.

use std::collections::BTreeMap;

use esl::command::{BridgeTarget, Cause, Digits, Prompt};

/// Index of a node in [`Menu::nodes`].
pub(crate) type NodeIndex = usize;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Menu {
    pub id: String,
    pub version: i32,
    pub publish_id: Option<String>,
    pub language: Option<String>,
    pub(crate) start: NodeIndex,
    pub(crate) limits: Limits,
    pub(crate) nodes: Vec<Node>,
}

/// What stops a caller who never gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Questions asked in one call.
    pub max_questions: u32,
    /// Seconds from entering the menu to its forced end; the time on a bridge does not count.
    pub max_seconds: u32,
    /// Longest that one prompt may play before the step counts as lost.
    pub max_prompt_seconds: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub id: String,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Menu(Question),
    /// Says something and goes on.
    Playback {
        prompt: Prompt,
        next: NodeIndex,
    },
    /// Connects to a number behind a gateway of the switch.
    Bridge {
        target: BridgeTarget,
        failed: NodeIndex,
    },
    /// Says something, perhaps, and ends the call.
    Hangup {
        prompt: Option<Prompt>,
        cause: Cause,
    },
}

impl Kind {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Menu(_) => "menu",
            Self::Playback { .. } => "playback",
            Self::Bridge { .. } => "bridge",
            Self::Hangup { .. } => "hangup",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub prompt: Prompt,
    pub invalid_prompt: Prompt,
    pub min_digits: u8,
    pub max_digits: u8,
    pub tries: u8,
    pub timeout_ms: u32,
    pub inter_digit_ms: u32,
    pub terminators: Option<Digits>,
    /// The keys are nobody's business: not published, not logged, only counted.
    pub sensitive: bool,
    pub options: BTreeMap<String, Choice>,
    pub no_input: NodeIndex,
    pub invalid: NodeIndex,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    Goto(NodeIndex),
    /// To the menu that the caller came from; at the start it stays where it is.
    Back,
}

impl Question {
    /// The right keys as one set, when each answer is a single key.
    pub fn single_keys(&self) -> Option<Digits> {
        if self.max_digits != 1 {
            return None;
        }
        Digits::new(&self.options.keys().map(String::as_str).collect::<String>()).ok()
    }
}
