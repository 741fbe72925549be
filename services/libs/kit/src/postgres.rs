//! The settings of a connection to PostgreSQL, the same in every section that has one.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Secret;
use crate::settings::{Check, Problem, join};

/// PostgreSQL cuts longer names off.
const MAX_NAME: usize = 63;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Postgres {
    /// `postgres://user@host:5432/database`; secret as a whole, because it may hold a password.
    pub url: Secret,
    /// A file whose first line is the password; it wins over one in `url`.
    pub password_file: Option<PathBuf>,
    /// Where our tables are.
    pub schema: String,
}

impl Default for Postgres {
    fn default() -> Postgres {
        Postgres { url: Secret::default(), password_file: None, schema: "trunkline".to_owned() }
    }
}

impl Postgres {
    /// The password of the file, if one is named.
    pub fn password(&self) -> Result<Option<Secret>, String> {
        let Some(file) = &self.password_file else { return Ok(None) };
        let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let secret = Secret::new(text.lines().next().unwrap_or_default().trim());
        if secret.is_empty() { Err(format!("{} is empty", file.display())) } else { Ok(Some(secret)) }
    }
}

impl Check for Postgres {
    fn check(&self, at: &str, out: &mut Vec<Problem>) {
        let url = self.url.expose();
        if !url.is_empty() && !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            out.push(Problem::new(join(at, "url"), "***", "postgres://user@host:5432/database"));
        }
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let named = self.schema.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        if !named || !self.schema.chars().all(plain) || self.schema.len() > MAX_NAME {
            out.push(Problem::new(
                join(at, "schema"),
                &self.schema,
                "small letters, digits and _, at most 63, no digit first",
            ));
        }
        if let Err(problem) = self.password() {
            out.push(Problem::new(join(at, "password_file"), problem, "a file with the password in its first line"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_value_is_named_and_the_url_is_not_shown() {
        let mut problems = Vec::new();
        Postgres::default().check("cdr.postgres", &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        let bad = Postgres {
            url: Secret::new("mysql://me:Example-secret-7@host/db"),
            password_file: Some("no/such/file".into()),
            schema: "a\"; drop".to_owned(),
        };
        bad.check("cdr.postgres", &mut problems);
        let keys: Vec<&str> = problems.iter().map(|p| p.key.as_str()).collect();
        assert_eq!(keys, ["cdr.postgres.url", "cdr.postgres.schema", "cdr.postgres.password_file"]);
        assert!(!format!("{problems:?} {bad:?}").contains("Example-secret"));
    }

    #[test]
    fn the_password_is_the_first_line_of_its_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("password");
        std::fs::write(&file, "Example-password-1\n# comment\n").expect("written");
        let settings = Postgres { password_file: Some(file.clone()), ..Postgres::default() };
        assert_eq!(settings.password(), Ok(Some(Secret::new("Example-password-1"))));
        std::fs::write(&file, "\n").expect("written");
        assert!(settings.password().is_err());
    }
}
