//! Settings of librdkafka as an operator writes them: any name, any plain value, secrets hidden.
//!
//! TOML reads `sasl.password = "x"` without quotes around the name as a table in a table; both spellings mean the same here, and so do
//! `5`, `true` and their quoted forms. What is a secret by its name shows as `***` wherever settings are printed; a `file:` value shows,
//! because it only names the file.

use std::{collections::BTreeMap, fmt, ops::Deref};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, MapAccess, Visitor},
};

/// A value that begins so names a file that holds the value.
pub const FILE: &str = "file:";
const MASK: &str = "***";

#[derive(Clone, Default, PartialEq, Eq)]
pub struct Extra(pub BTreeMap<String, String>);

impl Deref for Extra {
    type Target = BTreeMap<String, String>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl FromIterator<(String, String)> for Extra {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

/// Whether the value of this setting must not be seen.
pub fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let named = ["password", "passwd", "secret", "token", "jaas", "credential"].iter().any(|word| key.contains(word));
    let known = ["ssl.key.pem", "sasl.oauthbearer.config"].contains(&key.as_str());
    (named || known) && !key.ends_with(".url") && !key.ends_with(".location") && !key.ends_with(".file")
}

/// What may be shown of a value.
pub fn shown<'a>(key: &str, value: &'a str) -> &'a str {
    if is_secret(key) && !value.starts_with(FILE) && !value.is_empty() { MASK } else { value }
}

impl fmt::Debug for Extra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(key, value)| (key, shown(key, value)))).finish()
    }
}

impl Serialize for Extra {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, shown(key, value))))
    }
}

impl<'de> Deserialize<'de> for Extra {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Value::Table(table) = deserializer.deserialize_map(AnyValue)? else {
            return Err(D::Error::custom("settings of librdkafka by name were expected"));
        };
        let mut flat = BTreeMap::new();
        flatten("", table, &mut flat);
        Ok(Self(flat))
    }
}

enum Value {
    Plain(String),
    Table(Vec<(String, Value)>),
}

fn flatten(at: &str, table: Vec<(String, Value)>, out: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        let key = if at.is_empty() { key } else { format!("{at}.{key}") };
        match value {
            Value::Plain(text) => drop(out.insert(key, text)),
            Value::Table(inner) => flatten(&key, inner, out),
        }
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number, true or false")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Plain(text.to_owned()))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Plain(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Plain(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Plain(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Plain(value.to_string()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut table = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, Value>()? {
            table.push((key, value));
        }
        Ok(Value::Table(table))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_dots_need_no_quotes_and_numbers_no_text() {
        let json = r#"{"sasl.username": "u", "sasl": {"password": "p", "oauthbearer": {"scope": "s"}}, "linger.ms": 5, "log": true}"#;
        let extra: Extra = serde_json::from_str(json).expect("settings");
        let pairs: Vec<(&str, &str)> = extra.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(
            pairs,
            [
                ("linger.ms", "5"),
                ("log", "true"),
                ("sasl.oauthbearer.scope", "s"),
                ("sasl.password", "p"),
                ("sasl.username", "u")
            ]
        );
    }

    #[test]
    fn a_secret_is_shown_nowhere_and_the_name_of_its_file_is() {
        let extra: Extra = [
            ("sasl.password", "hunter2-inline"),
            ("ssl.key.password", "file:/run/secrets/key"),
            ("ssl.key.pem", "hunter2-pem"),
            ("sasl.oauthbearer.client.secret", "hunter2-oauth"),
            ("ssl.ca.location", "/etc/ca.pem"),
        ]
        .into_iter()
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect();
        let printed = format!("{extra:?} {}", serde_json::to_string(&extra).expect("prints"));
        assert!(!printed.contains("hunter2"), "{printed}");
        assert!(printed.contains("file:/run/secrets/key") && printed.contains("/etc/ca.pem"), "{printed}");
    }
}
