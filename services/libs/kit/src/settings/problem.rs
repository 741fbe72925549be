//! One mistake in the settings, and all of them together.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    File {
        path: PathBuf,
        /// Of the key, else of the section that it is missing in; counted from 1.
        line: Option<usize>,
    },
    Env(String),
    /// Not set anywhere: the built-in value, or a combination of several.
    Default,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Dotted path, list elements by index: `edge.trunks[0].cps`.
    pub key: String,
    /// As written; secrets masked. Empty when the key is missing or unknown.
    pub value: String,
    /// What would be right, as a sentence part.
    pub allowed: String,
    pub origin: Origin,
}

impl Problem {
    #[must_use]
    pub fn new(key: impl Into<String>, value: impl fmt::Display, allowed: impl Into<String>) -> Problem {
        Problem { key: key.into(), value: value.to_string(), allowed: allowed.into(), origin: Origin::Default }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if !self.value.is_empty() {
            write!(f, " = {}", self.value)?;
        }
        match &self.origin {
            Origin::File { path, line: Some(line) } => write!(f, " (in {}, line {line})", path.display())?,
            Origin::File { path, line: None } => write!(f, " (in {})", path.display())?,
            Origin::Env(name) => write!(f, " (from {name} in the environment)")?,
            Origin::Default => {}
        }
        write!(f, ": {}", self.allowed)
    }
}

/// Everything that is wrong, one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "{count} problem{} in the settings:", if count == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for Problems {}

/// Combinations and ranges that the types cannot express. `at` is the dotted path of the value itself, empty at the root;
/// an implementation reports its own fields as [`join`]`(at, "field")` and passes `join(at, "part")` to its parts.
pub trait Check {
    fn check(&self, at: &str, out: &mut Vec<Problem>) {
        let _ = (at, out);
    }
}

/// `at.key`, or `key` at the root.
#[must_use]
pub fn join(at: &str, key: &str) -> String {
    if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") }
}
