//! How a person with a browser shows the token: a browser cannot add an Authorization header to a page it opens.
//!
//! The refusal itself is the form. It posts the token and gets a cookie that scripts cannot read, that other sites cannot send,
//! and that dies with the process.

use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::token::Token;

pub(super) const PATH: &str = "/sign-in";

const COOKIE: &str = "trunkline_session";

/// More than any token form needs.
const MAX_FORM_BYTES: usize = 8 * 1024;

const PAGE: &str = include_str!("signin.html");

const PAGE_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

pub(super) fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value)
}

/// 401, as a form for a browser that opens a page and as a line for everything else.
pub(super) fn ask(headers: &HeaderMap) -> Response {
    let page = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains("text/html"));
    let challenge = (header::WWW_AUTHENTICATE, "Bearer");
    if page {
        let html = [
            challenge,
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
        ];
        return (StatusCode::UNAUTHORIZED, html, PAGE).into_response();
    }
    (StatusCode::UNAUTHORIZED, [challenge], "a token is needed: Authorization: Bearer <content of the token_file>\n")
        .into_response()
}

/// The posted form: `token=…`, URL-encoded.
pub(super) async fn take(token: &Token, request: Request) -> Response {
    let headers = request.headers().clone();
    let Ok(body) = to_bytes(request.into_body(), MAX_FORM_BYTES).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let given = std::str::from_utf8(&body).ok().and_then(|form| form.split('&').find_map(|p| p.strip_prefix("token=")));
    if !given.is_some_and(|given| token.matches(decode(given).trim())) {
        return ask(&headers);
    }
    let cookie = format!("{COOKIE}={}; HttpOnly; SameSite=Strict; Path=/", token.session());
    (StatusCode::SEE_OTHER, [(header::SET_COOKIE, cookie.as_str()), (header::LOCATION, "/")]).into_response()
}

/// Percent and plus decoding; what is not valid stays as it is and will not match.
fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = |at: usize| after.get(at).and_then(|b| char::from(*b).to_digit(16));
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                rest = &after[2..];
            }
            (b'+', ..) => {
                out.push(b' ');
                rest = after;
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn base64_tokens_survive_the_form() {
        assert_eq!(decode("ab%2Bc%2Fd%3D+"), "ab+c/d= ");
        assert_eq!(decode("100%"), "100%");
    }
}
