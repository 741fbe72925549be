//! What an operator changes on the edge itself: rules, weights, trunks, numbers, routes and nodes.
//!
//! Each change is checked whole, put in force, written to the last-known-good file, published under the name `edge/<instance>` (the
//! spool keeps it while the stream is down) and audited. A refusal changes nothing and says why.

use domain::CallId;
use schemas::{BlockScope, ControlAudit, ControlBlock, ControlWeight, Event as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Desk, State};
use crate::core::book::{Kind, Record};

/// Without a word about it a block ends after so long (s).
const BLOCK_S: u64 = 3_600;
/// Longer blocks are no blocks but settings (s).
const BLOCK_MOST_S: u64 = 30 * 86_400;

/// On whose word something is changed.
#[derive(Debug, Clone, Default)]
pub struct Actor {
    /// Person or program.
    pub name: String,
    pub reason: Option<String>,
    pub ip: Option<String>,
    /// `edge_admin`, `signal` or `announcement`.
    pub via: &'static str,
}

impl Actor {
    /// A node that came or went by itself.
    #[must_use]
    pub fn announcement(node: &str, reason: &str) -> Actor {
        Actor { name: node.to_owned(), reason: Some(reason.to_owned()), via: "announcement", ..Actor::default() }
    }

    #[must_use]
    pub fn signal() -> Actor {
        Actor { name: "SIGHUP".to_owned(), via: "signal", ..Actor::default() }
    }
}

/// Why a change was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refused {
    /// Of HTTP.
    pub status: u16,
    pub why: String,
}

impl Refused {
    pub fn wrong(why: impl Into<String>) -> Refused {
        Refused { status: 422, why: why.into() }
    }

    pub fn unknown(why: impl Into<String>) -> Refused {
        Refused { status: 404, why: why.into() }
    }

    pub fn unavailable(why: impl Into<String>) -> Refused {
        Refused { status: 503, why: why.into() }
    }

    pub fn conflict(why: impl Into<String>) -> Refused {
        Refused { status: 409, why: why.into() }
    }
}

