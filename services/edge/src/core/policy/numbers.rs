//! Phone numbers as a trunk writes them, and as they are written for it.
//!
//! Reading gives E.164 or nothing; it never guesses a country. What is dialled to reach help or a service (emergency numbers,
//! short codes, the list `keep`) is never touched, in neither direction. The raw number stays beside every reading, in the
//! event and, unless a form was asked for, on the wire.

use crate::config::policy::{CallerScope, NumberConfig, NumberForm, NumberRule, Party};

/// E.164 numbers have at most 15 digits; with fewer than 7 there is no country code and a subscriber in them.
const DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

#[derive(Clone, Debug)]
pub struct Numbers {
    config: NumberConfig,
    /// Longest first, so that `0011` is not read as `00` and `11…`.
    international: Vec<String>,
    emergency: Vec<String>,
}

/// A number's digits without separators, on the stack: numbers are read for every call.
#[derive(Clone, Copy)]
struct Digits {
    text: [u8; 24],
    length: usize,
    plus: bool,
}

impl Digits {
    /// `None` when it is no phone number. Separators that only people need are skipped (RFC 3966 §5.1.1).
    fn of(raw: &str) -> Option<Digits> {
        let mut digits = Digits { text: [0; 24], length: 0, plus: false };
        for (at, byte) in raw.bytes().enumerate() {
            match byte {
                b'+' if at == 0 => digits.plus = true,
                b'0'..=b'9' => {
                    *digits.text.get_mut(digits.length)? = byte;
                    digits.length += 1;
                }
                b' ' | b'-' | b'.' | b'(' | b')' => {}
                _ => return None,
            }
        }
        (digits.length > 0).then_some(digits)
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..self.length]).unwrap_or_default()
    }
}

impl Numbers {
    #[must_use]
    pub fn new(config: &NumberConfig, emergency: &[String]) -> Numbers {
        let mut international = config.international_prefixes.clone();
        international.sort_by_key(|p| std::cmp::Reverse(p.len()));
        Numbers { config: config.clone(), international, emergency: emergency.to_vec() }
    }

    #[must_use]
    pub fn caller_scope(&self) -> CallerScope {
        self.config.caller
    }

    /// Emergency numbers, short codes, service codes and the settings' own list.
    #[must_use]
    pub fn is_untouchable(&self, raw: &str) -> bool {
        let listed = |list: &[String]| list.iter().any(|n| n == raw);
        listed(&self.emergency)
            || listed(&self.config.keep)
            || Digits::of(raw).is_none_or(|d| !d.plus && d.length <= usize::from(self.config.short_digits))
    }

    /// What the trunk wrote, as E.164 with a plus sign.
    #[must_use]
    pub fn received(&self, raw: &str, party: Party) -> Option<String> {
        if self.is_untouchable(raw) {
            return None;
        }
        match ruled(&self.config.receive, raw, party) {
            Some(text) => self.read(&text),
            None => self.read(raw),
        }
    }

    /// What a node wrote: the same dial plan, without the trunk's own prefixes.
    #[must_use]
    pub fn dialled(&self, raw: &str) -> Option<String> {
        if self.is_untouchable(raw) { None } else { self.read(raw) }
    }

    /// How a number from the trunk is written for a node; `None` when it stays as it is.
    #[must_use]
    pub fn for_node(&self, raw: &str, party: Party) -> Option<String> {
        if self.is_untouchable(raw) {
            return None;
        }
        let e164 = self.received(raw, party);
        let written = self.write(e164.as_deref(), self.config.to_nodes);
        // A prefix of the trunk's own is taken off even when no form is asked for.
        written.or_else(|| ruled(&self.config.receive, raw, party)).filter(|w| w != raw)
    }

    /// How a number is written for the trunk; `None` when it stays as it is.
    #[must_use]
    pub fn for_trunk(&self, raw: &str, party: Party) -> Option<String> {
        if self.is_untouchable(raw) {
            return None;
        }
        let written = self.write(self.read(raw).as_deref(), self.config.to_trunk);
        let ruled = ruled(&self.config.send, written.as_deref().unwrap_or(raw), party);
        ruled.or(written).filter(|w| w != raw)
    }

