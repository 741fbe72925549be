//! From the merged value to the typed settings, collecting every mistake.
//!
//! Serde stops at the first mistake. So: note it, take the offending key out of the value, try again; each round removes
//! something, so it ends. A list element that had to go is remembered, so that later indices are still those of the file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::Value;

use super::path::{self, Seg};
use super::problem::{Check, Problem, Problems};
use super::source::Merged;
use crate::secret::{EXPECTED, MASK};

/// Far more than anybody mistypes; a bound, so that no input can keep this busy.
const MAX_PROBLEMS: usize = 200;

pub fn load<T>(file: Option<&Path>, env: impl IntoIterator<Item = (String, String)>) -> Result<T, Problems>
where
    T: DeserializeOwned + Serialize + Default + Check,
{
    let mut problems = Vec::new();
    let merged = Merged::read(file, env, &mut problems);
    let defaults = Value::try_from(T::default()).unwrap_or(Value::Table(toml::Table::new()));
    let mut attempt = Attempt {
        value: merged.value.clone(),
        merged,
        defaults,
        retried: BTreeSet::new(),
        taken_out: BTreeMap::new(),
        bad: Vec::new(),
    };
    let settings: Option<T> = attempt.run(&mut problems);
    if let Some(settings) = &settings {
        let mut found = Vec::new();
        settings.check("", &mut found);
        // A key that is already reported was replaced by its default; what Check says about that would mislead.
        found.retain(|problem| !attempt.bad.contains(&problem.key));
        for mut problem in found {
            problem.origin = attempt.merged.origin(&parse(&problem.key));
            problems.push(problem);
        }
    }
    match settings {
        Some(settings) if problems.is_empty() => Ok(settings),
        _ => Err(Problems(problems)),
    }
}

struct Attempt {
    merged: Merged,
    value: Value,
    defaults: Value,
    /// Variables whose literal did not fit and that were tried again as plain text.
    retried: BTreeSet<Vec<Seg>>,
    /// Original indices of removed elements, by the original path of their list.
    taken_out: BTreeMap<Vec<Seg>, BTreeSet<usize>>,
    bad: Vec<String>,
}

impl Attempt {
    fn run<T: DeserializeOwned>(&mut self, problems: &mut Vec<Problem>) -> Option<T> {
        while problems.len() < MAX_PROBLEMS {
            let mut ignored = Vec::new();
            let mut track = serde_path_to_error::Track::new();
            let tracked = serde_path_to_error::Deserializer::new(self.value.clone(), &mut track);
            match serde_ignored::deserialize::<_, _, T>(tracked, |at| ignored.push(ignored_path(&at))) {
                Ok(settings) => {
                    for at in ignored {
                        problems.push(self.unknown(&at, &[]));
                        self.bad.push(path::show(&self.original(&at)));
                    }
                    return Some(settings);
                }
                Err(error) => {
                    let at = tracked_path(&track.path());
                    if !self.note(at, error.message(), problems) {
                        return None;
                    }
                }
            }
        }
        None
    }

    /// Records one mistake and removes its cause; false when nothing could be removed.
    fn note(&mut self, mut at: Vec<Seg>, message: &str, problems: &mut Vec<Problem>) -> bool {
        if let Some(field) = quoted_after(message, "unknown field ") {
            if at.last() != Some(&Seg::Key(field.clone())) {
                at.push(Seg::Key(field));
            }
            let known = quoted(message.split_once("expected").map_or("", |(_, list)| list));
            problems.push(self.unknown(&at, &known.iter().map(String::as_str).collect::<Vec<_>>()));
        } else if let Some(field) = quoted_after(message, "missing field ") {
            let mut missing = self.original(&at);
            missing.push(Seg::Key(field));
            let key = path::show(&missing);
            if !self.bad.contains(&key) {
                let origin = self.merged.origin(&self.original(&at));
                problems.push(Problem { origin, ..Problem::new(key, "", "is missing and has no default") });
            }
        } else {
            if self.retry_as_text(&at) {
                return true;
            }
            problems.push(self.bad_value(&at, message));
        }
        self.take_out(at)
    }

    /// `12345678` in the environment is a number to TOML, but may be meant for a text field.
    fn retry_as_text(&mut self, at: &[Seg]) -> bool {
        let Some(var) = self.merged.from_env.get(at).cloned() else { return false };
        if !self.retried.insert(at.to_vec()) {
            return false;
        }
        match path::get_mut(&mut self.value, at) {
            Some(slot) if !slot.is_str() => {
                *slot = Value::String(var.raw);
                true
            }
            _ => false,
        }
    }

