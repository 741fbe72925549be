//! Trunks, numbers, routes and nodes as data: what the settings files say, and what control records put in its place.
//!
//! Files and records share one namespace. For the same thing the record wins; `removed` takes it away although a file has it; a
//! tombstone gives the word back to the files. What comes out is one [`Config`], checked as a file is. A record that would make it
//! wrong is left out and named, and the rest holds: one bad record never takes away a good route.

use std::collections::BTreeMap;

use schemas::{ControlNode, ControlRoute};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::{Config, DialledNumber, NodeConfig, RouteConfig, TrunkConfig};

/// Records held; a topic that has more is a mistake of whoever writes it.
const MOST: usize = 20_000;

/// In the order in which they are put in place: what others name comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Node,
    Trunk,
    Number,
    Route,
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::Node, Kind::Trunk, Kind::Number, Kind::Route];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Node => "node",
            Kind::Trunk => "trunk",
            Kind::Number => "number",
            Kind::Route => "route",
        }
    }

    /// A record's key is its kind and its id.
    #[must_use]
    pub fn of_key(key: &str) -> Option<(Kind, &str)> {
        let (kind, id) = key.split_once('/')?;
        Kind::ALL.into_iter().find(|k| k.as_str() == kind).map(|kind| (kind, id))
    }
}

/// A control record of either topic.
#[derive(Clone, Debug, PartialEq, Serialize, serde::Deserialize)]
pub struct Record {
    pub id: String,
    /// Its settings as JSON; none: removed.
    pub settings: Option<String>,
    pub author: String,
    pub made_us: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// It joined by itself; it goes when it is gone for long.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub announced: bool,
}

impl From<ControlRoute> for Record {
    fn from(r: ControlRoute) -> Record {
        let settings = (r.event_type != "removed").then_some(r.settings);
        let ControlRoute { id, author, made_us, reason, actor, .. } = r;
        Record { id, settings, author, made_us, reason, actor, announced: false }
    }
}

impl From<ControlNode> for Record {
    fn from(r: ControlNode) -> Record {
        let settings = (r.event_type != "removed").then_some(r.settings);
        let ControlNode { id, author, made_us, reason, actor, .. } = r;
        Record { id, settings, author, made_us, reason, actor, announced: false }
    }
}

/// One setting with its type.
#[derive(Clone, Debug, PartialEq)]
enum Thing {
    Node(Box<NodeConfig>),
    Trunk(Box<TrunkConfig>),
    Number(DialledNumber),
    Route(RouteConfig),
}

impl Thing {
    fn read(kind: Kind, text: &str) -> Result<Thing, String> {
        fn from<T: DeserializeOwned>(text: &str) -> Result<T, String> {
            serde_json::from_str(text).map_err(|error| error.to_string())
        }
        Ok(match kind {
            Kind::Node => Thing::Node(Box::new(from(text)?)),
            Kind::Trunk => Thing::Trunk(Box::new(from(text)?)),
            Kind::Number => Thing::Number(from(text)?),
            Kind::Route => Thing::Route(from(text)?),
        })
    }

    fn id(&self) -> &str {
        match self {
            Thing::Node(node) => &node.id,
            Thing::Trunk(trunk) => &trunk.id,
            Thing::Number(number) => &number.number,
            Thing::Route(route) => route.id(),
        }
    }
}

/// The records in force, by kind and id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Book {
    records: BTreeMap<(Kind, String), Record>,
    /// Records that there was no room for, since somebody asked.
    pub over: u64,
}

/// The settings that come out.
#[derive(Clone, Debug)]
pub struct Merged {
    pub config: Config,
    /// Records that stand in place of something in a file.
    pub replaced: Vec<(Kind, String)>,
    /// Records that are left out, and why.
    pub left_out: Vec<LeftOut>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    pub kind: Kind,
    pub id: String,
    pub why: String,
}

impl Book {
    /// As they were kept, by their keys; what has no kind that we know is passed over.
    #[must_use]
    pub fn of(records: Vec<(String, Record)>) -> Book {
        let mut book = Book::default();
        for (key, record) in records {
            if let Some((kind, id)) = Kind::of_key(&key) {
                book.put(kind, id, Some(record));
            }
        }
        book
    }

