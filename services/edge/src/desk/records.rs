//! What the control topics say, batch by batch.

use schemas::{ControlBlock, ControlNode, ControlRoute, ControlWeight, Event};
use stream::{Bad, Failure, Poison, Record as Raw};

use super::{Desk, State, tell};
use crate::core::book::{Kind, Record};

impl Desk {
    /// Takes a batch and puts what came of it in force. The same batch may come again.
    pub async fn take(&self, batch: &[Raw]) -> Result<Vec<Poison>, Failure> {
        let mut state = self.state.lock().await;
        let (mut poison, mut changed, mut book_changed) = (Vec::new(), Vec::new(), false);
        for (index, raw) in batch.iter().enumerate() {
            match state.take_one(index, raw) {
                Ok(taken) => {
                    book_changed |= taken.book;
                    changed.extend(taken.key);
                }
                Err(Bad::Poison(bad)) => poison.push(bad),
                Err(Bad::Wait(error)) => return Err(Failure::Transient(error)),
            }
            state.store.applied(raw.topic.name, raw.partition, raw.offset);
        }
        state.dirty |= !changed.is_empty();
        let over = std::mem::take(&mut state.book.over);
        if over > 0 {
            tracing::error!(over, "control records beyond what an edge holds are not applied");
        }
        if book_changed {
            self.give_book(&mut state).await;
        }
        if !self.give_control(&mut state, "topic", changed).await {
            return Err(Failure::Transient(anyhow::anyhow!("the shard has stopped")));
        }
        Ok(poison)
    }

    /// Everything that was in the topics at the start has been taken.
    pub async fn caught_up(&self) -> usize {
        let mut state = self.state.lock().await;
        let lost = state.store.caught_up(&self.author);
        for topic in &lost {
            tracing::warn!(
                topic,
                "the topic is empty although it was read before: what the last-known-good file has of it still holds"
            );
        }
        let unseen = std::mem::take(&mut state.unseen);
        let was_read = |topic: &str| state.store.has_read(topic);
        let (routes, nodes) = (was_read(ControlRoute::TOPIC.name), was_read(ControlNode::TOPIC.name));
        let before = state.book.iter().count();
        let own = self.author.as_str();
        state.book.retain(|kind, record| {
            let read = if kind == Kind::Node { nodes } else { routes };
            let is_unseen = unseen.iter().any(|(k, id)| *k == kind && *id == record.id);
            !is_unseen || !read || record.author == own || record.announced
        });
        let is_smaller = state.book.iter().count() != before;
        state.caught_up = true;
        state.dirty = true;
        if is_smaller {
            self.give_book(&mut state).await;
        }
        self.give_control(&mut state, "topic", Vec::new()).await;
        self.update_status(|status| status.caught_up = true);
        state.rules
    }

    /// The settings as files and records together make them.
    pub(super) async fn give_book(&self, state: &mut State) {
        let merged = state.book.merged(&state.file);
        let known = self.status();
        let news: Vec<_> = merged.left_out.iter().filter(|l| !known.left_out.contains(l)).cloned().collect();
        let replaced: Vec<_> = merged.replaced.iter().filter(|r| !known.replaced.contains(r)).cloned().collect();
        tell(&replaced, &news);
        match self.give_settings(state, merged.config).await {
            Ok(()) => {
                self.update_status(|status| (status.replaced, status.left_out) = (merged.replaced, merged.left_out));
            }
            Err(refused) => tracing::error!(why = refused.why, "what the control topics say is not in force"),
        }
    }
}

#[derive(Default)]
struct Taken {
    key: Option<String>,
    /// The settings are others now.
    book: bool,
}

impl State {
    fn take_one(&mut self, index: usize, raw: &Raw) -> Result<Taken, Bad> {
        let key = String::from_utf8_lossy(&raw.key).into_owned();
        if raw.topic == ControlBlock::TOPIC {
            let block = read::<ControlBlock>(index, raw)?;
            self.store.block(&key, block);
        } else if raw.topic == ControlWeight::TOPIC {
            let weight = read::<ControlWeight>(index, raw)?;
            self.store.weight(&key, weight);
        } else if raw.topic == ControlRoute::TOPIC {
            let record = read::<ControlRoute>(index, raw)?.map(Record::from);
            return Ok(self.take_record(key, record));
        } else if raw.topic == ControlNode::TOPIC {
            let record = read::<ControlNode>(index, raw)?.map(Record::from);
            return Ok(self.take_record(key, record));
        } else {
            return Ok(Taken::default());
        }
        Ok(Taken { key: Some(key), book: false })
    }

    fn take_record(&mut self, key: String, record: Option<Record>) -> Taken {
        // Another kind is of a newer build, or another service's.
        let Some((kind, id)) = Kind::of_key(&key) else { return Taken::default() };
        if record.is_some() {
            self.unseen.retain(|(k, i)| (*k, i.as_str()) != (kind, id));
        } else if self.unseen.iter().any(|(k, i)| (*k, i.as_str()) == (kind, id)) {
            // History that is read again; what is not in the topic at its end is forgotten then.
            return Taken::default();
        }
        let book = self.book.put(kind, id, record);
        Taken { key: Some(key), book }
    }
}

fn read<E: Event>(index: usize, raw: &Raw) -> Result<Option<E>, Bad> {
    if raw.value.is_none() {
        return Ok(None);
    }
    let event = stream::decode::<E>(index, raw)?;
    let invalid = |e: schemas::Invalid| Bad::Poison(Poison { index, class: "invalid", error: e.to_string() });
    event.check().map_err(invalid)?;
    Ok(Some(event))
}
