//! On which line of a settings file each key stands, so that a mistake is found without searching.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::path::Seg;

/// The line of each key and list element, counted from 1.
#[derive(Debug, Default)]
pub(super) struct Lines(BTreeMap<Vec<Seg>, usize>);

impl Lines {
    /// Of a text that was read as TOML already; of any other text none.
    pub fn of(text: &str) -> Lines {
        let mut lines = Lines::default();
        if let Ok(table) = DeTable::parse(text) {
            lines.table(&Starts::of(text), &[], table.get_ref());
        }
        lines
    }

    /// Of this key, else of the nearest thing around it that stands in the file.
    pub fn near(&self, at: &[Seg]) -> Option<usize> {
        (1..=at.len()).rev().find_map(|n| self.0.get(&at[..n])).copied()
    }

    fn table(&mut self, starts: &Starts, at: &[Seg], table: &DeTable<'_>) {
        for (key, value) in table {
            let mut own = at.to_vec();
            own.push(Seg::Key(key.get_ref().to_string()));
            self.value(starts, own, key.span().start, value);
        }
    }

    fn value(&mut self, starts: &Starts, at: Vec<Seg>, start: usize, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Table(table) => self.table(starts, &at, table),
            DeValue::Array(list) => {
                for (index, element) in list.iter().enumerate() {
                    let mut own = at.clone();
                    own.push(Seg::Index(index));
                    self.value(starts, own, element.span().start, element);
                }
            }
            _ => {}
        }
        self.0.insert(at, starts.line(start));
    }
}

/// Where lines begin.
struct Starts(Vec<usize>);

impl Starts {
    fn of(text: &str) -> Starts {
        Starts(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    fn line(&self, at: usize) -> usize {
        self.0.partition_point(|start| *start <= at)
    }
}

#[cfg(test)]
mod tests {
    use super::super::path::Seg;
    use super::*;

    fn path(text: &str) -> Vec<Seg> {
        let seg = |part: &str| part.parse().map_or_else(|_| Seg::Key(part.to_owned()), Seg::Index);
        text.split('.').map(seg).collect()
    }

    #[test]
    fn a_key_an_element_and_a_missing_key_have_a_line() {
        let text = "a = 1\n\n[edge]\nid = \"e\"\n\n[[edge.trunks]]\nid = \"x\"\n[[edge.trunks]]\nid = \"y\"\nsources = [\n \"1\",\n \"2\"]\n";
        let lines = Lines::of(text);
        let near = |at: &str| lines.near(&path(at));
        assert_eq!(near("a"), Some(1));
        assert_eq!(near("edge.id"), Some(4));
        assert_eq!(near("edge.trunks.0.id"), Some(7));
        assert_eq!(near("edge.trunks.1.id"), Some(9));
        assert_eq!(near("edge.trunks.1.sources.1"), Some(12));
        assert_eq!(near("edge.trunks.1.cps"), Some(8), "a missing key is missed in its section");
        assert_eq!(near("nothing.here"), None);
        assert_eq!(Lines::of("= no\ntoml").near(&path("a")), None);
    }
}
