//! The books: joins records into calls, derives the rows of what changed and writes them with the positions in one transaction.
//!
//! Memory is a cache of `call_state` and nothing else: ended calls leave it at once, a late fact reads its call back, and when a
//! write fails the whole cache goes, so what is in memory is never ahead of what is on disk.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use domain::{CallId, hex};
use sha2::{Digest, Sha256};
use stream::Record;

use crate::adapters::decode::{TranslateError, Translated, translate};
use crate::adapters::publish;
use crate::adapters::store::{Batch, Changed, NodeRow, Queued, Store};
use crate::core::call::derive;
use crate::core::fact::Fact;
use crate::core::reconcile::OpenCall;
use crate::core::row::{CallRow, LegRow};
use crate::core::state::{CallState, Joined};
use crate::error::StoreError;

/// Text of facts held for open calls. Beyond it calls are forgotten, oldest touch first, and read back when they speak again.
const CACHE_BYTES: usize = 96 << 20;

struct Cached {
    state: CallState,
    published: Option<String>,
    /// Ids of the legs as written; empty when unknown.
    legs: BTreeSet<String>,
    touched: u64,
}

/// A record that cannot be a fact.
pub struct Unreadable {
    pub index: usize,
    pub class: &'static str,
    pub error: String,
}

/// What became of a call in one batch.
pub struct Touched {
    pub id: CallId,
    pub finality: String,
    pub open: Option<OpenCall>,
    /// When the call ended, if this batch told so.
    pub ended_us: Option<i64>,
}

#[derive(Default)]
pub struct Applied {
    pub unreadable: Vec<Unreadable>,
    /// A schema that this build does not know: nothing was applied, the batch has to wait.
    pub wait: Option<String>,
    pub facts: u64,
    pub touched: Vec<Touched>,
    pub queued: u64,
    /// The newest event of a channel, by node: (epoch, the node's clock). Proof that the node lived.
    pub heard: BTreeMap<Box<str>, (Option<Box<str>>, i64)>,
}

pub struct Books {
    store: Store,
    cache: HashMap<CallId, Cached>,
    bytes: usize,
    round: u64,
    /// Finished records go to the outbox. Off in a replay.
    publishes: bool,
    /// Published hash and next offsets that a failed write must not lose are in the store, not here.
    facts_seen: u64,
}

impl Books {
    #[must_use]
    pub fn new(store: Store, publishes: bool) -> Books {
        Books { store, cache: HashMap::new(), bytes: 0, round: 0, publishes, facts_seen: 0 }
    }

    pub fn store(&mut self) -> &mut Store {
        &mut self.store
    }

    #[must_use]
    pub fn into_store(self) -> Store {
        self.store
    }

    #[must_use]
    pub fn cached_calls(&self) -> usize {
        self.cache.len()
    }

    #[must_use]
    pub fn cached_bytes(&self) -> usize {
        self.bytes
    }

    /// New facts since the start.
    #[must_use]
    pub fn facts(&self) -> u64 {
        self.facts_seen
    }

    /// Reads the calls that were open when the log was last written and says how they stand.
    pub async fn open_calls(&mut self) -> Result<Vec<(CallId, OpenCall)>, StoreError> {
        let ids = self.store.open_calls().await?;
        let mut open = Vec::with_capacity(ids.len());
        for part in ids.chunks(500) {
            for (id, stored) in self.store.states(part).await? {
                if let Some(call) = derive(&id, &stored.state)?.open {
                    open.push((id, call));
                }
            }
        }
        Ok(open)
    }

    /// Applies records of the call topics and writes the result together with `offsets` and `nodes`.
    pub async fn apply<'r>(
        &mut self,
        records: impl Iterator<Item = (usize, &'r Record)>,
        offsets: Vec<(String, i32, i64)>,
        nodes: Vec<NodeRow>,
    ) -> Result<Applied, StoreError> {
        let mut applied = Applied::default();
        let mut facts: Vec<(CallId, Box<Fact>)> = Vec::new();
        for (index, record) in records {
            match translate(record) {
                Ok(Translated::Fact(call, fact)) => facts.push((call, fact)),
                Ok(Translated::Nothing) => {}
                Err(error) if error.is_unknown_schema() => {
                    applied.wait =
                        Some(format!("{}/{} offset {}: {error}", record.topic.name, record.partition, record.offset));
                    return Ok(applied);
                }
                Err(error) => {
                    applied.unreadable.push(Unreadable { index, class: class(&error), error: error.to_string() })
                }
            }
        }
        let result = self.join_and_write(facts, offsets, nodes, &mut applied).await;
        if result.is_err() {
            self.cache.clear();
            self.bytes = 0;
        }
        result.map(|()| applied)
    }

