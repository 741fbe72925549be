//! What can be wrong with a request, and what it is answered with.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{self, HeaderName};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// In seconds: what keeps us busy is over soon or not at all.
const RETRY_AFTER: (HeaderName, &str) = (header::RETRY_AFTER, "1");

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The client's fault; `field` names the part of the request.
    #[error("{field}: {why}")]
    Invalid { field: &'static str, why: String },
    #[error("{what} {id:?} is not known")]
    Unknown { what: &'static str, id: String },
    /// Right in itself, but not any more.
    #[error("{0}")]
    Conflict(String),
    #[error("the body must be JSON: send Content-Type: application/json")]
    NotJson,
    /// Ours; try again.
    #[error("{0}")]
    Busy(String),
}

impl Error {
    pub fn invalid(field: &'static str, why: impl Into<String>) -> Error {
        Error::Invalid { field, why: why.into() }
    }

    fn status(&self) -> StatusCode {
        match self {
            Error::Invalid { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Error::Unknown { .. } => StatusCode::NOT_FOUND,
            Error::Conflict(_) => StatusCode::CONFLICT,
            Error::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Error::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let field = if let Error::Invalid { field, .. } = &self { Some(*field) } else { None };
        let answer = (self.status(), Json(json!({ "error": self.to_string(), "field": field })));
        if matches!(self, Error::Busy(_)) { ([RETRY_AFTER], answer).into_response() } else { answer.into_response() }
    }
}
