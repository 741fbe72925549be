//! The page and its parts, embedded: no build step, nothing from elsewhere.

use axum::http::header;
use axum::response::{IntoResponse, Response};

fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], text).into_response()
}

pub async fn index() -> Response {
    asset("text/html; charset=utf-8", include_str!("../../../assets/index.html"))
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

pub async fn script() -> Response {
    asset(SCRIPT, include_str!("../../../assets/app.js"))
}

pub async fn dom() -> Response {
    asset(SCRIPT, include_str!("../../../assets/dom.js"))
}

pub async fn chart() -> Response {
    asset(SCRIPT, include_str!("../../../assets/chart.js"))
}

pub async fn ladder() -> Response {
    asset(SCRIPT, include_str!("../../../assets/ladder.js"))
}

pub async fn style() -> Response {
    asset("text/css; charset=utf-8", include_str!("../../../assets/app.css"))
}

pub async fn openapi() -> Response {
    asset("application/json", include_str!("../../../openapi.json"))
}
