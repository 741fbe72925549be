//! Rings and journals of processes that died and were not started again: what they hold, and who goes on with it.

use std::path::Path;

use stream::ring::{self, RingReport};

use edge::JournalReport;

use crate::settings::Settings;

/// Prints a line for every ring below `run_dir` that nobody has open, for every file that is no ring of this build, for every
/// journal whose edge does not run, and for those that a start set aside.
pub fn tell(settings: &Settings) {
    let Ok(entries) = std::fs::read_dir(settings.run_dir()) else { return };
    let mut folders: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    for folder in folders {
        match ring::inspect(&folder) {
            Ok(reports) => {
                // The ring of a process is open as long as it lives.
                let is_alive = reports.iter().any(|report| report.in_use);
                for report in edge::inspect_journals(&folder) {
                    journal(&report, is_alive, settings).into_iter().for_each(|line| println!("{line}"));
                }
                for report in reports.iter().filter(|report| !report.in_use) {
                    println!("{}", line(report, settings));
                }
            }
            Err(error) => println!("note: {error}"),
        }
    }
}

fn line(report: &RingReport, settings: &Settings) -> String {
    let (service, instance) = report.producer.split_once('/').unwrap_or((&report.producer, ""));
    let what = format!(
        "note: the ring {} of {} (epoch {}) is left over with {} events ({} bytes) that are not delivered",
        report.path.display(),
        report.producer,
        report.epoch,
        report.events,
        report.bytes
    );
    if is_ours(&settings.data_dir.join(service), instance) {
        format!("{what}: the next start of `{service}` (or of `standalone`) with these settings drains it")
    } else {
        format!(
            "{what}: start `{service}` with the data_dir whose {service}/instance begins with {instance}; it drains it"
        )
    }
}

fn journal(report: &JournalReport, is_alive: bool, settings: &Settings) -> Option<String> {
    let path = report.path.display();
    if report.is_aside {
        let what = report.found.as_ref().map_or_else(
            || "no journal of any version".to_owned(),
            |f| format!("version {}, instance {}, {} records", f.version, f.instance, f.records),
        );
        return Some(format!(
            "note: {path} ({what}) was set aside by a start that could not use it: its calls are not continued; look at it, then delete it"
        ));
    }
    let found = report.found.as_ref().filter(|f| !is_alive && f.records > 0)?;
    let (records, instance) = (found.records, &found.instance);
    let what = format!("note: the journal {path} holds {records} records of calls, and its edge does not run");
    Some(if is_ours(&settings.data_dir.join("edge"), instance) {
        format!("{what}: the next start of `edge` (or of `standalone`) with these settings goes on with them")
    } else {
        format!(
            "{what}: start `edge` with the data_dir whose edge/instance begins with {instance}; it goes on with them"
        )
    })
}

fn is_ours(service_dir: &Path, instance: &str) -> bool {
    let known = std::fs::read_to_string(service_dir.join("instance"));
    !instance.is_empty() && known.is_ok_and(|text| text.split_whitespace().next() == Some(instance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_is_told_when_nobody_goes_on_with_it_and_always_when_it_was_set_aside() {
        let settings = Settings::default();
        let found = |records| edge::JournalDescription { version: 3, instance: "abc".into(), records };
        let report = |is_aside, records| JournalReport {
            path: "/run/x/abc/journal".into(),
            is_aside,
            found: Some(found(records)),
        };
        assert_eq!(journal(&report(false, 2), true, &settings), None, "its edge lives");
        assert_eq!(journal(&report(false, 0), false, &settings), None, "it holds nothing");
        let left = journal(&report(false, 2), false, &settings).unwrap();
        assert!(left.contains("2 records") && left.contains("begins with abc"), "{left}");
        let aside = journal(&report(true, 0), true, &settings).unwrap();
        assert!(aside.contains("version 3") && aside.contains("delete"), "{aside}");
    }
}
