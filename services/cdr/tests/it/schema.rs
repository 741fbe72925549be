//! The files around the code: the tables against the rows, the examples of the topics through the translation.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cdr::adapters::decode::{self, Translated};
use cdr::core::call::derive;
use cdr::core::row::{CallRow, LegRow};
use cdr::core::state::CallState;
use domain::CallId;

use crate::platform::Platform;

async fn columns(p: Platform, query: impl Fn(&str) -> String, kind: impl Fn(&str) -> String) {
    let cdr = p.cdr(p.config()).await;
    for (table, columns) in [
        ("calls", CallRow::COLUMNS),
        ("legs", LegRow::COLUMNS),
        ("calls_view", CallRow::COLUMNS),
        ("legs_view", LegRow::COLUMNS),
    ] {
        let found = p.pairs(query(table)).await.into_iter().map(|(name, of)| (name, kind(&of)));
        let expected = columns.iter().map(|(n, t)| ((*n).to_owned(), (*t).to_owned()));
        assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "{table}");
    }
    cdr.stop().await;
}

#[tokio::test]
async fn the_tables_have_the_columns_of_the_rows_in_their_order() {
    columns(Platform::new(), |table| format!("SELECT name, type FROM pragma_table_info('{table}')"), str::to_owned)
        .await;
}

#[tokio::test]
async fn the_tables_on_postgres_have_them_too() {
    let Some(p) = Platform::on_postgres() else { return };
    let query = |table: &str| {
        format!(
            "SELECT column_name::text, data_type::text FROM information_schema.columns \
             WHERE table_schema = current_schema() AND table_name = '{table}' ORDER BY ordinal_position"
        )
    };
    let kind = |of: &str| match of {
        "text" => "TEXT".to_owned(),
        "bigint" => "INTEGER".to_owned(),
        "double precision" => "REAL".to_owned(),
        other => other.to_owned(),
    };
    columns(p, query, kind).await;
}

/// All facts of an example file, by call.
fn facts(topic: &str, file: &Path) -> BTreeMap<CallId, CallState> {
    #[derive(serde::Deserialize)]
    struct Example {
        events: Vec<serde_json::Value>,
    }
    let example: Example = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let mut calls: BTreeMap<CallId, CallState> = BTreeMap::new();
    for event in example.events {
        let translated = match topic {
            "sip.transactions" => decode::edge(serde_json::from_value(event).unwrap()),
            "channel.events" => decode::channel(serde_json::from_value(event).unwrap()),
            "ivr.decisions" => decode::ivr(serde_json::from_value(event).unwrap()),
            _ => decode::reconciled(serde_json::from_value(event).unwrap()),
        };
        match translated.unwrap_or_else(|e| panic!("{}: {e}", file.display())) {
            Translated::Fact(call, fact) => {
                calls.entry(call).or_default().join(&fact).unwrap();
            }
            Translated::Nothing => {}
        }
    }
    calls
}

fn folder(topic: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas").join(topic).join("examples")
}

#[test]
fn every_example_of_our_topics_makes_a_record() {
    let mut seen = 0;
    for topic in ["sip.transactions", "channel.events", "ivr.decisions", "call.reconciled"] {
        for file in std::fs::read_dir(folder(topic)).unwrap() {
            for (call, state) in facts(topic, &file.unwrap().path()) {
                let derived = derive(&call, &state).unwrap();
                assert_eq!(derived.call.revision, state.revision());
                seen += 1;
            }
        }
    }
    assert!(seen >= 12, "only {seen} calls in all examples");
}

#[test]
fn the_edge_alone_tells_each_example_call_to_its_end() {
    for (name, disposition, legs, code) in [
        ("answered", "answered", 1, 200),
        ("busy", "busy", 1, 486),
        ("cancelled", "cancelled", 1, 487),
        ("authenticated", "answered", 2, 200),
        ("failover", "answered", 2, 200),
        ("passes-twice", "answered", 2, 200),
    ] {
        let calls = facts("sip.transactions", &folder("sip.transactions").join(format!("{name}.json")));
        assert_eq!(calls.len(), 1, "{name} is one call");
        let (call, state) = calls.first_key_value().unwrap();
        let row = derive(call, state).unwrap().call;
        let said = (row.finality.as_str(), row.disposition.as_deref(), row.leg_count, row.final_code);
        assert_eq!(said, ("final", Some(disposition), legs, Some(code)), "{name}");
    }
}
