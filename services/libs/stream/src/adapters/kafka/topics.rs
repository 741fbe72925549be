//! What a topic on a cluster should be, and what an existing one falls short of: pure.
//!
//! A topic that somebody else made is never changed by us. What is weaker than we would make it is told, with the command that mends
//! it, ready to run with the tools that every Kafka has. Stronger settings are nobody's business.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
};

use schemas::{Retention, TopicSpec};

use crate::{MAX_EVENT_BYTES, MAX_RECORD_BYTES};

/// Copies of each partition, where there are enough brokers.
const REPLICATION: usize = 3;
/// Room for a batch's header and a record's own fields around the largest value.
const FRAME_BYTES: usize = 64 << 10;
const NEVER: i64 = i64::MAX;

const MIN_ISR: &str = "min.insync.replicas";
const UNCLEAN: &str = "unclean.leader.election.enable";
const CLEANUP: &str = "cleanup.policy";
const RETENTION_MS: &str = "retention.ms";
const RETENTION_BYTES: &str = "retention.bytes";
const MAX_BYTES: &str = "max.message.bytes";
const TIME_KIND: &str = "message.timestamp.type";
/// Since Kafka 4.0 a broker refuses records that are an hour ahead of its clock: one wrong clock would hold up a whole queue.
const TIME_AHEAD: &str = "message.timestamp.after.max.ms";

/// Something about an existing topic (or our own settings) that is weaker than it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weakness {
    pub topic: String,
    pub what: String,
    pub found: String,
    pub wanted: String,
    /// The command that mends it, or the setting to change.
    pub mend: String,
}

impl fmt::Display for Weakness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, what, found, wanted, mend } = self;
        write!(f, "{topic}: {what} is {found}, wanted is {wanted}; to mend it: {mend}")
    }
}

/// How a topic is made on a cluster of so many brokers: copies of each partition, and its settings.
pub fn topic_settings(spec: &TopicSpec, brokers: usize) -> (i32, Vec<(&'static str, String)>) {
    let copies = REPLICATION.min(brokers.max(1));
    let mut settings = vec![
        (CLEANUP, if spec.compacted { "compact" } else { "delete" }.to_owned()),
        (RETENTION_MS, retention_ms(spec).to_string()),
        (UNCLEAN, "false".to_owned()),
        (MAX_BYTES, max_bytes(spec).to_string()),
        (TIME_AHEAD, NEVER.to_string()),
    ];
    if copies >= REPLICATION {
        settings.push((MIN_ISR, "2".to_owned()));
    }
    (i32::try_from(copies).unwrap_or(1), settings)
}

fn retention_ms(spec: &TopicSpec) -> i64 {
    match spec.retention {
        Retention::Days(days) => i64::from(days) * 24 * 3600 * 1000,
        Retention::Forever => -1,
    }
}

fn max_bytes(spec: &TopicSpec) -> i64 {
    let largest = if spec.name == "dead.letters" { MAX_RECORD_BYTES } else { MAX_EVENT_BYTES };
    i64::try_from(largest + FRAME_BYTES).unwrap_or(i64::MAX)
}

/// A topic as the cluster describes it.
pub struct Found<'a> {
    pub name: &'a str,
    /// Replicas of each partition, by partition.
    pub replicas: &'a [Vec<i32>],
    pub settings: &'a BTreeMap<String, String>,
}