/// A block rule as an operator states it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewBlock {
    pub scope: BlockScope,
    /// enforce (also when missing) or shadow.
    pub mode: Option<String>,
    pub status: Option<u16>,
    /// How long it holds (s).
    pub for_s: Option<u64>,
    pub reason: Option<String>,
    pub actor: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Weigh {
    /// Factor of the configured weight, 0 to 1.
    pub weight: Option<f64>,
    /// active, draining or disabled.
    pub state: Option<String>,
    /// How long it holds (s); without it until it is taken back.
    pub for_s: Option<u64>,
    pub reason: Option<String>,
    pub actor: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct Lift {
    pub key: String,
    pub expires_us: i64,
}

impl Desk {
    /// A trunk, number, route or node, new or in the place of another.
    pub async fn put(&self, kind: Kind, id: &str, mut settings: Value, actor: &Actor) -> Result<(), Refused> {
        name_itself(kind, id, &mut settings)?;
        let record = self.record(id, Some(settings.to_string()), actor);
        self.change_book(kind, id, Some(record), actor).await
    }

    /// As somebody states it now.
    pub(super) fn record(&self, id: &str, settings: Option<String>, actor: &Actor) -> Record {
        Record {
            id: id.to_owned(),
            settings,
            author: self.author.clone(),
            made_us: self.clock.now().wall_us,
            reason: actor.reason.clone(),
            actor: Some(actor.name.clone()),
            announced: false,
        }
    }

    /// Takes a trunk, number, route or node away, wherever it came from.
    pub async fn remove(&self, kind: Kind, id: &str, actor: &Actor) -> Result<(), Refused> {
        let is_in_file = {
            let state = self.state.lock().await;
            let is_in_file = stands(kind, id, &state.file);
            if !is_in_file && !stands(kind, id, &state.config) {
                return Err(Refused::unknown(format!("there is no {} {id}", kind.as_str())));
            }
            is_in_file
        };
        let record = is_in_file.then(|| self.record(id, None, actor));
        self.change_book(kind, id, record, actor).await
    }

    pub(super) async fn change_book(
        &self,
        kind: Kind,
        id: &str,
        record: Option<Record>,
        actor: &Actor,
    ) -> Result<(), Refused> {
        let mut state = self.state.lock().await;
        let known = state.book.get(kind, id).cloned();
        let before = known.as_ref().and_then(|r| r.settings.clone());
        let outcome = self.try_book(&mut state, kind, id, record.clone()).await;
        let after = record.as_ref().and_then(|r| r.settings.clone());
        let action = if after.is_some() { "update" } else { "delete" };
        self.audit(audit(actor, action, kind.as_str(), id, self.now_us(), outcome.as_ref().err(), before, after));
        outcome?;
        match &record {
            // A node announces itself to every edge; what one of them heard is no word of an operator.
            Some(record) if record.announced => {}
            None if known.is_some_and(|known| known.announced) => {}
            Some(record) => self.publish_record(kind, record),
            None => self.publish_tombstone(kind, id),
        }
        state.dirty = true;
        self.save(&mut state).await;
        tracing::info!(kind = kind.as_str(), id, actor = actor.name, action, "settings were changed");
        Ok(())
    }

    /// In force when nothing is wrong with it.
    async fn try_book(&self, state: &mut State, kind: Kind, id: &str, record: Option<Record>) -> Result<(), Refused> {
        let mut book = state.book.clone();
        book.put(kind, id, record);
        let known: Vec<(Kind, String)> =
            state.book.merged(&state.file).left_out.into_iter().map(|l| (l.kind, l.id)).collect();
        let merged = book.merged(&state.file);
        let new = merged
            .left_out
            .iter()
            .find(|l| (l.kind, l.id.as_str()) == (kind, id) || !known.contains(&(l.kind, l.id.clone())));
        if let Some(wrong) = new {
            return Err(Refused::wrong(format!("{} {}: {}", wrong.kind.as_str(), wrong.id, wrong.why)));
        }
        self.give_settings(state, merged.config).await?;
        state.book = book;
        self.update_status(|status| (status.replaced, status.left_out) = (merged.replaced, merged.left_out));
        Ok(())
    }

    /// Weight and state of a node, on an operator's word.
    pub async fn weigh(&self, node: &str, wish: Weigh, actor: &Actor) -> Result<(), Refused> {
        let mut state = self.state.lock().await;
        let Some(known) = state.config.nodes.iter().find(|n| n.id == node) else {
            return Err(Refused::unknown(format!("there is no node {node}")));
        };
        let now_us = self.now_us();
        let record = ControlWeight {
            event_type: "weight".to_owned(),
            node_id: node.to_owned(),
            author: self.author.clone(),
            pool: Some(known.pool.clone()),
            weight: wish.weight.unwrap_or(1.0),
            state: wish.state.unwrap_or_else(|| "active".to_owned()),
            rule: Some("override".to_owned()),
            reason: actor.reason.clone(),
            actor: Some(actor.name.clone()),
            made_us: now_us,
            until_us: wish.for_s.map(|s| later(now_us, s)),
            ..ControlWeight::default()
        };
        let outcome = record.check().map_err(|error| Refused::wrong(error.to_string()));
        let after = serde_json::to_string(&(record.weight, &record.state, record.until_us)).ok();
        self.audit(audit(actor, "weight", "node", node, now_us, outcome.as_ref().err(), None, after));
        outcome?;
        let key = record.key();
        state.store.weight(&key, Some(record.clone()));
        self.give_control(&mut state, "override", vec![key]).await;
        self.publisher.publish(record);
        state.dirty = true;
        self.save(&mut state).await;
        Ok(())
    }

    /// Takes back what this edge's operator said about a node.
    pub async fn weigh_no_more(&self, node: &str, actor: &Actor) -> Result<(), Refused> {
        let mut state = self.state.lock().await;
        let key = format!("{node}/{}", self.author);
        if !state.store.has_weight(&key) {
            return Err(Refused::unknown(format!("nothing was said about the node {node} on this edge")));
        }
        state.store.weight(&key, None);
        self.audit(audit(actor, "delete", "weight", &key, self.now_us(), None, None, None));
        self.publisher.tombstone(ControlWeight::TOPIC, &key);
        self.give_control(&mut state, "override", vec![key]).await;
        state.dirty = true;
        self.save(&mut state).await;
        Ok(())
    }

    /// A block rule. Gives its key.
    pub async fn block(&self, wish: NewBlock, actor: &Actor) -> Result<Lift, Refused> {
        let mut state = self.state.lock().await;
        let now_us = self.now_us();
        let for_s = wish.for_s.unwrap_or(BLOCK_S);
        let record = ControlBlock {
            event_type: "block".to_owned(),
            author: self.author.clone(),
            block_id: CallId::new(now_us, random()).to_string(),
            mode: wish.mode.unwrap_or_else(|| "enforce".to_owned()),
            scope: wish.scope,
            status: wish.status,
            rule: Some("operator".to_owned()),
            reason: actor.reason.clone(),
            actor: Some(actor.name.clone()),
            made_us: now_us,
            expires_us: later(now_us, for_s),
            ..ControlBlock::default()
        };
        let outcome = if for_s == 0 || for_s > BLOCK_MOST_S {
            Err(Refused::wrong(format!("for_s: 1 to {BLOCK_MOST_S}; what holds for longer is a setting")))
        } else if crate::core::control::Rule::of_scope(&record.scope).is_none() && record.scope.check().is_ok() {
            Err(Refused::wrong("scope.source_cidr: an address or a network"))
        } else {
            record.check().map_err(|error| Refused::wrong(error.to_string()))
        };
        let after = serde_json::to_string(&record.scope).ok();
        self.audit(audit(actor, "block", "block", &record.block_id, now_us, outcome.as_ref().err(), None, after));
        outcome?;
        self.put_block(&mut state, record).await
    }

    /// Ends a block before its time, whoever made it.
    pub async fn lift(&self, author: &str, block_id: &str, actor: &Actor) -> Result<Lift, Refused> {
        let mut state = self.state.lock().await;
        let Some(block) = state.store.find_block(author, block_id).cloned() else {
            return Err(Refused::unknown(format!("there is no block {author}/{block_id}")));
        };
        let now_us = self.now_us();
        let record = ControlBlock {
            event_type: "lift".to_owned(),
            author: self.author.clone(),
            lifts_author: Some(block.author.clone()),
            reason: actor.reason.clone(),
            actor: Some(actor.name.clone()),
            made_us: now_us,
            expires_us: block.expires_us.max(now_us + 1),
            envelope: schemas::Envelope::default(),
            ..block
        };
        self.audit(audit(actor, "lift", "block", block_id, now_us, None, None, None));
        self.put_block(&mut state, record).await
    }

    async fn put_block(&self, state: &mut State, record: ControlBlock) -> Result<Lift, Refused> {
        let (key, expires_us) = (record.key(), record.expires_us);
        state.store.block(&key, Some(record.clone()));
        self.give_control(state, "override", vec![key.clone()]).await;
        self.publisher.publish(record);
        state.dirty = true;
        self.save(state).await;
        Ok(Lift { key, expires_us })
    }

    fn now_us(&self) -> i64 {
        self.clock.now().wall_us
    }
}

fn later(now_us: i64, seconds: u64) -> i64 {
    now_us.saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000))
}

