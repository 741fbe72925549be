//! What was found, as a table for people and as one JSON object for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};
use stream::Damage;
use stream::completeness::{Line, Verdict};

use super::reading::Findings;

/// Partitions of one topic and epoch about which the same is to be said.
#[derive(Default)]
struct Row {
    partitions: Vec<i32>,
    numbers: i64,
    seen: i64,
    declared: BTreeMap<(String, String), i64>,
    lost: i64,
    gone: i64,
    pending: i64,
    doubled: u64,
}

pub fn text(found: &Findings, damage: &[Damage]) -> String {
    let mut rows: BTreeMap<(&str, i64, &str, Verdict), Row> = BTreeMap::new();
    for line in &found.lines {
        let row = rows.entry((&line.producer, line.epoch, line.topic, line.findings.verdict)).or_default();
        let f = &line.findings;
        row.partitions.push(line.partition);
        row.numbers += f.numbers;
        row.seen += f.seen;
        for declared in &f.declared {
            *row.declared.entry((declared.reason.clone(), declared.class.clone())).or_default() += declared.events;
        }
        row.lost += f.lost;
        row.gone += f.expired + f.compacted;
        row.pending += f.pending;
        row.doubled += line.doubled;
    }
    let mut out = String::new();
    let mut epoch = None;
    for ((producer, started, topic, verdict), row) in &rows {
        if epoch != Some((producer, started)) {
            epoch = Some((producer, started));
            let _ = writeln!(out, "{producer} epoch {started}: {}", account(found, producer, *started));
            let _ = writeln!(
                out,
                "{}",
                columns(
                    [
                        "TOPIC",
                        "PARTITIONS",
                        "VERDICT",
                        "NUMBERS",
                        "SEEN",
                        "DECLARED",
                        "LOST",
                        "GONE",
                        "PENDING",
                        "DOUBLED"
                    ]
                    .map(str::to_owned)
                )
            );
        }
        let declared: i64 = row.declared.values().sum();
        let figures = [row.numbers, row.seen, declared, row.lost, row.gone, row.pending].map(|n| n.to_string());
        let [numbers, seen, declared, lost, gone, pending] = figures;
        let cells = [
            (*topic).to_owned(),
            partitions(&row.partitions),
            verdict.as_str().to_owned(),
            numbers,
            seen,
            declared,
            lost,
            gone,
            pending,
            row.doubled.to_string(),
        ];
        let _ = writeln!(out, "{}", columns(cells));
        for ((reason, class), events) in &row.declared {
            let _ = writeln!(out, "    declared lost: {events} of class {class}, {reason}");
        }
    }
    for line in found.lines.iter().filter(|line| line.findings.lost > 0) {
        let places: Vec<String> = line.findings.lost_ranges.iter().take(20).map(range).collect();
        let more = line.findings.lost_ranges.len().saturating_sub(20);
        let more = if more > 0 { format!(" and {more} more places") } else { String::new() };
        let _ = writeln!(
            out,
            "LOST without a word: {} epoch {} {}/{}: {} events at {}{more}",
            line.producer,
            line.epoch,
            line.topic,
            line.partition,
            line.findings.lost,
            places.join(", ")
        );
    }
    log(found, damage, &mut out);
    let _ = writeln!(out, "{}", summary(found));
    out
}

/// What the log itself says: what was deleted, cannot be read, or stands where it should not.
fn log(found: &Findings, damage: &[Damage], out: &mut String) {
    for topic in &found.topics {
        let name = topic.topic.name;
        let mut say = |n: i64, what: &str| {
            if n > 0 {
                let _ = writeln!(out, "{name}: {n} {what}");
            }
        };
        say(topic.deleted, "older records were deleted by retention");
        say(topic.holes, "offsets give no record: the log lost them");
        say(count(topic.unreadable), "records cannot be read: no frame, or a schema that is not in stream.schemas");
        say(count(topic.misplaced), "records stand in another partition than their producer gave them");
    }
    for place in damage {
        let _ = writeln!(out, "damaged: segment {} bytes {} to {}", place.segment, place.from, place.to);
    }
    if found.strange > 0 {
        let _ = writeln!(out, "{} records or manifests have numbers that no publisher gives; left out", found.strange);
    }
}

