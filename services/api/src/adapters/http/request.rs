//! Reading requests: queries and bodies, with errors that name the field.

use std::net::SocketAddr;

use axum::extract::rejection::QueryRejection;
use axum::extract::{ConnectInfo, FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::core::change::Who;
use crate::core::mask::Numbers;
use crate::error::Error;

/// A query whose unknown or bad parts are errors in our own form.
pub struct Params<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let query: Result<Query<T>, QueryRejection> = Query::from_request_parts(parts, state).await;
        query.map(|Query(params)| Params(params)).map_err(|bad| Error::invalid("query", bad.body_text()))
    }
}

/// `numbers=masked` (the default) or `numbers=full`.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NumbersParam {
    #[default]
    Masked,
    Full,
}

impl From<NumbersParam> for Numbers {
    fn from(param: NumbersParam) -> Numbers {
        match param {
            NumbersParam::Masked => Numbers::Masked,
            NumbersParam::Full => Numbers::Full,
        }
    }
}

/// `limit` and `numbers`, for lists without a filter.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListParams {
    pub limit: Option<usize>,
    pub numbers: NumbersParam,
}

pub fn limit(given: Option<usize>, default: usize, most: usize) -> Result<usize, Error> {
    match given {
        None => Ok(default),
        Some(limit) if (1..=most).contains(&limit) => Ok(limit),
        Some(_) => Err(Error::invalid("limit", format!("1 to {most}"))),
    }
}

/// A JSON body. The type is demanded because a form of a foreign page cannot send it.
pub fn json<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, Error> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if kind.split(';').next().map(str::trim) != Some("application/json") {
        return Err(Error::NotJson);
    }
    serde_json::from_slice(body).map_err(|error| Error::invalid("body", error.to_string()))
}

/// As [`json`], but nothing at all is fine too.
pub fn json_or_default<T: DeserializeOwned + Default>(headers: &HeaderMap, body: &[u8]) -> Result<T, Error> {
    if body.is_empty() { Ok(T::default()) } else { json(headers, body) }
}

impl<S: Send + Sync> FromRequestParts<S> for Who {
    type Rejection = std::convert::Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let source_ip = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_string());
        let given = parts.headers.get("x-request-id").and_then(|id| id.to_str().ok());
        let request_id = given.filter(|id| !id.is_empty() && id.len() <= 64).map(str::to_owned);
        Ok(Who { source_ip, request_id: request_id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string()) })
    }
}
