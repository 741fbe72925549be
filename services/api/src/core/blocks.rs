//! The block rules and their lifts, as the control topic has them.
//!
//! One writer per key, so a lift stands beside its block under the lifter's key, and both are needed to know what is in force.
//! `operator` and `edge/…` beat every other author; between these two the later `made_us` wins.

use std::collections::BTreeMap;

use domain::Now;
use schemas::control_block::TOPIC;
use schemas::{BlockScope, ControlBlock};
use serde::Serialize;

use super::acks::{Acks, Applied};
use super::mask::Numbers;

/// As many rules as an edge holds; beyond that those that end first are not shown, and counted.
const MAX_RECORDS: usize = 20_000;

const HOUR_US: i64 = 3_600_000_000;

#[derive(Debug)]
struct Known {
    event: ControlBlock,
    partition: i32,
    offset: i64,
}

#[derive(Debug, Default)]
pub struct Blocks {
    /// By record key, `<author>/<block id>`: blocks and lifts alike.
    records: BTreeMap<String, Known>,
    dropped: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BlockView {
    pub block_id: String,
    pub author: String,
    pub mode: String,
    pub scope: BlockScope,
    pub rule: Option<String>,
    pub reason: Option<String>,
    pub status: Option<u16>,
    pub alert_id: Option<String>,
    pub evidence: Vec<String>,
    pub actor: Option<String>,
    pub triggered_us: Option<i64>,
    pub made_us: i64,
    pub expires_us: i64,
    /// Edges that say that they refuse by it.
    pub applied_by: Vec<Applied>,
}

impl Blocks {
    pub fn apply(&mut self, event: ControlBlock, partition: i32, offset: i64) {
        use schemas::Event;
        let key = event.key();
        if self.records.len() >= MAX_RECORDS && !self.records.contains_key(&key) {
            let first = self.records.iter().min_by_key(|(_, known)| known.event.expires_us).map(|(key, _)| key.clone());
            first.and_then(|key| self.records.remove(&key));
            self.dropped += 1;
        }
        self.records.insert(key, Known { event, partition, offset });
    }

    pub fn tombstone(&mut self, key: &str) {
        self.records.remove(key);
    }

    /// The block under this author and id, while it is in force.
    #[must_use]
    pub fn in_force(&self, now: Now, author: &str, block_id: &str) -> Option<&ControlBlock> {
        let known = self.records.get(&format!("{author}/{block_id}"))?;
        self.holds(now, &known.event).then_some(&known.event)
    }

    /// True when anything at all is known under this author and id.
    #[must_use]
    pub fn knows(&self, author: &str, block_id: &str) -> bool {
        self.records.contains_key(&format!("{author}/{block_id}"))
    }

    /// In force now, newest first.
    #[must_use]
    pub fn active(&self, now: Now, acks: &Acks, numbers: Numbers) -> Vec<BlockView> {
        let mut active: Vec<BlockView> = self
            .records
            .values()
            .filter(|known| self.holds(now, &known.event))
            .map(|known| view(known, acks, numbers))
            .collect();
        active.sort_by(|a, b| b.made_us.cmp(&a.made_us).then_with(|| a.block_id.cmp(&b.block_id)));
        active
    }

    /// Rules that did not fit; zero unless somebody floods the topic.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Forgets what ended long ago. Returns the keys of our own records that ended an hour ago: their author buries them.
    pub fn sweep(&mut self, now: Now, author: &str) -> Vec<String> {
        let mine = |known: &Known| known.event.author == author && known.event.expires_us + HOUR_US <= now.wall_us;
        let ended = self.records.iter().filter(|(_, known)| mine(known)).map(|(key, _)| key.clone()).collect();
        self.records.retain(|_, known| known.event.expires_us + 2 * HOUR_US > now.wall_us);
        ended
    }

    fn holds(&self, now: Now, block: &ControlBlock) -> bool {
        block.event_type == "block" && block.expires_us > now.wall_us && !self.lifted(block)
    }

    fn lifted(&self, block: &ControlBlock) -> bool {
        let suffix = format!("/{}", block.block_id);
        self.records.iter().any(|(key, known)| {
            known.event.event_type == "lift" && key.ends_with(&suffix) && may_lift(&known.event, block)
        })
    }
}

fn is_person(author: &str) -> bool {
    author == "operator" || author.starts_with("edge/")
}

fn may_lift(lift: &ControlBlock, block: &ControlBlock) -> bool {
    if lift.lifts_author.as_ref().is_some_and(|author| *author != block.author) {
        return false;
    }
    match (is_person(&lift.author), is_person(&block.author)) {
        (true, true) => lift.made_us >= block.made_us,
        (true, false) => true,
        (false, person) => !person && lift.author == block.author,
    }
}

fn view(known: &Known, acks: &Acks, numbers: Numbers) -> BlockView {
    let block = &known.event;
    BlockView {
        block_id: block.block_id.clone(),
        author: block.author.clone(),
        mode: block.mode.clone(),
        scope: numbers.scope(&block.scope),
        rule: block.rule.clone(),
        reason: block.reason.clone(),
        status: block.status,
        alert_id: block.alert_id.clone(),
        evidence: block.evidence.clone(),
        actor: block.actor.clone(),
        triggered_us: block.triggered_us,
        made_us: block.made_us,
        expires_us: block.expires_us,
        applied_by: acks.of(TOPIC.name, known.partition, known.offset),
    }
}

#[cfg(test)]
mod tests {
    use schemas::{AppliedOffset, ControlAck};

