//! The settings `[api]`.

use std::net::SocketAddr;
use std::path::PathBuf;

use kit::settings::{Check, Problem, join};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the page and the JSON are served. Loopback, unless `token_file` is set.
    pub bind: SocketAddr,
    /// A file with at least 32 characters; then every request must show them.
    pub token_file: Option<PathBuf>,
    /// The call log. Default: `<data_dir>/cdr/calls.sqlite`.
    pub calls_db: Option<PathBuf>,
    /// The call log, when it is in Postgres. Default: where `[cdr]` of the same settings writes it.
    pub calls_postgres: kit::Postgres,
    /// The minute rollups. Default: `<data_dir>/analytics/analytics.sqlite`.
    pub metrics_db: Option<PathBuf>,
    /// The longest block that an operator may set, in seconds.
    pub max_block_s: u64,
    /// Callees that nobody may block: emergency numbers, as dialled.
    pub protected_numbers: Vec<String>,
    /// Pages that may watch `/v1/live` at the same time.
    pub max_live_clients: usize,
}

impl Default for Config {
    fn default() -> Self {
        let protected = ["112", "911", "999", "000", "110", "118", "119"];
        Config {
            bind: SocketAddr::from(([127, 0, 0, 1], 8080)),
            token_file: None,
            calls_db: None,
            calls_postgres: kit::Postgres::default(),
            metrics_db: None,
            max_block_s: 7 * 24 * 3600,
            protected_numbers: protected.map(str::to_owned).to_vec(),
            max_live_clients: 64,
        }
    }
}

impl Check for Config {
    fn check(&self, at: &str, out: &mut Vec<Problem>) {
        kit::admin::check_bind(at, self.bind, self.token_file.as_deref(), out);
        self.calls_postgres.check(&join(at, "calls_postgres"), out);
        if !(60..=31 * 24 * 3600).contains(&self.max_block_s) {
            out.push(Problem::new(
                join(at, "max_block_s"),
                self.max_block_s,
                "60 to 2678400 (31 days): every block ends",
            ));
        }
        if !(1..=1000).contains(&self.max_live_clients) {
            out.push(Problem::new(join(at, "max_live_clients"), self.max_live_clients, "1 to 1000"));
        }
    }
}
