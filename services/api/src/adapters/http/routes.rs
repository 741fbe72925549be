//! The one table of routes.
//!
//! Everything is built from it: the router, the test that tries each writing route without a token, and the test that the
//! OpenAPI names every route. A route that is not in here does not exist.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, header};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};

use super::{App, calls, control, live, page, records, registry, views};
use crate::error::Error;
use crate::metrics::RouteLabel;

pub struct Route {
    pub method: &'static str,
    /// With `{name}` for the parts that vary.
    pub path: &'static str,
    /// Changes something: needs the token like every route, and is audited.
    pub writes: bool,
    handler: fn() -> MethodRouter<App>,
}

const fn read(path: &'static str, handler: fn() -> MethodRouter<App>) -> Route {
    Route { method: "GET", path, writes: false, handler }
}

const fn write(path: &'static str, handler: fn() -> MethodRouter<App>) -> Route {
    Route { method: "POST", path, writes: true, handler }
}

pub const ROUTES: &[Route] = &[
    read("/", || get(page::index)),
    read("/app.js", || get(page::script)),
    read("/dom.js", || get(page::dom)),
    read("/chart.js", || get(page::chart)),
    read("/ladder.js", || get(page::ladder)),
    read("/app.css", || get(page::style)),
    read("/openapi.json", || get(page::openapi)),
    read("/v1/calls", || get(calls::list)),
    read("/v1/calls/{id}", || get(calls::one)),
    read("/v1/live", || get(live::stream)),
    read("/v1/metrics", || get(views::metrics)),
    read("/v1/nodes", || get(views::nodes)),
    read("/v1/blocks", || get(views::blocks)),
    read("/v1/alerts", || get(views::alerts)),
    read("/v1/audit", || get(views::audit)),
    read("/topics/{topic}/records", || get(records::list)),
    read("/registry/subjects", || get(registry::subjects)),
    read("/registry/subjects/{subject}/versions", || get(registry::versions)),
    read("/registry/subjects/{subject}/versions/{version}", || get(registry::version)),
    read("/registry/schemas/ids/{id}", || get(registry::by_id)),
    read("/registry/config", || get(registry::config)),
    read("/registry/config/{subject}", || get(registry::subject_config)),
    read("/registry/mode", || get(registry::mode)),
    write("/v1/blocks", || post(control::block)),
    write("/v1/blocks/{author}/{id}/lift", || post(control::lift)),
    write("/v1/nodes/{id}/weight", || post(control::weight)),
    write("/v1/nodes/{id}/weight/release", || post(control::release)),
];

/// More than any control request needs.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Nothing from elsewhere, no inline code, never inside another page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub fn router(app: App) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        let requests = app.metrics.requests.clone();
        let path = route.path;
        let count = move |response: Response| {
            let class = match response.status().as_u16() {
                200..300 => "2xx",
                300..400 => "3xx",
                400..500 => "4xx",
                _ => "5xx",
            };
            requests.get_or_create(&RouteLabel { route: path, class }).inc();
            std::future::ready(response)
        };
        router = router.route(path, (route.handler)().layer(map_response(count)));
    }
    router
        .fallback(async || Error::Unknown { what: "route", id: "see /openapi.json".to_owned() })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(map_response(harden))
        .with_state(Arc::clone(&app))
}

async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // Answers hold personal data; the assets are small and must not outlive an upgrade.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