    use super::*;

    const ID: &str = "01900000-0000-7000-8000-000000000001";

    fn at(seconds: i64) -> Now {
        Now { wall_us: seconds * 1_000_000, mono_us: 0 }
    }

    fn block(author: &str, made_s: i64) -> ControlBlock {
        ControlBlock {
            event_type: "block".into(),
            author: author.into(),
            block_id: ID.into(),
            mode: "enforce".into(),
            scope: BlockScope {
                trunk: Some("t".into()),
                callee: Some("+442079460018".into()),
                ..BlockScope::default()
            },
            made_us: made_s * 1_000_000,
            expires_us: 1_000_000_000,
            ..ControlBlock::default()
        }
    }

    fn lift(author: &str, of: &str, made_s: i64) -> ControlBlock {
        ControlBlock { event_type: "lift".into(), lifts_author: Some(of.into()), ..block(author, made_s) }
    }

    fn active(blocks: &Blocks, now: Now) -> usize {
        blocks.active(now, &Acks::default(), Numbers::Masked).len()
    }

    #[test]
    fn a_block_is_in_force_until_it_expires() {
        let mut blocks = Blocks::default();
        blocks.apply(block("fraud", 10), 0, 0);
        assert_eq!(active(&blocks, at(11)), 1);
        assert_eq!(active(&blocks, at(1_000)), 0);
    }

    #[test]
    fn lifts_hold_by_the_rank_of_their_author() {
        let cases = [
            ("fraud", "operator", 20, 0, "a person beats a program"),
            ("fraud", "edge/e1", 20, 0, "also at the edge"),
            ("operator", "fraud", 20, 1, "a program does not undo a person"),
            ("operator", "edge/e1", 20, 0, "between persons the later wins"),
            ("operator", "edge/e1", 5, 1, "an earlier lift does not touch a later block"),
            ("fraud", "fraud", 20, 0, "an author may end its own"),
        ];
        for (author, lifter, made, left, why) in cases {
            for lift_first in [false, true] {
                let mut blocks = Blocks::default();
                let mut records = vec![block(author, 10), lift(lifter, author, made)];
                if lift_first && author != lifter {
                    records.reverse();
                }
                records.into_iter().enumerate().for_each(|(n, r)| blocks.apply(r, 0, n as i64));
                assert_eq!(active(&blocks, at(30)), left, "{why}, lift first: {lift_first}");
            }
        }
    }

    #[test]
    fn a_view_masks_numbers_and_names_who_applied_it() {
        let mut blocks = Blocks::default();
        blocks.apply(block("fraud", 10), 2, 7);
        let mut acks = Acks::default();
        for (edge, offset) in [("e1", 7), ("e2", 6)] {
            let applied = vec![AppliedOffset { topic: TOPIC.name.into(), partition: 2, offset }];
            acks.apply(ControlAck { applier_id: edge.into(), applied, ..ControlAck::default() });
        }
        let view = &blocks.active(at(11), &acks, Numbers::Masked)[0];
        assert_eq!(view.scope.callee.as_deref(), Some("+44••••••••18"));
        assert_eq!(view.applied_by.iter().map(|a| a.id.as_str()).collect::<Vec<_>>(), ["e1"]);
        let full = &blocks.active(at(11), &acks, Numbers::Full)[0];
        assert_eq!(full.scope.callee.as_deref(), Some("+442079460018"));
    }

    #[test]
    fn an_author_buries_its_own_records_an_hour_after_their_end() {
        let mut blocks = Blocks::default();
        blocks.apply(block("operator", 10), 0, 0);
        assert!(blocks.sweep(at(1_000 + 3_599), "operator").is_empty());
        assert_eq!(blocks.sweep(at(1_000 + 3_600), "operator"), [format!("operator/{ID}")]);
        assert!(blocks.sweep(at(1_000 + 3_600), "fraud").is_empty());
        blocks.tombstone(&format!("operator/{ID}"));
        assert!(!blocks.knows("operator", ID));
    }

    #[test]
    fn a_flood_of_rules_stays_bounded_and_is_counted() {
        let mut blocks = Blocks::default();
        for n in 0..MAX_RECORDS + 5 {
            let id = format!("01900000-0000-7000-8000-{n:012}");
            blocks.apply(ControlBlock { block_id: id, ..block("fraud", 10) }, 0, n as i64);
        }
        assert_eq!((blocks.records.len(), blocks.dropped()), (MAX_RECORDS, 5));
    }
}