    /// The newest record of a key replaces the one before; `None` is a tombstone. True when something changed.
    pub fn put(&mut self, kind: Kind, id: &str, record: Option<Record>) -> bool {
        let key = (kind, id.to_owned());
        match record {
            None => self.records.remove(&key).is_some(),
            Some(_) if self.records.len() >= MOST && !self.records.contains_key(&key) => {
                self.over += 1;
                false
            }
            // Two writers of one key meet after an outage: the later word holds.
            Some(record) if self.records.get(&key).is_some_and(|old| old.made_us > record.made_us) => false,
            Some(record) => {
                let same = |old: &Record| old.settings == record.settings && old.announced == record.announced;
                let changed = !self.records.get(&key).is_some_and(same);
                self.records.insert(key, record);
                changed
            }
        }
    }

    #[must_use]
    pub fn get(&self, kind: Kind, id: &str) -> Option<&Record> {
        self.records.get(&(kind, id.to_owned()))
    }

    pub fn iter(&self) -> impl Iterator<Item = (Kind, &Record)> {
        self.records.iter().map(|((kind, _), record)| (*kind, record))
    }

    pub fn retain(&mut self, mut keep: impl FnMut(Kind, &Record) -> bool) {
        self.records.retain(|(kind, _), record| keep(*kind, record));
    }

    /// All of it in the place of what `file` says. `file` itself has no mistakes.
    #[must_use]
    pub fn merged(&self, file: &Config) -> Merged {
        let mut merged = Merged { config: file.clone(), replaced: Vec::new(), left_out: Vec::new() };
        let mut good = Vec::new();
        for ((kind, id), record) in &self.records {
            match Change::read(*kind, id, record) {
                Ok(change) => good.push(change),
                Err(why) => merged.left_out.push(LeftOut { kind: *kind, id: id.clone(), why }),
            }
        }
        for change in &good {
            if change.apply(&mut merged.config) {
                merged.replaced.push((change.kind, change.id.to_owned()));
            }
        }
        if merged.config.problems().is_empty() {
            return merged;
        }
        // One after the other: what makes a mistake goes, the rest stays. Several rounds, for removals make room for each other.
        merged.config = file.clone();
        merged.replaced.clear();
        let mut why = BTreeMap::new();
        while let Some(at) = good.iter().position(|change| change.fits(&mut merged, &mut why)) {
            good.remove(at);
        }
        for change in good {
            let why = why.remove(&(change.kind, change.id)).unwrap_or_default();
            merged.left_out.push(LeftOut { kind: change.kind, id: change.id.to_owned(), why });
        }
        merged
    }
}

/// A record, read.
struct Change<'a> {
    kind: Kind,
    id: &'a str,
    thing: Option<Thing>,
}

