//! `standalone` set up as the README says, with a stranger's SIP stack on both sides: stock SIPp calls through it, the call
//! has one record, and SIGTERM ends everything in order.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tests::{spawn, wait};

use super::outside::{Ends, get, until};

fn free_udp() -> u16 {
    UdpSocket::bind("127.0.0.1:0").and_then(|s| s.local_addr()).expect("a free port").port()
}

fn free_tcp() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|s| s.local_addr()).expect("a free port").port()
}

struct Ports {
    trunk: u16,
    node_side: u16,
    node: u16,
    api: u16,
    admin: u16,
}

fn settings(folder: &Path) -> Ports {
    let ports =
        Ports { trunk: free_udp(), node_side: free_udp(), node: free_udp(), api: free_tcp(), admin: free_tcp() };
    let text = fs::read_to_string(tests::root().join("infra/config/standalone.toml")).expect("the shipped example");
    let text = text
        .replace("127.0.0.1:5060", &format!("127.0.0.1:{}", ports.trunk))
        .replace("127.0.0.1:5070", &format!("127.0.0.1:{}", ports.node_side))
        .replace("127.0.0.1:5080", &format!("127.0.0.1:{}", ports.node))
        .replace("127.0.0.1:8080", &format!("127.0.0.1:{}", ports.api))
        .replace("127.0.0.1:9600", &format!("127.0.0.1:{}", ports.admin));
    fs::write(folder.join("trunkline.toml"), text).expect("settings");
    ports
}

fn sipp(args: &[&str], folder: &Path) -> std::io::Result<Child> {
    Command::new("sipp")
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

fn terminate(child: &mut Child) {
    let status = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill");
    assert!(status.success());
}

#[test]
fn standalone_starts_with_the_shipped_settings_and_ends_in_order_on_sigterm() {
    let folder = tempfile::tempdir().expect("a folder");
    let ports = settings(folder.path());
    let mut child = Ends(spawn(folder.path(), &["standalone"]).expect("started"));
    until("readiness", Duration::from_secs(20), || get(ports.admin, "/readyz"));
    let metrics = get(ports.admin, "/metrics").expect("metrics are open");
    assert!(metrics.contains("# EOF"), "{metrics}");
    terminate(&mut child.0);
    let status = wait(&mut child.0, Duration::from_secs(60)).expect("it ends");
    assert!(status.success(), "nothing was abandoned, so the exit code is 0: {status}");
}

#[test]
fn a_call_from_stock_sipp_gives_one_record() {
    if Command::new("sipp").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        let _ =
            writeln!(std::io::stderr(), "SKIPPED: a call from stock SIPp (sipp is not installed; Debian: sip-tester)");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let ports = settings(folder.path());
    let node = ports.node.to_string();
    let _node =
        Ends(sipp(&["-sn", "uas", "-i", "127.0.0.1", "-p", &node, "-nostdin"], folder.path()).expect("sipp as node"));
    let mut child = Ends(spawn(folder.path(), &["standalone"]).expect("started"));
    until("readiness", Duration::from_secs(20), || get(ports.admin, "/readyz"));

    let edge = format!("127.0.0.1:{}", ports.trunk);
    let args = ["-sn", "uac", &edge, "-i", "127.0.0.1", "-s", "442079460018", "-m", "1", "-d", "300", "-nostdin"];
    let mut caller = sipp(&args, folder.path()).expect("sipp as caller");
    let status = wait(&mut caller, Duration::from_secs(30)).expect("the call ends");
    assert!(status.success(), "sipp's call failed: {status}");

    let calls = until("the record", Duration::from_secs(2), || {
        let body = get(ports.api, "/v1/calls?limit=10")?;
        let json: Value = serde_json::from_str(&body).ok()?;
        let calls = json["calls"].as_array()?.clone();
        calls.iter().any(|c| c["finality"] == "final").then_some(calls)
    });
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert_eq!(calls[0]["disposition"], "answered", "{calls:?}");
    terminate(&mut child.0);
    wait(&mut child.0, Duration::from_secs(60)).expect("it ends");
}
