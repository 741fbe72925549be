//! What the fold gives to the last-known-good file and takes from it.
//!
//! At a start the records of the file hold until the topics were read to their end; then what the topics no longer have is
//! forgotten. A topic that has nothing at all although it was read before is a lost topic, not an order to forget.

use std::collections::BTreeSet;

use schemas::{AppliedOffset, ControlBlock, ControlWeight};

use super::Store;

/// What is only known from the file yet.
#[derive(Debug, Default)]
pub(super) struct Unseen {
    blocks: BTreeSet<String>,
    weights: BTreeSet<String>,
    /// How far the life before had read.
    floor: Vec<AppliedOffset>,
    /// Keys that the topic deletes, until it is known whether a later record brings them back.
    deleted: BTreeSet<String>,
}

/// Rules and weights, each with its key.
pub type Held = (Vec<(String, ControlBlock)>, Vec<(String, ControlWeight)>);

impl Unseen {
    pub(super) fn see(&mut self, key: &str) {
        self.blocks.remove(key);
        self.weights.remove(key);
        self.deleted.remove(key);
    }

    pub(super) fn is_block(&self, key: &str) -> bool {
        self.blocks.contains(key)
    }

    pub(super) fn is_weight(&self, key: &str) -> bool {
        self.weights.contains(key)
    }

    /// An older record came after a deletion: the key lives on as far as is known.
    pub(super) fn forgive(&mut self, key: &str) {
        self.deleted.remove(key);
    }

    /// What was in force before the start still is, however far the topics were read again.
    pub(super) fn raise(&self, applied: &mut Vec<AppliedOffset>) {
        for before in &self.floor {
            let same = |o: &&mut AppliedOffset| o.topic == before.topic && o.partition == before.partition;
            match applied.iter_mut().find(same) {
                Some(found) => found.offset = found.offset.max(before.offset),
                None => applied.push(before.clone()),
            }
        }
    }

    pub(super) fn delete(&mut self, key: &str) {
        self.deleted.insert(key.to_owned());
    }
}

impl Store {
    /// The state of the life before, as far as it has not ended.
    pub fn take_kept(
        &mut self,
        wall_us: i64,
        blocks: Vec<(String, ControlBlock)>,
        weights: Vec<(String, ControlWeight)>,
        applied: Vec<AppliedOffset>,
    ) {
        for (key, block) in blocks {
            self.block(&key, Some(block));
            self.unseen.blocks.insert(key);
        }
        for (key, weight) in weights {
            self.weight(&key, Some(weight));
            self.unseen.weights.insert(key);
        }
        self.unseen.floor = applied;
        self.expire(wall_us);
    }

    /// Everything that is held, for the file.
    #[must_use]
    pub fn kept(&self) -> Held {
        let blocks = self.blocks.iter().chain(&self.lifts).map(|(key, block)| (key.clone(), block.clone()));
        (blocks.collect(), self.weights.iter().map(|(key, weight)| (key.clone(), weight.clone())).collect())
    }

    /// The topics were read to their end. Says which of them were lost: what the file knew of these still holds. Records of
    /// `own` stay: they may not have arrived yet.
    pub fn caught_up(&mut self, own: &str) -> Vec<&'static str> {
        let unseen = std::mem::take(&mut self.unseen);
        let lost = |topic: &&'static str| {
            unseen.floor.iter().any(|o| o.topic == *topic) && !self.offsets.keys().any(|(t, _)| t == topic)
        };
        let lost: Vec<&'static str> = ["control.blocks", "control.weights"].into_iter().filter(lost).collect();
        if !lost.contains(&"control.blocks") {
            let gone =
                |key: &str, author: &str| unseen.blocks.contains(key) && author != own || unseen.deleted.contains(key);
            self.blocks.retain(|key, b| !gone(key, &b.author));
            self.lifts.retain(|key, l| !gone(key, &l.author));
        }
        if !lost.contains(&"control.weights") {
            let gone =
                |key: &str, author: &str| unseen.weights.contains(key) && author != own || unseen.deleted.contains(key);
            self.weights.retain(|key, w| !gone(key, &w.author));
        }
        lost
    }

    #[must_use]
    pub fn has_weight(&self, key: &str) -> bool {
        self.weights.contains_key(key)
    }

    /// Whether anything came from that topic since the start.
    #[must_use]
    pub fn has_read(&self, topic: &str) -> bool {
        self.offsets.keys().any(|(t, _)| *t == topic)
    }

    /// The block of that author and id, also one that is lifted.
    #[must_use]
    pub fn find_block(&self, author: &str, block_id: &str) -> Option<&ControlBlock> {
        self.blocks.get(&format!("{author}/{block_id}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(id: &str, author: &str, made_us: i64) -> ControlBlock {
        ControlBlock {
            event_type: "block".into(),
            author: author.into(),
            block_id: id.into(),
            mode: "enforce".into(),
            scope: schemas::BlockScope { account: Some(id.into()), ..schemas::BlockScope::default() },
            made_us,
            expires_us: 1_000,
            ..ControlBlock::default()
        }
    }

    fn restarted() -> Store {
        let mut store = Store::default();
        let kept = ["fraud/a", "fraud/b", "fraud/c", "edge/1/d", "fraud/old"].map(|key| {
            let (author, id) = key.rsplit_once('/').unwrap();
            let mut block = block(id, author, 10);
            block.expires_us = if id == "old" { 5 } else { 1_000 };
            (key.to_owned(), block)
        });
        let floor = vec![AppliedOffset { topic: "control.blocks".into(), partition: 0, offset: 9 }];
        store.take_kept(50, kept.to_vec(), Vec::new(), floor);
        store
    }

    fn keys(store: &Store) -> Vec<String> {
        store.snapshot(50, 100).rules.iter().map(|r| r.key.clone()).collect()
    }

    #[test]
    fn the_file_holds_until_the_topic_has_spoken_and_history_read_again_takes_nothing_away() {
        let mut store = restarted();
        assert_eq!(keys(&store), ["edge/1/d", "fraud/a", "fraud/b", "fraud/c"], "what has expired is gone");
        // a was made, deleted and made again; b was deleted; c is not in the topic any more.
        store.block("fraud/a", Some(block("a", "fraud", 3)));
        store.block("fraud/a", None);
        store.block("fraud/b", None);
        store.applied("control.blocks", 0, 4);
        assert_eq!(keys(&store).len(), 4);
        assert_eq!(store.snapshot(50, 100).applied[0].offset, 9, "no older version is said to be in force");
        store.block("fraud/a", Some(block("a", "fraud", 10)));
        store.applied("control.blocks", 0, 12);
        assert!(store.caught_up("edge/1").is_empty());
        assert_eq!(keys(&store), ["edge/1/d", "fraud/a"]);
        store.block("fraud/a", None);
        assert_eq!(keys(&store), ["edge/1/d"]);
    }

    #[test]
    fn an_empty_topic_after_a_full_one_unblocks_nobody() {
        let mut store = restarted();
        assert_eq!(store.caught_up("edge/1"), ["control.blocks"]);
        assert_eq!(keys(&store).len(), 4);
    }
}
