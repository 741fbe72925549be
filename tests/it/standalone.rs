//! `standalone` set up as the README says, with a stranger's SIP stack on both sides: stock SIPp calls through it, the call
//! has one record, and SIGTERM ends everything in order.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tests::{command, root, skipped, wait};

use super::outside::{Ends, Process, free_port, get};

struct Ports {
    trunk: u16,
    node_side: u16,
    node: u16,
    api: u16,
    admin: u16,
}

fn settings(folder: &Path) -> Ports {
    let ports =
        Ports { trunk: free_port(), node_side: free_port(), node: free_port(), api: free_port(), admin: free_port() };
    let text = fs::read_to_string(root().join("infra/config/standalone.toml")).expect("the shipped example");
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

/// `standalone` as its settings have it. Its rings stay out of the folder of the machine's other processes.
fn standalone(folder: &Path, memory: &Path) -> Process {
    let mut command = command(folder, &["standalone"]).expect("built");
    command.env("TRUNKLINE__RUN_DIR", memory);
    Process::start(command, folder)
}

#[test]
fn standalone_starts_with_the_shipped_settings_and_ends_in_order_on_sigterm() {
    let folder = tempfile::tempdir().expect("a folder");
    let memory = tempfile::tempdir_in("/dev/shm").expect("a tmpfs");
    let ports = settings(folder.path());
    let mut process = standalone(folder.path(), memory.path());
    process.until("readiness", || get(ports.admin, "/readyz"));
    let metrics = get(ports.admin, "/metrics").expect("metrics are open");
    assert!(metrics.contains("# EOF"), "{metrics}");
    let status = process.terminate();
    assert!(status.success(), "nothing was abandoned, so the exit code is 0: {status}");
}

fn has_sipp(what: &str) -> bool {
    let found = Command::new("sipp").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        skipped(&format!("{what} (sipp is not installed; Debian: sip-tester)"));
    }
    found
}

fn node(ports: &Ports, folder: &Path) -> Ends {
    let port = ports.node.to_string();
    Ends(sipp(&["-sn", "uas", "-i", "127.0.0.1", "-p", &port, "-nostdin"], folder).expect("sipp as node"))
}

/// One call from a trunk to the node and back.
fn call(ports: &Ports, folder: &Path) {
    let edge = format!("127.0.0.1:{}", ports.trunk);
    let args = ["-sn", "uac", &edge, "-i", "127.0.0.1", "-s", "442079460018", "-m", "1", "-d", "300", "-nostdin"];
    let mut caller = sipp(&args, folder).expect("sipp as caller");
    let status = wait(&mut caller, Duration::from_secs(30)).expect("the call ends");
    assert!(status.success(), "sipp's call failed: {status}");
}

/// Calls with a final record, once there are so many.
fn records(process: &mut Process, ports: &Ports, count: usize) -> Vec<Value> {
    process.until("the records", || {
        let body = get(ports.api, "/v1/calls?limit=10")?;
        let json: Value = serde_json::from_str(&body).ok()?;
        let calls = json["calls"].as_array()?.clone();
        let done = calls.iter().filter(|c| c["finality"] == "final").count();
        (done == count).then_some(calls)
    })
}

#[test]
fn a_call_from_stock_sipp_gives_one_record() {
    if !has_sipp("a call from stock SIPp") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let memory = tempfile::tempdir_in("/dev/shm").expect("a tmpfs");
    let ports = settings(folder.path());
    let _node = node(&ports, folder.path());
    let mut process = standalone(folder.path(), memory.path());
    process.until("readiness", || get(ports.admin, "/readyz"));
    call(&ports, folder.path());
    let calls = records(&mut process, &ports, 1);
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert_eq!(calls[0]["disposition"], "answered", "{calls:?}");
    process.terminate();
}

/// Waits until the process says of one of its parts what is expected.
fn until_ready(process: &mut Process, ports: &Ports, component: &str, ready: bool) {
    let line = format!("process_component_ready{{component=\"{component}\"}} {}", u8::from(ready));
    process.until(&line, || get(ports.admin, "/metrics")?.lines().any(|l| l == line).then_some(()));
}

#[test]
fn calls_go_on_while_the_call_log_is_damaged_and_their_records_follow_when_it_is_mended() {
    if !has_sipp("calls beside a damaged call log") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let memory = tempfile::tempdir_in("/dev/shm").expect("a tmpfs");
    let ports = settings(folder.path());
    let store = folder.path().join("trunkline-data/cdr");
    let files = || ["calls.sqlite", "calls.sqlite-wal", "calls.sqlite-shm"].map(|name| store.join(name));
    let damage = || files().iter().for_each(|file| fs::write(file, [0x5a; 64 << 10]).expect("damage"));
    // SQLite may have taken one or the other away itself.
    let mend = || files().iter().filter(|file| file.exists()).for_each(|file| fs::remove_file(file).expect("removed"));

    // As a machine may leave it that lost its power.
    fs::create_dir_all(&store).expect("its folder");
    damage();
    let _node = node(&ports, folder.path());
    let mut process = standalone(folder.path(), memory.path());
    until_ready(&mut process, &ports, "calls", true);
    until_ready(&mut process, &ports, "cdr", false);
    call(&ports, folder.path());
    mend();
    until_ready(&mut process, &ports, "cdr", true);
    records(&mut process, &ports, 1);

    // And while it is written.
    damage();
    call(&ports, folder.path());
    until_ready(&mut process, &ports, "cdr", false);
    call(&ports, folder.path());
    mend();
    records(&mut process, &ports, 3);
    let status = process.terminate();
    assert_eq!(status.code(), Some(1), "that something failed is told at the end, too");
}