impl<'a> Change<'a> {
    fn read(kind: Kind, id: &'a str, record: &Record) -> Result<Change<'a>, String> {
        let thing = match &record.settings {
            Some(text) => Some(Thing::read(kind, text)?),
            None => None,
        };
        match thing.as_ref().map(Thing::id).filter(|own| *own != id) {
            Some(own) => Err(format!("its settings say {own:?}, its key {id:?}")),
            None => Ok(Change { kind, id, thing }),
        }
    }

    /// True when something of a file had to go.
    fn apply(&self, config: &mut Config) -> bool {
        fn swap<T>(list: &mut Vec<T>, at: Option<usize>, new: Option<T>) -> bool {
            match (at, new) {
                (Some(at), Some(new)) => list[at] = new,
                (Some(at), None) => drop(list.remove(at)),
                (None, Some(new)) => list.push(new),
                (None, None) => {}
            }
            at.is_some()
        }
        let id = self.id;
        match (self.kind, self.thing.clone()) {
            (Kind::Node, thing) => {
                let at = config.nodes.iter().position(|n| n.id == id);
                swap(&mut config.nodes, at, thing.and_then(|t| if let Thing::Node(n) = t { Some(*n) } else { None }))
            }
            (Kind::Trunk, thing) => {
                let at = config.trunks.iter().position(|t| t.id == id);
                swap(&mut config.trunks, at, thing.and_then(|t| if let Thing::Trunk(t) = t { Some(*t) } else { None }))
            }
            (Kind::Number, thing) => {
                let at = config.numbers.iter().position(|n| n.number == id);
                swap(&mut config.numbers, at, thing.and_then(|t| if let Thing::Number(n) = t { Some(n) } else { None }))
            }
            (Kind::Route, thing) => {
                let at = config.routes.iter().position(|r| r.id() == id);
                swap(&mut config.routes, at, thing.and_then(|t| if let Thing::Route(r) = t { Some(r) } else { None }))
            }
        }
    }

    /// Puts it in place when no mistake comes of it.
    fn fits(&self, merged: &mut Merged, why: &mut BTreeMap<(Kind, &'a str), String>) -> bool {
        let mut candidate = merged.config.clone();
        let replaced = self.apply(&mut candidate);
        match candidate.problems().into_iter().next() {
            None => {
                merged.config = candidate;
                if replaced {
                    merged.replaced.push((self.kind, self.id.to_owned()));
                }
                true
            }
            Some(problem) => {
                why.insert((self.kind, self.id), problem);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Config {
        let text = r#"{
            "nodes": [{"id": "fs-1", "address": "10.0.0.1:5080"}],
            "trunks": [{"id": "a", "sources": ["192.0.2.1"], "address": "192.0.2.1:5060"}, {"id": "b", "sources": ["192.0.2.2"], "address": "192.0.2.2:5060"}],
            "routes": [{"prefix": "", "trunks": ["a"]}]
        }"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn kept_records_come_back_under_their_keys_and_strange_ones_stay_out() {
        assert_eq!(Kind::of_key("trunk/a/b"), Some((Kind::Trunk, "a/b")));
        assert_eq!(Kind::of_key("menu/a"), None);
        let a = record("a", Some("{}"), 1).unwrap();
        let book = Book::of(vec![("trunk/a".into(), a.clone()), ("menu/a".into(), a.clone())]);
        assert_eq!(book.iter().collect::<Vec<_>>(), [(Kind::Trunk, &a)]);
    }

    fn record(id: &str, settings: Option<&str>, made_us: i64) -> Option<Record> {
        Some(Record {
            id: id.into(),
            settings: settings.map(str::to_owned),
            author: "operator".into(),
            made_us,
            reason: None,
            actor: None,
            announced: false,
        })
    }

    fn ids(config: &Config) -> Vec<&str> {
        config.trunks.iter().map(|t| t.id.as_str()).collect()
    }

    #[test]
    fn a_record_wins_over_a_file_adds_removes_and_gives_the_word_back() {
        let (file, mut book) = (file(), Book::default());
        assert!(book.put(Kind::Trunk, "b", record("b", Some(r#"{"id":"b","sources":["192.0.2.9"],"cps":7.0}"#), 5)));
        assert!(book.put(Kind::Trunk, "c", record("c", Some(r#"{"id":"c","sources":["192.0.2.3"]}"#), 5)));
        let merged = book.merged(&file);
        assert_eq!((ids(&merged.config), merged.config.trunks[1].cps), (vec!["a", "b", "c"], 7.0));
        assert_eq!((merged.replaced, merged.left_out), (vec![(Kind::Trunk, "b".to_owned())], vec![]));
        assert!(!book.put(Kind::Trunk, "b", record("b", None, 4)), "an older word");
        assert!(book.put(Kind::Trunk, "b", record("b", None, 6)));
        assert_eq!(ids(&book.merged(&file).config), ["a", "c"]);
        assert!(book.put(Kind::Trunk, "b", None));
        assert_eq!(ids(&book.merged(&file).config), ["a", "b", "c"]);
        assert!(book.put(Kind::Route, "default", record("default", Some(r#"{"trunks":["b"]}"#), 1)));
        let merged = book.merged(&file).config;
        assert_eq!((merged.routes.len(), merged.routes[0].trunks.as_slice()), (1, ["b".to_owned()].as_slice()));
    }

    #[test]
    fn a_wrong_record_is_left_out_and_named_and_the_others_hold() {
        let (file, mut book) = (file(), Book::default());
        book.put(Kind::Trunk, "a", record("a", None, 1));
        book.put(Kind::Trunk, "c", record("c", Some(r#"{"id":"c","sources":["192.0.2.3"],"cps":-1}"#), 1));
        book.put(Kind::Trunk, "d", record("d", Some(r#"{"id":"d","sorces":[]}"#), 1));
        book.put(Kind::Trunk, "e", record("e", Some(r#"{"id":"x","sources":["192.0.2.5"]}"#), 1));
        book.put(Kind::Trunk, "f", record("f", Some(r#"{"id":"f","sources":["192.0.2.6"]}"#), 1));
        let merged = book.merged(&file);
        assert_eq!(ids(&merged.config), ["a", "b", "f"], "a is named by a route");
        let told: Vec<(&str, bool)> = merged.left_out.iter().map(|l| (l.id.as_str(), !l.why.is_empty())).collect();
        assert_eq!(told, [("d", true), ("e", true), ("a", true), ("c", true)]);
        book.put(Kind::Route, "default", record("default", Some(r#"{"trunks":["b"]}"#), 1));
        assert_eq!(ids(&book.merged(&file).config), ["b", "f"], "a goes once nothing names it");
    }
}
