//! Each benchmark still runs and ends with its JSON line. The figures of a smoke run mean nothing; gates are not checked here.

use std::process::Command;

use serde_json::Value;

/// With whether it starts the edge: then it gets the binary that the other tests have built.
const BENCHMARKS: [(&str, bool); 5] =
    [("avro", false), ("stream", false), ("dispatcher", false), ("edge-latency", true), ("edge-flood", true)];

#[test]
fn every_benchmark_still_works() {
    let binary = tests::build("load").expect("load builds");
    for (name, starts_the_edge) in BENCHMARKS {
        let mut command = Command::new(&binary);
        command.args([name, "--smoke"]).current_dir(tests::root());
        if starts_the_edge {
            command.arg("--binary").arg(tests::binary().expect("trunkline builds"));
        }
        let out = command.output().expect("it starts");
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success(), "{name}: {text}\n{}", String::from_utf8_lossy(&out.stderr));
        let last = text.lines().last().unwrap_or_default();
        let json: Value =
            serde_json::from_str(last).unwrap_or_else(|e| panic!("{name}: the last line is no JSON ({e}): {last}"));
        assert_eq!(json["bench"], name, "{last}");
        assert!(json["pass"].is_boolean() && json["gate"].is_number() && json["ratio"].is_number(), "{last}");
    }
}
