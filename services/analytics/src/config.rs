//! Settings of analytics.

use kit::Secret;
use kit::settings::{Check, Problem, join};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Least time between two writes. The running minute is counted again with each.
    pub flush_ms: u64,
    /// A minute that is over, and whose calls are still ending, is counted again this often.
    pub late_every_ms: u64,
    pub max_batch: usize,
    /// Where raw events go at scale; nowhere while `url` is empty.
    pub clickhouse: ClickHouse,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClickHouse {
    pub url: String,
    pub database: String,
    pub user: String,
    pub password: Secret,
    /// Compare our columns with the table's once per start.
    pub validate: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config { flush_ms: 500, late_every_ms: 5000, max_batch: 4000, clickhouse: ClickHouse::default() }
    }
}

impl Default for ClickHouse {
    fn default() -> Self {
        ClickHouse {
            url: String::new(),
            database: "trunkline".to_owned(),
            user: "default".to_owned(),
            password: Secret::default(),
            validate: true,
        }
    }
}

impl Check for Config {
    fn check(&self, at: &str, out: &mut Vec<Problem>) {
        let mut within = |key: &str, value: u64, least: u64, most: u64| {
            if !(least..=most).contains(&value) {
                out.push(Problem::new(join(at, key), value, format!("a number from {least} to {most}")));
            }
        };
        within("flush_ms", self.flush_ms, 0, 10_000);
        within("late_every_ms", self.late_every_ms, 0, 600_000);
        within("max_batch", self.max_batch as u64, 1, 100_000);
        let url = &self.clickhouse.url;
        if !url.is_empty() && !url.starts_with("http://") {
            out.push(Problem::new(
                join(at, "clickhouse.url"),
                url,
                "empty, or http://host:port (put TLS in front of it)",
            ));
        }
    }
}