/// What is weaker than we would have made it. A setting that the cluster does not tell is not judged.
pub fn weaknesses(spec: &TopicSpec, found: &Found<'_>, brokers: &[i32], bootstrap: &str) -> Vec<Weakness> {
    let (copies, wanted) = topic_settings(spec, brokers.len());
    let mut out = Vec::new();
    let fewest = found.replicas.iter().map(Vec::len).min().unwrap_or(0);
    if fewest < usize::try_from(copies).unwrap_or(0) {
        out.push(Weakness {
            topic: found.name.to_owned(),
            what: "replication factor".to_owned(),
            found: fewest.to_string(),
            wanted: copies.to_string(),
            mend: reassign(found, brokers, usize::try_from(copies).unwrap_or(1), bootstrap),
        });
    }
    let mut tell = |key: &str, wanted: &str| {
        out.push(Weakness {
            topic: found.name.to_owned(),
            what: key.to_owned(),
            found: found.settings.get(key).cloned().unwrap_or_default(),
            wanted: wanted.to_owned(),
            mend: format!(
                "kafka-configs.sh --bootstrap-server {bootstrap} --alter --entity-type topics --entity-name {} \
                 --add-config {key}={wanted}",
                found.name
            ),
        });
    };
    for (key, wanted) in &wanted {
        if found.settings.get(*key).is_some_and(|value| is_weaker(key, value, wanted)) {
            tell(key, wanted);
        }
    }
    let number = |key: &str| found.settings.get(key).and_then(|value| value.parse::<i64>().ok());
    if number(RETENTION_BYTES).is_some_and(|bytes| bytes >= 0) {
        tell(RETENTION_BYTES, "-1");
    }
    if found.settings.get(TIME_KIND).is_some_and(|kind| kind != "CreateTime") {
        tell(TIME_KIND, "CreateTime");
    }
    // More than there are copies: the broker refuses every append.
    if number(MIN_ISR).is_some_and(|isr| fewest > 0 && isr > i64::try_from(fewest).unwrap_or(i64::MAX)) {
        tell(MIN_ISR, if fewest >= REPLICATION { "2" } else { "1" });
    }
    out
}

fn is_weaker(key: &str, found: &str, wanted: &str) -> bool {
    match key {
        // Anything else deletes what should stay, or keeps only the newest of what should all stay.
        CLEANUP => found.split(',').map(str::trim).collect::<BTreeSet<_>>() != BTreeSet::from([wanted]),
        UNCLEAN => found != wanted,
        RETENTION_MS => match (found.parse::<i64>(), wanted.parse::<i64>()) {
            (Ok(-1), _) | (Err(_), _) | (_, Err(_)) => false,
            (Ok(_), Ok(-1)) => true,
            (Ok(found), Ok(wanted)) => found < wanted,
        },
        _ => matches!((found.parse::<i64>(), wanted.parse::<i64>()), (Ok(found), Ok(wanted)) if found < wanted),
    }
}

