//! Who may come in.
//!
//! With a token: `Authorization: Bearer <token>`, or the cookie that the sign-in page gives for it. Only `/healthz`,
//! `/readyz` and `/metrics` are open; `/sign-in` takes the token itself.
//!
//! Without one (loopback only): every local program may come in, but no web page. A page of another origin that the operator's
//! browser shows could otherwise send requests to 127.0.0.1 (or read answers, after rebinding its own name to it): the Host
//! must be a loopback name, and an Origin must be our own.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};

use super::signin;
use super::token::Token;

/// What anybody may ask.
const OPEN: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// Puts the guard in front of every route of `router`, its fallback included.
pub fn guard(router: Router, token: Option<Token>) -> Router {
    router.layer(from_fn_with_state(token, check))
}

async fn check(State(token): State<Option<Token>>, request: Request, next: Next) -> Response {
    let reading = matches!(*request.method(), Method::GET | Method::HEAD);
    if reading && OPEN.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let headers = request.headers();
    let Some(token) = token else {
        return match refuse_foreign(headers) {
            Some(why) => (StatusCode::FORBIDDEN, why).into_response(),
            None => next.run(request).await,
        };
    };
    if request.uri().path() == signin::PATH && request.method() == Method::POST {
        return signin::take(&token, request).await;
    }
    let by_header = bearer(headers).is_some_and(|given| token.matches(given));
    let by_cookie = signin::cookie(headers).is_some_and(|given| token.matches_session(given));
    if by_header || (by_cookie && same_origin(headers)) { next.run(request).await } else { signin::ask(headers) }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn refuse_foreign(headers: &HeaderMap) -> Option<&'static str> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !is_loopback_name(host) {
        return Some("the Host is not a loopback name: to be reached by another name, set a token_file\n");
    }
    if !same_origin(headers) {
        return Some("requests from pages of another origin are refused\n");
    }
    None
}

/// True without an Origin: then it is no cross-origin request of a browser.
fn same_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let origin = origin.to_str().ok().and_then(|o| o.split_once("://")).map(|(_, host)| host);
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    origin.is_some() && origin == host
}

fn is_loopback_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_loopback_name;

    #[test]
    fn a_rebound_name_is_not_loopback() {
        for good in ["localhost:8080", "LOCALHOST", "127.0.0.1:8080", "127.1.2.3", "[::1]:8080"] {
            assert!(is_loopback_name(good), "{good}");
        }
        for bad in
            ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "192.0.2.1", "[2001:db8::1]"]
        {
            assert!(!is_loopback_name(bad), "{bad}");
        }
    }
}
