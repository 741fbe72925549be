//! The runbook's commands, as they stand, against a running edge.

use std::process::Command;

use serde_json::{Value, json};

use super::Site;

const RUNBOOK: &str = include_str!("../../../../../infra/runbooks/edge.md");

fn commands() -> Vec<&'static str> {
    let blocks = RUNBOOK.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.flat_map(str::lines).filter(|line| line.starts_with("curl ")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_of_the_runbook_answers() {
    if !Command::new("curl").arg("--version").output().is_ok_and(|done| done.status.success()) {
        println!("SKIPPED: the runbook's commands were not run: curl is not there");
        return;
    }
    let site = Site::new(2).await;
    let life = site.start().await;
    life.nodes_up().await;
    site.ends.place("asked-about", "+4930123001", 50).await;
    site.ends.settled().await;
    life.until("told", || life.edge.snapshot().counters.ended == 1).await;
    let commands = commands();
    assert!(commands.len() >= 20, "{commands:#?}");
    let mut key = String::new();
    for command in commands {
        let line = command
            .replace("127.0.0.1:9601", &life.admin.to_string())
            .replace("CALL-ID", "asked-about")
            .replace("TRUNK", "north")
            .replace("NODE", "fs-1")
            .replace("AUTHOR/BLOCK-ID", &key);
        // The line itself goes to a shell, only its exit code is asked for besides.
        let run = move || Command::new("sh").args(["-c", &format!("{line} -w '\\n%{{http_code}}'")]).output().unwrap();
        let done = tokio::task::spawn_blocking(run).await.unwrap();
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap();
        assert_eq!(status, "200", "{command}: {body}");
        let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{command}: {body}"));
        if let Some(made) = body["key"].as_str().filter(|_| command.contains("-X POST")) {
            key = made.to_owned();
            life.until("in force", || life.edge.snapshot().blocks.len() == 1).await;
        }
        if command.contains("/explain/") {
            assert!(body["calls"][0]["decisions"][0]["sentence"].as_str().unwrap().starts_with("sent to node fs-"));
        }
        if command.contains("dry-run") {
            assert_eq!(body["calls"], 1);
        }
    }
    assert_eq!(life.get("/v1/settings").await["left_out"], json!([]));
    life.stop().await;
}
