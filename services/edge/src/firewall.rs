//! Rules of the host firewall, from the same settings that the edge itself goes by: `trunkline edge firewall` prints them.
//!
//! The edge drops strangers by itself; the kernel does it for a tenth of the cost. Each set of rules is a table of its own that is
//! replaced as a whole (one transaction of `nft -f`) and says something about our ports only, so it lives beside whatever else a
//! machine has; with [`Options::close`] it closes everything else too.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use crate::config::{Admit, Config, ListenerConfig, NextHop, NodeConfig, Side, Source, Transport};

#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Nothing else gets in but this port of TCP (for SSH), answers, ICMP and what a machine says to itself.
    pub close: Option<u16>,
    /// Node-side addresses of further edges, for the rules of nodes.
    pub edges: Vec<IpAddr>,
}

/// Who may speak, by family and by whether only one port of theirs may.
#[derive(Default)]
struct Who {
    networks4: BTreeSet<String>,
    networks6: BTreeSet<String>,
    peers4: BTreeSet<String>,
    peers6: BTreeSet<String>,
}

impl Who {
    fn add(&mut self, source: Source) {
        match source {
            Source::Net { ip, bits } => {
                let set = if ip.is_ipv4() { &mut self.networks4 } else { &mut self.networks6 };
                set.insert(format!("{ip}/{bits}"));
            }
            Source::Port(addr) => {
                let ip = addr.ip().to_canonical();
                let set = if ip.is_ipv4() { &mut self.peers4 } else { &mut self.peers6 };
                set.insert(format!("{ip} . {}", addr.port()));
            }
        }
    }

    /// The sets of nftables: networks, addresses with a port, and all of them without ports for streams.
    fn sets(&self, name: &str, out: &mut String) {
        for (family, kind, networks, peers) in
            [("4", "ipv4_addr", &self.networks4, &self.peers4), ("6", "ipv6_addr", &self.networks6, &self.peers6)]
        {
            let bare = |peer: &String| peer.split(" . ").next().unwrap_or_default().to_owned();
            let all: BTreeSet<String> = networks.iter().cloned().chain(peers.iter().map(bare)).collect();
            set(out, &format!("{name}_networks{family}"), kind, true, networks);
            set(out, &format!("{name}_peers{family}"), &format!("{kind} . inet_service"), false, peers);
            set(out, &format!("{name}_addresses{family}"), kind, true, &all);
        }
    }
}

fn set(out: &mut String, name: &str, kind: &str, intervals: bool, elements: &BTreeSet<String>) {
    let _ = writeln!(out, "\tset {name} {{\n\t\ttype {kind}");
    if intervals {
        let _ = writeln!(out, "\t\tflags interval\n\t\tauto-merge");
    }
    if !elements.is_empty() {
        let list = elements.iter().cloned().collect::<Vec<_>>().join(", ");
        let _ = writeln!(out, "\t\telements = {{ {list} }}");
    }
    let _ = writeln!(out, "\t}}");
}

/// The rules of this edge.
#[must_use]
pub fn edge(config: &Config, options: &Options) -> String {
    let (mut trunks, mut nodes) = (Who::default(), Who::default());
    for trunk in &config.trunks {
        trunk.sources.iter().for_each(|&source| trunks.add(source));
        // What a name stands for changes: answers from there come by what the system tracks, calls from `sources`.
        let address = trunk.address.as_ref().and_then(NextHop::address);
        address.iter().for_each(|&address| trunks.add(Source::Port(address)));
    }
    for node in &config.nodes {
        node_sources(node).for_each(|source| nodes.add(source));
    }
    let mut out = head(&format!("of the edge {}", config.id), "trunkline_edge");
    trunks.sets("trunks", &mut out);
    nodes.sets("nodes", &mut out);
    for listener in config.listeners.iter().filter(|l| !l.balancers.is_empty()) {
        let mut balancers = Who::default();
        listener.balancers.iter().for_each(|&source| balancers.add(source));
        balancers.sets(&format!("balancers_{}", word(&listener.id)), &mut out);
    }
    chain(&mut out, options);
    for listener in &config.listeners {
        listen(&mut out, listener);
    }
    end(out, options)
}

