//! Settings of the engine: `[engine]`, and one `[[engine.nodes]]` per FreeSWITCH.

use std::collections::BTreeSet;
use std::path::PathBuf;

use esl::command::Number;
use kit::Secret;
use kit::settings::{Check, Problem, join};
use serde::{Deserialize, Serialize};

/// Whether the engine commands channels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Control {
    /// Channels that park with `trunkline_control=own` are led through the menu; all others are only watched.
    #[default]
    Own,
    /// No channel is ever commanded.
    Observe,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub control: Control,
    /// A menu file; without one the built-in menu (`infra/config/menus/main.toml`).
    pub menu: Option<PathBuf>,
    /// Where a menu's bridge without a number of its own leads.
    pub agent_number: String,
    pub nodes: Vec<NodeConfig>,
    pub link: LinkConfig,
}

/// One FreeSWITCH.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeConfig {
    /// The same id as in the edge's settings.
    pub id: String,
    /// Of its event socket: `host:port`.
    pub address: String,
    pub password: Secret,
}

/// Rhythm of the connections, in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkConfig {
    pub connect_timeout_ms: u64,
    pub ping_ms: u64,
    /// Without a sign of life (or, once their rhythm is known, without a heartbeat for this long or three intervals) a link is dead.
    pub dead_after_ms: u64,
    pub backoff_min_ms: u64,
    pub backoff_max_ms: u64,
    /// Pause after a refused password.
    pub refused_pause_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            control: Control::Own,
            menu: None,
            agent_number: "+12025558001".to_owned(),
            nodes: Vec::new(),
            link: LinkConfig::default(),
        }
    }
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            connect_timeout_ms: 2000,
            ping_ms: 1000,
            dead_after_ms: 3000,
            backoff_min_ms: 100,
            backoff_max_ms: 2000,
            refused_pause_ms: 30_000,
        }
    }
}

impl Check for Config {
    fn check(&self, at: &str, out: &mut Vec<Problem>) {
        if Number::new(&self.agent_number).is_err() {
            out.push(Problem::new(
                join(at, "agent_number"),
                domain::mask_number(&self.agent_number),
                "digits, perhaps a leading plus",
            ));
        }
        let mut ids = BTreeSet::new();
        for (n, node) in self.nodes.iter().enumerate() {
            let at = format!("{}[{n}]", join(at, "nodes"));
            node.check(&at, out);
            if !node.id.is_empty() && !ids.insert(&node.id) {
                out.push(Problem::new(join(&at, "id"), &node.id, "an id of its own for each node"));
            }
        }
        self.link.check(&join(at, "link"), out);
    }
}

impl Check for NodeConfig {
    fn check(&self, at: &str, out: &mut Vec<Problem>) {
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.id.is_empty() || self.id.len() > 64 || !self.id.chars().all(word) {
            out.push(Problem::new(join(at, "id"), &self.id, "1 to 64 letters, digits, dots, dashes and underscores"));
        }
        let port = self
            .address
            .rsplit_once(':')
            .filter(|(host, _)| !host.is_empty())
            .and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none_or(|port| port == 0) {
            out.push(Problem::new(
                join(at, "address"),
                &self.address,
                "host:port of the node's event socket, like 127.0.0.1:8021",
            ));
        }
        if self.password.is_empty() {
            out.push(Problem::new(
                join(at, "password"),
                "",
                "the password of event_socket.conf.xml; there is no default",
            ));
        }
        self.password.check_strength(&join(at, "password"), out);
        if esl::Command::auth(self.password.expose()).is_err() && !self.password.is_empty() {
            out.push(Problem::new(
                join(at, "password"),
                "***",
                "printable ASCII without blanks, at most 256 characters",
            ));
        }
    }
}

impl Check for LinkConfig {
    fn check(&self, at: &str, out: &mut Vec<Problem>) {
        for (key, value, min, max) in [
            ("connect_timeout_ms", self.connect_timeout_ms, 100, 60_000),
            ("ping_ms", self.ping_ms, 100, 60_000),
            ("dead_after_ms", self.dead_after_ms, self.ping_ms.saturating_mul(2), 600_000),
            ("backoff_min_ms", self.backoff_min_ms, 10, 60_000),
            ("backoff_max_ms", self.backoff_max_ms, self.backoff_min_ms, 600_000),
            ("refused_pause_ms", self.refused_pause_ms, 1000, 3_600_000),
        ] {
            if !(min..=max).contains(&value) {
                out.push(Problem::new(join(at, key), value, format!("{min} to {max} milliseconds")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(config: &Config) -> Vec<String> {
        let mut out = Vec::new();
        config.check("engine", &mut out);
        out.iter().map(ToString::to_string).collect()
    }

    fn node() -> NodeConfig {
        NodeConfig {
            id: "node-a".into(),
            address: "127.0.0.1:8021".into(),
            password: Secret::new("Example-esl-1-long"),
        }
    }

    #[test]
    fn a_complete_configuration_has_no_problem() {
        assert_eq!(problems(&Config { nodes: vec![node()], ..Config::default() }), Vec::<String>::new());
    }

    #[test]
    fn every_mistake_is_named_with_its_key_and_no_secret_is_shown() {
        let bad = NodeConfig { id: "a b".into(), address: "8021".into(), password: Secret::new("ClueCon") };
        let config = Config {
            agent_number: "1000 &system(x)".into(),
            nodes: vec![node(), node(), bad],
            link: LinkConfig { dead_after_ms: 1, ..LinkConfig::default() },
            ..Config::default()
        };
        let text = problems(&config).join("\n");
        for key in [
            "engine.agent_number",
            "engine.nodes[1].id",
            "engine.nodes[2].id",
            "engine.nodes[2].address",
            "engine.nodes[2].password",
            "engine.link.dead_after_ms",
        ] {
            assert!(text.contains(key), "{key} is missing in:\n{text}");
        }
        assert!(!text.contains("ClueCon"));
    }
}