    fn read(&self, raw: &str) -> Option<String> {
        let digits = Digits::of(raw)?;
        let text = digits.as_str();
        let config = &self.config;
        if digits.plus {
            return e164("", text);
        }
        if let Some(rest) = self.international.iter().find_map(|p| text.strip_prefix(p.as_str())) {
            return e164("", rest);
        }
        if config.country.is_empty() {
            return None;
        }
        let prefixed =
            text.strip_prefix(config.national_prefix.as_str()).filter(|_| !config.national_prefix.is_empty());
        if let Some(rest) = prefixed {
            return e164(&config.country, rest);
        }
        let bare = config.bare_national_digits;
        if bare > 0 && digits.length >= usize::from(bare) { e164(&config.country, text) } else { None }
    }

    fn write(&self, e164: Option<&str>, form: NumberForm) -> Option<String> {
        let e164 = e164?;
        let digits = e164.strip_prefix('+').unwrap_or(e164);
        let abroad = || format!("{}{digits}", self.config.international_prefixes.first().map_or("", String::as_str));
        Some(match form {
            NumberForm::AsIs => return None,
            NumberForm::E164 => e164.to_owned(),
            NumberForm::Digits => digits.to_owned(),
            NumberForm::International => abroad(),
            NumberForm::National => match digits.strip_prefix(self.config.country.as_str()) {
                Some(rest) => format!("{}{rest}", self.config.national_prefix),
                None => abroad(),
            },
        })
    }
}

fn e164(country: &str, rest: &str) -> Option<String> {
    let length = country.len() + rest.len();
    let first = country.bytes().chain(rest.bytes()).next();
    (DIGITS.contains(&length) && first != Some(b'0')).then(|| format!("+{country}{rest}"))
}