    fn take_out(&mut self, mut at: Vec<Seg>) -> bool {
        // The path may end below a plain value (an enum's variant); then the nearest thing that exists goes.
        while !at.is_empty() && path::get(&self.value, &at).is_none() {
            at.pop();
        }
        let original = self.original(&at);
        if !path::remove(&mut self.value, &at) {
            return false;
        }
        self.bad.push(path::show(&original));
        if let Some((Seg::Index(index), list)) = original.split_last() {
            self.taken_out.entry(list.to_vec()).or_default().insert(*index);
        }
        true
    }

    /// The path as it stands in the file, before elements were taken out.
    fn original(&self, at: &[Seg]) -> Vec<Seg> {
        let mut out: Vec<Seg> = Vec::with_capacity(at.len());
        for seg in at {
            let seg = match seg {
                Seg::Index(index) => {
                    let gone = self.taken_out.get(&out).into_iter().flatten();
                    Seg::Index(gone.fold(*index, |index, gone| if *gone <= index { index + 1 } else { index }))
                }
                key => key.clone(),
            };
            out.push(seg);
        }
        out
    }

    fn unknown(&self, at: &[Seg], known: &[&str]) -> Problem {
        let original = self.original(at);
        let (wrong, parent) = match at.split_last() {
            Some((Seg::Key(wrong), parent)) => (wrong.as_str(), parent),
            _ => ("", at),
        };
        let around = path::get(&self.defaults, parent).and_then(Value::as_table);
        let from_defaults: Vec<&str> = around.map(|t| t.keys().map(String::as_str).collect()).unwrap_or_default();
        let known = if known.is_empty() { &from_defaults } else { known };
        let allowed = match (path::nearest(wrong, known), known.is_empty()) {
            (Some(name), _) => format!("unknown key; did you mean {name}?"),
            (None, false) => format!("unknown key; known here: {}", known.join(", ")),
            (None, true) => "unknown key; there are no keys here".to_owned(),
        };
        Problem { origin: self.merged.origin(&original), ..Problem::new(path::show(&original), "", allowed) }
    }

    fn bad_value(&self, at: &[Seg], message: &str) -> Problem {
        let original = self.original(at);
        let key = path::show(&original);
        let hidden = message.contains(EXPECTED) || looks_secret(at);
        let value = match path::get(&self.value, at) {
            Some(_) if hidden => MASK.to_owned(),
            Some(value) => shorten(value.to_string()),
            None => String::new(),
        };
        let allowed = match message.rsplit_once(", expected ") {
            Some((_, wanted)) => format!("expected {wanted}"),
            None if hidden => "is not valid here".to_owned(),
            None => message.to_owned(),
        };
        let key = if key.is_empty() { "settings".to_owned() } else { key };
        Problem { origin: self.merged.origin(&original), ..Problem::new(key, value, allowed) }
    }
}

/// A second net under [`crate::Secret`]: a key named like a secret does not show its value in an error.
fn looks_secret(at: &[Seg]) -> bool {
    let Some(Seg::Key(key)) = at.iter().rev().find(|seg| matches!(seg, Seg::Key(_))) else { return false };
    ["password", "passwd", "secret", "token"].iter().any(|word| key.ends_with(word))
}

fn shorten(text: String) -> String {
    if text.chars().count() <= 80 { text } else { text.chars().take(77).chain("...".chars()).collect() }
}

fn tracked_path(path: &serde_path_to_error::Path) -> Vec<Seg> {
    use serde_path_to_error::Segment;
    path.iter()
        .filter_map(|seg| match seg {
            Segment::Seq { index } => Some(Seg::Index(*index)),
            Segment::Map { key } => Some(Seg::Key(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

fn ignored_path(path: &serde_ignored::Path<'_>) -> Vec<Seg> {
    use serde_ignored::Path;
    let (parent, own) = match path {
        Path::Root => return Vec::new(),
        Path::Seq { parent, index } => (parent, Some(Seg::Index(*index))),
        Path::Map { parent, key } => (parent, Some(Seg::Key(key.clone()))),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => (parent, None),
    };
    let mut segs = ignored_path(parent);
    segs.extend(own);
    segs
}

/// The inverse of [`path::show`], for keys that a [`Check`] wrote.
fn parse(key: &str) -> Vec<Seg> {
    let mut segs = Vec::new();
    for part in key.split('.') {
        let (name, indices) = part.split_once('[').map_or((part, ""), |(name, rest)| (name, rest));
        segs.push(Seg::Key(name.to_owned()));
        segs.extend(indices.split('[').filter_map(|i| i.trim_end_matches(']').parse().ok()).map(Seg::Index));
    }
    segs
}

fn quoted_after(message: &str, start: &str) -> Option<String> {
    quoted(message.strip_prefix(start)?).into_iter().next()
}

/// Everything between backticks.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}
