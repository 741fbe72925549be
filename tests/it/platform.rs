//! The platform as separate processes on Kafka, Postgres and ClickHouse's engine, as `infra/local/platform` runs it: what the
//! carriers saw is in the records, once, though two of the processes are killed in the middle of it; and a stranger reads along.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::subscriber;

const CALLS: usize = 60;
/// Calls that are in the records when the first process is killed.
const BEFORE: usize = 20;
const PATIENCE: Duration = Duration::from_secs(150);

struct Platform {
    name: String,
}

impl Platform {
    fn command(&self, words: &[&str]) -> Output {
        let mut command = Command::new(tests::root().join("infra/local/platform"));
        command.env("TRUNKLINE_BINARY", tests::binary().expect("built"));
        command
            .arg(words[0])
            .args(["--name", &self.name])
            .args(&words[1..])
            .output()
            .expect("infra/local/platform runs")
    }

    fn say(&self, words: &[&str]) -> String {
        let out = self.command(words);
        let err = String::from_utf8_lossy(&out.stderr);
        assert!(
            out.status.success(),
            "infra/local/platform {words:?}: {err}\n{}",
            String::from_utf8_lossy(&out.stdout)
        );
        String::from_utf8(out.stdout).expect("UTF-8")
    }

    fn up(&self) -> String {
        let calls = CALLS.to_string();
        self.say(&["up", "--detach", "--no-build", "--calls", &calls, "--rate", "4", "--hold", "1.5"])
    }

    fn folder(&self) -> PathBuf {
        tests::root().join("target/local").join(format!("platform-{}", self.name))
    }

    fn psql(&self, sql: &str) -> Vec<String> {
        self.say(&["psql", "-c", sql]).lines().map(str::to_owned).collect()
    }

    /// As an operator's worst day: no goodbye.
    fn kill(&self, process: &str) {
        let status = self.command(&["status"]);
        let text = String::from_utf8_lossy(&status.stdout).into_owned();
        let line = text.lines().find(|line| line.starts_with(process)).unwrap_or_else(|| panic!("{process} in {text}"));
        let pid = line.split_whitespace().skip_while(|word| *word != "pid").nth(1).expect("its pid");
        assert!(Command::new("kill").args(["-9", pid]).status().expect("kill runs").success(), "{process} lived");
    }

    /// (trunk, SIP Call-ID) of every record, each with its count.
    fn recorded(&self) -> BTreeMap<String, usize> {
        let mut seen = BTreeMap::new();
        for line in self.psql("select trunk_in || ' ' || sip_call_id from calls_view") {
            *seen.entry(line).or_default() += 1;
        }
        seen
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        // What a failed test leaves is kept to be looked at, but nothing goes on running.
        let words: &[&str] = if std::thread::panicking() { &["down"] } else { &["down", "--wipe"] };
        let _ = self.command(words);
    }
}

fn wait<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(why) => assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}: {why}"),
        }
        std::thread::sleep(Duration::from_millis(250));
    }
}

#[test]
fn separate_processes_on_real_servers_record_every_call_once_though_two_of_them_are_killed() {
    let given = |name: &str| std::env::var(name).is_ok_and(|value| !value.is_empty());
    let all =
        ["KAFKA", "POSTGRES", "REDIS", "CLICKHOUSE"].iter().all(|server| given(&format!("TRUNKLINE_TEST_{server}")));
    if !all {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: the platform as separate processes (infra/local/test starts its servers)"
        );
        return;
    }
    let platform = Platform { name: format!("it{}", std::process::id()) };
    let said = platform.up();
    let page = said.lines().find_map(|line| line.trim().strip_prefix("page")).expect("the page's address").trim();
    let api = page.trim_end_matches('/').to_owned();

    wait("the first calls", || match platform.recorded().len() {
        there if there >= BEFORE => Ok(()),
        there => Err(format!("{there} of {BEFORE}")),
    });
    platform.kill("cdr");
    platform.kill("edge");
    let again = platform.up();
    for process in ["cdr", "edge"] {
        assert!(again.contains(&format!("{process}: started")), "{again}");
    }
    assert!(again.contains("analytics: already running"), "only what is missing is started: {again}");

    let log = platform.folder().join("simulate/log");
    let seen: Value = wait("the end of all calls", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let last = text.lines().last().unwrap_or_default().to_owned();
        serde_json::from_str(&last).map_err(|_| last)
    });
    assert_eq!(seen["calls"], CALLS, "{seen}");
    let ledger = std::fs::read_to_string(platform.folder().join("ledger.jsonl")).expect("the carriers' books");
    let mut placed = BTreeMap::new();
    for line in ledger.lines() {
        let call: Value = serde_json::from_str(line).expect("a JSON line");
        let key = format!("{} {}", call["trunk"].as_str().unwrap_or(""), call["sip_call_id"].as_str().unwrap_or(""));
        placed.insert(key, 1);
    }
    wait("a record of each call and no other", || {
        let recorded = platform.recorded();
        let missing: Vec<_> = placed.keys().filter(|call| !recorded.contains_key(*call)).collect();
        let doubled: Vec<_> = recorded.iter().filter(|(_, times)| **times > 1).collect();
        let strange: Vec<_> = recorded.keys().filter(|call| !placed.contains_key(*call)).collect();
        if recorded == placed {
            Ok(())
        } else {
            Err(format!("missing {missing:?}, doubled {doubled:?}, strange {strange:?}"))
        }
    });

    let rows = wait("raw rows", || {
        let counts = platform
            .say(&["clickhouse", "SELECT count(), uniqExact(event_id), uniqExact(call_root_id) FROM sip_transactions"]);
        let counts: Vec<u64> = counts.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let enough = counts.len() == 3 && counts[2] >= CALLS as u64;
        if enough { Ok(counts) } else { Err(format!("{counts:?}")) }
    });
    assert_eq!(rows[0], rows[1], "no raw row is there twice");

    // A call that the killed edge took to its grave is open until the reconciler closes it; all others are told to the world.
    let told = wait("the records' way to the topics", || {
        let line = platform
            .psql("select count(*) filter (where finality <> 'open'), (select count(*) from outbox) from calls")
            .concat();
        match line.split_once('|') {
            Some((told, "0")) => told.parse::<usize>().map_err(|_| line.clone()),
            _ => Err(line),
        }
    });
    subscriber::reads_every_topic(&api, &format!("{}.", platform.name), placed.len(), told);
}
