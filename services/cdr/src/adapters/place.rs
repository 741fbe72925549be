//! Where the call log is: a file, or a schema of a Postgres database.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;

use crate::config::{Config, StoreKind};
use crate::error::StoreError;

/// File in the service's data folder.
pub const FILE: &str = "calls.sqlite";

#[derive(Debug, Clone)]
pub enum Place {
    Sqlite(PathBuf),
    Postgres(Schema),
}

/// A schema and how to get there. Shows neither host nor password.
#[derive(Clone)]
pub struct Schema {
    pub name: String,
    pub options: Box<PgConnectOptions>,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "schema {}", self.name)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Sqlite(path) => write!(f, "{}", path.display()),
            Place::Postgres(schema) => write!(f, "postgres, schema {}", schema.name),
        }
    }
}

impl Place {
    /// What the settings name; `folder` is the service's data folder.
    pub fn of(config: &Config, folder: &Path) -> Result<Place, StoreError> {
        match config.store {
            StoreKind::Sqlite => Ok(Place::Sqlite(folder.join(FILE))),
            StoreKind::Postgres => Ok(Place::Postgres(Schema::of(&config.postgres)?)),
        }
    }

    /// The file, when it is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Place::Sqlite(path) => Some(path),
            Place::Postgres(_) => None,
        }
    }
}

impl Schema {
    pub fn of(settings: &kit::Postgres) -> Result<Schema, StoreError> {
        // The parser's own words could repeat a part of the address, the password among it.
        let options = PgConnectOptions::from_str(settings.url.expose())
            .map_err(|_| StoreError::Settings("cdr.postgres.url is not postgres://user@host:5432/database".into()))?;
        let options = match settings.password().map_err(StoreError::Settings)? {
            Some(password) => options.password(password.expose()),
            None => options,
        };
        let options = options
            .application_name("trunkline-cdr")
            // A server that hangs is an error to try again, not a consumer that stands still.
            .options([("search_path", settings.schema.as_str()), ("statement_timeout", "60s")])
            // And a client whose machine is gone loses its lock within half a minute, not after two hours.
            .options([("tcp_keepalives_idle", "10"), ("tcp_keepalives_interval", "5"), ("tcp_keepalives_count", "3")]);
        Ok(Schema { name: settings.schema.clone(), options: Box::new(options) })
    }
}
