//! The few questions that a Confluent-compatible registry is asked, over HTTP or HTTPS.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use hyper::{Method, Request, StatusCode};
use hyper_tls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

const KIND: &str = "application/vnd.schemaregistry.v1+json";
const PATIENCE: Duration = Duration::from_secs(20);
/// Longer answers are not from a registry.
const LONGEST_ANSWER: usize = 16 << 20;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Address(String),
    #[error("{url}: cannot be reached: {why}")]
    Unreachable { url: String, why: String },
    #[error("{url}: no answer within {} s", PATIENCE.as_secs())]
    TooSlow { url: String },
    #[error("{url}: answered {status} to {asked}: {message}")]
    Refused { url: String, asked: String, status: StatusCode, message: String },
    #[error("{url}: the answer to {asked} is not what a schema registry says: {why}")]
    Strange { url: String, asked: String, why: String },
}

impl Error {
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Error::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}

pub struct Registry {
    /// Without a slash at its end.
    url: String,
    /// The whole header; never shown.
    authorization: Option<String>,
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Registry {
    pub fn new(url: &str, auth_file: Option<&Path>) -> anyhow::Result<Registry> {
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let rest = rest.with_context(|| format!("--registry {url}: begins with neither http:// nor https://"))?;
        // What stands on a command line can be read by every user of the machine.
        let host = rest.split('/').next().unwrap_or_default();
        anyhow::ensure!(
            !host.contains('@'),
            "--registry: user and password belong into --auth-file, not into the address"
        );
        let tls = native_tls::TlsConnector::new().context("TLS")?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        let https = HttpsConnector::from((tcp, tls.into()));
        Ok(Registry {
            url: url.trim_end_matches('/').to_owned(),
            authorization: auth_file.map(basic).transpose()?,
            http: Client::builder(TokioExecutor::new()).build(https),
        })
    }

    pub async fn get(&self, path: &str) -> Result<Value, Error> {
        self.ask(Method::GET, path, None).await
    }

    /// `None` where there is no such thing.
    pub async fn find(&self, path: &str) -> Result<Option<Value>, Error> {
        match self.get(path).await {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub async fn put(&self, path: &str, body: &Value) -> Result<Value, Error> {
        self.ask(Method::PUT, path, Some(body)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Error> {
        self.ask(Method::POST, path, Some(body)).await
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Error> {
        let asked = format!("{method} {path}");
        let url = self.url.clone();
        let mut request = Request::builder().method(method).uri(format!("{url}{path}")).header(ACCEPT, KIND);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, KIND);
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Error::Address(format!("--registry {url}: {error}")))?;
        let exchange = async {
            let unreachable = |why| Error::Unreachable { url: url.clone(), why };
            let answer = self.http.request(request).await.map_err(|error| unreachable(reason(&error)))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
            let body = body.map_err(|error| unreachable(error.to_string()))?.to_bytes();
            Ok((status, body))
        };
        let (status, body) =
            tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| Error::TooSlow { url: url.clone() })??;
        let value: Result<Value, _> = serde_json::from_slice(&body);
        if status.is_success() {
            return value.map_err(|error| Error::Strange { url, asked, why: error.to_string() });
        }
        let told = value.ok().and_then(|value| value["message"].as_str().map(str::to_owned));
        let message = told.unwrap_or_else(|| "no reason given".to_owned());
        Err(Error::Refused { url, asked, status, message })
    }
}

/// The innermost cause: "client error (Connect)" alone helps nobody.
fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

fn basic(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| format!("--auth-file {}", file.display()))?;
    let line = text.trim_end_matches(['\r', '\n']);
    let sound = line.split_once(':').is_some_and(|(user, password)| !user.is_empty() && !password.is_empty());
    anyhow::ensure!(sound && !line.contains('\n'), "--auth-file {}: one line, user:password", file.display());
    Ok(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(line)))
}
