//! Settings about operating an edge: numbers that go their own way, and what the firewalls of edge and nodes must let through.

use std::fmt;
use std::str::FromStr;

use kit::settings::{Check, Problem, join};
use serde::{Deserialize, Serialize};

use super::{Config, Source, as_text};

/// A dialled number whose calls do not go to the pool of their trunk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DialledNumber {
    /// As the trunk dials it, or as E.164 when the trunk's `numbers` tell it.
    pub number: String,
    /// Only in calls of that trunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trunk: Option<String>,
    pub pool: String,
}

/// What edge and nodes are reached by, beside SIP; `trunkline edge firewall` writes rules from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FirewallConfig {
    /// Where the nodes have their media.
    pub rtp_ports: Ports,
    /// Of the event socket of the nodes; 0: rules say nothing about it.
    pub esl_port: u16,
    /// Who may use the event socket: the engines.
    pub engines: Vec<Source>,
}

impl Default for FirewallConfig {
    fn default() -> FirewallConfig {
        FirewallConfig { rtp_ports: Ports { first: 16_384, last: 32_768 }, esl_port: 8_021, engines: Vec::new() }
    }
}

/// `16384-32768`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    pub first: u16,
    pub last: u16,
}

impl Ports {
    #[must_use]
    pub fn holds(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// What both have.
    #[must_use]
    pub fn common(self, other: Ports) -> Option<Ports> {
        let (first, last) = (self.first.max(other.first), self.last.min(other.last));
        (first <= last).then_some(Ports { first, last })
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Ports, String> {
        let wrong = || format!("{text:?} is no range of ports like \"16384-32768\"");
        let (first, last) = text.split_once('-').ok_or_else(wrong)?;
        let port = |text: &str| text.trim().parse::<u16>().ok().filter(|&port| port > 0);
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Ports { first, last }),
            _ => Err(wrong()),
        }
    }
}

as_text!(Ports);

impl Config {
    /// Everything that is wrong with them, a line each.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut out = Vec::new();
        Check::check(self, "edge", &mut out);
        out.iter().map(ToString::to_string).collect()
    }

    pub(super) fn check_operation(&self, at: &str, out: &mut Vec<Problem>) {
        for (i, number) in self.numbers.iter().enumerate() {
            let key = |field: &str| join(at, &format!("numbers[{i}].{field}"));
            let is_double = self.numbers[..i].iter().any(|n| n.number == number.number && n.trunk == number.trunk);
            if number.number.is_empty() || number.number.contains(['/', ' ']) || is_double {
                out.push(Problem::new(key("number"), &number.number, "what is dialled, once for each trunk"));
            }
            if let Some(trunk) = number.trunk.as_ref().filter(|id| !self.trunks.iter().any(|t| &t.id == *id)) {
                out.push(Problem::new(key("trunk"), trunk, "the id of a trunk"));
            }
            if !self.nodes.iter().any(|n| n.pool == number.pool) {
                out.push(Problem::new(key("pool"), &number.pool, "the pool of at least one node"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NodeConfig;

    #[test]
    fn ranges_of_ports_are_read_written_and_compared() {
        let ports = |text: &str| text.parse::<Ports>();
        assert_eq!(ports("16384-32768").unwrap().to_string(), "16384-32768");
        assert_eq!(ports("1-9").unwrap().common(ports("9-12").unwrap()), Some(Ports { first: 9, last: 9 }));
        assert_eq!(ports("1-9").unwrap().common(ports("10-12").unwrap()), None);
        for wrong in ["", "5", "9-1", "0-5", "1-70000", "a-b"] {
            assert!(ports(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn numbers_name_trunks_and_pools_that_there_are() {
        let number = |number: &str, trunk: Option<&str>, pool: &str| DialledNumber {
            number: number.into(),
            trunk: trunk.map(str::to_owned),
            pool: pool.into(),
        };
        let config = Config {
            nodes: vec![NodeConfig { id: "n".into(), ..NodeConfig::default() }],
            numbers: vec![
                number("+491", None, "inbound"),
                number("+491", None, "inbound"),
                number("2", Some("t"), "sales"),
            ],
            ..Config::default()
        };
        let mut out = Vec::new();
        config.check_operation("edge", &mut out);
        let keys: Vec<&str> = out.iter().map(|p| p.key.as_str()).collect();
        assert_eq!(keys, ["edge.numbers[1].number", "edge.numbers[2].trunk", "edge.numbers[2].pool"]);
    }
}
