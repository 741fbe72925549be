//! Blocks and weights as the control topics state them: folding records into a state, and the snapshot that calls are
//! decided by.
//!
//! One writer per key, so a record replaces the one with its key and a tombstone removes it. A lift takes out the block
//! that it names for the rest of that block's life; `operator` and `edge/…` may lift anything, others only their own.
//! `operator` and `edge/…` beat `capacity` in weights; only capacity's records age.

mod kept;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use schemas::{AppliedOffset, ControlBlock, ControlWeight};

use crate::config::Source;

#[derive(Debug, Default)]
pub struct Store {
    blocks: BTreeMap<String, ControlBlock>,
    lifts: BTreeMap<String, ControlBlock>,
    weights: BTreeMap<String, ControlWeight>,
    offsets: BTreeMap<(&'static str, i32), i64>,
    made_us: i64,
    /// Not empty from a start until the topics were read.
    unseen: kept::Unseen,
}

impl Store {
    pub fn block(&mut self, key: &str, record: Option<ControlBlock>) {
        if self.unseen.is_block(key) {
            // The file knows more than history that is read again.
            let known = self.blocks.get(key).or_else(|| self.lifts.get(key)).map_or(0, |known| known.made_us);
            match &record {
                None => return self.unseen.delete(key),
                Some(record) if record.made_us < known => return self.unseen.forgive(key),
                Some(_) => self.unseen.see(key),
            }
        }
        self.blocks.remove(key);
        self.lifts.remove(key);
        if let Some(record) = record {
            self.made_us = self.made_us.max(record.made_us);
            let table = if record.event_type == "lift" { &mut self.lifts } else { &mut self.blocks };
            table.insert(key.to_owned(), record);
        }
    }

    pub fn weight(&mut self, key: &str, record: Option<ControlWeight>) {
        if self.unseen.is_weight(key) {
            match &record {
                None => return self.unseen.delete(key),
                Some(record) if self.weights.get(key).is_some_and(|w| w.made_us > record.made_us) => {
                    return self.unseen.forgive(key);
                }
                Some(_) => self.unseen.see(key),
            }
        }
        match record {
            Some(record) => {
                self.made_us = self.made_us.max(record.made_us);
                self.weights.insert(key.to_owned(), record);
            }
            None => drop(self.weights.remove(key)),
        }
    }

    pub fn applied(&mut self, topic: &'static str, partition: i32, offset: i64) {
        self.offsets.insert((topic, partition), offset);
    }

    /// Forgets what has ended; tombstones do the same an hour later. True when something had.
    pub fn expire(&mut self, wall_us: i64) -> bool {
        let before = self.blocks.len() + self.lifts.len() + self.weights.len();
        self.blocks.retain(|_, b| b.expires_us > wall_us);
        self.lifts.retain(|_, l| l.expires_us > wall_us);
        self.weights.retain(|_, w| w.until_us.is_none_or(|until| until > wall_us));
        before != self.blocks.len() + self.lifts.len() + self.weights.len()
    }

    /// What is in force now. At most `max_rules`; the rest is not applied and counted in `dropped`.
    #[must_use]
    pub fn snapshot(&self, wall_us: i64, max_rules: usize) -> Control {
        let live = self.blocks.iter().filter(|(_, b)| b.expires_us > wall_us && !self.is_lifted(b));
        let mut control = Control { made_us: self.made_us, ..Control::default() };
        for (key, block) in live {
            if control.rules.len() >= max_rules {
                control.dropped += 1;
            } else if let Some(rule) = Rule::compile(key, block) {
                control.index(rule);
            } else {
                control.dropped += 1;
            }
        }
        for weight in self.weights.values() {
            control.weights.entry(weight.node_id.clone()).or_default().push(weight.clone());
        }
        control.applied = self.read_to();
        control.block_version = version(&control.applied, "control.blocks");
        control.weight_version = version(&control.applied, "control.weights");
        control
    }