/// One command that gives every partition the copies that it lacks. Present copies stay where they are, so nothing moves that need not.
fn reassign(found: &Found<'_>, brokers: &[i32], copies: usize, bootstrap: &str) -> String {
    let mut plan = String::new();
    for (partition, replicas) in found.replicas.iter().enumerate() {
        let mut all = replicas.clone();
        // Each partition begins elsewhere, so that the new copies spread over the brokers.
        for step in 0..brokers.len() {
            let next = brokers[(partition + step) % brokers.len()];
            if all.len() < copies && !all.contains(&next) {
                all.push(next);
            }
        }
        let comma = if plan.is_empty() { "" } else { "," };
        let list = all.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
        let _ = write!(plan, r#"{comma}{{"topic":"{}","partition":{partition},"replicas":[{list}]}}"#, found.name);
    }
    format!(
        "echo '{{\"version\":1,\"partitions\":[{plan}]}}' > {name}.json && kafka-reassign-partitions.sh --bootstrap-server \
         {bootstrap} --reassignment-json-file {name}.json --execute",
        name = found.name
    )
}

#[cfg(test)]
mod tests {
    use schemas::Class;

    use super::*;

    fn spec(compacted: bool) -> TopicSpec {
        TopicSpec {
            name: "sip.transactions",
            partitions: 3,
            retention: if compacted { Retention::Forever } else { Retention::Days(30) },
            compacted,
            version: 1,
            schema_id: 1,
            schema: "\"bytes\"",
            retired: &[],
            class: Class::Life,
        }
    }

    fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn made_by_us(spec: &TopicSpec, brokers: usize) -> BTreeMap<String, String> {
        topic_settings(spec, brokers).1.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
    }

    #[test]
    fn what_we_make_is_never_told_as_weak() {
        for compacted in [false, true] {
            for brokers in 1..=5_i32 {
                let spec = spec(compacted);
                let ids: Vec<i32> = (1..=brokers).collect();
                let copies: Vec<i32> = ids.iter().copied().take(3).collect();
                let mut all = made_by_us(&spec, ids.len());
                all.extend(settings(&[(RETENTION_BYTES, "-1"), (TIME_KIND, "CreateTime"), ("segment.bytes", "1")]));
                let replicas = vec![copies; 3];
                let found = Found { name: "t", replicas: &replicas, settings: &all };
                assert_eq!(weaknesses(&spec, &found, &ids, "b:1"), []);
            }
        }
    }

    #[test]
    fn every_weaker_setting_is_told_with_the_command_that_mends_it() {
        let found = settings(&[
            (MIN_ISR, "1"),
            (UNCLEAN, "true"),
            (CLEANUP, "compact,delete"),
            (RETENTION_MS, "604800000"),
            (RETENTION_BYTES, "1073741824"),
            (MAX_BYTES, "1000"),
            (TIME_KIND, "LogAppendTime"),
            (TIME_AHEAD, "3600000"),
        ]);
        let replicas = vec![vec![1, 2, 3]; 3];
        let found = Found { name: "eu.sip.transactions", replicas: &replicas, settings: &found };
        let told = weaknesses(&spec(false), &found, &[1, 2, 3], "b:9092");
        let keys: BTreeSet<&str> = told.iter().map(|w| w.what.as_str()).collect();
        let all = [MIN_ISR, UNCLEAN, CLEANUP, RETENTION_MS, RETENTION_BYTES, MAX_BYTES, TIME_KIND, TIME_AHEAD];
        assert_eq!(keys, BTreeSet::from(all));
        let isr = told.iter().find(|w| w.what == MIN_ISR).expect("told");
        assert_eq!(
            isr.mend,
            "kafka-configs.sh --bootstrap-server b:9092 --alter --entity-type topics --entity-name eu.sip.transactions \
             --add-config min.insync.replicas=2"
        );
    }

    #[test]
    fn longer_retention_and_larger_messages_are_no_weakness_and_any_end_is_one_for_state() {
        let strong = settings(&[(RETENTION_MS, "-1"), (MAX_BYTES, "99999999"), (MIN_ISR, "3"), (CLEANUP, "delete")]);
        let replicas = vec![vec![1, 2, 3, 4]; 3];
        let found = Found { name: "t", replicas: &replicas, settings: &strong };
        assert_eq!(weaknesses(&spec(false), &found, &[1, 2, 3, 4], "b:1"), []);
        let told =
            weaknesses(&spec(true), &Found { settings: &settings(&[(RETENTION_MS, "1")]), ..found }, &[1, 2, 3], "b:1");
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].wanted, "-1");
    }

    #[test]
    fn more_copies_in_sync_than_there_are_copies_is_told_because_nothing_can_be_appended() {
        let replicas = vec![vec![1]; 3];
        let two = settings(&[(MIN_ISR, "2")]);
        let told = weaknesses(&spec(false), &Found { name: "t", replicas: &replicas, settings: &two }, &[1], "b:1");
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].what.as_str(), told[0].wanted.as_str()), (MIN_ISR, "1"));
    }

    #[test]
    fn too_few_copies_are_mended_without_moving_those_that_are_there() {
        let replicas = vec![vec![2], vec![3, 1], vec![1, 2, 3]];
        let none = BTreeMap::new();
        let told =
            weaknesses(&spec(false), &Found { name: "t", replicas: &replicas, settings: &none }, &[1, 2, 3], "b:1");
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].found.as_str(), told[0].wanted.as_str()), ("1", "3"));
        let json = told[0].mend.split('\'').nth(1).expect("the plan");
        let plan: serde_json::Value = serde_json::from_str(json).expect("JSON");
        assert_eq!(plan["partitions"][0]["replicas"], serde_json::json!([2, 1, 3]));
        assert_eq!(plan["partitions"][1]["replicas"], serde_json::json!([3, 1, 2]));
        assert_eq!(plan["partitions"][2]["replicas"], serde_json::json!([1, 2, 3]));
    }
}
