//! `/registry`: the schemas of this build, for stock clients of a schema registry. Read only.

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::core::registry::{self, Error};

const KIND: &str = "application/vnd.schemaregistry.v1+json";

fn answer(result: Result<Value, Error>) -> Response {
    let (status, body) = match result {
        Ok(body) => (StatusCode::OK, body),
        Err(error) => {
            let status = StatusCode::from_u16(error.code() / 100).unwrap_or(StatusCode::NOT_FOUND);
            (status, json!({ "error_code": error.code(), "message": error.to_string() }))
        }
    };
    (status, [(header::CONTENT_TYPE, KIND)], body.to_string()).into_response()
}

pub async fn subjects() -> Response {
    answer(Ok(json!(registry::subjects())))
}

pub async fn versions(Path(subject): Path<String>) -> Response {
    answer(registry::versions(&subject).map(|versions| json!(versions)))
}

pub async fn version(Path((subject, version)): Path<(String, String)>) -> Response {
    answer(registry::version(&subject, &version))
}

pub async fn by_id(Path(id): Path<String>) -> Response {
    answer(registry::by_id(&id))
}

pub async fn config() -> Response {
    answer(Ok(registry::config()))
}

pub async fn subject_config(Path(subject): Path<String>) -> Response {
    answer(registry::subject_config(&subject))
}

pub async fn mode() -> Response {
    answer(Ok(registry::mode()))
}
