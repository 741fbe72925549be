//! Many open dialogs: what one takes in memory, and whether calls still go at full rate beside them.
//!
//! Resident memory at the same load without and with the dialogs is compared, so that what the load itself needs (transactions are
//! remembered for half a minute) is in both. The journal is a mapped file: its pages are resident memory as well.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;

use super::{Scale, Stand, ms, plan, worst_p99};
use crate::calls::{Fleet, Plan, Tally};
use crate::edge_process::Edge;
use crate::figures::{Figures, Gate};

const RATE: f64 = 1_000.0;
const MAX_BYTES: f64 = 4096.0;
/// Half a KiB per dialog, and the INVITEs in set-up.
const JOURNAL: &str = "journal_bytes = 67108864\n";

pub fn run(binary: &Path, scale: Scale, figures: &mut Figures) -> anyhow::Result<()> {
    let rate = if scale.open < 10_000 { 200.0 } else { RATE };
    println!("{rate:.0} calls/s without and with {} open dialogs, {} s each", scale.open, scale.sustained.as_secs());
    let stand = Stand::new()?;
    let edge = stand.synced_edge(binary, JOURNAL)?;
    let mut fleet = stand.fleet(edge.trunk_side)?;
    sustain(&mut fleet, rate, scale.sustained)?;
    let before = edge.resident()?;
    open(&mut fleet, scale)?;
    let journal = edge.metric("edge_journal_bytes")?;
    let tally = sustain(&mut fleet, rate, scale.sustained)?;
    let (after, open) = (edge.resident()?, edge.metric("edge_dialogs_open")?);
    ensure!(open >= scale.open as f64, "void: the edge has {open} dialogs open");
    report(&edge, &tally, fleet.up, before, after, journal, figures)
}

fn report(
    edge: &Edge,
    tally: &Tally,
    up: u64,
    before: u64,
    after: u64,
    journal: f64,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let good = tally.ended as f64 / tally.placed as f64 * 100.0;
    figures.show("dialogs", "dialogs that stay open", up as f64, "");
    figures.check("dialogs_calls_percent", "calls beside them that ended well", good, "%", Gate::AtLeast(100.0));
    figures.show("dialogs_p99_ms", "p99 of the slowest kind of message", ms(worst_p99(tally).0), "ms");
    figures.show("dialogs_rss_before_mib", "resident without them", mib(before), "MiB");
    figures.show("dialogs_rss_mib", "resident with them", mib(after), "MiB");
    figures.show("dialogs_journal_mib", "journal in use", journal / f64::from(1 << 20), "MiB");
    let each = after.saturating_sub(before) as f64 / up as f64;
    figures.check("dialog_bytes", "memory of one dialog, its journal included", each, "bytes", Gate::AtMost(MAX_BYTES));
    let full = edge.metric("edge_journal_full")?;
    figures.check("dialogs_journal_full", "records that found the journal full", full, "", Gate::AtMost(0.0));
    Ok(())
}

fn sustain(fleet: &mut Fleet, rate: f64, time: Duration) -> anyhow::Result<Tally> {
    fleet.run(&plan(rate, time, true), |_| Ok(()))?;
    fleet.finish(Duration::from_secs(40))?;
    Ok(fleet.take(0))
}

/// At a higher rate, until so many are up.
fn open(fleet: &mut Fleet, scale: Scale) -> anyhow::Result<()> {
    for _ in 0..10 {
        let missing = scale.open.saturating_sub(fleet.up);
        if missing == 0 {
            return Ok(());
        }
        let time = Duration::from_secs_f64(missing as f64 / scale.open_rate + 0.2);
        fleet.run(&Plan { rates: vec![scale.open_rate], time, hold: None, counted: false }, |_| Ok(()))?;
        fleet.finish(Duration::from_secs(40))?;
    }
    ensure!(fleet.up >= scale.open, "void: only {} of {} dialogs opened", fleet.up, scale.open);
    Ok(())
}
