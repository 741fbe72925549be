use api::ROUTES;
use schemas::{ControlAudit, ControlBlock, ControlWeight, Event};

use crate::harness::{TOKEN, start, start_with, with_token};
use crate::http::{get, send};

/// A path with something in each variable part.
fn concrete(path: &str) -> String {
    path.replace("{author}", "fraud")
        .replace("{id}", "01900000-0000-7000-8000-0000000000aa")
        .replace("{topic}", "sip.transactions")
        .replace("{subject}", "sip.transactions-value")
        .replace("{version}", "latest")
}

const BODY: &str = r#"{"scope":{"trunk":"a"},"duration_s":60,"reason":"r","weight":0.5}"#;

#[tokio::test]
async fn no_writing_route_does_anything_without_the_token() {
    let api = start_with(with_token).await;
    let writing: Vec<_> = ROUTES.iter().filter(|route| route.writes).collect();
    assert!(writing.len() >= 4);
    let wrong = format!("Bearer {}x", &TOKEN[..31]);
    for route in writing {
        for headers in [
            vec![("Content-Type", "application/json")],
            vec![("Content-Type", "application/json"), ("Authorization", wrong.as_str())],
            vec![("Content-Type", "application/json"), ("Cookie", "trunkline_session=guess")],
        ] {
            let answer = send(api.addr, route.method, &concrete(route.path), &headers, BODY).await;
            assert_eq!(answer.status, 401, "{} {}", route.method, route.path);
        }
    }
    for topic in [ControlBlock::TOPIC, ControlWeight::TOPIC, ControlAudit::TOPIC] {
        assert!(api.records(topic).await.is_empty(), "{} was written", topic.name);
    }
}

#[tokio::test]
async fn no_reading_route_is_open_either_and_all_take_the_token() {
    let api = start_with(with_token).await;
    let good = format!("Bearer {TOKEN}");
    for route in ROUTES {
        let path = concrete(route.path);
        assert_eq!(send(api.addr, route.method, &path, &[], "").await.status, 401, "{} {path}", route.method);
        if route.path == "/v1/live" {
            continue;
        }
        let status = send(api.addr, route.method, &path, &[("Authorization", good.as_str())], "").await.status;
        assert!(status != 401 && status != 403 && status < 500, "{} {path}: {status}", route.method);
    }
}

#[tokio::test]
async fn every_route_that_is_no_get_is_marked_as_writing() {
    for route in ROUTES {
        assert_eq!(route.writes, route.method != "GET", "{} {}", route.method, route.path);
    }
}

#[tokio::test]
async fn on_loopback_without_a_token_no_foreign_page_can_write_or_read() {
    let api = start().await;
    for route in ROUTES {
        let headers = [("Content-Type", "application/json"), ("Origin", "https://evil.example")];
        let answer = send(api.addr, route.method, &concrete(route.path), &headers, BODY).await;
        assert_eq!(answer.status, 403, "{} {}", route.method, route.path);
    }
}

#[tokio::test]
async fn an_address_beyond_loopback_needs_a_token_file() {
    use kit::settings::Check;
    let config = api::Config { bind: "0.0.0.0:8080".parse().unwrap(), ..api::Config::default() };
    let mut problems = Vec::new();
    config.check("api", &mut problems);
    assert_eq!(problems.len(), 1);
    let text = problems[0].to_string();
    assert!(text.contains("api.bind") && text.contains("api.token_file") && text.contains("urandom"), "{text}");
}

#[tokio::test]
async fn every_answer_forbids_what_the_page_does_not_need() {
    let api = start().await;
    for path in ["/", "/app.js", "/v1/nodes", "/nowhere"] {
        let head = get(api.addr, path).await.head;
        for header in
            ["content-security-policy: default-src 'none'", "x-content-type-options: nosniff", "cache-control: no-"]
        {
            assert!(head.contains(header), "{header} on {path}: {head}");
        }
        assert!(!head.contains("unsafe-inline") && !head.contains("unsafe-eval"), "{head}");
    }
}