/// The number after the first rule that fits; `None` when none does.
fn ruled(rules: &[NumberRule], raw: &str, party: Party) -> Option<String> {
    let fits = |r: &&NumberRule| (r.of == party || r.of == Party::Both) && raw.starts_with(&r.prefix);
    let rule = rules.iter().find(fits)?;
    // A user part may hold any character; a cut inside of one would be no text.
    let rest = raw.get(usize::from(rule.strip)..)?;
    Some(format!("{}{rest}", rule.add))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn german() -> NumberConfig {
        NumberConfig { country: "49".into(), ..NumberConfig::default() }
    }

    fn numbers(config: NumberConfig) -> Numbers {
        Numbers::new(&config, &["112".to_owned(), "911".to_owned(), "+49112".to_owned()])
    }

    #[test]
    fn a_trunks_own_dial_plan_is_read_and_no_country_is_guessed() {
        let de = numbers(german());
        let us = numbers(NumberConfig {
            country: "1".into(),
            national_prefix: "1".into(),
            international_prefixes: vec!["011".into()],
            bare_national_digits: 10,
            ..NumberConfig::default()
        });
        let it = numbers(NumberConfig {
            country: "39".into(),
            national_prefix: String::new(),
            bare_national_digits: 7,
            ..NumberConfig::default()
        });
        let unknown = numbers(NumberConfig::default());
        let table = [
            (&de, "+4930123456", Some("+4930123456")),
            (&de, "+49 (30) 123-456", Some("+4930123456")),
            (&de, "004930123456", Some("+4930123456")),
            (&de, "0033142685300", Some("+33142685300")),
            (&de, "030123456", Some("+4930123456")),
            (&de, "30123456", None),
            (&de, "0001234567", None),
            (&de, "anonymous", None),
            (&de, "0301234567890123456", None),
            (&us, "4155550123", Some("+14155550123")),
            (&us, "14155550123", Some("+14155550123")),
            (&us, "01144207946001", Some("+44207946001")),
            (&us, "5550123", None),
            (&it, "0612345678", Some("+390612345678")),
            (&it, "003906123456", Some("+3906123456")),
            (&unknown, "030123456", None),
            (&unknown, "004930123456", Some("+4930123456")),
        ];
        for (numbers, raw, want) in table {
            assert_eq!(numbers.received(raw, Party::Callee).as_deref(), want, "{raw}");
        }
    }

    #[test]
    fn numbers_are_written_in_every_form() {
        let forms = [
            (NumberForm::E164, "030123456", Some("+4930123456")),
            (NumberForm::Digits, "030123456", Some("4930123456")),
            (NumberForm::International, "030123456", Some("004930123456")),
            (NumberForm::National, "+4930123456", Some("030123456")),
            (NumberForm::National, "+33142685300", Some("0033142685300")),
            (NumberForm::National, "030123456", None),
            (NumberForm::AsIs, "030123456", None),
            (NumberForm::E164, "alice", None),
        ];
        for (form, raw, want) in forms {
            let n = numbers(NumberConfig { to_nodes: form, to_trunk: form, ..german() });
            assert_eq!(n.for_node(raw, Party::Callee).as_deref(), want, "{form:?} {raw}");
            assert_eq!(n.for_trunk(raw, Party::Callee).as_deref(), want, "{form:?} {raw}");
        }
    }

    #[test]
    fn emergency_numbers_short_codes_and_service_codes_are_untouched_in_both_directions() {
        let rule = NumberRule { prefix: String::new(), strip: 0, add: "9".into(), of: Party::Both };
        let n = numbers(NumberConfig {
            receive: vec![rule.clone()],
            send: vec![rule],
            to_nodes: NumberForm::E164,
            to_trunk: NumberForm::E164,
            bare_national_digits: 3,
            keep: vec!["08001234567".into()],
            ..german()
        });
        for raw in ["112", "911", "+49112", "115", "116117", "*31#", "08001234567", "", "sales"] {
            for party in [Party::Callee, Party::Caller] {
                assert_eq!(
                    (n.received(raw, party), n.for_node(raw, party), n.for_trunk(raw, party)),
                    (None, None, None)
                );
            }
        }
        assert_eq!(n.for_trunk("030123456", Party::Callee).as_deref(), Some("9+4930123456"));
    }

    #[test]
    fn a_prefix_of_the_trunks_own_goes_and_comes() {
        let n = numbers(NumberConfig {
            receive: vec![NumberRule { prefix: "7788#".into(), strip: 5, add: String::new(), of: Party::Callee }],
            send: vec![NumberRule { prefix: "+".into(), strip: 1, add: "1234".into(), of: Party::Callee }],
            to_trunk: NumberForm::E164,
            ..german()
        });
        assert!(n.is_untouchable("7788#030123456"), "a code with signs is none of ours to read");
        let n = Numbers {
            config: NumberConfig {
                receive: vec![NumberRule { prefix: "7788".into(), strip: 4, add: String::new(), of: Party::Callee }],
                ..n.config
            },
            ..n
        };
        assert_eq!(n.received("7788030123456", Party::Callee).as_deref(), Some("+4930123456"));
        assert_eq!(n.received("7788030123456", Party::Caller), None, "the rule is for the callee");
        assert_eq!(n.for_node("7788030123456", Party::Callee).as_deref(), Some("030123456"));
        assert_eq!(n.for_trunk("030123456", Party::Callee).as_deref(), Some("12344930123456"));
        assert_eq!(n.for_trunk("030123456", Party::Caller).as_deref(), Some("+4930123456"));
    }

    #[test]
    fn reading_what_was_written_gives_the_same_number() {
        use proptest::prelude::*;
        let forms = [NumberForm::E164, NumberForm::International, NumberForm::National];
        proptest!(|(country in prop::sample::select(vec!["1", "33", "49", "351"]), rest in "[1-9][0-9]{6,10}", form in 0usize..3)| {
            let n = numbers(NumberConfig {
                to_trunk: forms[form],
                short_digits: 5,
                ..german()
            });
            let e164 = format!("+{country}{rest}");
            let written = n.for_trunk(&e164, Party::Callee).unwrap_or_else(|| e164.clone());
            prop_assert_eq!(n.received(&written, Party::Callee), Some(e164));
        });
    }

    #[test]
    fn no_text_makes_it_panic() {
        use proptest::prelude::*;
        let n = numbers(NumberConfig {
            receive: vec![NumberRule { prefix: String::new(), strip: 3, add: "0".into(), of: Party::Both }],
            to_nodes: NumberForm::National,
            bare_national_digits: 1,
            short_digits: 0,
            ..german()
        });
        proptest!(|(raw in ".{0,40}")| {
            for party in [Party::Callee, Party::Caller] {
                let _ = (n.received(&raw, party), n.for_node(&raw, party), n.for_trunk(&raw, party));
            }
        });
    }
}
