//! Channel variables as FreeSWITCH keeps them: setting one again moves it to the end, an empty value removes it.
//!
//! A vector, not a map: a channel has about a hundred, they are walked whole for every event, and a map per channel would cost
//! several times the memory when thousands of calls are open.

use std::borrow::Cow;

type Text = Cow<'static, str>;

#[derive(Debug, Default, Clone)]
pub(super) struct Vars {
    entries: Vec<(Text, Text)>,
}

impl Vars {
    pub fn set(&mut self, name: impl Into<Text>, value: impl Into<Text>) {
        let (name, value) = (name.into(), value.into());
        self.remove(&name);
        if !value.is_empty() {
            self.entries.push((name, value));
        }
    }

    pub fn set_number(&mut self, name: &'static str, value: impl std::fmt::Display) {
        self.set(name, value.to_string());
    }

    pub fn remove(&mut self, name: &str) -> Option<Text> {
        let at = self.entries.iter().position(|(n, _)| n == name)?;
        Some(self.entries.remove(at).1)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.entries.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_ref())
    }

    pub fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| matches!(value, "true" | "yes" | "on" | "1" | "t" | "y" | "enabled"))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    pub fn shrink(&mut self) {
        self.entries.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_set_again_moves_to_the_end_and_an_empty_one_is_gone() {
        let mut vars = Vars::default();
        vars.set("a", "1");
        vars.set("b", "2");
        vars.set("a", "3");
        assert_eq!(vars.iter().collect::<Vec<_>>(), [("b", "2"), ("a", "3")]);
        vars.set("b", "");
        assert_eq!(vars.get("b"), None);
        vars.set("a", "true");
        assert!(vars.is_true("a") && !vars.is_true("b"));
    }
}
