//! Settings of the dispatcher: pools and how they choose, what is held against a node, and who may announce itself.

use kit::settings::{Problem, join};
use serde::{Deserialize, Serialize};

use super::node::default_weight;
use super::trunk::default_pool;
use super::{Config, NodeConfig, Source};
use crate::core::REGISTRAR;
use crate::core::dispatch::{Algorithm, HashBy};

/// What an operator wants of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    #[default]
    Active,
    /// No new call; those that it has go on.
    Draining,
    /// The same, and nobody minds that it is silent.
    Disabled,
}

impl NodeState {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    pub(super) fn is_active(&self) -> bool {
        *self == NodeState::Active
    }
}

/// How a pool chooses among its nodes. A pool that has no section of its own has these defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PoolConfig {
    pub id: String,
    pub algorithm: Algorithm,
    /// With `algorithm = "hash"`: call_id, from, to, request_user or header:NAME.
    pub hash_by: HashBy,
    /// Answers after which another node is tried; without it every 5xx but 501, 505, 513 and 580. One with a Q.850 reason
    /// never is: the failure belongs to the far side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failover_codes: Option<Vec<u16>>,
    /// Nodes asked for one call; without it `limits.attempts`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// No further node is asked so long after the INVITE came (ms).
    pub budget_ms: u64,
    /// A node that came back grows to its share in so long (s); 0 = at once.
    pub slow_start_s: u64,
    /// When soft evidence would shut more of the pool than this, it is not believed (percent).
    pub panic_percent: u8,
}

impl Default for PoolConfig {
    fn default() -> PoolConfig {
        PoolConfig {
            id: String::new(),
            algorithm: Algorithm::default(),
            hash_by: HashBy::default(),
            failover_codes: None,
            attempts: None,
            budget_ms: 30_000,
            slow_start_s: 10,
            panic_percent: 50,
        }
    }
}

/// When a node gets no call because of how its calls went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerConfig {
    pub enabled: bool,
    /// Calls in the last 15 s that are enough to judge by.
    pub min_calls: u32,
    /// The share of them that it failed (0 to 1); it must also be three times the median of its pool.
    pub share: f64,
    /// Calls in a row without any answer that are enough by themselves.
    pub silent_in_row: u32,
    /// How long it then gets no call (ms); doubled when it comes again within five minutes.
    pub open_ms: u64,
}

impl Default for BreakerConfig {
    fn default() -> BreakerConfig {
        BreakerConfig { enabled: true, min_calls: 20, share: 0.3, silent_in_row: 5, open_ms: 10_000 }
    }
}

/// Who may announce itself as a node, by REGISTER or OPTIONS to a node listener. Without rules nobody.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JoinConfig {
    pub rules: Vec<JoinRule>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinRule {
    /// Where such nodes are; anybody else gets no answer.
    pub sources: Vec<Source>,
    #[serde(default = "default_pool")]
    pub pool: String,
    #[serde(default = "default_weight")]
    pub weight: f64,
    #[serde(default)]
    pub capacity: u32,
    #[serde(default)]
    pub priority: u8,
    /// Taken into the pool at once; else an operator has to approve it.
    #[serde(default)]
    pub take: bool,
    /// Nodes that this rule takes at most.
    #[serde(default = "default_most")]
    pub most: usize,
}

fn default_most() -> usize {
    64
}

impl Config {
    /// The settings of that pool; defaults when it has no section.
    #[must_use]
    pub fn pool(&self, id: &str) -> PoolConfig {
        let found = self.pools.iter().find(|p| p.id == id).cloned();
        found.unwrap_or_else(|| PoolConfig { id: id.to_owned(), ..PoolConfig::default() })
    }

    /// Whether somebody is, or may come to be, in that pool.
    pub(super) fn has_members(&self, id: &str) -> bool {
        let registrar = |n: &NodeConfig| n.registrar && id == REGISTRAR;
        self.nodes.iter().any(|n| n.pool == id || registrar(n)) || self.join.rules.iter().any(|r| r.pool == id)
    }

    pub(super) fn check_pools(&self, at: &str, out: &mut Vec<Problem>) {
        for (i, pool) in self.pools.iter().enumerate() {
            let at = join(at, &format!("pools[{i}]"));
            let mut say = |key: &str, value: String, why: &str| out.push(Problem::new(join(&at, key), value, why));
            if pool.id.is_empty() || pool.id.contains(['/', ' ']) {
                say("id", pool.id.clone(), "a word without '/' and spaces, as nodes and trunks name it in `pool`");
            } else if self.pools[..i].iter().any(|p| p.id == pool.id) {
                say("id", pool.id.clone(), "an id that stands once");
            } else if !self.has_members(&pool.id) {
                say("id", pool.id.clone(), "the pool of at least one node, or of a rule in join.rules");
            }
            if pool.algorithm != Algorithm::Hash && pool.hash_by != HashBy::default() {
                say("hash_by", pool.hash_by.to_string(), "only with algorithm = \"hash\"");
            }
            let of_pool = || self.nodes.iter().filter(|n| n.pool == pool.id);
            let sized = of_pool().filter(|n| n.capacity > 0).count();
            if pool.algorithm == Algorithm::LeastUsed && sized > 0 && sized < of_pool().count() {
                let value = format!("{sized} of {} nodes", of_pool().count());
                say(
                    "algorithm",
                    value,
                    "least_used compares calls by capacity: give all its nodes a capacity, or none",
                );
            }
            for code in pool.failover_codes.iter().flatten() {
                if !(400..600).contains(code) || matches!(code, 401 | 407 | 487) {
                    say(
                        "failover_codes",
                        code.to_string(),
                        "400 to 599 without 401, 407 (challenges) and 487 (cancelled)",
                    );
                }
            }
            if pool.attempts == Some(0) {
                say("attempts", "0".to_owned(), "1 or more");
            }
            if pool.budget_ms == 0 {
                say("budget_ms", "0".to_owned(), "1 or more; attempts = 1 for no failover");
            }
            if pool.panic_percent > 100 {
                say("panic_percent", pool.panic_percent.to_string(), "0 to 100; 100 = never");
            }
        }
        self.check_evidence(at, out);
        self.check_join(at, out);
    }

