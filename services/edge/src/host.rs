//! Limits of the machine that an edge runs into when it is busy, each with the command that mends it. Looked at by `check` and at
//! every start; none of them keeps an edge from starting.

use std::fmt;
use std::path::Path;

use rustix::process::{Resource, getrlimit};

use crate::config::{Config, Ports};

/// Files of the rest of the process: stores, event log, admin.
const OTHER_FILES: u64 = 512;

/// What is too small, or in each other's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub what: String,
    /// Mends it until the next boot, and says what makes it last.
    pub command: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; mend it with: {}", self.what, self.command)
    }
}

/// What the machine says of itself; none: it does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Files that this process may have open; the hard limit, to which it raises itself.
    pub files: Option<u64>,
    /// `net.core.rmem_max`.
    pub receive_buffer: Option<u64>,
    /// `net.ipv4.ip_local_port_range`: where the system takes the ports of outgoing connections from.
    pub own_ports: Option<Ports>,
    /// `net.ipv4.ip_local_reserved_ports`: those that it leaves alone.
    pub reserved: Vec<Ports>,
    /// `net.ipv4.ip_unprivileged_port_start`, for others than root.
    pub first_free_port: Option<u16>,
}

impl Facts {
    /// Of this machine.
    #[must_use]
    pub fn read() -> Facts {
        let file = |name: &str| std::fs::read_to_string(Path::new("/proc/sys/net").join(name)).ok();
        let range = |text: String| {
            let mut ports = text.split_whitespace().map(str::parse);
            Some(Ports { first: ports.next()?.ok()?, last: ports.next()?.ok()? })
        };
        let is_root = rustix::process::geteuid().is_root();
        let first_free_port = file("ipv4/ip_unprivileged_port_start").and_then(|text| text.trim().parse().ok());
        Facts {
            files: getrlimit(Resource::Nofile).maximum,
            receive_buffer: file("core/rmem_max").and_then(|text| text.trim().parse().ok()),
            own_ports: file("ipv4/ip_local_port_range").and_then(range),
            reserved: file("ipv4/ip_local_reserved_ports").map(|text| reserved(&text)).unwrap_or_default(),
            first_free_port: first_free_port.filter(|_| !is_root),
        }
    }
}

fn reserved(text: &str) -> Vec<Ports> {
    let one = |part: &str| match part.split_once('-') {
        Some(_) => part.parse().ok(),
        None => part.parse().ok().map(|port| Ports { first: port, last: port }),
    };
    text.trim().split(',').filter_map(one).collect()
}

/// What is wrong with this machine for these settings.
#[must_use]
pub fn look(config: &Config) -> Vec<Finding> {
    judge(config, &Facts::read())
}

/// Into the log, at a start.
pub fn tell(findings: &[Finding]) {
    for finding in findings {
        tracing::warn!(mend = finding.command, "{}", finding.what);
    }
}

/// The same of any machine.
#[must_use]
pub fn judge(config: &Config, facts: &Facts) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut find = |what: String, command: String| out.push(Finding { what, command });
    let has_streams = config.listeners.iter().any(|l| l.transport.is_stream());
    let files = config.streams.connections as u64 + config.listeners.len() as u64 + OTHER_FILES;
    if let Some(most) = facts.files.filter(|most| has_streams && *most < files) {
        find(
            format!("{most} files may be open, edge.streams.connections needs {files}"),
            format!("ulimit -Hn {files} (a service: LimitNOFILE={files})"),
        );
    }
    let wanted = config.receive_buffer_bytes as u64;
    if let Some(most) = facts.receive_buffer.filter(|most| *most < wanted) {
        find(
            format!(
                "a socket may have {most} bytes for what waits to be read, edge.receive_buffer_bytes asks for {wanted}"
            ),
            format!("sysctl -w net.core.rmem_max={wanted} (to last: the same in /etc/sysctl.d/trunkline.conf)"),
        );
    }
    let is_reserved = |port: u16| facts.reserved.iter().any(|range| range.holds(port));
    if let Some(own) = facts.own_ports {
        let taken: Vec<u16> = ports(config).into_iter().filter(|&port| own.holds(port) && !is_reserved(port)).collect();
        if !taken.is_empty() {
            let list = taken.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
            find(
                format!("the system gives the ports {list} of our listeners to outgoing connections ({own})"),
                reserve(facts, &list),
            );
        }
        let rtp = config.firewall.rtp_ports;
        let is_whole = facts.reserved.iter().any(|range| range.holds(rtp.first) && range.holds(rtp.last));
        // Elsewhere it is the business of that machine.
        let common = own
            .common(rtp)
            .filter(|common| has_node(config) && !is_whole && !(common.first..=common.last).all(is_reserved));
        if let Some(common) = common {
            find(
                format!(
                    "the system gives ports {common} of the nodes' media (edge.firewall.rtp_ports {rtp}) to outgoing connections ({own})"
                ),
                reserve(facts, &common.to_string()),
            );
        }
    }
    let rtp = config.firewall.rtp_ports;
    let in_media: Vec<u16> = ports(config).into_iter().filter(|&port| rtp.holds(port)).collect();
    if let Some(port) = in_media.first() {
        find(
            format!(
                "port {port} of a listener lies within the nodes' media (edge.firewall.rtp_ports {rtp}); a node on this machine may take it"
            ),
            format!(
                "another bind port, or <param name=\"rtp-start-port\" value=\"…\"/> above {port} in the node's switch.conf.xml"
            ),
        );
    }
    let low = facts
        .first_free_port
        .and_then(|first| ports(config).into_iter().find(|&port| port < first).map(|port| (port, first)));
    if let Some((port, first)) = low {
        find(
            format!("port {port} is below {first}, which only root may bind"),
            format!(
                "sysctl -w net.ipv4.ip_unprivileged_port_start={port} (a service: AmbientCapabilities=CAP_NET_BIND_SERVICE)"
            ),
        );
    }
    out
}

