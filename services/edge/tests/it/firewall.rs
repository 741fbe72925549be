//! The generated firewall rules, loaded into a network namespace and tried with packets.
//!
//! Needs root, `unshare`, `ip` and `nft`; elsewhere a line says that it was skipped and why.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use edge::Config;
use edge::firewall::{self, Options};
use socket2::{Domain, Socket, Type};

const INSIDE: &str = "TRUNKLINE_TEST_NAMESPACE";
/// Loopback takes no time; what did not come by then was dropped.
const PATIENCE: Duration = Duration::from_millis(300);

/// Why it cannot be done here.
fn missing() -> Option<String> {
    for (tool, args) in [("nft", "--version"), ("ip", "-V"), ("unshare", "--version")] {
        let found = Command::new(tool).arg(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            return Some(format!("{tool} is not there"));
        }
    }
    let tried = Command::new("unshare").args(["-n", "nft", "list", "ruleset"]).output();
    match tried {
        Ok(done) if done.status.success() => None,
        Ok(done) => Some(String::from_utf8_lossy(&done.stderr).trim().to_owned()),
        Err(error) => Some(error.to_string()),
    }
}

fn config() -> Config {
    let text = r#"{
        "listeners": [
            {"id": "udp", "side": "trunk", "bind": "127.0.0.1:5060"},
            {"id": "tcp", "side": "trunk", "transport": "tcp", "bind": "127.0.0.1:5060"},
            {"id": "six", "side": "trunk", "bind": "[::1]:5060"},
            {"id": "nodes", "side": "node", "bind": "127.0.0.1:5070"}],
        "trunks": [{"id": "a", "sources": ["127.0.1.0/24", "127.0.2.1:5060", "::1"]}],
        "nodes": [{"id": "fs-1", "address": "127.0.3.1:5080"}],
        "firewall": {"engines": ["127.0.4.1"]}
    }"#;
    serde_json::from_str(text).unwrap()
}

/// True inside a network namespace of its own; outside of one it runs the named test again in one, or says why not.
fn apart(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        tool("ip", &["link", "set", "lo", "up"]);
        return true;
    }
    if let Some(why) = missing() {
        println!("SKIPPED: the firewall rules were not loaded: {why}");
        return false;
    }
    let this = std::env::current_exe().unwrap();
    let mut again = Command::new("unshare");
    again.arg("-n").arg(this).args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
    let done = again.output().unwrap();
    let told = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && told.contains("1 passed"), "{told}");
    false
}

fn tool(name: &str, args: &[&str]) -> String {
    let done = Command::new(name).args(args).output().unwrap();
    assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn load(rules: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), rules).unwrap();
    tool("nft", &["-f", file.path().to_str().unwrap()]);
}

/// Whether a packet, or a connection, gets from there to a port.
fn passes(kind: &str, source: &str, to: &str) -> bool {
    let (source, to): (SocketAddr, SocketAddr) = (source.parse().unwrap(), to.parse().unwrap());
    if kind == "udp" {
        let receiver = UdpSocket::bind(to).unwrap();
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        let sender = UdpSocket::bind(source).unwrap();
        return sender.send_to(b"x", to).is_ok() && receiver.recv(&mut [0; 9]).is_ok();
    }
    let _listener = TcpListener::bind(to).unwrap();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&source.into()).unwrap();
    socket.connect_timeout(&to.into(), PATIENCE).is_ok()
}

#[test]
fn the_rules_of_an_edge_let_its_peers_in_and_nobody_else() {
    if !apart("firewall::the_rules_of_an_edge_let_its_peers_in_and_nobody_else") {
        return;
    }
    let rules = firewall::edge(&config(), &Options::default());
    // The second load replaces the first.
    load(&rules);
    load(&rules);
    for (kind, source, to, wanted, what) in [
        ("udp", "127.0.1.7:9", "127.0.0.1:5060", true, "a network of a trunk"),
        ("udp", "127.0.2.1:5060", "127.0.0.1:5060", true, "an address and port of a trunk"),
        ("udp", "127.0.2.1:5061", "127.0.0.1:5060", false, "another port of it"),
        ("udp", "127.0.9.9:5060", "127.0.0.1:5060", false, "a stranger"),
        ("udp", "[::1]:9", "[::1]:5060", true, "a trunk by IPv6"),
        ("udp", "127.0.3.1:5080", "127.0.0.1:5060", false, "a node on the trunk side"),
        ("udp", "127.0.3.1:5080", "127.0.0.1:5070", true, "a node"),
        ("udp", "127.0.1.7:9", "127.0.0.1:5070", false, "a trunk on the node side"),
        ("udp", "127.0.9.9:5060", "127.0.0.1:7000", true, "what is not our business"),
        ("tcp", "127.0.2.1:0", "127.0.0.1:5060", true, "a trunk connects from any port"),
        ("tcp", "127.0.9.9:0", "127.0.0.1:5060", false, "a stranger connects"),
    ] {
        assert_eq!(passes(kind, source, to), wanted, "{what}: {kind} {source} to {to}");
    }
    load(&firewall::edge(&config(), &Options { close: Some(22), ..Options::default() }));
    assert!(passes("udp", "127.0.1.7:9", "127.0.0.1:5060") && !passes("udp", "127.0.9.9:5060", "127.0.0.1:5060"));
    let listed = tool("nft", &["list", "ruleset"]);
    assert_eq!(listed.matches("table inet trunkline_edge").count(), 1, "{listed}");
    assert!(listed.contains("policy drop"), "{listed}");
}

#[test]
fn the_rules_of_a_node_let_edges_engines_and_media_in() {
    if !apart("firewall::the_rules_of_a_node_let_edges_engines_and_media_in") {
        return;
    }
    let options = Options { edges: vec!["127.0.5.1".parse().unwrap()], ..Options::default() };
    let rules = firewall::node(&config(), "fs-1", &options).unwrap();
    load(&rules);
    for (kind, source, to, wanted, what) in [
        ("udp", "127.0.0.1:5070", "127.0.3.1:5080", true, "the edge"),
        ("udp", "127.0.5.1:5070", "127.0.3.1:5080", true, "a further edge"),
        ("udp", "127.0.9.9:5060", "127.0.3.1:5080", false, "a stranger"),
        ("tcp", "127.0.9.9:0", "127.0.3.1:5080", false, "a stranger connects"),
        ("udp", "127.0.9.9:4000", "127.0.3.1:16384", true, "media"),
        ("tcp", "127.0.9.9:0", "127.0.3.1:8021", true, "the node itself has its event socket"),
    ] {
        assert_eq!(passes(kind, source, to), wanted, "{what}: {kind} {source} to {to}");
    }
    // All packets of a namespace come by its loopback; without that rule they count as others' do.
    load(&rules.replace("iifname \"lo\" tcp dport 8021 accept\n", "\n"));
    assert!(passes("tcp", "127.0.4.1:0", "127.0.3.1:8021"), "an engine");
    assert!(!passes("tcp", "127.0.9.9:0", "127.0.3.1:8021"), "nobody else");
}