    /// How far each partition was read.
    #[must_use]
    pub fn read_to(&self) -> Vec<AppliedOffset> {
        let at = |(&(topic, partition), &offset): (&(&'static str, i32), &i64)| AppliedOffset {
            topic: topic.to_owned(),
            partition,
            offset,
        };
        let mut applied = self.offsets.iter().map(at).collect();
        self.unseen.raise(&mut applied);
        applied
    }

    fn is_lifted(&self, block: &ControlBlock) -> bool {
        self.lifts.values().any(|lift| {
            let names_it = lift.block_id == block.block_id && lift.lifts_author.as_deref() == Some(&block.author);
            names_it && (outranks(&lift.author) || lift.author == block.author)
        })
    }
}

fn version(applied: &[AppliedOffset], topic: &str) -> Option<String> {
    let parts: Vec<String> =
        applied.iter().filter(|o| o.topic == topic).map(|o| format!("{topic}/{}@{}", o.partition, o.offset)).collect();
    (!parts.is_empty()).then(|| parts.join(","))
}

fn outranks(author: &str) -> bool {
    author == "operator" || author.starts_with("edge/")
}

/// One block rule, ready to be asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// author/block id.
    pub key: String,
    pub rule: Option<String>,
    pub enforce: bool,
    pub status: u16,
    pub expires_us: i64,
    trunk: Option<String>,
    account: Option<String>,
    source: Option<Source>,
    caller: Option<String>,
    caller_prefix: Option<String>,
    callee: Option<String>,
    callee_prefix: Option<String>,
}

/// What a rule is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub trunk: &'a str,
    pub account: Option<&'a str>,
    pub source: SocketAddr,
    pub caller: Number<'a>,
    pub callee: Number<'a>,
}

/// A number raw and, when it can be told, as E.164: a rule may name either.
#[derive(Clone, Copy, Debug)]
pub struct Number<'a> {
    pub raw: &'a str,
    pub e164: Option<&'a str>,
}

impl Number<'_> {
    fn is(&self, number: &str) -> bool {
        self.raw == number || self.e164 == Some(number)
    }

    fn begins(&self, prefix: &str) -> bool {
        self.raw.starts_with(prefix) || self.e164.is_some_and(|n| n.starts_with(prefix))
    }
}

impl Rule {
    fn compile(key: &str, block: &ControlBlock) -> Option<Rule> {
        let scope = &block.scope;
        scope.check().ok()?;
        let source = match &scope.source_cidr {
            Some(text) => Some(text.parse().ok()?),
            None => None,
        };
        let names_subscriber = scope.account.is_some()
            || [&scope.caller, &scope.caller_prefix, &scope.callee, &scope.callee_prefix].iter().any(|n| n.is_some());
        // A trunk is never refused as a whole, nor by address, on the word of a program: addresses are easily forged.
        let may_enforce = names_subscriber || outranks(&block.author);
        Some(Rule {
            key: key.to_owned(),
            rule: block.rule.clone(),
            enforce: block.mode == "enforce" && may_enforce,
            status: block.status.filter(|s| (400..700).contains(s) && *s != 503).unwrap_or(403),
            expires_us: block.expires_us,
            trunk: scope.trunk.clone(),
            account: scope.account.clone(),
            source,
            caller: scope.caller.clone(),
            caller_prefix: scope.caller_prefix.clone(),
            callee: scope.callee.clone(),
            callee_prefix: scope.callee_prefix.clone(),
        })
    }

    /// The rule of a scope alone, to ask what it would cover; none when it cannot be read.
    #[must_use]
    pub fn of_scope(scope: &schemas::BlockScope) -> Option<Rule> {
        let block = ControlBlock { scope: scope.clone(), expires_us: i64::MAX, ..ControlBlock::default() };
        Rule::compile("", &block)
    }

    /// Whether it covers that, however late it is.
    #[must_use]
    pub fn covers_ever(&self, s: &Subject<'_>) -> bool {
        self.covers(i64::MIN, s)
    }

    fn covers(&self, wall_us: i64, s: &Subject<'_>) -> bool {
        let fits = |want: &Option<String>, test: &dyn Fn(&str) -> bool| want.as_deref().is_none_or(test);
        self.expires_us > wall_us
            && fits(&self.trunk, &|t| t == s.trunk)
            && fits(&self.account, &|a| s.account == Some(a))
            && self.source.is_none_or(|net| net.contains(s.source))
            && fits(&self.caller, &|n| s.caller.is(n))
            && fits(&self.callee, &|n| s.callee.is(n))
            && fits(&self.caller_prefix, &|p| s.caller.begins(p))
            && fits(&self.callee_prefix, &|p| s.callee.begins(p))
    }

    /// What the page of the admin shows of the scope; numbers masked.
    #[must_use]
    pub fn describe(&self) -> String {
        let mask = |n: &Option<String>| n.as_deref().map(domain::mask_number);
        let parts = [
            ("trunk", self.trunk.clone()),
            ("account", self.account.clone()),
            ("source", self.source.map(|s| s.to_string())),
            ("caller", mask(&self.caller)),
            ("caller_prefix", mask(&self.caller_prefix)),
            ("callee", mask(&self.callee)),
            ("callee_prefix", mask(&self.callee_prefix)),
        ];
        let set = parts.into_iter().filter_map(|(name, value)| value.map(|v| format!("{name}={v}")));
        set.collect::<Vec<_>>().join(" ")
    }
}

