use serde_json::{Value, json};

use crate::harness::{Call, id, migrations, postgres_call_log, start, start_with};
use crate::http::get;

const BEGAN: i64 = 1_700_000_000_000_000;

fn ids(answer: &Value) -> Vec<&str> {
    answer["calls"].as_array().unwrap().iter().map(|call| call["call_id"].as_str().unwrap()).collect()
}

async fn ten_calls(api: &crate::harness::Api) -> sqlx::sqlite::SqlitePool {
    let pool = api.call_log().await;
    for n in 1..=10 {
        let (finality, disposition) = match n {
            10 => ("open", None),
            4 => ("final", Some("busy")),
            _ => ("final", Some("answered")),
        };
        Call { n, finality, disposition, start_us: BEGAN + n as i64 }.insert(&pool).await;
    }
    pool
}

#[tokio::test]
async fn a_call_log_that_does_not_exist_yet_is_a_notice_and_no_error() {
    let api = start().await;
    for path in ["/v1/calls", "/v1/calls?state=open", "/v1/metrics"] {
        let answer = get(api.addr, path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.json()["notice"].as_str().unwrap().contains("is the "), "{}", answer.body);
    }
    let pool = ten_calls(&api).await;
    assert_eq!(ids(&get(api.addr, "/v1/calls").await.json()).len(), 10, "and it is seen as soon as it is there");
    pool.close().await;
}

#[tokio::test]
async fn calls_come_newest_first_and_page_by_page() {
    let api = start().await;
    let _pool = ten_calls(&api).await;
    let first = get(api.addr, "/v1/calls?limit=4").await.json();
    assert_eq!(ids(&first), [id(10), id(9), id(8), id(7)]);
    let next = first["next"].as_str().unwrap();
    let second = get(api.addr, &format!("/v1/calls?limit=6&before={next}")).await.json();
    assert_eq!(ids(&second), [id(6), id(5), id(4), id(3), id(2), id(1)]);
    let open = &first["calls"][0];
    for unknown in ["answer_us", "disposition", "talk_ms", "mos_in"] {
        assert!(open[unknown].is_null(), "what is not known is null and never zero: {unknown} in {open}");
    }
    let end = get(api.addr, &format!("/v1/calls?before={}", second["next"].as_str().unwrap())).await.json();
    assert!(ids(&end).is_empty() && end["next"].is_null());
}