fn random() -> [u8; 10] {
    let mut bytes = [0; 10];
    bytes.copy_from_slice(&uuid::Uuid::new_v4().as_bytes()[6..]);
    bytes
}

/// The field that the id stands in may be left out.
fn name_itself(kind: Kind, id: &str, settings: &mut Value) -> Result<(), Refused> {
    let Value::Object(fields) = settings else {
        return Err(Refused::wrong("a JSON object with the names of the settings file"));
    };
    let (field, value) = match kind {
        Kind::Node | Kind::Trunk => ("id", id),
        Kind::Number => ("number", id),
        Kind::Route => ("prefix", if id == "default" { "" } else { id }),
    };
    fields.entry(field).or_insert_with(|| Value::String(value.to_owned()));
    Ok(())
}

fn stands(kind: Kind, id: &str, config: &crate::config::Config) -> bool {
    match kind {
        Kind::Node => config.nodes.iter().any(|n| n.id == id),
        Kind::Trunk => config.trunks.iter().any(|t| t.id == id),
        Kind::Number => config.numbers.iter().any(|n| n.number == id),
        Kind::Route => config.routes.iter().any(|r| r.id() == id),
    }
}

#[expect(clippy::too_many_arguments, reason = "the fields of one record, each once")]
pub(super) fn audit(
    actor: &Actor,
    action: &str,
    target_kind: &str,
    target_id: &str,
    now_us: i64,
    refused: Option<&Refused>,
    before: Option<String>,
    after: Option<String>,
) -> ControlAudit {
    ControlAudit {
        event_type: "change".to_owned(),
        actor: if actor.name.is_empty() { "unknown".to_owned() } else { actor.name.clone() },
        change_id: CallId::new(now_us, random()).to_string(),
        action: action.to_owned(),
        target_kind: target_kind.to_owned(),
        target_id: target_id.to_owned(),
        before,
        after,
        reason: actor.reason.clone(),
        result: if refused.is_some() { "refused" } else { "accepted" }.to_owned(),
        error: refused.map(|r| r.why.clone()),
        source_ip: actor.ip.clone(),
        via: Some(actor.via.to_owned()),
        made_us: now_us,
        ..ControlAudit::default()
    }
}
