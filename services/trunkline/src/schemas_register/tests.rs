//! Against a small registry in this process that can behave like the ones there are, and against a stranger's where one runs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;

/// How a registry treats what it is brought.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Manner {
    /// Mode IMPORT keeps the ids, as the original does.
    Keeps,
    /// Says yes to IMPORT and gives ids of its own all the same.
    OwnIds,
    NoModes,
    Password,
}

#[derive(Default)]
struct Store {
    importing: bool,
    /// Subject → version → (id, schema).
    subjects: BTreeMap<String, BTreeMap<u64, (u64, String)>>,
    posts: usize,
    next_id: u64,
}

type Shared = (Manner, Arc<Mutex<Store>>);

struct Fake {
    url: String,
    store: Arc<Mutex<Store>>,
    _serving: tokio::task::JoinSet<()>,
}

async fn fake(manner: Manner) -> Fake {
    let store = Arc::new(Mutex::new(Store { next_id: 1, ..Store::default() }));
    let app = Router::new().fallback(answer).with_state((manner, store.clone()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let mut serving = tokio::task::JoinSet::new();
    serving.spawn(async move { axum::serve(listener, app).await.expect("serving") });
    Fake { url, store, _serving: serving }
}

fn no(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "error_code": 1, "message": message }))).into_response()
}

