//! Settings: a TOML file, then the environment, into one typed struct.
//!
//! What must hold:
//! - every mistake is reported in one go, each with its key, its value, where the value came from and what is allowed;
//! - an unknown key is a mistake, never ignored: a typing error in a limit must not switch the limit off;
//! - a secret is never printed, not even when it is the mistake.
//!
//! The file comes first, `TRUNKLINE__SECTION__KEY` wins over it. A list or table in the environment is a TOML or JSON
//! literal: `TRUNKLINE__EDGE__ID=edge-1`, `TRUNKLINE__EDGE__TRUNKS='[{id = "a", address = "192.0.2.1:5060"}]'`.

mod lines;
mod load;
mod path;
mod problem;
mod source;

use std::path::{Path, PathBuf};

use serde::Serialize;

pub use load::load;
pub use problem::{Check, Origin, Problem, Problems, join};

/// The file that is read when none is named.
pub const DEFAULT_FILE: &str = "trunkline.toml";

/// The named file, else `./trunkline.toml` when there is one. A named file that is missing is an error of [`load`].
#[must_use]
pub fn find(named: Option<&Path>) -> Option<PathBuf> {
    match named {
        Some(path) => Some(path.to_owned()),
        None => Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists()),
    }
}

/// The effective settings as TOML, secrets masked.
pub fn print<T: Serialize>(settings: &T) -> String {
    match toml::Table::try_from(settings).and_then(|table| toml::to_string_pretty(&table)) {
        Ok(text) => text,
        Err(error) => format!("# these settings cannot be written as TOML: {error}\n"),
    }
}
