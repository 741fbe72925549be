use std::net::SocketAddr;
use std::path::PathBuf;

use axum::Router;
use axum::routing::{get, post};
use kit::admin::{self, AdminConfig};
use kit::settings::Check;
use kit::{Lifecycle, Metrics};

use crate::http::{get as http_get, send};
use crate::wait::LONG;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

struct Admin {
    addr: SocketAddr,
    life: Lifecycle,
    _dir: tempfile::TempDir,
}

fn token_file(dir: &tempfile::TempDir, text: &str) -> PathBuf {
    let file = dir.path().join("trunkline.token");
    std::fs::write(&file, text).unwrap();
    file
}

fn start(token: Option<&str>) -> Admin {
    let dir = tempfile::tempdir().unwrap();
    let config =
        AdminConfig { bind: "127.0.0.1:0".parse().unwrap(), token_file: token.map(|text| token_file(&dir, text)) };
    let life = Lifecycle::new(LONG);
    let extra = Router::new().route("/state", get(async || "state")).route("/change", post(async || "changed"));
    let addr = admin::serve(&config, "admin", &life, &Metrics::new(), extra).unwrap();
    Admin { addr, life, _dir: dir }
}

#[tokio::test]
async fn the_three_open_routes_answer_without_a_token() {
    let admin = start(Some(&format!("{TOKEN}\n")));
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(http_get(admin.addr, path).await.status, 200, "{path}");
    }
    assert!(http_get(admin.addr, "/metrics").await.body.ends_with("# EOF\n"));
    let health: serde_json::Value = serde_json::from_str(&http_get(admin.addr, "/healthz").await.body).unwrap();
    assert_eq!(health["tasks"][0]["name"], "admin");
}

#[tokio::test]
async fn every_other_route_needs_the_token() {
    let admin = start(Some(TOKEN));
    let bearer = format!("Bearer {TOKEN}");
    let short = format!("Bearer {}", &TOKEN[1..]);
    for (method, path) in
        [("GET", "/state"), ("POST", "/change"), ("GET", "/nowhere"), ("POST", "/healthz"), ("GET", "/sign-in")]
    {
        for headers in [
            &[][..],
            &[("Authorization", short.as_str())],
            &[("Authorization", TOKEN)],
            &[("Cookie", "trunkline_session=x")],
        ] {
            let answer = send(admin.addr, method, path, headers, "").await;
            assert_eq!(answer.status, 401, "{method} {path} with {headers:?}");
            assert!(answer.head.to_lowercase().contains("www-authenticate: bearer"));
        }
    }
    let good = [("Authorization", bearer.as_str())];
    assert_eq!(send(admin.addr, "POST", "/change", &good, "").await.body, "changed");
    assert_eq!(send(admin.addr, "GET", "/nowhere", &good, "").await.status, 404);
}

#[tokio::test]
async fn a_browser_signs_in_with_a_form_and_gets_a_cookie_that_is_not_the_token() {
    let admin = start(Some(TOKEN));
    let page = send(admin.addr, "GET", "/state", &[("Accept", "text/html")], "").await;
    assert_eq!(page.status, 401);
    assert!(page.body.contains("<form") && page.head.contains("default-src 'none'"));
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    assert_eq!(send(admin.addr, "POST", "/sign-in", &form, "token=wrong").await.status, 401);
    let signed = send(admin.addr, "POST", "/sign-in", &form, &format!("token={TOKEN}")).await;
    assert_eq!(signed.status, 303);
    let cookie = signed.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains(TOKEN), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    assert_eq!(send(admin.addr, "GET", "/state", &[("Cookie", pair)], "").await.body, "state");
    let foreign = [("Cookie", pair), ("Origin", "http://evil.example")];
    assert_eq!(send(admin.addr, "POST", "/change", &foreign, "").await.status, 401, "another site rides on the cookie");
}

#[tokio::test]
async fn without_a_token_no_web_page_of_another_origin_gets_in() {
    let admin = start(None);
    assert_eq!(http_get(admin.addr, "/state").await.body, "state");
    let own = format!("http://{}", admin.addr);
    assert_eq!(send(admin.addr, "POST", "/change", &[("Origin", own.as_str())], "").await.status, 200);
    for headers in [[("Origin", "http://evil.example")], [("Origin", "null")], [("Host", "evil.example")]] {
        assert_eq!(send(admin.addr, "POST", "/change", &headers, "").await.status, 403, "{headers:?}");
        assert_eq!(send(admin.addr, "GET", "/state", &headers, "").await.status, 403, "{headers:?}");
    }
}

#[tokio::test]
async fn an_address_beyond_loopback_is_refused_without_a_good_token_file() {
    let dir = tempfile::tempdir().unwrap();
    let start = |bind: &str, token_file: Option<PathBuf>| {
        let config = AdminConfig { bind: bind.parse().unwrap(), token_file };
        let mut problems = Vec::new();
        config.check("admin", &mut problems);
        let served = admin::serve(&config, "admin", &Lifecycle::new(LONG), &Metrics::new(), Router::new());
        assert_eq!(served.is_err(), !problems.is_empty(), "settings and start agree");
        served.map_err(|error| error.to_string())
    };
    for bind in ["0.0.0.0:0", "[::]:0"] {
        let error = start(bind, None).unwrap_err();
        assert!(error.contains("admin.token_file") && error.contains("urandom"), "{error}");
    }
    let short = start("0.0.0.0:0", Some(token_file(&dir, &TOKEN[1..]))).unwrap_err();
    assert!(short.contains("31 characters") && short.contains("urandom") && !short.contains(&TOKEN[1..]), "{short}");
    let two_lines = start("127.0.0.1:0", Some(token_file(&dir, &format!("{TOKEN}\n{TOKEN}")))).unwrap_err();
    assert!(two_lines.contains("one line"), "{two_lines}");
    let missing = start("127.0.0.1:0", Some("/nowhere/token".into())).unwrap_err();
    assert!(missing.contains("cannot read /nowhere/token"), "{missing}");
    start("0.0.0.0:0", Some(token_file(&dir, TOKEN))).unwrap();
}

#[tokio::test]
async fn readyz_turns_first_and_healthz_stays_while_a_process_drains() {
    let admin = start(None);
    admin.life.set_ready("store", false);
    let answer = http_get(admin.addr, "/readyz").await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("\"store\""), "{}", answer.body);
    assert_eq!(http_get(admin.addr, "/healthz").await.status, 200);
}

#[tokio::test]
async fn a_taken_admin_port_is_explained() {
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = AdminConfig { bind: held.local_addr().unwrap(), token_file: None };
    let error = admin::serve(&config, "admin", &Lifecycle::new(LONG), &Metrics::new(), Router::new()).unwrap_err();
    assert!(error.to_string().contains("setting admin.bind"), "{error}");
}