    fn check_evidence(&self, at: &str, out: &mut Vec<Problem>) {
        let probe = &self.probe;
        for (key, value, most) in [
            ("probe.suspect_misses", probe.suspect_misses, 100),
            ("probe.down_misses", probe.down_misses, 4),
            ("probe.up_answers", probe.up_answers, 100),
            ("breaker.min_calls", self.breaker.min_calls, u32::MAX),
            ("breaker.silent_in_row", self.breaker.silent_in_row, u32::MAX),
        ] {
            if value == 0 || value > most {
                let why = match most {
                    4 => "1 to 4: of the last four probes",
                    100 => "1 to 100",
                    _ => "1 or more",
                };
                out.push(Problem::new(join(at, key), value, why));
            }
        }
        if !(self.breaker.share > 0.0 && self.breaker.share <= 1.0) {
            out.push(Problem::new(join(at, "breaker.share"), self.breaker.share, "more than 0 and at most 1"));
        }
        if self.breaker.open_ms == 0 {
            out.push(Problem::new(join(at, "breaker.open_ms"), 0, "1 or more; breaker.enabled = false for none"));
        }
    }

    fn check_join(&self, at: &str, out: &mut Vec<Problem>) {
        for (i, rule) in self.join.rules.iter().enumerate() {
            let at = join(at, &format!("join.rules[{i}]"));
            if rule.sources.is_empty() {
                out.push(Problem::new(join(&at, "sources"), "[]", "at least one network that nodes are in"));
            }
            if rule.sources.iter().any(|source| source.bits() == Some(0)) {
                let why = "narrower networks: whoever can send from there becomes a node";
                out.push(Problem::new(join(&at, "sources"), "/0", why));
            }
            if rule.pool.is_empty() || rule.pool.contains(['/', ' ']) {
                out.push(Problem::new(join(&at, "pool"), &rule.pool, "a word without '/' and spaces"));
            }
            if !(rule.weight > 0.0 && rule.weight.is_finite()) {
                out.push(Problem::new(join(&at, "weight"), rule.weight, "more than 0"));
            }
            if rule.most == 0 || rule.most > 1_000 {
                out.push(Problem::new(join(&at, "most"), rule.most, "1 to 1000"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::settings::Check;

    #[test]
    fn every_mistake_about_pools_is_named() {
        let node = |id: &str, capacity| NodeConfig { id: id.into(), capacity, ..NodeConfig::default() };
        let mut config = Config { nodes: vec![node("a", 10), node("b", 0)], ..Config::default() };
        let pool = |id: &str| PoolConfig { id: id.into(), ..PoolConfig::default() };
        config.pools = vec![
            PoolConfig { algorithm: Algorithm::LeastUsed, hash_by: HashBy::To, ..pool("inbound") },
            PoolConfig { failover_codes: Some(vec![503, 407, 603]), attempts: Some(0), ..pool("inbound") },
            PoolConfig { budget_ms: 0, panic_percent: 101, ..pool("empty") },
        ];
        config.breaker.share = 0.0;
        config.probe.down_misses = 5;
        config.join.rules = vec![JoinRule {
            sources: vec!["0.0.0.0/0".parse().unwrap()],
            pool: String::new(),
            weight: 0.0,
            capacity: 0,
            priority: 0,
            take: true,
            most: 0,
        }];
        let mut out = Vec::new();
        config.check("edge", &mut out);
        let keys: Vec<&str> = out.iter().map(|p| p.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "edge.pools[0].hash_by",
                "edge.pools[0].algorithm",
                "edge.pools[1].id",
                "edge.pools[1].failover_codes",
                "edge.pools[1].failover_codes",
                "edge.pools[1].attempts",
                "edge.pools[2].id",
                "edge.pools[2].budget_ms",
                "edge.pools[2].panic_percent",
                "edge.probe.down_misses",
                "edge.breaker.share",
                "edge.join.rules[0].sources",
                "edge.join.rules[0].pool",
                "edge.join.rules[0].weight",
                "edge.join.rules[0].most",
            ]
        );
    }
}