fn listen(out: &mut String, listener: &ListenerConfig) {
    let port = listener.bind.port();
    let to = target(listener);
    let _ = writeln!(
        out,
        "\n\t\t# listener {}: {} from {}s",
        word(&listener.id),
        listener.transport.as_str(),
        listener.side.as_str()
    );
    if port == 0 {
        let _ = writeln!(out, "\t\t# its port is known only when it is bound; nothing is said about it");
        return;
    }
    if listener.admit != Admit::Address && listener.balancers.is_empty() {
        let _ = writeln!(out, "\t\t# any address: the handshake or the registrar decides\n\t\t{to} accept");
        return;
    }
    let side = match listener.side {
        Side::Trunk => "trunks",
        Side::Node => "nodes",
    };
    let balancers = format!("balancers_{}", word(&listener.id));
    // Behind a balancer every connection comes from it.
    let names: Vec<&str> = if listener.balancers.is_empty() { vec![side] } else { vec![side, &balancers] };
    let families: &[(&str, &str)] = if listener.bind.is_ipv4() { &[("ip", "4")] } else { &[("ip6", "6")] };
    for name in names {
        for (ip, family) in families {
            if listener.transport == Transport::Udp {
                let _ = writeln!(out, "\t\t{to} {ip} saddr @{name}_networks{family} accept");
                let _ = writeln!(out, "\t\t{to} {ip} saddr . udp sport @{name}_peers{family} accept");
            } else {
                let _ = writeln!(out, "\t\t{to} {ip} saddr @{name}_addresses{family} accept");
            }
        }
    }
    let _ = writeln!(out, "\t\t{to} counter drop");
}

/// What leads to a listener.
fn target(listener: &ListenerConfig) -> String {
    let protocol = if listener.transport == Transport::Udp { "udp" } else { "tcp" };
    let (ip, port) = (listener.bind.ip(), listener.bind.port());
    let family = if ip.is_ipv4() { "ip" } else { "ip6" };
    let at = if ip.is_unspecified() {
        format!("meta nfproto {}", if ip.is_ipv4() { "ipv4" } else { "ipv6" })
    } else {
        format!("{family} daddr {ip}")
    };
    format!("{at} {protocol} dport {port}")
}

fn node_sources(node: &NodeConfig) -> impl Iterator<Item = Source> {
    node.address.address().map(Source::Port).into_iter().chain(node.sources.iter().copied())
}

/// The rules of one node; none when there is no such node.
#[must_use]
pub fn node(config: &Config, id: &str, options: &Options) -> Option<String> {
    let node = config.nodes.iter().find(|n| n.id == id)?;
    let mut edges = Who::default();
    let sides = config.listeners.iter().filter(|l| l.side == Side::Node);
    let own = sides.map(|l| l.advertise.unwrap_or(l.bind).ip()).filter(|ip| !ip.is_unspecified());
    own.chain(options.edges.iter().copied()).for_each(|ip| edges.add(whole(ip)));
    let mut engines = Who::default();
    config.firewall.engines.iter().for_each(|&source| engines.add(source));
    let mut out = head(&format!("of the node {}", word(&node.id)), "trunkline_node");
    edges.sets("edges", &mut out);
    engines.sets("engines", &mut out);
    chain(&mut out, options);
    let port = node.address.port();
    let _ = writeln!(out, "\n\t\t# SIP: from edges alone");
    for protocol in ["udp", "tcp"] {
        let _ = writeln!(out, "\t\t{protocol} dport {port} ip saddr @edges_addresses4 accept");
        let _ = writeln!(out, "\t\t{protocol} dport {port} ip6 saddr @edges_addresses6 accept");
        let _ = writeln!(out, "\t\t{protocol} dport {port} counter drop");
    }
    let rtp = config.firewall.rtp_ports;
    let _ = writeln!(out, "\n\t\t# media: from wherever a session description says\n\t\tudp dport {rtp} accept");
    let esl = config.firewall.esl_port;
    if esl > 0 {
        let _ = writeln!(out, "\n\t\t# event socket: from engines alone, and from the node itself");
        let _ = writeln!(out, "\t\tiifname \"lo\" tcp dport {esl} accept");
        let _ = writeln!(out, "\t\ttcp dport {esl} ip saddr @engines_addresses4 accept");
        let _ = writeln!(out, "\t\ttcp dport {esl} ip6 saddr @engines_addresses6 accept");
        let _ = writeln!(out, "\t\ttcp dport {esl} counter drop");
    }
    Some(end(out, options))
}

