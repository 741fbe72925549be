//! One trunk calls ten times as often as it may: as many calls as allowed end well, as quickly as ever, and the rest is refused without a
//! hint that the whole edge is overloaded.

use std::path::Path;

use super::Scale;
use super::stand::{CPS, Stand, all_good};
use crate::calls::quantile;
use crate::figures::{Figures, Gate};

const TIMES: f64 = 10.0;
const MIN_GOODPUT: f64 = 95.0;
const MAX_MORE: f64 = 10.0;
/// Of its limit, for the comparison: none of these calls is refused.
const UNDER: f64 = 0.9;

pub fn run(binary: &Path, scale: Scale, figures: &mut Figures) -> anyhow::Result<()> {
    println!("{:.0} calls/s of a trunk that may begin {CPS:.0}, for {} s", CPS * TIMES, scale.overload.as_secs());
    let mut stand = Stand::new(binary)?;
    let usual = stand.window([CPS * UNDER, 0.0], scale.overload / 3, scale, None)?;
    all_good(&usual.tallies)?;
    let window = stand.window([CPS * TIMES, 0.0], scale.overload, scale, None)?;
    let [tally, _] = &window.tallies;
    let goodput = tally.ended as f64 / window.time.as_secs_f64();
    let percent = goodput / CPS * 100.0;
    figures.check(
        "overload_goodput_percent",
        "calls that end well, of the limit",
        percent,
        "%",
        Gate::AtLeast(MIN_GOODPUT),
    );
    figures.show("overload_goodput_per_s", "the same", goodput, "/s");
    let p99 = |setups: &[f32]| quantile(setups, 99.0) / 1e3;
    let (before, now) = (p99(&usual.tallies[0].setups_taken), p99(&tally.setups_taken));
    figures.show(
        "overload_setup_usual_p99_ms",
        "set-up p99 below the limit, from the INVITE that was taken",
        before,
        "ms",
    );
    figures.show("overload_setup_p99_ms", "set-up p99 of those let in", now, "ms");
    let more = (now / before - 1.0) * 100.0;
    figures.check("overload_setup_more_percent", "more", more, "%", Gate::AtMost(MAX_MORE));
    let added = quantile(tally.samples.of(crate::calls::Kind::Answer), 99.0);
    figures.show("overload_answer_p99_us", "p99 of forwarding a 200", added, "µs");
    println!("  refused: {:?}, timed out: {}", tally.refused, tally.timed_out);
    let hint = Gate::AtMost(0.0);
    figures.check("overload_retry_after", "refusals with a Retry-After", tally.retry_after as f64, "", hint);
    Ok(())
}
