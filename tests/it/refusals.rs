//! What the binary refuses at start, and how it says so.

use std::fs;

use tests::{Said, run};

use super::outside::PATIENCE;

fn start_with(settings: &str) -> Said {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("trunkline.toml"), settings).expect("a settings file");
    run(folder.path(), &["standalone"], PATIENCE).expect("a refusal ends the process")
}

#[test]
fn every_mistake_is_named_at_once_with_what_is_allowed() {
    let said = start_with("dta_dir = 'x'\n[log]\nformat = 'xml'\n[stream]\nadapter = 'rabbit'\n");
    assert!(!said.status.success());
    for part in ["dta_dir", "data_dir", "log.format", "xml", "human", "stream.adapter", "rabbit", "kafka"] {
        assert!(said.err.contains(part), "`{part}` is not in:\n{}", said.err);
    }
}

#[test]
fn an_admin_address_that_others_reach_needs_a_token_file() {
    let said = start_with("[admin]\nbind = '0.0.0.0:0'\n");
    assert!(!said.status.success());
    assert!(said.err.contains("token_file") && said.err.contains("32"), "{}", said.err);
}

#[test]
fn an_api_address_that_others_reach_needs_a_token_file() {
    let said = start_with("[api]\nbind = '0.0.0.0:0'\n");
    assert!(!said.status.success());
    assert!(said.err.contains("api.token_file"), "{}", said.err);
}

#[test]
fn a_taken_port_names_its_owner_and_the_setting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("its address");
    let said = start_with(&format!("[admin]\nbind = '127.0.0.1:0'\n[api]\nbind = '{address}'\n"));
    assert!(!said.status.success());
    for part in ["api.bind", &address.to_string(), &std::process::id().to_string()] {
        assert!(said.err.contains(part), "`{part}` is not in:\n{}", said.err);
    }
}

#[test]
fn separate_services_without_kafka_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = run(folder.path(), &["cdr"], PATIENCE).expect("a refusal ends the process");
    assert!(!said.status.success());
    assert!(said.err.contains("stream.adapter") && said.err.contains("kafka"), "{}", said.err);
}