    async fn join_and_write(
        &mut self,
        facts: Vec<(CallId, Box<Fact>)>,
        offsets: Vec<(String, i32, i64)>,
        nodes: Vec<NodeRow>,
        applied: &mut Applied,
    ) -> Result<(), StoreError> {
        self.round += 1;
        self.load(&facts).await?;
        let mut changed_ids = BTreeSet::new();
        for (call, fact) in facts {
            let cached = self.cache.get_mut(&call).expect("loaded above, or made there");
            let before = cached.state.bytes();
            let joined = cached.state.join(&fact)?;
            if joined == Joined::New {
                applied.facts += 1;
                hear(&fact, &mut applied.heard);
            }
            if joined != Joined::Known {
                changed_ids.insert(call);
            }
            self.bytes = self.bytes + cached.state.bytes() - before;
            cached.touched = self.round;
        }
        let mut batch = Batch { offsets, nodes, ..Batch::default() };
        for id in changed_ids {
            self.change(id, &mut batch, applied)?;
        }
        applied.queued = batch.outbox.len() as u64;
        self.store.write(batch).await?;
        self.facts_seen += applied.facts;
        for touched in applied.touched.iter().filter(|t| t.finality != "open") {
            self.forget(&touched.id);
        }
        // Copies of facts of ended calls were read back for nothing.
        let round = self.round;
        let stale: Vec<CallId> =
            self.cache.iter().filter(|(_, c)| c.touched == round && c.legs.is_empty()).map(|(id, _)| *id).collect();
        for id in stale {
            self.forget(&id);
        }
        self.shrink();
        Ok(())
    }

    async fn load(&mut self, facts: &[(CallId, Box<Fact>)]) -> Result<(), StoreError> {
        let missing: BTreeSet<CallId> =
            facts.iter().map(|(id, _)| *id).filter(|id| !self.cache.contains_key(id)).collect();
        let missing: Vec<CallId> = missing.into_iter().collect();
        let mut stored = if missing.is_empty() { HashMap::new() } else { self.store.states(&missing).await? };
        for id in missing {
            let (state, published) = stored.remove(&id).map_or_else(Default::default, |s| (s.state, s.published));
            self.bytes += state.bytes();
            self.cache.insert(id, Cached { state, published, legs: BTreeSet::new(), touched: self.round });
        }
        Ok(())
    }

    fn change(&mut self, id: CallId, batch: &mut Batch, applied: &mut Applied) -> Result<(), StoreError> {
        let cached = self.cache.get_mut(&id).expect("only calls in the cache change");
        let derived = derive(&id, &cached.state)?;
        let legs: BTreeSet<String> = derived.legs.iter().map(|l| l.leg_id.clone()).collect();
        let replace_legs = !cached.legs.is_subset(&legs) || (cached.legs.is_empty() && cached.state.revision() > 1);
        cached.legs = legs;
        if self.publishes && derived.call.finality != "open" {
            let hash = content_hash(&derived.call, &derived.legs);
            if cached.published.as_deref() != Some(hash.as_str()) {
                enqueue(&derived.call, &derived.legs, &mut batch.outbox);
                cached.published = Some(hash);
            }
        }
        applied.touched.push(Touched {
            id,
            finality: derived.call.finality.clone(),
            open: derived.open,
            ended_us: derived.call.end_us,
        });
        batch.changed.push(Changed {
            id,
            facts: cached.state.encode(),
            published: cached.published.clone(),
            call: derived.call,
            legs: derived.legs,
            replace_legs,
        });
        Ok(())
    }

    fn forget(&mut self, id: &CallId) {
        if let Some(gone) = self.cache.remove(id) {
            self.bytes -= gone.state.bytes();
        }
    }

    fn shrink(&mut self) {
        if self.bytes <= CACHE_BYTES {
            return;
        }
        let mut by_age: Vec<(u64, CallId)> = self.cache.iter().map(|(id, c)| (c.touched, *id)).collect();
        by_age.sort_unstable();
        for (_, id) in by_age {
            if self.bytes <= CACHE_BYTES / 2 {
                break;
            }
            self.forget(&id);
        }
    }
}

fn hear(fact: &Fact, heard: &mut BTreeMap<Box<str>, (Option<Box<str>>, i64)>) {
    let Some(channel) = &fact.channel else { return };
    let Some(node) = &channel.node else { return };
    let newest = heard.entry(node.clone()).or_insert((None, i64::MIN));
    if fact.at >= newest.1 {
        *newest = (channel.core.clone(), fact.at);
    }
}

fn class(error: &TranslateError) -> &'static str {
    match error {
        TranslateError::Decode(schemas::DecodeError::NotFramed) => "not_framed",
        TranslateError::Decode(schemas::DecodeError::WrongTopic { .. }) => "wrong_topic",
        TranslateError::Decode(_) => "avro",
        TranslateError::Call(_) => "call_id",
        TranslateError::Topic(_) => "topic",
    }
}

/// What subscribers would see change. The revision and the newest event id alone are no news.
fn content_hash(call: &CallRow, legs: &[LegRow]) -> String {
    let mut hash = Sha256::new();
    let mut add = |text: serde_json::Result<String>| hash.update(text.expect("a row has a JSON form"));
    let quiet = CallRow { revision: 0, last_event: None, first_event: None, ..call.clone() };
    add(serde_json::to_string(&quiet));
    for leg in legs {
        let quiet = LegRow { revision: 0, last_event: None, first_event: None, ..leg.clone() };
        add(serde_json::to_string(&quiet));
    }
    hex(&hash.finalize()[..16])
}

fn enqueue(call: &CallRow, legs: &[LegRow], outbox: &mut Vec<Queued>) {
    let json = |value: serde_json::Result<String>| value.expect("an event has a JSON form");
    // Legs first: whoever acts on the call finds them there.
    for leg in legs {
        outbox.push(Queued { topic: "cdr.legs", payload: json(serde_json::to_string(&publish::leg_event(leg))) });
    }
    outbox.push(Queued { topic: "cdr.calls", payload: json(serde_json::to_string(&publish::call_event(call))) });
}