/// Whether a node runs on this machine.
fn has_node(config: &Config) -> bool {
    let own = |ip: std::net::IpAddr| ip.is_loopback() || config.listeners.iter().any(|l| l.bind.ip() == ip);
    config.nodes.iter().any(|n| n.address.address().is_some_and(|address| own(address.ip())))
}

fn ports(config: &Config) -> Vec<u16> {
    let mut ports: Vec<u16> = config.listeners.iter().map(|l| l.bind.port()).filter(|&port| port > 0).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// What is reserved already stays so.
fn reserve(facts: &Facts, list: &str) -> String {
    let before: Vec<String> =
        facts.reserved.iter().map(|r| if r.first == r.last { r.first.to_string() } else { r.to_string() }).collect();
    let all = before.into_iter().chain([list.to_owned()]).collect::<Vec<_>>().join(",");
    format!("sysctl -w net.ipv4.ip_local_reserved_ports={all} (to last: the same in /etc/sysctl.d/trunkline.conf)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Transport;

    fn facts() -> Facts {
        Facts {
            files: Some(1_048_576),
            receive_buffer: Some(16_777_216),
            own_ports: Some(Ports { first: 32_769, last: 60_999 }),
            reserved: Vec::new(),
            first_free_port: Some(1_024),
        }
    }

    #[test]
    fn a_machine_that_is_big_enough_is_left_in_peace() {
        assert_eq!(judge(&Config::default(), &facts()), []);
        assert_eq!(judge(&Config::default(), &Facts::default()), [], "what is not known is not wrong");
    }

    #[test]
    fn every_limit_is_named_with_the_command_that_mends_it() {
        let mut config = Config::default();
        config.listeners[0].transport = Transport::Tcp;
        config.listeners[0].bind.set_port(40_000);
        config.listeners[1].bind.set_port(420);
        config.nodes.push(crate::config::NodeConfig { id: "n".into(), ..crate::config::NodeConfig::default() });
        let small = Facts {
            files: Some(1_024),
            receive_buffer: Some(212_992),
            own_ports: Some(Ports { first: 32_768, last: 60_999 }),
            reserved: reserved("8080,9000-9010\n"),
            first_free_port: Some(1_024),
        };
        let found = judge(&config, &small);
        let commands: Vec<&str> = found.iter().map(|f| f.command.split(" (").next().unwrap_or_default()).collect();
        assert_eq!(
            commands,
            [
                "ulimit -Hn 10514",
                "sysctl -w net.core.rmem_max=4194304",
                "sysctl -w net.ipv4.ip_local_reserved_ports=8080,9000-9010,40000",
                "sysctl -w net.ipv4.ip_local_reserved_ports=8080,9000-9010,32768-32768",
                "sysctl -w net.ipv4.ip_unprivileged_port_start=420",
            ]
        );
        config.firewall.rtp_ports = Ports { first: 30_000, last: 45_000 };
        let mended = Facts {
            reserved: reserved("30000-45000"),
            files: None,
            receive_buffer: None,
            first_free_port: None,
            ..small
        };
        let found = judge(&config, &mended);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].what.contains("40000"));
    }
}