#[tokio::test]
async fn a_call_log_on_postgres_gives_the_same_answers() {
    let Some((pool, settings)) = postgres_call_log().await else { return };
    let schema = settings.schema.clone();
    let api = start_with(|config, _| config.calls_postgres = settings).await;
    for (n, finality, disposition) in [(1, "final", Some("answered")), (2, "final", Some("busy")), (3, "open", None)] {
        Call { n, finality, disposition, start_us: BEGAN + n as i64 }.insert_into_postgres(&pool).await;
    }
    let facts = r#"[{"at":7,"kind":"edge","what":"attempt","by":"e","event":"x"}]"#;
    let state = "INSERT INTO call_state (call_id, revision, facts) VALUES ($1, 1, $2)";
    sqlx::query(state).bind(id(1)).bind(facts).execute(&pool).await.unwrap();
    let find = async |query: &str| {
        let answer = get(api.addr, &format!("/v1/calls?{query}")).await.json();
        ids(&answer).iter().map(|id| (*id).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(find("").await, [id(3), id(2), id(1)]);
    assert_eq!(find(&format!("before={}", id(2))).await, [id(1)]);
    assert_eq!(find("state=open").await, [id(3)]);
    assert_eq!(find("state=busy").await, [id(2)]);
    assert_eq!(find("q=sip-1@carrier").await, [id(1)]);
    assert_eq!(find("q=79460018&state=ended").await, [id(2), id(1)]);
    assert!(find("q=%27%20OR%201=1").await.is_empty());
    let one = get(api.addr, &format!("/v1/calls/{}", id(1))).await;
    assert_eq!(one.status, 200, "{}", one.body);
    assert_eq!(one.json()["call"]["revision"], 3);
    assert!(one.json()["call"]["talk_ms"].is_null() && one.json()["call"]["legs"].is_array(), "{}", one.body);
    sqlx::query(sqlx::AssertSqlSafe(format!("DROP SCHEMA {schema} CASCADE"))).execute(&pool).await.unwrap();
}

#[tokio::test]
async fn calls_are_found_by_state_number_and_either_id() {
    let api = start().await;
    let _pool = ten_calls(&api).await;
    let find = async |query: &str| {
        let answer = get(api.addr, &format!("/v1/calls?{query}")).await.json();
        ids(&answer).iter().map(|id| (*id).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(find("state=open").await, [id(10)]);
    assert_eq!(find("state=busy").await, [id(4)]);
    assert_eq!(find("state=ended").await.len(), 9);
    assert_eq!(find("q=79460018").await.len(), 10);
    assert_eq!(find("q=sip-7@carrier").await, [id(7)]);
    assert_eq!(find(&format!("q={}", id(3))).await, [id(3)]);
    assert_eq!(find("q=fs-1&state=busy").await, [id(4)]);
    assert!(find("q=%27%20OR%201=1").await.is_empty(), "what is searched for is a value, never SQL");
    assert!(find("q=nobody").await.is_empty());
}

#[tokio::test]
async fn numbers_are_masked_unless_they_are_asked_for() {
    let api = start().await;
    let _pool = ten_calls(&api).await;
    let one = format!("/v1/calls/{}", id(1));
    for path in ["/v1/calls", one.as_str()] {
        let masked = get(api.addr, path).await.body;
        assert!(!masked.contains("442079460018") && masked.contains("+44••••••••18"), "{masked}");
        let full = get(api.addr, &format!("{path}?numbers=full")).await.body;
        assert!(full.contains("+442079460018"), "{full}");
    }
}

#[tokio::test]
async fn one_call_is_shown_with_its_legs_and_its_ladder() {
    let api = start().await;
    let pool = ten_calls(&api).await;
    let facts = json!([
        { "id": "1", "kind": "edge", "what": "attempt", "at": BEGAN, "by": "edge/a", "event": "e1",
          "edge": { "edge": "e1", "side": "trunk", "source": "carrier-a", "to_side": "node", "to": "fs-1", "callee_raw": "+4930901820001" } },
        { "id": "2", "kind": "channel", "what": "CHANNEL_ANSWER", "at": BEGAN + 9, "by": "engine/a", "event": "e2", "channel": { "node": "fs-1" } },
    ]);
    sqlx::query("INSERT INTO call_state (call_id, revision, facts) VALUES (?1, 2, ?2)")
        .bind(id(1))
        .bind(facts.to_string())
        .execute(&pool)
        .await
        .unwrap();
    let answer = get(api.addr, &format!("/v1/calls/{}", id(1))).await.json();
    assert_eq!(answer["call"]["legs"], json!(["aa"]), "lists are lists");
    let texts: Vec<&str> =
        answer["ladder"]["steps"].as_array().unwrap().iter().map(|step| step["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["INVITE +49•••••••••01", "INVITE", "channel answered"]);
    let ladder =
        answer["ladder"]["lanes"].as_array().unwrap().iter().map(|lane| lane["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ladder, ["trunk:carrier-a", "edge:e1", "node:fs-1"]);
}

#[tokio::test]
async fn what_is_asked_wrongly_is_answered_with_the_field() {
    let api = start().await;
    for (path, status, word) in [
        ("/v1/calls?limit=0", 422, "limit"),
        ("/v1/calls?limit=501", 422, "limit"),
        ("/v1/calls?limit=many", 422, "limit"),
        ("/v1/calls?stat=open", 422, "stat"),
        ("/v1/calls?state=happy", 422, "node_lost"),
        ("/v1/calls?before=yesterday", 422, "before"),
        ("/v1/calls?numbers=all", 422, "masked"),
        ("/v1/calls/yesterday", 404, "yesterday"),
        ("/v1/metrics?from=5&to=1", 422, "from"),
        ("/v1/metrics?from=-9223372036854775808&to=9223372036854775807", 422, "from"),
        ("/v2/calls", 404, "openapi.json"),
    ] {
        let answer = get(api.addr, path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert!(answer.json()["error"].as_str().unwrap().contains(word), "{path}: {}", answer.body);
    }
    let unknown = get(api.addr, &format!("/v1/calls/{}", id(77))).await;
    assert_eq!(unknown.status, 404);
}

#[tokio::test]
async fn the_minutes_come_from_the_view_of_analytics() {
    let Some(files) = migrations("analytics/migrations") else {
        println!("skipped: analytics has no migrations yet");
        return;
    };
    let api = start().await;
    let pool = api.store("analytics/analytics.sqlite", files).await;
    let answer = get(api.addr, "/v1/metrics").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.json()["notice"].is_null(), "the view has the column that is asked for: {}", answer.body);
    pool.close().await;
}
