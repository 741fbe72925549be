//! The two sources, merged into one TOML value that remembers where each key came from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::lines::Lines;
use super::path::{self, Seg};
use super::problem::{Origin, Problem};

pub(super) const PREFIX: &str = "TRUNKLINE__";

/// The merged value. `from_env` holds what the environment set: name of the variable and its raw text.
pub(super) struct Merged {
    pub value: Value,
    pub file: Option<PathBuf>,
    lines: Lines,
    pub from_env: BTreeMap<Vec<Seg>, EnvValue>,
}

#[derive(Clone)]
pub(super) struct EnvValue {
    pub name: String,
    pub raw: String,
}

impl Merged {
    /// Reads both. Mistakes of form (no such file, bad TOML, a variable that sets a key inside a plain value) go to `out`.
    pub fn read(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
        out: &mut Vec<Problem>,
    ) -> Merged {
        let (table, lines) = file.map_or_else(Default::default, |path| read_file(path, out));
        let mut merged =
            Merged { value: Value::Table(table), file: file.map(Path::to_owned), lines, from_env: BTreeMap::new() };
        let mut ours: Vec<(String, String)> = env.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
        // A shorter name first, so that a variable inside a section refines one that sets the whole section.
        ours.sort_by(|a, b| (a.0.len(), &a.0).cmp(&(b.0.len(), &b.0)));
        for (name, raw) in ours {
            merged.apply(name, raw, out);
        }
        merged
    }

    fn apply(&mut self, name: String, raw: String, out: &mut Vec<Problem>) {
        let segs: Vec<Seg> = name[PREFIX.len()..].split("__").map(|part| Seg::Key(part.to_lowercase())).collect();
        if segs.iter().any(|seg| matches!(seg, Seg::Key(key) if key.is_empty())) {
            let allowed = "the form is TRUNKLINE__SECTION__KEY, two underscores between the parts";
            out.push(Problem { origin: Origin::Env(name.clone()), ..Problem::new(name, "", allowed) });
            return;
        }
        let (last, parents) = segs.split_last().expect("split gives at least one part");
        let mut at = &mut self.value;
        for seg in parents {
            let Seg::Key(key) = seg else { continue };
            let Value::Table(table) = at else { break };
            at = table.entry(key.clone()).or_insert_with(|| Value::Table(Table::new()));
        }
        match (at, last) {
            (Value::Table(table), Seg::Key(key)) => {
                table.insert(key.clone(), literal(&raw));
                self.from_env.insert(segs, EnvValue { name, raw });
            }
            _ => {
                let allowed = "a list is set as a whole, with a TOML or JSON literal; a plain value has no keys inside";
                out.push(Problem { origin: Origin::Env(name), ..Problem::new(path::show(&segs), "", allowed) });
            }
        }
    }

    /// The variable that set this key or something around it, else the file when the key stands there.
    pub fn origin(&self, at: &[Seg]) -> Origin {
        if let Some(var) = (1..=at.len()).rev().find_map(|n| self.from_env.get(&at[..n])) {
            return Origin::Env(var.name.clone());
        }
        match &self.file {
            Some(file) if path::get(&self.value, at).is_some() => {
                Origin::File { path: file.clone(), line: self.lines.near(at) }
            }
            // Not set, but it belongs into a section that the file has.
            Some(file) if at.len() > 1 => match self.lines.near(at) {
                Some(line) => Origin::File { path: file.clone(), line: Some(line) },
                None => Origin::Default,
            },
            _ => Origin::Default,
        }
    }
}

fn read_file(path: &Path, out: &mut Vec<Problem>) -> (Table, Lines) {
    let mut problem = |line: Option<usize>, allowed: String| {
        let origin = Origin::File { path: path.to_owned(), line };
        out.push(Problem { origin, ..Problem::new("settings file", "", allowed) });
        (Table::new(), Lines::default())
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return problem(None, format!("cannot be read: {error}")),
    };
    match text.parse::<Table>() {
        Ok(table) => (table, Lines::of(&text)),
        Err(error) => {
            // The error's own text quotes the line, which may hold a secret: only its place and kind are shown.
            let line = error.span().map_or(0, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            problem(Some(line), format!("is not TOML: {}", error.message()))
        }
    }
}

/// What an environment variable says: a TOML literal, a JSON list or object, else plain text.
fn literal(raw: &str) -> Value {
    let trimmed = raw.trim();
    if let Ok(value) = trimmed.parse::<Value>() {
        return value;
    }
    match serde_json::from_str::<Value>(trimmed) {
        Ok(value) if value.is_array() || value.is_table() => value,
        _ => Value::String(raw.to_owned()),
    }
}
