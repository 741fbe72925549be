//! Logs, for people or as JSON, on standard error (standard output belongs to a command's result).
//!
//! Secrets and phone numbers do not depend on everybody remembering: a field whose name says that it holds one is masked here,
//! whatever was put in. [`Number`] says in code that a value is a number.

mod format;

use std::fmt;
use std::io::Write;

use serde::{Deserialize, Serialize};
use tracing::Dispatch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;

use crate::settings::{Check, Problem, join};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Human,
    Json,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    pub format: LogFormat,
    /// As `RUST_LOG`: `info`, `warn,edge=debug`.
    pub filter: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig { format: LogFormat::Human, filter: "info".to_owned() }
    }
}

impl Check for LogConfig {
    fn check(&self, at: &str, out: &mut Vec<Problem>) {
        if let Err(error) = EnvFilter::builder().parse(&self.filter) {
            let allowed = format!("not a filter ({error}); for example: info, or warn,edge=debug");
            out.push(Problem::new(join(at, "filter"), &self.filter, allowed));
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("log.filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("logging was set up twice in this process")]
    Twice(#[from] tracing::dispatcher::SetGlobalDefaultError),
}

/// Sets up logging for the process. Once.
pub fn init(config: &LogConfig) -> Result<(), TelemetryError> {
    tracing::dispatcher::set_global_default(subscriber(config, std::io::stderr)?)?;
    Ok(())
}

/// The same logging into any writer: one `write_all` per line.
pub fn subscriber<W: Write>(
    config: &LogConfig,
    writer: impl Fn() -> W + Send + Sync + 'static,
) -> Result<Dispatch, TelemetryError> {
    let filter = EnvFilter::builder().parse(&config.filter)?;
    Ok(Dispatch::new(Registry::default().with(filter).with(format::LineLayer::new(config.format, writer))))
}

/// A phone number as logs may show it: `tracing::info!(caller = %Number(&caller), …)`. Masked in `Debug` too.
#[derive(Clone, Copy)]
pub struct Number<'a>(pub &'a str);

impl fmt::Display for Number<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&domain::mask_number(self.0))
    }
}

impl fmt::Debug for Number<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