fn whole(ip: IpAddr) -> Source {
    Source::Net { ip, bits: if ip.is_ipv4() { 32 } else { 128 } }
}

fn head(whose: &str, table: &str) -> String {
    // Declared before it is deleted, so that the first load works as every other.
    format!(
        "#!/usr/sbin/nft -f\n# Rules {whose}, written by `trunkline edge firewall` from its settings; load them with: nft -f FILE\n\
         table inet {table}\ndelete table inet {table}\n\ntable inet {table} {{\n"
    )
}

fn chain(out: &mut String, options: &Options) {
    let policy = if options.close.is_some() { "drop" } else { "accept" };
    let _ = writeln!(out, "\n\tchain input {{\n\t\ttype filter hook input priority filter; policy {policy};");
    if let Some(ssh) = options.close {
        let _ = writeln!(out, "\n\t\tct state established,related accept");
        let _ = writeln!(out, "\t\tmeta l4proto {{ icmp, ipv6-icmp }} accept\n\t\ttcp dport {ssh} accept");
    }
}

/// What a machine says to itself passes behind our own ports, which are closed to it too.
fn end(mut out: String, options: &Options) -> String {
    if options.close.is_some() {
        let _ = writeln!(out, "\n\t\tiifname \"lo\" accept");
    }
    out + "\t}\n}\n"
}

/// Ids are free text; in a rule they are comments and names of sets.
fn word(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let text = r#"{
            "id": "edge-1",
            "listeners": [
                {"id": "udp", "side": "trunk", "bind": "192.0.2.1:5060"},
                {"id": "any-tls", "side": "trunk", "transport": "tls", "bind": "0.0.0.0:5061", "advertise": "192.0.2.1:5061", "admit": "registrar", "trunk": "phones"},
                {"id": "nodes; drop", "side": "node", "bind": "10.0.0.1:5070"}],
            "trunks": [
                {"id": "a", "sources": ["198.51.100.0/28", "203.0.113.7:5060", "2001:db8::/64"], "address": "198.51.100.4:5060"},
                {"id": "phones", "sources": []}],
            "nodes": [{"id": "fs-1", "address": "10.0.0.11:5080"}],
            "firewall": {"engines": ["10.0.0.5"]}
        }"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn every_listener_hears_its_own_side_and_nobody_else() {
        let rules = edge(&config(), &Options::default());
        for line in [
            "elements = { 198.51.100.0/28 }",
            "elements = { 198.51.100.4 . 5060, 203.0.113.7 . 5060 }",
            "ip daddr 192.0.2.1 udp dport 5060 ip saddr @trunks_networks4 accept",
            "ip daddr 192.0.2.1 udp dport 5060 ip saddr . udp sport @trunks_peers4 accept",
            "ip daddr 192.0.2.1 udp dport 5060 counter drop",
            "meta nfproto ipv4 tcp dport 5061 accept",
            "ip daddr 10.0.0.1 udp dport 5070 ip saddr . udp sport @nodes_peers4 accept",
            "# listener nodes__drop: udp from nodes",
            "policy accept;",
        ] {
            assert!(rules.contains(line), "{line} in\n{rules}");
        }
        assert!(!rules.contains("elements = {  }"));
        let closed = edge(&config(), &Options { close: Some(22), ..Options::default() });
        assert!(closed.contains("policy drop;") && closed.contains("tcp dport 22 accept"));
    }

    #[test]
    fn a_node_hears_edges_its_engines_and_media() {
        let options = Options { edges: vec!["10.0.0.2".parse().unwrap()], ..Options::default() };
        let rules = node(&config(), "fs-1", &options).unwrap();
        for line in [
            "elements = { 10.0.0.1/32, 10.0.0.2/32 }",
            "udp dport 5080 ip saddr @edges_addresses4 accept",
            "udp dport 16384-32768 accept",
            "elements = { 10.0.0.5/32 }",
            "tcp dport 8021 counter drop",
        ] {
            assert!(rules.contains(line), "{line} in\n{rules}");
        }
        assert!(node(&config(), "nobody", &options).is_none());
    }
}
