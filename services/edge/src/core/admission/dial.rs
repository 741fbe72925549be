//! Which numbers may be dialled: static permissions per trunk and account.
//!
//! Premium and satellite numbers are denied unless a rule allows them. Of several rules the most specific that says anything about
//! a number decides: account and trunk, account, trunk, all; within a rule the longest prefix, then the class of the number. Only
//! numbers that are known as E.164 can be judged: a trunk that dials in its own way needs `policy.numbers`.

use std::sync::Arc;

use super::ranges::{Class, Ranges};
use crate::config::{DialConfig, DialRule};

/// What an entry of a rule fits.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fits {
    Class(Class),
    /// Digits without the plus sign.
    Prefix(String),
}

#[derive(Clone, Debug)]
struct Entry {
    fits: Fits,
    allows: bool,
}

#[derive(Clone, Debug)]
struct Rule {
    name: String,
    trunk: Option<String>,
    account: Option<String>,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
pub struct Dial {
    ranges: Arc<Ranges>,
    /// The most specific first.
    rules: Vec<Rule>,
}

/// Why a number may not be dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// For the event: the rule, or the class that is denied by default.
    pub rule: String,
}

impl Dial {
    #[must_use]
    pub fn new(config: &DialConfig) -> Dial {
        let mut rules: Vec<Rule> = config.rules.iter().enumerate().map(|(i, rule)| Rule::new(i, rule)).collect();
        rules.sort_by_key(|r| (r.account.is_none(), r.trunk.is_none()));
        Dial { ranges: config.ranges(), rules }
    }

    /// Whether a call of that trunk and account may go to that number (E.164 with its plus sign).
    pub fn judge(&self, trunk: &str, account: Option<&str>, number: &str) -> Result<(), Denied> {
        let digits = number.strip_prefix('+').unwrap_or(number);
        let class = self.ranges.class(digits);
        let is_for = |r: &&Rule| {
            r.trunk.as_deref().is_none_or(|t| t == trunk) && r.account.as_deref().is_none_or(|a| account == Some(a))
        };
        for rule in self.rules.iter().filter(is_for) {
            match rule.says(digits, class) {
                Some(true) => return Ok(()),
                Some(false) => return Err(Denied { rule: format!("dial/{}", rule.name) }),
                None => {}
            }
        }
        match class {
            Some(class) => Err(Denied { rule: format!("dial/{}", class.as_str()) }),
            None => Ok(()),
        }
    }
}

impl Rule {
    fn new(at: usize, rule: &DialRule) -> Rule {
        let entry = |text: &String, allows| Entry {
            fits: Class::parse(text).map_or_else(|| Fits::Prefix(text.trim_start_matches('+').to_owned()), Fits::Class),
            allows,
        };
        let entries = rule.deny.iter().map(|e| entry(e, false)).chain(rule.allow.iter().map(|e| entry(e, true)));
        Rule {
            name: rule.id.clone().unwrap_or_else(|| at.to_string()),
            trunk: rule.trunk.clone(),
            account: rule.account.clone(),
            entries: entries.collect(),
        }
    }

    /// The entry that fits best; of two equals the one that denies.
    fn says(&self, digits: &str, class: Option<Class>) -> Option<bool> {
        let weight = |e: &Entry| match &e.fits {
            Fits::Class(c) => (class == Some(*c)).then_some(0),
            Fits::Prefix(p) => digits.starts_with(p.as_str()).then_some(p.len() + 1),
        };
        let fitting = self.entries.iter().filter_map(|e| Some(((weight(e)?, !e.allows), e.allows)));
        fitting.max_by_key(|(rank, _)| *rank).map(|(_, allows)| allows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dial(rules: Vec<DialRule>) -> Dial {
        Dial::new(&DialConfig { rules, ..DialConfig::default() })
    }

    fn rule(trunk: Option<&str>, account: Option<&str>, allow: &[&str], deny: &[&str]) -> DialRule {
        let list = |l: &[&str]| l.iter().map(|s| (*s).to_owned()).collect();
        DialRule {
            id: None,
            trunk: trunk.map(str::to_owned),
            account: account.map(str::to_owned),
            allow: list(allow),
            deny: list(deny),
        }
    }

    #[test]
    fn premium_and_satellite_numbers_are_denied_by_default_and_nothing_else() {
        let dial = dial(Vec::new());
        let verdict = |number: &str| dial.judge("t", None, number).err().map(|d| d.rule);
        for (number, want) in [
            ("+4930123456", None),
            ("+491701234567", None),
            ("+18005550123", None),
            ("+14155550123", None),
            ("+442079460018", None),
            ("+499001234567", Some("dial/premium")),
            ("+19005550123", Some("dial/premium")),
            ("+449098790123", Some("dial/premium")),
            ("+979123456789", Some("dial/premium")),
            ("+881612345678", Some("dial/satellite")),
            ("+870772001899", Some("dial/satellite")),
            ("+8821612345678", Some("dial/satellite")),
        ] {
            assert_eq!(verdict(number).as_deref(), want, "{number}");
        }
    }

    #[test]
    fn the_most_specific_rule_and_the_longest_prefix_decide() {
        let dial = dial(vec![
            rule(None, None, &[], &["+7"]),
            rule(Some("t"), None, &["premium"], &["+1900555"]),
            rule(None, Some("vip"), &["satellite", "+7"], &[]),
            rule(Some("t"), Some("vip"), &["+1900"], &["+8816"]),
        ]);
        for (trunk, account, number, allowed) in [
            ("t", None, "+19004440123", true),
            ("t", None, "+19005550123", false),
            ("t", Some("vip"), "+19005550123", true),
            ("u", None, "+19004440123", false),
            ("u", None, "+79161234567", false),
            ("u", Some("vip"), "+79161234567", true),
            ("u", Some("vip"), "+881612345678", true),
            ("t", Some("vip"), "+881612345678", false),
            ("t", Some("vip"), "+881712345678", true),
            ("t", None, "+881712345678", false),
        ] {
            assert_eq!(dial.judge(trunk, account, number).is_ok(), allowed, "{trunk} {account:?} {number}");
        }
    }
}
