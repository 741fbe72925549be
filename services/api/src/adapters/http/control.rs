//! The writing routes. Each publishes to a control topic and its audit, and changes nothing else: what is shown afterwards is
//! what came back from the topic.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use schemas::{ControlBlock, ControlWeight, Event};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::App;
use super::request::{json as parse, json_or_default};
use crate::core::change::{self, AUTHOR, Asked, NewBlock, NewWeight, Undo, Who};
use crate::error::Error;
use crate::metrics::ChangeLabel;

/// How long an answer may wait for the log; the change is accepted either way.
const DURABLE_WITHIN: Duration = Duration::from_secs(1);

type Answer = Result<(StatusCode, Json<Value>), Error>;

pub async fn block(State(app): State<App>, who: Who, headers: HeaderMap, body: Bytes) -> Answer {
    let body: NewBlock = parse(&headers, &body)?;
    let now = app.clock.now();
    let id = Uuid::now_v7();
    let asked = Asked {
        action: "block",
        target_kind: "block",
        target_id: id.to_string(),
        actor: body.actor.clone(),
        reason: Some(body.reason.clone()),
        topic: ControlBlock::TOPIC.name,
        after: text(&body),
        ..Asked::default()
    };
    let made = decided(&app, &who, &asked, change::block(&app.rules, &body, now, id))?;
    let answer = json!({ "block_id": made.block_id, "author": made.author, "expires_us": made.expires_us });
    publish(&app, &who, Asked { key: Some(made.key()), ..asked }, || {
        app.client.publisher.publish(made);
    });
    Ok(accepted(&app, answer).await)
}

pub async fn lift(
    State(app): State<App>,
    Path((author, id)): Path<(String, String)>,
    who: Who,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let body: Undo = json_or_default(&headers, &body)?;
    let now = app.clock.now();
    let block = {
        let board = app.board.read();
        board.blocks.in_force(now, &author, &id).cloned().ok_or_else(|| {
            if board.blocks.knows(&author, &id) {
                Error::Conflict("the block is not in force any more".to_owned())
            } else {
                Error::Unknown { what: "block", id: format!("{author}/{id}") }
            }
        })
    };
    let asked = Asked {
        action: "lift",
        target_kind: "block",
        target_id: id,
        actor: body.actor.clone(),
        reason: body.reason.clone(),
        topic: ControlBlock::TOPIC.name,
        before: block.as_ref().ok().and_then(text),
        ..Asked::default()
    };
    let made = decided(&app, &who, &asked, block.and_then(|block| change::lift(&block, &body, now)))?;
    let answer = json!({ "block_id": made.block_id, "author": made.author, "lifts_author": made.lifts_author });
    publish(&app, &who, Asked { key: Some(made.key()), ..asked }, || {
        app.client.publisher.publish(made);
    });
    Ok(accepted(&app, answer).await)
}

pub async fn weight(
    State(app): State<App>,
    Path(id): Path<String>,
    who: Who,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let body: NewWeight = parse(&headers, &body)?;
    let now = app.clock.now();
    let before = known_node(&app, &id);
    let asked = Asked {
        action: "weight",
        target_kind: "node",
        target_id: id.clone(),
        actor: body.actor.clone(),
        reason: Some(body.reason.clone()),
        topic: ControlWeight::TOPIC.name,
        before: before.as_ref().ok().and_then(|weight| weight.as_ref().and_then(text)),
        after: text(&body),
        ..Asked::default()
    };
    let made = decided(&app, &who, &asked, before.and_then(|_| change::weight(&id, &body, now)))?;
    let answer =
        json!({ "node_id": made.node_id, "author": made.author, "weight": made.weight, "until_us": made.until_us });
    publish(&app, &who, Asked { key: Some(made.key()), ..asked }, || {
        app.client.publisher.publish(made);
    });
    Ok(accepted(&app, answer).await)
}

/// Takes the operator's weight back: capacity decides again.
pub async fn release(
    State(app): State<App>,
    Path(id): Path<String>,
    who: Who,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let body: Undo = json_or_default(&headers, &body)?;
    let before = known_node(&app, &id).and_then(|weight| {
        weight.ok_or_else(|| Error::Conflict("the operator has not set a weight for this node".to_owned()))
    });
    let key = format!("{id}/{AUTHOR}");
    let asked = Asked {
        action: "release",
        target_kind: "node",
        target_id: id.clone(),
        actor: body.actor.clone(),
        reason: body.reason.clone(),
        topic: ControlWeight::TOPIC.name,
        key: Some(key.clone()),
        before: before.as_ref().ok().and_then(text),
        ..Asked::default()
    };
    decided(&app, &who, &asked, before)?;
    publish(&app, &who, asked, || app.client.publisher.tombstone(ControlWeight::TOPIC, &key));
    Ok(accepted(&app, json!({ "node_id": id, "author": AUTHOR })).await)
}

fn known_node(app: &App, id: &str) -> Result<Option<ControlWeight>, Error> {
    let board = app.board.read();
    if !board.nodes.knows(id) {
        return Err(Error::Unknown { what: "node", id: id.to_owned() });
    }
    Ok(board.nodes.weight_of(id, AUTHOR).cloned())
}

/// A refusal is audited too: somebody wanted this.
fn decided<T>(app: &App, who: &Who, asked: &Asked, decision: Result<T, Error>) -> Result<T, Error> {
    if let Err(error) = &decision {
        let entry = change::audit(asked.clone(), Some(error), who, app.clock.now(), Uuid::now_v7());
        app.client.publisher.publish(entry);
        app.metrics.changes.get_or_create(&ChangeLabel { action: asked.action, result: "refused" }).inc();
    }
    decision
}

fn publish(app: &App, who: &Who, asked: Asked, change: impl FnOnce()) {
    change();
    tracing::info!(
        action = asked.action,
        target.id = asked.target_id,
        actor = asked.actor.as_deref().unwrap_or(AUTHOR),
        "an operator changed something"
    );
    app.metrics.changes.get_or_create(&ChangeLabel { action: asked.action, result: "accepted" }).inc();
    app.client.publisher.publish(change::audit(asked, None, who, app.clock.now(), Uuid::now_v7()));
}

/// 202: it takes effect when the edges have read it, and they say so in `applied_by`.
async fn accepted(app: &App, mut answer: Value) -> (StatusCode, Json<Value>) {
    let durable = app.client.publisher.flush(DURABLE_WITHIN).await.is_ok();
    answer["durable"] = Value::from(durable);
    (StatusCode::ACCEPTED, Json(answer))
}

fn text<T: Serialize>(value: &T) -> Option<String> {
    serde_json::to_string(value).ok()
}
