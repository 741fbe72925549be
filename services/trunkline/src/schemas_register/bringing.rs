//! What is brought to a registry, in which order, and what it made of it.
//!
//! Our records carry pinned ids, so a registry helps only when it has the same schemas under the same ids. Mode IMPORT is what registries
//! offer for that, in a context of its own, so that no id of anybody else is in the way. Whether it worked is read back, never assumed.

use anyhow::Context as _;
use hyper::StatusCode;
use schemas::{TopicSpec, all_topics, stream_schema};
use serde::Serialize;
use serde_json::{Value, json};

use super::client::{Error, Registry};

/// One schema as it should stand in the registry.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub subject: String,
    pub version: usize,
    pub id: u32,
    pub schema: &'static str,
}

/// Every schema of this build, retired ones first, in the context.
pub fn wanted(context: &str) -> Vec<Wanted> {
    let prefix = if context == "." { String::new() } else { format!(":{context}:") };
    let of = |topic: &&'static TopicSpec| {
        let subject = format!("{prefix}{}", stream_schema::subject_of(topic.name));
        let one = move |(version, (id, schema))| Wanted { subject: subject.clone(), version, id, schema };
        (1..).zip(topic.schemas()).map(one).collect::<Vec<_>>()
    };
    all_topics().iter().flat_map(of).collect()
}

/// What the registry says when it is asked for a schema of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReadBack {
    pub subject: String,
    pub version: usize,
    pub wanted_id: u32,
    /// Id of the same schema in the registry.
    pub given_id: Option<i64>,
    /// What stands under our id there.
    pub under_our_id: UnderOurId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UnderOurId {
    /// Our schema: readers find it.
    Ours,
    /// Nothing: readers fail.
    Nothing,
    /// Another schema: readers would take our records for something else.
    Another,
}

impl ReadBack {
    pub fn is_right(&self) -> bool {
        self.given_id == Some(i64::from(self.wanted_id)) && self.under_our_id == UnderOurId::Ours
    }
}

/// A dot and letters; a missing dot is put before it.
pub fn context(name: &str) -> anyhow::Result<String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    anyhow::ensure!(
        !name.is_empty() && name.chars().all(legal),
        "--context {name:?}: letters, digits, dot, _ and - only"
    );
    Ok(if name.starts_with('.') { name.to_owned() } else { format!(".{name}") })
}

/// Brings what is missing and reads everything back. Does nothing where everything is right already.
pub async fn bring(registry: &Registry, context: &str) -> anyhow::Result<Vec<ReadBack>> {
    let wanted = wanted(context);
    let before = read_back(registry, &wanted).await?;
    let missing: Vec<&Wanted> =
        wanted.iter().zip(&before).filter(|(_, there)| there.given_id.is_none()).map(|(wanted, _)| wanted).collect();
    if missing.is_empty() {
        return Ok(before);
    }
    let mut opened: Option<String> = None;
    for schema in missing {
        // A context has a mode for all its subjects; in the default context others live too, so each subject gets its own.
        let scope = if context == "." { schema.subject.clone() } else { format!(":{context}:") };
        if opened.as_ref() != Some(&scope) {
            import_mode(registry, &scope).await?;
            opened = Some(scope);
        }
        let body = json!({
            "schema": schema.schema, "schemaType": "AVRO", "id": schema.id, "version": schema.version,
        });
        let path = format!("/subjects/{}/versions", encoded(&schema.subject));
        registry.post(&path, &body).await.with_context(|| format!("{} version {}", schema.subject, schema.version))?;
    }
    Ok(read_back(registry, &wanted).await?)
}

async fn import_mode(registry: &Registry, scope: &str) -> anyhow::Result<()> {
    let path = format!("/mode/{}", encoded(scope));
    let now = registry.find(&path).await.unwrap_or(None);
    if now.is_some_and(|now| now["mode"] == "IMPORT") {
        return Ok(());
    }
    match registry.put(&path, &json!({ "mode": "IMPORT" })).await {
        Ok(_) => Ok(()),
        Err(error) if error.status().is_some_and(is_no) => Err(error).context(
            "the registry does not let its mode be set to IMPORT, so it would give ids of its own; allow it there \
             (mode.mutability=true, and the right to change the mode), or let subscribers use /registry of our api",
        ),
        Err(error) => Err(error.into()),
    }
}

fn is_no(status: StatusCode) -> bool {
    [StatusCode::UNPROCESSABLE_ENTITY, StatusCode::METHOD_NOT_ALLOWED, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND]
        .contains(&status)
}

pub(super) async fn read_back(registry: &Registry, wanted: &[Wanted]) -> Result<Vec<ReadBack>, Error> {
    let mut all = Vec::with_capacity(wanted.len());
    for schema in wanted {
        let subject = encoded(&schema.subject);
        let there = registry.find(&format!("/subjects/{subject}/versions/{}", schema.version)).await?;
        let given_id = there.filter(|there| is_same(there, schema.schema)).and_then(|there| there["id"].as_i64());
        let by_id = registry.find(&format!("/schemas/ids/{}?subject={subject}", schema.id)).await?;
        let under_our_id = match by_id {
            None => UnderOurId::Nothing,
            Some(there) if is_same(&there, schema.schema) => UnderOurId::Ours,
            Some(_) => UnderOurId::Another,
        };
        all.push(ReadBack {
            subject: schema.subject.clone(),
            version: schema.version,
            wanted_id: schema.id,
            given_id,
            under_our_id,
        });
    }
    Ok(all)
}

/// Registries write a schema down in their own way: what counts is the JSON.
fn is_same(there: &Value, ours: &str) -> bool {
    let parsed = |text: &str| serde_json::from_str::<Value>(text).ok();
    there["schema"].as_str().and_then(parsed).is_some_and(|there| Some(there) == parsed(ours))
}

/// A context's colons mean something in an address.
fn encoded(subject: &str) -> String {
    subject.replace(':', "%3A")
}
