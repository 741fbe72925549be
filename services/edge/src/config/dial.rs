//! Which numbers may be dialled: section `dial`.

use std::path::PathBuf;
use std::sync::Arc;

use kit::settings::{Problem, join};
use serde::{Deserialize, Serialize};

use crate::core::admission::{RangeClass, Ranges};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DialConfig {
    /// A file in place of the built-in ranges of premium, satellite and emergency numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranges: Option<RangesFile>,
    pub rules: Vec<DialRule>,
}

/// Entries are `premium`, `satellite`, or the beginning of a number with its plus sign.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DialRule {
    /// Name in events; without it the rule's place in the list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Only for calls of that trunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trunk: Option<String>,
    /// Only for calls of that account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    pub allow: Vec<String>,
    pub deny: Vec<String>,
}

impl DialConfig {
    #[must_use]
    pub fn ranges(&self) -> Arc<Ranges> {
        self.ranges.as_ref().map_or_else(Ranges::built_in, |file| Arc::clone(&file.ranges))
    }

    pub(super) fn check_with(&self, at: &str, trunks: &[&str], out: &mut Vec<Problem>) {
        for (i, rule) in self.rules.iter().enumerate() {
            let at = join(at, &format!("rules[{i}]"));
            if let Some(trunk) = rule.trunk.as_deref().filter(|id| !trunks.contains(id)) {
                out.push(Problem::new(join(&at, "trunk"), trunk, "the id of a trunk"));
            }
            if rule.allow.is_empty() && rule.deny.is_empty() {
                out.push(Problem::new(join(&at, "allow"), "[]", "something to allow or to deny"));
            }
            for (key, entries) in [("allow", &rule.allow), ("deny", &rule.deny)] {
                for entry in entries.iter().filter(|e| !is_entry(e)) {
                    let why = "premium, satellite, or the beginning of a number like +4990";
                    out.push(Problem::new(join(&at, key), entry, why));
                }
            }
        }
    }
}

fn is_entry(text: &str) -> bool {
    let is_prefix = |t: &str| (1..=15).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_digit());
    RangeClass::parse(text).is_some() || text.strip_prefix('+').is_some_and(is_prefix)
}

/// Read where the settings are read, so that a mistake in it is a mistake in the settings and nothing runs with half of it.
#[derive(Debug, Clone, PartialEq)]
pub struct RangesFile {
    pub path: PathBuf,
    pub ranges: Arc<Ranges>,
}

impl Serialize for RangesFile {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.path.serialize(s)
    }
}

impl<'de> Deserialize<'de> for RangesFile {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<RangesFile, D::Error> {
        let path = PathBuf::deserialize(d)?;
        let wrong = |what: String| serde::de::Error::custom(format!("{}: {what}", path.display()));
        let text = std::fs::read_to_string(&path).map_err(|e| wrong(e.to_string()))?;
        let ranges = Arc::new(Ranges::parse(&text).map_err(wrong)?);
        Ok(RangesFile { path, ranges })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_ones_own_takes_the_place_of_the_built_in_ranges_and_its_mistakes_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ranges.txt");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            toml::from_str::<DialConfig>(&format!("ranges = {:?}", path.display().to_string()))
        };
        let config = read("premium 4912\n").unwrap();
        assert_eq!(config.ranges().class("491234"), Some(RangeClass::Premium));
        assert_eq!(config.ranges().class("499001234567"), None);
        assert!(read("premium 4912\ncheap 1\n").unwrap_err().to_string().contains("line 2"));
        std::fs::remove_file(&path).unwrap();
        assert!(toml::from_str::<DialConfig>("ranges = \"/nowhere/ranges.txt\"").is_err());
    }

    #[test]
    fn rules_are_checked() {
        let rule = |trunk: Option<&str>, allow: &[&str]| DialRule {
            trunk: trunk.map(str::to_owned),
            allow: allow.iter().map(|s| (*s).to_owned()).collect(),
            ..DialRule::default()
        };
        let rules = vec![rule(Some("t"), &["premium", "+4990"]), rule(Some("u"), &["4990"]), rule(None, &[])];
        let mut out = Vec::new();
        DialConfig { rules, ranges: None }.check_with("dial", &["t"], &mut out);
        let keys: Vec<&str> = out.iter().map(|p| p.key.as_str()).collect();
        assert_eq!(keys, ["dial.rules[1].trunk", "dial.rules[1].allow", "dial.rules[2].allow"]);
    }
}
