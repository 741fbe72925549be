//! Questions about calls: which are open, why one went where it went, what a rule would have blocked.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use schemas::BlockScope;
use serde::Deserialize;
use tokio::sync::oneshot;

use super::Office;
use crate::adapters::mail::Update;
use crate::core::telling::explain::{DryRun, Explanation};
use crate::core::{DialogFilter, DialogPage};
use crate::desk::Refused;

/// Looks at the shard for one answer: enough for all dialogs that an edge may hold.
const LOOKS: usize = 200;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Shown {
    /// Phone numbers whole.
    numbers: bool,
}

pub async fn dialogs(
    State(office): State<Office>,
    Query(filter): Query<DialogFilter>,
) -> Result<Json<DialogPage>, Refused> {
    let limit = filter.limit.unwrap_or(100);
    let mut answer = DialogPage::default();
    let mut filter = filter;
    for _ in 0..LOOKS {
        filter.limit = Some(limit.saturating_sub(answer.dialogs.len()));
        let page = look(&office, filter.clone()).await?;
        answer.open = page.open;
        answer.dialogs.extend(page.dialogs);
        answer.next = page.next;
        match page.next {
            Some(next) if answer.dialogs.len() < limit => filter.from = next,
            _ => break,
        }
    }
    Ok(Json(answer))
}

async fn look(office: &Office, filter: DialogFilter) -> Result<DialogPage, Refused> {
    let (tell, told) = oneshot::channel();
    let clock = office.view.clock();
    let look = Update::Look(Box::new(move |proxy| {
        // Whoever asked may have gone.
        let _unheard = tell.send(proxy.dialog_page(clock.now(), &filter));
    }));
    let stopped = |()| Refused::unavailable("the process stops");
    office.updates.send(look).await.map_err(|_| stopped(()))?;
    office.bell.ring();
    told.await.map_err(|_| stopped(()))
}

pub async fn explain(
    State(office): State<Office>,
    Path(id): Path<String>,
    Query(shown): Query<Shown>,
) -> Result<Json<Explanation>, Refused> {
    let explanation =
        apart(move || office.decisions.read(|ring| crate::core::telling::explain::explain(ring, &id, shown.numbers)))
            .await?;
    if explanation.calls.is_empty() {
        let reach = &explanation.reach;
        let why = match reach.since_us {
            Some(since) => {
                format!(
                    "no decision about it among the last {}; they reach back to {}",
                    reach.decisions,
                    domain::Utc::of(since)
                )
            }
            None => "no decision was made since this edge started".to_owned(),
        };
        return Err(Refused::unknown(why));
    }
    Ok(Json(explanation))
}

/// The scope of a block rule, as `POST /v1/blocks` takes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    scope: BlockScope,
    #[serde(default)]
    numbers: bool,
}

pub async fn dry_run(State(office): State<Office>, body: Bytes) -> Result<Json<DryRun>, Refused> {
    let rule: Rule = serde_json::from_slice(&body).map_err(|error| Refused::wrong(format!("the body: {error}")))?;
    let topology = office.desk.topology();
    let spared = move |trunk: &str, dialled: &str| topology.spares(trunk, dialled);
    let run = move || {
        office.decisions.read(|ring| crate::core::telling::explain::dry_run(ring, &rule.scope, rule.numbers, spared))
    };
    apart(run).await?.map(Json).map_err(|error| Refused::wrong(error.to_string()))
}

/// Walking the ring takes milliseconds.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refused> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Refused::unavailable("the process stops"))
}
