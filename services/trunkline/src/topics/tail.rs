//! `trunkline topics tail`: the events of one topic, for people or as JSON lines.

use std::time::Duration;

use schemas::TopicSpec;
use stream::{Bounds, Position, Record};

use super::{named, say, telling};
use crate::cli::TailArgs;
use crate::settings::Settings;

/// What is shown when nobody says where to begin.
const NEWEST: usize = 20;
const BATCH: usize = 1000;
/// Offsets that compaction has taken give no record: waiting longer for one would be in vain.
const NOTHING_AFTER: Duration = Duration::from_secs(2);

pub async fn run(settings: &Settings, args: &TailArgs) -> anyhow::Result<()> {
    let topic = named(&args.topic)?;
    let its = partition_of(topic, args.call.as_deref())?;
    let log = settings.open_log_to_read()?;
    let bounds = log.bounds(topic).await?;
    let newest_only = args.from.is_none() && args.call.is_none();
    let offsets = match &args.from {
        Some(from) => from.offsets(&bounds)?,
        None if newest_only => newest(&bounds),
        None => Position::Beginning.offsets(&bounds)?,
    };
    let mut source = log.read_from(topic, &offsets).await?;
    let wanted = |record: &Record| args.call.as_ref().is_none_or(|call| record.key.as_ref() == call.as_bytes());

    // First what stands there now. The newest few of all partitions have to be seen together to be put in order.
    let mut left = Left { next: offsets, bounds, only: its };
    let mut held: Vec<Record> = Vec::new();
    while !left.is_empty() {
        let records = source.poll(BATCH, NOTHING_AFTER).await?;
        if records.is_empty() {
            break;
        }
        records.iter().for_each(|record| left.take(record));
        held.extend(records.into_iter().filter(|record| wanted(record)));
        if !newest_only && !show(&held.split_off(0), args)? {
            return Ok(());
        }
    }
    held.sort_by_key(|record| record.timestamp_us);
    let skip = held.len().saturating_sub(NEWEST);
    if !show(&held[skip..], args)? || !args.follow {
        return Ok(());
    }
    loop {
        let records = source.poll(BATCH, Duration::from_secs(1)).await?;
        let records: Vec<Record> = records.into_iter().filter(|record| wanted(record)).collect();
        if !show(&records, args)? {
            return Ok(());
        }
    }
}

/// A call stands in one partition; topics with another key cannot be asked for a call.
fn partition_of(topic: &TopicSpec, call: Option<&str>) -> anyhow::Result<Option<i32>> {
    let Some(call) = call else { return Ok(None) };
    let facts = schemas::facts(topic);
    anyhow::ensure!(facts.keyed_by_call(), "--call: the key of {} is {}, not a call id", topic.name, facts.key);
    Ok(Some(domain::partition::for_key(call.as_bytes(), topic.partitions)))
}

fn newest(bounds: &[Bounds]) -> Vec<i64> {
    bounds.iter().map(|b| (b.end - NEWEST as i64).max(b.begin)).collect()
}

/// What of the topic, as it was at the beginning, is still to be read.
struct Left {
    next: Vec<i64>,
    bounds: Vec<Bounds>,
    only: Option<i32>,
}

impl Left {
    fn take(&mut self, record: &Record) {
        if let Some(next) = usize::try_from(record.partition).ok().and_then(|index| self.next.get_mut(index)) {
            *next = record.offset + 1;
        }
    }

    fn is_empty(&self) -> bool {
        let looked_at = |index: usize| self.only.is_none_or(|only| usize::try_from(only) == Ok(index));
        self.next.iter().zip(&self.bounds).enumerate().all(|(i, (next, b))| !looked_at(i) || *next >= b.end)
    }
}

/// False when nobody reads any more.
fn show(records: &[Record], args: &TailArgs) -> std::io::Result<bool> {
    let mut text = String::new();
    for record in records {
        if args.json {
            text += &record.to_json(args.numbers).to_string();
        } else {
            text += &telling::line(record, args.numbers);
        }
        text.push('\n');
    }
    say(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_looked_for_in_its_own_partition_and_never_where_none_can_be() {
        let calls = named("sip.transactions").expect("a topic");
        let id = "01900000-0000-7000-8000-000000000001";
        let partition = partition_of(calls, Some(id)).expect("keyed by call").expect("one partition");
        assert!((0..12).contains(&partition));
        assert_eq!(partition_of(calls, None).expect("no call"), None);
        let error = partition_of(named("node.health").expect("a topic"), Some(id)).unwrap_err().to_string();
        assert!(error.contains("node.health") && error.contains("node"), "{error}");
    }

    #[test]
    fn only_the_partitions_that_are_looked_at_have_to_reach_their_end() {
        let bounds = vec![Bounds { begin: 0, end: 3 }, Bounds { begin: 0, end: 9 }];
        assert!(!Left { next: vec![3, 0], bounds: bounds.clone(), only: None }.is_empty());
        assert!(Left { next: vec![3, 0], bounds: bounds.clone(), only: Some(0) }.is_empty());
        assert_eq!(newest(&[Bounds { begin: 5, end: 9 }, Bounds { begin: 0, end: 100 }]), [5, 80]);
    }
}