async fn answer(
    State((manner, store)): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> Response {
    if manner == Manner::Password
        && headers.get("authorization").is_none_or(|given| given != "Basic bWU6c2VjcmV0OndpdGg6Y29sb25z")
    {
        return no(StatusCode::UNAUTHORIZED, "Unauthorized");
    }
    let path = uri.path().replace("%3A", ":");
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let mut store = store.lock();
    match (method.as_str(), &parts[..]) {
        ("GET", ["mode", ":.trunkline:"]) if store.importing => Json(json!({ "mode": "IMPORT" })).into_response(),
        ("PUT", ["mode", ":.trunkline:"]) if manner != Manner::NoModes => {
            if !store.subjects.is_empty() {
                return no(StatusCode::UNPROCESSABLE_ENTITY, "Cannot import since found existing subjects");
            }
            store.importing = body["mode"] == "IMPORT";
            Json(body).into_response()
        }
        ("PUT", ["mode", _]) => no(StatusCode::UNPROCESSABLE_ENTITY, "Mode mutability is off"),
        ("POST", ["subjects", subject, "versions"]) => {
            assert!(store.importing, "a schema was brought before the mode was set");
            store.posts += 1;
            let id = if manner == Manner::OwnIds { store.next_id } else { body["id"].as_u64().expect("an id") };
            store.next_id += 1;
            let version = body["version"].as_u64().expect("a version");
            // As the original writes it down: without our blanks.
            let schema: Value = serde_json::from_str(body["schema"].as_str().expect("a schema")).expect("JSON");
            store.subjects.entry((*subject).to_owned()).or_default().insert(version, (id, schema.to_string()));
            Json(json!({ "id": id })).into_response()
        }
        ("GET", ["subjects", subject, "versions", version]) => {
            let found = store.subjects.get(*subject).and_then(|all| all.get(&version.parse().expect("a number")));
            match found {
                Some((id, schema)) => {
                    Json(json!({ "subject": subject, "version": 1, "id": id, "schema": schema })).into_response()
                }
                None => no(StatusCode::NOT_FOUND, "Subject not found"),
            }
        }
        ("GET", ["schemas", "ids", id]) => {
            let id: u64 = id.parse().expect("a number");
            match store.subjects.values().flat_map(BTreeMap::values).find(|(known, _)| *known == id) {
                Some((_, schema)) => Json(json!({ "schema": schema })).into_response(),
                None => no(StatusCode::NOT_FOUND, "Schema not found"),
            }
        }
        _ => no(StatusCode::NOT_FOUND, "no such thing"),
    }
}

fn args(url: &str) -> RegisterArgs {
    RegisterArgs { registry: url.to_owned(), context: "trunkline".to_owned(), auth_file: None, json: false }
}

fn schemas_of_this_build() -> usize {
    schemas::all_topics().iter().map(|topic| topic.schemas().count()).sum()
}

#[tokio::test]
async fn a_registry_that_keeps_ids_has_them_all_and_is_left_alone_the_second_time() {
    let fake = fake(Manner::Keeps).await;
    let all = register(&args(&fake.url)).await.expect("registered");
    assert_eq!(all.len(), schemas_of_this_build());
    assert!(all.iter().all(ReadBack::is_right), "{}", table(&fake.url, &all));
    assert!(all.iter().all(|schema| schema.subject.starts_with(":.trunkline:")));
    assert!(table(&fake.url, &all).contains("all ") && !table(&fake.url, &all).contains("NOT"));
    let posts = fake.store.lock().posts;
    assert_eq!(register(&args(&fake.url)).await.expect("again"), all);
    assert_eq!(fake.store.lock().posts, posts);
}

#[tokio::test]
async fn what_is_missing_is_added_to_what_is_there() {
    let fake = fake(Manner::Keeps).await;
    register(&args(&fake.url)).await.expect("registered");
    fake.store.lock().subjects.remove(":.trunkline:cdr.calls-value").expect("it was there");
    let all = register(&args(&fake.url)).await.expect("again");
    assert!(all.iter().all(ReadBack::is_right), "{}", table(&fake.url, &all));
    assert_eq!(fake.store.lock().posts, all.len() + 1);
}

#[tokio::test]
async fn a_registry_that_gives_ids_of_its_own_is_told_on_with_both_ids() {
    let fake = fake(Manner::OwnIds).await;
    let all = register(&args(&fake.url)).await.expect("an answer");
    assert!(all.iter().all(|schema| !schema.is_right() && schema.under_our_id == UnderOurId::Nothing));
    let text = table(&fake.url, &all);
    let calls = all.iter().find(|schema| schema.subject.ends_with("sip.transactions-value")).expect("its line");
    assert!(
        text.contains(&format!("{:<10}  {:<10}  NOTHING", calls.wanted_id, calls.given_id.expect("an id"))),
        "{text}"
    );
    assert!(text.contains("/registry"), "{text}");
}

#[tokio::test]
async fn another_schema_under_our_id_is_the_worst_and_named() {
    let fake = fake(Manner::Keeps).await;
    register(&args(&fake.url)).await.expect("registered");
    for versions in fake.store.lock().subjects.values_mut() {
        versions.values_mut().for_each(|(_, schema)| *schema = "\"string\"".to_owned());
    }
    let all = {
        let registry = Registry::new(&fake.url, None).expect("a client");
        bringing::bring(&registry, ".trunkline").await
    };
    // It is brought again, and the fake takes it; what matters is what stood there before.
    assert!(all.expect("an answer").iter().all(ReadBack::is_right));
    fake.store
        .lock()
        .subjects
        .get_mut(":.trunkline:cdr.calls-value")
        .expect("a subject")
        .insert(2, (0x5452_0001, "\"bytes\"".to_owned()));
    fake.store.lock().subjects.remove(":.trunkline:sip.transactions-value");
    let registry = Registry::new(&fake.url, None).expect("a client");
    let wanted: Vec<_> = bringing::wanted(".trunkline").into_iter().filter(|w| w.id == 0x5452_0001).collect();
    let read = bringing::read_back(&registry, &wanted).await.expect("an answer");
    assert_eq!(read[0].under_our_id, UnderOurId::Another);
    assert!(table(&fake.url, &read).contains("ANOTHER SCHEMA"));
}

#[tokio::test]
async fn errors_say_what_to_do() {
    let said = |error: anyhow::Error| format!("{error:#}");
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let text = said(register(&args(&format!("http://{closed}"))).await.expect_err("nobody is there"));
    assert!(text.contains("cannot be reached") && text.contains("refused"), "{text}");

    let modeless = fake(Manner::NoModes).await;
    let text = said(register(&args(&modeless.url)).await.expect_err("no mode"));
    assert!(text.contains("IMPORT") && text.contains("422") && text.contains("Mode mutability is off"), "{text}");
    assert_eq!(modeless.store.lock().posts, 0, "nothing is brought where it would get another id");

    let locked = fake(Manner::Password).await;
    let text = said(register(&args(&locked.url)).await.expect_err("no password"));
    assert!(text.contains("401"), "{text}");
    let text = said(register(&args("ftp://x")).await.expect_err("no such protocol"));
    assert!(text.contains("http://"), "{text}");
    let text = said(register(&args("http://me:secret@x")).await.expect_err("a password in the open"));
    assert!(text.contains("--auth-file") && !text.contains("secret"), "{text}");
    let text = said(register(&RegisterArgs { context: "a b".into(), ..args(&locked.url) }).await.expect_err("a blank"));
    assert!(text.contains("--context"), "{text}");
}

#[tokio::test]
async fn user_and_password_come_from_a_file_and_are_shown_nowhere() {
    let locked = fake(Manner::Password).await;
    let dir = tempfile::tempdir().expect("a folder");
    let file = |text: &str| -> PathBuf {
        let path = dir.path().join("auth");
        std::fs::write(&path, text).expect("a file");
        path
    };
    let with = |path: PathBuf| RegisterArgs { auth_file: Some(path), ..args(&locked.url) };
    let all = register(&with(file("me:secret:with:colons\n"))).await.expect("registered");
    assert!(all.iter().all(ReadBack::is_right));
    let text = format!("{:#}", register(&with(file("me:wrong"))).await.expect_err("wrong"));
    assert!(text.contains("401") && !text.contains("wrong"), "{text}");
    let text = format!("{:#}", register(&with(file("no colon, secret"))).await.expect_err("no colon"));
    assert!(text.contains("user:password") && !text.contains("secret"), "{text}");
}

/// Apicurio accepts IMPORT and gives ids of its own; another registry may keep ours. Either way the answer has to be the truth.
#[tokio::test]
async fn a_strangers_registry_is_told_the_truth_about() {
    let Ok(url) = std::env::var("TRUNKLINE_TEST_REGISTRY") else {
        println!("SKIPPED: TRUNKLINE_TEST_REGISTRY is not set (infra/local/up registry needs Java 21 or newer)");
        return;
    };
    let args = RegisterArgs { context: format!(".test-{}", std::process::id()), ..args(&url) };
    let all = register(&args).await.expect("an answer");
    assert_eq!(all.len(), schemas_of_this_build());
    assert!(all.iter().all(|schema| schema.given_id.is_some()), "{}", table(&url, &all));
    println!("{}", table(&url, &all));
    let again = register(&args).await.expect("again");
    assert_eq!(again, all, "bringing twice changes nothing");
}
