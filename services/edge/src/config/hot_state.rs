//! Limits of trunks that several edges share: section `hot_state`.

use kit::Secret;
use kit::settings::{Check, Problem, join};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HotStateConfig {
    pub adapter: HotAdapter,
    /// `redis://:PASSWORD@HOST:PORT/DB`
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub url: Secret,
    /// The key of the hash where the edges meet; another one for each group of edges.
    pub key: String,
    /// Edges that share the limits. While the others are not heard, this one uses its part: one of so many.
    pub edges: u32,
    /// How often they tell each other (ms).
    pub interval_ms: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HotAdapter {
    /// This edge alone.
    #[default]
    InProcess,
    Redis,
}

impl Default for HotStateConfig {
    fn default() -> HotStateConfig {
        HotStateConfig {
            adapter: HotAdapter::InProcess,
            url: Secret::default(),
            key: "trunkline:limits".to_owned(),
            edges: 1,
            interval_ms: 250,
        }
    }
}

impl Check for HotStateConfig {
    fn check(&self, at: &str, out: &mut Vec<Problem>) {
        let shared = self.adapter == HotAdapter::Redis;
        if shared && !self.url.expose().starts_with("redis://") {
            out.push(Problem::new(join(at, "url"), "***", "an address like redis://:PASSWORD@HOST:6379/0"));
        }
        if shared && self.edges < 2 {
            out.push(Problem::new(join(at, "edges"), self.edges, "2 or more: how many edges share the limits"));
        }
        if !shared && self.edges != 1 {
            let why = "1, or adapter = \"redis\": without it the edges know nothing of each other";
            out.push(Problem::new(join(at, "edges"), self.edges, why));
        }
        if !(50..=2_000).contains(&self.interval_ms) {
            out.push(Problem::new(join(at, "interval_ms"), self.interval_ms, "50 to 2000"));
        }
        if self.key.is_empty() {
            out.push(Problem::new(join(at, "key"), "", "a name"));
        }
    }
}
