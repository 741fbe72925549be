//! Changes. The body of each may say on whose behalf (`actor`) and why (`reason`); both go into the audit.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, FromRequestParts, Path, State};
use axum::http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Office;
use super::look::kind_of;
use crate::adapters::mail::Update;
use crate::desk::{Actor, NewBlock, Refused, Reloaded, Weigh, ip_of};

/// Longer than any body here.
const MOST_TEXT: usize = 400;

/// Where a request came from, when the server knows.
pub struct From(Option<SocketAddr>);

impl<S: Sync> FromRequestParts<S> for From {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<From, Infallible> {
        Ok(From(parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(addr)| *addr)))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Why {
    reason: Option<String>,
    actor: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Put {
    settings: Value,
    reason: Option<String>,
    actor: Option<String>,
}

fn actor(from: From, name: Option<String>, reason: Option<String>) -> Actor {
    let cut = |text: String| text.chars().filter(|c| !c.is_control()).take(MOST_TEXT).collect::<String>();
    let name = name.map(cut).filter(|name| !name.is_empty()).unwrap_or_else(|| "operator".to_owned());
    Actor { name, reason: reason.map(cut), ip: ip_of(from.0), via: "edge_admin" }
}

/// An empty body says nothing.
fn read<T: serde::de::DeserializeOwned + Default>(body: &Bytes) -> Result<T, Refused> {
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body).map_err(|error| Refused::wrong(format!("the body: {error}")))
}

pub async fn put(
    State(office): State<Office>,
    from: From,
    Path((kind, id)): Path<(String, String)>,
    body: Bytes,
) -> Result<Json<Value>, Refused> {
    let kind = kind_of(&kind)?;
    let wish: Put = serde_json::from_slice(&body)
        .map_err(|error| Refused::wrong(format!("the body is {{\"settings\": {{…}}, \"reason\": \"…\"}}: {error}")))?;
    office.desk.put(kind, &id, wish.settings, &actor(from, wish.actor, wish.reason)).await?;
    Ok(Json(json!({ "in_force": office.desk.status().digest })))
}

pub async fn remove(
    State(office): State<Office>,
    from: From,
    Path((kind, id)): Path<(String, String)>,
    body: Bytes,
) -> Result<Json<Value>, Refused> {
    let kind = kind_of(&kind)?;
    let why: Why = read(&body)?;
    office.desk.remove(kind, &id, &actor(from, why.actor, why.reason)).await?;
    Ok(Json(json!({ "in_force": office.desk.status().digest })))
}

/// Takes in a node that announced itself and waits: from now on it is an operator's word.
pub async fn approve(
    State(office): State<Office>,
    from: From,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Refused> {
    let why: Why = read(&body)?;
    let waiting = office.view.snapshot().announced.into_iter().find(|a| a.node.id == id && a.state == "pending");
    let node = waiting.ok_or_else(|| Refused::unknown(format!("no node {id} waits to be taken in")))?.node;
    let settings = serde_json::to_value(&node).map_err(|error| Refused::wrong(error.to_string()))?;
    office.desk.put(crate::core::book::Kind::Node, &id, settings, &actor(from, why.actor, why.reason)).await?;
    Ok(Json(json!({ "in_force": office.desk.status().digest })))
}

pub async fn weigh(
    State(office): State<Office>,
    from: From,
    Path(node): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Refused> {
    let mut wish: Weigh = read(&body)?;
    let by = actor(from, wish.actor.take(), wish.reason.take());
    office.desk.weigh(&node, wish, &by).await?;
    Ok(Json(json!({ "node": node })))
}

pub async fn weigh_no_more(
    State(office): State<Office>,
    from: From,
    Path(node): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Refused> {
    let why: Why = read(&body)?;
    office.desk.weigh_no_more(&node, &actor(from, why.actor, why.reason)).await?;
    Ok(Json(json!({ "node": node })))
}

pub async fn block(State(office): State<Office>, from: From, body: Bytes) -> Result<Json<Value>, Refused> {
    let mut wish: NewBlock = read(&body)?;
    let by = actor(from, wish.actor.take(), wish.reason.take());
    let made = office.desk.block(wish, &by).await?;
    Ok(Json(json!(made)))
}

/// The path holds author/block id; an author has a slash itself when it is an edge.
pub async fn lift(
    State(office): State<Office>,
    from: From,
    Path(key): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Refused> {
    let why: Why = read(&body)?;
    let (author, block_id) =
        key.rsplit_once('/').ok_or_else(|| Refused::unknown("DELETE /v1/blocks/{author}/{block id}"))?;
    let lift = office.desk.lift(author, block_id, &actor(from, why.actor, why.reason)).await?;
    Ok(Json(json!(lift)))
}

pub async fn drain(State(office): State<Office>, from: From, body: Bytes) -> Result<Json<Value>, Refused> {
    set_draining(&office, from, &body, true).await
}

pub async fn undrain(State(office): State<Office>, from: From, body: Bytes) -> Result<Json<Value>, Refused> {
    set_draining(&office, from, &body, false).await
}

async fn set_draining(office: &Office, from: From, body: &Bytes, on: bool) -> Result<Json<Value>, Refused> {
    let why: Why = read(body)?;
    office.desk.drained(on, &actor(from, why.actor, why.reason));
    let sent = office.updates.send(Update::Drain(on)).await;
    sent.map_err(|_| Refused::unavailable("the process stops"))?;
    office.bell.ring();
    Ok(Json(json!({ "draining": on })))
}

pub async fn reload(State(office): State<Office>, from: From, body: Bytes) -> Result<Json<Reloaded>, Refused> {
    let why: Why = read(&body)?;
    office.desk.reload(&actor(from, why.actor, why.reason)).await.map(Json)
}
