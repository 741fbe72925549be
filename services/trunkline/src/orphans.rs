//! Rings of processes that died and were not started again: what they hold, and who drains them.

use std::path::Path;

use stream::ring::{self, RingReport};

use crate::settings::Settings;

/// Prints a line for every ring below `run_dir` that nobody has open, and for every file that is no ring of this build.
pub fn tell(settings: &Settings) {
    let Ok(entries) = std::fs::read_dir(settings.run_dir()) else { return };
    let mut folders: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    for folder in folders {
        match ring::inspect(&folder) {
            Ok(reports) => {
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

fn is_ours(service_dir: &Path, instance: &str) -> bool {
    let known = std::fs::read_to_string(service_dir.join("instance"));
    !instance.is_empty() && known.is_ok_and(|text| text.split_whitespace().next() == Some(instance))
}