/// Everything that the control topics say, swapped as a whole.
#[derive(Clone, Debug, Default)]
pub struct Control {
    pub rules: Vec<Rule>,
    /// Rules by their most telling exact field; the rest is asked one by one.
    by_value: HashMap<String, Vec<usize>>,
    others: Vec<usize>,
    weights: HashMap<String, Vec<ControlWeight>>,
    pub block_version: Option<String>,
    pub weight_version: Option<String>,
    pub applied: Vec<AppliedOffset>,
    pub made_us: i64,
    /// Rules that could not be applied.
    pub dropped: usize,
}

/// What the rules say about one call.
#[derive(Debug, Default)]
pub struct Verdict<'a> {
    pub enforced: Option<&'a Rule>,
    pub shadow: Vec<&'a Rule>,
}

/// Weight of one node after all authors were heard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effective {
    pub factor: f64,
    pub state: Wanted,
    /// By an operator: no evidence that could be doubted.
    pub ordered: bool,
}

impl Default for Effective {
    fn default() -> Effective {
        Effective { factor: 1.0, state: Wanted::Active, ordered: false }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Active,
    Draining,
    Disabled,
}

impl Control {
    fn index(&mut self, rule: Rule) {
        let at = self.rules.len();
        match rule.caller.as_ref().or(rule.callee.as_ref()).or(rule.account.as_ref()) {
            Some(value) => self.by_value.entry(value.clone()).or_default().push(at),
            None => self.others.push(at),
        }
        self.rules.push(rule);
    }

    #[must_use]
    pub fn judge(&self, wall_us: i64, subject: &Subject<'_>) -> Verdict<'_> {
        let mut verdict = Verdict::default();
        if self.rules.is_empty() {
            return verdict;
        }
        let keys = [
            Some(subject.caller.raw),
            subject.caller.e164,
            Some(subject.callee.raw),
            subject.callee.e164,
            subject.account,
        ];
        let named = keys.into_iter().flatten().filter_map(|key| self.by_value.get(key)).flatten();
        for &at in named.chain(&self.others) {
            let rule = &self.rules[at];
            if !rule.covers(wall_us, subject) {
                continue;
            }
            if !rule.enforce {
                if !verdict.shadow.iter().any(|seen| seen.key == rule.key) {
                    verdict.shadow.push(rule);
                }
            } else if verdict.enforced.is_none() {
                verdict.enforced = Some(rule);
            }
        }
        verdict
    }

    /// Factor and state of a node at this time.
    #[must_use]
    pub fn weight(&self, node: &str, wall_us: i64, max_age_us: i64) -> Effective {
        let neutral = Effective::default();
        let Some(records) = self.weights.get(node) else { return neutral };
        let live = |w: &&ControlWeight| w.until_us.is_none_or(|until| until > wall_us);
        let strong = records.iter().filter(live).filter(|w| outranks(&w.author)).max_by_key(|w| w.made_us);
        let fresh = |w: &&ControlWeight| wall_us.saturating_sub(w.made_us) <= max_age_us;
        let weak =
            || records.iter().filter(live).filter(|w| !outranks(&w.author)).filter(fresh).max_by_key(|w| w.made_us);
        let Some(record) = strong.or_else(weak) else { return neutral };
        let factor = if record.weight.is_finite() { record.weight.clamp(0.0, 1.0) } else { 1.0 };
        let state = match record.state.as_str() {
            "draining" => Wanted::Draining,
            "disabled" => Wanted::Disabled,
            _ => Wanted::Active,
        };
        Effective { factor, state, ordered: outranks(&record.author) }
    }

    #[must_use]
    pub fn nodes_weighted(&self) -> usize {
        self.weights.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::BlockScope;

    const DAY: i64 = 86_400_000_000;

    fn block(author: &str, id: &str, scope: BlockScope) -> ControlBlock {
        ControlBlock {
            event_type: "block".into(),
            author: author.into(),
            block_id: id.into(),
            mode: "enforce".into(),
            scope,
            made_us: 1,
            expires_us: DAY,
            ..ControlBlock::default()
        }
    }

    fn caller(number: &str) -> BlockScope {
        BlockScope { trunk: Some("t1".into()), caller: Some(number.into()), ..BlockScope::default() }
    }

    fn subject<'a>(trunk: &'a str, raw: &'a str, e164: Option<&'a str>) -> Subject<'a> {
        let number = Number { raw, e164 };
        let callee = Number { raw: "100", e164: None };
        Subject { trunk, account: Some("acme"), source: "192.0.2.1:5060".parse().unwrap(), caller: number, callee }
    }

