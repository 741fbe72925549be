//! Number ranges: which numbers cost what nobody expects, and what is dialled for help. Read from a text of one range per line;
//! the one that is built in is made from the metadata of libphonenumber by `services/edge/ranges`.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

const BUILT_IN: &str = include_str!("ranges.txt");
/// A file of somebody's own may be longer than ours, but not by any length.
const MOST: usize = 200_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Premium,
    Satellite,
}

impl Class {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Premium => "premium",
            Class::Satellite => "satellite",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Class> {
        [Class::Premium, Class::Satellite].into_iter().find(|c| c.as_str() == text)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    /// Sorted; none begins with another of its class.
    prefixes: Vec<(Box<str>, Class)>,
    pub emergency: BTreeMap<String, Vec<String>>,
}

impl Ranges {
    #[must_use]
    pub fn built_in() -> Arc<Ranges> {
        static RANGES: LazyLock<Arc<Ranges>> =
            LazyLock::new(|| Arc::new(Ranges::parse(BUILT_IN).expect("the built-in file is read in a test")));
        Arc::clone(&RANGES)
    }

    /// Errors name the line.
    pub fn parse(text: &str) -> Result<Ranges, String> {
        let mut ranges = Ranges::default();
        for (at, line) in text.lines().enumerate() {
            let mut words = line.split_whitespace();
            let wrong = |what: &str| Err(format!("line {}: {what}", at + 1));
            let digits = |word: &str| !word.is_empty() && word.len() <= 15 && word.bytes().all(|b| b.is_ascii_digit());
            match words.next() {
                None => {}
                Some(word) if word.starts_with('#') => {}
                Some("emergency") => {
                    let Some(country) = words.next().filter(|c| c.len() == 2) else {
                        return wrong("`emergency` wants a country of two letters");
                    };
                    let numbers: Vec<String> = words.map(str::to_owned).collect();
                    if !numbers.iter().all(|n| digits(n)) {
                        return wrong("an emergency number is digits only");
                    }
                    ranges.emergency.insert(country.to_ascii_uppercase(), numbers);
                }
                Some(word) => {
                    let Some(class) = Class::parse(word) else {
                        return wrong("wants `premium`, `satellite` or `emergency`");
                    };
                    match (words.next().filter(|p| digits(p)), words.next()) {
                        (Some(prefix), None) => ranges.prefixes.push((prefix.into(), class)),
                        _ => return wrong("wants one prefix: digits without a plus sign"),
                    }
                }
            }
            if ranges.prefixes.len() > MOST {
                return wrong("too many ranges");
            }
        }
        ranges.prefixes.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(ranges)
    }

    /// The class of the longest range that a number is in; digits without a plus sign.
    #[must_use]
    pub fn class(&self, digits: &str) -> Option<Class> {
        (1..=digits.len().min(15)).rev().find_map(|length| {
            let prefix = digits.get(..length)?;
            let at = self.prefixes.binary_search_by(|(p, _)| p.as_ref().cmp(prefix)).ok()?;
            Some(self.prefixes[at].1)
        })
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.prefixes.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.prefixes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_ranges_are_read_and_name_what_is_dialled_for_help() {
        let ranges = Ranges::built_in();
        assert!(ranges.len() > 500, "{}", ranges.len());
        let emergency = |country: &str| ranges.emergency[country].join(" ");
        assert_eq!((emergency("DE").as_str(), emergency("US").as_str()), ("110 112", "112 911"));
        assert!(emergency("GB").contains("999") && emergency("AU").contains("000"));
        assert!(ranges.emergency.len() > 200);
    }

    #[test]
    fn the_longest_range_counts_and_mistakes_are_named_with_their_line() {
        let ranges = Ranges::parse("# mine\npremium 4990\nsatellite 499012\n\nemergency xx 1 22\n").unwrap();
        assert_eq!(ranges.class("499011"), Some(Class::Premium));
        assert_eq!(ranges.class("4990123"), Some(Class::Satellite));
        assert_eq!((ranges.class("499"), ranges.class("")), (None, None));
        assert_eq!(ranges.emergency["XX"], ["1", "22"]);
        for (text, line) in [
            ("premium", 1),
            ("\npremium +49", 2),
            ("cheap 49", 1),
            ("premium 1 2", 1),
            ("emergency DEU 1", 1),
            ("emergency DE 1-1-2", 1),
        ] {
            let error = Ranges::parse(text).unwrap_err();
            assert!(error.starts_with(&format!("line {line}:")), "{error}");
        }
    }
}
