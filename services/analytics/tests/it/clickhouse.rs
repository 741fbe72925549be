//! The ClickHouse writer: rows, token and table. A listener records what the client sends; ClickHouse's engine takes it where
//! there is one.

use analytics::adapters::clickhouse::{ClickHouseSink, SipRow, TABLE};
use analytics::adapters::sink::{Sink, batches};
use analytics::config::ClickHouse;
use clickhouse::Row;
use schemas::{Event as _, SipTransaction};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn example(name: &str) -> Vec<SipTransaction> {
    #[derive(serde::Deserialize)]
    struct Example {
        events: Vec<SipTransaction>,
    }
    let path = format!("{}/../../schemas/sip.transactions/examples/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str::<Example>(&std::fs::read_to_string(path).unwrap()).unwrap().events
}

#[test]
fn a_row_holds_what_the_event_said() {
    let events = example("answered");
    let answered = events.iter().find(|e| e.event_type == "answered").unwrap();
    let row = SipRow::from(answered);
    assert_eq!(row.status, 200);
    assert_eq!(row.event_id, answered.envelope.event_id("sip.transactions"));
    assert_eq!(row.target_id, answered.branches[0].target_id);
    assert_eq!(row.t_final_us, answered.timing.as_ref().unwrap().t_final_us.unwrap());
    let nothing = SipRow::from(&SipTransaction::default());
    assert_eq!((nothing.t_final_us, nothing.status, nothing.caller.as_str()), (-1, 0, ""));
}

#[test]
fn the_table_has_the_columns_of_the_row() {
    let sql = include_str!("../../clickhouse/0001_sip_transactions.sql");
    let body = sql.split_once("(\n").unwrap().1.split_once("\n)\n").unwrap().0;
    let columns: Vec<&str> = body.lines().map(|l| l.split_whitespace().next().unwrap()).collect();
    assert_eq!(columns, SipRow::COLUMN_NAMES);
    assert!(sql.contains(&format!("EXISTS {TABLE}\n")));
}

#[test]
fn the_same_offsets_give_the_same_batches_in_any_order_of_reading() {
    let event = example("busy").remove(0);
    let records = |offsets: &[i64]| offsets.iter().map(|o| (i32::from(*o > 15_000), *o, event.clone())).collect();
    let tokens =
        |offsets: &[i64]| -> Vec<String> { batches(records(offsets)).iter().map(|b| b.span.token()).collect() };
    let schema = SipTransaction::TOPIC.schema_id;
    let expected = ["9998-9999", "10000-10001"].map(|run| format!("sip.transactions:0:{run}:{schema:08x}"));
    assert_eq!(tokens(&[9_998, 9_999, 10_000, 10_001]), expected);
    assert_eq!(tokens(&[10_001, 9_999, 10_000, 9_998]), expected);
    assert_eq!(batches(records(&[1, 15_001])).len(), 2, "partitions do not share a batch");
}

/// Answers every request with 200 and returns the first one whole.
async fn listen(listener: TcpListener) -> Vec<u8> {
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    let mut part = [0; 4096];
    while !request.ends_with(b"0\r\n\r\n") {
        let n = socket.read(&mut part).await.unwrap();
        assert!(n > 0, "the client hung up before the end of its body");
        request.extend_from_slice(&part[..n]);
    }
    socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    request
}

#[tokio::test]
async fn an_insert_carries_the_token_and_all_rows() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let settings = ClickHouse { url, validate: false, ..ClickHouse::default() };
    let records = example("answered").into_iter().zip(0..).map(|(e, offset)| (2, offset, e)).collect();
    let batch = batches(records).remove(0);
    let mut sink = ClickHouseSink::new(&settings);
    let (sent, request) = tokio::join!(sink.write(&batch), listen(listener));
    sent.unwrap();
    let text = String::from_utf8_lossy(&request);
    let line = text.lines().next().unwrap();
    assert!(line.starts_with("POST "), "{line}");
    assert!(line.contains("insert_deduplication_token=sip.transactions%3A2%3A0-"), "{line}");
    assert!(line.contains("database=trunkline"), "{line}");
    assert!(line.contains("INSERT+INTO+%60sip_transactions%60"), "{line}");
    for row in &batch.rows {
        assert!(text.contains(&row.event_id), "{} is missing", row.event_id);
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_an_error_that_names_the_batch() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let batch = batches(vec![(0, 7, example("busy").remove(0))]).remove(0);
    let error = ClickHouseSink::new(&ClickHouse { url, validate: false, ..ClickHouse::default() })
        .write(&batch)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("sip.transactions:0:7-7"), "{error}");
}

/// Settings of a database of its own on the tests' ClickHouse: `http://user:password@host:port`.
fn engine() -> Option<ClickHouse> {
    use std::io::Write;
    let Some(url) = std::env::var("TRUNKLINE_TEST_CLICKHOUSE").ok().filter(|url| !url.is_empty()) else {
        let _ =
            writeln!(std::io::stderr(), "SKIPPED: raw rows in ClickHouse (TRUNKLINE_TEST_CLICKHOUSE names no server)");
        return None;
    };
    let (who, host) = url.trim_start_matches("http://").split_once('@').expect("http://user:password@host:port");
    let (user, password) = who.split_once(':').expect("user:password");
    Some(ClickHouse {
        url: format!("http://{host}"),
        database: format!("analytics_test_{}", std::process::id()),
        user: user.to_owned(),
        password: kit::Secret::new(password),
        ..ClickHouse::default()
    })
}

#[tokio::test]
async fn the_engine_takes_a_batch_once_however_often_it_is_sent() {
    let Some(settings) = engine() else { return };
    analytics::migrate(&settings).await.unwrap();
    analytics::migrate(&settings).await.unwrap();
    let client = clickhouse::Client::default()
        .with_url(&settings.url)
        .with_user(&settings.user)
        .with_password(settings.password.expose())
        .with_database(&settings.database);
    let count = async || client.query("SELECT count() FROM sip_transactions").fetch_one::<u64>().await.unwrap();
    let events = example("answered");
    let records = |first: i64| events.iter().cloned().zip(first..).map(|(e, offset)| (2, offset, e)).collect();
    let batch = batches(records(0)).remove(0);
    let rows = batch.rows.len() as u64;
    let mut sink = ClickHouseSink::new(&settings);
    for _ in 0..3 {
        sink.write(&batch).await.unwrap();
        assert_eq!(count().await, rows, "the token of the batch is known");
    }
    // Another process, after a crash between the insert and the positions.
    ClickHouseSink::new(&settings).write(&batch).await.unwrap();
    assert_eq!(count().await, rows);
    // The same events in a batch with other borders: they meet by their ids.
    let other = batches(records(0).into_iter().take(2).collect()).remove(0);
    sink.write(&other).await.unwrap();
    let merged = client.query("SELECT count() FROM sip_transactions FINAL").fetch_one::<u64>().await.unwrap();
    assert_eq!(merged, rows, "copies in other batches are merged");
    let back: Vec<SipRow> = client.query("SELECT ?fields FROM sip_transactions FINAL").fetch_all().await.unwrap();
    for row in &batch.rows {
        assert!(back.contains(row), "{row:?} came back changed");
    }
    client.query(&format!("DROP DATABASE {}", settings.database)).execute().await.unwrap();
}
