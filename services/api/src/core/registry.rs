//! The schemas of this build as a Confluent-compatible registry shows them. Reading only: a schema comes with a release.
//!
//! One subject per topic, `<topic>-value`. Its versions count every schema that was ever written to the topic, the retired ones
//! first, so that each id has exactly one place.

use schemas::{TopicSpec, all_topics};
use serde_json::{Value, json};

/// What a registry client expects when it asks for something that is not here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("Subject '{0}' not found.")]
    Subject(String),
    #[error("Version {0} not found.")]
    Version(i64),
    #[error("Schema {0} not found")]
    Schema(String),
    #[error(
        "The specified version '{0}' is not a valid version id. Allowed values are between [1, 2^31-1] and the string \"latest\""
    )]
    NoVersion(String),
}

impl Error {
    /// The registry's own code; its first three digits are the HTTP status.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Error::Subject(_) => 40401,
            Error::Version(_) => 40402,
            Error::Schema(_) => 40403,
            Error::NoVersion(_) => 42202,
        }
    }
}

#[must_use]
pub fn subject(topic: &TopicSpec) -> String {
    schemas::stream_schema::subject_of(topic.name)
}

/// Every subject, in the order of their names.
#[must_use]
pub fn subjects() -> Vec<String> {
    let mut all: Vec<String> = all_topics().iter().map(|topic| subject(topic)).collect();
    all.sort();
    all
}

fn topic(subject: &str) -> Result<&'static TopicSpec, Error> {
    let name = subject.strip_suffix("-value");
    name.and_then(schemas::by_name).ok_or_else(|| Error::Subject(subject.to_owned()))
}

pub fn versions(subject: &str) -> Result<Vec<usize>, Error> {
    Ok((1..=topic(subject)?.schemas().count()).collect())
}

pub fn version(subject: &str, wanted: &str) -> Result<Value, Error> {
    let topic = topic(subject)?;
    let newest = i64::try_from(topic.schemas().count()).unwrap_or(i64::MAX);
    let number = match wanted {
        "latest" | "-1" => newest,
        other => other.parse().ok().filter(|n| *n >= 1).ok_or_else(|| Error::NoVersion(wanted.to_owned()))?,
    };
    let index = usize::try_from(number - 1).map_err(|_| Error::Version(number))?;
    let (id, schema) = topic.schemas().nth(index).ok_or(Error::Version(number))?;
    Ok(json!({ "subject": subject, "version": number, "id": id, "schema": schema }))
}

pub fn by_id(wanted: &str) -> Result<Value, Error> {
    let id = wanted.parse::<u32>().ok();
    let found = all_topics().iter().flat_map(|topic| topic.schemas()).find(|(known, _)| Some(*known) == id);
    found.map(|(_, schema)| json!({ "schema": schema })).ok_or_else(|| Error::Schema(wanted.to_owned()))
}

/// What the platform promises from its first release tag on.
#[must_use]
pub fn config() -> Value {
    json!({ "compatibilityLevel": "FULL_TRANSITIVE" })
}

pub fn subject_config(subject: &str) -> Result<Value, Error> {
    topic(subject).map(|_| config())
}

#[must_use]
pub fn mode() -> Value {
    json!({ "mode": "READONLY" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_id_has_exactly_one_subject_and_version() {
        for subject in subjects() {
            for number in versions(&subject).unwrap() {
                let found = version(&subject, &number.to_string()).unwrap();
                let by_id = by_id(&found["id"].to_string()).unwrap();
                assert_eq!(by_id["schema"], found["schema"], "{subject} {number}");
            }
            let newest = versions(&subject).unwrap().len();
            assert_eq!(version(&subject, "latest").unwrap()["version"], newest);
        }
    }

    #[test]
    fn what_is_not_here_has_the_code_that_clients_know() {
        assert_eq!(versions("nothing-value").unwrap_err().code(), 40401);
        assert_eq!(versions("sip.transactions").unwrap_err().code(), 40401);
        assert_eq!(version("sip.transactions-value", "99").unwrap_err().code(), 40402);
        assert_eq!(version("sip.transactions-value", "0").unwrap_err().code(), 42202);
        assert_eq!(version("sip.transactions-value", "newest").unwrap_err().code(), 42202);
        assert_eq!(by_id("1").unwrap_err().code(), 40403);
        assert_eq!(by_id("one").unwrap_err().code(), 40403);
    }
}
