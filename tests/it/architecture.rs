//! The rules of the house that a compiler does not check: who may import whom, and what `core/` may not touch.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::{DependencyKind, MetadataCommand};

/// What each package may name among its ordinary dependencies that are ours. A package that is missing here is a mistake.
fn allowed() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    const BELOW_SERVICES: [&str; 6] = ["domain", "schemas", "stream", "kit", "sip", "esl"];
    const SERVICES: [&str; 7] = ["edge", "engine", "cdr", "analytics", "fraud", "capacity", "api"];
    let mut rules: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut rule = |package, names: &[&'static str]| {
        rules.insert(package, names.iter().copied().collect());
    };
    for pure in ["domain", "sip", "esl", "sim"] {
        rule(pure, &[]);
    }
    rule("schemas", &["domain"]);
    rule("kit", &["domain"]);
    rule("stream", &["schemas", "domain"]);
    for service in SERVICES {
        rule(service, &["domain", "schemas", "stream", "kit"]);
    }
    rule("edge", &["domain", "schemas", "stream", "kit", "sip"]);
    rule("engine", &["domain", "schemas", "stream", "kit", "esl"]);
    let everything: Vec<&str> = BELOW_SERVICES.into_iter().chain(SERVICES).chain(["sim"]).collect();
    rule("trunkline", &everything);
    rule("testkit", &["sip"]);
    rule("tests", &[]);
    // Of a service only to time its pure parts, which no process shows by themselves.
    rule("load", &["domain", "schemas", "stream", "sip", "esl", "kit", "sim", "edge"]);
    rules
}

/// Packages of other people that must not appear below a pure package, directly or through others.
const IMPURE: [&str; 6] = ["tokio", "rdkafka", "sqlx", "axum", "redis", "clickhouse"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ stands in the workspace").to_path_buf()
}

/// The graph for this platform only and from what the build has fetched already: the test asks no registry.
fn metadata() -> cargo_metadata::Metadata {
    let version = Command::new("rustc").arg("-vV").output().expect("rustc").stdout;
    let version = String::from_utf8(version).expect("rustc speaks UTF-8");
    let host = version.lines().find_map(|l| l.strip_prefix("host: ")).expect("rustc names its host");
    let options = ["--offline", "--filter-platform", host].map(str::to_owned).to_vec();
    MetadataCommand::new().current_dir(root()).other_options(options).exec().expect("cargo metadata")
}

#[test]
fn arrows_point_down_only() {
    let metadata = metadata();
    let rules = allowed();
    let ours: BTreeSet<String> = metadata.workspace_packages().iter().map(|p| p.name.to_string()).collect();
    let mut wrong = Vec::new();
    for package in metadata.workspace_packages() {
        let Some(may) = rules.get(package.name.as_str()) else {
            wrong.push(format!("{}: no rule says what it may import; add one here", package.name));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|d| ours.contains(&d.name)) {
            let test_only = dependency.kind == DependencyKind::Development;
            if dependency.name == "testkit" && !test_only {
                wrong.push(format!("{} -> testkit: production code never imports it", package.name));
            } else if !test_only && !may.contains(dependency.name.as_str()) {
                wrong.push(format!("{} -> {}: not an arrow that points down", package.name, dependency.name));
            }
        }
    }
    assert!(wrong.is_empty(), "wrong arrows:\n  {}", wrong.join("\n  "));
}

#[test]
fn pure_packages_pull_in_neither_runtime_nor_store() {
    let metadata = metadata();
    let resolve = metadata.resolve.as_ref().expect("a resolved graph");
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let name_of: BTreeMap<_, _> = metadata.packages.iter().map(|p| (&p.id, p.name.to_string())).collect();
    let mut wrong = Vec::new();
    for pure in ["domain", "sip", "esl", "schemas"] {
        let start = metadata.packages.iter().find(|p| p.name.as_str() == pure).expect("a pure package");
        let mut seen = BTreeSet::new();
        let mut stack = vec![&start.id];
        while let Some(id) = stack.pop() {
            if !seen.insert(id) {
                continue;
            }
            for dep in &nodes[id].deps {
                if dep.dep_kinds.iter().any(|k| k.kind == DependencyKind::Normal) {
                    stack.push(&dep.pkg);
                }
            }
        }
        let names: BTreeSet<&str> = seen.iter().map(|id| name_of[*id].as_str()).collect();
        wrong.extend(IMPURE.iter().filter(|i| names.contains(*i)).map(|i| format!("{pure} reaches {i}")));
    }
    assert!(wrong.is_empty(), "pure packages must stay pure:\n  {}", wrong.join("\n  "));
}

#[test]
fn decisions_read_no_clock_open_no_socket_and_never_wait() {
    const FORBIDDEN: [(&str, &str); 9] = [
        ("SystemTime", "the wall clock is an input: take domain::Now"),
        ("Instant::now", "time is an input: take domain::Now"),
        ("tokio", "no runtime in core"),
        ("async fn", "decisions do not wait"),
        (".await", "decisions do not wait"),
        ("std::fs", "no files in core"),
        ("std::net::UdpSocket", "no sockets in core"),
        ("kit::", "core knows nothing of the service kit"),
        ("sqlx", "no stores in core"),
    ];
    let mut wrong = Vec::new();
    let mut read = 0;
    for folder in core_folders(&root().join("services")) {
        for file in rust_files(&folder).into_iter().filter(|file| !is_test(file)) {
            read += 1;
            let text = fs::read_to_string(&file).expect("a readable source file");
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            for (number, line) in code.lines().enumerate().filter(|(_, l)| !l.trim_start().starts_with("//")) {
                for (word, why) in FORBIDDEN.iter().filter(|(word, _)| has_word(line, word)) {
                    let name = file.strip_prefix(root()).unwrap_or(&file).display();
                    wrong.push(format!("{name}:{} has `{word}`: {why}", number + 1));
                }
            }
        }
    }
    assert!(read > 10, "only {read} files of core/ were found: the test looks in the wrong place");
    assert!(wrong.is_empty(), "core is pure:\n  {}", wrong.join("\n  "));
}

/// `error.rs` stands only where a service has errors of its own.
#[test]
fn every_service_has_the_same_shape() {
    let mut missing = Vec::new();
    for service in ["edge", "engine", "cdr", "analytics", "fraud", "capacity", "api"] {
        let base = root().join("services").join(service);
        for part in ["README.md", "src/config.rs", "src/app.rs", "src/core", "src/adapters", "src/metrics.rs"] {
            if !base.join(part).exists() {
                missing.push(format!("services/{service}/{part}"));
            }
        }
    }
    assert!(missing.is_empty(), "a service has one shape; missing:\n  {}", missing.join("\n  "));
}

/// A file of tests beside what it tests.
fn is_test(file: &Path) -> bool {
    file.file_stem().is_some_and(|name| name.to_string_lossy().ends_with("_tests"))
}

/// Whether the word stands in the line and no longer name begins with it there.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let next = line[at + word.len()..].chars().next();
        word.ends_with(':') || !next.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

fn core_folders(under: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(under).expect("services/").flatten().filter(|e| e.path().is_dir()) {
        let core = entry.path().join("src/core");
        if core.is_dir() {
            found.push(core);
        }
    }
    found
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") && path.file_stem().is_none_or(|s| s != "tests") {
            files.push(path);
        }
    }
    files
}
