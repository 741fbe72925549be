//! Resident memory over many minutes of calls. Transactions and caches fill within a minute, the last decisions' ring within 175,000 calls,
//! which is just under six minutes; what is measured are the four minutes after it, in which nothing may grow.

use std::path::Path;

use super::{Scale, Stand, all_good, plan};
use crate::figures::{Figures, Gate};

const RATE: f64 = 500.0;
const MAX_GROWTH_PERCENT: f64 = 2.0;

pub fn run(binary: &Path, scale: Scale, figures: &mut Figures) -> anyhow::Result<()> {
    println!("resident memory over {:.0} s at {RATE:.0} calls/s", scale.flat.as_secs_f64());
    let stand = Stand::new()?;
    let edge = stand.synced_edge(binary, "")?;
    let mut fleet = stand.fleet(edge.trunk_side)?;
    let mut resident = Vec::new();
    fleet.run(&plan(RATE, scale.flat, true), |_| {
        resident.push(edge.resident()? as f64 / f64::from(1 << 20));
        Ok(())
    })?;
    fleet.finish(super::HOLD * 40)?;
    all_good("edge", &fleet.take(0))?;
    let (before, last) = last_fifths(&resident);
    figures.show("flat_rss_mib", "resident in the last fifth", last, "MiB");
    let growth = (last / before - 1.0) * 100.0;
    let gate = Gate::AtMost(MAX_GROWTH_PERCENT);
    figures.check("flat_growth_percent", "more than in the fifth before", growth, "%", gate);
    figures.show("flat_minutes", "length of the run", scale.flat.as_secs_f64() / 60.0, "min");
    Ok(())
}

/// The means of the last two fifths.
fn last_fifths(values: &[f64]) -> (f64, f64) {
    let (from, middle) = (values.len() * 3 / 5, values.len() * 4 / 5);
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    (mean(&values[from..middle]), mean(&values[middle..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fills_first_does_not_count() {
        assert_eq!(last_fifths(&[1.0, 2.0, 3.0, 10.0, 11.0]), (10.0, 11.0));
    }
}