    fn enforced(store: &Store, wall: i64, s: &Subject<'_>) -> Option<String> {
        store.snapshot(wall, 100).judge(wall, s).enforced.map(|r| r.key.clone())
    }

    #[test]
    fn a_block_holds_for_its_trunk_until_it_expires_or_is_lifted() {
        let mut store = Store::default();
        store.block("fraud/b1", Some(block("fraud", "b1", caller("+4917012345"))));
        let s = subject("t1", "004917012345", Some("+4917012345"));
        assert_eq!(enforced(&store, 5, &s).as_deref(), Some("fraud/b1"));
        assert_eq!(enforced(&store, 5, &subject("t2", "+4917012345", None)), None);
        assert_eq!(enforced(&store, DAY, &s), None);
        let lift = |author: &str| ControlBlock {
            event_type: "lift".into(),
            lifts_author: Some("fraud".into()),
            ..block(author, "b1", caller("+4917012345"))
        };
        store.block("capacity/b1", Some(lift("capacity")));
        assert!(enforced(&store, 5, &s).is_some(), "not everybody may lift");
        store.block("operator/b1", Some(lift("operator")));
        assert_eq!(enforced(&store, 5, &s), None);
        store.block("operator/b1", None);
        assert!(enforced(&store, 5, &s).is_some());
        store.block("fraud/b1", None);
        assert_eq!(enforced(&store, 5, &s), None);
    }

    #[test]
    fn shadow_rules_are_named_and_programs_never_block_a_whole_trunk() {
        let mut store = Store::default();
        let trunk = BlockScope { trunk: Some("t1".into()), ..BlockScope::default() };
        let net = BlockScope { source_cidr: Some("192.0.2.0/24".into()), ..BlockScope::default() };
        store.block("fraud/b1", Some(block("fraud", "b1", trunk.clone())));
        store.block("fraud/b2", Some(block("fraud", "b2", net)));
        let mut shadow = block("fraud", "b3", caller("100"));
        shadow.mode = "shadow".into();
        store.block("fraud/b3", Some(shadow));
        let s = subject("t1", "100", None);
        let control = store.snapshot(5, 100);
        let verdict = control.judge(5, &s);
        assert!(verdict.enforced.is_none());
        assert_eq!(verdict.shadow.len(), 3);
        store.block("operator/b4", Some(block("operator", "b4", trunk)));
        assert_eq!(enforced(&store, 5, &s).as_deref(), Some("operator/b4"));
    }

    #[test]
    fn prefixes_and_accounts_match_and_the_number_of_rules_is_bounded() {
        let mut store = Store::default();
        let prefix = BlockScope { trunk: Some("t1".into()), callee_prefix: Some("10".into()), ..BlockScope::default() };
        store.block("fraud/b1", Some(block("fraud", "b1", prefix)));
        assert!(enforced(&store, 5, &subject("t1", "x", None)).is_some());
        let account = BlockScope { account: Some("acme".into()), ..BlockScope::default() };
        store.block("fraud/b0", Some(block("fraud", "b0", account)));
        assert_eq!(enforced(&store, 5, &subject("t9", "x", None)).as_deref(), Some("fraud/b0"));
        let control = store.snapshot(5, 1);
        assert_eq!((control.rules.len(), control.dropped), (1, 1));
    }

    #[test]
    fn operators_beat_capacity_whose_word_ages() {
        let weight = |author: &str, factor: f64, made_us: i64| ControlWeight {
            event_type: "weight".into(),
            node_id: "n1".into(),
            author: author.into(),
            weight: factor,
            state: "active".into(),
            made_us,
            ..ControlWeight::default()
        };
        let mut store = Store::default();
        store.weight("n1/capacity", Some(weight("capacity", 0.25, 1_000)));
        let at = |store: &Store, wall| store.snapshot(wall, 1).weight("n1", wall, 60_000).factor;
        assert_eq!(at(&store, 2_000), 0.25);
        assert_eq!(at(&store, 62_000), 1.0, "aged");
        store.weight("n1/operator", Some(ControlWeight { until_us: Some(5_000), ..weight("operator", 0.5, 1_500) }));
        store.weight("n1/edge/x", Some(weight("edge/x", 0.75, 1_400)));
        assert_eq!(at(&store, 2_000), 0.5, "the later of the two");
        assert_eq!(at(&store, 900_000), 0.75, "an operator's does not age, but ends");
        store.weight("n1/edge/x", Some(weight("edge/x", f64::NAN, 1_400)));
        assert_eq!(at(&store, 900_000), 1.0);
    }
}
