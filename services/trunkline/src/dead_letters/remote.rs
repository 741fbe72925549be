//! A redrive by the process that has the event log open: its route on the admin port, and how the command asks for it.
//!
//! The answer is JSON lines, so that long work shows: `{"progress":…}` now and then, then `{"done":…}` or `{"error":"…"}`. Who goes
//! away ends the work after the batch at hand. The request names the log's folder: another process may have that port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use axum::Router;
use axum::body::Body;
use axum::extract::{Json, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use futures::stream::{self as streams, StreamExt as _};
use serde::{Deserialize, Serialize};
use stream::EventLog;
use stream::redrive::{Choice, Report, redrive};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::settings::Settings;

const PATH: &str = "/dead-letters/redrive";
/// Progress that nobody has read yet; more is left out.
const UNREAD: usize = 16;

#[derive(Debug, Serialize, Deserialize)]
struct Request {
    /// The folder of the log that is meant.
    log_dir: PathBuf,
    choice: Choice,
    dry_run: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Progress(Report),
    Done(Report),
    Error(String),
}

#[derive(Clone)]
struct Served {
    log: Arc<dyn EventLog>,
    log_dir: PathBuf,
}

/// The route of a process that has the embedded log open.
pub fn routes(settings: &Settings, log: Arc<dyn EventLog>) -> Router {
    let log_dir = whole(settings.stream.embedded_in(&settings.data_dir).dir);
    Router::new().route(PATH, post(serve)).with_state(Served { log, log_dir })
}

fn whole(dir: PathBuf) -> PathBuf {
    dir.canonicalize().unwrap_or(dir)
}

async fn serve(State(served): State<Served>, Json(request): Json<Request>) -> Response {
    if request.log_dir != served.log_dir {
        let why = format!("this process has the event log in {}\n", served.log_dir.display());
        return (StatusCode::CONFLICT, why).into_response();
    }
    let (tell, mut told) = mpsc::channel(UNREAD);
    let work = async move {
        let clock = Arc::new(kit::clock::SystemClock);
        let progress = |report: &Report| {
            // A reader that is slow misses some progress, never the end.
            let _unread = tell.try_send(line(&Line::Progress(report.clone())));
        };
        let done = redrive(&served.log, clock, &request.choice, request.dry_run, progress).await;
        drop(tell);
        line(&done.map_or_else(|error| Line::Error(error.to_string()), Line::Done))
    };
    let lines = streams::select(streams::poll_fn(move |cx| told.poll_recv(cx)), streams::once(work));
    Body::from_stream(lines.map(Ok::<_, std::convert::Infallible>)).into_response()
}

fn line(line: &Line) -> String {
    serde_json::to_string(line).map_or_else(|error| error.to_string(), |json| json + "\n")
}

/// Asks the running process.
pub async fn ask(
    settings: &Settings,
    choice: &Choice,
    dry_run: bool,
    progress: impl Fn(&Report),
) -> anyhow::Result<Report> {
    let to = reachable(settings.admin.bind);
    let log_dir = whole(settings.stream.embedded_in(&settings.data_dir).dir);
    let body = serde_json::to_string(&Request { log_dir, choice: choice.clone(), dry_run })?;
    let mut token = String::new();
    if let Some(file) = &settings.admin.token_file {
        let text = std::fs::read_to_string(file).with_context(|| format!("admin.token_file {}", file.display()))?;
        token = format!("Authorization: Bearer {}\r\n", text.trim());
    }
    let no_answer = || {
        format!(
            "a running process has the event log open, but does not answer on {to}: is admin.bind that of its settings?"
        )
    };
    let mut connection = TcpStream::connect(to).await.with_context(no_answer)?;
    // HTTP/1.0: the answer ends with the connection, so it needs no decoding.
    let head = format!(
        "POST {PATH} HTTP/1.0\r\nHost: {to}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{token}\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).await?;
    connection.write_all(body.as_bytes()).await?;
    let mut lines = BufReader::new(connection).lines();
    let status = lines.next_line().await?.with_context(no_answer)?;
    while lines.next_line().await?.is_some_and(|header| !header.is_empty()) {}
    if status.split(' ').nth(1) != Some("200") {
        let why = lines.next_line().await?.unwrap_or_default();
        bail!("the running process on {to} refused: {status}: {why}");
    }
    while let Some(text) = lines.next_line().await? {
        match serde_json::from_str(&text).with_context(|| format!("{to} answered {text:?}"))? {
            Line::Progress(report) => progress(&report),
            Line::Done(report) => return Ok(report),
            Line::Error(error) => bail!("{error}"),
        }
    }
    bail!("the running process went away before it was done; `trunkline dead-letters list` shows what was put back")
}

/// Where to connect to for a listener on this address.
fn reachable(bind: SocketAddr) -> SocketAddr {
    let ip = match bind.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bind.port())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use kit::{Lifecycle, Metrics};
    use schemas::{DeadLetter, Event as _, NodeHealth};
    use stream::{EmbeddedLog, Publisher, PublisherConfig};

    use super::*;

    async fn log_with_a_letter(settings: &Settings) -> Arc<EmbeddedLog> {
        let log = EmbeddedLog::open(settings.stream.embedded_in(&settings.data_dir)).expect("a log");
        log.ensure_topics(schemas::all_topics()).await.expect("topics");
        let config = PublisherConfig::new("test/1", 1, Arc::new(kit::clock::SystemClock));
        let publisher = Publisher::start(Arc::clone(&log) as Arc<dyn EventLog>, config).expect("a publisher");
        publisher.publish(DeadLetter {
            event_type: "dead".to_owned(),
            source_topic: NodeHealth::TOPIC.name.to_owned(),
            source_partition: 2,
            key: b"n1".as_slice().into(),
            value: Some(b"raw".as_slice().into()),
            consumer: "test".to_owned(),
            error_class: "not_framed".to_owned(),
            attempts: 1,
            ..DeadLetter::default()
        });
        publisher.flush(std::time::Duration::from_secs(30)).await.expect("delivered");
        log
    }

    fn settings(dir: &Path) -> Settings {
        let mut settings = Settings { data_dir: dir.to_owned(), ..Settings::default() };
        settings.admin.bind = SocketAddr::from(([127, 0, 0, 1], 0));
        settings
    }

    #[tokio::test]
    async fn the_process_that_has_the_log_puts_letters_back_and_says_the_second_time_that_it_did() {
        let dir = tempfile::tempdir().expect("a folder");
        let token = dir.path().join("token");
        std::fs::write(&token, "0123456789abcdef0123456789abcdef\n").expect("a token");
        let mut settings = settings(dir.path());
        settings.admin.token_file = Some(token);
        let log = log_with_a_letter(&settings).await;
        let life = Lifecycle::new(std::time::Duration::from_secs(5));
        let routes = routes(&settings, Arc::clone(&log) as Arc<dyn EventLog>);
        settings.admin.bind =
            kit::admin::serve(&settings.admin, "admin", &life, &Metrics::new(), routes).expect("it listens");

        let choice = Choice { topic: Some(NodeHealth::TOPIC.name.to_owned()), ..Choice::default() };
        let dry = ask(&settings, &choice, true, |_| ()).await.expect("a dry run");
        assert_eq!((dry.redriven, dry.dry_run), (1, true));
        let done = ask(&settings, &choice, false, |_| ()).await.expect("a redrive");
        assert_eq!((done.redriven, done.already), (1, 0));
        let again = ask(&settings, &choice, false, |_| ()).await.expect("a second redrive");
        assert_eq!((again.redriven, again.already), (0, 1));
        let bounds = log.bounds(NodeHealth::TOPIC).await.expect("bounds");
        assert_eq!(bounds.iter().map(|b| b.end).collect::<Vec<_>>(), [0, 0, 1], "once, in its partition");

        let wrong = Choice { from: Some("0:99".to_owned()), ..Choice::default() };
        let error = ask(&settings, &wrong, false, |_| ()).await.expect_err("an offset that was never given");
        assert!(error.to_string().contains("99"), "{error}");
        let other = tempfile::tempdir().expect("a folder");
        let elsewhere = Settings { data_dir: other.path().to_owned(), ..settings.clone() };
        let error = ask(&elsewhere, &choice, false, |_| ()).await.expect_err("another log");
        assert!(error.to_string().contains("has the event log in"), "{error}");
        settings.admin.token_file = None;
        let error = ask(&settings, &choice, false, |_| ()).await.expect_err("no token");
        assert!(error.to_string().contains("401"), "{error}");
    }

    #[tokio::test]
    async fn a_process_that_does_not_answer_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
        let mut settings = settings(dir.path());
        settings.admin.bind = gone;
        let error = ask(&settings, &Choice::default(), true, |_| ()).await.expect_err("nobody listens");
        assert!(error.to_string().contains("admin.bind"), "{error}");
    }
}
