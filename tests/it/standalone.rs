//! `standalone` set up as the README says, with a stranger's SIP stack on both sides: stock SIPp calls through it, the call
//! has one record, SIGTERM ends everything in order, and a damaged call log holds up no call.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tests::{command, root, wait};

use super::outside::{Ends, Process, free_port, get, has_sipp, sipp};

/// What the README promises: from the end of a call to its record.
const RECORD_WITHIN: Duration = Duration::from_secs(2);

/// A folder with the shipped settings, where only the ports are this machine's own.
struct Site {
    folder: TempDir,
    /// The rings stay out of the folder of the machine's other processes.
    memory: TempDir,
    trunk: u16,
    node: u16,
    api: u16,
    admin: u16,
}

impl Site {
    fn new() -> Site {
        let folder = tempfile::tempdir().expect("a folder");
        let memory = tempfile::tempdir_in("/dev/shm").expect("a tmpfs");
        let [trunk, node_side, node, api, admin] = std::array::from_fn(|_| free_port());
        let mut text = fs::read_to_string(root().join("infra/config/standalone.toml")).expect("the shipped example");
        for (from, to) in [(5060, trunk), (5070, node_side), (5080, node), (8080, api), (9600, admin)] {
            text = text.replace(&format!("127.0.0.1:{from}"), &format!("127.0.0.1:{to}"));
        }
        fs::write(folder.path().join("trunkline.toml"), text).expect("settings");
        Site { folder, memory, trunk, node, api, admin }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn start(&self) -> Process {
        let mut command = command(self.path(), &["standalone"]).expect("built");
        command.env("TRUNKLINE__RUN_DIR", self.memory.path());
        Process::start(command, self.path())
    }

    fn node(&self) -> Ends {
        Ends(sipp(self.path(), &["-sn", "uas", "-p", &self.node.to_string()]))
    }

    /// One call from a trunk to the node and back.
    fn call(&self) {
        let edge = format!("127.0.0.1:{}", self.trunk);
        let mut caller = sipp(self.path(), &["-sn", "uac", &edge, "-s", "442079460018", "-m", "1", "-d", "300"]);
        let status = wait(&mut caller, Duration::from_secs(30)).expect("the call ends");
        assert!(status.success(), "sipp's call failed: {status}");
    }

    /// All calls that have a record, once so many records are final.
    fn records(&self, count: usize) -> Option<Vec<Value>> {
        let body = get(self.api, "/v1/calls?limit=10")?;
        let json: Value = serde_json::from_str(&body).ok()?;
        let calls = json["calls"].as_array()?.clone();
        let done = calls.iter().filter(|c| c["finality"] == "final").count();
        (done == count).then_some(calls)
    }

    /// What the process says of one of its parts.
    fn is_ready(&self, component: &str, ready: bool) -> Option<()> {
        let line = format!("process_component_ready{{component=\"{component}\"}} {}", u8::from(ready));
        get(self.admin, "/metrics")?.lines().any(|l| l == line).then_some(())
    }
}

#[test]
fn standalone_starts_with_the_shipped_settings_and_ends_in_order_on_sigterm() {
    let site = Site::new();
    let mut process = site.start();
    process.until("readiness", || get(site.admin, "/readyz"));
    let metrics = get(site.admin, "/metrics").expect("metrics are open");
    assert!(metrics.contains("# EOF"), "{metrics}");
    let status = process.terminate();
    assert!(status.success(), "nothing was abandoned, so the exit code is 0: {status}");
}

#[test]
fn a_call_from_stock_sipp_gives_one_record() {
    if !has_sipp("a call from stock SIPp") {
        return;
    }
    let site = Site::new();
    let _node = site.node();
    let mut process = site.start();
    process.until("readiness", || get(site.admin, "/readyz"));
    site.call();
    let calls = process.within(RECORD_WITHIN, "the record", || site.records(1));
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert_eq!(calls[0]["disposition"], "answered", "{calls:?}");
    process.terminate();
}

#[test]
fn calls_go_on_while_the_call_log_is_damaged_and_their_records_follow_when_it_is_mended() {
    if !has_sipp("calls beside a damaged call log") {
        return;
    }
    let site = Site::new();
    let store = site.path().join("trunkline-data/cdr");
    let files = || -> [PathBuf; 3] { ["calls.sqlite", "calls.sqlite-wal", "calls.sqlite-shm"].map(|f| store.join(f)) };
    let damage = || files().iter().for_each(|file| fs::write(file, [0x5a; 64 << 10]).expect("damage"));
    // SQLite may have taken one or the other away itself.
    let mend = || files().iter().filter(|file| file.exists()).for_each(|file| fs::remove_file(file).expect("removed"));

    // As a machine may leave it that lost its power.
    fs::create_dir_all(&store).expect("its folder");
    damage();
    let _node = site.node();
    let mut process = site.start();
    process.until("calls", || site.is_ready("calls", true));
    process.until("cdr to be missed", || site.is_ready("cdr", false));
    site.call();
    mend();
    process.until("cdr", || site.is_ready("cdr", true));
    process.until("the record", || site.records(1));

    // And while it is written.
    damage();
    site.call();
    process.until("cdr to be missed", || site.is_ready("cdr", false));
    site.call();
    mend();
    process.until("the records", || site.records(3));
    let status = process.terminate();
    assert_eq!(status.code(), Some(1), "that something failed is told at the end, too");
}
