//! From what the operator wrote to what librdkafka gets: `file:` values are read, every name and value is tried on librdkafka alone.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt, path::Path};

use rdkafka::{ClientConfig, error::KafkaError};

use super::extra::{FILE, shown};

/// Far more than any key or certificate: a bound, so that a wrong path cannot fill the memory.
const MAX_SECRET_BYTES: u64 = 1 << 20;

/// Settings ready for librdkafka, what must be fixed first, and what should be.
#[derive(Default)]
pub struct Resolved {
    pub settings: BTreeMap<String, String>,
    pub problems: Vec<Wrong>,
    pub warnings: Vec<String>,
}

/// One setting that cannot work: name, what was written (a secret stays hidden), what is wrong and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    pub key: String,
    pub value: String,
    pub allowed: String,
}

pub fn resolve(extra: &BTreeMap<String, String>) -> Resolved {
    let mut out = Resolved::default();
    for (key, written) in extra {
        let mut wrong =
            |allowed| out.problems.push(Wrong { key: key.clone(), value: shown(key, written).to_owned(), allowed });
        let value = match written.strip_prefix(FILE) {
            None => written.clone(),
            Some(path) => match read(Path::new(path)) {
                Ok((text, mode)) => {
                    if mode & 0o077 != 0 {
                        out.warnings.push(format!(
                            "{path} ({key}) can be read by others (mode {:o}): chmod 600 {path}",
                            mode & 0o777
                        ));
                    }
                    text
                }
                Err(why) => {
                    wrong(why);
                    continue;
                }
            },
        };
        if let Err(why) = accepted(key, &value) {
            wrong(why);
            continue;
        }
        out.settings.insert(key.clone(), value);
    }
    out
}

fn read(path: &Path) -> Result<(String, u32), String> {
    let cannot = |error: std::io::Error| {
        format!("the file cannot be read: {error}; write the value into it and let this user alone read it (chmod 600)")
    };
    let meta = fs::metadata(path).map_err(cannot)?;
    if meta.len() > MAX_SECRET_BYTES {
        return Err(format!(
            "the file has {} bytes, over the limit of {MAX_SECRET_BYTES}: is it the right one?",
            meta.len()
        ));
    }
    let text = fs::read_to_string(path).map_err(cannot)?;
    match text.trim() {
        "" => Err("the file is empty: write the value into it".to_owned()),
        text => Ok((text.to_owned(), meta.mode())),
    }
}

/// Librdkafka's own judgement of one setting.
fn accepted(key: &str, value: &str) -> Result<(), String> {
    if value.contains('\0') {
        return Err("a value cannot hold a zero byte".to_owned());
    }
    let mut one = ClientConfig::new();
    one.set(key, value);
    match one.create_native_config() {
        Ok(_) => Ok(()),
        Err(KafkaError::ClientConfig(_, why, ..)) => Err(format!(
            "librdkafka says: {}; its settings are listed in its CONFIGURATION.md",
            why.trim_end_matches('.')
        )),
        Err(other) => Err(format!("librdkafka says: {other}")),
    }
}

/// Settings that take away what the adapter promises. They are obeyed, and said.
pub fn weaker(settings: &BTreeMap<String, String>) -> Vec<(String, String, &'static str, &'static str)> {
    let rule = |key: &str, value: &str| -> Option<(&'static str, &'static str)> {
        let off = matches!(value, "false" | "0" | "f");
        match key {
            "enable.idempotence" if off => Some(("true", "a retry can double and reorder events")),
            "enable.gapless.guarantee" if off => Some(("true", "events behind a refused one can overtake it")),
            "acks" | "request.required.acks" if !matches!(value, "all" | "-1") => {
                Some(("all", "an acknowledged event can be lost with one broker"))
            }
            "message.timeout.ms" | "delivery.timeout.ms" if value != "0" => {
                Some(("0", "an outage that is longer fails appends instead of letting them wait"))
            }
            "transactional.id" => Some(("not set", "transactions are not used; nothing will be sent")),
            "enable.auto.commit" | "enable.auto.offset.store" if !off => {
                Some(("false", "records count as done before their effect is"))
            }
            "auto.offset.reset" if !matches!(value, "earliest" | "beginning" | "smallest") => {
                Some(("earliest", "a new group skips everything that is there"))
            }
            _ => None,
        }
    };
    settings
        .iter()
        .filter_map(|(key, value)| rule(key, value).map(|(wanted, why)| (key.clone(), value.clone(), wanted, why)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, os::unix::fs::PermissionsExt};

    use super::*;

    fn extra(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        file.as_file().set_permissions(fs::Permissions::from_mode(mode)).expect("mode");
        file
    }

    #[test]
    fn a_file_value_is_read_and_trimmed_and_an_open_file_is_warned_about() {
        let closed = file("  s3cret\n", 0o600);
        let open = file("key-pass\n", 0o644);
        let resolved = resolve(&extra(&[
            ("sasl.password", &format!("file:{}", closed.path().display())),
            ("ssl.key.password", &format!("file:{}", open.path().display())),
            ("linger.ms", "7"),
        ]));
        assert_eq!(resolved.problems, []);
        assert_eq!(
            resolved.settings,
            extra(&[("sasl.password", "s3cret"), ("ssl.key.password", "key-pass"), ("linger.ms", "7")])
        );
        assert_eq!(resolved.warnings.len(), 1, "{:?}", resolved.warnings);
        assert!(
            resolved.warnings[0].contains("chmod 600") && resolved.warnings[0].contains("644"),
            "{:?}",
            resolved.warnings
        );
        assert!(!resolved.warnings[0].contains("key-pass"));
    }

    #[test]
    fn every_wrong_setting_is_named_with_librdkafkas_own_words_and_no_secret() {
        let empty = file("\n", 0o600);
        let resolved = resolve(&extra(&[
            ("linger.ms", "soon"),
            ("sasl.pasword", "hunter2"),
            ("sasl.password", "file:/nowhere/at/all"),
            ("ssl.key.password", &format!("file:{}", empty.path().display())),
        ]));
        let by_key = |key: &str| resolved.problems.iter().find(|p| p.key == key).expect("reported");
        assert_eq!(resolved.problems.len(), 4);
        assert!(by_key("linger.ms").allowed.contains("Invalid value"), "{:?}", by_key("linger.ms"));
        assert!(
            by_key("sasl.pasword").allowed.contains("No such configuration property"),
            "{:?}",
            by_key("sasl.pasword")
        );
        assert!(by_key("sasl.password").allowed.contains("cannot be read"));
        assert!(by_key("ssl.key.password").allowed.contains("empty"));
        assert_eq!(by_key("sasl.password").value, "file:/nowhere/at/all");
    }

    #[test]
    fn settings_that_weaken_the_promises_are_told_apart_from_tuning() {
        let settings = extra(&[
            ("acks", "1"),
            ("linger.ms", "50"),
            ("enable.auto.commit", "true"),
            ("enable.idempotence", "true"),
        ]);
        let found: Vec<String> = weaker(&settings).into_iter().map(|(key, ..)| key).collect();
        assert_eq!(found, ["acks", "enable.auto.commit"]);
    }
}
