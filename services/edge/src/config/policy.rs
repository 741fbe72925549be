//! What a trunk's messages are changed by, and only when asked: section `policy` of a trunk. Everything is off by default.

use kit::settings::{Check, Problem, join};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyConfig {
    /// How this trunk writes phone numbers, and how they are written for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numbers: Option<NumberConfig>,
    pub headers: HeaderConfig,
    /// Towards this trunk no address of a node or of the node side stands in Via, Contact, Record-Route or a party's URI.
    pub hide_topology: bool,
    pub nat: NatConfig,
    /// Session timers (RFC 4028): the section alone makes the edge watch what the parties agree on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_timer: Option<SessionTimerConfig>,
    pub media: MediaConfig,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NumberConfig {
    /// Country calling code of a national number: `49`. Empty: national numbers are not understood.
    pub country: String,
    /// What stands before a national number: `0`; empty where nothing does.
    pub national_prefix: String,
    /// What stands before a country code: `00`, `011`. The first is used for writing.
    pub international_prefixes: Vec<String>,
    /// A number without any prefix and with at least so many digits is a national one; 0 = never.
    pub bare_national_digits: u8,
    /// A number of up to so many digits is a short code, which nothing touches.
    pub short_digits: u8,
    /// Further numbers that nothing touches; emergency numbers are always among them.
    pub keep: Vec<String>,
    /// Applied to what the trunk sends, before it is read. The first rule that fits.
    pub receive: Vec<NumberRule>,
    /// How numbers of this trunk are written for nodes.
    pub to_nodes: NumberForm,
    /// How numbers are written for this trunk.
    pub to_trunk: NumberForm,
    /// Applied to what was written for the trunk. The first rule that fits.
    pub send: Vec<NumberRule>,
    /// Where the caller's number is rewritten too.
    pub caller: CallerScope,
}

impl Default for NumberConfig {
    fn default() -> NumberConfig {
        NumberConfig {
            country: String::new(),
            national_prefix: "0".to_owned(),
            international_prefixes: vec!["00".to_owned()],
            bare_national_digits: 0,
            short_digits: 6,
            keep: Vec::new(),
            receive: Vec::new(),
            to_nodes: NumberForm::AsIs,
            to_trunk: NumberForm::AsIs,
            send: Vec::new(),
            caller: CallerScope::Keep,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumberRule {
    /// Of the number as it stands; empty fits every number.
    #[serde(default)]
    pub prefix: String,
    /// How many characters go from the front.
    #[serde(default)]
    pub strip: u8,
    /// What is put in front then.
    #[serde(default)]
    pub add: String,
    #[serde(default)]
    pub of: Party,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    #[default]
    Callee,
    Caller,
    Both,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NumberForm {
    #[default]
    AsIs,
    /// `+4930123456`
    E164,
    /// `4930123456`
    Digits,
    /// `004930123456`
    International,
    /// `030123456`, and `0033…` for another country.
    National,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallerScope {
    /// Only the dialled number is rewritten.
    #[default]
    Keep,
    /// P-Asserted-Identity, P-Preferred-Identity and Remote-Party-ID too.
    Asserted,
    /// These and From; the caller's side sees its own From again in every answer.
    From,
}

/// Names in any case; a `*` at the end fits every name that begins so. What SIP itself needs cannot be denied.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeaderConfig {
    /// When not empty: of the headers that SIP does not need only these go to the trunk.
    pub allow_to_trunk: Vec<String>,
    pub deny_to_trunk: Vec<String>,
    /// The same for what comes from the trunk.
    pub allow_from_trunk: Vec<String>,
    pub deny_from_trunk: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NatConfig {
    /// The host and port of Contact become those that the packet came from.
    pub contact: bool,
    /// Seconds between packets that keep the way to this trunk open; 0 = none.
    pub keep_alive_s: u64,
    pub keep_alive: KeepAlive,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeepAlive {
    /// Two empty lines.
    #[default]
    Crlf,
    /// A request that is answered, so that the far side's router sees traffic both ways.
    Options,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionTimerConfig {
    /// Put into an INVITE or UPDATE that has none (s); 0 = none is put in.
    pub expires_s: u32,
    /// A shorter one is answered 422, or made longer when the sender knows no session timers (s).
    pub min_s: u32,
    /// A longer one is made shorter (s); 0 = any.
    pub max_s: u32,
}

impl Default for SessionTimerConfig {
    fn default() -> SessionTimerConfig {
        SessionTimerConfig { expires_s: 0, min_s: 90, max_s: 0 }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MediaConfig {
    /// When not empty: only these audio codecs stay in session descriptions. `PCMA`, `opus`, `G729/8000`.
    pub codecs_allow: Vec<String>,
    pub codecs_deny: Vec<String>,
    /// These come first in offers, in this order.
    pub codecs_order: Vec<String>,
    pub srtp: SrtpPolicy,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SrtpPolicy {
    #[default]
    AsIs,
    /// A session without SRTP is answered 488.
    Require,
    /// A session with SRTP is answered 488.
    Forbid,
}

/// RFC 4028 §4: shorter than this no session may be.
const SHORTEST_SESSION_S: u32 = 90;

impl Check for PolicyConfig {
    fn check(&self, at: &str, out: &mut Vec<Problem>) {
        if let Some(numbers) = &self.numbers {
            numbers.check(&join(at, "numbers"), out);
        }
        self.headers.check(&join(at, "headers"), out);
        if self.nat.keep_alive_s > 0 && self.nat.keep_alive_s < 5 {
            out.push(Problem::new(join(at, "nat.keep_alive_s"), self.nat.keep_alive_s, "0 (none) or 5 and more"));
        }
        if let Some(timer) = &self.session_timer {
            let at = join(at, "session_timer");
            if timer.min_s < SHORTEST_SESSION_S {
                out.push(Problem::new(join(&at, "min_s"), timer.min_s, "90 or more (RFC 4028)"));
            }
            for (key, value) in [("expires_s", timer.expires_s), ("max_s", timer.max_s)] {
                if value != 0 && value < timer.min_s {
                    out.push(Problem::new(join(&at, key), value, "0, or not less than min_s"));
                }
            }
            if timer.max_s != 0 && timer.expires_s > timer.max_s {
                out.push(Problem::new(join(&at, "expires_s"), timer.expires_s, "not more than max_s"));
            }
        }
    }
}

impl Check for NumberConfig {
    fn check(&self, at: &str, out: &mut Vec<Problem>) {
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if self.country.len() > 3 || !digits(&self.country) || self.country.starts_with('0') {
            out.push(Problem::new(join(at, "country"), &self.country, "a calling code such as \"49\", or \"\""));
        }
        if !digits(&self.national_prefix) {
            out.push(Problem::new(join(at, "national_prefix"), &self.national_prefix, "digits, or \"\""));
        }
        for prefix in &self.international_prefixes {
            if prefix.is_empty() || !digits(prefix) {
                out.push(Problem::new(join(at, "international_prefixes"), prefix, "digits"));
            }
        }
        if self.bare_national_digits > 0 && self.country.is_empty() {
            let value = self.bare_national_digits;
            out.push(Problem::new(join(at, "bare_national_digits"), value, "0 without a country"));
        }
        let written = [self.to_nodes, self.to_trunk];
        if written.contains(&NumberForm::National) && self.country.is_empty() {
            out.push(Problem::new(join(at, "country"), "", "a calling code, since a form is \"national\""));
        }
        let abroad = written.iter().any(|f| matches!(f, NumberForm::National | NumberForm::International));
        if abroad && self.international_prefixes.is_empty() {
            out.push(Problem::new(join(at, "international_prefixes"), "[]", "one to write numbers with"));
        }
        for (list, rules) in [("receive", &self.receive), ("send", &self.send)] {
            for (i, rule) in rules.iter().enumerate() {
                let good = |b: u8| b.is_ascii_digit() || matches!(b, b'+' | b'*' | b'#');
                if !rule.add.bytes().all(good) || rule.add.len() > 16 {
                    let key = join(at, &format!("{list}[{i}].add"));
                    out.push(Problem::new(key, &rule.add, "up to 16 digits, '+', '*' or '#'"));
                }
            }
        }
    }
}

impl Check for HeaderConfig {
    fn check(&self, at: &str, out: &mut Vec<Problem>) {
        let lists = [
            ("allow_to_trunk", &self.allow_to_trunk, false),
            ("deny_to_trunk", &self.deny_to_trunk, true),
            ("allow_from_trunk", &self.allow_from_trunk, false),
            ("deny_from_trunk", &self.deny_from_trunk, true),
        ];
        for (key, list, denies) in lists {
            for name in list {
                let word = name.strip_suffix('*').unwrap_or(name);
                let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
                if word.is_empty() || !word.bytes().all(good) {
                    out.push(Problem::new(join(at, key), name, "header names, each with an optional '*' at its end"));
                } else if denies && crate::core::policy::headers::is_needed(word.as_bytes()) {
                    out.push(Problem::new(join(at, key), name, "headers that SIP does not need for its own working"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(toml: &str) -> Vec<String> {
        let config: PolicyConfig = toml::from_str(toml).unwrap();
        let mut out = Vec::new();
        config.check("policy", &mut out);
        out.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn nothing_is_on_by_default_and_nothing_is_wrong_with_that() {
        assert_eq!(toml::from_str::<PolicyConfig>("").unwrap(), PolicyConfig::default());
        assert!(problems("").is_empty());
        assert!(problems("session_timer = {}\nnumbers = { country = \"49\" }").is_empty());
    }

    #[test]
    fn each_wrong_value_is_named() {
        for (toml, key) in [
            ("numbers = { country = \"+49\" }", "policy.numbers.country"),
            ("numbers = { to_trunk = \"national\" }", "policy.numbers.country"),
            ("numbers = { bare_national_digits = 7 }", "policy.numbers.bare_national_digits"),
            ("numbers = { send = [{ add = \"a\" }] }", "policy.numbers.send[0].add"),
            ("numbers = { international_prefixes = [\"\"] }", "policy.numbers.international_prefixes"),
            ("headers = { deny_to_trunk = [\"Via\"] }", "policy.headers.deny_to_trunk"),
            ("headers = { deny_from_trunk = [\"m\"] }", "policy.headers.deny_from_trunk"),
            ("headers = { allow_to_trunk = [\"a b\"] }", "policy.headers.allow_to_trunk"),
            ("nat = { keep_alive_s = 1 }", "policy.nat.keep_alive_s"),
            ("session_timer = { min_s = 60 }", "policy.session_timer.min_s"),
            ("session_timer = { expires_s = 80 }", "policy.session_timer.expires_s"),
            ("session_timer = { expires_s = 900, max_s = 600 }", "policy.session_timer.expires_s"),
        ] {
            let found = problems(toml);
            assert!(found.iter().any(|p| p.contains(key)), "{toml}: {found:?}");
        }
    }
}
