//! Signals need a process of their own: the test binary starts itself again in the role of a service.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kit::{Lifecycle, TaskOptions};

const ROLE: &str = "KIT_TEST_ROLE";

/// Not a test by itself: does something only when started with a role.
#[test]
fn service_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(async {
        let life = Lifecycle::new(if role == "late" { Duration::from_millis(30) } else { Duration::from_secs(60) });
        life.spawn("worker", TaskOptions::critical(), move |task| async move {
            task.shutdown().cancelled().await;
            println!("draining");
            match role.as_str() {
                "good" => Ok(()),
                _ => std::future::pending().await,
            }
        });
        let announcing = life.clone();
        life.spawn("announce", TaskOptions::default(), |_| async move {
            // The first poll of run_until_signal, which installs the handlers, came before this task's first turn.
            println!("running with {} tasks", announcing.health().tasks.len());
            Ok(())
        });
        life.run_until_signal().await
    });
    println!("{outcome}");
    assert!(outcome.is_clean());
}

fn start(role: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["signals::service_process", "--exact", "--nocapture"])
        .env(ROLE, role)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    read_until(&mut out, "running with");
    (child, out)
}

fn read_until(out: &mut impl BufRead, text: &str) {
    let mut line = String::new();
    while !line.contains(text) {
        line.clear();
        assert!(out.read_line(&mut line).unwrap() > 0, "the process ended before it said {text:?}");
    }
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", child.id())]).status().unwrap();
    assert!(sent.success());
}

fn rest(mut out: impl Read) -> String {
    let mut text = String::new();
    out.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn sigterm_and_sigint_both_drain_and_exit_with_zero() {
    for name in ["TERM", "INT"] {
        let (mut child, out) = start("good");
        signal(&child, name);
        let said = rest(out);
        assert!(said.contains(&format!("ended: SIG{name}")), "{said}");
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn an_abandoned_task_gives_a_non_zero_exit() {
    let (mut child, out) = start("late");
    signal(&child, "TERM");
    let said = rest(out);
    assert!(said.contains("abandoned: worker"), "{said}");
    assert!(!child.wait().unwrap().success());
}

#[test]
fn a_second_signal_ends_at_once() {
    let (mut child, mut out) = start("stuck");
    signal(&child, "TERM");
    read_until(&mut out, "draining");
    // Without the second signal this process would drain for a minute.
    signal(&child, "INT");
    let said = rest(out);
    assert!(said.contains("abandoned: worker"), "{said}");
    assert!(!child.wait().unwrap().success());
}
