//! Settings of the call log.

use kit::settings::{Check, Problem, join};
use serde::{Deserialize, Serialize};

use crate::core::reconcile::Limits;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// A file in the data folder.
    #[default]
    Sqlite,
    /// A schema of a database, for a call log that other machines read.
    Postgres,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the rows are kept.
    pub store: StoreKind,
    pub postgres: kit::Postgres,
    /// Bring Postgres' tables up to date at the start. Off where the service's role may not: `trunkline migrate` does it then.
    pub migrate_at_start: bool,
    /// Least time between two transactions. A row is visible this much after its event at most, plus the write.
    pub flush_ms: u64,
    /// Records taken at once. A full batch is written without waiting.
    pub max_batch: usize,
    /// Longest a call may stay open before the reconciler closes it.
    pub longest_call_hours: u64,
    /// A node counts as silent after this; a slower heartbeat stretches it to 2.5 beats.
    pub node_silence_ms: u64,
    /// How long an "up" of an edge's probes counts as a sign of life.
    pub probe_trust_ms: u64,
    /// After the engine's last word, how long to wait for the edge's.
    pub orphan_after_s: u64,
    /// How long a challenged caller may take to come back.
    pub challenge_after_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            store: StoreKind::Sqlite,
            postgres: kit::Postgres::default(),
            migrate_at_start: true,
            flush_ms: 150,
            max_batch: 4000,
            longest_call_hours: 24,
            node_silence_ms: 3000,
            probe_trust_ms: 6000,
            orphan_after_s: 60,
            challenge_after_s: 40,
        }
    }
}

impl Config {
    #[must_use]
    pub fn limits(&self) -> Limits {
        const S: u64 = 1_000_000;
        Limits {
            silence_us: self.node_silence_ms * 1000,
            probe_trust_us: self.probe_trust_ms * 1000,
            orphan_after_us: self.orphan_after_s * S,
            challenge_after_us: self.challenge_after_s * S,
            longest_call_us: self.longest_call_hours * 3600 * S,
            ..Limits::default()
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
        within("flush_ms", self.flush_ms, 0, 1000);
        within("max_batch", self.max_batch as u64, 1, 100_000);
        within("longest_call_hours", self.longest_call_hours, 1, 24 * 31);
        within("node_silence_ms", self.node_silence_ms, 1000, 60_000);
        within("probe_trust_ms", self.probe_trust_ms, 0, 60_000);
        within("orphan_after_s", self.orphan_after_s, 10, 3600);
        // A challenged INVITE continues its call for 32 s; closing it sooner would make a revision of every slow phone.
        within("challenge_after_s", self.challenge_after_s, 33, 3600);
        self.postgres.check(&join(at, "postgres"), out);
        if self.store == StoreKind::Postgres && self.postgres.url.is_empty() {
            out.push(Problem::new(join(at, "postgres.url"), "", "postgres://user@host:5432/database"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_pass_and_every_bad_value_is_named() {
        let mut problems = Vec::new();
        Config::default().check("cdr", &mut problems);
        assert!(problems.is_empty());
        Config { flush_ms: 5000, challenge_after_s: 5, store: StoreKind::Postgres, ..Config::default() }
            .check("cdr", &mut problems);
        let keys: Vec<&str> = problems.iter().map(|p| p.key.as_str()).collect();
        assert_eq!(keys, ["cdr.flush_ms", "cdr.challenge_after_s", "cdr.postgres.url"]);
    }
}