fn count(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn range((first, last): &(i64, i64)) -> String {
    if first == last { first.to_string() } else { format!("{first}..={last}") }
}

fn account(found: &Findings, producer: &str, epoch: i64) -> String {
    let line = found.lines.iter().find(|line| line.producer == producer && line.epoch == epoch);
    match line.and_then(|line| line.account.as_ref()) {
        None => "no manifest (it never wrote one, or it is gone)".to_owned(),
        Some(account) => match &account.closed_by {
            Some(by) => format!("closed by {by}"),
            None => "still open, or never closed".to_owned(),
        },
    }
}

/// `0-3,7`.
fn partitions(all: &[i32]) -> String {
    let mut runs: Vec<(i32, i32)> = Vec::new();
    for partition in all {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *partition => *last = *partition,
            _ => runs.push((*partition, *partition)),
        }
    }
    let run = |(first, last): &(i32, i32)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    runs.iter().map(run).collect::<Vec<_>>().join(",")
}

fn columns(cells: [String; 10]) -> String {
    let [topic, partitions, verdict, figures @ ..] = cells;
    let mut line = format!("  {topic:<18}{partitions:<12}{verdict:<10}");
    for figure in figures {
        let _ = write!(line, "{figure:>10}");
    }
    line
}

struct Totals {
    lines: BTreeMap<Verdict, usize>,
    seen: i64,
    declared: i64,
    lost: i64,
    doubled: u64,
}

fn totals(lines: &[Line]) -> Totals {
    let mut totals = Totals { lines: BTreeMap::new(), seen: 0, declared: 0, lost: 0, doubled: 0 };
    for line in lines {
        *totals.lines.entry(line.findings.verdict).or_default() += 1;
        totals.seen += line.findings.seen;
        totals.declared += line.findings.declared.iter().map(|declared| declared.events).sum::<i64>();
        totals.lost += line.findings.lost;
        totals.doubled += line.doubled;
    }
    totals
}

fn summary(found: &Findings) -> String {
    let totals = totals(&found.lines);
    if found.lines.is_empty() {
        return "nothing to verify: the topics hold no events".to_owned();
    }
    let lines = |verdict| totals.lines.get(&verdict).copied().unwrap_or(0);
    let verdicts: Vec<String> = totals.lines.iter().map(|(verdict, n)| format!("{n} {}", verdict.as_str())).collect();
    let mut out = format!(
        "{} events seen, {} declared lost, {} LOST WITHOUT A WORD, {} doubled; of {} lines (producer, epoch, topic, partition): {}",
        totals.seen,
        totals.declared,
        totals.lost,
        totals.doubled,
        found.lines.len(),
        verdicts.join(", ")
    );
    if totals.lost == 0 && lines(Verdict::Unproven) > 0 {
        out += "\nnothing is known to be lost, but unproven is no proof: those processes still run, or their next start has not closed \
                their accounts yet";
    }
    out
}

pub fn json(found: &Findings, damage: &[Damage]) -> Value {
    let totals = totals(&found.lines);
    let by_verdict: BTreeMap<&str, usize> = totals.lines.iter().map(|(verdict, n)| (verdict.as_str(), *n)).collect();
    let topics: Vec<Value> = found
        .topics
        .iter()
        .map(|topic| {
            json!({
                "topic": topic.topic.name, "records": topic.records, "tombstones": topic.tombstones,
                "unreadable": topic.unreadable, "misplaced": topic.misplaced, "deleted_by_retention": topic.deleted,
                "offsets_without_record": topic.holes,
            })
        })
        .collect();
    let damaged: Vec<Value> =
        damage.iter().map(|d| json!({ "segment": d.segment, "from": d.from, "to": d.to })).collect();
    json!({
        "lost": totals.lost, "declared": totals.declared, "seen": totals.seen, "doubled": totals.doubled,
        "verdicts": by_verdict, "manifests": found.manifests, "strange": found.strange,
        "lines": found.lines, "topics": topics, "damaged": damaged,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_shown_as_runs() {
        assert_eq!(partitions(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
        assert_eq!(partitions(&[]), "");
    }
}
