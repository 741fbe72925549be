//! What an operator may change: from a request to the control record and its audit entry, or to a refusal.
//!
//! Every block names one trunk when it is about numbers, ends by itself, and never covers a protected number.

use domain::Now;
use schemas::{BlockScope, ControlAudit, ControlBlock, ControlWeight, Event};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::Error;

/// The author of everything that the api writes.
pub const AUTHOR: &str = "operator";

/// Long enough for a sentence, short enough for a list.
const MAX_TEXT: usize = 500;
const MAX_NAME: usize = 64;

#[derive(Debug, Clone)]
pub struct Rules {
    pub max_block_s: u64,
    pub protected_numbers: Vec<String>,
}

/// Who asks, as far as the api can know.
#[derive(Debug, Clone, Default)]
pub struct Who {
    pub source_ip: Option<String>,
    pub request_id: String,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NewBlock {
    pub scope: NewScope,
    pub duration_s: u64,
    pub reason: String,
    #[serde(default)]
    pub status: Option<u16>,
    #[serde(default)]
    pub actor: Option<String>,
}

/// As [`BlockScope`], but a misspelt field is an error: it would widen the block.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewScope {
    pub trunk: Option<String>,
    pub account: Option<String>,
    pub source_cidr: Option<String>,
    pub caller: Option<String>,
    pub caller_prefix: Option<String>,
    pub callee: Option<String>,
    pub callee_prefix: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Undo {
    pub reason: Option<String>,
    pub actor: Option<String>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NewWeight {
    pub weight: f64,
    #[serde(default = "active")]
    pub state: String,
    /// Seconds; without it the weight holds until it is replaced or released.
    #[serde(default)]
    pub duration_s: Option<u64>,
    pub reason: String,
    #[serde(default)]
    pub actor: Option<String>,
}

fn active() -> String {
    "active".to_owned()
}

pub fn block(rules: &Rules, body: &NewBlock, now: Now, id: Uuid) -> Result<ControlBlock, Error> {
    if !(1..=rules.max_block_s).contains(&body.duration_s) {
        return Err(Error::invalid("duration_s", format!("1 to {}: every block ends", rules.max_block_s)));
    }
    if body.status.is_some_and(|status| !(400..700).contains(&status)) {
        return Err(Error::invalid("status", "a final SIP refusal, 400 to 699"));
    }
    let scope = scope(&body.scope)?;
    protect(rules, &scope)?;
    let made = ControlBlock {
        event_type: "block".to_owned(),
        author: AUTHOR.to_owned(),
        block_id: id.to_string(),
        mode: "enforce".to_owned(),
        scope,
        reason: Some(reason(Some(&body.reason))?),
        status: body.status,
        actor: Some(actor(body.actor.as_deref())?),
        made_us: now.wall_us,
        expires_us: now.wall_us + i64::try_from(body.duration_s * 1_000_000).unwrap_or(i64::MAX),
        ..ControlBlock::default()
    };
    made.check().map_err(|invalid| Error::invalid(invalid.field, invalid.why))?;
    Ok(made)
}

/// Undo: a record of our own beside the author's, valid until the block would have ended.
pub fn lift(block: &ControlBlock, body: &Undo, now: Now) -> Result<ControlBlock, Error> {
    let lifted = ControlBlock {
        event_type: "lift".to_owned(),
        author: AUTHOR.to_owned(),
        lifts_author: Some(block.author.clone()),
        reason: Some(reason(body.reason.as_deref())?),
        actor: Some(actor(body.actor.as_deref())?),
        // Never before the block itself, whatever the two clocks say: the later of two persons wins.
        made_us: now.wall_us.max(block.made_us),
        evidence: Vec::new(),
        ..block.clone()
    };
    lifted.check().map_err(|invalid| Error::invalid(invalid.field, invalid.why))?;
    Ok(lifted)
}

pub fn weight(node: &str, body: &NewWeight, now: Now) -> Result<ControlWeight, Error> {
    const MAX_S: u64 = 366 * 24 * 3600;
    if body.duration_s.is_some_and(|seconds| !(1..=MAX_S).contains(&seconds)) {
        return Err(Error::invalid("duration_s", format!("1 to {MAX_S}, or absent to hold until it is replaced")));
    }
    let made = ControlWeight {
        event_type: "weight".to_owned(),
        node_id: node.to_owned(),
        author: AUTHOR.to_owned(),
        weight: body.weight,
        state: body.state.clone(),
        rule: Some("override".to_owned()),
        reason: Some(reason(Some(&body.reason))?),
        actor: Some(actor(body.actor.as_deref())?),
        made_us: now.wall_us,
        until_us: body.duration_s.and_then(|s| i64::try_from(s * 1_000_000).ok()).map(|us| now.wall_us + us),
        ..ControlWeight::default()
    };
    made.check().map_err(|invalid| Error::invalid(invalid.field, invalid.why))?;
    Ok(made)
}

/// What was asked for, for the audit: also of a request that was refused.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub action: &'static str,
    pub target_kind: &'static str,
    pub target_id: String,
    pub actor: Option<String>,
    pub reason: Option<String>,
    pub topic: &'static str,
    pub key: Option<String>,
    pub before: Option<String>,
    pub after: Option<String>,
}

#[must_use]
pub fn audit(asked: Asked, refused: Option<&Error>, who: &Who, now: Now, id: Uuid) -> ControlAudit {
    ControlAudit {
        event_type: "change".to_owned(),
        actor: actor(asked.actor.as_deref()).unwrap_or_else(|_| AUTHOR.to_owned()),
        change_id: id.to_string(),
        action: asked.action.to_owned(),
        target_kind: asked.target_kind.to_owned(),
        target_id: asked.target_id,
        topic: Some(asked.topic.to_owned()),
        record_key: asked.key,
        before: asked.before,
        after: asked.after,
        reason: asked.reason.map(|text| text.chars().take(MAX_TEXT).collect()),
        result: if refused.is_some() { "refused" } else { "accepted" }.to_owned(),
        error: refused.map(ToString::to_string),
        source_ip: who.source_ip.clone(),
        request_id: Some(who.request_id.clone()),
        via: Some("api".to_owned()),
        made_us: now.wall_us,
        ..ControlAudit::default()
    }
}

fn scope(body: &NewScope) -> Result<BlockScope, Error> {
    let mut scope = BlockScope {
        trunk: body.trunk.clone(),
        account: body.account.clone(),
        source_cidr: body.source_cidr.clone(),
        caller: body.caller.as_deref().map(number),
        caller_prefix: body.caller_prefix.clone(),
        callee: body.callee.as_deref().map(number),
        callee_prefix: body.callee_prefix.clone(),
    };
    for (field, text) in [
        ("scope.trunk", &mut scope.trunk),
        ("scope.account", &mut scope.account),
        ("scope.source_cidr", &mut scope.source_cidr),
        ("scope.caller", &mut scope.caller),
        ("scope.caller_prefix", &mut scope.caller_prefix),
        ("scope.callee", &mut scope.callee),
        ("scope.callee_prefix", &mut scope.callee_prefix),
    ] {
        if let Some(text) = text {
            *text = text.trim().to_owned();
            if text.is_empty() || text.len() > MAX_NAME || text.chars().any(char::is_control) {
                return Err(Error::invalid(field, format!("1 to {MAX_NAME} characters, or absent")));
            }
        }
    }
    Ok(scope)
}

/// Numbers are compared in their normalised form; what has none is compared as on the wire.
fn number(raw: &str) -> String {
    domain::normalize_number(raw).unwrap_or_else(|| raw.to_owned())
}

fn protect(rules: &Rules, scope: &BlockScope) -> Result<(), Error> {
    let hit = |text: &Option<String>, covers: fn(&str, &str) -> bool| {
        let digits = text.as_deref().map(|text| text.trim_start_matches('+'));
        digits.is_some_and(|digits| rules.protected_numbers.iter().any(|number| covers(number, digits)))
    };
    if hit(&scope.callee, |number, callee| number == callee) {
        return Err(Error::invalid("scope.callee", "is an emergency number: nobody may block it"));
    }
    // A prefix is compared with the normalised number, but a dialled emergency number may not have been normalised.
    if hit(&scope.callee_prefix, |number, prefix| number.starts_with(prefix)) {
        return Err(Error::invalid("scope.callee_prefix", "covers an emergency number: nobody may block it"));
    }
    Ok(())
}

fn reason(text: Option<&str>) -> Result<String, Error> {
    let text = text.unwrap_or("undone by an operator").trim();
    if text.is_empty() || text.chars().count() > MAX_TEXT || text.chars().any(char::is_control) {
        return Err(Error::invalid("reason", format!("1 to {MAX_TEXT} characters: others will read why")));
    }
    Ok(text.to_owned())
}

fn actor(name: Option<&str>) -> Result<String, Error> {
    let name = name.unwrap_or(AUTHOR).trim();
    if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(Error::invalid("actor", format!("1 to {MAX_NAME} characters")));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Now = Now { wall_us: 1_000_000_000_000, mono_us: 5 };

    fn rules() -> Rules {
        Rules { max_block_s: 3_600, protected_numbers: vec!["112".into(), "911".into()] }
    }

    fn new_block(changes: serde_json::Value) -> Result<ControlBlock, Error> {
        let mut body =
            json!({ "scope": { "trunk": "a", "callee": "+442079460018" }, "duration_s": 60, "reason": "fraud" });
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        block(&rules(), &serde_json::from_value(body).unwrap(), NOW, Uuid::now_v7())
    }

    #[test]
    fn a_block_ends_by_itself_and_says_who_and_why() {
        let made = new_block(json!({ "actor": "ada" })).unwrap();
        assert_eq!(made.expires_us, NOW.wall_us + 60_000_000);
        assert_eq!(
            (made.author.as_str(), made.actor.as_deref(), made.mode.as_str()),
            ("operator", Some("ada"), "enforce")
        );
        assert_eq!(made.key(), format!("operator/{}", made.block_id));
    }

    #[test]
    fn what_must_not_be_is_refused_by_the_name_of_the_field() {
        let cases = [
            (json!({ "duration_s": 0 }), "duration_s"),
            (json!({ "duration_s": 3_601 }), "duration_s"),
            (json!({ "reason": "  " }), "reason"),
            (json!({ "actor": "a\nb" }), "actor"),
            (json!({ "status": 200 }), "status"),
            (json!({ "scope": {} }), "scope"),
            (json!({ "scope": { "callee": "+442079460018" } }), "scope.trunk"),
            (json!({ "scope": { "trunk": "" } }), "scope.trunk"),
            (json!({ "scope": { "trunk": "a", "callee": "112" } }), "scope.callee"),
            (json!({ "scope": { "trunk": "a", "callee_prefix": "+1" } }), "scope.callee_prefix"),
        ];
        for (changes, field) in cases {
            match new_block(changes.clone()) {
                Err(Error::Invalid { field: found, .. }) => assert_eq!(found, field, "{changes}"),
                other => panic!("{changes}: {other:?}"),
            }
        }
        let typo = json!({ "scope": { "trunk": "a", "calee": "x" }, "duration_s": 60, "reason": "r" });
        assert!(serde_json::from_value::<NewBlock>(typo).is_err(), "a misspelt field would widen the block");
    }

    #[test]
    fn undo_is_a_record_of_our_own_until_the_block_would_have_ended() {
        let theirs = ControlBlock { author: "fraud".into(), ..new_block(json!({})).unwrap() };
        let undone = lift(&theirs, &Undo::default(), NOW).unwrap();
        assert_eq!(undone.key(), format!("operator/{}", theirs.block_id));
        assert_eq!(undone.lifts_author.as_deref(), Some("fraud"));
        assert_eq!(undone.expires_us, theirs.expires_us);
        let behind = Now { wall_us: theirs.made_us - 5_000_000, mono_us: 0 };
        assert_eq!(lift(&theirs, &Undo::default(), behind).unwrap().made_us, theirs.made_us);
    }

    #[test]
    fn a_weight_is_a_share_with_a_known_state() {
        let body = |weight: f64, state: &str| NewWeight {
            weight,
            state: state.into(),
            duration_s: Some(60),
            reason: "maintenance".into(),
            actor: None,
        };
        let made = weight("fs-1", &body(0.5, "draining"), NOW).unwrap();
        assert_eq!((made.key().as_str(), made.until_us), ("fs-1/operator", Some(NOW.wall_us + 60_000_000)));
        assert!(weight("fs-1", &body(1.5, "active"), NOW).is_err());
        assert!(weight("fs-1", &body(f64::NAN, "active"), NOW).is_err());
        assert!(weight("fs-1", &body(1.0, "sleeping"), NOW).is_err());
    }

    #[test]
    fn a_refused_change_is_audited_with_its_error() {
        let asked = Asked { action: "block", target_kind: "block", target_id: "x".into(), ..Asked::default() };
        let error = Error::invalid("reason", "empty");
        let entry = audit(asked.clone(), Some(&error), &Who::default(), NOW, Uuid::now_v7());
        assert_eq!((entry.result.as_str(), entry.error.as_deref()), ("refused", Some("reason: empty")));
        entry.check().unwrap();
        audit(asked, None, &Who::default(), NOW, Uuid::now_v7()).check().unwrap();
    }
}
